"""Re-ranking: each rule against its closed form and its promise, and all of them together against brute force."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from palate.core.errors import ConfigError
from palate.graph.rows import Rows
from palate.models import Embeddings
from palate.recommend.index import ExactIndex
from palate.recommend.rerank import (
    Amount,
    Candidates,
    Diversity,
    Rules,
    Search,
    choose,
    cold_quota,
    diversify,
    popularity_cap,
    search_index,
    search_scorer,
)

ITEMS = 40


def made(scores: list[float], items: list[int] | None = None) -> Candidates:
    return Candidates(np.array(items or range(len(scores)), dtype=np.int64), np.array(scores, dtype=np.float64))


def drawn(data: st.DataObject) -> tuple[Candidates, np.random.Generator]:
    """Some items with scores, among them equal ones, best first."""
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    count = data.draw(st.integers(0, ITEMS))
    scores = np.sort(generator.integers(-5, 20, count) / 4)[::-1]
    return Candidates(generator.permutation(ITEMS)[:count].astype(np.int64), scores.copy()), generator


def unlike(width: int = 4, seed: int = 0, missing: float = 0.0) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    generator = np.random.default_rng(seed)
    present = generator.random(ITEMS) >= missing
    rows = generator.normal(size=(ITEMS, width)) * present[:, None]
    return rows.astype(np.float32), present


def test_diversity_follows_its_formula() -> None:
    # Two pairs of equal items. λ = 1/2: after the first of a pair, the second costs 1/2.
    rows = np.array([[1, 0], [1, 0], [0, 1], [0, 2]], dtype=np.float32)
    diversity = Diversity(rows, np.ones(4, np.bool_), 0.5)
    chosen = diversify(made([1.0, 0.9, 0.5, 0.0]), 4, diversity)
    # Gains at the second place: .45 - .5, .25 - 0, 0 - 0; at the third: -.05 and -.5.
    np.testing.assert_array_equal(chosen.items, [0, 2, 1, 3])
    np.testing.assert_array_equal(chosen.scores, [1.0, 0.5, 0.9, 0.0])
    np.testing.assert_array_equal(diversify(made([1.0, 0.9, 0.5, 0.0]), 2, diversity).items, [0, 2, 1, 3])
    # Nearly all for the score: the order stays. All for diversity: first one of each pair.
    np.testing.assert_array_equal(
        diversify(made([1.0, 0.9, 0.5, 0.0]), 4, Diversity(rows, diversity.present, 0.95)).items, [0, 1, 2, 3]
    )
    np.testing.assert_array_equal(
        diversify(made([1.0, 0.9, 0.5, 0.0]), 2, Diversity(rows, diversity.present, 0.0)).items[:2], [0, 2]
    )


def test_an_item_without_a_row_is_as_alike_as_the_others_are_on_average() -> None:
    # Among those with rows: cosines 1, 0, 0, so 1/3 on average.
    rows = np.array([[1, 0], [0, 0], [1, 0], [0, 1]], dtype=np.float32)
    present = np.array([True, False, True, True])
    chosen = diversify(made([1.0, 1.0, 1.0, 1.0]), 4, Diversity(rows, present, 0.5))
    np.testing.assert_array_equal(chosen.items, [0, 3, 1, 2])


@given(data=st.data())
def test_full_weight_on_the_score_leaves_a_list_as_it_is(data: st.DataObject) -> None:
    candidates, _ = drawn(data)
    found = diversify(candidates, data.draw(st.integers(1, 20)), Diversity(*unlike(missing=0.3), 1.0))
    np.testing.assert_array_equal(found.items, candidates.items)
    np.testing.assert_array_equal(found.scores, candidates.scores)


@given(data=st.data())
def test_every_place_has_the_best_marginal_relevance(data: st.DataObject) -> None:
    candidates, _ = drawn(data)
    k, weight = data.draw(st.integers(1, 10)), data.draw(st.sampled_from([0.0, 0.3, 0.8]))
    rows, present = unlike()
    found = diversify(candidates, k, Diversity(rows, present, weight))
    assert sorted(found.items.tolist()) == sorted(candidates.items.tolist())
    score_of = dict(zip(candidates.items.tolist(), candidates.scores, strict=True))
    assert [score_of[item] for item in found.items.tolist()] == found.scores.tolist()
    if not len(found):
        return
    unit = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    span = (candidates.scores.max() - candidates.scores.min()) or 1.0
    for place in range(1, min(k, len(found))):
        before, rest = found.items[:place], found.items[place:]
        gain = weight * (np.array([score_of[item] for item in rest.tolist()]) - candidates.scores.min()) / span - (
            1 - weight
        ) * (unit[rest] @ unit[before].T).max(1)
        assert gain[0] >= gain.max() - 1e-9


@given(data=st.data())
def test_the_cap_is_never_exceeded_and_takes_no_more_than_it_must(data: st.DataObject) -> None:
    candidates, generator = drawn(data)
    head, most = generator.random(ITEMS) < 0.5, data.draw(st.integers(0, 8))
    found = popularity_cap(candidates, head, most)
    assert head[found.items].sum() == min(most, head[candidates.items].sum())
    gone = set(candidates.items.tolist()) - set(found.items.tolist())
    kept = [item for item in candidates.items.tolist() if item not in gone]
    assert found.items.tolist() == kept
    # Who stays of the head are its first.
    first = candidates.items[head[candidates.items]][:most]
    assert set(first.tolist()).isdisjoint(gone)
    assert bool(head[list(gone)].all())


@given(data=st.data())
def test_the_quota_is_met_whenever_candidates_allow(data: st.DataObject) -> None:
    candidates, generator = drawn(data)
    cold, k, least = generator.random(ITEMS) < 0.2, data.draw(st.integers(1, 12)), data.draw(st.integers(0, 12))
    found = cold_quota(candidates, k, cold, least)
    assert sorted(found.items.tolist()) == sorted(candidates.items.tolist())
    before, after = (int(cold[each.items[:k]].sum()) for each in (candidates, found))
    places = min(k, len(candidates))
    assert after == max(before, min(least, places, int(cold[candidates.items].sum())))
    # Nobody is exchanged without need: the warm ones that stay are the first ones.
    warm = candidates.items[~cold[candidates.items]].tolist()
    assert [item for item in found.items[:k].tolist() if not cold[item]] == warm[: places - after]
    if after == before:
        np.testing.assert_array_equal(found.items, candidates.items)


def test_the_quota_keeps_the_order() -> None:
    cold = np.zeros(8, np.bool_)
    cold[[2, 5, 6, 7]] = True
    found = cold_quota(made([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]), 4, cold, 3)
    np.testing.assert_array_equal(found.items, [0, 2, 5, 6, 1, 3, 4, 7])


@pytest.mark.parametrize(
    ("text", "k", "number"),
    [("3", 10, 3), ("30%", 10, 3), ("35 %", 10, 3), ("0", 10, 0), ("100%", 7, 7), ("20", 10, 10), ("57%", 100, 57)],
)
def test_amounts_are_items_or_shares(text: str, k: int, number: int) -> None:
    assert Amount.parse(text).of(k) == number


@pytest.mark.parametrize("text", ["", "0.3", "-1", "30 items", "101%", "many"])
def test_other_amounts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no part of a list"):
        Amount.parse(text)


def test_diversity_is_asked_for_by_modality_or_by_the_models_own_vectors() -> None:
    rows, present = unlike(missing=0.2)
    text = Diversity(rows, present, 0.0)
    asked = Diversity.parse("text:0.7", {"text": text}, None)
    assert asked.weight == 0.7
    assert asked.matrix is rows
    own = Diversity.parse("model:1", {"text": text}, rows)
    assert own.present.all()
    for wrong, words in (
        ("text", "MODALITY:λ"),
        ("text:2", "MODALITY:λ"),
        ("text:-1", "MODALITY:λ"),
        ("text:nan", "MODALITY:λ"),
        (":0.5", "MODALITY:λ"),
        ("test:0.5", "did you mean 'text'"),
        ("model:0.5", "unknown modality 'model'"),
    ):
        with pytest.raises(ConfigError) as caught:
            Diversity.parse(wrong, {"text": text}, None)
        assert words in str(caught.value)


def world(seed: int) -> tuple[Embeddings, Rows]:
    """Vectors of three users, and who took what: some items are popular, the last eight nobody took."""
    generator = torch.Generator().manual_seed(seed)
    scorer = Embeddings(torch.randn(3, 4, generator=generator), torch.randn(ITEMS, 4, generator=generator))
    taken = [(user, item) for item in range(ITEMS - 8) for user in range(60 if item < 8 else 2)]
    user, item = (np.array(side) for side in zip(*taken, strict=True))
    return scorer, Rows.from_pairs(user, item, 60, ITEMS)


@given(data=st.data())
def test_all_rules_hold_together_and_candidates_never_run_out(data: st.DataObject) -> None:
    scorer, train = world(data.draw(st.integers(0, 50)))
    k = data.draw(st.integers(1, 12))
    cap = data.draw(st.none() | st.integers(0, 4).map(lambda most: Amount(most, percent=False)))
    cold = data.draw(st.integers(0, min(k, 10)))
    weight = data.draw(st.none() | st.sampled_from([0.0, 0.5, 1.0]))
    rows, present = unlike(missing=0.2)
    rules = Rules(train, cap, None if weight is None else Diversity(rows, present, weight), cold)
    allowed = np.random.default_rng(k).random(ITEMS) < data.draw(st.sampled_from([0.2, 0.7, 1.0]))
    hidden = Rows.from_pairs(np.arange(3), np.array([1, 2, 3]), 3, ITEMS)
    assert rules.head.tolist() == [item < 8 for item in range(ITEMS)]
    by_scorer = search_scorer(scorer, 1, allowed=allowed, mask=hidden)
    by_index = search_index(
        ExactIndex(scorer.item), scorer.user[1], allowed=allowed, hidden=hidden.take(np.array([1])), owner=1
    )
    found, same = choose(by_scorer, k, rules), choose(by_index, k, rules)
    np.testing.assert_array_equal(found.items, same.items)
    admissible = allowed.copy()
    admissible[2] = False
    assert len(set(found.items.tolist())) == len(found)
    assert bool(admissible[found.items].all())
    most = ITEMS if cap is None else cap.of(k)
    assert rules.head[found.items].sum() <= most
    assert rules.is_cold[found.items].sum() >= min(cold, (rules.is_cold & admissible).sum())
    tail = int((admissible & ~rules.head).sum())
    assert len(found) == min(k, tail + min(most, int((admissible & rules.head).sum())))
    scores = (scorer.user[1] @ scorer.item.T).double().numpy()
    np.testing.assert_allclose(found.scores, scores[found.items], rtol=1e-4, atol=1e-5)
    if weight in (None, 1.0):
        # Brute force: the cap on the whole ranking, then the quota on what it left.
        order = [item for item in np.argsort(-scores, kind="stable").tolist() if admissible[item]]
        whole = popularity_cap(Candidates(np.array(order, dtype=np.int64), scores[order]), rules.head, most)
        wanted = cold_quota(whole, k, rules.is_cold, cold).items[:k]
        np.testing.assert_array_equal(found.items, wanted)


def test_without_rules_the_search_decides() -> None:
    scorer, train = world(0)
    search = search_scorer(scorer, 0)
    np.testing.assert_array_equal(choose(search, 9, Rules(train)).items, search(9, None).items)


def test_a_quota_longer_than_the_list_is_all_of_it() -> None:
    scorer, train = world(0)
    search = search_scorer(scorer, 0)
    found = choose(search, 3, Rules(train, cold=200))
    np.testing.assert_array_equal(found.items, choose(search, 3, Rules(train, cold=3)).items)
    assert bool(Rules(train).is_cold[found.items].all())


def test_lists_and_quotas_that_cannot_be_are_refused() -> None:
    scorer, train = world(0)
    search: Search = search_scorer(scorer, 0)
    with pytest.raises(ConfigError, match="at least 1"):
        choose(search, 0, Rules(train))
    with pytest.raises(ConfigError, match="0 cold items or more"):
        choose(search, 3, Rules(train, cold=-1))


def test_joining_keeps_each_item_once_in_order_of_score() -> None:
    joined = made([5.0, 3.0, 1.0], [4, 2, 7]).joined(made([6.0, 3.0, 3.0], [9, 2, 5]))
    np.testing.assert_array_equal(joined.items, [9, 4, 2, 5, 7])
    assert all(one >= other for one, other in pairwise(joined.scores))
