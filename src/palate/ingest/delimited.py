"""Text whose fields are separated by commas, tabs and the like, with a header line, as a frame of strings."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from palate.ingest import headless
from palate.ingest.encodings import is_text
from palate.ingest.headless import OPTION, looks_like_row, shown
from palate.ingest.kinds import LINES, blanks
from palate.ingest.lines import BYTE_ORDER_MARK, BrokenQuote, Bytes, Layout, line_at, scan
from palate.ingest.quoting import as_ordinary
from palate.ingest.report import MAX_EXAMPLES, Example, Report

NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", "::": "double colons"}
# What is said of a file that has columns, and nothing in them.
NO_ROWS = "there is a header and no rows"
COLUMN_SUFFIX = re.compile(r":(token|token_seq|float|float_seq)$")
ORDINARY = "quote marks are read as ordinary characters"
# A sign that stands in no text, in place of separators of two signs.
UNIT = "\x1f"
# The first line of files for spreadsheet programs may say the separator.
SAID = re.compile(r'"?sep=([ -~\t])"?')


@dataclass(frozen=True)
class Delimited:
    """Rows of delimited text.

    Args:
        frame: strings by column, empty cells null.
        layout: where the rows stand.
        separator: what separates their fields.
        first: the cells of the first line where that is a row, or looks like one; else empty.
    """

    frame: pl.DataFrame
    layout: Layout
    separator: str
    first: tuple[str, ...] = ()


def read_delimited(
    source: Path | bytes, file: str, report: Report, *, delimiters: Sequence[str], quoted: bool, header: bool
) -> Delimited | None:
    """Read delimited text; arguments as in `read_text` of `palate.ingest.tables`."""
    data: Bytes = np.frombuffer(source, np.uint8) if isinstance(source, bytes) else np.memmap(source, np.uint8, "r")
    if not is_text(data, file, report):
        return None
    first = next((line for line in _head(data).splitlines() if line.strip()), "")
    bare = re.sub(r'"[^"]*"', "", first)
    delimiter = next((candidate for candidate in delimiters if candidate in bare), delimiters[0])
    said = SAID.fullmatch(first) if header else None
    if said:
        delimiter = said[1]
        # The line stays as a blank one, so that the lines keep their numbers.
        source = data.tobytes().replace(first.encode(), b"", 1)
    elif delimiter != delimiters[0]:
        report.add("note", file, f"the fields are separated by {NAMES[delimiter]}")
    if len(delimiter) > 1:
        source = data.tobytes().replace(delimiter.encode(), UNIT.encode())
        delimiter, quoted = UNIT, False
    if isinstance(source, bytes):
        data = np.frombuffer(source, np.uint8)
    found = _scanned(data, delimiter, quoted, header, file, report)
    if found is None:
        return None
    layout, quoted = found
    blank = blanks(file, _head(data).splitlines()[:LINES]) if layout.width == 1 else None
    if blank:
        report.add("fatal", file, blank[0], do=blank[1])
        return None
    cells = _cells(data, layout, delimiter, quoted=quoted)
    is_row = not header or looks_like_row(cells)
    names = cells if header else headless.names(layout.width)
    if header and is_row:
        # Whether anybody wants columns of these names is seen later; until then the names are only told apart.
        names = [name if name not in names[:place] else f"{name} ({place})" for place, name in enumerate(names)]
    elif not _names_are_sound(names, file, report):
        return None
    _report_ragged(layout, file, report, header=header)
    report.count_rows(file, layout.rows + len(layout.ragged), layout.rows)
    if layout.rows == 0:
        if is_row and not len(layout.ragged):
            what, do = f"there is one line, and it looks like a row: {shown(cells)}", f"if it is one, say {OPTION}"
        else:
            what, do = NO_ROWS if not len(layout.ragged) else "no row is left", ""
        report.add("fatal", file, what, do=do)
        return None
    readable = layout.without_cut(data) if len(layout.cut) else source
    try:
        frame = pl.read_csv(
            readable,
            has_header=header,
            separator=delimiter,
            quote_char='"' if quoted else None,
            infer_schema=False,
            glob=False,
        )
    except pl.exceptions.PolarsError as error:
        report.add("fatal", file, f"not a readable table: {first_line(error)}", do="save it again as plain UTF-8 CSV")
        return None
    if frame.height != layout.rows or frame.width != len(names):
        report.add("fatal", file, "the rows cannot be told apart reliably", do="save it again as plain UTF-8 CSV")
        return None
    unnamed = [f" unnamed {position}" for position in range(len(names))]
    frame.columns = [name or unnamed[position] for position, name in enumerate(names)]
    named = frame.select(name for name in names if name)
    return Delimited(named, layout, delimiter, tuple(cells) if is_row else ())


def first_line(error: BaseException) -> str:
    """What an error says first; the rest is for those who know its library."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _scanned(
    data: Bytes, delimiter: str, quoted: bool, header: bool, file: str, report: Report
) -> tuple[Layout, bool] | None:
    """The layout, and whether fields are quoted; None with a problem where quote marks leave that open."""
    try:
        layout = scan(data, ord(delimiter), quoted=quoted, header=header)
    except BrokenQuote as error:
        if delimiter != "\t":
            _report_quote(data, error, file, report)
            return None
        report.add("note", file, f"{ORDINARY}: they do not pair up")
        return scan(data, ord(delimiter), quoted=False, header=header), False
    plain = as_ordinary(data, layout, ord(delimiter), header=header) if quoted else None
    if plain is None:
        return layout, quoted
    other, lines = plain
    what = f"{ORDINARY}: a field in quotes from there on would swallow whole rows"
    if other is None:
        what = (
            "fields in quotes go over several lines, each of which looks like a row, as quote marks that pair by chance"
        )
    report.add(
        "note",
        file,
        what,
        do="" if other else 'if they are rows, double each quote mark within a field and quote the field: """Al"',
        count=len(lines),
        examples=[Example(line, "") for line in lines[:MAX_EXAMPLES].tolist()],
    )
    return (layout, quoted) if other is None else (other, False)


