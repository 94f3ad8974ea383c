"""The dense product that most of the arithmetic is: many rows times few columns, or few rows times many."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from palate.core.gradients import once

# Numbers of rows that differ from batch to batch are filled up to a multiple of this, or worked on so many at a time.
STEP = 128
# Whether this build of torch has the kernel.
KERNEL = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def times(left: Tensor, right: Tensor, common: bool = True) -> Tensor:
    """L Rᵀ, a new tensor that autograd does not follow.

    oneDNN's kernel takes half to three quarters of the time of the BLAS that torch uses (measured on AMD Zen 5 and
    Zen 4); where this build of torch has none, or for other types, it is that BLAS.

    Args:
        left: L, n × D.
        right: R, m × D.
        common: these shapes come again and again; oneDNN keeps half a megabyte for each that it has met.
    """
    if common and _fast(left):
        return _pointwise(left, right, None, None)
    return left @ right.T


def _pointwise(rows: Tensor, weight: Tensor, bias: Tensor | None, slope: float | None) -> Tensor:
    post = ("none", []) if slope is None else ("leaky_relu", [slope])
    return torch.ops.mkldnn._linear_pointwise(_whole(rows), _whole(weight), bias, *post, "")


def _whole(matrix: Tensor) -> Tensor:
    """The matrix with its rows or its columns one after the other: for a part of wider rows oneDNN has no fast kernel,
    and may take a thousand times as long."""
    return matrix if matrix.is_contiguous() or matrix.T.is_contiguous() else matrix.contiguous()


def _fast(rows: Tensor) -> bool:
    return KERNEL and rows.is_cpu and rows.dtype == torch.float32


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, slope: float | None) -> Tensor:
        result = _pointwise(rows, weight, bias, slope)
        ctx.slope = slope
        ctx.save_for_backward(rows, weight, None if slope is None else result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        once()
        rows, weight, result = ctx.saved_tensors
        # A contiguous one: the gradient of a sum is one number with strides of zero.
        gradient = gradients[0].contiguous()
        if result is not None:
            # The sign of the result is that of what went in.
            gradient = torch.ops.aten.leaky_relu_backward(gradient, result, ctx.slope, True)
        of_rows, of_weight, of_bias, _ = ctx.needs_input_grad
        return (
            times(gradient, weight.T) if of_rows else None,
            times(gradient.T, rows.T) if of_weight else None,
            gradient.sum(0) if of_bias else None,
            None,
        )


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None, slope: float | None = None) -> Tensor:
    """x Wᵀ + b, then LeakyReLU where there is a slope; differentiable once.

    For numbers of rows that come again and again, as in `times`.

    Args:
        rows: x, n × D.
        weight: W, m × D.
        bias: b, m.
        slope: of LeakyReLU below 0, above 0 itself; None: no LeakyReLU.

    Returns:
        n × m.
    """
    return _Linear.apply(rows, weight, bias, slope) if _fast(rows) else plain_linear(rows, weight, bias, slope)


def plain_linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None, slope: float | None = None) -> Tensor:
    """As `linear`, in torch's operations: for rows of a number that seldom comes again."""
    outputs = F.linear(rows, weight, bias)
    return outputs if slope is None else F.leaky_relu(outputs, slope)


def filled_up(rows: Tensor) -> Tensor:
    """The rows, n × d, and zeros up to a multiple of `STEP`: a number of rows that comes again."""
    return F.pad(rows, (0, 0, 0, -len(rows) % STEP))
