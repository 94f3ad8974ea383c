"""Synthetic interactions: as many as asked for, each once, unevenly spread, and no order in their numbers."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.interactions import pairs, sizes


def test_pairs_are_distinct_within_bounds_and_the_seed_decides() -> None:
    user, item = pairs(50, 40, 900, seed=3)
    assert len(set(zip(user.tolist(), item.tolist(), strict=True))) == len(user) == 900
    assert user.min() >= 0
    assert user.max() < 50
    assert item.min() >= 0
    assert item.max() < 40
    again, other = pairs(50, 40, 900, seed=3), pairs(50, 40, 900, seed=4)
    assert np.array_equal(user, again[0])
    assert np.array_equal(item, again[1])
    assert not np.array_equal(user, other[0])


def test_more_than_half_of_all_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="101 distinct pairs are too many"):
        pairs(10, 20, 101)
    assert len(pairs(10, 20, 100)[0]) == 100


def test_frequencies_fall_as_a_power_of_the_rank() -> None:
    user, item = pairs(4000, 4000, 50_000)
    for indices, power in ((user, 2.0), (item, 3.0)):
        counts = np.sort(np.bincount(indices, minlength=4000))[::-1]
        # Where repeats are rare, half of all draws fall on a share of 0.5^power of the ranks.
        head = counts[: round(4000 * 0.5**power)].sum() / counts.sum()
        assert head == pytest.approx(0.5, abs=0.03)
        frequent = np.argsort(-np.bincount(indices, minlength=4000))[:400]
        assert abs(np.mean(frequent) - 2000) < 300


def test_sizes_keep_their_proportions() -> None:
    assert sizes(10**7) == (500_000, 100_000)
    assert sizes(10**5) == (5_000, 1_000)
    assert min(sizes(1)) == 50
