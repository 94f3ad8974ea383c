"""Metrics against their definitions, written out slowly, and against values known by hand."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.graph.rows import Rows
from palate.measure.metrics import Accuracy, accuracy, hits

CUTS = (1, 3, 5, 10)


def slow(ranked: list[int], positives: set[int], k: int) -> dict[str, float]:
    """The definitions, for one user."""
    gains = [int(item in positives) for item in ranked[:k]]
    found = sum(gains)
    gain = sum(hit / log2(rank + 1) for rank, hit in enumerate(gains, 1))
    ideal = sum(1 / log2(rank + 1) for rank in range(1, min(len(positives), k) + 1))
    precisions = [sum(gains[:rank]) / rank for rank, hit in enumerate(gains, 1) if hit]
    return {
        "recall": found / len(positives),
        "precision": found / k,
        "hit": float(found > 0),
        "mrr": 1 / (gains.index(1) + 1) if found else 0.0,
        "ndcg": gain / ideal,
        "map": sum(precisions) / min(len(positives), k),
    }


@given(st.data())
def test_metrics_are_those_of_the_definitions(data: st.DataObject) -> None:
    items = data.draw(st.integers(1, 15))
    users = data.draw(st.integers(1, 4))
    width = data.draw(st.integers(1, items))
    lists = [data.draw(st.permutations(range(items)))[:width] for _ in range(users)]
    chosen = [data.draw(st.sets(st.integers(0, items - 1), min_size=1)) for _ in range(users)]
    # A list may end early: what is beyond its end is nobody.
    ends = [data.draw(st.integers(0, width)) for _ in range(users)]
    ranked = np.array([row[:end] + [-1] * (width - end) for row, end in zip(lists, ends, strict=True)])
    pairs = np.array([(user, item) for user, own in enumerate(chosen) for item in own])
    positives = Rows.from_pairs(pairs[:, 0], pairs[:, 1], users, items)
    found = accuracy(hits(ranked, np.arange(users), positives), positives.lengths, CUTS)
    assert len(found) == 6 * len(CUTS)
    for user in range(users):
        for k in CUTS:
            for metric, value in slow(lists[user][: ends[user]], chosen[user], k).items():
                assert found[f"{metric}@{k}"][user] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("hit", "positives", "expected"),
    [
        ([1, 1, 1], 3, {"recall": 1, "precision": 1, "hit": 1, "mrr": 1, "ndcg": 1, "map": 1}),
        ([1, 1, 1], 9, {"recall": 1 / 3, "precision": 1, "hit": 1, "mrr": 1, "ndcg": 1, "map": 1}),
        ([0, 0, 0], 2, {"recall": 0, "precision": 0, "hit": 0, "mrr": 0, "ndcg": 0, "map": 0}),
        ([0, 0, 1], 1, {"recall": 1, "precision": 1 / 3, "hit": 1, "mrr": 1 / 3, "ndcg": 1 / 2, "map": 1 / 3}),
        ([0, 1, 1], 2, {"recall": 1, "precision": 2 / 3, "mrr": 1 / 2, "map": (1 / 2 + 2 / 3) / 2}),
    ],
)
def test_values_known_by_hand(hit: list[int], positives: int, expected: dict[str, float]) -> None:
    found = accuracy(np.array([hit], dtype=bool), np.array([positives]), (3,))
    for metric, value in expected.items():
        assert found[f"{metric}@3"].tolist() == pytest.approx([value])


def test_a_list_shorter_than_the_cut_ends_in_misses() -> None:
    found = accuracy(np.array([[True]]), np.array([4]), (1, 50))
    assert (found["precision@50"][0], found["recall@50"][0], found["hit@50"][0]) == (1 / 50, 1 / 4, 1)


def test_an_item_is_a_hit_for_its_own_user_only_and_nobody_never() -> None:
    positives = Rows.from_pairs(np.array([0, 1]), np.array([3, 0]), 2, 4)
    found = hits(np.array([[3, 0, -1], [3, 0, -1]]), np.arange(2), positives)
    # -1 of the second user would be the first user's item 3 if it counted as a number.
    assert found.tolist() == [[True, False, False], [False, True, False]]


def test_means_are_over_users_and_zero_when_nobody_was_measured() -> None:
    assert Accuracy(np.arange(2), {"recall@5": np.array([0.5, 1.0])}).means() == {"recall@5": 0.75}
    assert Accuracy(np.arange(0), {"recall@5": np.zeros(0)}).means() == {"recall@5": 0.0}
