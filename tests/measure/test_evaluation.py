"""Evaluation of a scorer: who is measured, what is masked, and what a planted ranking is worth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from measure.tables import Table, rows
from palate.measure import ranking
from palate.measure.evaluation import evaluate


def test_users_without_a_positive_are_not_measured_and_not_scored() -> None:
    scorer = Table(torch.arange(12.0).repeat(4, 1))
    result = evaluate(scorer, rows([(1, 11), (3, 0)], 4, 12), rows([], 4, 12), cuts=(1, 5))
    assert result.users.tolist() == [1, 3]
    assert scorer.asked == [1, 3]
    assert result.values["recall@5"].tolist() == [1.0, 0.0]
    assert result.means()["hit@1"] == 0.5


def test_masked_items_make_room() -> None:
    scorer = Table(torch.arange(4.0).repeat(2, 1))
    positives = rows([(0, 1), (1, 1)], 2, 4)
    result = evaluate(scorer, positives, rows([(0, 2), (0, 3)], 2, 4), cuts=(1, 2))
    assert result.values["mrr@1"].tolist() == [1.0, 0.0]
    assert result.values["recall@2"].tolist() == [1.0, 0.0]


def test_all_items_are_candidates_so_a_constant_scorer_finds_what_chance_finds() -> None:
    users, items = 3000, 50
    generator = np.random.default_rng(0)
    positives = rows([(user, int(generator.integers(items))) for user in range(users)], users, items)
    means = evaluate(Table(torch.zeros(users, items)), positives, rows([], users, items)).means()
    for k in (5, 10, 20):
        share = k / items
        assert abs(means[f"recall@{k}"] - share) < 5 * np.sqrt(share * (1 - share) / users)
    assert means["recall@50"] == 1.0


def test_the_seed_decides_ties_and_nothing_else() -> None:
    positives = rows([(user, user % 9) for user in range(200)], 200, 9)
    none = rows([], 200, 9)
    constant, distinct = Table(torch.zeros(200, 9)), Table(torch.arange(9.0).repeat(200, 1))
    first = evaluate(constant, positives, none, seed=0, cuts=(3,)).values["recall@3"]
    assert np.array_equal(first, evaluate(constant, positives, none, seed=0, cuts=(3,)).values["recall@3"])
    assert not np.array_equal(first, evaluate(constant, positives, none, seed=1, cuts=(3,)).values["recall@3"])
    values = [evaluate(distinct, positives, none, seed=seed, cuts=(3,)).values["ndcg@3"] for seed in (0, 1)]
    assert np.array_equal(*values)


@pytest.mark.parametrize("items", [3, 60])
def test_nobody_with_a_positive_is_zero_not_an_error(items: int) -> None:
    result = evaluate(Table(torch.zeros(2, items)), rows([], 2, items), rows([], 2, items))
    assert len(result.users) == 0
    assert set(result.means().values()) == {0.0}


@pytest.mark.parametrize("size", [1, 7, 16])
def test_users_of_several_blocks_are_measured_as_those_of_one(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    users, items = 60, 40
    generator = np.random.default_rng(0)
    scores = torch.from_numpy(generator.integers(0, 5, (users, items)).astype(np.float32))
    chosen = generator.random((users, items))
    # Some users have nothing held out, so that places in a block are not row numbers.
    positives = rows(np.argwhere((chosen < 0.1) & (generator.random((users, 1)) < 0.8)).tolist(), users, items)
    mask = rows(np.argwhere(chosen > 0.7).tolist(), users, items)
    whole = evaluate(Table(scores), positives, mask)
    assert 30 < len(whole.users) < 60
    monkeypatch.setattr(ranking, "BLOCK_BYTES", 4 * items * size)
    blocks = list(ranking.ranked_blocks(Table(scores), whole.users, 5))
    assert len(blocks) == -(-len(whole.users) // size) > 1
    parts = evaluate(Table(scores), positives, mask)
    assert np.array_equal(parts.users, whole.users)
    assert parts.values.keys() == whole.values.keys()
    for name, values in whole.values.items():
        assert np.array_equal(parts.values[name], values), name
    assert parts.means() == whole.means()


def test_lists_longer_than_the_catalogue_are_cut_and_still_count() -> None:
    means = evaluate(Table(torch.arange(3.0)[None]), rows([(0, 0)], 1, 3), rows([], 1, 3)).means()
    assert (means["recall@5"], means["precision@5"], means["mrr@5"]) == (1.0, 1 / 5, pytest.approx(1 / 3))
