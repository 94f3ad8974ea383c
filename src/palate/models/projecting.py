"""The projection of some rows of a wide feature table: X[items] Wᵀ without a copy of X[items] in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from palate.models.layers import FeatureTable

# Rows gathered at once: 4 MB at a width of 4096, which stays in the processor's cache.
BLOCK_BYTES = 1 << 22


class _Projected(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, matrix: Tensor, items: Tensor) -> Tensor:
        ctx.matrix = matrix
        ctx.save_for_backward(items)
        projected = weight.new_empty(len(items), len(weight))
        for rows, part in _blocks(matrix, items):
            torch.mm(rows, weight.T, out=projected[part])
        return projected

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (items,) = ctx.saved_tensors
        gradient, matrix = gradients[0], ctx.matrix
        total = gradient.new_zeros(gradient.shape[1], matrix.shape[1])
        # The rows are gathered again: that costs a tenth of keeping them.
        for rows, part in _blocks(matrix, items):
            total.addmm_(gradient[part].T, rows)
        return total, None, None


def _blocks(matrix: Tensor, items: Tensor) -> Iterator[tuple[Tensor, slice]]:
    size = max(1, BLOCK_BYTES // (matrix.shape[1] * matrix.element_size()))
    buffer = matrix.new_empty(min(size, len(items)), matrix.shape[1])
    for start in range(0, len(items), size):
        some = items[start : start + size]
        yield torch.index_select(matrix, 0, some, out=buffer[: len(some)]), slice(start, start + size)


def project(table: FeatureTable, items: Tensor, weight: Tensor) -> Tensor:
    """X[items] Wᵀ, differentiable in W, and in X where it is trained.

    Args:
        table: X, I × D.
        items: int64, B; give each item once.
        weight: W, d × D.

    Returns:
        B × d; rows of items without this modality are zero.
    """
    if table.matrix.requires_grad or not table.matrix.is_cpu:
        return F.linear(table.rows(items), weight)
    return _Projected.apply(weight, table.matrix, items)
