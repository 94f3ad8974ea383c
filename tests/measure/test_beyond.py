"""Measures beyond accuracy against their definitions, written out slowly, and against values known by hand."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import isnan, log2, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from measure.tables import rows_of
from palate.measure import beyond
from palate.measure.beyond import Beyond, beyond_accuracy, gini
from palate.measure.evaluation import Lists
from palate.measure.popularity import head_items, popularity

CUTS = (1, 3, 5)


@dataclass(frozen=True)
class Modality:
    matrix: NDArray[np.float32]
    present: NDArray[np.bool_]


def lists_of(lists: list[list[int]], width: int) -> Lists:
    """Lists that may end early."""
    items = np.array([row + [-1] * (width - len(row)) for row in lists], dtype=np.int64).reshape(-1, width)
    return Lists(np.arange(len(lists)), items)


def slow_diversity(items: list[int], modality: Modality) -> float:
    unit = [row / np.linalg.norm(row) if row.any() else row for row in modality.matrix.astype(np.float64)]
    pairs = list(combinations([item for item in items if modality.present[item]], 2))
    return sum(1 - float(unit[a] @ unit[b]) for a, b in pairs) / len(pairs) if pairs else nan


def slow_gini(counts: list[int]) -> float:
    n, total = len(counts), sum(counts)
    return sum(abs(a - b) for a, b in combinations(counts, 2)) / ((n - 1) * total) if n > 1 and total else 0.0


@given(st.data())
def test_all_measures_are_those_of_their_definitions(data: st.DataObject) -> None:
    items, users = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 5))
    train = [data.draw(st.sets(st.integers(0, items - 1))) for _ in range(users)]
    depth = min(5, items)
    lists = [
        data.draw(st.permutations(range(items)))[: data.draw(st.integers(0, depth), label="length")]
        for _ in range(users)
    ]
    small = st.integers(-2, 2)
    matrix = np.array([[data.draw(small) for _ in range(2)] for _ in range(items)], dtype=np.float32)
    modality = Modality(matrix, np.array([data.draw(st.booleans()) for _ in range(items)]))
    found = beyond_accuracy(lists_of(lists, depth), rows_of(train, items), {"text": modality}, cuts=CUTS)
    taken = [sum(item in own for own in train) for item in range(items)]
    head = head_items(np.array(taken))
    for k in CUTS:
        for user, row in enumerate(lists):
            top = row[:k]
            expected = {
                "arp": np.mean([taken[item] for item in top]) if top else nan,
                "aplt": np.mean([not head[item] for item in top]) if top else nan,
                "novelty": np.mean([-log2(max(1, taken[item]) / users) for item in top]) if top else nan,
                "ild_text": slow_diversity(top, modality),
            }
            for name, value in expected.items():
                assert found.values[f"{name}@{k}"][user] == pytest.approx(value, abs=1e-9, nan_ok=True)
        times = [sum(item in row[:k] for row in lists) for item in range(items)]
        assert found.totals[f"coverage@{k}"] == pytest.approx(sum(n > 0 for n in times) / items)
        assert found.totals[f"gini@{k}"] == pytest.approx(slow_gini(times), abs=1e-12)


def test_diversity_known_by_hand() -> None:
    matrix = np.array([[3, 0], [1, 0], [0, 2], [-1, 0], [9, 9]], dtype=np.float32)
    modality = Modality(matrix, np.array([True, True, True, True, False]))
    lists = lists_of([[0, 1], [0, 2], [0, 3], [0, 1, 2], [0, 4], [4, 0, 1]], 3)
    found = beyond_accuracy(lists, rows_of([set()] * 6, 5), {"image": modality}, cuts=(2, 3))
    assert found.values["ild_image@3"].tolist() == pytest.approx([0, 1, 2, 2 / 3, nan, 0], nan_ok=True)
    # Of the first two items of the last list, one alone has an image.
    assert found.values["ild_image@2"].tolist() == pytest.approx([0, 1, 2, 0, nan, nan], nan_ok=True)
    defined = found.defined
    assert (defined["arp@2"], defined["ild_image@2"], defined["ild_image@3"]) == (6, 4, 5)
    assert found.means()["ild_image@3"] == pytest.approx((0 + 1 + 2 + 2 / 3 + 0) / 5)


def test_equal_rows_have_no_diversity_however_they_round() -> None:
    row = np.random.default_rng(0).normal(size=200).astype(np.float32)
    scale = np.linspace(0.01, 90, 50, dtype=np.float32)
    modality = Modality(scale[:, None] * row, np.ones(50, dtype=np.bool_))
    found = beyond_accuracy(lists_of([list(range(50))], 50), rows_of([{0}], 50), {"text": modality})
    for k in (5, 10, 20, 50):
        assert 0 <= found.values[f"ild_text@{k}"][0] < 1e-7


def test_the_head_holds_its_share_and_never_parts_equally_popular_items() -> None:
    counts = np.array([10, 1, 5, 3, 1, 0])
    assert head_items(counts, 0.5).tolist() == [True, False, False, False, False, False]
    assert head_items(counts, 0.75).tolist() == [True, False, True, False, False, False]
    assert head_items(counts, 0.9).tolist() == [True, False, True, True, False, False]
    assert head_items(counts, 0.91).tolist() == [True, True, True, True, True, False]
    assert not head_items(np.zeros(4, dtype=np.int64)).any()
    # Each of three items has a third; two thirds of 3, 6 and 9 are whole numbers.
    for times in (1, 2, 3, 7):
        assert head_items(np.array([2 * times, times]), 2 / 3).tolist() == [True, False]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.floats(0.01, 1))
def test_the_head_is_the_smallest_such_set(counts: list[int], share: float) -> None:
    table = np.array(counts)
    head = head_items(table, share)
    if table.sum():
        least = table[head].min()
        assert table[head].sum() >= share * table.sum() - 1e-6
        assert table[table > least].sum() < share * table.sum()
        assert not head[table < least].any()
        assert head[table == least].all()


def test_popularity_counts_train_interactions_of_all_items() -> None:
    assert popularity(rows_of([{0, 2}, {2}, set()], 4)).tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize(
    ("counts", "expected"), [([3, 3, 3], 0), ([0, 9, 0, 0], 1), ([0, 0], 0), ([7], 0), ([0, 1], 1), ([1, 3], 0.5)]
)
def test_gini_known_by_hand(counts: list[int], expected: float) -> None:
    assert gini(np.array(counts)) == pytest.approx(expected)


def test_the_popular_list_is_all_head_and_an_unknown_item_is_as_new_as_one_that_one_user_took() -> None:
    train = rows_of([{0}, {0}, {0}, {0, 1}], 3)
    found = beyond_accuracy(lists_of([[0], [1], [2]], 1), train, cuts=(1,))
    assert found.values["arp@1"].tolist() == [4, 1, 0]
    assert found.values["aplt@1"].tolist() == [0, 1, 1]
    assert found.values["novelty@1"].tolist() == [0, 2, 2]
    assert found.totals == {"coverage@1": 1.0, "gini@1": 0.0}


def world(seed: int) -> tuple[Lists, list[set[int]], Modality]:
    generator = np.random.default_rng(seed)
    lists = Lists(np.arange(50), np.stack([generator.permutation(30)[:20] for _ in range(50)]))
    lists.items[::7, 12:] = -1
    train = [set(generator.choice(30, 6, replace=False).tolist()) for _ in range(50)]
    return lists, train, Modality(generator.normal(size=(30, 8)).astype(np.float32), generator.random(30) < 0.7)


def same(first: Beyond, second: Beyond) -> None:
    for name, column in first.values.items():
        np.testing.assert_allclose(second.values[name], column, rtol=1e-12, atol=1e-12)
    assert second.totals == pytest.approx(first.totals, abs=1e-12)


def test_the_numbering_of_items_does_not_matter() -> None:
    lists, train, modality = world(1)
    new = np.random.default_rng(9).permutation(30)
    moved = Lists(lists.users, np.where(lists.items >= 0, new[lists.items], -1))
    old = np.argsort(new)
    shuffled = Modality(modality.matrix[old], modality.present[old])
    renamed = rows_of([{int(new[item]) for item in own} for own in train], 30)
    cuts = (5, 20)
    same(
        beyond_accuracy(lists, rows_of(train, 30), {"text": modality}, cuts=cuts),
        beyond_accuracy(moved, renamed, {"text": shuffled}, cuts=cuts),
    )


def test_the_size_of_blocks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    lists, train, modality = world(2)
    whole = beyond_accuracy(lists, rows_of(train, 30), {"text": modality}, cuts=(5, 20))
    monkeypatch.setattr(beyond, "BLOCK_USERS", 7)
    monkeypatch.setattr(beyond, "BLOCK_BYTES", 8 * 20 * 8 * 3)
    monkeypatch.setattr(beyond, "BLOCK_ROWS", 11)
    same(whole, beyond_accuracy(lists, rows_of(train, 30), {"text": modality}, cuts=(5, 20)))


def test_nobody_to_measure_has_no_mean() -> None:
    modality = Modality(np.ones((3, 2), dtype=np.float32), np.ones(3, dtype=np.bool_))
    found = beyond_accuracy(lists_of([], 2), rows_of([{0}], 3), {"text": modality}, cuts=(2,))
    assert found.means() == {
        "arp@2": None,
        "aplt@2": None,
        "novelty@2": None,
        "ild_text@2": None,
        "coverage@2": 0.0,
        "gini@2": 0.0,
    }


def test_lists_that_are_too_short_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be measured at 50"):
        beyond_accuracy(lists_of([[0, 1]], 2), rows_of([{0}], 3))


def test_a_list_without_any_item_has_no_value() -> None:
    found = beyond_accuracy(lists_of([[], [1]], 1), rows_of([{0}, {1}], 2), cuts=(1,))
    assert isnan(found.values["arp@1"][0])
    assert found.means()["arp@1"] == 1.0
