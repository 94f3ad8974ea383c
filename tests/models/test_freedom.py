"""FREEDOM's graphs, its loss on a batch against a plain implementation over all nodes, and its sampling of edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

import worlds
from palate.core.errors import ConfigError
from palate.core.seeds import Draws
from palate.dataset.inputs import ModelInputs
from palate.models.base import Batch
from palate.models.freedom import FREEDOM, FREEDOMConfig
from palate.models.layers import FeatureTable, key_of

USERS, ITEMS = 8, 10
WIDTHS = {"text": 6, "image": 3, "audio": 4}
PRESETS = {"intended": FREEDOMConfig(), "official": FREEDOMConfig.official()}


def inputs_of(names: list[str], *, missing: bool, seed: int = 0) -> ModelInputs:
    generator = np.random.default_rng(seed)
    matrix = (generator.random((USERS, ITEMS)) < 0.4).astype(np.int64)
    content = {name: np.random.default_rng(WIDTHS[name]).normal(size=(ITEMS, WIDTHS[name])) for name in names}
    if missing:
        content[names[0]][[2, 7]] = np.nan
        content[names[-1]][7] = np.nan
    return worlds.inputs(matrix, content)


def model_of(inputs: ModelInputs, preset: str = "intended", seed: int = 0, **settings: object) -> FREEDOM:
    torch.manual_seed(seed)
    return FREEDOM(PRESETS[preset].override({"dim": 5, "neighbours": 3, **settings}), inputs)


def item_graph(inputs: ModelInputs, weights: dict[str, float], neighbours: int, epsilon: float) -> NDArray[np.float64]:
    """S from its definition, with loops."""
    graph = np.zeros((ITEMS, ITEMS))
    for name, features in inputs.features.items():
        unit = features.matrix / np.maximum(np.linalg.norm(features.matrix, axis=1, keepdims=True), 1e-30)
        edges = np.zeros((ITEMS, ITEMS))
        for item in np.flatnonzero(features.present):
            others = np.flatnonzero(features.present)
            edges[item, others[np.argsort(-(unit[others] @ unit[item]))[:neighbours]]] = 1
        degrees = edges.sum(1) + epsilon * features.present
        scale = np.divide(1, np.sqrt(degrees), out=np.zeros(ITEMS), where=degrees > 0)
        graph += weights[name] * scale[:, None] * edges * scale
    share = sum(weights[name] * features.present for name, features in inputs.features.items())
    return np.divide(graph, share[:, None], out=np.zeros_like(graph), where=share[:, None] > 0)


def adjacency(matrix: NDArray[np.float64], epsilon: float) -> Tensor:
    full = torch.zeros(USERS + ITEMS, USERS + ITEMS)
    full[:USERS, USERS:] = torch.from_numpy(matrix)
    full[USERS:, :USERS] = torch.from_numpy(matrix.T)
    degrees = full.sum(1) + epsilon
    scale = torch.where(degrees > 0, 1 / degrees.sqrt(), torch.zeros_like(degrees))
    return scale[:, None] * full * scale


def edges_of(model: FREEDOM) -> NDArray[np.bool_]:
    """The user–item pairs of the epoch's graph."""
    return model.thinned.dense()[:USERS, USERS:].numpy() > 0


