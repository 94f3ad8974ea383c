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
from torch.nn import functional as F

from palate.graph.rows import Rows

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state", category=UserWarning)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense: Tensor, operator: SparseOperator, transposed: bool) -> Tensor:
        ctx.operator, ctx.transposed = operator, transposed
        return operator.product(dense, transposed=transposed)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        # The function itself, so that this derivative has one too.
        return _Product.apply(gradients[0], ctx.operator, not ctx.transposed), None, None


class SparseOperator(nn.Module):
    """`operator(X) = M X` for a constant sparse M (rows × columns) and dense X (columns × d).

    Moves and casts with the module that owns it; it is rebuilt from data and therefore not stored in a state dict.

    Args:
        structure: the columns of each row of M.
        values: float, one for each stored pair, in the order of `structure`.
        symmetric: M equals its transpose; it is then stored once.
        dtype: of the stored values; None is torch's default.
    """

    def __init__(
        self,
        structure: Rows,
        values: NDArray[np.floating],
        *,
        symmetric: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.shape = (structure.count, structure.width)
        self.symmetric = symmetric
        dtype = dtype or torch.get_default_dtype()
        self._store("forward", structure, values, dtype)
        if not symmetric:
            order = np.argsort(structure.columns, kind="stable")
            self._store("backward", structure.transpose(), values[order], dtype)

    def _store(self, direction: str, structure: Rows, values: NDArray[np.floating], dtype: torch.dtype) -> None:
        # int32 indices: the sparse kernels would convert int64 ones on each call.
        indices = torch.int32 if structure.size < 2**31 else torch.int64
        self.register_buffer(f"{direction}_pointer", torch.tensor(structure.pointer, dtype=indices), persistent=False)
        self.register_buffer(f"{direction}_columns", torch.tensor(structure.columns, dtype=indices), persistent=False)
        stored = torch.tensor(values, dtype=torch.float64).to(dtype)
        self.register_buffer(f"{direction}_values", stored, persistent=False)

    def _stored(self, transposed: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Pointer, columns and values of M or Mᵀ."""
        direction = "backward" if transposed and not self.symmetric else "forward"
        pointer, columns, values = (self.get_buffer(f"{direction}_{part}") for part in ("pointer", "columns", "values"))
        return pointer, columns, values

    def forward(self, dense: Tensor) -> Tensor:
        """M X, differentiable in X."""
        return _Product.apply(dense, self, False)

    @torch.no_grad()
    def product(self, dense: Tensor, *, transposed: bool = False) -> Tensor:
        """M X, or Mᵀ X, as a new tensor that autograd does not follow.

        Raises:
            ValueError: when X has another number of rows than M (or Mᵀ) has columns.
        """
        self._check(dense, self.shape[0 if transposed else 1])
        return weighted_sums(*self._stored(transposed), dense)

    @torch.no_grad()
    def product_at(self, dense: Tensor, rows: Tensor) -> Tensor:
        """The rows `rows` (int64) of M X, without forming the others; autograd does not follow.

        Raises:
            ValueError: when X has another number of rows than M has columns.
        """
        self._check(dense, self.shape[1])
        pointer, columns, values = self._stored(False)
        first = pointer.index_select(0, rows)
        lengths = pointer.index_select(0, rows + 1) - first
        ends = lengths.cumsum(0, dtype=pointer.dtype)
        size = int(ends[-1]) if len(rows) else 0
        skipped = torch.repeat_interleave(first - (ends - lengths), lengths, output_size=size)
        entries = skipped + torch.arange(size, dtype=pointer.dtype, device=pointer.device)
        return weighted_sums(
            F.pad(ends, (1, 0)), columns.index_select(0, entries), values.index_select(0, entries), dense
        )

    @torch.no_grad()
    def product_from(self, dense: Tensor, rows: Tensor) -> Tensor:
        """Mᵀ X where X is zero beyond the rows `rows`, what `product_at` sends back; autograd does not follow.

        Args:
            dense: the rows of X that are not zero, len(rows) × d.
            rows: int64, each at most once.
        """
        pointer, columns, values = self._stored(True)
        place = columns.new_full((self.shape[0],), -1)
        place[rows] = torch.arange(len(rows), dtype=columns.dtype, device=columns.device)
        source = place.index_select(0, columns)
        met = source >= 0
        # NumPy finds the places of scattered entries several times faster.
        entries = torch.from_numpy(np.flatnonzero(met.numpy())) if met.is_cpu else met.nonzero().squeeze(1)
        before = F.pad(met.cumsum(0, dtype=pointer.dtype), (1, 0)).index_select(0, pointer)
        return weighted_sums(before, source.index_select(0, entries), values.index_select(0, entries), dense)

    def _check(self, dense: Tensor, wanted: int) -> None:
        # The kernel itself reads no row beyond the table, but takes one that is too long.
        if len(dense) != wanted:
            raise ValueError(f"a sparse matrix of {self.shape} meets a table of {len(dense)} rows, not {wanted}")

    def dense(self) -> Tensor:
        """M as a dense tensor (small graphs and tests)."""
        return _matrix(*self._stored(False), self.shape[1]).to_dense()


def _matrix(pointer: Tensor, columns: Tensor, values: Tensor, width: int) -> Tensor:
    shape = (len(pointer) - 1, width)
    return torch.sparse_csr_tensor(pointer, columns, values, size=shape, check_invariants=False)


def weighted_sums(pointer: Tensor, columns: Tensor, values: Tensor, dense: Tensor) -> Tensor:
    """The product of a CSR matrix (`values` at `columns`, rows by `pointer`) with a dense one, as a new tensor that
    autograd does not follow; all of them on one device."""
    if dense.device.type != "cpu":
        return torch.sparse.mm(_matrix(pointer, columns, values, len(dense)), dense.contiguous())
    # On a CPU the kernel that sums bags of weighted rows is two to four times as fast as the sparse product.
    # Detached, or it would prepare for a backward pass of its own.
    rows = dense.detach().contiguous()
    return F.embedding_bag(columns, rows, pointer, mode="sum", per_sample_weights=values, include_last_offset=True)
