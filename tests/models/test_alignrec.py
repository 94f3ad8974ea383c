"""AlignRec's loss on a batch against a plain implementation over all users and items, and what its switches do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
from palate.encode.concat import concatenated
from palate.models.alignrec import AlignRec, AlignRecConfig
from palate.models.base import Batch
from palate.models.content import content_of

USERS, ITEMS, DIM = 9, 14, 5
WIDTHS = {"joint": 4, "text": 6, "image": 3, "audio": 40}
PRESETS = {"intended": AlignRecConfig(), "official": AlignRecConfig.official()}
ABSENT = [2, 7]


@dataclass
class Case:
    """A model, its data and one step's batch."""

    matrix: NDArray[np.int64]
    inputs: ModelInputs
    model: AlignRec
    batch: Batch

    @property
    def terms(self) -> dict[str, Tensor]:
        return self.model.loss(self.batch, Draws(0))


def case(preset: str, modalities: list[str], missing: bool = False, seed: int = 0, **settings: Any) -> Case:
    """A small world; where content is missing, one user has met nothing else, and item 2 is a positive."""
    generator = np.random.default_rng(seed)
    matrix = (generator.random((USERS, ITEMS)) < 0.3).astype(np.int64)
    matrix[:, 0], matrix[0], matrix[0, 2] = 1, 0, 1
    content = {name: generator.normal(size=(ITEMS, WIDTHS[name])) for name in modalities}
    if missing:
        for rows in content.values():
            rows[ABSENT] = np.nan
    config = PRESETS[preset].override({"dim": DIM, "neighbours": 4, "penalty_batch_size": 7, **settings})
    torch.manual_seed(seed)
    inputs = worlds.inputs(matrix, content)
    model = AlignRec(config, inputs)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.normal_()
    train = np.argwhere(matrix)
    user, item = torch.from_numpy(train[generator.integers(0, len(train), 12)]).T
    user[0], item[0] = 0, 2
    return Case(matrix, inputs, model, Batch(user, item, torch.from_numpy(generator.integers(0, ITEMS, 12))))


def dense_adjacency(matrix: NDArray[np.int64], epsilon: float) -> Tensor:
    full = torch.zeros(USERS + ITEMS, USERS + ITEMS)
    full[:USERS, USERS:] = torch.from_numpy(matrix)
    full[USERS:, :USERS] = torch.from_numpy(matrix.T)
    degrees = full.sum(1) + epsilon
    scale = torch.where(degrees > 0, 1 / degrees.sqrt(), torch.zeros_like(degrees))
    return torch.diag(scale) @ full @ torch.diag(scale)


def dense_item_graph(config: AlignRecConfig, rows: Tensor, present: Tensor) -> Tensor:
    """Row by row: the nearest of those present, then the degrees."""
    graph = torch.zeros(ITEMS, ITEMS)
    cosines = F.cosine_similarity(rows.unsqueeze(1), rows.unsqueeze(0), dim=2)
    those = present.nonzero().flatten()
    for item in those.tolist():
        best = those[cosines[item, those].argsort(descending=True)[: config.neighbours]]
        graph[item, best] = cosines[item, best]
    if config.symmetrise:
        graph = torch.where(graph != 0, graph, graph.T)
    if config.clip_cosines:
        graph = graph.clamp_min(0)
    sums = graph.sum(1)
    scale = torch.where(sums > 0, 1 / sums.clamp_min(1e-9).sqrt(), torch.zeros_like(sums))
    return torch.diag(scale) @ graph @ torch.diag(scale)


