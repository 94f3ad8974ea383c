"""VBPR's loss and scores against the formula over all items, and what its switches do."""

from __future__ import annotations

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
from palate.models.layers import FeatureTable, key_of
from palate.models.losses import bpr
from palate.models.vbpr import VBPR, VBPRConfig

USERS, ITEMS = 7, 9
WIDTHS = {"text": 6, "image": 3, "audio": 4, "values": 2}


def content_of(names: list[str], *, missing: bool) -> dict[str, NDArray[np.float64]]:
    content = {name: np.random.default_rng(WIDTHS[name]).normal(size=(ITEMS, WIDTHS[name])) for name in names}
    if missing:
        content[names[0]][[2, 5]] = np.nan
    return {name: rows.astype(np.float32).astype(np.float64) for name, rows in content.items()}


def model_of(content: dict[str, NDArray[np.float64]], seed: int = 0, **settings: object) -> VBPR:
    torch.manual_seed(seed)
    config = VBPRConfig.parse({"dim": 4, "content_dim": 3, **settings})
    model = VBPR(config, worlds.inputs(np.ones((USERS, ITEMS), np.int64), content))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def batch(seed: int) -> Batch:
    generator = np.random.default_rng(seed)
    users, positives, negatives = (torch.from_numpy(generator.integers(0, n, 12)) for n in (USERS, ITEMS, ITEMS))
    return Batch(users, positives, negatives)


def scores_of(model: VBPR, content: dict[str, NDArray[np.float64]]) -> Tensor:
    """Equation 4, users × items, for each item over the modalities it has."""
    scores = model.user_id @ model.item_id.T
    if model.bias is not None:
        scores = scores + model.bias[:, 0]
    for name, rows in content.items():
        kernel = model.kernels[key_of(name)]
        for item in range(ITEMS):
            if np.isfinite(rows[item]).all():
                features = torch.from_numpy(rows[item])
                part = model.user_content @ (kernel[:3] @ features)
                if model.config.content_bias:
                    part = part + kernel[3] @ features
                scores = scores + part[:, None] * F.one_hot(torch.tensor(item), ITEMS)
    return scores


cases = given(
    st.sampled_from([["text"], ["text", "image"], ["image", "audio", "text"], ["values"]]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 1000),
)


@cases
def test_loss_gradients_and_scores_are_those_of_the_formula(
    names: list[str], missing: bool, item_bias: bool, content_bias: bool, seed: int
) -> None:
    content = content_of(names, missing=missing)
    settings = {"item_bias": item_bias, "content_bias": content_bias, "kernel_penalty_weight": 0.2}
    model = model_of(content, seed, penalty_weight=0.3, **settings)
    rows, scores = batch(seed), scores_of(model, content)
    assert rows.negatives is not None
    terms = model.loss(rows, Draws(0))
    gaps = scores[rows.users, rows.positives] - scores[rows.users, rows.negatives]
    own = [model.user_id[rows.users], model.user_content[rows.users]]
    for items in (rows.positives, rows.negatives):
        own += [model.item_id[items]] + ([] if model.bias is None else [model.bias[items]])
    expected = {
        "bpr": -F.logsigmoid(gaps).mean(),
        "penalty": 0.3 * torch.cat(own, 1).square().sum(1).mean(),
        "kernel_penalty": 0.2 * torch.cat([kernel.flatten() for kernel in model.kernels.values()]).square().sum(),
    }
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, msg=name)
    parameters = list(model.parameters())
    found = torch.autograd.grad(torch.stack(list(terms.values())).sum(), parameters)
    wanted = torch.autograd.grad(torch.stack(list(expected.values())).sum(), parameters)
    for gradient, oracle in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, oracle)
    users = torch.tensor([3, 0, 3])
    torch.testing.assert_close(model.embed().score_block(users), scores[users].detach())


def test_a_new_model_has_no_biases_yet() -> None:
    """Biases start at zero, so that the first scores are those of the factors."""
    inputs = worlds.inputs(np.ones((USERS, ITEMS), np.int64), content_of(["text"], missing=False))
    model = VBPR(VBPRConfig(dim=4, content_dim=3), inputs)
    assert not model.embed().item[:, -1].any()
    assert model.embed().item[:, :-1].all()


def test_the_order_of_modalities_does_not_matter() -> None:
    content = content_of(["text", "image"], missing=True)
    one = model_of(content)
    other = model_of({name: content[name] for name in ("image", "text")})
    other.load_state_dict(one.state_dict())
    first, second = (model.loss(batch(1), Draws(0)) for model in (one, other))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value)


def test_fifty_steps_end_where_the_loss_of_both_items_leads() -> None:
    """The loss projects the difference of two items' content; the plain one each of them."""
    content = content_of(["text", "image"], missing=True)
    ends: list[Tensor] = []
    for plain in (False, True):
        model = model_of(content).double()
        optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
        for step in range(50):
            rows = batch(step)
            assert rows.negatives is not None
            terms = model.loss(rows, Draws(0, step))
            if plain:
                every = model.item_rows(torch.arange(ITEMS))
                pair = (F.embedding(items, every) for items in (rows.positives, rows.negatives))
                terms["bpr"] = bpr(model.user_rows(rows.users), *pair)
            optimiser.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimiser.step()
        ends.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-8)


def test_features_are_frozen_and_not_stored_with_the_model() -> None:
    model = model_of(content_of(["text"], missing=False))
    table = model.features["of_text"]
    assert isinstance(table, FeatureTable)
    assert not table.matrix.requires_grad
    assert not any(name.startswith("features") for name in model.state_dict())


def test_without_any_modality_it_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="VBPR needs at least one modality") as caught:
        VBPR(VBPRConfig(), worlds.inputs(np.ones((2, 3), np.int64)))
    assert "palate encode" in caught.value.do
