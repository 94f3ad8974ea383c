"""`Features`: one row of numbers per item for one modality, with a mask that says which items have it at all.

Takes a matrix, a presence mask and the items' ids; checks them once, so that everything downstream may trust them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import ConfigError, DataError

# Rows that are looked at together: checks of a memory-mapped matrix must not pull all of it into memory at once.
BLOCK = 4096
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def check_modality_name(name: str) -> str:
    """`name` itself, when it can name a modality and so a folder.

    Raises:
        ConfigError: when it holds anything but lower-case letters, digits, `_` and `-`.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"'{name}' cannot name a modality",
            do="use lower-case letters, digits, '_' and '-', at most 64 of them, for example 'text'",
        )
    return name


@dataclass(frozen=True, eq=False)
class Features:
    """The features of one modality. Row i belongs to item `ids[i]`.

    Args:
        name: the modality ("text", "image").
        matrix: float32, items × width; kept as a read-only view, memory-mapped or not. Rows of absent items are zero.
        present: bool, one per item; False where the item has no such content.
        encoder: what made the rows: its name, version and settings.
        ids: the items' ids, row by row, each once.
        fingerprint: hex sha256 over encoder, matrix and mask (see `content_fingerprint`); worked out when empty.
        columns: where a column stands for something of its own (a category), a digest of its name for each; columns of
            two catalogues are matched by them. Empty where a column is only a place.

    Raises:
        ConfigError: for a name that cannot name a modality.
        DataError: for wrong shapes or types, repeated ids or columns, values that are not finite, absent rows that are
            not zero.
    """

    name: str
    matrix: NDArray[np.float32]
    present: NDArray[np.bool_]
    encoder: str
    ids: tuple[str, ...]
    fingerprint: str = ""
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_modality_name(self.name)
        self._check_shapes()
        self._check_values()
        for field in ("matrix", "present"):
            view = getattr(self, field).view()
            view.flags.writeable = False
            object.__setattr__(self, field, view)
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", content_fingerprint(self.encoder, self.matrix, self.present))

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return self.matrix.shape[1]

    @property
    def coverage(self) -> float:
        """Share of items that have this modality, in [0, 1]; 0 when there are no items."""
        return float(self.present.mean()) if len(self.present) else 0.0

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.integer]) -> Features:
        """The features of the items `rows`, in that order, copied into memory; the fingerprint is that of the copy.

        Args:
            rows: row numbers in [0, items), each at most once.

        Raises:
            IndexError: for a row outside the matrix.
            DataError: for a row that is asked for twice.
        """
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"rows must lie in [0, {len(self)}); found {rows.min()} to {rows.max()}")
        matrix = np.ascontiguousarray(self.matrix[rows])
        ids = tuple(self.ids[row] for row in rows.tolist())
        return Features(self.name, matrix, self.present[rows], self.encoder, ids, columns=self.columns)

    def _check_shapes(self) -> None:
        where = f"features '{self.name}'"
        if self.matrix.ndim != 2 or self.matrix.shape[1] < 1:
            raise DataError(f"the matrix must be items × width; its shape is {self.matrix.shape}", where=where)
        if self.matrix.dtype != np.float32:
            raise DataError(f"the matrix must be float32; it is {self.matrix.dtype}", where=where, do="cast it first")
        if self.present.dtype != np.bool_ or self.present.shape != self.matrix.shape[:1]:
            raise DataError(
                f"the presence mask must be {self.matrix.shape[0]} booleans, one per row; "
                f"it is {self.present.dtype} of shape {self.present.shape}",
                where=where,
            )
        if len(self.ids) != self.matrix.shape[0]:
            raise DataError(f"{self.matrix.shape[0]:,} rows but {len(self.ids):,} item ids", where=where)
        repeated = repeated_ids(self.ids)
        if repeated:
            raise DataError(f"{some(repeated)} occurs in more than one row", where=where, do="give each item one row")
        if self.columns and {len(self.columns), len(set(self.columns))} != {self.matrix.shape[1]}:
            raise DataError(
                f"{self.matrix.shape[1]:,} columns but {len(self.columns):,} names of them, "
                f"{len(set(self.columns)):,} of them different",
                where=where,
            )

    def _check_values(self) -> None:
        broken: list[int] = []
        pretending: list[int] = []
        for start, block in blocks(self.matrix):
            here = self.present[start : start + len(block)]
            broken += (start + np.flatnonzero(here & ~np.isfinite(block).all(axis=1))).tolist()
            pretending += (start + np.flatnonzero(~here & (block != 0).any(axis=1))).tolist()
        where = f"features '{self.name}'"
        if broken:
            raise DataError(
                f"{len(broken):,} rows hold NaN or infinity: {some([self.ids[row] for row in broken])}",
                where=where,
                do="mend these rows, or mark their items as absent",
            )
        if pretending:
            raise DataError(
                f"{len(pretending):,} items are marked absent but have a row that is not zero: "
                f"{some([self.ids[row] for row in pretending])}",
                where=where,
                do="set the rows of absent items to zero",
            )


def content_fingerprint(encoder: str, matrix: NDArray[np.float32], present: NDArray[np.bool_]) -> str:
    """Hex sha256 over the encoder's identity, the shape, the mask and the matrix, whatever the modality is called."""
    digest = hashlib.sha256(f"{encoder}\x1f{matrix.shape}\x1f".encode())
    digest.update(present.tobytes())
    for _, block in blocks(matrix):
        digest.update(np.ascontiguousarray(block).tobytes())
    return digest.hexdigest()


def blocks(matrix: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The matrix in runs of rows, each with the number of its first row."""
    for start in range(0, len(matrix), BLOCK):
        yield start, matrix[start : start + BLOCK]


def repeated_ids(ids: tuple[str, ...]) -> list[str]:
    """The ids that occur more than once, in the order in which they first repeat."""
    if len(set(ids)) == len(ids):
        return []
    seen: set[str] = set()
    repeated: dict[str, None] = {}
    for item in ids:
        if item in seen:
            repeated[item] = None
        seen.add(item)
    return list(repeated)


def some(ids: list[str], shown: int = 5) -> str:
    """The first few ids, as a message names them: `item 'a', 'b' and 3 more`."""
    words = ", ".join(f"'{item}'" for item in ids[:shown])
    return f"item {words}" + (f" and {len(ids) - shown:,} more" if len(ids) > shown else "")
