"""CRMMAN's loss against a plain form, who is left out of which set, what it does with less."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

import worlds
from palate.core.errors import ConfigError
from palate.core.seeds import Draws
from palate.dataset.inputs import ModelInputs
from palate.graph.rows import Rows
from palate.models import crmman
from palate.models.attention import Neighbourhoods
from palate.models.base import Batch, Needs
from palate.models.crmman import CRMMAN, CRMMANConfig
from palate.models.sets import SetAttention
from palate.train.batches import PairBatches

USERS, ITEMS, ENTITIES = 7, 12, 9
WIDTHS = {"text": 6, "image": 3, "knowledge": 5, "type": 2}
SETTINGS: dict[str, object] = {"dim": 4, "graph_heads": 2, "set_heads": 2, "shared_entities": 1}


@dataclass
class World:
    """Train data of a few users, all of it 0/1 matrices; user 0 likes nothing and user 1 dislikes nothing."""

    liked: NDArray[np.int64]
    disliked: NDArray[np.int64]
    entities: NDArray[np.int64]
    content: dict[str, NDArray[np.float64]]

    def inputs(self, *, entities: bool = True) -> ModelInputs:
        linked = self.entities if entities else None
        return worlds.inputs(self.liked, self.content, dislikes=self.disliked, entities=linked)


def world(modalities: list[str], seed: int = 0, missing: bool = False) -> World:
    generator = np.random.default_rng(seed)
    kind = generator.choice(3, (USERS, ITEMS), p=[0.5, 0.3, 0.2])
    liked, disliked = (kind == 1).astype(np.int64), (kind == 2).astype(np.int64)
    liked[0], disliked[1] = 0, 0
    liked[2, 4] = disliked[2, 5] = 1
    disliked[2, 4] = liked[2, 5] = 0
    entities = (generator.random((ITEMS, ENTITIES)) < 0.4).astype(np.int64)
    entities[3] = 0
    content = {name: generator.normal(size=(ITEMS, WIDTHS[name])).astype(np.float32) for name in modalities}
    if missing:
        for rows in content.values():
            rows[3] = np.nan
        content[modalities[0]][[5, 7]] = np.nan
    return World(liked, disliked, entities, {name: rows.astype(np.float64) for name, rows in content.items()})


def model_of(inputs: ModelInputs, seed: int = 0, **settings: object) -> CRMMAN:
    torch.manual_seed(seed)
    model = CRMMAN(CRMMANConfig.parse({**SETTINGS, **settings}), inputs)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.normal_()
    return model


def batch_of(inputs: ModelInputs, model: CRMMAN, seed: int = 0) -> Batch:
    """A batch with dislikes among its negatives, rows of user 2 among them."""
    needs = dataclasses.replace(model.needs, dislike_share=0.7)
    return next(iter(PairBatches(inputs, 100, needs, seed).epoch(0)))


def plain_items(model: CRMMAN, given_world: World, inputs: ModelInputs) -> Tensor:
    """r of all items, one by one."""
    config = model.config
    structure = None
    if model.structure is not None:
        shared = given_world.entities @ given_world.entities.T
        np.fill_diagonal(shared, 0)
        assert config.shared_entities is not None
        joined = shared > config.shared_entities
        graph = Neighbourhoods(Rows.from_pairs(*np.nonzero(joined), ITEMS, ITEMS))
        initial = torch.from_numpy(np.nan_to_num(given_world.content[config.structure]))
        structure = model.structure.second(model.structure.first(initial, graph), graph)
        has_structure = np.isfinite(given_world.content[config.structure]).all(1) | joined.any(1)
    rows: list[Tensor] = []
    for item in range(ITEMS):
        projected: list[Tensor] = []
        for name in model.modalities:
            if inputs.features[name].present[item]:
                linear = model.get_submodule(f"projections.of_{name}.0")
                assert isinstance(linear, torch.nn.Linear)
                vector = torch.from_numpy(given_world.content[name][item])
                projected.append(linear.weight @ vector + linear.bias)
        zero = torch.zeros(config.dim)
        semantic = torch.stack(projected).mean(0) if projected else zero
        if structure is None:
            rows.append(semantic)
        elif config.fuse == "concat":
            structural = structure[item] if has_structure[item] else torch.zeros_like(structure[item])
            rows.append(torch.cat([semantic, structural]) if model.modalities else structural)
        else:
            parts = ([semantic] if projected else []) + ([structure[item]] if has_structure[item] else [])
            rows.append(torch.stack(parts).mean(0) if parts else zero)
    return torch.stack(rows)


def plain_view(attention: SetAttention, empty: Tensor, rows: Tensor, members: list[int]) -> Tensor:
    if not members:
        return empty[0]
    own = rows[members]
    views: list[Tensor] = []
    weights = (part.weight.chunk(attention.heads) for part in (attention.query, attention.key, attention.value))
    for query, key, value in zip(*weights, strict=True):
        logits = (own @ query.T) @ (own @ key.T).T / query.shape[0] ** 0.5
        views.append(logits.softmax(1) @ (own @ value.T))
    return (torch.cat(views, 1) @ attention.output.weight.T).mean(0)


def plain_user(model: CRMMAN, inputs: ModelInputs, rows: Tensor, user: int, left_out: list[int]) -> Tensor:
    """w1 u_prefer + w2 u_dislike."""
    total = torch.zeros(rows.shape[1])
    for view, sets in ((model.liked, inputs.likes), (model.disliked, inputs.dislikes)):
        if view is not None:
            assert sets is not None
            members = [item for item in sets[user][-model.config.set_size :].tolist() if item not in left_out]
            total = total + view.weight * plain_view(view.attention, view.empty, rows, members)
    return total


def plain_loss(model: CRMMAN, given_world: World, inputs: ModelInputs, batch: Batch) -> Tensor:
    rows = plain_items(model, given_world, inputs)
    assert batch.negatives is not None
    losses: list[Tensor] = []
    for row, negatives in enumerate(batch.negatives.view(len(batch.users), -1)):
        candidates = [int(batch.positives[row]), *negatives.tolist()]
        described = plain_user(model, inputs, rows, int(batch.users[row]), candidates)
        scores = rows[candidates] @ described
        losses.append(scores.logsumexp(0) - scores[0])
    return torch.stack(losses).mean()


cases = given(
    st.sampled_from([["text"], ["text", "image"], ["text", "knowledge"], ["knowledge"], ["type", "text", "knowledge"]]),
    st.sampled_from(["concat", "mean"]),
    st.sampled_from(["ratings", "none"]),
    st.booleans(),
    st.sampled_from([2, 50]),
    st.sampled_from([1, 3]),
    st.integers(0, 1000),
)


@cases
def test_loss_scores_and_gradients_equal_the_plain_form(
    modalities: list[str], fuse: str, dislikes: str, missing: bool, most: int, negatives: int, seed: int
) -> None:
    made = world(modalities, seed, missing)
    inputs = made.inputs()
    model = model_of(inputs, seed, fuse=fuse, dislikes=dislikes, set_size=most, negatives_per_positive=negatives)
    batch = batch_of(inputs, model, seed)
    found, plain = model.loss(batch, Draws(0))["click"], plain_loss(model, made, inputs, batch)
    torch.testing.assert_close(found, plain)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(found, parameters, materialize_grads=True)
    wanted = torch.autograd.grad(plain, parameters, materialize_grads=True)
    for gradient, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, other)
    rows = plain_items(model, made, inputs)
    users = torch.stack([plain_user(model, inputs, rows, user, []) for user in range(USERS)])
    with mock.patch.object(crmman, "USERS", 3):
        torch.testing.assert_close(model.embed().score_block(torch.arange(USERS)), (users @ rows.T).detach())


def test_training_goes_the_way_of_the_plain_form() -> None:
    """Fifty steps on batches with dislikes among the negatives, from the same parameters."""
    made = world(["text", "image", "knowledge"], 3, missing=True)
    inputs = made.inputs()
    model, plain = (model_of(inputs, 3, negatives_per_positive=3, set_size=4) for _ in range(2))
    optimisers = [torch.optim.SGD(one.parameters(), lr=0.1, momentum=0.9) for one in (model, plain)]
    losses: list[tuple[float, float]] = []
    for step in range(50):
        batch = batch_of(inputs, model, step)
        both = model.loss(batch, Draws(step))["click"], plain_loss(plain, made, inputs, batch)
        for loss, optimiser in zip(both, optimisers, strict=True):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        losses.append((both[0].item(), both[1].item()))
    found, wanted = np.array(losses).T
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-8)
    assert wanted[-10:].mean() < 0.7 * wanted[:10].mean()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-8)


def without(pairs: NDArray[np.int64], user: int, item: int) -> NDArray[np.int64]:
    kept = pairs.copy()
    kept[user, item] = 0
    return kept


def test_no_candidate_is_in_a_set_that_describes_its_user() -> None:
    """User 2 likes item 4 and dislikes item 5: with both as candidates it is as if the data lacked these pairs."""
    made = world(["text", "knowledge"])
    bare = dataclasses.replace(made, liked=without(made.liked, 2, 4), disliked=without(made.disliked, 2, 5))
    model, other = model_of(made.inputs()), model_of(bare.inputs())
    other.load_state_dict(model.state_dict())
    users, positives = torch.tensor([2]), torch.tensor([4])
    unseen = int(np.flatnonzero(made.liked[2] + made.disliked[2] == 0)[0])
    batch = Batch(users, positives, torch.tensor([[5, unseen]]))
    loss = model.loss(batch, Draws(0))["click"]
    torch.testing.assert_close(loss, other.loss(batch, Draws(0))["click"])
    # Of these two it is left out alone, and of no other row.
    for negatives, bare_loss in ((torch.tensor([[unseen, unseen]]), False), (torch.tensor([[unseen, 5]]), True)):
        again = Batch(users, positives, negatives)
        one, two = (made_of.loss(again, Draws(0))["click"] for made_of in (model, other))
        assert torch.allclose(one, two) == bare_loss


def test_a_row_has_the_same_loss_in_whatever_company() -> None:
    made = world(["text", "knowledge"])
    inputs = made.inputs()
    model = model_of(inputs)
    batch = batch_of(inputs, model)
    assert batch.negatives is not None
    assert len(batch.users) > 15
    each = [
        model.loss(
            Batch(batch.users[row : row + 1], batch.positives[row : row + 1], batch.negatives[row : row + 1]), Draws(0)
        )["click"]
        for row in range(len(batch.users))
    ]
    torch.testing.assert_close(model.loss(batch, Draws(0))["click"], torch.stack(each).mean())
    twenty = Batch(batch.users.repeat(20), batch.positives.repeat(20), batch.negatives.repeat(20, 1))
    torch.testing.assert_close(model.loss(twenty, Draws(0))["click"], torch.stack(each).mean())


def test_an_empty_set_is_a_learned_vector() -> None:
    made = world(["text"])
    model = model_of(made.inputs())
    assert model.disliked is not None
    users = model.embed().user
    disliked_alone = model.disliked.weight * plain_view(
        model.disliked.attention,
        model.disliked.empty,
        plain_items(model, made, made.inputs()),
        np.flatnonzero(made.disliked[0]).tolist(),
    )
    torch.testing.assert_close(users[0], (model.liked.weight * model.liked.empty[0] + disliked_alone).detach())
    # The only like of a user is the candidate itself: training meets the empty set, and moves its vector.
    liked = made.liked.copy()
    liked[2] = 0
    liked[2, 4] = 1
    lone = model_of(dataclasses.replace(made, liked=liked).inputs())
    loss = lone.loss(Batch(torch.tensor([2]), torch.tensor([4]), torch.tensor([[1, 6]])), Draws(0))["click"]
    assert bool(torch.autograd.grad(loss, lone.liked.empty)[0].any())


def test_an_item_without_anything_scores_zero_and_what_it_pretends_to_be_does_not_matter() -> None:
    made = world(["text", "knowledge"], missing=True)
    model = model_of(made.inputs())
    assert not made.entities[3].any()
    scores = model.embed().score_block(torch.arange(USERS))
    assert not scores[:, 3].any()
    assert bool(scores[:, [0, 5, 7]].any(0).all())


@pytest.mark.parametrize(
    ("modalities", "entities", "said"),
    [
        (["text", "knowledge"], True, ()),
        (["knowledge"], True, ()),
        (["text", "knowledge"], False, ("no knowledge graph",)),
        (["knowledge"], False, ("no knowledge graph",)),
        (["text"], True, ("no modality 'knowledge'",)),
    ],
)
def test_without_structure_items_are_their_semantics_and_the_model_says_so(
    modalities: list[str], entities: bool, said: tuple[str, ...]
) -> None:
    made = world(modalities)
    model = model_of(made.inputs(entities=entities))
    assert len(model.notes) == len(said)
    assert all(note.startswith(start) for note, start in zip(model.notes, said, strict=True))
    assert (model.structure is None) == bool(said)
    width = 4 * (len(set(modalities) - {"knowledge"}) > 0) + 4 if not said else 4
    assert model.embed().item.shape == (ITEMS, width)


def test_another_modality_may_give_the_structure() -> None:
    made = world(["text", "type"])
    model = model_of(made.inputs(), structure="type")
    assert model.modalities == ("text",)
    assert model.notes == ()


def test_the_item_graph_follows_its_settings() -> None:
    made = world(["knowledge"])
    edges = {
        count: len(model_of(made.inputs(), shared_entities=count).get_buffer("structure.graph.columns")) - ITEMS
        for count in (0, 1, 2, ENTITIES)
    }
    shared = made.entities @ made.entities.T
    np.fill_diagonal(shared, 0)
    assert edges == {count: int((shared > count).sum()) for count in edges}
    assert edges[ENTITIES] == 0
    chosen = [
        len(model_of(made.inputs(), shared_entities=None, mean_degree=degree).get_buffer("structure.graph.columns"))
        for degree in (1.0, 100.0)
    ]
    assert chosen[0] < chosen[1] == edges[0] + ITEMS


def test_negatives_are_dislikes_when_settings_ask_for_it_and_the_view_is_there() -> None:
    inputs = world(["text"]).inputs()
    assert model_of(inputs, negatives="dislikes+unseen", dislike_share=0.3).needs == Needs(4, dislike_share=0.3)
    assert model_of(inputs, negatives="unseen").needs == Needs(4)
    assert model_of(inputs, negatives="dislikes+unseen", dislikes="none", negatives_per_positive=2).needs == Needs(2)


def test_without_dislikes_one_view_must_be_asked_for() -> None:
    liked = np.eye(4, 5, dtype=np.int64)
    content = {"text": np.ones((5, 2))}
    for dislikes in (None, np.zeros((4, 5), np.int64)):
        inputs = worlds.inputs(liked, content, dislikes=dislikes)
        with pytest.raises(ConfigError, match="no dislikes in the train part") as caught:
            model_of(inputs)
        assert "dislikes=none" in caught.value.do
        assert model_of(inputs, dislikes="none").disliked is None


def test_settings_that_do_not_fit_together_are_refused() -> None:
    inputs = world(["text", "knowledge"]).inputs()
    with pytest.raises(ConfigError, match="fuse=mean needs equal widths: s has 4 columns and p'' 6") as caught:
        model_of(inputs, fuse="mean", structure_dim=6)
    assert "fuse=concat" in caught.value.do
    assert model_of(inputs, structure_dim=6).embed().item.shape == (ITEMS, 10)
    with pytest.raises(ConfigError, match="3 heads of graph attention cannot share 4 columns"):
        model_of(inputs, graph_heads=3)
    with pytest.raises(ConfigError, match="3 heads of self-attention cannot share 8 columns"):
        model_of(inputs, set_heads=3)
    # Alone, either part has the width that it has.
    only_text = world(["text"]).inputs()
    assert model_of(only_text, fuse="mean", structure_dim=6).embed().item.shape == (ITEMS, 4)


def test_without_any_modality_it_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="at least one modality") as caught:
        CRMMAN(CRMMANConfig(), worlds.inputs(np.ones((2, 3), np.int64)))
    assert "palate encode" in caught.value.do
