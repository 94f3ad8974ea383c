"""The dense product that most of the arithmetic is: many rows times few columns, or few rows times many."""

from __future__ import annotations

import torch
from torch import Tensor


def times(left: Tensor, right: Tensor, common: bool = True) -> Tensor:
    """L Rᵀ, a new tensor that autograd does not follow.

    oneDNN's kernel takes three quarters of the time of the BLAS that torch uses, when one side is as narrow as an
    embedding (measured on AMD Zen 4); where this build of torch has none, or for other types, it is that BLAS.

    Args:
        left: L, n × D.
        right: R, m × D.
        common: these shapes come again and again; oneDNN keeps half a megabyte for each that it has met.
    """
    if common and left.is_cpu and left.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
    return left @ right.T
