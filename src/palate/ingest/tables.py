"""Reads csv, tsv, jsonl, parquet and RecBole's atomic files into polars frames; what is wrong goes into the report.

Cells of text files stay strings here; what they mean is checked later. Each row remembers its place, so that a later
check can name the true line of the file.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from palate.core.artefact import kind_of
from palate.core.errors import ArtefactError
from palate.ingest.arrays import BrokenList, as_lines
from palate.ingest.delimited import NO_ROWS as NO_LINES
from palate.ingest.delimited import first_line, read_delimited
from palate.ingest.encodings import is_text
from palate.ingest.kinds import misnamed, not_json, unknown
from palate.ingest.lines import BYTE_ORDER_MARK, Layout, Numbers
from palate.ingest.objects import JOINT, Objects, read_objects
from palate.ingest.parts import ATOMIC, DELIMITERS, OBJECTS, SUFFIXES, TEXTS, instead_of_folder, parts_of
from palate.ingest.report import MAX_EXAMPLES, Example, Report

# Names of columns in files are stripped, so that none of them can be this one.
ROW = " row"

# What is said of a table without rows: text, Parquet, JSON lines. A larger file has more than columns.
LARGE = 1 << 20
NO_ROWS = (NO_LINES, "there are columns and no rows", "there is no line")


@dataclass(frozen=True)
class Table:
    """A file's rows.

    Args:
        file: the file as the user named it.
        frame: its columns, and `ROW`, the number of each row, counted from 0.
        layout: where its rows stand in delimited text, or None.
        lines: the line of each row of JSON lines, or None. With neither, the rows are those of Parquet.
        lists: columns of Parquet whose cells were lists of words or whole numbers, and are joined.
        joined: columns with cells that were lists, and are joined; of Parquet and of JSON lines.
        separator: what separates the fields of delimited text, or None.
        first: the cells of the first line where that looks like a row, or is one; else empty.
        header: whether the columns have names of their own.
    """

    file: str
    frame: pl.DataFrame
    layout: Layout | None = None
    lines: Numbers | None = None
    lists: frozenset[str] = frozenset()
    joined: frozenset[str] = frozenset()
    separator: str | None = None
    first: tuple[str, ...] = ()
    header: bool = True

    @property
    def unit(self) -> str:
        """What `places` counts."""
        return "row" if self.layout is None and self.lines is None else "line"

    @property
    def columns(self) -> list[str]:
        """Names of the file's columns."""
        return [name for name in self.frame.columns if name != ROW]

    def places(self, rows: pl.Series) -> list[int]:
        """The line (text) or row (Parquet) in the file, counted from 1, of values of `ROW`."""
        numbers = rows.to_numpy().astype(np.int64)
        if self.lines is not None:
            return self.lines[numbers].tolist()
        return (numbers + 1 if self.layout is None else self.layout.lines_of_rows(numbers)).tolist()

    def examples(self, mask: pl.Series, values: pl.Series | None) -> list[Example]:
        """The first few rows of `frame` where `mask` is true, each with its value."""
        rows = mask.arg_true().head(MAX_EXAMPLES)
        shown = [""] * len(rows) if values is None else [_shown(value) for value in values.gather(rows).to_list()]
        places = self.places(self.frame[ROW].gather(rows))
        return [Example(place, value) for place, value in zip(places, shown, strict=True)]


def no_rows(path: Path, *, header: bool = True) -> bool:
    """Whether a table is sound and has nothing in it, as the log of a day on which nothing happened."""
    if not path.is_file() or path.stat().st_size > LARGE:
        return False
    report = Report()
    return read_table(path, report, header=header) is None and any(
        problem.what in NO_ROWS for problem in report.problems
    )


