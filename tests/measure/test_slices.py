"""Slices: who belongs to them, what is counted in them, and how they add up to the whole."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from measure.tables import rows_of
from palate.graph.rows import Rows
from palate.measure.evaluation import Lists, accuracy_of
from palate.measure.slices import Slice, Sliced, item_slices, measure_slices, user_slices

CLASSES = ("items/head", "items/mid", "items/tail", "items/cold")


def by_name(slices: list[Slice]) -> dict[str, list[int]]:
    return {chosen.name: np.flatnonzero(chosen.members).tolist() for chosen in slices}


@given(st.lists(st.sets(st.integers(0, 11)), min_size=1, max_size=12))
def test_popularity_classes_part_the_items_and_activity_the_users(train: list[set[int]]) -> None:
    given_rows = rows_of(train, 12)
    items = {chosen.name: chosen.members for chosen in item_slices(given_rows)}
    assert tuple(items) == CLASSES
    assert (np.stack(list(items.values())).sum(0) == 1).all()
    users = user_slices(given_rows)
    assert (np.stack([chosen.members for chosen in users]).sum(0) == 1).all()
    # Popularity falls from class to class, activity rises.
    counts = np.bincount(given_rows.columns, minlength=12)
    met = [counts[items[name]] for name in CLASSES if items[name].any()]
    assert all(high.min() > low.max() for high, low in pairwise(met))
    lengths = [given_rows.lengths[chosen.members] for chosen in users if chosen.members.any()]
    assert all(low.max() < high.min() for low, high in pairwise(lengths))


def test_slices_known_by_hand() -> None:
    # Item 0 is taken by eight users, 1 by one, 2 by one, 3 by nobody.
    train = rows_of([{0}] * 6 + [{0, 1, 2}, {0}, set()], 4)
    slices = item_slices(train, {"text": np.array([True, False, True, False])}, head=0.8, mid=0.9)
    assert by_name(slices) == {
        "items/head": [0],
        "items/mid": [1, 2],
        "items/tail": [],
        "items/cold": [3],
        "items/no-text": [1, 3],
    }
    users = user_slices(train)
    assert by_name(users) == {"users/new": [8], "users/few": [0, 1, 2, 3, 4, 5, 7], "users/some": [], "users/many": [6]}
    assert [chosen.meaning for chosen in users] == [
        "no positive train interaction",
        "1 positive train interaction",
        "no user",
        "2 to 3 positive train interactions",
    ]


def test_users_of_distinct_activity_are_parted_into_equal_thirds() -> None:
    slices = user_slices(rows_of([range(n) for n in range(10)], 10))
    assert [int(chosen.members.sum()) for chosen in slices] == [1, 3, 3, 3]


def world(seed: int = 0) -> tuple[Lists, Rows, Rows]:
    generator = np.random.default_rng(seed)
    weight = 1 / np.arange(1, 41)
    train = [
        set(generator.choice(40, generator.integers(0, 9), replace=False, p=weight / weight.sum()).tolist())
        for _ in range(60)
    ]
    held_out = [set(generator.choice(40, generator.integers(0, 5), replace=False).tolist()) for _ in range(60)]
    positives = rows_of(held_out, 40)
    users = np.flatnonzero(positives.lengths)
    lists = Lists(users, np.stack([generator.permutation(40)[:10] for _ in users]))
    return lists, positives, rows_of(train, 40)


def measured(lists: Lists, positives: Rows, slices: list[Slice], resamples: int = 200, seed: int = 0) -> list[Sliced]:
    return measure_slices(lists, positives, slices, cuts=(5, 10), resamples=resamples, seed=seed)


def test_the_hits_of_the_popularity_classes_add_up_to_all_hits() -> None:
    lists, positives, train = world()
    whole = accuracy_of(lists, positives, cuts=(5, 10))
    hits = np.zeros(positives.count)
    parts = measured(lists, positives, item_slices(train))
    for part in parts:
        own = np.zeros(positives.count)
        own_positives = part.slice.members[positives.columns]
        np.add.at(own, positives.row_of_entry()[own_positives], 1)
        hits[part.accuracy.users] += part.accuracy.values["recall@10"] * own[part.accuracy.users]
        assert part.users == (own > 0).sum()
    assert sum(part.positives for part in parts) == positives.size
    expected = whole.values["recall@10"] * positives.lengths[whole.users]
    np.testing.assert_allclose(hits[whole.users], expected, atol=1e-12)


def test_the_means_of_the_activity_classes_weigh_up_to_the_mean_of_all() -> None:
    lists, positives, train = world()
    parts = measured(lists, positives, user_slices(train))
    assert sum(part.users for part in parts) == len(lists.users)
    for name, mean in accuracy_of(lists, positives, cuts=(5, 10)).means().items():
        weighed = sum(part.users * part.estimates[name].mean for part in parts) / len(lists.users)
        assert weighed == pytest.approx(mean)


def test_only_the_positives_of_the_slice_count_and_the_lists_stay_those_of_all_items() -> None:
    lists = Lists(np.arange(2), np.array([[0, 1, 2], [2, 1, 0]]))
    positives = rows_of([{0, 1, 3}, {2}], 4)
    chosen = Slice("items/odd", "items", np.array([False, True, False, True]), "odd items")
    part = measure_slices(lists, positives, [chosen], cuts=(1, 3), resamples=50)[0]
    # The second user has no odd positive; the first finds one of two, at rank two.
    assert part.accuracy.users.tolist() == [0]
    assert (part.users, part.positives) == (1, 2)
    assert part.estimates["recall@3"].mean == 0.5
    assert part.estimates["mrr@3"].mean == 0.5
    assert part.estimates["hit@1"].mean == 0.0


def test_an_empty_slice_says_that_it_is_empty() -> None:
    lists, positives, _ = world()
    nothing = Slice("items/none", "items", np.zeros(40, dtype=np.bool_), "no item")
    part = measured(lists, positives, [nothing])[0]
    assert (part.users, part.positives, part.estimates) == (0, 0, {})


def test_intervals_hold_the_mean_and_depend_on_the_seed_alone() -> None:
    lists, positives, train = world()
    slices = [chosen for chosen in user_slices(train) if chosen.name == "users/few"]
    first, again, other = (measured(lists, positives, slices, seed=seed)[0].estimates for seed in (0, 0, 1))
    assert first == again
    assert first != other
    for estimate in first.values():
        assert estimate.low <= estimate.mean <= estimate.high
    assert first["recall@10"].low < first["recall@10"].high


def test_a_slice_of_all_users_has_the_interval_of_the_normal_approximation() -> None:
    lists, positives, _ = world()
    everyone = Slice("users/all", "users", np.ones(60, dtype=np.bool_), "all")
    part = measured(lists, positives, [everyone], resamples=4000)[0]
    column = part.accuracy.values["recall@10"]
    error = 1.96 * column.std() / np.sqrt(len(column))
    estimate = part.estimates["recall@10"]
    assert estimate.low == pytest.approx(column.mean() - error, abs=0.15 * error)
    assert estimate.high == pytest.approx(column.mean() + error, abs=0.15 * error)
