"""LGMRec's fast form against a plain one over dense matrices, and what its switches do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

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
from palate.models.lgmrec import LGMRec, LGMRecConfig

USERS, ITEMS, DIM, BATCH = 9, 12, 5, 14
WIDTHS = {"text": 6, "image": 3, "audio": 4, "user": 4, "item": 3, "type": 2}
PRESETS = {"intended": LGMRecConfig(), "official": LGMRecConfig.official()}
# Item without interactions; items that lack the first modality, the only ones of the last user but one.
COLD, ABSENT = 1, [2, 7]


@dataclass
class Case:
    """A model, its data, and one step's batch, noise and masks."""

    matrix: NDArray[np.int64]
    content: dict[str, NDArray[np.float64]]
    model: LGMRec
    batch: Batch
    drawn: dict[str, Tensor]

    @property
    def terms(self) -> dict[str, Tensor]:
        return self.model.loss(self.batch, Draws(0, given=self.drawn))


def case(preset: str, modalities: list[str], missing: bool, seed: int = 0, **settings: object) -> Case:
    generator = np.random.default_rng(seed)
    matrix = (generator.random((USERS, ITEMS)) < 0.3).astype(np.int64)
    matrix[:, 0], matrix[:, COLD] = 1, 0
    # The last user has no interaction at all, the one before only with items that may lack the first modality.
    matrix[-2:] = 0
    matrix[-2, ABSENT] = 1
    content = {
        name: generator.normal(size=(ITEMS, WIDTHS[name])).astype(np.float32).astype(np.float64) for name in modalities
    }
    if missing:
        content[modalities[0]][ABSENT] = np.nan
    config = PRESETS[preset].override({"dim": DIM, "contrast_weight": 0.3, "penalty_weight": 0.1, **settings})
    torch.manual_seed(seed)
    model = LGMRec(config, worlds.inputs(matrix, content))
    train = np.argwhere(matrix)
    user, item = torch.from_numpy(train[generator.integers(0, len(train), BATCH)]).T
    user[0], item[0] = USERS - 2, ABSENT[0]
    negative = torch.from_numpy(generator.integers(0, ITEMS, BATCH))
    nodes = (USERS + ITEMS, config.hyperedges)
    drawn: dict[str, Tensor] = {}
    for name in modalities:
        drawn[f"noise/{name}"] = torch.from_numpy(generator.gumbel(size=nodes) * (config.noise != "none"))
        for use in uses(config):
            drawn[f"mask/{name}{use}"] = torch.from_numpy(generator.random(nodes) >= config.dropout).double()
    return Case(matrix, content, model, Batch(user, item, negative), drawn)


def uses(config: LGMRecConfig) -> list[str]:
    """The uses of H that have a mask of their own."""
    if config.share_dropout:
        return [""]
    steps = range(config.hyper_layers)
    return ["/receive", *(f"/send/{step}" for step in steps), *(f"/receive/{step}" for step in steps if step)]


