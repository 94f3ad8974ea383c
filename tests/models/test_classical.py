"""The classical models against direct solutions and hand-made examples."""

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
from palate.models.classical import ease, neighbourhood
from palate.models.classical.contentknn import ContentKNN, ContentKNNConfig
from palate.models.classical.ease import EASE, EASEConfig
from palate.models.classical.indexorder import IndexOrder, IndexOrderConfig
from palate.models.classical.itemknn import ItemKNN, ItemKNNConfig
from palate.models.classical.neighbourhood import Neighbourhood
from palate.models.classical.popularity import Popularity, PopularityConfig
from palate.models.classical.rp3beta import RP3beta, RP3betaConfig

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


def kept(near: NDArray[np.float64], neighbours: int, side: str) -> NDArray[np.float64]:
    """W (row: an item a user took, column: an item to be scored) of what is near, the largest of each item kept."""
    near = near * (1 - np.eye(len(near)))
    weights = np.zeros_like(near)
    for item, row in enumerate(near):
        largest = np.argsort(-row)[:neighbours]
        weights[item, largest] = row[largest]
    return weights.T if side == "scored" else weights


def check_scores(model: Neighbourhood, matrix: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
    model.fit()
    users = np.array([5, 0, 5, 11])
    found = model.score_block(torch.from_numpy(users)).numpy()
    np.testing.assert_allclose(found, matrix[users] @ weights, rtol=1e-12, atol=1e-14)


def without_ties(seed: int, items: int = 9) -> NDArray[np.int64]:
    """A matrix in which no two items are equally near to a third; which of them counts is then beyond doubt."""
    matrix = (np.random.default_rng(seed).random((400, items)) < np.linspace(0.1, 0.6, items)).astype(np.int64)
    matrix[11] = 0
    return matrix


@given(seeds, st.sampled_from([1, 3, 8, 100]), st.sampled_from([0.0, 7.5]), st.sampled_from(["scored", "history"]))
def test_itemknn_is_the_shrunk_cosine_of_common_users(seed: int, neighbours: int, shrink: float, side: str) -> None:
    matrix = without_ties(seed)
    counts = matrix.sum(0)
    near = matrix.T @ matrix / (np.sqrt(counts[:, None] * counts) + shrink)
    config = ItemKNNConfig.parse({"neighbours": neighbours, "shrink": shrink, "neighbours_of": side})
    check_scores(ItemKNN(config, worlds.inputs(matrix, shuffle=seed)), matrix, kept(near, neighbours, side))


@given(seeds, st.sampled_from([0.2, 0.5, 0.9]), st.sampled_from([0.0, 0.8]), st.sampled_from(["scored", "history"]))
def test_itemknn_weighs_users_and_both_ends(seed: int, asymmetry: float, exponent: float, side: str) -> None:
    matrix = without_ties(seed)
    counts, weighted = matrix.sum(0), matrix * np.maximum(matrix.sum(1, keepdims=True), 1.0) ** -exponent
    taken_to_scored = matrix.T @ weighted / (counts[:, None] ** asymmetry * counts ** (1 - asymmetry) + 2.0)
    config = ItemKNNConfig.parse(
        {"neighbours": 5, "shrink": 2, "neighbours_of": side, "asymmetry": asymmetry, "user_exponent": exponent}
    )
    near = taken_to_scored.T if side == "scored" else taken_to_scored
    check_scores(ItemKNN(config, worlds.inputs(matrix, shuffle=seed)), matrix, kept(near, 5, side))


@given(seeds, st.sampled_from([1, 3, 8, 100]), st.sampled_from([0.4, 1.0]), st.sampled_from([0.0, 0.6]))
def test_rp3beta_is_the_reweighted_walk_over_three_edges(seed: int, neighbours: int, alpha: float, beta: float) -> None:
    matrix = without_ties(seed)
    by_user, by_item = np.maximum(matrix.sum(1), 1), matrix.sum(0)
    to_user = (matrix / by_item).T ** alpha * matrix.T
    to_item = (matrix / by_user[:, None]) ** alpha * matrix
    near = to_user @ to_item / by_item**beta
    config = RP3betaConfig(neighbours=neighbours, alpha=alpha, beta=beta)
    check_scores(RP3beta(config, worlds.inputs(matrix, shuffle=seed)), matrix, kept(near, neighbours, "history"))


def test_an_rp3beta_of_exponent_1_is_a_random_walk() -> None:
    """Scores of a user, over the number of its items, are the probabilities of where three steps lead elsewhere."""
    matrix = without_ties(0)
    model = RP3beta(RP3betaConfig(alpha=1.0, beta=0.0, neighbours=100), worlds.inputs(matrix))
    model.fit()
    step = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    back = (matrix / matrix.sum(0)).T
    stays = np.diag(back @ step)
    walks = step @ (back @ step) - step * stays
    found = model.score_block(torch.arange(400)).numpy() / np.maximum(matrix.sum(1, keepdims=True), 1)
    np.testing.assert_allclose(found, walks, atol=1e-12)


@given(seeds, st.sampled_from([1, 3, 100]), st.sampled_from(["scored", "history"]))
def test_contentknn_is_the_cosine_of_what_content_items_have(seed: int, neighbours: int, side: str) -> None:
    """A cosine of items with the same modalities is the mean of their cosines in each."""
    matrix, generator = matrix_of(seed), np.random.default_rng(seed)
    content = {
        name: generator.normal(size=(9, width)).astype(np.float32) for name, width in (("text", 6), ("image", 3))
    }
    content["image"][[2, 4]] = np.nan
    content["text"][4] = np.nan
    near = np.zeros((9, 9))
    has = {name: np.isfinite(rows).all(1) for name, rows in content.items()}
    for one in range(9):
        for other in range(9):
            parts = [
                rows[one] @ rows[other] / np.linalg.norm(rows[one]) / np.linalg.norm(rows[other])
                for name, rows in content.items()
                if has[name][one] and has[name][other]
            ]
            sizes = [sum(present[item] for present in has.values()) for item in (one, other)]
            near[one, other] = sum(parts) / max(1, sizes[0] * sizes[1]) ** 0.5
    config = ContentKNNConfig.parse({"neighbours": neighbours, "neighbours_of": side})
    model = ContentKNN(config, worlds.inputs(matrix, content))
    model.fit()
    expected = matrix @ kept(np.maximum(near, 0), neighbours, side)
    np.testing.assert_allclose(model.score_block(torch.arange(12)).numpy(), expected, atol=1e-6)


def test_contentknn_without_any_modality_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="ContentKNN needs at least one modality"):
        ContentKNN(ContentKNNConfig(), worlds.inputs(matrix_of(0)))


