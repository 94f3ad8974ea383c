"""Media files of a catalogue: a cell of its table to a file inside the media folder, and the bytes of that file.

Whatever is wrong with a cell or its file is a `DataError` with a plain reason, for that item alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from palate.core.errors import ArtefactError, ConfigError, DataError, unknown_name

# Also "data:" and the like; one letter before the colon is a drive of Windows.
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:")


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One cell of a media column.

    Args:
        cell: a path as the catalogue has it.
        root: the folder to which relative paths belong, or None where there is no such folder.
    """

    cell: str
    root: Path | None

    def path(self, *, anywhere: bool = False) -> Path:
        """The file's path.

        Args:
            anywhere: also accept absolute paths and paths (or links) that leave the media folder.

        Raises:
            DataError: when the cell names no path, or one outside the media folder.
        """
        from palate.core.artefact import inside

        if _ADDRESS.match(self.cell) and not _exists(self.cell):
            raise DataError(f"'{shorten(self.cell)}' is a web address; only files are read, nothing is fetched")
        if "\0" in self.cell:
            raise DataError(f"'{shorten(self.cell)}' is no path: it holds a zero byte")
        given = Path(self.cell)
        if anywhere:
            return given if self.root is None else self.root / given
        if given.is_absolute() or self.cell.startswith("~"):
            raise DataError(
                f"'{shorten(self.cell)}' is not relative to the media folder; the setting anywhere=true allows it"
            )
        if self.root is None:
            raise DataError(f"'{shorten(self.cell)}' is relative, but the catalogue has no media folder")
        try:
            return inside(self.root, self.cell)
        except ArtefactError:
            raise DataError(
                f"'{shorten(self.cell)}' leaves the media folder; the setting anywhere=true allows it"
            ) from None

    def size(self) -> int:
        """Bytes of the file, 0 when it cannot be told."""
        try:
            return os.stat(self.path(anywhere=True)).st_size
        except (OSError, ValueError, DataError):
            return 0

    def read(self, *, most: int, anywhere: bool = False) -> bytes:
        """The file's bytes.

        Args:
            most: bytes of the largest file that is read.
            anywhere: see `path`.

        Raises:
            DataError: when there is no such plain file, or it is empty, too large or not readable.
        """
        path = self.path(anywhere=anywhere)
        shown = shorten(self.cell)
        try:
            # Asked before opening: a pipe would wait for ever.
            if not path.is_file():
                raise DataError(f"'{shown}' is {'no plain file' if path.exists() else 'missing'}")
            with open(path, "rb") as stream:
                # The buffer is as large as what is asked for: not the limit for each small file.
                data = stream.read(min(most, os.fstat(stream.fileno()).st_size) + 1)
        except OSError as error:
            raise DataError(f"'{shown}' cannot be read: {error.strerror or error}") from None
        if not data:
            raise DataError(f"'{shown}' is empty (zero bytes)")
        if len(data) > most:
            raise DataError(f"'{shown}' is larger than {most:,} bytes; the setting max_bytes allows more")
        return data


def _exists(cell: str) -> bool:
    # A whole picture written as an address is too long a name to be asked for.
    try:
        return Path(cell).exists()
    except (OSError, ValueError):
        return False


def media_files(
    items: pl.DataFrame, modality: str, root: Path | None, columns: Sequence[str] | None = None
) -> list[MediaFile | None]:
    """One media file per item, None where the cell is empty.

    Args:
        items: the catalogue's item table.
        modality: "image" or "audio"; the column of that name is read unless another is given.
        root: the catalogue's media folder.
        columns: the one column to read instead.

    Raises:
        ConfigError: for several columns.
        DataError: for a column that the table lacks.
    """
    names = list(columns) if columns is not None else [modality]
    if len(names) != 1:
        raise ConfigError(f"{modality} files are read from one column, not from {len(names)}", where=", ".join(names))
    if names[0] not in items.columns:
        raise DataError(unknown_name("item column", names[0], items.columns), do=f"columns: {', '.join(items.columns)}")
    cells: list[str | None] = items[names[0]].cast(pl.String).str.strip_chars().to_list()
    return [MediaFile(cell, root) if cell else None for cell in cells]


def shorten(text: str, most: int = 120) -> str:
    """`text` as a message can show it."""
    text = text.encode("utf-8", "replace").decode().replace("\0", "\\0").replace("\n", " ")
    return text if len(text) <= most else text[: most - 1] + "…"