def reference(made: Case, drawn: dict[str, Tensor] | None) -> tuple[Tensor, dict[str, Tensor]]:
    """E* of all nodes and the loss terms, by the model sheet's formulas over dense matrices.

    Args:
        drawn: noise and masks; None when scoring.
    """
    model, config, batch = made.model, made.model.config, made.batch
    assert batch.negatives is not None
    history = torch.from_numpy(made.matrix).double()
    full = torch.zeros(USERS + ITEMS, USERS + ITEMS)
    full[:USERS, USERS:], full[USERS:, :USERS] = history, history.T
    degrees = full.sum(1) + config.degree_epsilon
    scale = torch.where(degrees > 0, degrees.rsqrt(), torch.zeros_like(degrees))
    adjacency = scale[:, None] * full * scale

    layers = [torch.cat([model.user_id, model.item_id])]
    for _ in range(config.layers):
        layers.append(adjacency @ layers[-1])
    ids = torch.stack(layers).mean(0)

    final, everywhere = ids, torch.zeros_like(ids)
    views: dict[str, Tensor] = {}
    takes_part: dict[str, Tensor] = {}
    for name, rows in made.content.items():
        has = torch.from_numpy(np.isfinite(rows).all(1))
        table, own = torch.from_numpy(np.nan_to_num(rows)), model.content_of(name)
        projected, logits = table @ own.weight.T, table @ own.hyperedge.T
        counts = history @ has.double()
        mean = torch.where(counts > 0, 1 / (counts + config.degree_epsilon), torch.zeros_like(counts))
        modal = torch.cat([mean[:, None] * (history @ projected), projected])
        for _ in range(config.modal_layers):
            modal = adjacency @ modal
        final = final + F.normalize(modal)

        noise = torch.zeros(()) if drawn is None else drawn[f"noise/{name}"]
        takes_part[name] = torch.cat([(counts > 0) | (history.sum(1) == 0), has])
        soft = torch.softmax((torch.cat([history @ logits, logits]) + noise) / config.temperature, 1)
        soft = soft * takes_part[name][:, None]

        def dropped(use: str, soft: Tensor = soft, name: str = name) -> Tensor:
            if drawn is None:
                return soft
            return soft * drawn[f"mask/{name}{'' if config.share_dropout else use}"] / (1 - config.dropout)

        latent, items = torch.zeros(()), ids[USERS:]
        for step in range(config.hyper_layers):
            if step:
                items = dropped(f"/receive/{step}")[USERS:] @ latent
            latent = dropped(f"/send/{step}")[USERS:].T @ items
        views[name] = dropped("/receive") @ latent
        everywhere = everywhere + views[name]
    final = final + config.alpha * F.normalize(everywhere)

    users, positives, negatives = batch.users, batch.positives + USERS, batch.negatives + USERS
    chosen = [final[nodes] for nodes in (users, positives, negatives)]
    terms = {"bpr": -F.logsigmoid((chosen[0] * (chosen[1] - chosen[2])).sum(1)).mean()}
    for side, nodes, among in (
        ("user", users, torch.arange(USERS)),
        ("item", positives, torch.arange(USERS, USERS + ITEMS)),
    ):
        total = torch.zeros(())
        pairs = list(combinations(views, 2))
        both = config.contrast == "symmetric"
        for one, other in pairs + [(other, one) for one, other in pairs if both]:
            candidates = among[takes_part[other][among]]
            rows = nodes[takes_part[one][nodes] & takes_part[other][nodes]]
            unit = {name: F.normalize(view) / math.sqrt(config.contrast_temperature) for name, view in views.items()}
            each = torch.logsumexp(unit[one][rows] @ unit[other][candidates].T, 1)
            each = each - (unit[one][rows] * unit[other][rows]).sum(1)
            total = total + (each.sum() / max(1, len(rows)) if config.reduction == "mean" else each.sum())
        if pairs:
            terms[f"contrast_{side}"] = config.contrast_weight * (total / 2 if both else total)
    if config.penalty == "batch-norm":
        penalty = sum(rows.norm() for rows in chosen) / BATCH
    else:
        penalty = sum(rows.square().sum(1).mean() for rows in chosen)
    return final, terms | {"penalty": config.penalty_weight * torch.as_tensor(penalty)}


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


cases = given(
    st.sampled_from(["intended", "official"]),
    st.sampled_from([["text"], ["text", "image"], ["audio", "text", "image"], ["item", "user"], ["type", "text"]]),
    st.booleans(),
    st.integers(0, 1000),
    st.fixed_dictionaries(
        {
            "layers": st.integers(0, 3),
            "modal_layers": st.integers(0, 2),
            "hyper_layers": st.integers(1, 3),
            "hyperedges": st.integers(1, 8),
            "dropout": st.sampled_from([0.0, 0.3, 0.8]),
            "alpha": st.sampled_from([0.0, 0.6]),
        },
        optional={
            "share_dropout": st.booleans(),
            "contrast": st.sampled_from(["symmetric", "directed"]),
            "reduction": st.sampled_from(["mean", "sum"]),
            "penalty": st.sampled_from(["batch-squared", "batch-norm"]),
            "contrast_temperature": st.sampled_from([0.1, 1.0]),
            "temperature": st.sampled_from([0.1, 1.0]),
        },
    ),
)


