"""Products with a wide feature table, X Wᵀ of some rows or of all: the largest dense work of most models.

Rows are gathered a block at a time, forward and backward, so that no copy of them is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.dense import times
from palate.core.gradients import Factors, gradient_of_rows, once
from palate.models.layers import FeatureTable, Projection

# Rows gathered at once: at a width of 4096 these are 2 MB, which stay in the processor's cache.
BLOCK_ROWS = 128


class _Projected(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, matrix: Tensor, items: Tensor | None, training: bool) -> Tensor:
        ctx.save_for_backward(weight, matrix, items)
        if items is None:
            # New items that are to be placed are of any number; those of training are not.
            return times(matrix, weight, training)
        projected = weight.new_empty(len(items), len(weight))
        for rows, part in _blocks(matrix, items):
            # The few rows on the left: there the kernel does not mind a d that is no multiple of its registers.
            projected[part] = times(weight, rows, len(rows) == BLOCK_ROWS).T
        return projected

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        once()
        gradient, (weight, matrix, items), trained = gradients[0], ctx.saved_tensors, ctx.needs_input_grad[1]
        if items is None:
            return times(gradient.T, matrix.T), times(gradient, weight.T) if trained else None, None, None
        of_weight = torch.zeros_like(weight)
        # The rows are gathered again: that costs a tenth of the product, and keeping them would need 16 kB for each.
        for rows, part in _blocks(matrix, items):
            of_weight += times(gradient[part].T, rows.T, len(rows) == BLOCK_ROWS)
        return of_weight, gradient_of_rows(matrix, Factors(items, gradient, weight)) if trained else None, None, None


def _blocks(matrix: Tensor, items: Tensor) -> Iterator[tuple[Tensor, slice]]:
    buffer = matrix.new_empty(min(BLOCK_ROWS, len(items)), matrix.shape[1])
    for start in range(0, len(items), BLOCK_ROWS):
        some = items[start : start + BLOCK_ROWS]
        yield torch.index_select(matrix, 0, some, out=buffer[: len(some)]), slice(start, start + BLOCK_ROWS)


def project(table: FeatureTable, items: Tensor | None, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X[items] Wᵀ + b, differentiable in W and b, and in X where it is trained.

    Args:
        table: X, I × D.
        items: int64, B; give each item once. None: all.
        weight: W, d × D.
        bias: b, d; None: none.

    Returns:
        B × d; without b, rows of items without this modality are zero.
    """
    if not table.matrix.is_cpu:
        return F.linear(table.matrix if items is None else table.rows(items), weight, bias)
    projected = _Projected.apply(weight, table.matrix, items, torch.is_grad_enabled())
    return projected if bias is None else projected + bias


def project_through(projection: Projection, table: FeatureTable, items: Tensor | None = None) -> Tensor:
    """X[items] through a projection of one or several layers, B × d.

    Args:
        projection: its layers.
        table: X, I × D.
        items: int64, B; give each item once. None: all.
    """
    first, *others = projection
    assert isinstance(first, nn.Linear)
    projected = project(table, items, first.weight, first.bias)
    for step in others:
        projected = step(projected)
    return projected