def plain_embeddings(made: Case) -> dict[str, Tensor]:
    """H_id, H_mm and h of all users and items by the formulas of the design's model sheet, without any shortcut."""
    model, config = made.model, made.model.config
    content = content_of(made.inputs.features, config.content)
    adjacency = dense_adjacency(made.matrix, config.degree_epsilon)
    layer = torch.cat([model.user_id, model.item_id])
    layers = [layer]
    for _ in range(config.layers):
        layer = adjacency @ layer
        layers.append(layer)
    nodes = torch.stack(layers).mean(0)
    first = model.get_submodule("feature.0")
    assert isinstance(first, torch.nn.Linear)
    hidden = F.linear(model.content.matrix, first.weight, first.bias)
    hidden = hidden.clamp_min(0) if config.gate_activation == "relu" else hidden
    present = torch.from_numpy(content.present.copy())
    items = model.item_id / (1 + torch.exp(-F.linear(hidden, model.gate.weight, model.gate.bias)))
    items = items * present.unsqueeze(1)
    graph = dense_item_graph(config, torch.from_numpy(content.matrix.astype(np.float64)), present)
    for _ in range(config.item_layers):
        items = graph @ items
    found = {"id_users": nodes[:USERS], "id_items": nodes[USERS:], "mm_items": items}
    found["mm_users"] = adjacency[:USERS, USERS:] @ items
    known = {"items": present, "users": (torch.from_numpy(made.matrix) * present).sum(1) > 0}
    for side, who in known.items():
        both = torch.stack([found[f"mm_{side}"], found[f"id_{side}"]])
        if config.fuse == "sum":
            found[side] = both.sum(0)
        else:
            hidden = torch.tanh(both @ model.query.weight.T + model.query.bias)
            votes = torch.exp((hidden * model.attention).sum(2))
            votes = torch.stack([votes[0] * who, votes[1]])
            found[side] = (votes / votes.sum(0)).unsqueeze(2).mul(both).sum(0)
        found[f"known_{side}"] = who
    return found


def reference(made: Case) -> dict[str, Tensor]:
    """All terms, with matrices of pairs and a loop over the rows of the batch."""
    model, config = made.model, made.model.config
    assert made.batch.negatives is not None
    users, items, negatives = made.batch.users, made.batch.positives, made.batch.negatives
    found = plain_embeddings(made)
    user, positive, negative = found["users"][users], found["items"][items], found["items"][negatives]

    def contrast(side: str, rows: Tensor) -> Tensor:
        rows = rows[found[f"known_{side}"][rows]]
        left, right = found[f"mm_{side}"][rows], found[f"id_{side}"][rows]
        if config.contrast_similarity == "cosine":
            left, right = F.normalize(left), F.normalize(right)
        losses = [
            torch.log(torch.exp(right @ row / config.temperature).sum()) - row @ right[place] / config.temperature
            for place, row in enumerate(left)
        ]
        return torch.stack(losses).mean()

    known = items[found["known_items"][items]]
    rows = found["mm_items"][known]
    rows = F.normalize(rows) if config.similarity == "cosine" else rows
    table = model.content.matrix
    if config.target == "initial":
        table = torch.from_numpy(content_of(made.inputs.features, config.content).matrix.astype(np.float64))
    aim = F.normalize(table.detach()[known])
    squares = torch.stack([rows.square().sum() for rows in (user, positive, negative)])
    divisor = 2 * config.penalty_batch_size if config.penalty == "half-squares" else len(users)
    return {
        "bpr": -torch.log(torch.sigmoid((user * (positive - negative)).sum(1))).mean(),
        "contrast_item": config.contrast_weight * contrast("items", items),
        "contrast_user": config.contrast_weight * contrast("users", users),
        "user_item": config.user_item_weight * (1 - F.cosine_similarity(user, positive)).mean(),
        "similarity": config.similarity_weight * (rows @ rows.T - aim @ aim.T).square().sum().sqrt() / len(known),
        "penalty": config.penalty_weight * squares.sum() / divisor,
    }


switches = st.fixed_dictionaries(
    {
        "layers": st.integers(0, 3),
        "item_layers": st.integers(0, 2),
        "neighbours": st.sampled_from([1, 4, 30]),
        "gate_activation": st.sampled_from(["relu", "none"]),
        "symmetrise": st.booleans(),
        "clip_cosines": st.booleans(),
        "fuse": st.sampled_from(["sum", "attention"]),
        "contrast_similarity": st.sampled_from(["cosine", "inner"]),
        "similarity": st.sampled_from(["cosine", "inner"]),
        "target": st.sampled_from(["initial", "current"]),
        "train_features": st.booleans(),
        "penalty": st.sampled_from(["batch-squared", "half-squares"]),
        "degree_epsilon": st.sampled_from([0.0, 1e-7]),
    }
)
cases = given(
    st.sampled_from([["text"], ["text", "image"], ["text", "image", "audio"], ["joint", "text"]]),
    st.booleans(),
    st.integers(0, 1000),
    switches,
)