@cases
def test_loss_and_gradients_equal_the_plain_form(
    preset: str, modalities: list[str], missing: bool, seed: int, settings: dict[str, object]
) -> None:
    made = case(preset, modalities, missing, seed, **settings)
    found, expected = made.terms, reference(made, made.drawn)[1]
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-8, atol=1e-10, msg=name)
    names, parameters = zip(*made.model.named_parameters(), strict=True)
    gradients, wanted = (
        torch.autograd.grad(total(terms), parameters, materialize_grads=True) for terms in (found, expected)
    )
    for name, gradient, oracle in zip(names, gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, oracle, rtol=1e-8, atol=1e-8 * float(oracle.abs().max()) + 1e-12, msg=name)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("hyperedges", [4, 20])
def test_fifty_steps_are_those_of_the_plain_form(preset: str, hyperedges: int) -> None:
    made = case(preset, ["text", "image"], missing=True, hyperedges=hyperedges)
    worlds.check_fifty_steps(made, lambda other: reference(other, other.drawn)[1])


@cases
def test_scores_are_free_of_noise_and_dropout(
    preset: str, modalities: list[str], missing: bool, seed: int, settings: dict[str, object]
) -> None:
    made = case(preset, modalities, missing, seed, **settings)
    final = reference(made, None)[0]
    chosen = torch.tensor([3, 3, USERS - 1])
    torch.testing.assert_close(made.model.embed().score_block(chosen), final[chosen] @ final[USERS:].T)


def in_order(made: Case, modalities: list[str]) -> LGMRec:
    """The same model of the same data, with its modalities in another order."""
    content = {name: made.content[name] for name in modalities}
    model = LGMRec(made.model.config, worlds.inputs(made.matrix, content))
    model.load_state_dict(made.model.state_dict())
    return model


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("contrast", ["symmetric", "directed"])
def test_the_order_of_modalities_matters_to_a_directed_contrast_alone(contrast: str, missing: bool) -> None:
    made = case("intended", ["text", "image", "audio"], missing, contrast=contrast)
    other = in_order(made, ["audio", "text", "image"])
    for draws in (Draws(0, given=made.drawn), Draws(3, 8)):
        first, second = made.model.loss(made.batch, draws), other.loss(made.batch, draws)
        assert first.keys() == second.keys()
        for name in first:
            same = bool((first[name] - second[name]).abs() < 1e-12)
            assert same == (contrast == "symmetric" or not name.startswith("contrast")), name
    everyone = torch.arange(USERS)
    torch.testing.assert_close(made.model.embed().score_block(everyone), other.embed().score_block(everyone))


def test_a_symmetric_contrast_is_the_mean_of_both_directions() -> None:
    made = case("intended", ["text", "image"], True, contrast="directed")
    directions = [
        model.loss(made.batch, Draws(0, given=made.drawn)) for model in (made.model, in_order(made, ["image", "text"]))
    ]
    symmetric = case("intended", ["text", "image"], True).terms
    for name in ("contrast_user", "contrast_item"):
        torch.testing.assert_close(symmetric[name], (directions[0][name] + directions[1][name]) / 2)


@pytest.mark.parametrize("preset", PRESETS)
def test_one_modality_has_nothing_to_contrast(preset: str) -> None:
    made = case(preset, ["text"], True)
    assert set(made.terms) == {"bpr", "penalty"}
    total(made.terms).backward()
    assert all(bool(value.grad.any()) for value in made.model.parameters() if value.grad is not None)


def test_a_sum_grows_with_the_batch_and_a_mean_does_not() -> None:
    factors: dict[str, float] = {}
    for reduction in ("mean", "sum"):
        made = case("intended", ["text", "image"], True, reduction=reduction)
        assert made.batch.negatives is not None
        twice = Batch(made.batch.users.repeat(2), made.batch.positives.repeat(2), made.batch.negatives.repeat(2))
        once, again = (made.model.loss(batch, Draws(0, given=made.drawn)) for batch in (made.batch, twice))
        torch.testing.assert_close(again["bpr"], once["bpr"])
        factors[reduction] = (again["contrast_user"] / once["contrast_user"]).item()
    assert factors == {"mean": pytest.approx(1.0), "sum": pytest.approx(2.0)}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_batch_whose_items_all_lack_a_modality_has_no_contrast_of_items_and_finite_gradients(preset: str) -> None:
    made = case(preset, ["text", "image"], True)
    made.batch.positives.fill_(ABSENT[0])
    assert made.terms["contrast_item"].item() == 0 < made.terms["contrast_user"].item()
    total(made.terms).backward()
    assert all(bool(value.grad.isfinite().all()) for value in made.model.parameters() if value.grad is not None)


