"""Losses and gradients in the precision that people train with, against double precision, over more than one block.

The tests of each model hold it against its plain form in float64; the faster kernels compute in float32 alone.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import worlds
from palate.core.dense import STEP
from palate.core.seeds import Draws
from palate.models import MODELS, Recommender
from palate.models.base import Batch
from palate.recipe import resolve

USERS, ITEMS, ROWS = 3 * STEP, 2 * STEP + 40, 4 * STEP + 9
PRESETS = [
    name if preset == "intended" else f"{name} {preset}"
    for name in MODELS
    if issubclass(MODELS[name], Recommender)
    for preset in ("intended", "official")
    if preset == "intended" or hasattr(MODELS[name].Config, "official")
]
SETTINGS: dict[str, dict[str, Any]] = {"crmman": {"dislikes": "none"}}


@pytest.mark.parametrize("name", PRESETS)
def test_loss_and_gradients_are_those_of_double_precision(name: str) -> None:
    model_name, _, preset = name.partition(" ")
    kind, config, _ = resolve(model_name, preset or "intended")
    generator = np.random.default_rng(0)
    given = (generator.random((USERS, ITEMS)) < 0.05).astype(np.int64)
    given[np.arange(USERS), np.arange(USERS) % ITEMS] = 1
    content = {
        mode: generator.normal(size=(ITEMS, width)).astype(np.float32).astype(np.float64)
        for mode, width in (("image", 300), ("text", 40))
    }
    torch.manual_seed(0)
    double = kind(config.override({"dim": 16, **SETTINGS.get(model_name, {})}), worlds.inputs(given, content))
    assert isinstance(double, Recommender)
    single = copy.deepcopy(double).float()
    shape = (ROWS, double.needs.negatives) if double.needs.negatives > 1 else (ROWS,)
    users, positives, negatives = (
        torch.from_numpy(generator.integers(0, count, size))
        for count, size in ((USERS, (ROWS,)), (ITEMS, (ROWS,)), (ITEMS, shape))
    )
    batch = Batch(users, positives, negatives if double.needs.negatives else None)

    def measured(model: Recommender) -> tuple[dict[str, Tensor], list[Tensor]]:
        model.train()
        terms = model.loss(batch, Draws(0))
        parameters = list(model.parameters())
        total = torch.stack(list(terms.values())).sum()
        return terms, list(torch.autograd.grad(total, parameters, materialize_grads=True))

    (found, gradients), (wanted, oracles) = measured(single), measured(double)
    for term, value in wanted.items():
        assert found[term].dtype == torch.float32
        torch.testing.assert_close(found[term].double(), value, rtol=2e-4, atol=1e-6, msg=term)
    for gradient, oracle in zip(gradients, oracles, strict=True):
        largest = float(oracle.abs().max())
        assert float((gradient.double() - oracle).abs().max()) <= 2e-3 * largest + 1e-9