def check_against_plain_form(made: Case) -> None:
    found, expected = made.terms, reference(made)
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-8, atol=1e-9, msg=lambda text, n=name: f"{n}: {text}")
    parameters = list(made.model.parameters())
    gradients = torch.autograd.grad(torch.stack(list(found.values())).sum(), parameters)
    wanted = torch.autograd.grad(torch.stack(list(expected.values())).sum(), parameters)
    for gradient, oracle in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, oracle, rtol=1e-8, atol=1e-8)


@cases
def test_loss_and_gradients_equal_the_plain_form(
    modalities: list[str], missing: bool, seed: int, settings: dict[str, Any]
) -> None:
    check_against_plain_form(case("intended", modalities, missing, seed, **settings))


@pytest.mark.parametrize("similarity", ["cosine", "inner"])
@pytest.mark.parametrize("preset", PRESETS)
def test_fifty_steps_are_those_of_the_plain_form(preset: str, similarity: str) -> None:
    worlds.check_fifty_steps(case(preset, ["text", "image"], missing=True, similarity=similarity), reference)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("missing", [False, True])
def test_the_presets_equal_the_plain_form(preset: str, missing: bool) -> None:
    for seed in range(5):
        check_against_plain_form(case(preset, ["text", "image"], missing, seed, neighbours=3))


@cases
def test_scores_are_inner_products_of_content_and_ids(
    modalities: list[str], missing: bool, seed: int, settings: dict[str, Any]
) -> None:
    made = case("intended", modalities, missing, seed, **settings)
    found = plain_embeddings(made)
    scores = made.model.embed().score_block(torch.tensor([3, 3, 0]))
    torch.testing.assert_close(scores, found["users"][[3, 3, 0]] @ found["items"].T)


# What REG aims at


def train(made: Case, steps: int) -> None:
    optimiser = torch.optim.Adam(made.model.parameters(), lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.stack(list(made.terms.values())).sum().backward()
        optimiser.step()


def target_gram(made: Case) -> Tensor:
    rows = made.model.target_rows(torch.arange(ITEMS))
    return rows @ rows.T


def test_the_released_target_drifts_with_the_features_it_shares_memory_with_and_the_stopped_one_stays() -> None:
    """Where the target follows, REG is not held to the content that was given."""
    grams: dict[str, tuple[Tensor, Tensor]] = {}
    for target in ("initial", "current"):
        made = case("official", ["text"], target=target)
        before = target_gram(made)
        train(made, 40)
        grams[target] = before, target_gram(made)
    torch.testing.assert_close(*grams["initial"], rtol=0, atol=0)
    before, after = grams["current"]
    torch.testing.assert_close(before, grams["initial"][0])
    assert float((after - before).abs().max()) > 0.3


@pytest.mark.parametrize("target", ["initial", "current"])
def test_no_gradient_passes_through_the_target(target: str) -> None:
    made = case("official", ["text"], target=target)
    features = made.model.content.matrix
    assert torch.autograd.grad(made.terms["similarity"], features)[0].any()
    # With a gate that does not look at the content, the target is the only way left.
    with torch.no_grad():
        made.model.gate.weight.zero_()
    assert not torch.autograd.grad(made.terms["similarity"], features)[0].any()


def test_cosines_on_both_sides_do_not_see_how_long_rows_are() -> None:
    for similarity, equal in (("cosine", True), ("inner", False)):
        made = case("intended", ["text"], similarity=similarity)
        before = made.terms["similarity"].item()
        with torch.no_grad():
            made.model.item_id.mul_(3.0)
        assert (made.terms["similarity"].item() == pytest.approx(before, rel=1e-9)) == equal


def test_frozen_features_are_no_parameters_and_trained_ones_are() -> None:
    frozen, trained = case("intended", ["text"]).model, case("official", ["text"]).model
    extra = {name for name, _ in trained.named_parameters()} - {name for name, _ in frozen.named_parameters()}
    assert extra == {"content.matrix"}


# The gate


def test_without_an_activation_the_gate_is_one_linear_map_of_the_content() -> None:
    for activation, linear in (("none", True), ("relu", False)):
        model = case("intended", ["text"], gate_activation=activation).model
        gates = torch.logit(model.item_gate())
        design = torch.cat([model.content.matrix, torch.ones(ITEMS, 1)], dim=1)
        left = gates - design @ torch.linalg.lstsq(design, gates).solution
        assert bool(left.abs().max() < 1e-9) == linear


# Items without content


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("fuse", ["sum", "attention"])
def test_items_without_content_are_scored_by_ids_and_give_nothing_to_others(preset: str, fuse: str) -> None:
    made = case(preset, ["text", "image"], missing=True, fuse=fuse)
    items = made.model.spread_content()
    users = made.model.user_block(items)
    assert not items[ABSENT].any()
    # User 0 has met item 2 alone.
    assert not users[0].any()
    assert users[1:].any(1).all()
    scored, (id_users, id_items) = made.model.embed(), made.model.propagate()
    torch.testing.assert_close(scored.item[ABSENT], id_items[ABSENT])
    torch.testing.assert_close(scored.user[0], id_users[0])
    before = users[1:].clone()
    with torch.no_grad():
        made.model.item_id[ABSENT] = 50.0
    torch.testing.assert_close(made.model.user_block(made.model.spread_content())[1:], before)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_batch_of_items_without_content_has_no_content_terms_and_finite_gradients(preset: str) -> None:
    made = case(preset, ["text"], missing=True)
    made.batch.positives.fill_(2)
    made.batch.users.fill_(0)
    terms = made.terms
    assert {name: terms[name].item() for name in ("contrast_item", "contrast_user", "similarity")} == {
        "contrast_item": 0.0,
        "contrast_user": 0.0,
        "similarity": 0.0,
    }
    torch.stack(list(terms.values())).sum().backward()
    assert all(bool(value.grad.isfinite().all()) for value in made.model.parameters() if value.grad is not None)


def test_a_batch_of_one_pair_has_finite_gradients() -> None:
    made = case("intended", ["text"])
    assert made.batch.negatives is not None
    single = Batch(made.batch.users[1:2], made.batch.positives[1:2], made.batch.negatives[1:2])
    terms = made.model.loss(single, Draws(0))
    assert terms["similarity"].item() == 0.0
    assert terms["contrast_item"].item() == pytest.approx(0.0, abs=1e-12)
    torch.stack(list(terms.values())).sum().backward()
    assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in made.model.parameters())


