"""BM3's loss on a batch against a plain implementation over all users and items, and what its switches do."""

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
from palate.models.base import Batch
from palate.models.bm3 import BM3, BM3Config
from palate.models.layers import FeatureTable, key_of

USERS, ITEMS, DIM = 8, 10, 5
WIDTHS = {"text": 6, "image": 3, "audio": 4, "user": 4, "item": 3, "type": 2, "values": 5}
PRESETS = {"intended": BM3Config(), "official": BM3Config.official()}


@dataclass
class Case:
    """A model, its data and one step's batch and masks."""

    matrix: NDArray[np.int64]
    content: dict[str, NDArray[np.float64]]
    model: BM3
    batch: Batch
    masks: dict[str, Tensor]

    @property
    def terms(self) -> dict[str, Tensor]:
        return self.model.loss(self.batch, Draws(0, given=self.masks))


def case(preset: str, modalities: list[str], missing: bool, seed: int = 0, **settings: object) -> Case:
    generator = np.random.default_rng(seed)
    matrix = (generator.random((USERS, ITEMS)) < 0.3).astype(np.int64)
    matrix[:, 0] = 1
    content = {
        name: generator.normal(size=(ITEMS, WIDTHS[name])).astype(np.float32).astype(np.float64) for name in modalities
    }
    if missing:
        content[modalities[0]][[2, 7]] = np.nan
    config = PRESETS[preset].override({"dim": DIM, **settings})
    torch.manual_seed(seed)
    model = BM3(config, worlds.inputs(matrix, content))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.normal_()
    train = np.argwhere(matrix)
    user, item = torch.from_numpy(train[generator.integers(0, len(train), 12)]).T
    if missing:
        item[0] = 2
    keep = 1 - config.dropout
    masks = {
        name: torch.from_numpy(generator.random((rows, DIM)) < keep).double()
        for name, rows in (("user", USERS), ("item", ITEMS), *((f"content/{name}", ITEMS) for name in modalities))
    }
    return Case(matrix, content, model, Batch(user, item), masks)


def dense_adjacency(matrix: NDArray[np.int64], epsilon: float) -> Tensor:
    full = torch.zeros(USERS + ITEMS, USERS + ITEMS)
    full[:USERS, USERS:] = torch.from_numpy(matrix)
    full[USERS:, :USERS] = torch.from_numpy(matrix.T)
    degrees = full.sum(1) + epsilon
    scale = torch.where(degrees > 0, 1 / degrees.sqrt(), torch.zeros_like(degrees))
    return torch.diag(scale) @ full @ torch.diag(scale)


