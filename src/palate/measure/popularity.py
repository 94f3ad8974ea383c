"""Popularity of items from train interactions, and the head of its distribution, which holds most of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from palate.graph.rows import Rows

# The short head holds this share of the train interactions.
HEAD_SHARE = 0.8


def popularity(train: Rows) -> NDArray[np.int64]:
    """Train interactions of each item: int64, I.

    Args:
        train: U rows of positive train items.
    """
    return np.bincount(train.columns, minlength=train.width).astype(np.int64)


def head_items(counts: NDArray[np.int64], share: float = HEAD_SHARE) -> NDArray[np.bool_]:
    """The smallest set of most popular items that holds at least `share` of the interactions: bool, I.

    Items as popular as the least popular of the set belong to it too, so that no numbering of items matters; the set
    may then hold more than `share`. Items without an interaction never belong to it.

    Args:
        counts: interactions of each item.
        share: in (0, 1].
    """
    if counts.sum() == 0:
        return np.zeros(len(counts), dtype=np.bool_)
    descending = np.sort(counts)[::-1]
    # A share of a whole number of interactions may come out a rounding error above it.
    place = int(np.searchsorted(descending.cumsum(), share * counts.sum() * (1 - 1e-12)))
    return counts >= max(1, int(descending[place]))
