"""Top-k over all items against a sort, and ties that fall at random, never by id."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from palate.core.errors import TrainingError
from palate.graph import ties
from palate.graph.rows import Joined, Rows
from palate.graph.ties import SPARE, Priorities
from palate.measure import ranking
from palate.measure.ranking import NOBODY, ranked_blocks, top_items


class Table:
    """A scorer that hands out its own table where it can."""

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores

    @property
    def items(self) -> int:
        return self.scores.shape[1]

    def score_block(self, users: Tensor) -> Tensor:
        if len(users) == len(self.scores) and torch.equal(users, torch.arange(len(users))):
            return self.scores
        return self.scores.index_select(0, users)


def mask_of(hidden: list[set[int]], items: int) -> Rows:
    pairs = [(user, item) for user, own in enumerate(hidden) for item in sorted(own)]
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Rows.from_pairs(table[:, 0], table[:, 1], len(hidden), items)


def everyone(scores: Tensor) -> np.ndarray:
    return np.arange(len(scores))


@given(st.data())
def test_the_list_is_that_of_a_sort(data: st.DataObject) -> None:
    users, items = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 9))
    k = data.draw(st.integers(1, 12))
    # Few distinct values, so that ties are common, at the boundary too.
    values = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0, float("inf"), -float("inf")])
    rows = data.draw(st.lists(st.lists(values, min_size=items, max_size=items), min_size=users, max_size=users))
    hidden = data.draw(st.lists(st.sets(st.integers(0, items - 1)), min_size=users, max_size=users))
    scores = torch.tensor(rows, dtype=torch.float64)
    chosen = np.array(data.draw(st.lists(st.integers(0, users - 1), max_size=6)), dtype=np.int64)
    found, given_scores = top_items(Table(scores), chosen, k, mask=mask_of(hidden, items))
    assert found.shape == given_scores.shape == (len(chosen), min(k, items))
    for user, ranked, values_found in zip(chosen.tolist(), found.tolist(), given_scores.tolist(), strict=True):
        candidates = [i for i in range(items) if i not in hidden[user] and rows[user][i] > -float("inf")]
        expected = sorted((rows[user][i] for i in candidates), reverse=True)[:k]
        length = len(expected)
        assert values_found == expected + [-float("inf")] * (len(ranked) - length)
        assert ranked[length:] == [NOBODY] * (len(ranked) - length)
        assert len(set(ranked[:length])) == length
        assert set(ranked[:length]) <= set(candidates)
        assert [rows[user][i] for i in ranked[:length]] == expected


def test_without_ties_the_order_is_fixed_whatever_the_seed() -> None:
    scores = torch.from_numpy(np.random.default_rng(0).permuted(np.tile(np.arange(50.0), (20, 1)), axis=1))
    expected = np.argsort(-scores.numpy(), axis=1)[:, :7]
    for seed in (0, 1):
        assert np.array_equal(top_items(Table(scores), everyone(scores), 7, seed=seed)[0], expected)


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_the_size_of_a_block_changes_nothing_even_with_ties(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    generator = np.random.default_rng(0)
    scores = torch.from_numpy(generator.integers(0, 4, (17, 30)).astype(np.float32))
    mask = mask_of([set(generator.integers(0, 30, 5).tolist()) for _ in range(17)], 30)
    expected = top_items(Table(scores), everyone(scores), 10, mask=mask)
    monkeypatch.setattr(ranking, "BLOCK_BYTES", 4 * 30 * rows)
    assert len(list(ranked_blocks(Table(scores), everyone(scores), 10))) == -(-17 // rows)
    found = top_items(Table(scores), everyone(scores), 10, mask=mask)
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])


def test_a_user_has_the_same_list_alone_and_among_others() -> None:
    scores = torch.zeros(9, 12)
    together = top_items(Table(scores), everyone(scores), 5)[0]
    for user in range(9):
        assert np.array_equal(top_items(Table(scores), np.array([user]), 5)[0][0], together[user])


def test_items_of_one_score_are_chosen_equally_often_in_every_place() -> None:
    users, items, k = 4000, 20, 5
    scores = torch.zeros(users, items)
    found = top_items(Table(scores), everyone(scores), k)[0]

    def even(drawn: np.ndarray, share: float) -> None:
        counts = np.bincount(drawn.ravel(), minlength=items)
        deviation = np.sqrt(users * share * (1 - share))
        assert abs(counts - users * share).max() < 5 * deviation

    even(found, k / items)
    for place in range(k):
        even(found[:, place], 1 / items)
    # Users do not share their order: two users agree on an item of the list as often as chance has it.
    shared = (found[:-1, :, None] == found[1:, None, :]).sum((1, 2))
    assert abs(shared.mean() - k * k / items) < 0.1


def test_another_seed_is_another_order_and_the_same_seed_the_same() -> None:
    scores = torch.zeros(50, 40)
    first = top_items(Table(scores), everyone(scores), 10, seed=1)[0]
    assert np.array_equal(first, top_items(Table(scores), everyone(scores), 10, seed=1)[0])
    second = top_items(Table(scores), everyone(scores), 10, seed=2)[0]
    assert (first == second).mean() < 0.1


def test_ties_at_the_boundary_are_drawn_among_the_tied_alone() -> None:
    users, items, k = 3000, 14, 5
    scores = torch.zeros(users, items)
    scores[:, 3], scores[:, 9] = 2.0, 1.0
    scores[:, :3] = -1.0
    found, values = top_items(Table(scores), everyone(scores), k)
    assert (found[:, 0] == 3).all()
    assert (found[:, 1] == 9).all()
    assert (values == [2.0, 1.0, 0.0, 0.0, 0.0]).all()
    tied = [4, 5, 6, 7, 8, 10, 11, 12, 13]
    counts = np.bincount(found[:, 2:].ravel(), minlength=items)
    assert counts[tied].sum() == 3 * users
    assert abs(counts[tied] - users / 3).max() < 5 * np.sqrt(users * (1 / 3) * (2 / 3))


def test_a_tie_between_the_last_place_and_the_first_one_out_is_drawn_too() -> None:
    scores = torch.tensor([[5.0, 1.0, 1.0]]).repeat(2000, 1)
    found = top_items(Table(scores), everyone(scores), 2)[0]
    assert (found[:, 0] == 0).all()
    assert abs((found[:, 1] == 1).mean() - 0.5) < 0.06


def test_masked_items_never_appear_and_what_is_left_over_is_nobody() -> None:
    scores = torch.zeros(3, 4)
    mask = mask_of([{0, 1, 2, 3}, {1, 3}, set()], 4)
    found, values = top_items(Table(scores), everyone(scores), 10, mask=mask)
    assert found[0].tolist() == [NOBODY] * 4
    assert sorted(found[1, :2].tolist()) == [0, 2]
    assert found[1, 2:].tolist() == [NOBODY] * 2
    assert sorted(found[2].tolist()) == [0, 1, 2, 3]
    assert np.isneginf(values[found == NOBODY]).all()
    assert np.isfinite(values[found != NOBODY]).all()


def test_the_scorers_own_table_is_left_as_it_is() -> None:
    scores = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (6, 8)).astype(np.float64))
    before = scores.clone()
    top_items(Table(scores), everyone(scores), 4, mask=mask_of([{0, 3}] * 6, 8))
    assert torch.equal(scores, before)


@pytest.mark.parametrize("masked", [True, False])
def test_scores_that_are_not_numbers_are_refused_with_the_user(masked: bool) -> None:
    scores = torch.zeros(6, 8)
    scores[4, 5] = float("nan")
    with pytest.raises(TrainingError, match="not numbers") as caught:
        top_items(Table(scores), np.array([2, 4, 1]), 3, mask=mask_of([{0}] * 6, 8) if masked else None)
    assert caught.value.where == "user row 4"


def test_nobody_to_rank_for_gives_an_empty_table_of_the_right_width() -> None:
    found, values = top_items(Table(torch.zeros(3, 4)), np.zeros(0, np.int64), 10)
    assert found.shape == values.shape == (0, 4)


@pytest.mark.parametrize(("items", "k"), [(0, 5), (4, 0)])
def test_no_items_to_rank_and_no_places_give_empty_lists(items: int, k: int) -> None:
    found, scores = top_items(Table(torch.randn(3, items)), np.arange(3), k)
    assert found.shape == scores.shape == (3, 0)


def test_priorities_of_some_items_are_those_among_all() -> None:
    users, generator = np.array([3, 0, 10**12]), torch.Generator().manual_seed(0)
    items = torch.randint(0, 40, (3, 7), generator=generator)
    priorities = Priorities(40, 5)
    assert torch.equal(priorities.of(users, items), priorities.of(users).gather(1, items))
    assert priorities.of(users).min() >= 0
    assert priorities.of(users).max() < 2**31


def sorted_lists(scores: Tensor, users: np.ndarray, k: int, hidden: list[set[int]], seed: int) -> list[list[int]]:
    """Each user's list by a plain sort of all candidates: best score first, then the highest priority."""
    priorities = Priorities(scores.shape[1], seed).of(users).tolist()
    lists: list[list[int]] = []
    for user, priority in zip(users.tolist(), priorities, strict=True):
        own = scores[user].tolist()
        candidates = [item for item in range(len(own)) if item not in hidden[user] and own[item] > -float("inf")]
        best = [item for *_, item in sorted((-own[item], -priority[item], item) for item in candidates)][:k]
        lists.append(best + [NOBODY] * (min(k, len(own)) - len(best)))
    return lists


