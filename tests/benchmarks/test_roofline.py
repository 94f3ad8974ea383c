"""The least that a step must do: every product of it is counted."""

from __future__ import annotations

import numpy as np
import torch
from benchmarks.roofline import Work, work_of

import worlds
from palate.core.dense import STEP
from palate.core.seeds import Draws
from palate.models import MODELS
from palate.models.base import Batch, Recommender
from palate.models.contrast import log_sum_exp

ROWS = torch.arange(4)


def least(name: str) -> Work:
    matrix = (np.random.default_rng(0).random((20, 15)) < 0.4).astype(np.int64)
    kind = MODELS[name]
    model = kind(kind.Config(), worlds.inputs(matrix))
    assert isinstance(model, Recommender)
    batch = Batch(ROWS, ROWS + 1, ROWS + 2)
    return work_of(model, lambda: torch.stack(list(model.loss(batch, Draws(0)).values())).sum())


def test_propagation_is_counted_on_top_of_what_adam_moves() -> None:
    parameters = (20 + 15) * 64
    assert least("bpr").bytes == 28 * parameters
    # Two layers, forward and backward; of the last layer the batch's rows alone.
    assert least("lightgcn").bytes > 28 * parameters + 2 * 4 * parameters


def test_products_in_place_and_with_vectors_are_counted() -> None:
    layer = torch.nn.Linear(3, 6, bias=False)
    total, rows = torch.zeros(6, 8), torch.randn(3, 8)

    def step() -> torch.Tensor:
        with torch.no_grad():
            total.addmm_(layer.weight, rows)
            total.mv(torch.ones(8))
        return layer.weight.sum()

    assert work_of(layer, step).flops == 2 * 6 * 3 * 8 + 2 * 6 * 8


def test_the_contrast_is_counted_with_the_candidates_that_fill_it_up() -> None:
    anchors, candidates = torch.nn.Linear(3, 6, bias=False), torch.randn(8, 3)
    work = work_of(anchors, lambda: log_sum_exp(anchors.weight, candidates, torch.ones(6), torch.ones(8)))
    # The scores, their sums beside what anchors are told, and what candidates are told.
    assert work.flops == 2 * 6 * STEP * (3 + 4 + 3)