def test_who_lacks_a_modality_takes_no_part_in_its_hypergraph() -> None:
    made = case("intended", ["text", "image"], True)
    views = made.model.views(Draws(0, given=made.drawn))
    absent = [USERS - 2, *(item + USERS for item in ABSENT)]
    assert (views.dependency["text"].sum(1) == 0).nonzero().squeeze(1).tolist() == absent
    assert not views.reached["text"].table()[absent].any()
    torch.testing.assert_close(views.dependency["image"].sum(1), torch.ones(USERS + ITEMS))
    # A user without any interaction has nothing to say against any hyperedge.
    quiet = made.model.views().dependency["text"][USERS - 1]
    torch.testing.assert_close(quiet, torch.full_like(quiet, 1 / len(quiet)))


@pytest.mark.parametrize("preset", PRESETS)
def test_the_ids_of_items_that_lack_a_modality_do_not_reach_others_over_it(preset: str) -> None:
    made = case(preset, ["text"], True, layers=0, modal_layers=0)
    before = made.model.embed()
    with torch.no_grad():
        made.model.item_id[ABSENT] += 10.0
    after = made.model.embed()
    present = [item for item in range(ITEMS) if item not in ABSENT]
    torch.testing.assert_close(after.item[present], before.item[present], rtol=0, atol=0)
    torch.testing.assert_close(after.user, before.user, rtol=0, atol=0)


def test_an_item_nobody_has_yet_is_placed_by_its_content() -> None:
    made = case("intended", ["text", "image"], False, alpha=0.5)
    reached = made.model.views().reached
    everywhere = sum(reached[name].table() for name in reached)
    assert isinstance(everywhere, Tensor)
    layers = made.model.config.layers
    expected = made.model.item_id[COLD] / (layers + 1) + 0.5 * F.normalize(everywhere[USERS + COLD], dim=0)
    torch.testing.assert_close(made.model.embed().item[COLD], expected)


@pytest.mark.parametrize("noise", ["logistic", "gumbel", "none"])
def test_noise_is_of_the_kind_that_is_asked_for_and_new_on_every_step(noise: str) -> None:
    made = case("intended", ["text", "image"], False, noise=noise)
    _, logits = made.model.content_of("text")(made.model.history)
    nodes, columns = torch.arange(USERS + ITEMS), made.model.config.hyperedges
    softened: list[Tensor] = []
    for step in (1, 2):
        draws = Draws(4, step)
        added = torch.zeros(())
        if noise != "none":
            added = (draws.gumbel if noise == "gumbel" else draws.logistic)("noise/text", nodes, columns)
        softened.append(torch.softmax((logits + added) / made.model.config.temperature, 1))
        torch.testing.assert_close(made.model.views(draws).dependency["text"], softened[-1])
    assert torch.equal(softened[0], softened[1]) == (noise == "none")


def test_every_use_of_a_dependency_has_a_mask_of_its_own_unless_shared() -> None:
    for shared, expected in ((True, {"mask/text"}), (False, {f"mask/text{use}" for use in ("/send/0", "/receive")})):
        asked: set[str] = set()

        class Noted(Draws):
            def dropout(
                self,
                name: str,
                values: Tensor,
                rate: float,
                rows: Tensor | None = None,
                *,
                spread: bool = True,
                seen: set[str] = asked,
            ) -> Tensor:
                seen.add(name)
                return super().dropout(name, values, rate, rows, spread=spread)

        made = case("intended", ["text"], False, share_dropout=shared)
        made.model.loss(made.batch, Noted(0, 1))
        assert asked == expected


def test_without_any_modality_it_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="at least one modality") as caught:
        LGMRec(LGMRecConfig(), worlds.inputs(np.ones((2, 3), np.int64)))
    assert "palate encode" in caught.value.do
