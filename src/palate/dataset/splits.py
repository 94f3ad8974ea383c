"""Splits: which interactions are for training, validation and test, seeded and vectorised.

Takes one row per interaction, sorted by ids, so that the order of the source file has no say; gives a part per row.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palate.core.errors import DataError
from palate.core.seeds import numpy_generator
from palate.dataset.settings import Split
from palate.graph.rows import Int32Array, IntArray

TRAIN, VALID, TEST = 0, 1, 2
PARTS = {"train": TRAIN, "valid": VALID, "test": TEST}
Part = NDArray[np.int8]
# Where more interactions share their time with another of the same user, chance decides much of what is held out.
OFTEN_TIED = 0.2


def split_rows(
    kind: Split,
    users: Int32Array,
    items: Int32Array,
    timestamps: IntArray | None,
    given: Part | None,
    *,
    shuffled: IntArray,
    seed: int,
    cold_share: float,
) -> Part:
    """The part of each row.

    `random`, `user-time`: of n interactions of a user the last int(0.2 n), in random order or in order of time, are
    held out, the first half of them for validation; users with 3 to 9 hold out two, users with fewer none.
    `latest`: the last is for test, the one before for validation.
    `time`: the first 80 % of all rows by time train, the next 10 % validate.
    `cold-items`: a random share of items is held out with all its rows, half of them for validation.
    `given`: as the data say.

    Args:
        users, items: row numbers in vocabularies that do not depend on file order.
        timestamps: one for each row, or None.
        given: parts from the data, or None.
        shuffled: a random permutation of the rows: their order in `random`, and what breaks ties of time.
        seed: of the choice of cold items.
        cold_share: share of items held out by `cold-items`.

    Raises:
        DataError: when the split needs timestamps or a split column that the data lack.
    """
    if kind == "given":
        if given is None:
            raise DataError("split 'given' needs a split column", do="choose another split, or import one")
        return given
    if kind == "cold-items":
        return _cold_items(items, cold_share, numpy_generator(seed, "cold items"))
    if kind == "random":
        return _held_out_last(users, shuffled, shares=True)
    if timestamps is None:
        raise DataError(f"split '{kind}' needs timestamps", do="use --split random, or import a timestamp column")
    by_time = np.lexsort((shuffled, timestamps))
    position = np.empty_like(by_time)
    position[by_time] = np.arange(len(by_time))
    if kind == "time":
        cuts = np.array([int(0.8 * len(users)), int(0.9 * len(users))])
        return np.searchsorted(cuts, position, side="right").astype(np.int8)
    return _held_out_last(users, position, shares=kind == "user-time")


def tied_share(users: pl.Series, times: pl.Series) -> float:
    """The share of the interactions whose time another one of the same user has too."""
    # Equal pairs have equal hashes, and sorting these is far quicker than sorting the pairs.
    hashes = np.sort(pl.DataFrame([users.alias("user"), times.alias("time")]).hash_rows().to_numpy())
    same = hashes[1:] == hashes[:-1]
    tied = np.zeros(len(hashes), dtype=np.bool_)
    tied[1:] |= same
    tied[:-1] |= same
    return float(tied.mean()) if len(tied) else 0.0


def tied_text(share: float) -> str:
    """What that means for a split by time within each user; empty where it means little."""
    if share <= OFTEN_TIED:
        return ""
    return (
        f"{share:.0%} of the interactions share their time with another of the same user, "
        "and their order is drawn at random"
    )


def _held_out_last(users: Int32Array, position: IntArray, *, shares: bool) -> Part:
    order = np.lexsort((position, users))
    counts = np.bincount(users)
    start = np.concatenate([[0], np.cumsum(counts)])[:-1]
    rank = np.arange(len(users)) - start[users[order]]
    held_out = np.where(counts >= 10, counts // 5, 2) if shares else np.full_like(counts, 2)
    held_out = np.where(counts >= 3, held_out, 0)
    for_test = held_out - held_out // 2
    to_end = (counts[users[order]] - rank).astype(np.int64)
    part = np.full(len(users), TRAIN, np.int8)
    part[order[to_end <= held_out[users[order]]]] = VALID
    part[order[to_end <= for_test[users[order]]]] = TEST
    return part


def _cold_items(items: Int32Array, share: float, generator: np.random.Generator) -> Part:
    present = np.unique(items)
    cold = generator.permutation(present)[: max(2, round(share * len(present)))]
    part_of_item = np.full(int(items.max()) + 1, TRAIN, np.int8)
    part_of_item[cold[: len(cold) // 2]] = VALID
    part_of_item[cold[len(cold) // 2 :]] = TEST
    return part_of_item[items]


def thin_rows(part: Part, share: float, *, seed: int) -> NDArray[np.bool_]:
    """Which rows stay when `share` of the train rows is kept, at random; held-out rows all stay."""
    train = np.flatnonzero(part == TRAIN)
    kept = numpy_generator(seed, "thin").permutation(train)[: max(1, round(share * len(train)))]
    stays = part != TRAIN
    stays[kept] = True
    return stays
