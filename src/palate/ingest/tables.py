"""Reads csv, tsv, jsonl, parquet and RecBole's atomic files into polars frames; what is wrong goes into the report.

Cells of text files stay strings here; what they mean is checked later. Each row remembers its place, so that a later
check can name the true line of the file.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from palate.ingest.lines import BYTE_ORDER_MARK, BrokenQuote, Bytes, Layout, Numbers, line_at, scan
from palate.ingest.objects import JOINT, read_objects
from palate.ingest.report import MAX_EXAMPLES, Example, Report

# Names of columns in files are stripped, so that none of them can be this one.
ROW = " row"

DELIMITERS = {".csv": ",;\t|", ".tsv": "\t", ".txt": "\t,;|"}
OBJECTS = (".jsonl", ".ndjson")
# RecBole's files: separated by tabs, with headers such as user_id:token, and without quoting.
ATOMIC = (".inter", ".item", ".kg", ".link")
TEXTS = (*DELIMITERS, *OBJECTS, *ATOMIC)
SUFFIXES = (*TEXTS, *(f"{suffix}.gz" for suffix in TEXTS), ".parquet")
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# What is said of a table without rows: text, Parquet, JSON lines. A larger file has more than columns.
LARGE = 1 << 20
NO_ROWS = ("there is a header and no rows", "there are columns and no rows", "there is no line")
COLUMN_SUFFIX = re.compile(r":(token|token_seq|float|float_seq)$")


@dataclass(frozen=True)
class Table:
    """A file's rows.

    Args:
        file: the file as the user named it.
        frame: its columns, and `ROW`, the number of each row, counted from 0.
        layout: where its rows stand in delimited text, or None.
        lines: the line of each row of JSON lines, or None. With neither, the rows are those of Parquet.
        lists: columns of Parquet whose cells were lists of words, and are joined.
        joined: columns with cells that were lists, and are joined; of Parquet and of JSON lines.
        separator: what separates the fields of delimited text, or None.
    """

    file: str
    frame: pl.DataFrame
    layout: Layout | None = None
    lines: Numbers | None = None
    lists: frozenset[str] = frozenset()
    joined: frozenset[str] = frozenset()
    separator: str | None = None

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


def no_rows(path: Path) -> bool:
    """Whether a table is sound and has nothing in it, as the log of a day on which nothing happened."""
    if not path.is_file() or path.stat().st_size > LARGE:
        return False
    report = Report()
    return read_table(path, report) is None and any(problem.what in NO_ROWS for problem in report.problems)


def read_table(path: Path, report: Report) -> Table | None:
    """Read a table; its suffix tells its kind.

    Args:
        path: a file that ends in .csv, .tsv, .txt, .jsonl, .ndjson, .inter, .item, .kg, .link (each also with .gz) or
            .parquet.
        report: takes the problems; a fatal one where the result is None.
    """
    file, name = str(path), path.name.lower()
    try:
        if not path.is_file():
            what = "there is no such file" if not path.exists() else "this is a folder or device, not a file"
            report.add("fatal", file, what, do="check the path")
            return None
        suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
        if suffix is None:
            report.add(
                "fatal", file, "unknown kind of file", do=f"use a file that ends in one of {', '.join(SUFFIXES)}"
            )
            return None
        if path.stat().st_size == 0:
            # Of lines without a header none is a table of nothing; anything else was cut off.
            report.add("fatal", file, NO_ROWS[2] if suffix in OBJECTS else "the file is empty")
            return None
        if suffix == ".parquet":
            return _read_parquet(path, report)
        kind, source = suffix.removesuffix(".gz"), path
        if suffix.endswith(".gz"):
            with gzip.open(path) as stream:
                source = stream.read()
        if kind in OBJECTS:
            return _read_jsonl(source if isinstance(source, bytes) else source.read_bytes(), file, report)
        return read_text(source, file, report, delimiters=DELIMITERS.get(kind, "\t"), quoted=kind not in ATOMIC)
    except (OSError, EOFError, zlib.error) as error:
        report.add("fatal", file, f"the file cannot be read: {error}", do="check its permissions, or copy it again")
        return None


def read_text(
    source: Path | bytes, file: str, report: Report, *, delimiters: str = ",", quoted: bool = True
) -> Table | None:
    """Read delimited text with a header line; all columns are strings, empty cells null.

    Args:
        source: a file, or the bytes of one.
        file: its name in the report.
        report: takes the problems; a fatal one where the result is None.
        delimiters: separators to look for in the header, the likeliest first.
        quoted: whether fields may be quoted; otherwise quote marks are ordinary characters.
    """
    data: Bytes = np.frombuffer(source, np.uint8) if isinstance(source, bytes) else np.memmap(source, np.uint8, "r")
    if not _is_text(data, file, report):
        return None
    first = next((line for line in _head(data).splitlines() if line.strip()), "")
    bare = re.sub(r'"[^"]*"', "", first)
    delimiter = next((candidate for candidate in delimiters if candidate in bare), delimiters[0])
    if delimiter != delimiters[0]:
        report.add("note", file, f"the fields are separated by {NAMES[delimiter]}")
    try:
        layout = scan(data, ord(delimiter), quoted=quoted)
    except BrokenQuote as error:
        if delimiter != "\t":
            return _report_quote(data, error, file, report)
        quoted = False
        layout = scan(data, ord(delimiter), quoted=False)
        report.add("note", file, "quote marks do not pair up, so they are read as ordinary characters")
    names = _header(data, layout, delimiter, quoted=quoted)
    if not _names_are_sound(names, file, report):
        return None
    _report_ragged(layout, file, report)
    report.count_rows(file, layout.rows + len(layout.ragged), layout.rows)
    if layout.rows == 0:
        report.add("fatal", file, NO_ROWS[0] if not len(layout.ragged) else "no row is left")
        return None
    readable = layout.without_cut(data) if len(layout.cut) else source
    try:
        frame = pl.read_csv(
            readable,
            separator=delimiter,
            quote_char='"' if quoted else None,
            infer_schema=False,
            glob=False,
        )
    except pl.exceptions.PolarsError as error:
        report.add("fatal", file, f"not a readable table: {_first_line(error)}", do="save it again as plain UTF-8 CSV")
        return None
    if frame.height != layout.rows or frame.width != len(names):
        report.add("fatal", file, "the rows cannot be told apart reliably", do="save it again as plain UTF-8 CSV")
        return None
    unnamed = [f" unnamed {position}" for position in range(len(names))]
    frame.columns = [name or unnamed[position] for position, name in enumerate(names)]
    frame = frame.select(name for name in names if name).with_row_index(ROW)
    return Table(file, frame, layout, separator=delimiter)


def _read_jsonl(data: bytes, file: str, report: Report) -> Table | None:
    if not _is_text(np.frombuffer(data, np.uint8), file, report):
        return None
    text = data.removeprefix(BYTE_ORDER_MARK).decode("utf-8")
    if text.lstrip().startswith("["):
        report.add("fatal", file, "this is one JSON list, not JSON lines", do="write one object on each line")
        return None
    found = read_objects(text)
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


def _read_parquet(path: Path, report: Report) -> Table | None:
    file = str(path)
    try:
        frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        report.add(
            "fatal",
            file,
            f"not a readable Parquet file, or one that was cut short: {_first_line(error)}",
            do="write or copy it again",
        )
        return None
    # Lists of words become one cell, as in JSON lines.
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


def _is_list_of_words(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.List | pl.Array) and dtype.inner.base_type() in (pl.String, pl.Categorical, pl.Enum)


def _is_text(data: Bytes, file: str, report: Report) -> bool:
    if data[:2].tobytes() in UTF16_MARKS:
        report.add("fatal", file, "the text is encoded as UTF-16", do="save it as UTF-8")
        return False
    decoder = codecs.getincrementaldecoder("utf-8")()
    block = 1 << 24
    newlines = returns = False
    for start in range(0, len(data), block):
        part = data[start : start + block].tobytes()
        zero = part.find(0)
        if zero >= 0:
            example = Example(line_at(data, start + zero), "a zero byte")
            report.add("fatal", file, "this is no text file", examples=[example], do="check that it is the right file")
            return False
        newlines, returns = newlines or b"\n" in part, returns or b"\r" in part
        kept = len(decoder.getstate()[0])
        # ASCII after whole characters is UTF-8, and known as such many times faster than it is decoded.
        if not kept and part.isascii():
            continue
        try:
            decoder.decode(part, final=start + block >= len(data))
        except UnicodeDecodeError as error:
            position = start - kept + error.start
            example = Example(line_at(data, position), f"byte 0x{int(data[position]):02x}")
            report.add(
                "fatal",
                file,
                "the text is not UTF-8",
                examples=[example],
                do="save it as UTF-8, for example: iconv -f latin1 -t utf-8 OLD > NEW",
            )
            return False
    if returns and not newlines:
        report.add("fatal", file, "the lines end in bare carriage returns", do="save it with ordinary line ends")
        return False
    return True


def _head(data: Bytes) -> str:
    return data[: 1 << 16].tobytes().removeprefix(BYTE_ORDER_MARK).decode("utf-8", errors="replace")


def _header(data: Bytes, layout: Layout, delimiter: str, *, quoted: bool) -> list[str]:
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


def _report_ragged(layout: Layout, file: str, report: Report) -> None:
    for more in (True, False):
        mask = layout.fields > layout.width if more else layout.fields < layout.width
        if not mask.any():
            continue
        records, fields = layout.ragged[mask], layout.fields[mask]
        lines = layout.lines_of_records(records[:MAX_EXAMPLES]).tolist()
        report.add(
            "dropped",
            file,
            f"too {'many' if more else 'few'} fields: the header has {layout.width}",
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


def _shown(value: object) -> str:
    return "(empty)" if value is None else f"'{value}'" if isinstance(value, str) else str(value)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
