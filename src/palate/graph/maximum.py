"""The largest value among a row's columns, dimension by dimension: what `SparseOperator` is to a sum or a mean."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palate.graph.rows import Rows


class _SegmentMaximum(torch.autograd.Function):
    # torch's own backward of this reduction (up to 2.13) shares the gradient of ties only where it is positive.
    @staticmethod
    def forward(ctx: Any, values: Tensor, pointer: Tensor, row_of_entry: Tensor) -> Tensor:
        # `unsafe` leaves out a check of the row pointers, which are those of `Rows`.
        largest = torch.segment_reduce(values, "max", offsets=pointer, axis=0, unsafe=True)
        ctx.save_for_backward(values, pointer, row_of_entry, largest)
        return largest

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        values, pointer, row_of_entry, largest = ctx.saved_tensors
        chosen = (values == F.embedding(row_of_entry, largest)).to(values.dtype)
        ties = torch.segment_reduce(chosen, "sum", offsets=pointer, axis=0, unsafe=True)
        return F.embedding(row_of_entry, gradients[0] / ties.clamp_min(1.0)) * chosen, None, None


class NeighbourMaximum(nn.Module):
    """`maximum(X)[r] = max_{j in row r} X[j]`, by dimension; a row without columns gives zeros.

    Differentiable: entries that share the maximum share its gradient evenly, so no numbering of nodes is preferred.
    Moves with the module that owns it; it is rebuilt from data and therefore not stored in a state dict. Time and
    memory grow with stored pairs × d, both ways.

    Args:
        structure: the columns of each row (rows × columns).
    """

    pointer: Tensor
    columns: Tensor
    row_of_entry: Tensor
    empty: Tensor

    def __init__(self, structure: Rows) -> None:
        super().__init__()
        self.shape = (structure.count, structure.width)
        self.register_buffer("pointer", torch.tensor(structure.pointer), persistent=False)
        self.register_buffer("columns", torch.tensor(structure.columns), persistent=False)
        self.register_buffer("row_of_entry", torch.tensor(structure.row_of_entry()), persistent=False)
        self.register_buffer("empty", torch.tensor(structure.lengths == 0).unsqueeze(1), persistent=False)

    def forward(self, dense: Tensor) -> Tensor:
        """Columns × d → rows × d."""
        largest = _SegmentMaximum.apply(F.embedding(self.columns, dense), self.pointer, self.row_of_entry)
        return largest.masked_fill(self.empty, 0.0)
