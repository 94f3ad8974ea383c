"""All problems of a read in one report: which file, line and column, what was found there, and what to do about it.

Problems of one kind are one entry with its full count and its first few examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from palate.core.errors import DataError

Severity = Literal["fatal", "dropped", "note"]

SEVERITIES: tuple[Severity, ...] = ("fatal", "dropped", "note")
MAX_EXAMPLES = 5
MAX_VALUE = 60


@dataclass(frozen=True)
class Example:
    """One place where a problem was met.

    Args:
        place: number of the line (text files) or row (Parquet) in the file, counted from 1.
        value: the offending value, shortened for display.
    """

    place: int
    value: str


@dataclass(frozen=True)
class Problem:
    """One kind of problem in one column of one file.

    Args:
        severity: "fatal": nothing can go on; "dropped": the rows are left out; "note": nothing is lost.
        file: the file as the user named it.
        what: what was found.
        do: what to do about it; may be empty.
        column: the file's column, or None when the problem is not in one.
        count: how many rows have it, or 0 when it is not about rows.
        examples: the first few of them.
        unit: what `Example.place` counts: "line" or "row".
    """

    severity: Severity
    file: str
    what: str
    do: str = ""
    column: str | None = None
    count: int = 0
    examples: tuple[Example, ...] = ()
    unit: str = "line"

    def text(self) -> str:
        """A readable paragraph."""
        rows = f": {self.count:,} row{'' if self.count == 1 else 's'}" if self.count else ""
        column = f"column '{self.column}': " if self.column is not None else ""
        lines = [f"  {self.severity}: {column}{self.what}{rows}"]
        lines += [f"    {self.unit} {example.place:,}: {example.value}".rstrip(": ") for example in self.examples]
        if self.count > len(self.examples) > 0:
            lines.append(f"    and {self.count - len(self.examples):,} more")
        if self.do:
            lines.append(f"    do: {self.do}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "severity": self.severity,
            "file": self.file,
            "column": self.column,
            "what": self.what,
            "do": self.do,
            "count": self.count,
            "examples": [{self.unit: example.place, "value": example.value} for example in self.examples],
        }


@dataclass
class Report:
    """Collects the problems of one read, over all of its files."""

    problems: list[Problem] = field(default_factory=list[Problem])
    rows: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def add(
        self,
        severity: Severity,
        file: str,
        what: str,
        *,
        do: str = "",
        column: str | None = None,
        count: int = 0,
        examples: Sequence[Example] = (),
        unit: str = "line",
    ) -> None:
        """Add a problem; one of the same kind, file and column as an earlier one adds to its count."""
        shown = tuple(replace(example, value=shorten(example.value)) for example in examples[:MAX_EXAMPLES])
        problem = Problem(severity, file, what, do, column, count, shown, unit)
        for index, known in enumerate(self.problems):
            if (known.severity, known.file, known.column, known.what) == (severity, file, column, what):
                together = (known.examples + shown)[:MAX_EXAMPLES]
                self.problems[index] = replace(known, count=known.count + count, examples=together)
                return
        self.problems.append(problem)

    def count_rows(self, file: str, read: int, kept: int) -> None:
        """State how many rows of `file` were read, and how many of them were kept."""
        self.rows[file] = (read, kept)

    def of(self, severity: Severity) -> list[Problem]:
        """The problems of one severity."""
        return [problem for problem in self.problems if problem.severity == severity]

    @property
    def dropped(self) -> int:
        """Rows that were left out, over all files; a row with several problems counts once."""
        return sum(read - kept for read, kept in self.rows.values())

    def raise_if(self, strict: bool = False) -> None:
        """Stop when nothing can go on, or when `strict` and a row was dropped.

        Raises:
            DataError: with the whole report.
        """
        if self.of("fatal"):
            raise DataError(f"the data cannot be read\n{self.text()}")
        if strict and self.of("dropped"):
            raise DataError(
                f"the data has rows with problems, and --strict accepts none\n{self.text()}",
                do="mend the rows, or leave --strict out to go on without them",
            )

    def text(self) -> str:
        """The whole report, file by file, the gravest problems first; files with a fatal problem before the others."""
        fatal = [problem.file for problem in self.of("fatal")]
        files = list(dict.fromkeys([*fatal, *self.rows, *(problem.file for problem in self.problems)]))
        lines: list[str] = []
        for file in files:
            lines.append(f"{file}{self._counts(file)}")
            lines += [
                problem.text() for severity in SEVERITIES for problem in self.of(severity) if problem.file == file
            ]
        return "\n".join(lines)

    def _counts(self, file: str) -> str:
        if file not in self.rows:
            return ""
        read, kept = self.rows[file]
        return f": {read:,} row{'' if read == 1 else 's'} read, {kept:,} kept" + (
            f", {read - kept:,} dropped" if read > kept else ""
        )

    def as_dict(self) -> dict[str, Any]:
        """The whole report as plain JSON values."""
        return {
            "dropped": self.dropped,
            "files": {file: {"read": read, "kept": kept} for file, (read, kept) in self.rows.items()},
            "problems": [problem.as_dict() for problem in self.problems],
        }


def shorten(value: str, most: int = MAX_VALUE) -> str:
    """`value` on one line, cut to a length that a terminal shows."""
    line = " ".join(value.split()) if "\n" in value or "\r" in value else value
    return line if len(line) <= most else line[: most - 1] + "…"


def named_values(values: Mapping[str, str]) -> str:
    """`name 'value'` of each, in a length that a terminal shows: the longest values are cut, and none is lost."""
    room = MAX_VALUE - len(", ".join(f"{name} ''" for name in values))
    lengths = {name: min(len(value), MAX_VALUE) for name, value in values.items()}
    while sum(lengths.values()) > room and max(lengths.values()) > 1:
        lengths[max(lengths, key=lengths.__getitem__)] -= 1
    return ", ".join(f"{name} '{shorten(value, lengths[name])}'" for name, value in values.items())
