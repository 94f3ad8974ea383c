"""The plain forms that are measured against are the same maths: value and gradients of Palate's own losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.plain import FORMS, Plain, batches, coo
from benchmarks.plain_evaluation import evaluation
from torch import Tensor

import worlds
from palate.core.seeds import Draws
from palate.dataset.inputs import ModelInputs
from palate.graph.rows import Rows
from palate.measure.evaluation import evaluate
from palate.models.base import Batch, Embeddings, Recommender
from palate.recipe import resolve

USERS, ITEMS = 12, 20
# Draws differ, so there are none; and there are few items.
SILENT: dict[str, dict[str, Any]] = {
    "bm3": {"dropout": 0.0},
    "lgmrec": {"dropout": 0.0, "noise": "none"},
    "freedom": {"neighbours": 3},
    "alignrec": {"neighbours": 3},
}


def inputs() -> ModelInputs:
    generator = np.random.default_rng(0)
    given = (generator.random((USERS, ITEMS)) < 0.3).astype(np.int64)
    # Nobody and nothing is alone, or the toolbox's forms divide by zero.
    given[np.arange(ITEMS) % USERS, np.arange(ITEMS)] = 1
    content = {name: generator.normal(size=(ITEMS, width)) for name, width in (("image", 9), ("text", 6))}
    return worlds.inputs(given, content)


@pytest.mark.parametrize("name", list(FORMS))
def test_loss_and_gradients_are_those_of_the_model(name: str) -> None:
    model_name, _, preset = name.partition(" ")
    kind, config, _ = resolve(model_name, preset or "intended")
    config = config.override({"dim": 8, **SILENT.get(model_name, {})})
    world = inputs()
    model = kind(config, world)
    assert isinstance(model, Recommender)
    model.start_epoch(Draws(0, 1))
    if model_name == "freedom":
        assert model.get_submodule("thinned") is not model.get_submodule("adjacency")
    generator = np.random.default_rng(1)
    # Nodes come several times.
    batch = Batch(*(torch.from_numpy(generator.integers(0, count, 16)) for count in (USERS, ITEMS, ITEMS)))
    found = FORMS[name](Plain(model, USERS), batch)
    wanted = torch.stack(list(model.loss(batch, Draws(0)).values())).sum()
    torch.testing.assert_close(found, wanted)
    parameters = list(model.parameters())

    def gradients(loss: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, parameters, materialize_grads=True)

    for gradient, oracle in zip(gradients(found), gradients(wanted), strict=True):
        torch.testing.assert_close(gradient, oracle)


def test_matrices_batches_and_metrics_are_the_same_as_well() -> None:
    world = inputs()
    operator = world.train.history_sum()
    assert torch.equal(coo(operator).to_dense(), operator.dense())
    (batch,), spent = batches(world, 1, True)
    assert batch.negatives is not None
    assert spent > 0
    assert batches(world, 1, False)[0][0].negatives is None
    seen = world.train.history_sum().dense() > 0
    assert bool(seen[batch.users, batch.positives].all())
    assert not bool(seen[batch.users, batch.negatives].any())
    vectors = Embeddings(torch.randn(USERS, 4), torch.randn(ITEMS, 4))
    held_out = Rows.from_pairs(np.array([1, 1, 5]), np.array([3, 4, 2]), USERS, ITEMS)
    hidden = Rows.from_pairs(np.array([1, 5, 5]), np.array([0, 1, 7]), USERS, ITEMS)
    mine = evaluate(vectors, held_out, hidden, cuts=(2, 5)).means()
    assert evaluation(lambda: vectors, held_out, hidden, cuts=(2, 5)) == pytest.approx(mine)
