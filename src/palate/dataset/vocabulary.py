"""Ids ↔ row numbers. Ids are strings outside; inside, row numbers come from a seeded permutation of the sorted ids,
so that neither the order of a file nor that of the ids says anything about an item."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import polars as pl

from palate.core.errors import DataError, nearest
from palate.core.seeds import numpy_generator
from palate.graph.rows import Int32Array, IntArray


class Vocabulary:
    """The ids of users or of items.

    Args:
        kind: "user" or "item", for messages.
        ids: id of each row number.
    """

    def __init__(self, kind: str, ids: pl.Series) -> None:
        self.kind = kind
        self.ids = ids

    @classmethod
    def permuted(cls, kind: str, sorted_ids: pl.Series, seed: int) -> tuple[Vocabulary, IntArray]:
        """A vocabulary in random order, and the row number of each of `sorted_ids`."""
        order = numpy_generator(seed, "permutation", kind).permutation(len(sorted_ids))
        row_of = np.empty(len(order), dtype=np.int64)
        row_of[order] = np.arange(len(order))
        return cls(kind, sorted_ids.gather(order)), row_of

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.ids)}

    def find(self, name: str) -> int | None:
        """The row number of an id; None for an unknown one, without looking for a near one, which takes a while."""
        return self._rows.get(name)

    def row(self, name: str | int) -> int:
        """The row number of an id.

        Raises:
            DataError: for an unknown id, with a near one.
        """
        row = self.find(str(name))
        if row is None:
            guess = nearest(str(name), self.ids.head(100_000))
            raise DataError(
                f"unknown {self.kind} '{name}'",
                do=(f"did you mean '{guess}'? " if guess else "") + f"there are {len(self):,} {self.kind}s",
            )
        return row

    def rows(self, names: Iterable[str | int]) -> IntArray:
        """Row numbers of several ids.

        Raises:
            DataError: as `row`.
        """
        return np.array([self.row(name) for name in names], dtype=np.int64)

    def places(self, source: pl.Series, *, by_id: bool) -> IntArray:
        """The place of each row's id in the source.

        Args:
            source: ids in source order, repeats allowed, each id at least once.
            by_id: order the ids themselves, numbers in them by value; else by first appearance.
        """
        first = source.unique(maintain_order=True)
        if by_id:
            first = pl.Series("id", sorted(first, key=_natural), dtype=pl.String)
        sorted_ids = self.ids.sort()
        row_of_sorted = np.empty(len(self), dtype=np.int64)
        row_of_sorted[codes(self.ids, sorted_ids)] = np.arange(len(self))
        places = np.empty(len(self), dtype=np.int64)
        places[row_of_sorted[codes(first, sorted_ids)]] = np.arange(len(self))
        return places


def _natural(name: str) -> list[tuple[int, str]]:
    # "u9" before "u10": digit runs by value, the rest as text; texts and numbers alternate, so they never meet.
    parts = re.split(r"0*([0-9]+)", name)
    # Of two numbers without leading zeros the longer one is larger, and `int` refuses very long ones.
    return [(len(part), part) if place % 2 else (0, part) for place, part in enumerate(parts)]


def codes(values: pl.Series, sorted_ids: pl.Series) -> Int32Array:
    """The place of each value in `sorted_ids` (distinct, ascending), which holds all of them."""
    places = sorted_ids.to_frame("id").with_row_index("place")
    found = values.to_frame("id").join(places, on="id", how="left", maintain_order="left")
    return found["place"].to_numpy().astype(np.int32)
