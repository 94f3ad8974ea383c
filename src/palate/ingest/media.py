"""Media columns of an item table: whether each path leads to a file that begins as a picture or a sound does.

Takes the cells and the folder they are relative to; adds to the report what is missing, unreadable or of another kind.
One look at a file's directory entry and its first bytes, so that a hundred thousand files take seconds.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from palate.ingest.objects import JOINT
from palate.ingest.report import MAX_EXAMPLES, Example, Report, Severity
from palate.ingest.tables import ROW, Table

HEAD = 16
# Also "data:" and the like; one letter before the colon is a drive of Windows.
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:")
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")
_SOUNDS = (b"fLaC", b"OggS", b"ID3", b"RF64", b".snd", b"caff")


def is_picture(head: bytes) -> bool:
    """Whether a file that begins with `head` is a JPEG, PNG, GIF, WebP, BMP or TIFF picture."""
    return head.startswith(_PICTURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def is_sound(head: bytes) -> bool:
    """Whether a file that begins with `head` is a WAV, FLAC, Ogg, MP3, AIFF, AU or CAF sound."""
    container = (head[:4], head[8:11]) in ((b"RIFF", b"WAV"), (b"FORM", b"AIF"))
    # Eleven set bits start a frame of MPEG audio; the two that name its layer are not both zero.
    frame = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0
    return head.startswith(_SOUNDS) or container or frame


KINDS: dict[str, tuple[str, Callable[[bytes], bool]]] = {"image": ("picture", is_picture), "audio": ("sound", is_sound)}


def first_paths(table: Table, column: str, report: Report) -> pl.Series:
    """The cells of a column of paths; of a list of paths its first, with a note on how many others are left out."""
    cells = table.frame[column].cast(pl.String)
    if column not in table.joined:
        return cells
    several = cells.str.strip_chars(JOINT).str.contains(JOINT, literal=True).fill_null(False)
    if several.any():
        report.add(
            "note",
            table.file,
            "an item has one path here: of a list, the first is taken",
            column=column,
            count=int(several.sum()),
            examples=table.examples(several, cells),
            unit=table.unit,
        )
    return cells.str.strip_chars(JOINT).str.split(JOINT).list.first().alias(column)


def relative_to(root: Path, cells: pl.Series) -> pl.Series:
    """Paths as they are below `root`: absolute ones that lead into it become relative, others stay."""
    folders = {os.path.join(path, "") for path in (os.path.abspath(root), os.path.realpath(root))}

    def below(cell: str | None) -> str | None:
        if cell is None or not os.path.isabs(cell):
            return cell
        # Its own folder may be named through a link.
        paths = (os.path.normpath(cell), os.path.join(os.path.realpath(os.path.dirname(cell)), os.path.basename(cell)))
        inner = [path[len(folder) :] for path in paths for folder in folders if path.startswith(folder)]
        return Path(inner[0]).as_posix() if inner else cell

    texts: list[str | None] = cells.to_list()
    return pl.Series(cells.name, [below(text) for text in texts], dtype=pl.String)


def check_media(
    table: Table, rows: pl.DataFrame, plan: Mapping[str, str], root: Path, report: Report, severity: Severity = "note"
) -> None:
    """Report the cells of `image` and `audio` that lead to no usable file. No row is dropped for it.

    Args:
        table: the item table that was read.
        rows: its rows that are kept, with `ROW` and the columns `image` and `audio` where there are any.
        plan: the file's column of each column of the catalogue.
        root: the folder of relative paths.
        report: takes the problems.
        severity: of each of them.
    """
    folder = os.path.abspath(root)
    for column, (noun, fits) in KINDS.items():
        if column not in rows.columns or column not in plan:
            continue
        found: dict[str, list[int]] = {}
        cells: list[str | None] = rows[column].to_list()
        for place, cell in enumerate(cells):
            fault = None if cell is None else _fault(cell, folder, noun, fits)
            if fault is not None:
                found.setdefault(fault, []).append(place)
        for fault, places in found.items():
            first = places[:MAX_EXAMPLES]
            lines = table.places(rows[ROW].gather(first))
            report.add(
                severity,
                table.file,
                fault,
                column=plan[column],
                count=len(places),
                examples=[Example(line, f"'{cells[place]}'") for line, place in zip(lines, first, strict=True)],
                unit=table.unit,
                do=f"these items have no {noun} then; mend the paths or files, or empty the cells",
            )


def _fault(cell: str, folder: str, noun: str, fits: Callable[[bytes], bool]) -> str | None:
    """What is wrong with the file of one cell."""
    if "\0" in cell:
        return "the path holds a zero byte"
    path = os.path.join(folder, cell)
    try:
        entry = os.stat(path)
        if not stat.S_ISREG(entry.st_mode):
            return "this is a folder or device, not a file"
        if entry.st_size == 0:
            return "the file is empty (zero bytes)"
        with open(path, "rb") as stream:
            head = stream.read(HEAD)
    except (FileNotFoundError, NotADirectoryError):
        return (
            "a web address: only files are read, nothing is fetched"
            if _ADDRESS.match(cell)
            else "there is no such file"
        )
    except OSError as error:
        return f"the file cannot be read: {error.strerror or type(error).__name__}"
    if not fits(head):
        return f"the file is no {noun}, by its first bytes"
    inside = os.path.normpath(path).startswith(folder.rstrip(os.sep) + os.sep)
    return None if inside else "the path leads out of the items' folder; encoding it needs the setting anywhere=true"