def reference(made: Case) -> dict[str, Tensor]:
    """The formulas of the design's model sheet, over all users and items, without any shortcut."""
    model, config = made.model, made.model.config
    users, items = made.batch.users, made.batch.positives
    adjacency = dense_adjacency(made.matrix, config.degree_epsilon)
    layer = torch.cat([model.user_id, model.item_id])
    layers = [layer]
    for _ in range(config.layers):
        layer = adjacency @ layer
        layers.append(layer)
    nodes = torch.stack(layers).mean(0)
    all_users, all_items = nodes[:USERS], nodes[USERS:] + model.item_id

    def predict(rows: Tensor) -> Tensor:
        assert model.predictor.bias is not None
        return rows @ model.predictor.weight.T + model.predictor.bias

    def drop(name: str, rows: Tensor) -> Tensor:
        return rows * made.masks[name] / (1 - config.dropout)

    def apart(left: Tensor, right: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(left, right)

    user_target, item_target = drop("user", all_users), drop("item", all_items)
    terms = {
        "user_to_item": apart(predict(all_users)[users], item_target.detach()[items]).mean(),
        "item_to_user": apart(predict(all_items)[items], user_target.detach()[users]).mean(),
    }
    for name, rows in made.content.items():
        table = model.features[key_of(name)]
        assert isinstance(table, FeatureTable)
        first = model.get_submodule(f"projections.{key_of(name)}.0")
        assert isinstance(first, torch.nn.Linear)
        content = table.matrix @ first.weight.T + first.bias
        present = torch.from_numpy(np.isfinite(rows).all(1))[items]
        aligned = item_target.detach() if config.align_stops_target else item_target
        for term, target in (("align", aligned), ("mask", drop(f"content/{name}", content).detach())):
            distances = apart(predict(content)[items], target[items])
            terms[f"{term}_{name}"] = config.content_weight * distances[present].sum() / max(1, int(present.sum()))
    if config.penalty == "table-norm":
        penalty = (all_users.square().sum().sqrt() + all_items.square().sum().sqrt()) / ITEMS
    else:
        squares = predict(all_users).square().sum(1)[users] + predict(all_items).square().sum(1)[items]
        penalty = squares.mean()
    terms["penalty"] = config.penalty_weight * penalty
    return terms


cases = given(
    st.sampled_from(["intended", "official"]),
    st.sampled_from([["text"], ["text", "image"], ["text", "image", "audio"], ["item", "user"], ["type", "values"]]),
    st.booleans(),
    st.integers(0, 1000),
    st.integers(0, 3),
)


@cases
def test_loss_and_gradients_equal_the_plain_form(
    preset: str, modalities: list[str], missing: bool, seed: int, layers: int
) -> None:
    made = case(preset, modalities, missing, seed, layers=layers)
    found, expected = made.terms, reference(made)
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)
    parameters = list(made.model.parameters())
    gradients = torch.autograd.grad(torch.stack(list(found.values())).sum(), parameters)
    wanted = torch.autograd.grad(torch.stack(list(expected.values())).sum(), parameters)
    for gradient, oracle in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, oracle)


@pytest.mark.parametrize("preset", PRESETS)
def test_fifty_steps_are_those_of_the_plain_form(preset: str) -> None:
    worlds.check_fifty_steps(case(preset, ["text", "image"], missing=True), reference)


@cases
def test_scores_are_inner_products_of_predictions(
    preset: str, modalities: list[str], missing: bool, seed: int, layers: int
) -> None:
    made = case(preset, modalities, missing, seed, layers=layers)
    users, items = (made.model.predictor(rows) for rows in made.model.propagate())
    torch.testing.assert_close(made.model.embed().score_block(torch.tensor([3, 3, 0])), users[[3, 3, 0]] @ items.T)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_order_of_modalities_does_not_matter(preset: str) -> None:
    one, other = (case(preset, names, False) for names in (["text", "image"], ["image", "text"]))
    # Other rows are drawn in another order: give both the same data and parameters.
    inputs = worlds.inputs(one.matrix, {name: one.content[name] for name in ("image", "text")})
    other = BM3(one.model.config, inputs)
    other.load_state_dict(one.model.state_dict())
    for draws in (Draws(0, given=one.masks), Draws(3, 8)):
        first, second = one.model.loss(one.batch, draws), other.loss(one.batch, draws)
        assert first.keys() == second.keys()
        for name in first:
            torch.testing.assert_close(first[name], second[name])


@pytest.mark.parametrize("preset", PRESETS)
def test_duplicates_in_a_batch_share_their_masks(preset: str) -> None:
    made = case(preset, ["text", "image"], True)
    twice = Batch(made.batch.users.repeat(2), made.batch.positives.repeat(2))
    for step in range(3):
        once, again = (made.model.loss(batch, Draws(0, step)) for batch in (made.batch, twice))
        for name in once:
            torch.testing.assert_close(once[name], again[name], msg=name)


