"""Lists of columns by row, in CSR form: the arrays that data sets, graphs, samplers and masks share.

Takes index arrays, gives them grouped by row; the order within a row is meaningful (time) and kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Int32Array = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Rows:
    """Row r holds `columns[pointer[r]:pointer[r + 1]]`.

    Attributes:
        pointer: int64, rows + 1.
        columns: int32, one entry for each stored pair.
        width: number of valid columns.
    """

    pointer: IntArray
    columns: Int32Array
    width: int

    @classmethod
    def from_pairs(cls, rows: NDArray[np.integer], columns: NDArray[np.integer], count: int, width: int) -> Rows:
        """Group pairs by row; pairs of one row keep their given order.

        Args:
            rows, columns: integers of equal length, in [0, count) and [0, width).
            count: number of rows.
            width: number of columns.
        """
        order = np.argsort(rows, kind="stable")
        return cls(pointers(rows, count), columns[order].astype(np.int32, copy=False), width)

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.pointer) - 1

    @property
    def lengths(self) -> IntArray:
        """Entries in each row."""
        return np.diff(self.pointer)

    @property
    def size(self) -> int:
        """Stored pairs."""
        return len(self.columns)

    def __getitem__(self, row: int) -> Int32Array:
        return self.columns[self.pointer[row] : self.pointer[row + 1]]

    def row_of_entry(self) -> IntArray:
        """The row of each stored pair."""
        return np.repeat(np.arange(self.count, dtype=np.int64), self.lengths)

    def transpose(self) -> Rows:
        """Columns become rows; within each, the old rows ascend."""
        return Rows.from_pairs(self.columns, self.row_of_entry(), self.width, self.count)

    def take(self, rows: NDArray[np.integer]) -> Rows:
        """The rows `rows`, in that order."""
        lengths = self.pointer[rows + 1] - self.pointer[rows]
        pointer = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        source = np.repeat(self.pointer[rows] - pointer[:-1], lengths) + np.arange(pointer[-1])
        return Rows(pointer, self.columns[source], self.width)

    def keys(self) -> IntArray:
        """`row * width + column` of each pair, sorted: the set of pairs, for look-ups by `contains`."""
        return np.sort(self.row_of_entry() * self.width + self.columns)

    def union(self, other: Rows) -> Rows:
        """Each row's own entries followed by those of `other`."""
        rows = np.concatenate([self.row_of_entry(), other.row_of_entry()])
        return Rows.from_pairs(rows, np.concatenate([self.columns, other.columns]), self.count, self.width)


@dataclass(frozen=True, eq=False)
class Joined:
    """Several `Rows` of the same shape, read as one without building their union.

    Attributes:
        parts: at least one.
    """

    parts: tuple[Rows, ...]

    def take(self, rows: NDArray[np.integer]) -> Rows:
        """The rows `rows`, each with the entries of all parts, in the order of the parts."""
        taken = self.parts[0].take(rows)
        for part in self.parts[1:]:
            taken = taken.union(part.take(rows))
        return taken


def pointers(rows: NDArray[np.integer], count: int) -> IntArray:
    """Row pointers of pairs whose row numbers are `rows`."""
    return np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))]).astype(np.int64)


def contains(sorted_keys: IntArray, keys: IntArray) -> NDArray[np.bool_]:
    """Which of `keys` occur in `sorted_keys`."""
    if len(sorted_keys) == 0:
        return np.zeros(keys.shape, dtype=np.bool_)
    place = np.searchsorted(sorted_keys, keys)
    place[place == len(sorted_keys)] = 0
    return sorted_keys[place] == keys
