"""The least that a step must do: every product of it is counted."""

from __future__ import annotations

import numpy as np
import torch
from benchmarks.roofline import Work, work_of

import worlds
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
    anchors = torch.nn.Linear(3, 6, bias=False)
    candidates = torch.randn(8, 3)
    ones = torch.ones(6), torch.ones(8)
    work = work_of(anchors, lambda: log_sum_exp(anchors.weight, candidates, *ones))
    pairs = 6 * 8
    # The scores, their sums, and what each of the two tables is told.
    assert work.flops == 2 * pairs * 3 + 2 * pairs + 2 * (2 * pairs * 3)