def test_a_modality_named_as_a_table_of_ids_has_masks_of_its_own() -> None:
    made = case("intended", ["item", "user"], False)
    drawn: dict[str, Tensor] = {}

    class Noted(Draws):
        def dropout(self, name: str, values: Tensor, rate: float, rows: Tensor | None = None) -> Tensor:
            dropped = super().dropout(name, values, rate, rows)
            assert name not in drawn
            drawn[name] = super().dropout(name, torch.ones(ITEMS, DIM), rate, torch.arange(ITEMS))
            return dropped

    made.model.loss(made.batch, Noted(0, 3))
    assert len(drawn) == 4
    masks = list(drawn.values())
    assert not any(torch.equal(one, other) for place, one in enumerate(masks) for other in masks[:place])


def test_an_item_that_occurs_several_times_is_projected_once() -> None:
    made = case("intended", ["text", "image"], True)
    projected: list[int] = []
    project = made.model.project
    spied = lambda name, items: (projected.append(len(items)), project(name, items))[1]  # noqa: E731
    made.model.project = spied  # type: ignore[method-assign]
    assert len(made.batch.positives) > len(made.batch.positives.unique())
    assert made.terms
    assert projected == [len(made.batch.positives.unique())] * 2


def test_draws_differ_from_step_to_step_and_repeat_within_one() -> None:
    made = case("intended", ["text"], False)
    values = [made.model.loss(made.batch, Draws(0, step))["mask_text"].item() for step in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("modalities", [["text"], ["text", "image"]])
def test_content_reaches_the_id_tables_only_when_the_target_is_not_stopped(stops: bool, modalities: list[str]) -> None:
    made = case("intended", modalities, True, align_stops_target=stops)
    content = torch.stack([value for name, value in made.terms.items() if name.startswith(("align_", "mask_"))]).sum()
    for table in (made.model.user_id, made.model.item_id):
        gradient = torch.autograd.grad(content, table, retain_graph=True, materialize_grads=True)[0]
        reached = bool(gradient.abs().max() > 1e-6)
        assert reached != stops


@pytest.mark.parametrize("preset", PRESETS)
def test_the_row_of_an_absent_item_has_neither_influence_nor_gradient(preset: str) -> None:
    made = case(preset, ["text", "image"], True, train_features=True)
    table = made.model.features["of_text"]
    assert isinstance(table, FeatureTable)
    before = made.terms
    gradient = torch.autograd.grad(torch.stack(list(before.values())).sum(), table.matrix)[0]
    absent = ~table.present
    assert int(absent.sum()) == 2
    assert not gradient[absent].any()
    assert gradient[made.batch.positives.unique()][table.present[made.batch.positives.unique()]].any()
    with torch.no_grad():
        table.matrix[absent] = 1e3
    for name, value in made.terms.items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_a_batch_without_any_item_of_a_modality_has_zero_terms_and_finite_gradients() -> None:
    made = case("intended", ["text"], True)
    made.batch.positives.fill_(2)
    terms = made.terms
    assert terms["align_text"].item() == terms["mask_text"].item() == 0
    torch.stack(list(terms.values())).sum().backward()
    assert all(bool(value.grad.isfinite().all()) for value in made.model.parameters() if value.grad is not None)


def test_frozen_features_are_no_parameters_and_trained_ones_are() -> None:
    frozen, trained = case("intended", ["text"], False).model, case("official", ["text"], False).model
    extra = {name for name, _ in trained.named_parameters()} - {name for name, _ in frozen.named_parameters()}
    assert extra == {"features.of_text.matrix"}


def test_a_deeper_projection_is_a_multilayer_perceptron() -> None:
    model = case("intended", ["text"], False, projection_layers=2).model
    first, second = (model.get_submodule(f"projections.of_text.{step}") for step in (0, 2))
    assert isinstance(first, torch.nn.Linear)
    assert isinstance(second, torch.nn.Linear)
    table = model.features["of_text"]
    assert isinstance(table, FeatureTable)
    rows = F.leaky_relu(table.matrix @ first.weight.T + first.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(model.project("text", torch.arange(ITEMS))[0], rows)


def test_without_any_modality_it_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="at least one modality") as caught:
        BM3(BM3Config(), worlds.inputs(np.ones((2, 3), np.int64)))
    assert "palate encode" in caught.value.do
