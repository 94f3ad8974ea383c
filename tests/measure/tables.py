"""Scorers over a table of scores, and rows written out as pairs or sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from palate.graph.rows import Rows


class Table:
    """A scorer over a table of scores, which notes whom it was asked about."""

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores
        self.asked: list[int] = []

    @property
    def items(self) -> int:
        """Number of items."""
        return self.scores.shape[1]

    def score_block(self, users: Tensor) -> Tensor:
        """Rows of the table."""
        self.asked += users.tolist()
        return self.scores.index_select(0, users)


def rows(pairs: Sequence[Sequence[int]], users: int, items: int) -> Rows:
    """Rows of (user, item) pairs."""
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Rows.from_pairs(table[:, 0], table[:, 1], users, items)


def rows_of(sets: Sequence[Iterable[int]], items: int) -> Rows:
    """Rows of one set of items per user."""
    return rows([(user, item) for user, own in enumerate(sets) for item in sorted(own)], len(sets), items)
