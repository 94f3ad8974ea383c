"""Gradients that are formed by hand say so when their own derivative is asked for, rather than give a wrong one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import worlds
from palate.graph.operator import SparseOperator
from palate.graph.pairs import inner_at
from palate.graph.powers import mean_of_powers, mean_of_powers_at
from palate.graph.rows import Rows
from palate.graph.selection import product_at
from palate.models.attention import Neighbourhoods, _Shares, _WeightedSum  # pyright: ignore[reportPrivateUsage]
from palate.models.contrast import log_sum_exp
from palate.models.layers import FeatureTable
from palate.models.pairwise import content_bpr
from palate.models.projecting import project
from palate.models.sets import _Block, _MeanAttention  # pyright: ignore[reportPrivateUsage]

PATH = Rows.from_pairs(np.array([0, 1, 1, 2]), np.array([1, 0, 2, 1]), 3, 3)
OPERATOR = SparseOperator(PATH, np.ones(4), symmetric=True, dtype=torch.float64)
SOME = torch.tensor([0, 2])


def table() -> FeatureTable:
    return FeatureTable(worlds.features(["a", "b", "c"], width=4))


def weights() -> Tensor:
    return torch.ones(1, len(Neighbourhoods(PATH).columns))


def sets(rows: Tensor) -> Tensor:
    block = _Block.make(SOME.unsqueeze(0), torch.ones(1, 1, 2), len(rows), 0)
    return _MeanAttention.apply(torch.cat([rows, 2 * rows, rows.square()], 1), 2, [block])


BY_HAND: dict[str, Callable[[Tensor], Tensor]] = {
    "mean_of_powers": lambda rows: mean_of_powers(OPERATOR, rows, 2),
    "mean_of_powers_at": lambda rows: mean_of_powers_at(OPERATOR, rows, 2, SOME)[0],
    "product_at": lambda rows: product_at(OPERATOR, rows, SOME),
    "inner_at": lambda rows: inner_at(rows, rows, SOME.expand(3, 2)),
    "log_sum_exp": lambda rows: log_sum_exp(rows, rows.flip(0), torch.ones(3), torch.ones(3)),
    "content_bpr": lambda rows: content_bpr(None, rows[:2], [table()], [torch.ones(4, 4)], SOME, SOME.flip(0)),
    "project": lambda rows: project(table(), SOME, rows),
    "shares of attention": lambda rows: _Shares.apply(rows, rows.flip(0).detach(), Neighbourhoods(PATH)),
    "sums by attention": lambda rows: _WeightedSum.apply(weights(), rows.unsqueeze(1), Neighbourhoods(PATH)),
    "attention of sets": sets,
}


@pytest.mark.parametrize("name", list(BY_HAND))
def test_a_second_derivative_is_refused(name: str) -> None:
    rows = torch.randn(3, 4, requires_grad=True)
    loss = BY_HAND[name](rows).square().sum()
    (first,) = torch.autograd.grad(loss, rows, retain_graph=True)
    assert first.abs().sum() > 0
    with pytest.raises(RuntimeError, match="has no derivative of its own"):
        torch.autograd.grad(loss, rows, create_graph=True)


def test_that_of_a_sparse_product_is_right() -> None:
    structure = Rows.from_pairs(np.array([0, 0, 1]), np.array([0, 2, 1]), 2, 3)
    operator = SparseOperator(structure, np.array([1.0, 2.0, 3.0]), dtype=torch.float64)
    rows = torch.randn(3, 4, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda table: operator(table).pow(3), (rows,))