def read_table(path: Path, report: Report, *, header: bool = True) -> Table | None:
    """Read a table; its suffix tells its kind.

    Args:
        path: a folder of parts that end in .parquet, which are one table in the order of their names; or a file that
            ends in .csv, .tsv, .txt, .dat, .jsonl, .ndjson, .json, .inter, .item, .kg, .link (each also with
            .gz) or .parquet.
        report: takes the problems; a fatal one where the result is None.
        header: whether the first line of delimited text names the columns; otherwise they are column_1, column_2, ….
    """
    file, name = str(path), path.name.lower()
    try:
        if (made := _made(path)) is not None:
            do = "name it where one is asked for" + " (--data)" * (made == "catalogue") + ", or name a file here"
            report.add("fatal", file, f"this is a folder of Palate's own, a {made}, and no table", do=do)
            return None
        if parts := parts_of(path):
            report.add("note", file, f"{len(parts):,} parts are read, in the order of their names")
            return _read_parquet(path, report, parts)
        if not path.is_file():
            what = "there is no such file" if not path.exists() else "this is a folder or device, not a file"
            report.add("fatal", file, what, do=instead_of_folder(path, header=header) or "check the path")
            return None
        suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
        if suffix is None:
            what, do = unknown(path)
            ends = f"use a file that ends in one of {', '.join((*TEXTS, '.parquet'))}"
            report.add("fatal", file, f"unknown kind of file: {what}", do=do or ends)
            return None
        if path.stat().st_size == 0:
            # Of lines without a header none is a table of nothing; anything else was cut off.
            report.add("fatal", file, NO_ROWS[2] if suffix in OBJECTS else "the file is empty")
            return None
        if (other := misnamed(path, suffix)) is not None:
            report.add("fatal", file, other[0], do=other[1])
            return None
        if not header and suffix.removesuffix(".gz") in (*OBJECTS, ".parquet"):
            report.add("note", file, "its columns have names of their own, whatever is said of headers")
        if suffix == ".parquet":
            return _read_parquet(path, report)
        kind, source = suffix.removesuffix(".gz"), path
        if suffix.endswith(".gz"):
            with gzip.open(path) as stream:
                source = stream.read()
        if kind in OBJECTS:
            return _read_jsonl(source if isinstance(source, bytes) else source.read_bytes(), file, report)
        delimiters, quoted = DELIMITERS.get(kind, "\t"), kind not in ATOMIC
        return read_text(source, file, report, delimiters=delimiters, quoted=quoted, header=header)
    except (OSError, EOFError, zlib.error) as error:
        report.add("fatal", file, f"the file cannot be read: {error}", do="check its permissions, or copy it again")
        return None


def _made(path: Path) -> str | None:
    """What a folder is that Palate has made; None for any other, whatever its manifest is for."""
    with suppress(ArtefactError):
        made = kind_of(path)
        return made if made in ("catalogue", "run", "bundle") else None
    return None


def read_text(
    source: Path | bytes,
    file: str,
    report: Report,
    *,
    delimiters: Sequence[str] = ",",
    quoted: bool = True,
    header: bool = True,
) -> Table | None:
    """Read delimited text; all columns are strings, empty cells null.

    Args:
        source: a file, or the bytes of one.
        file: its name in the report.
        report: takes the problems; a fatal one where the result is None.
        delimiters: separators to look for in the first line, the likeliest first.
        quoted: whether fields may be quoted; otherwise quote marks are ordinary characters.
        header: whether the first line names the columns; otherwise they are column_1, column_2, ….
    """
    found = read_delimited(source, file, report, delimiters=delimiters, quoted=quoted, header=header)
    if found is None:
        return None
    frame = found.frame.with_row_index(ROW)
    table = Table(file, frame, found.layout, separator=found.separator, first=found.first, header=header)
    names = [pl.col(name).eq_missing(pl.lit(name)) for name in table.columns]
    # One column tells it for nearly every file.
    if not header or not frame.select(names[0].any()).item():
        return table
    again = frame.select(pl.all_horizontal(names)).to_series()
    if not again.any() or again.all():
        return table
    report.add(
        "dropped",
        file,
        "the line of column names again, as where files were put behind each other",
        count=int(again.sum()),
        examples=table.examples(again, None),
    )
    return replace(table, frame=frame.filter(~again))


