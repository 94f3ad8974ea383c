"""Where all candidates have one score, the most popular come first, however lists are made, and it is said."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palate.graph.rows import Rows
from palate.measure.popularity import popularity
from palate.measure.ranking import hide
from palate.recommend.alike import BY_CHANCE, BY_POPULARITY, NEW_BY_CHANCE, About, OrPopular, about, all_alike, notes
from palate.recommend.bundle import one_row
from palate.recommend.forms import Given, ItemScores, Weights
from palate.recommend.index import ExactIndex
from palate.recommend.offer import Offer
from palate.recommend.rerank import Rules, choose, search_index, search_scorer
from recommend import trained

ITEMS = 40
COUNTS = np.random.default_rng(0).integers(0, 6, ITEMS)


@pytest.mark.parametrize("k", [1, 2, 7, ITEMS])
def test_equal_scores_are_in_order_of_popularity_and_ties_fall_as_ever(k: int) -> None:
    hidden, allowed = one_row(np.array([3, 8]), ITEMS), np.arange(ITEMS) % 5 != 0
    silent = search_scorer(Given(torch.zeros(1, ITEMS)), 0, mask=hidden, allowed=allowed, seed=4)
    by_count = search_scorer(Given(torch.tensor(COUNTS)[None].float()), 0, mask=hidden, allowed=allowed, seed=4)
    search = OrPopular(silent, COUNTS)
    found = search(k, None)
    np.testing.assert_array_equal(found.items, by_count(k, None).items)
    assert not found.scores.any()
    assert search.order == BY_POPULARITY
    index = ExactIndex(np.zeros((ITEMS, 3), np.float32), seed=4)
    same = OrPopular(search_index(index, np.ones(3), hidden=hidden, allowed=allowed), COUNTS)
    np.testing.assert_array_equal(same(k, None).items, found.items)


@given(st.integers(0, ITEMS - 1), st.integers(1, ITEMS), st.sampled_from([-1.0, 1.0]))
def test_one_score_that_differs_leaves_a_list_as_it_is(item: int, k: int, score: float) -> None:
    scores = torch.zeros(1, ITEMS)
    scores[0, item] = score
    plain = search_scorer(Given(scores), 0)
    search = OrPopular(plain, COUNTS)
    np.testing.assert_array_equal(search(k, None).items, plain(k, None).items)
    assert not search.alike
    assert search.order == ""
    # Among the others there is nothing to choose by.
    assert all_alike(plain, np.arange(ITEMS) != item)


def test_where_nothing_tells_items_apart_it_is_said_and_of_one_item_nothing() -> None:
    silent = search_scorer(Given(torch.zeros(1, ITEMS)), 0)
    assert OrPopular(silent, np.full(ITEMS, 2)).order == BY_CHANCE
    alone = OrPopular(search_scorer(Given(torch.zeros(1, ITEMS)), 0, allowed=np.arange(ITEMS) == 6), COUNTS)
    assert alone(5, None).items.tolist() == [6]
    assert alone.order == ""
    nobody = OrPopular(search_scorer(Given(torch.zeros(1, ITEMS)), 0, allowed=np.zeros(ITEMS, np.bool_)), COUNTS)
    assert len(nobody(5, None)) == 0
    assert nobody.order == ""


@pytest.mark.parametrize("name", ["ease", "itemknn", "rp3beta", "contentknn"])
@pytest.mark.parametrize("k", [1, 5, 24])
def test_who_liked_nothing_gets_what_is_popular_and_all_others_what_the_model_says(name: str, k: int) -> None:
    bundle = trained.bundle(name)
    assert isinstance(bundle.form, Weights)
    # Some have no positives in this world, or none with a weight to what they have not met.
    scores = hide(torch.from_numpy(bundle.scores(trained.everyone())), bundle.seen)
    silent = int(((scores == 0) | scores.isinf()).all(1).sum())
    owner, user = bundle.liked.row_of_entry(), bundle.users.row("u7")
    kept = owner != user
    liked = Rows.from_pairs(owner[kept], bundle.liked.columns[kept], bundle.liked.count, bundle.liked.width)
    offer = Offer.of_bundle(bundle)
    without = dataclasses.replace(offer, scorer=Weights(bundle.form.weights, bundle.form.values, liked))
    before, after = offer.lists(None, k), without.lists(None, k)
    assert before.notes == [f"in {silent} of 40 lists: {BY_POPULARITY}"]
    assert after.notes == [f"in {silent + 1} of 40 lists: {BY_POPULARITY}"]
    others = pl.col("user_id") != "u7"
    assert after.table.filter(others).equals(before.table.filter(others))
    alone = without.lists(["u7", "u7"], k)
    assert alone.notes == [BY_POPULARITY]
    assert alone.table.equals(after.table.filter(~others))
    by_count = dataclasses.replace(offer, scorer=ItemScores(torch.from_numpy(popularity(offer.liked)).float(), 40))
    assert alone.table["item_id"].equals(by_count.lists(["u7"], k).table["item_id"])
    assert set(alone.table["score"]) == {0.0}
    # Rules begin from the same order.
    capped = without.lists(["u7"], k, rules=without.rules(cap="100%", diversity=None, cold=0))
    assert capped.table.equals(alone.table)


def world() -> tuple[Rows, OrPopular]:
    """Three users, of whom the first takes most; items 6 to 9 nobody took, and the model says nothing of them."""
    train = Rows.from_pairs(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 2, 3, 4]), 3, 10)
    scores = torch.tensor([[0.5, 0.4, 0.3, 0.2, 0.1, -0.1, 0, 0, 0, 0]])
    return train, OrPopular(search_scorer(Given(scores), 0), popularity(train))


@pytest.mark.parametrize(
    ("k", "quota", "said"),
    [
        (4, 0, []),
        (6, 2, [NEW_BY_CHANCE]),
        (9, 7, ["5 of 7 items that nobody took in training: no other may be in this list", NEW_BY_CHANCE]),
        (3, 9, ["3 of 9 items that nobody took in training: a list of 3 holds no more", NEW_BY_CHANCE]),
    ],
)
def test_what_came_of_a_quota_is_said(k: int, quota: int, said: list[str]) -> None:
    train, search = world()
    rules = Rules(train, cold=min(k, quota)) if quota else None
    found = search(k, None) if rules is None else choose(search, k, rules)
    # Item 5 has a score of its own, so that all five together are not alike.
    told = notes([about(search, found, rules)], k, quota)
    assert told == [each for each in said if each != NEW_BY_CHANCE]
    among = OrPopular(search_scorer(Given(torch.tensor([[0.5] * 5 + [0.0] * 5])), 0), popularity(train))
    found = among(k, None) if rules is None else choose(among, k, rules)
    assert notes([about(among, found, rules)], k, quota) == said


def test_notes_on_several_lists_say_how_many() -> None:
    lists = [About(BY_POPULARITY, 1), About("", 3, new_alike=True), About("", 4)]
    assert notes(lists, 9, 4) == [
        f"in 1 of 3 lists: {BY_POPULARITY}",
        "in 2 of 3 lists: 1 to 3 of 4 items that nobody took in training: no other may be in this list",
        f"in 1 of 3 lists: {NEW_BY_CHANCE}",
    ]
    assert notes([], 9, 4) == []
