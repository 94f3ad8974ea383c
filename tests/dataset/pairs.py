"""The parts and ways of a split, and the user–item pairs of a data set by their ids."""

from __future__ import annotations

import numpy as np
import polars as pl

from palate.dataset.dataset import Dataset
from palate.graph.rows import Joined, Rows

SPLITS = ("random", "user-time", "time", "latest", "cold-items")
PARTS = ("train", "valid", "test")


def pairs(data: Dataset, rows: Rows | Joined) -> set[tuple[str, str]]:
    """The rows' pairs by id."""
    if isinstance(rows, Joined):
        rows = rows.take(np.arange(len(data.users)))
    users, items = data.users.ids.gather(rows.row_of_entry()), data.items.ids.gather(rows.columns)
    found = set(zip(users, items, strict=True))
    assert len(found) == rows.size, "no pair occurs twice"
    return found


def pairs_where(data: Dataset, condition: pl.Expr) -> set[tuple[str, str]]:
    chosen = data.catalogue.interactions.filter(condition)
    return set(zip(chosen["user_id"], chosen["item_id"], strict=True))
