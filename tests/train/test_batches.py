"""Train pairs and negatives: every pair once, no negative ever seen, uniform over the rest, a function of the seed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import worlds
from palate.core.errors import TrainingError
from palate.core.seeds import Draws
from palate.dataset.inputs import ModelInputs
from palate.graph.bipartite import Bipartite
from palate.graph.rows import Rows
from palate.models.base import Batch, Needs
from palate.train.batches import PairBatches


def inputs_of(positive: NDArray[np.int64], seen: NDArray[np.int64]) -> ModelInputs:
    """Positives for learning, and more that was seen."""
    base = worlds.inputs(seen)
    user, item = np.nonzero(positive)
    rows = Rows.from_pairs(user, item, len(positive), positive.shape[1])
    return dataclasses.replace(base, train=Bipartite(rows))


@st.composite
def worlds_of_pairs(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    users, items = draw(st.integers(1, 8)), draw(st.integers(2, 9))
    seen = (generator.random((users, items)) < draw(st.sampled_from([0.2, 0.6, 0.95]))).astype(np.int64)
    positive = seen * (generator.random((users, items)) < 0.7)
    seen[0, 0] = positive[0, 0] = 1
    seen[0, 1] = positive[0, 1] = 0
    return positive, seen


def joined(batches: list[Batch]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    users, positives = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("users", "positives"))
    negatives = torch.cat([batch.negatives for batch in batches if batch.negatives is not None])
    return users.numpy(), positives.numpy(), negatives.numpy()


@given(worlds_of_pairs(), st.integers(1, 7), st.sampled_from([1, 3]), st.integers(1, 4))
def test_every_pair_once_and_no_negative_that_was_seen(
    world: tuple[NDArray[np.int64], NDArray[np.int64]], size: int, count: int, epoch: int
) -> None:
    positive, seen = world
    batches = PairBatches(inputs_of(positive, seen), size, Needs(count), seed=3)
    made = list(batches.epoch(epoch))
    users, positives, negatives = joined(made)
    can = np.asarray(~seen.all(1))
    expected = {(int(user), int(item)) for user, item in np.argwhere(positive) if can[user]}
    assert sorted(zip(users.tolist(), positives.tolist(), strict=True)) == sorted(expected)
    assert negatives.shape == ((len(users),) if count == 1 else (len(users), count))
    assert not seen[np.repeat(users, count), negatives.ravel()].any()
    assert len(made) == batches.steps
    assert [len(batch.users) for batch in made[:-1]] == [size] * (len(made) - 1)
    assert all(batch.users.dtype == torch.int64 for batch in made)


@given(worlds_of_pairs())
def test_without_negatives_all_pairs_are_used(world: tuple[NDArray[np.int64], NDArray[np.int64]]) -> None:
    positive, seen = world
    made = list(PairBatches(inputs_of(positive, seen), 4, Needs(0), seed=0).epoch(1))
    pairs = [pair for batch in made for pair in zip(batch.users.tolist(), batch.positives.tolist(), strict=True)]
    assert sorted(pairs) == sorted(map(tuple, np.argwhere(positive).tolist()))
    assert all(batch.negatives is None for batch in made)


def test_negatives_are_uniform_over_the_unseen() -> None:
    seen = np.zeros((3, 12), np.int64)
    seen[0, :9] = 1
    seen[1, ::2] = 1
    seen[2, 11] = 1
    users, _, negatives = joined(list(PairBatches(inputs_of(seen, seen), 64, Needs(2000), seed=1).epoch(1)))
    for user in range(3):
        drawn = np.bincount(negatives[users == user].ravel(), minlength=12)
        unseen = seen[user] == 0
        expected = drawn.sum() / unseen.sum()
        assert drawn[~unseen].sum() == 0
        # Five standard deviations of a binomial count.
        assert np.abs(drawn[unseen] - expected).max() < 5 * np.sqrt(expected)


def flat(batches: PairBatches, epoch: int) -> list[list[int]]:
    return [part.tolist() for part in joined(list(batches.epoch(epoch)))]


def test_an_epoch_is_a_function_of_seed_and_number() -> None:
    seen = (np.random.default_rng(0).random((20, 30)) < 0.2).astype(np.int64)
    inputs = inputs_of(seen, seen)
    first, again = (PairBatches(inputs, 16, Needs(1), seed=5) for _ in range(2))
    flat(again, 1)
    assert flat(first, 4) == flat(again, 4)
    assert flat(first, 4) == flat(first, 4)
    others = [flat(first, 5), flat(PairBatches(inputs, 16, Needs(1), seed=6), 4)]
    for other in others:
        assert all(mine != theirs for mine, theirs in zip(flat(first, 4), other, strict=True))


def test_the_size_of_batches_changes_neither_order_nor_negatives() -> None:
    seen = (np.random.default_rng(0).random((20, 30)) < 0.2).astype(np.int64)
    small, large = (PairBatches(inputs_of(seen, seen), size, Needs(2), seed=5) for size in (7, 1000))
    assert flat(small, 2) == flat(large, 2)


def test_pairs_are_in_random_order() -> None:
    seen = np.ones((40, 10), np.int64)
    seen[:, 9] = 0
    users = joined(list(PairBatches(inputs_of(seen, seen), 1000, Needs(1), seed=0).epoch(1)))[0]
    # Sorted by user the correlation with the place would be 1; at random its standard deviation is 0.05.
    assert abs(np.corrcoef(users, np.arange(len(users)))[0, 1]) < 0.25


def test_nothing_to_learn_from_is_an_error() -> None:
    full = np.ones((3, 4), np.int64)
    with pytest.raises(TrainingError, match="no train pair"):
        PairBatches(inputs_of(full, full), 4, Needs(1), seed=0)
    assert PairBatches(inputs_of(full, full), 4, Needs(0), seed=0).steps == 3


def test_a_share_of_the_negatives_are_the_users_dislikes() -> None:
    positive = np.eye(3, 50, dtype=np.int64)
    seen = positive.copy()
    seen[0, [10, 11]] = seen[1, 12] = 1
    disliked = Rows.from_pairs(np.array([0, 0, 1]), np.array([10, 11, 12]), 3, 50)
    inputs = dataclasses.replace(inputs_of(positive, seen), dislikes=disliked)
    users, _, negatives = joined(list(PairBatches(inputs, 8, Needs(4000, dislike_share=0.25), seed=0).epoch(1)))
    of = {user: negatives[users == user].ravel() for user in range(3)}
    assert 0.2 < np.isin(of[0], [10, 11]).mean() < 0.3
    assert {10, 11} <= set(of[0].tolist())
    assert 0.2 < (of[1] == 12).mean() < 0.3
    assert not (of[0] == 0).any()
    assert not (of[2] == 2).any(), "a user without dislikes gets unseen items alone"


def test_the_hook_before_an_epoch_gets_the_same_draws_whenever_the_epoch_starts() -> None:
    positive = np.eye(5, 9, dtype=np.int64)
    met: list[torch.Tensor] = []

    def note(draws: Draws) -> None:
        met.append(draws.uniform("edges", torch.arange(3), 1))

    batches = PairBatches(inputs_of(positive, positive), 4, Needs(1), seed=5, before_epoch=note)
    for number in (1, 2, 1):
        list(batches.epoch(number))
    assert torch.equal(met[0], met[2])
    assert not torch.equal(met[0], met[1])