# Fusing


def test_attention_weighs_content_and_ids_by_a_softmax_and_all_of_it_is_trained() -> None:
    made = case("intended", ["text"], fuse="attention")
    torch.stack(list(made.terms.values())).sum().backward()
    for name, parameter in made.model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    (id_users, _), content_users = made.model.propagate(), made.model.user_block(made.model.spread_content())
    with torch.no_grad():
        made.model.attention.zero_()
    torch.testing.assert_close(made.model.embed().user, (content_users + id_users) / 2)


# Which content


def test_the_settings_say_which_content_and_whose() -> None:
    text = case("intended", ["joint", "text"], content="text").model
    assert text.content.width == WIDTHS["text"]
    assert case("intended", ["joint", "text"]).model.content.width == WIDTHS["joint"]
    assert case("intended", ["joint", "text"], content="concat").model.content.width == WIDTHS["joint"] + WIDTHS["text"]
    with pytest.raises(ConfigError, match="not of the joint encoder"):
        case("intended", ["joint"], encoder_fingerprint="ab" * 32)
    with pytest.raises(ConfigError, match="encoder_fingerprint"):
        AlignRecConfig.parse({"encoder_fingerprint": "abc"})
    with pytest.raises(ConfigError, match="at least one modality") as caught:
        AlignRec(AlignRecConfig(), worlds.inputs(np.ones((2, 3), np.int64)))
    assert "palate encode" in caught.value.do


@pytest.mark.parametrize("preset", PRESETS)
def test_the_order_of_modalities_does_not_matter(preset: str) -> None:
    one = case(preset, ["text", "image"])
    turned = dict(reversed(one.inputs.features.items()))
    other = AlignRec(one.model.config, worlds.inputs(one.matrix, {name: turned[name].matrix for name in turned}))
    other.load_state_dict(one.model.state_dict())
    for name, value in other.loss(one.batch, Draws(0)).items():
        torch.testing.assert_close(value, one.terms[name])
    assert np.array_equal(concatenated(turned).matrix, concatenated(one.inputs.features).matrix)