@dataclass
class Case:
    """A model, what it was made of, and a batch.

    Attributes:
        weights: α of each modality, summing to 1.
    """

    model: FREEDOM
    inputs: ModelInputs
    weights: dict[str, float]
    batch: Batch

    @property
    def terms(self) -> dict[str, Tensor]:
        return self.model.loss(self.batch, Draws(0))

    def nodes(self, edges: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        """h of users and items by powers of dense matrices."""
        model, config = self.model, self.model.config
        operator = adjacency(edges.astype(np.float64), config.degree_epsilon)
        similar = torch.from_numpy(item_graph(self.inputs, self.weights, 3, config.degree_epsilon))
        own = torch.cat([model.user_id, model.item_id])
        powers = [torch.linalg.matrix_power(operator, hop) @ own for hop in range(config.layers + 1)]
        nodes = torch.stack(powers).mean(0)
        spread = torch.linalg.matrix_power(similar, config.item_layers) @ model.item_id
        return nodes[:USERS], nodes[USERS:] + spread


def case(preset: str, names: list[str], *, missing: bool, seed: int = 0, **settings: object) -> Case:
    inputs = inputs_of(names, missing=missing, seed=seed)
    weights = {name: place + 1.0 for place, name in enumerate(names)}
    weighed = {"modality_weights": weights, "modal_weight": 0.3, "penalty_weight": 0.2, "dropout": 0.5}
    model = model_of(inputs, preset, seed, **weighed, **settings)
    model.start_epoch(Draws(seed, 1))
    generator = np.random.default_rng(seed)
    batch = Batch(*(torch.from_numpy(generator.integers(0, count, 12)) for count in (USERS, ITEMS, ITEMS)))
    return Case(model, inputs, {name: weight / sum(weights.values()) for name, weight in weights.items()}, batch)


def reference(made: Case) -> dict[str, Tensor]:
    """The loss from its definition, over all nodes and both items of a pair."""
    model, user, positive, negative = made.model, made.batch.users, made.batch.positives, made.batch.negatives
    assert negative is not None
    users, items = made.nodes(edges_of(model))
    gap = (users[user] * (items[positive] - items[negative])).sum(1)
    terms = {"bpr": -F.logsigmoid(gap).mean()}
    for name, features in made.inputs.features.items():
        table = model.features[key_of(name)]
        assert isinstance(table, FeatureTable)
        content = table.matrix @ model.projections[key_of(name)].T
        present = torch.tensor(features.present)
        both = present[positive] & present[negative]
        each = -F.logsigmoid((users[user] * (content[positive] - content[negative])).sum(1))
        terms[f"bpr_{name}"] = 0.3 * each[both].sum() / max(1, int(both.sum()))
    own = (model.user_id[user], model.item_id[positive], model.item_id[negative])
    return terms | {"penalty": 0.2 * torch.cat(own, 1).square().sum(1).mean()}


cases = given(
    st.sampled_from(["intended", "official"]),
    st.sampled_from([["text"], ["text", "image"], ["audio", "text", "image"]]),
    st.booleans(),
    st.integers(0, 1000),
    st.integers(0, 2),
    st.integers(0, 2),
)


@cases
def test_loss_gradients_and_scores_equal_the_plain_form(
    preset: str, names: list[str], missing: bool, seed: int, layers: int, item_layers: int
) -> None:
    made = case(preset, names, missing=missing, seed=seed, layers=layers, item_layers=item_layers)
    terms, expected = made.terms, reference(made)
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, msg=name)
    parameters = list(made.model.parameters())
    found = torch.autograd.grad(torch.stack(list(terms.values())).sum(), parameters)
    wanted = torch.autograd.grad(torch.stack(list(expected.values())).sum(), parameters)
    for gradient, oracle in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, oracle)

    # Scores are over all edges, whatever the epoch's sample.
    users, items = made.nodes(made.inputs.train.history_sum().dense().numpy() > 0)
    chosen = torch.tensor([3, 3, 0])
    torch.testing.assert_close(made.model.embed().score_block(chosen), (users[chosen] @ items.T).detach())


@pytest.mark.parametrize("preset", list(PRESETS))
def test_fifty_steps_are_those_of_the_plain_form(preset: str) -> None:
    worlds.check_fifty_steps(case(preset, ["text", "image"], missing=True), reference)


def test_before_the_first_epoch_and_without_dropout_all_edges_are_there() -> None:
    inputs = inputs_of(["text"], missing=False)
    every = inputs.train.history_sum().dense().numpy() > 0
    assert np.array_equal(edges_of(model_of(inputs)), every)
    model = model_of(inputs, dropout=0.0)
    model.start_epoch(Draws(0, 1))
    assert np.array_equal(edges_of(model), every)


def test_an_epoch_keeps_its_share_of_the_edges_and_another_epoch_others() -> None:
    inputs = inputs_of(["text"], missing=False)
    every = inputs.train.history_sum().dense().numpy() > 0
    one, other = model_of(inputs, dropout=0.6), model_of(inputs, dropout=0.6)
    kept: list[bytes] = []
    for epoch in range(5):
        one.start_epoch(Draws(3, epoch))
        other.start_epoch(Draws(3, epoch))
        assert np.array_equal(edges_of(one), edges_of(other))
        assert edges_of(one).sum() == int(0.4 * every.sum())
        assert not (edges_of(one) & ~every).any()
        kept.append(edges_of(one).tobytes())
    assert len(set(kept)) == 5
    one.start_epoch(Draws(3, 0))
    assert edges_of(one).tobytes() == kept[0]


@pytest.mark.parametrize(("dropout", "kept"), [(0.8, 2), (0.9, 1), (0.3, 7), (0.55, 4)])
def test_a_share_that_is_a_whole_number_of_edges_is_all_of_them(dropout: float, kept: int) -> None:
    """1 - .8 times ten is a little less than two in binary."""
    matrix = np.zeros((5, 4), dtype=np.int64)
    matrix[np.arange(5), [0, 1, 2, 3, 0]] = matrix[np.arange(5), [1, 2, 3, 0, 2]] = 1
    model = model_of(worlds.inputs(matrix, {"text": np.ones((4, 1))}), dropout=dropout)
    model.start_epoch(Draws(0, 1))
    assert (model.thinned.dense()[:5, 5:] > 0).sum() == kept


