"""The click protocol: its candidates, AUC by counting pairs, and what chance and perfection are worth."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from measure.tables import Table, rows_of
from palate.core.errors import TrainingError
from palate.graph.rows import Joined, Rows
from palate.measure import clicks
from palate.measure.clicks import Candidates, auc, click_candidates, click_metrics

ITEMS = 60


def world(users: int = 50, seed: int = 0) -> tuple[Rows, Rows, Rows]:
    """Train rows, test rows, and which of the test rows are positives."""
    generator = np.random.default_rng(seed)
    train: list[list[int]] = []
    test: list[list[int]] = []
    positive: list[list[int]] = []
    for _ in range(users):
        met = generator.permutation(ITEMS)[: generator.integers(2, 20)].tolist()
        cut = int(generator.integers(1, len(met)))
        train.append(met[:cut])
        test.append(met[cut:])
        positive.append([item for item in met[cut:] if generator.random() < 0.5])
    return rows_of(train, ITEMS), rows_of(test, ITEMS), rows_of(positive, ITEMS)


def drawn(negatives: int = 4, seed: int = 0) -> Candidates:
    train, test, positive = world()
    return click_candidates(test, positive, Joined((train, test)), negatives=negatives, seed=seed)


def test_candidates_are_all_test_rows_and_so_many_unseen_items_for_each_positive() -> None:
    train, test, positive = world()
    found = drawn(negatives=3)
    for row, user in enumerate(found.users.tolist()):
        place = slice(*found.items.pointer[row : row + 2])
        own, label = found.items.columns[place].tolist(), found.positive[place]
        assert len(set(own)) == len(own)
        assert {item for item, yes in zip(own, label, strict=True) if yes} == set(positive[user].tolist())
        unseen = set(own) - set(test[user].tolist())
        assert set(own) >= set(test[user].tolist())
        assert not unseen & set(train[user].tolist())
        assert len(unseen) == 3 * len(positive[user])
    assert set(found.users.tolist()) == set(np.flatnonzero(positive.lengths).tolist())
    assert found.left_out == int(((test.lengths > 0) & (positive.lengths == 0)).sum()) > 0


def test_candidates_depend_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = drawn(seed=1), drawn(seed=2)
    monkeypatch.setattr(clicks, "BLOCK_BYTES", 8 * ITEMS * 3)
    again = drawn(seed=1)
    np.testing.assert_array_equal(first.items.columns, again.items.columns)
    np.testing.assert_array_equal(first.positive, again.positive)
    assert (first.items.columns != other.items.columns).any()


def test_unseen_items_are_all_equally_likely() -> None:
    users, items = 4000, 12
    test = rows_of([{0}] * users, items)
    found = click_candidates(test, test, Joined((test,)), negatives=3)
    times = np.bincount(found.items.columns, minlength=items)[1:]
    expected = users * 3 / 11
    assert np.abs(times - expected).max() < 4 * np.sqrt(expected)


def test_a_user_who_has_met_nearly_everything_gets_what_is_left() -> None:
    test, known = rows_of([{0, 1}], 5), rows_of([{0, 1, 2}], 5)
    found = click_candidates(test, rows_of([{0, 1}], 5), known, negatives=9)
    assert sorted(found.items.columns.tolist()) == [0, 1, 3, 4]


def test_users_with_nothing_to_tell_apart_are_not_counted() -> None:
    test = rows_of([{0, 1}, {0}, {1}, set()], 3)
    positive = rows_of([{0}, {0}, set(), set()], 3)
    found = click_candidates(test, positive, test, negatives=0)
    # The first user alone has a positive and a disliked row.
    assert found.users.tolist() == [0]
    assert found.left_out == 2
    assert found.positive.tolist() == [True, False]
    assert click_metrics(Table(torch.tensor([[1.0, 0, 0]] * 4)), found).values["auc"].tolist() == [1.0]


@given(st.data())
def test_auc_is_the_share_of_pairs_in_order_with_ties_counted_half(data: st.DataObject) -> None:
    lengths: list[int] = []
    score: list[float] = []
    positive: list[bool] = []
    expected: list[float] = []
    for _ in range(data.draw(st.integers(1, 4))):
        high = data.draw(st.lists(st.integers(-2, 2), min_size=1, max_size=6))
        low = data.draw(st.lists(st.integers(-2, 2), min_size=1, max_size=6))
        expected.append(sum((a > b) + (a == b) / 2 for a in high for b in low) / (len(high) * len(low)))
        order = data.draw(st.permutations(range(len(high) + len(low))))
        score += [float((high + low)[place]) for place in order]
        positive += [place < len(high) for place in order]
        lengths.append(len(order))
    pointer = np.concatenate([[0], np.cumsum(lengths)])
    found = auc(pointer, np.array(positive), np.array(score))
    assert found.tolist() == pytest.approx(expected)


def test_metrics_are_those_of_the_candidates_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = drawn()
    scores = torch.from_numpy(np.random.default_rng(3).normal(size=(50, ITEMS)))
    whole = click_metrics(Table(scores), candidates)
    for row in range(len(candidates.users)):
        place = slice(*candidates.items.pointer[row : row + 2])
        own = scores[candidates.users[row], torch.from_numpy(candidates.items.columns[place].astype(np.int64))]
        label = candidates.positive[place][np.argsort(-own.numpy())]
        high, low = own.numpy()[candidates.positive[place]], own.numpy()[~candidates.positive[place]]
        assert whole.values["auc"][row] == pytest.approx((high[:, None] > low).mean())
        for k in (5, 10):
            gain = sum(1 / log2(rank + 2) for rank, hit in enumerate(label[:k]) if hit)
            ideal = sum(1 / log2(rank + 2) for rank in range(min(k, label.sum())))
            assert whole.values[f"click_ndcg@{k}"][row] == pytest.approx(gain / ideal)
    monkeypatch.setattr(clicks, "BLOCK_BYTES", 4 * ITEMS * 3)
    parted = click_metrics(Table(scores), candidates)
    for name, column in whole.values.items():
        np.testing.assert_array_equal(parted.values[name], column)


def test_a_constant_scorer_is_worth_chance_for_everyone() -> None:
    users = 3000
    # Items in ascending order: positives first, which an order by id would find.
    test = rows_of([{0, 1}] * users, 10)
    candidates = click_candidates(test, rows_of([{0}] * users, 10), test, negatives=4)
    found = click_metrics(Table(torch.zeros(users, 10)), candidates, cuts=(1, 6))
    assert set(found.values["auc"].tolist()) == {0.5}
    assert found.values["click_ndcg@1"].mean() == pytest.approx(1 / 6, abs=0.025)
    expected = np.mean([1 / log2(rank + 2) for rank in range(6)])
    assert found.values["click_ndcg@6"].mean() == pytest.approx(expected, abs=0.02)


def test_perfect_and_perverse_scorers() -> None:
    train, test, positive = world()
    candidates = click_candidates(test, positive, Joined((train, test)))
    scores = torch.zeros(50, ITEMS)
    scores[torch.from_numpy(positive.row_of_entry()), torch.from_numpy(positive.columns.astype(np.int64))] = 1
    best, worst = click_metrics(Table(scores), candidates), click_metrics(Table(-scores), candidates)
    for column in best.values.values():
        np.testing.assert_allclose(column, 1)
    assert worst.values["auc"].max() == 0


def test_the_order_of_ties_is_the_seeds() -> None:
    candidates = drawn()
    constant = Table(torch.zeros(50, ITEMS))
    first, again, other = (click_metrics(constant, candidates, seed=seed).means() for seed in (0, 0, 1))
    assert first == again
    assert first["click_ndcg@5"] != other["click_ndcg@5"]
    assert first["auc"] == other["auc"] == 0.5


def test_scores_that_are_not_numbers_are_refused() -> None:
    candidates = drawn()
    scores = torch.zeros(50, ITEMS)
    user = int(candidates.users[4])
    scores[user, 7] = torch.nan
    with pytest.raises(TrainingError, match=f"user row {user}"):
        click_metrics(Table(scores), candidates)


def test_nobody_to_ask_gives_empty_columns() -> None:
    nothing = rows_of([set(), set()], 4)
    found = click_metrics(Table(torch.zeros(2, 4)), click_candidates(nothing, nothing, nothing))
    assert found.means() == {"auc": 0.0, "click_ndcg@5": 0.0, "click_ndcg@10": 0.0}
