"""Inner products of chosen pairs of rows: a loss that compares each row with a few others forms no copies of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from palate.core.gradients import once
from palate.core.width import total
from palate.graph.operator import weighted_sums


@torch.no_grad()
def products_at(pointer: Tensor, columns: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """left_r · right_c of each stored pair (r, c) of a CSR structure, E; autograd does not follow.

    Args:
        pointer, columns: int32, the pairs by row of `left`; a pair may be there twice.
        left: n × d.
        right: m × d.
    """
    # The sampled product takes no more pairs than the matrix has cells, which pairs that are there twice may be.
    if left.device.type != "cpu" or len(columns) > len(left) * len(right):
        row = torch.repeat_interleave(torch.arange(len(left), device=left.device), pointer.diff())
        return (left.index_select(0, row) * right.index_select(0, columns)).sum(1)
    zeros = left.new_zeros(len(columns))
    pairs = torch.sparse_csr_tensor(pointer, columns, zeros, size=(len(left), len(right)), check_invariants=False)
    return torch.sparse.sampled_addmm(pairs, left.contiguous(), right.contiguous().T, beta=0.0).values()


class _InnerAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, columns: Tensor) -> Tensor:
        rows, each = columns.shape
        pointer = torch.arange(0, rows * each + 1, max(1, each), dtype=torch.int32, device=columns.device)
        flat = columns.flatten().int()
        ctx.save_for_backward(left, right, pointer, flat)
        return products_at(pointer, flat, left, right).view(rows, each)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        once()
        left, right, pointer, columns = ctx.saved_tensors
        values = gradients[0].flatten()
        of_left = weighted_sums(pointer, columns, values, right)
        order = columns.argsort(stable=True)
        turned = F.pad(torch.bincount(columns, minlength=len(right)).cumsum(0, dtype=torch.int32), (1, 0))
        row = torch.div(order, gradients[0].shape[1], rounding_mode="floor").int()
        return of_left, weighted_sums(turned, row, values.index_select(0, order), left), None


def inner_at(left: Tensor, right: Tensor, columns: Tensor) -> Tensor:
    """left_r · right_c for each row r and its columns c, n × k; the sum over embedding columns is over all processes.

    Args:
        left: n × d.
        right: m × d.
        columns: int64, n × k with k at least 1, rows of `right`; the same may be there several times.
    """
    return total(_InnerAt.apply(left, right, columns))