def test_edges_are_kept_by_the_roots_of_their_degrees() -> None:
    """Of the edges (0, 0), (0, 1) and (1, 0) one is kept; user 0 and item 0 have degree 2, the others degree 1."""
    matrix = np.array([[1, 1], [1, 0]])
    model = model_of(worlds.inputs(matrix, {"text": np.ones((2, 1))}), dropout=0.6)
    counts = np.zeros(matrix.shape)
    epochs = 1000
    for epoch in range(epochs):
        model.start_epoch(Draws(1, epoch))
        counts += (model.thinned.dense()[:2, 2:] > 0).numpy()
    weights = np.array([[0.5, 0.5**0.5], [0.5**0.5, 0.0]])
    np.testing.assert_allclose(counts / epochs, weights / weights.sum(), atol=0.05)


def test_a_sample_is_normalised_by_its_own_degrees_in_the_precision_of_the_model() -> None:
    inputs = inputs_of(["text"], missing=False)
    model = model_of(inputs, dropout=0.5)
    torch.set_default_dtype(torch.float32)
    try:
        model.start_epoch(Draws(0, 2))
    finally:
        torch.set_default_dtype(torch.float64)
    expected = adjacency(edges_of(model).astype(np.float64), 0.0)
    torch.testing.assert_close(model.thinned.dense(), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("weights", [{}, {"text": 2.0, "image": 2.0}])
def test_modalities_weigh_the_same_unless_told_otherwise(weights: dict[str, float]) -> None:
    inputs = inputs_of(["text", "image"], missing=True)
    found = model_of(inputs, modality_weights=weights).item_graph.dense().numpy()
    np.testing.assert_allclose(found, item_graph(inputs, {"text": 0.5, "image": 0.5}, 3, 0.0), atol=1e-15)


def test_a_modality_of_weight_0_has_no_part_in_the_item_graph() -> None:
    both = inputs_of(["text", "image"], missing=True)
    alone = worlds.inputs(np.ones((USERS, ITEMS), np.int64))
    alone.features["text"] = both.features["text"]
    found = model_of(both, modality_weights={"text": 1.0, "image": 0.0}).item_graph.dense()
    torch.testing.assert_close(found, model_of(alone).item_graph.dense())


def test_items_without_content_have_no_neighbours_and_keep_what_behaviour_says() -> None:
    model = model_of(inputs_of(["text", "image"], missing=True))
    graph = model.item_graph.dense()
    assert not graph[7].any()
    assert not graph[:, 7].any()
    # What an item lacks is made up for by what it has: rows with neighbours in one modality weigh as much.
    torch.testing.assert_close(graph.sum(1)[:7], torch.ones(7))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"text": 1.0, "imgae": 1.0}, "unknown modality 'imgae'; did you mean 'image'"),
        ({"text": 1.0}, "no weight for the modality 'image'"),
        ({"text": 1.0, "image": -0.1}, "0 or more"),
        ({"text": 0.0, "image": 0.0}, "not all 0"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        model_of(inputs_of(["text", "image"], missing=False), modality_weights=weights)
    assert "text, image" in caught.value.do


@pytest.mark.parametrize("preset", PRESETS)
def test_the_order_of_modalities_does_not_matter(preset: str) -> None:
    inputs = inputs_of(["text", "image"], missing=True)
    turned = inputs_of(["text", "image"], missing=True)
    turned.features["text"] = turned.features.pop("text")
    assert list(turned.features) == ["image", "text"]
    one, other = model_of(inputs, preset), model_of(turned, preset)
    other.load_state_dict(one.state_dict())
    batch = Batch(torch.tensor([0, 3]), torch.tensor([1, 2]), torch.tensor([4, 9]))
    first, second = (model.loss(batch, Draws(0)) for model in (one, other))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value)
    torch.testing.assert_close(one.embed().item, other.embed().item)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_preset_decides_whether_features_are_trained(preset: str) -> None:
    model = model_of(inputs_of(["text"], missing=False), preset)
    assert ("features.of_text.matrix" in dict(model.named_parameters())) == (preset == "official")


def test_without_a_weight_for_content_nothing_is_projected() -> None:
    model = model_of(inputs_of(["text"], missing=False), modal_weight=0.0)
    terms = model.loss(Batch(torch.tensor([0]), torch.tensor([1]), torch.tensor([2])), Draws(0))
    assert set(terms) == {"bpr", "penalty"}


def test_without_any_modality_it_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="FREEDOM needs at least one modality"):
        FREEDOM(FREEDOMConfig(), worlds.inputs(np.ones((2, 3), np.int64)))
