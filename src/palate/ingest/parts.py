"""Which files are tables, and what a folder of them is: Parquet parts are one table, text files become one."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from palate.ingest.commands import joined
from palate.ingest.lines import BYTE_ORDER_MARK

DELIMITERS = {".csv": ",;\t|", ".tsv": "\t", ".txt": "\t,;|", ".dat": ("::", *"\t,;|")}
OBJECTS = (".jsonl", ".ndjson", ".json")
# RecBole's files: separated by tabs, with headers such as user_id:token, and without quoting.
ATOMIC = (".inter", ".item", ".kg", ".link")
TEXTS = (*DELIMITERS, *OBJECTS, *ATOMIC)
SUFFIXES = (*TEXTS, *(f"{suffix}.gz" for suffix in TEXTS), ".parquet")
LONGEST_LINE = 1 << 16


def parts_of(path: Path) -> list[Path]:
    """The parts of a table that was written as a folder of Parquet files; none for anything else."""
    if not path.is_dir():
        return []
    return sorted(part for part in path.glob("*.parquet") if part.is_file() and not _is_aside(part))


def instead_of_folder(path: Path, *, header: bool) -> str:
    """What to do where a folder is named in place of a file; empty where it is none, or has no table.

    Args:
        path: what was named.
        header: whether the first line of delimited text names the columns.
    """
    kinds: dict[str, list[Path]] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else ():
        suffix = next((suffix for suffix in SUFFIXES if file.name.lower().endswith(suffix)), None)
        if suffix is not None and suffix not in ATOMIC and file.is_file() and not _is_aside(file):
            kinds.setdefault(file.name[-len(suffix) :], []).append(file)
    if not kinds:
        return ""
    ends, files = max(kinds.items(), key=lambda kind: len(kind[1]))
    if len(files) == 1:
        return "name the file itself" + (f": {files[0]}" if len(kinds) == 1 else "")
    kind = ends.lower().removesuffix(".gz")
    headed = header and kind not in OBJECTS
    every = sorted(file for file in path.glob(f"*{ends}") if not file.name.startswith("."))
    # What is a list as a whole is no part that others can follow.
    if kind in (".json", ".parquet") or every != files:
        return "name the file itself"
    if odd := _odd_one(files, headed):
        return f"name the file itself; its {len(files):,} files *{ends} are no parts of one table as they are: {odd}"
    command = joined(files, headed=headed)
    return f"name one file; if its {len(files):,} files *{ends} are parts of one table, join them first: {command}"


def _is_aside(file: Path) -> bool:
    # Names that begin so hold what the writer says of its parts.
    return file.name.startswith((".", "_"))


def _odd_one(files: list[Path], headed: bool) -> str:
    """Why lines of one file may not stand behind those of another, and which file it is; empty where they may."""
    firsts: list[bytes] = []
    for file in files:
        try:
            firsts.append(_first_line(file))
        except (OSError, EOFError, zlib.error) as error:
            return f"{file.name} cannot be read ({error})"
    if headed:
        common = max(firsts, key=firsts.count)
        if not common.strip() or len(common) == LONGEST_LINE:
            return "they begin with no line of column names"
        odd = [file.name for file, first in zip(files, firsts, strict=True) if first != common]
        more = f", and so {'does' if len(odd) == 2 else 'do'} {len(odd) - 1:,} more" if len(odd) > 1 else ""
        return f"{odd[0]} begins otherwise than the others{more}" if odd else ""
    marked = [file.name for file, first in zip(files, firsts, strict=True) if first.startswith(BYTE_ORDER_MARK)]
    return f"{marked[0]} begins with a byte order mark" if marked else ""


def _first_line(file: Path) -> bytes:
    with gzip.open(file) if file.name.lower().endswith(".gz") else file.open("rb") as stream:
        return stream.readline(LONGEST_LINE)