def _read_jsonl(data: bytes, file: str, report: Report) -> Table | None:
    if not is_text(np.frombuffer(data, np.uint8), file, report):
        return None
    text = data.removeprefix(BYTE_ORDER_MARK).decode("utf-8")
    numbers: Numbers | None = None
    if text.lstrip().startswith("["):
        try:
            text, numbers = as_lines(text)
        except BrokenList as error:
            example = Example(error.line, error.what)
            report.add(
                "fatal", file, "not a readable JSON list", examples=[example], do="write one object on each line"
            )
            return None
    elif other := not_json(file, text):
        report.add("fatal", file, other[0], do=other[1])
        return None
    found = read_objects(text)
    if numbers is not None:
        _renumber(found, numbers)
    for what in dict.fromkeys(what for _, what, _ in found.broken):
        places = [Example(line, value) for line, kind, value in found.broken if kind == what]
        report.add(
            "dropped",
            file,
            what,
            count=len(places),
            examples=places[:MAX_EXAMPLES],
            do="write one object on each line, each name once; was the file cut short?",
        )
    for name, cells in found.nested.items():
        report.add(
            "note",
            file,
            "the column is left out: its cells are nested, not plain values or lists of them",
            column=name,
            count=len(cells),
            examples=[Example(line, value) for line, value in cells[:MAX_EXAMPLES]],
            do="join lists into one string, and give nested fields columns of their own",
        )
    if "" in found.columns:
        report.add("note", file, "columns without a name are left out")
    report.count_rows(file, len(found.lines) + len(found.broken), len(found.lines))
    columns = {name: pl.Series(name, cells, dtype=pl.String) for name, cells in found.columns.items() if name}
    if not found.lines or not columns:
        report.add("fatal", file, "no row is left" if not found.lines else "no column is left")
        return None
    frame = pl.DataFrame(columns).with_row_index(ROW)
    return Table(file, frame, lines=np.array(found.lines, dtype=np.int64), joined=frozenset(found.lists))


def _renumber(found: Objects, numbers: Numbers) -> None:
    """Give the members of a list, which were read one on each line, the lines on which they stand in their file."""
    found.lines[:] = numbers[np.array(found.lines, dtype=np.int64) - 1].tolist()
    found.broken[:] = [(int(numbers[line - 1]), what, text) for line, what, text in found.broken]
    for name, cells in found.nested.items():
        found.nested[name] = [(int(numbers[line - 1]), text) for line, text in cells]


def _read_parquet(path: Path, report: Report, parts: Sequence[Path] = ()) -> Table | None:
    file = str(path)
    try:
        if other := _other_columns(parts):
            do = "write the parts with the same columns; where they are different tables, name one of them"
            report.add("fatal", file, other, do=do)
            return None
        frame = pl.read_parquet(list(parts) or path, glob=False, hive_partitioning=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        report.add(
            "fatal",
            file,
            f"not a readable Parquet file, or one that was cut short: {first_line(error)}",
            do="write or copy it again",
        )
        return None
    frame = frame.with_columns(_words_of(frame))
    # Lists of words or whole numbers become one cell, as in JSON lines.
    lists = [name for name, dtype in frame.schema.items() if _is_list_of_words(dtype)]
    words = (pl.col(name).cast(pl.List(pl.String)).list.join(JOINT) for name in lists)
    frame = frame.with_columns(words).with_columns(pl.col(name).replace("", None) for name in lists)
    nested = [
        name for name, dtype in frame.schema.items() if dtype.is_nested() or dtype.base_type() in (pl.Binary, pl.Object)
    ]
    for name in nested:
        report.add(
            "note",
            file,
            f"the column is left out: its cells are {frame.schema[name]}, not plain values",
            column=name,
            do="give nested fields columns of their own",
        )
    report.count_rows(file, frame.height, frame.height)
    if frame.height == 0:
        report.add("fatal", file, NO_ROWS[1])
        return None
    return Table(file, frame.drop(nested).with_row_index(ROW), lists=frozenset(lists), joined=frozenset(lists))


def _other_columns(parts: Sequence[Path]) -> str:
    """Which part has other columns than the first, and which; empty where none has."""
    names = [set(pl.read_parquet_schema(part)) for part in parts]
    for part, own in zip(parts, names, strict=True):
        if own != names[0]:
            shown = ", ".join(f"'{name}'" for name in sorted(own ^ names[0])[:MAX_EXAMPLES])
            return f"the parts have different columns: {shown} in one of {parts[0].name} and {part.name} alone"
    return ""


def _words_of(frame: pl.DataFrame) -> list[pl.Series]:
    """The columns of bytes that are text, as programs write them that do not say so; those of other bytes stay."""
    words: list[pl.Series] = []
    for name, dtype in frame.schema.items():
        if dtype == pl.Binary:
            with suppress(pl.exceptions.PolarsError):
                words.append(frame[name].cast(pl.String))
    return words


def _is_list_of_words(dtype: pl.DataType) -> bool:
    words = (pl.String, pl.Categorical, pl.Enum)
    return isinstance(dtype, pl.List | pl.Array) and (dtype.inner.base_type() in words or dtype.inner.is_integer())


def _shown(value: object) -> str:
    return "(empty)" if value is None else f"'{value}'" if isinstance(value, str) else str(value)
