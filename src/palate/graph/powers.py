"""The mean of the powers of a sparse matrix times a dense one: what LightGCN-like models compute on every step.

Forward and backward are Horner's scheme without anything stored in between. Where a loss looks at some rows alone, the
last product is formed at those rows only and its gradient starts from them: the same sums, less of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from palate.core.gradients import once
from palate.graph.operator import SparseOperator


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense: Tensor, operator: SparseOperator, highest: int) -> Tensor:
        ctx.operator, ctx.highest = operator, highest
        return _horner(operator, dense, highest).div_(highest + 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        once()
        total = _horner(ctx.operator, gradients[0], ctx.highest, transposed=True)
        return total.div_(ctx.highest + 1), None, None


class _MeanAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense: Tensor, operator: SparseOperator, highest: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        ctx.operator, ctx.highest = operator, highest
        distinct, place = torch.unique(rows, return_inverse=True)
        ctx.save_for_backward(distinct, place)
        own = dense.index_select(0, rows)
        if highest == 0:
            return own.clone(), own
        before = dense if highest == 1 else _horner(operator, dense, highest - 1)
        last = operator.product_at(before, distinct)
        return last.index_select(0, place).add_(own).div_(highest + 1), own

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        once()
        of_mean, of_own = gradients
        operator: SparseOperator = ctx.operator
        distinct, place = ctx.saved_tensors
        # First over the rows that repeat, which are few and stay in the cache.
        start, own = (
            part.new_zeros(len(distinct), part.shape[1]).index_add_(0, place, part) for part in (of_mean, of_own)
        )
        start.div_(ctx.highest + 1)
        if ctx.highest == 0:
            total = start.new_zeros(operator.shape[1], start.shape[1])
        else:
            total = operator.product_from(start, distinct)
            for _ in range(ctx.highest - 1):
                total = operator.product(total.index_add_(0, distinct, start), transposed=True)
        total.index_add_(0, distinct, start.add_(own))
        return total, None, None, None


def _horner(operator: SparseOperator, dense: Tensor, highest: int, *, transposed: bool = False) -> Tensor:
    """X + M X + … + M^highest X as X + M (X + M (X + …))."""
    total = dense.clone() if highest == 0 else dense
    for _ in range(highest):
        total = operator.product(total, transposed=transposed).add_(dense)
    return total


def mean_of_powers(operator: SparseOperator, dense: Tensor, highest: int) -> Tensor:
    """mean(X, M X, …, M^highest X) of a square M, differentiable in X.

    Args:
        operator: M, n × n.
        dense: X, n × d.
        highest: the largest power, 0 or more.
    """
    return _Mean.apply(dense, operator, highest)


def mean_of_powers_at(operator: SparseOperator, dense: Tensor, highest: int, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The rows `rows` of `mean_of_powers`, and those of X itself; both differentiable in X.

    Args:
        operator: M, n × n.
        dense: X, n × d.
        highest: the largest power, 0 or more.
        rows: int64; they may repeat.

    Returns:
        Two tensors, len(rows) × d.
    """
    return _MeanAt.apply(dense, operator, highest, rows)