@given(st.data())
def test_the_list_is_that_of_a_sort_by_score_and_priority(data: st.DataObject) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    users, items, k = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 60)), data.draw(st.integers(1, 30))
    levels = data.draw(st.sampled_from([1, 2, 3, 10, 1000]))
    values = np.where(generator.random((users, items)) < 0.05, -np.inf, generator.integers(0, levels, (users, items)))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    scores = torch.from_numpy(values).to(dtype)
    share = data.draw(st.sampled_from([0.0, 0.3, 0.95]))
    hidden = [set(np.flatnonzero(generator.random(items) < share).tolist()) for _ in range(users)]
    seed = data.draw(st.integers(0, 3))
    wanted = generator.permutation(users)
    found = top_items(Table(scores), wanted, k, mask=mask_of(hidden, items), seed=seed)[0]
    assert found.tolist() == sorted_lists(scores, wanted, k, hidden, seed)


@pytest.mark.parametrize("best", [0, 3])
@pytest.mark.parametrize("beyond", [-1, 0, 1, SPARE - 1, SPARE, SPARE + 1, 80])
def test_a_tie_that_ends_at_or_after_the_lists_end_is_settled_among_all_of_it(best: int, beyond: int) -> None:
    """`best` items on top, then equal scores up to place k + `beyond`, then worse ones."""
    users, items, k = 40, 100, 10
    level = np.repeat([2.0, 1.0, 0.0], [best, k + beyond - best, items - k - beyond])
    generator = np.random.default_rng(0)
    scores = torch.from_numpy(np.stack([generator.permutation(level) for _ in range(users)]))
    found = top_items(Table(scores), everyone(scores), k)[0]
    assert found.tolist() == sorted_lists(scores, everyone(scores), k, [set()] * users, 0)


