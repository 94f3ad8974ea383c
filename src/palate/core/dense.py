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

    oneDNN's kernel takes a third to three quarters of the time of the BLAS that torch uses, the least on AMD Zen 5
    (docs/experiments.md). Where this build of torch has none, where it is switched off (`torch.backends.mkldnn.flags`),
    and for other types, it is that BLAS.

    Args:
        left: L, n × D.
        right: R, m × D.
        common: these shapes come again and again. oneDNN keeps .6 MB or more of each that it has met, for good.
    """
    return _pointwise(left, right, None, None) if common and _fast(left, right) else left @ right.T


def _fast(left: Tensor, right: Tensor) -> bool:
    plain = left.dtype == torch.float32 and left.is_cpu and left.numel() > 0 and right.numel() > 0
    return KERNEL and plain and bool(torch.backends.mkldnn.enabled)


def _pointwise(rows: Tensor, weight: Tensor, bias: Tensor | None, slope: float | None) -> Tensor:
    post = ("leaky_relu", [slope]) if slope else ("none", [])
    outputs = torch.ops.mkldnn._linear_pointwise(_whole(rows), _whole(weight), bias, *post, "")
    # A slope of 0 is left to torch: oneDNN would make 0 of what is no number.
    return F.leaky_relu(outputs, slope) if slope == 0 else outputs


def _whole(matrix: Tensor) -> Tensor:
    """The matrix with its rows or its columns one after the other: for a part of wider rows oneDNN has no fast kernel,
    and may take a thousand times as long."""
    return matrix if matrix.is_contiguous() or matrix.T.is_contiguous() else matrix.contiguous()


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
    """x Wᵀ + b, and LeakyReLU of it where a slope is given; differentiable once.

    For numbers of rows that come again and again, as in `times`.

    Args:
        rows: x, n × D.
        weight: W, m × D.
        bias: b, m.
        slope: of LeakyReLU below 0, above 0 itself; None: no LeakyReLU.

    Returns:
        n × m.
    """
    if _fast(rows, weight):
        return _Linear.apply(rows, weight, bias, slope)
    return plain_linear(rows, weight, bias, slope)


def plain_linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None, slope: float | None = None) -> Tensor:
    """As `linear`, in torch's operations: for rows of a number that seldom comes again."""
    outputs = F.linear(rows, weight, bias)
    return outputs if slope is None else F.leaky_relu(outputs, slope)


def filled_up(rows: Tensor) -> Tensor:
    """The rows, n × d, and zeros up to a number of rows that comes again: a multiple of `STEP`, and of a sixteenth of
    the largest power of 2 in n, so that even growing numbers make few shapes."""
    power = 1 << max(0, len(rows).bit_length() - 1)
    multiple = max(STEP, power // 16)
    return F.pad(rows, (0, 0, 0, -len(rows) % multiple))
