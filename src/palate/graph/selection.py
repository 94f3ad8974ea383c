"""Some rows of a sparse product, differentiable: a loss that looks at a batch's rows alone forms no others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from palate.core.gradients import once
from palate.graph.operator import SparseOperator


class _ProductAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense: Tensor, operator: SparseOperator, rows: Tensor) -> Tensor:
        ctx.operator = operator
        ctx.save_for_backward(rows)
        return operator.product_at(dense, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        once()
        (rows,) = ctx.saved_tensors
        return ctx.operator.product_from(gradients[0], rows), None, None


def product_at(operator: SparseOperator, dense: Tensor, rows: Tensor) -> Tensor:
    """The rows `rows` of M X, differentiable in X.

    Args:
        operator: M, n × m.
        dense: X, m × d.
        rows: int64, each at most once.
    """
    return _ProductAt.apply(dense, operator, rows)
