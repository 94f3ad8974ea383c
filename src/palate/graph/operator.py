"""A fixed sparse matrix that multiplies dense ones, forward and backward each through a stored CSR matrix.

Autograd's own backward of a sparse product transposes the matrix or falls back to a slow format on every step; here
the transpose is stored once (or is the matrix itself, when it is symmetric).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from palate.graph.rows import Rows

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state", category=UserWarning)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense: Tensor, matrix: Tensor, transpose: Tensor) -> Tensor:
        ctx.transpose = transpose
        return torch.sparse.mm(matrix, dense)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return torch.sparse.mm(ctx.transpose, gradients[0].contiguous()), None, None


class SparseOperator(nn.Module):
    """`operator(X) = M X` for a constant sparse M (rows × columns) and dense X (columns × d).

    Moves and casts with the module that owns it; it is rebuilt from data and therefore not stored in a state dict.

    Args:
        structure: the columns of each row of M.
        values: float, one for each stored pair, in the order of `structure`.
        symmetric: M equals its transpose; it is then stored once.
    """

    def __init__(self, structure: Rows, values: NDArray[np.floating], *, symmetric: bool = False) -> None:
        super().__init__()
        self.shape = (structure.count, structure.width)
        self.symmetric = symmetric
        self._store("forward", structure, values)
        if not symmetric:
            order = np.argsort(structure.columns, kind="stable")
            self._store("backward", structure.transpose(), values[order])

    def _store(self, direction: str, structure: Rows, values: NDArray[np.floating]) -> None:
        # int32 indices: the sparse kernels would convert int64 ones on each call.
        indices = torch.int32 if structure.size < 2**31 else torch.int64
        self.register_buffer(f"{direction}_pointer", torch.tensor(structure.pointer, dtype=indices), persistent=False)
        self.register_buffer(f"{direction}_columns", torch.tensor(structure.columns, dtype=indices), persistent=False)
        stored = torch.tensor(values, dtype=torch.float64).to(torch.get_default_dtype())
        self.register_buffer(f"{direction}_values", stored, persistent=False)

    def _matrix(self, direction: str) -> Tensor:
        rows, columns = self.shape if direction == "forward" else self.shape[::-1]
        return torch.sparse_csr_tensor(
            self.get_buffer(f"{direction}_pointer"),
            self.get_buffer(f"{direction}_columns"),
            self.get_buffer(f"{direction}_values"),
            size=(rows, columns),
            check_invariants=False,
        )

    def forward(self, dense: Tensor) -> Tensor:
        """M X, differentiable in X."""
        matrix = self._matrix("forward")
        return _Product.apply(dense, matrix, matrix if self.symmetric else self._matrix("backward"))

    def dense(self) -> Tensor:
        """M as a dense tensor (small graphs and tests)."""
        return self._matrix("forward").to_dense()
