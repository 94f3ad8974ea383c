"""Synthetic interactions of any size: distinct pairs whose users and items have power-law frequencies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

# A uniform number to this power, times the count: frequencies fall as rank^(1/power - 1).
USER_POWER, ITEM_POWER = 2.0, 3.0


def sizes(interactions: int) -> tuple[int, int]:
    """Users and items that suit so many interactions: 20 for each user and 100 for each item."""
    return max(interactions // 20, 50), max(interactions // 100, 50)


def pairs(users: int, items: int, wanted: int, seed: int = 0) -> tuple[Indices, Indices]:
    """Distinct (user, item) pairs in random order; memory is a few arrays of that length.

    Frequent users and items have random numbers: neighbours in a table are not neighbours in frequency.

    Args:
        users, items: numbers run from 0 below these.
        wanted: how many pairs; at most half of all there can be.
        seed: of everything.
    """
    if wanted > users * items // 2:
        raise ValueError(f"{wanted:,} distinct pairs are too many for {users:,} users and {items:,} items")
    generator = np.random.default_rng(seed)
    keys = np.zeros(0, dtype=np.int64)
    while len(keys) < wanted:
        more = (wanted - len(keys)) * 5 // 4 + 100
        fresh = _ranks(generator, users, USER_POWER, more)
        fresh *= items
        fresh += _ranks(generator, items, ITEM_POWER, more)
        # Sorted and distinct; the sum of both is freed before the next round.
        keys = np.unique(np.concatenate([keys, fresh]))
    generator.shuffle(keys)
    keys = keys[:wanted]
    return generator.permutation(users)[keys // items], generator.permutation(items)[keys % items]


def _ranks(generator: np.random.Generator, count: int, power: float, size: int) -> Indices:
    places = generator.random(size)
    np.power(places, power, out=places)
    places *= count
    return places.astype(np.int64)