@pytest.mark.parametrize("cells", [1, 20, 81])
def test_neighbours_are_the_same_whatever_the_block(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    models = [ItemKNN(ItemKNNConfig(neighbours=3), worlds.inputs(without_ties(1))) for _ in range(2)]
    models[0].fit()
    monkeypatch.setattr(neighbourhood, "BLOCK_CELLS", cells)
    models[1].fit()
    for name, stored in models[0].state_dict().items():
        assert torch.equal(models[1].state_dict()[name], stored)


@pytest.mark.parametrize("kind", [ItemKNN, RP3beta, ContentKNN])
@pytest.mark.parametrize("neighbours", [2, 100])
def test_a_fitted_neighbourhood_is_its_state(kind: type[Neighbourhood], neighbours: int) -> None:
    """What is stored has shapes that are known before; a model that loads it is the same, whatever it was."""
    content = {"text": np.random.default_rng(0).normal(size=(9, 4))}
    fitted, fresh, other = (
        kind(kind.Config.parse({"neighbours": neighbours}), worlds.inputs(matrix_of(seed, users=30), content))
        for seed in (1, 1, 2)
    )
    fitted.fit()
    other.fit()
    everyone = torch.arange(30)
    assert not fresh.score_block(everyone).any()
    fresh.load_state_dict(fitted.state_dict())
    assert torch.equal(fresh.score_block(everyone), fitted.score_block(everyone))
    other.load_state_dict(fitted.state_dict())
    other.by_user = fitted.by_user
    assert torch.equal(other.score_block(everyone), fitted.score_block(everyone))
    fitted.fit()
    assert torch.equal(fresh.score_block(everyone), fitted.score_block(everyone))


@pytest.mark.parametrize("kind", [ItemKNN, RP3beta, ContentKNN])
def test_one_item_has_no_neighbours(kind: type[Neighbourhood]) -> None:
    model = kind(kind.Config(), worlds.inputs(np.ones((3, 1), np.int64), {"text": np.ones((1, 2))}))
    model.fit()
    assert model.score_block(torch.arange(3)).tolist() == [[0.0], [0.0], [0.0]]