@pytest.mark.parametrize("items", [1, 5, 10, 10 + SPARE, 11 + SPARE, 300])
def test_equal_scores_are_in_the_order_of_priority_alone(items: int) -> None:
    scores = torch.full((30, items), 0.25)
    found = top_items(Table(scores), everyone(scores), 10, seed=3)[0]
    priorities = Priorities(items, 3).of(everyone(scores))
    assert np.array_equal(found, priorities.argsort(dim=1, descending=True)[:, :10].numpy())


@pytest.mark.parametrize("spare", [1, 2, 8, 29, 1000])
@pytest.mark.parametrize("rows", [1, 4, 1000])
def test_neither_the_block_nor_the_spare_items_matter_to_the_order(
    monkeypatch: pytest.MonkeyPatch, spare: int, rows: int
) -> None:
    generator = np.random.default_rng(1)
    # From all equal to hardly any tie, and users with less than a list's worth of candidates.
    levels = np.repeat([1, 2, 5, 20, 1000], 5)[:, None]
    scores = torch.from_numpy((generator.random((25, 40)) * levels).astype(np.int64).astype(np.float32))
    hidden = [set(generator.choice(40, generator.integers(0, 36), replace=False).tolist()) for _ in range(25)]
    expected = sorted_lists(scores, everyone(scores), 10, hidden, 0)
    monkeypatch.setattr(ties, "SPARE", spare)
    monkeypatch.setattr(ranking, "BLOCK_BYTES", 4 * 40 * rows)
    assert top_items(Table(scores), everyone(scores), 10, mask=mask_of(hidden, 40))[0].tolist() == expected


def test_a_mask_of_several_parts_hides_them_all() -> None:
    scores = torch.arange(12.0).repeat(3, 1)
    parts = [[{11}, set(), {0}], [{10}, {9}, set()], [set(), {11, 8}, {11}]]
    hidden = [set().union(*(part[user] for part in parts)) for user in range(3)]
    joined = Joined(tuple(mask_of(part, 12) for part in parts))
    for users in (np.array([2, 0]), everyone(scores)):
        found = top_items(Table(scores), users, 4, mask=joined)[0]
        assert found.tolist() == sorted_lists(scores, users, 4, hidden, 0)


@pytest.mark.parametrize("stride", [1, 2, 64, 1000])
def test_orders_of_ties_are_unrelated_between_users_and_to_the_ids(stride: int) -> None:
    items, users = 500, 300
    ranks = Priorities(items, 0).of(np.arange(users) * stride).argsort(dim=1).argsort(dim=1).numpy().astype(float)
    ranks = np.vstack([np.arange(items), ranks])
    ranks = (ranks - ranks.mean(1, keepdims=True)) / ranks.std(1, keepdims=True)
    correlation = (ranks @ ranks.T / items)[np.triu_indices(users + 1, 1)]
    assert correlation.std() < 1.1 / np.sqrt(items)
    assert abs(correlation[:users]).max() < 5 / np.sqrt(items)
