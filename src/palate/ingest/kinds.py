"""What a file is whatever its name says, by its first bytes, and what to do to have it read."""

from __future__ import annotations

import ast
import gzip
import json
import shlex
import zipfile
import zlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import cast

from palate.ingest.commands import beside, python, through

HEAD = 1 << 12
LINES = 5
# A line of one number is no row of fields with blanks between them.
LEAST = 2
GZIP, ZIP, PARQUET = b"\x1f\x8b", b"PK\x03\x04", b"PAR1"
PICKLE = "write it as csv or parquet where it was made; pickles may run code, so that none is read"
# How the bytes begin, what the file is, and the command that makes something of it; {} is the file.
SIGNS = (
    (b"BZh", "compressed with bzip2", "unpack it: bunzip2 -k {}"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it: zstd -d {}"),
    (b"\xfd7zXZ\x00", "compressed with xz", "unpack it: xz -dk {}"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it: 7z x {}"),
    (b"Rar!", "a rar archive", "unpack it: unrar x {}"),
    (b"SQLite format 3\x00", "an SQLite database", "write its tables as csv"),
    (b"\x89HDF\r\n", "an HDF5 file", "write its tables as csv or parquet"),
    (b"\x93NUMPY", "a matrix of numpy", "write its rows as csv or parquet, with names of columns"),
    (b"\x80\x04", "a Python pickle", PICKLE),
    (b"\x80\x05", "a Python pickle", PICKLE),
    (b"%PDF", "a PDF document", "give the table itself, as csv"),
)  # fmt: skip
SEPARATORS = (
    ("::", "double colons", ".dat"),
    ("\t", "tabs", ".tsv"),
    (",", "commas", ".csv"),
    (";", "semicolons", ".csv"),
    ("|", "bars", ".csv"),
)
TABS = r"tr -s ' ' '\t'"

Found = tuple[str, str]


def misnamed(path: Path, kind: str) -> Found | None:
    """What a file is that is not what its name says, and what to do; None where nothing speaks against the name.

    Args:
        path: the file; not empty.
        kind: what its name ends in.
    """
    head, file = _head(path), str(path)
    zipped = kind.endswith(".gz")
    if head.startswith(GZIP):
        named = f"{file}.gz" if kind != ".parquet" else beside(file, suffix=".csv.gz")
        return None if zipped else ("this is compressed with gzip, and its name does not say so", _rename(file, named))
    if head.startswith(PARQUET) and kind != ".parquet":
        named = path.with_name(beside(file, suffix=".parquet"))
        return "this is a Parquet file, and its name does not say so", _rename(file, named)
    found = _by_sign(path, head)
    if found is not None:
        return f"this is {found[0]}, and its name does not say so", found[1]
    if zipped and _is_text(head):
        return "this is not compressed, though its name says so", _rename(file, path.with_name(path.name[:-3]))
    return None


def unknown(path: Path) -> Found:
    """What a file is whose name ends in nothing known, and what to do."""
    head, file = _head(path), str(path)
    if head.startswith(GZIP):
        inner, _ = _text(path, _unzipped(path))
        told = f"compressed with gzip{'' if inner is None else ', with ' + inner[0]}"
        new = beside(file) if inner is None or not inner[1] else beside(file, suffix=inner[1])
        target = shlex.quote(str(path.with_name(new)))
        return told, f"unpack it: gunzip -c {shlex.quote(file)} > {target}"
    if head.startswith(PARQUET):
        return "a Parquet file", _rename(file, path.with_name(beside(file, suffix=".parquet")))
    found = _by_sign(path, head)
    if found is not None:
        return found
    inner, do = _text(path, head)
    if inner is None:
        return "not text", ""
    what, suffix = inner
    return what, do or (_rename(file, path.with_name(beside(file, suffix=suffix))) if suffix else "")


def blanks(file: str, lines: Sequence[str]) -> Found | None:
    """What lines of numbers with blanks between them are, and what to do; None for anything else.

    Args:
        file: the file that they are of.
        lines: its first ones.
    """
    rows = [line.split() for line in lines if line.strip()]
    numbers = all(cell.replace(".", "").isdigit() for row in rows for cell in row)
    if not numbers or max(map(len, rows), default=0) < LEAST:
        return None
    new = beside(file, suffix=".tsv")
    if len({len(row) for row in rows}) == 1:
        return "blanks separate the fields", f"write tabs: {through(file, TABS, new)}"
    program = (
        "import sys; print('user_id', 'item_id', sep=chr(9)); "
        "[print(row[0], item, sep=chr(9)) for row in map(str.split, sys.stdin) for item in row[1:]]"
    )
    what = "this looks like one user on each line, followed by items; a row for each user and item is needed"
    return what, f"make one: {through(file, python(program), new)}"


def not_json(file: str, text: str) -> Found | None:
    """What a text is that should be JSON lines and is something near that; None where the lines may be.

    Args:
        file: the file that it is of.
        text: all of it.
    """
    first = next((line for line in text.splitlines()[:LINES] if line.strip()), "")
    if not first.lstrip().startswith("{") or _parsed(first) is not None:
        return None
    new = beside(file, addition="-rows", suffix=".jsonl")
    if is_python(first):
        program = (
            "import ast, json, sys; [print(json.dumps(ast.literal_eval(line))) for line in sys.stdin if line.strip()]"
        )
        return "these are Python dictionaries, not JSON", f"convert them: {through(file, python(program), new)}"
    whole = _parsed(text)
    if not isinstance(whole, dict):
        return None
    table = next((key for key, value in cast("dict[str, object]", whole).items() if isinstance(value, list)), None)
    what = "this is one JSON object, not one on each line"
    if table is None:
        return what, "write one object on each line"
    program = f"import json, sys; [print(json.dumps(row)) for row in json.load(sys.stdin)[{table!r}]]"
    return what, f"write its list '{table}' line by line: {through(file, python(program), new)}"


def is_python(line: str) -> bool:
    """Whether a line is a dictionary as Python writes it."""
    try:
        return isinstance(ast.literal_eval(line.strip()), dict)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEAD)


def _unzipped(path: Path) -> bytes:
    try:
        with gzip.open(path) as stream:
            return stream.read(HEAD)
    except (OSError, EOFError, zlib.error):
        return b"\0"


def _by_sign(path: Path, head: bytes) -> Found | None:
    if head.startswith(ZIP):
        return _archive(path)
    if head[257:262] == b"ustar":
        return "a tar archive", f"unpack it: tar -xf {shlex.quote(str(path))}"
    if head.startswith((b"ARROW1", b"FEA1")):
        new = path.with_name(beside(str(path), suffix=".parquet"))
        program = f"import polars as pl; pl.read_ipc({str(path)!r}).write_parquet({str(new)!r})"
        return "an Arrow (Feather) file", f"convert it: {python(program)}"
    for sign, what, do in SIGNS:
        if head.startswith(sign):
            return what, do.format(shlex.quote(str(path)))
    return None


def _archive(path: Path) -> Found:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "a zip archive that is damaged or was cut short", "copy it again"
    if "xl/workbook.xml" in names:
        return "a workbook of a spreadsheet program", "save the sheet as csv there"
    more = f" and {len(names) - LINES:,} more" if len(names) > LINES else ""
    return (
        "a zip archive",
        f"unpack it: python -m zipfile -e {shlex.quote(str(path))} . (it holds {', '.join(names[:LINES])}{more})",
    )


def _is_text(head: bytes) -> bool:
    return b"\0" not in head


def _text(path: Path, head: bytes) -> tuple[tuple[str, str] | None, str]:
    """What kind of text it is, with the suffix for it, and what to do where another name is not enough."""
    if not _is_text(head):
        return None, ""
    text = head.decode("utf-8", errors="replace")
    lines = [line for line in islice(text.splitlines(), LINES) if line.strip()]
    first = lines[0] if lines else ""
    if first.lstrip().startswith(("{", "[")):
        return ("JSON", ".jsonl" if first.lstrip().startswith("{") else ".json"), ""
    for separator, name, suffix in SEPARATORS:
        if separator in first:
            return (f"text with {name} between the fields", suffix), ""
    # The last line of these may be cut.
    found = blanks(str(path), lines[:-1] or lines)
    return (("text with blanks between the fields", ".tsv"), found[1]) if found else (("text", ""), "")


def _rename(old: str, new: object) -> str:
    return f"rename it: mv {shlex.quote(old)} {shlex.quote(str(new))}"