def _head(data: Bytes) -> str:
    return data[: 1 << 16].tobytes().removeprefix(BYTE_ORDER_MARK).decode("utf-8", errors="replace")


def _cells(data: Bytes, layout: Layout, delimiter: str, *, quoted: bool) -> list[str]:
    text = data[slice(*layout.header)].tobytes().decode("utf-8").rstrip("\r")
    if not text:
        return []
    fields = next(csv.reader([text], delimiter=delimiter)) if quoted else text.split(delimiter)
    return [COLUMN_SUFFIX.sub("", field.strip()) for field in fields]


def _names_are_sound(names: list[str], file: str, report: Report) -> bool:
    if not any(names):
        report.add("fatal", file, "the file has no header line", do="give the columns names on the first line")
        return False
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    for name in twice:
        report.add("fatal", file, "two columns have this name", column=name, do="rename or remove one of them")
    if "" in names:
        report.add("note", file, "columns without a name are left out")
    return not twice


def _report_ragged(layout: Layout, file: str, report: Report, *, header: bool) -> None:
    for more in (True, False):
        mask = layout.fields > layout.width if more else layout.fields < layout.width
        if not mask.any():
            continue
        records, fields = layout.ragged[mask], layout.fields[mask]
        lines = layout.lines_of_records(records[:MAX_EXAMPLES]).tolist()
        report.add(
            "dropped",
            file,
            f"too {'many' if more else 'few'} fields: the {'header' if header else 'first row'} has {layout.width}",
            count=len(records),
            examples=[
                Example(line, f"{count} field{'' if count == 1 else 's'}")
                for line, count in zip(lines, fields[:MAX_EXAMPLES].tolist(), strict=True)
            ],
            do="quote fields that contain the separator" if more else "complete the row; was the file cut short?",
        )


def _report_quote(data: Bytes, error: BrokenQuote, file: str, report: Report) -> None:
    line = line_at(data, error.offset)
    opened = line if error.opened is None else line_at(data, error.opened)
    value = "" if opened == line else f"its quoted field starts on line {opened:,}"
    report.add(
        "fatal",
        file,
        error.what,
        examples=[Example(line, value)],
        do='double each quote mark within a field and quote the whole field: "12"" single"',
    )
