"""Popularity, EASE and IndexOrder against direct solutions and hand-made examples."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import worlds
from palate.core.errors import ConfigError, TrainingError
from palate.dataset.inputs import ModelInputs
from palate.graph.bipartite import Bipartite
from palate.graph.rows import Rows
from palate.ingest.catalogue import Catalogue
from palate.measure.evaluation import evaluate
from palate.models.classical import ease
from palate.models.classical.ease import EASE, EASEConfig
from palate.models.classical.indexorder import IndexOrder, IndexOrderConfig
from palate.models.classical.popularity import Popularity, PopularityConfig

seeds = st.integers(0, 1000)


def matrix_of(seed: int, users: int = 12, items: int = 9) -> NDArray[np.int64]:
    return (np.random.default_rng(seed).random((users, items)) < 0.3).astype(np.int64)


@given(seeds)
def test_popularity_scores_are_train_counts(seed: int) -> None:
    matrix = matrix_of(seed)
    model = Popularity(PopularityConfig(), worlds.inputs(matrix))
    model.fit()
    scores = model.score_block(torch.tensor([3, 0])).numpy()
    np.testing.assert_array_equal(scores, np.tile(matrix.sum(0), (2, 1)))


@given(seeds, st.floats(0.5, 500))
def test_ease_is_the_ridge_regression_of_each_item_on_all_others(seed: int, ridge: float) -> None:
    matrix = matrix_of(seed).astype(np.float64)
    items = matrix.shape[1]
    weights = np.zeros((items, items))
    for target in range(items):
        others = np.arange(items) != target
        history = matrix[:, others]
        left = history.T @ history + ridge * np.eye(items - 1)
        weights[others, target] = np.linalg.solve(left, history.T @ matrix[:, target])
    model = EASE(EASEConfig(ridge=ridge), worlds.inputs(matrix.astype(np.int64), shuffle=seed))
    model.fit()
    np.testing.assert_allclose(model.weights.numpy(), weights, atol=1e-6)
    users = np.array([5, 0, 5, 11])
    np.testing.assert_allclose(model.score_block(torch.from_numpy(users)).numpy(), matrix[users] @ weights, atol=1e-5)


@pytest.mark.parametrize("block", [1, 4, 9, 1024])
def test_ease_weighs_the_same_whatever_the_block(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    models = [EASE(EASEConfig(ridge=3.0), worlds.inputs(matrix_of(5))) for _ in range(2)]
    models[0].fit()
    monkeypatch.setattr(ease, "BLOCK_ENTRIES", block * models[1].by_user.count)
    models[1].fit()
    assert torch.equal(models[0].weights, models[1].weights)


def test_ease_solves_in_float64_whatever_the_precision_of_its_weights() -> None:
    """Two items that the same 1,000 users took: float32 does not tell 1,000 + λ from 1,000."""
    model = EASE(EASEConfig(ridge=1e-5), worlds.inputs(np.ones((1000, 2), np.int64)))
    model.weights = model.weights.float()
    model.fit()
    expected = 1000 / (1000 + 1e-5)
    np.testing.assert_allclose(model.weights.numpy(), [[0, expected], [expected, 0]], rtol=1e-6)


def test_ease_says_when_its_matrix_cannot_be_inverted() -> None:
    model = EASE(EASEConfig(ridge=1e-300), worlds.inputs(np.ones((1, 2), np.int64)))
    with pytest.raises(TrainingError, match="cannot be inverted") as caught:
        model.fit()
    assert caught.value.where == "ridge=1e-300"
    assert caught.value.do == "raise ridge"


def test_ease_refuses_catalogues_beyond_its_memory() -> None:
    wide = Rows.from_pairs(np.array([0]), np.array([0]), 1, 40_001)
    inputs = ModelInputs(1, 40_001, Bipartite(wide), wide, {})
    with pytest.raises(ConfigError, match="40,001 items"):
        EASE(EASEConfig(), inputs)


def indexorder(matrix: NDArray[np.int64], direction: str) -> NDArray[np.float64]:
    model = IndexOrder(IndexOrderConfig.parse({"direction": direction}), worlds.inputs(matrix))
    model.fit()
    return model.score_block(torch.arange(len(matrix))).numpy()


EXAMPLE = np.array([[0, 0, 0, 1, 1], [0, 1, 0, 0, 0], [0, 0, 1, 0, 1], [0, 0, 0, 1, 0]])


def test_indexorder_by_hand() -> None:
    """b = 1, 1, 2, 3: the smallest item of this user and those after; a place above costs 1, a place below 1/2."""
    expected = [
        [-0.5, 0.0, -1.0, -2.0, -3.0],
        [-0.5, 0.0, -1.0, -2.0, -3.0],
        [-1.0, -0.5, 0.0, -1.0, -2.0],
        [-1.5, -1.0, -0.5, 0.0, -1.0],
    ]
    np.testing.assert_array_equal(indexorder(EXAMPLE, "users"), expected)


@given(seeds)
def test_indexorder_of_items_is_that_of_users_in_the_transposed_data(seed: int) -> None:
    matrix = matrix_of(seed)
    np.testing.assert_array_equal(indexorder(matrix, "items"), indexorder(matrix.T, "users").T)


@given(seeds)
def test_indexorder_looks_at_source_numbers_and_not_at_rows(seed: int) -> None:
    matrix = matrix_of(seed)
    data = worlds.dataset(catalogue_of(matrix), {}, split="random", seed=seed)
    inputs = data.inputs()
    model = IndexOrder(IndexOrderConfig(), inputs)
    model.fit()
    assert inputs.numbers is not None
    numbers = inputs.numbers()
    plain = np.zeros_like(matrix)
    train = inputs.train.by_user
    plain[numbers.user[train.row_of_entry()], numbers.item[train.columns]] = 1
    expected = indexorder(plain, "users")[numbers.user][:, numbers.item]
    np.testing.assert_array_equal(model.score_block(torch.arange(inputs.users)).numpy(), expected)


def catalogue_of(matrix: NDArray[np.int64]) -> Catalogue:
    user, item = np.nonzero(matrix | np.eye(*matrix.shape, dtype=np.int64))
    rows = pl.DataFrame({"user_id": user.astype(str), "item_id": item.astype(str)})
    return Catalogue.of(rows, pl.DataFrame({"item_id": np.arange(matrix.shape[1]).astype(str)}))


@pytest.mark.parametrize("direction", ["users", "items"])
def test_indexorder_finds_a_leak_and_no_leak_in_shuffled_data(direction: str) -> None:
    """Rows sorted by item (or user), the others numbered as they appear: chance is 20 of 400."""
    generator = np.random.default_rng(3)
    if direction == "users":
        pairs = [(user, item) for user in range(400) for item in generator.choice(400, 5, replace=False)]
        ordered = sorted(pairs, key=lambda pair: pair[1])
    else:
        pairs = [(user, item) for item in range(400) for user in generator.choice(400, 5, replace=False)]
        ordered = sorted(pairs)
    shuffled = [pairs[place] for place in generator.permutation(len(pairs))]
    found = {name: canary_recall(rows, direction) for name, rows in (("leak", ordered), ("none", shuffled))}
    assert found["leak"] > 0.15
    assert found["none"] < 0.08


def canary_recall(pairs: list[tuple[int, int]], direction: str) -> float:
    rows = pl.DataFrame([(f"u{user}", f"i{item}") for user, item in pairs], schema=["user_id", "item_id"], orient="row")
    data = worlds.dataset(Catalogue.of(rows), {}, split="random")
    inputs = dataclasses.replace(data.inputs(), numbers=partial(data.numbers, "interactions"))
    model = IndexOrder(IndexOrderConfig.parse({"direction": direction}), inputs)
    model.fit()
    return evaluate(model, data.positives["test"], data.mask("test")).means()["recall@20"]
