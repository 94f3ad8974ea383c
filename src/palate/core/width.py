"""Every sum over embedding columns, so that the columns may be spread over several processes.

Propagation acts on each embedding column alone: P processes can each hold d/P columns of all users and items and
propagate without talking. What mixes columns (inner products, norms, cosines, linear layers) goes through this
module. In one process these functions are plain torch. After `spread(group)` each process passes its own columns and
all of them get the same sums.

Every process is expected to compute the same loss from these sums; the gradient of a sum is then the gradient that
each process already holds. Gradients are sent back by a layer that mixes columns, and by a sum that acts on columns
again (`onto_columns`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.dense import linear, plain_linear
from palate.core.errors import ConfigError
from palate.core.gradients import once

_group: dist.ProcessGroup | None = None


def spread(group: dist.ProcessGroup | None) -> None:
    """Share the embedding columns among the processes of `group`; None returns to one process."""
    global _group
    _group = group


def _size() -> int:
    return 1 if _group is None else dist.get_world_size(_group)


def first_column(own: int) -> int:
    """The place of this process's first column among all columns, when each process holds `own`."""
    return 0 if _group is None else dist.get_rank(_group) * own


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, partial: Tensor) -> Tensor:
        total = partial.contiguous().clone()
        dist.all_reduce(total, group=_group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class _Share(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        once()
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total, group=_group)
        return total


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        ctx.columns = own.shape[-1]
        parts = [torch.empty_like(own) for _ in range(_size())]
        dist.all_gather(parts, own.contiguous(), group=_group)
        return torch.cat(parts, dim=-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        once()
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total, group=_group)
        first = first_column(ctx.columns)
        return total[..., first : first + ctx.columns]


class _Whole(_Gather):
    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        once()
        first = first_column(ctx.columns)
        return gradients[0][..., first : first + ctx.columns]


def total(partial: Tensor) -> Tensor:
    """The sum over processes of what each summed over its own columns."""
    return partial if _group is None else _Sum.apply(partial)


def onto_columns(values: Tensor) -> Tensor:
    """The same values, about to act on own columns: a weight, a gate or a norm that each process multiplies with them.

    Such a value is used by every process on other columns, so its gradient is the sum of what they hold.
    """
    return values if _group is None else _Share.apply(values)


def inner(left: Tensor, right: Tensor) -> Tensor:
    """Inner products of matching rows: n × d, n × d → n."""
    return total((left * right).sum(-1))


def squared_norm(rows: Tensor) -> Tensor:
    """Squared Euclidean norm of each row: n × d → n."""
    return inner(rows, rows)


def norm(rows: Tensor) -> Tensor:
    """Euclidean norm of each row: n × d → n."""
    return torch.linalg.vector_norm(rows, dim=-1) if _group is None else _root(total(rows.square().sum(-1)))


def table_norm(table: Tensor) -> Tensor:
    """Frobenius norm of a whole table, a scalar."""
    return torch.linalg.vector_norm(table) if _group is None else _root(total(table.square().sum()))


def _root(squares: Tensor) -> Tensor:
    # Like vector_norm, a zero row has a zero gradient rather than an infinite one.
    return squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt()


def normalize(rows: Tensor, floor: float = 1e-12) -> Tensor:
    """L2(x) = x / max(‖x‖, floor) by row."""
    return rows / onto_columns(norm(rows).clamp_min(floor)).unsqueeze(-1)


def cosine(left: Tensor, right: Tensor, floor: float = 1e-8) -> Tensor:
    """Cosines of matching rows, each norm at least `floor`: n × d, n × d → n.

    A row shorter than that has no direction, and its cosine no gradient: the formula's is a hundred million times that
    of a row of length 1, and an optimiser that goes by the size of gradients would be a long time getting over it.
    """
    products, lengths = inner(left, right), (norm(left), norm(right))
    cosines = products / (lengths[0].clamp_min(floor) * lengths[1].clamp_min(floor))
    short = torch.minimum(*lengths) < floor
    # On a GPU to look whether there are any would cost more than to leave them out.
    return cosines if short.is_cpu and not short.any() else torch.where(short, cosines.detach(), cosines)


def gram(left: Tensor, right: Tensor) -> Tensor:
    """Inner products of all pairs of rows: n × d, m × d → n × m."""
    return total(left @ right.T)


def whole_rows(columns: Tensor) -> Tensor:
    """The whole rows of a table of which each process holds its own columns, for what all of them compute alike.

    The gradient comes back to own columns without talking, since every process forms the same. Only rows of a batch
    are worth holding everywhere.
    """
    return columns if _group is None else _Whole.apply(columns)


class ColumnLinear(nn.Module):
    """y = x Wᵀ + b, a layer that mixes embedding columns; each process holds the weights of its own outputs.

    Args:
        inputs: width of x over all processes.
        outputs: width of y over all processes; a multiple of their number.
        bias: add b.

    Raises:
        ConfigError: when the processes cannot share the outputs evenly.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        if outputs % _size():
            raise ConfigError(f"an embedding width of {outputs} cannot be shared evenly by {_size()} processes")
        own = outputs // _size()
        self.weight = nn.Parameter(torch.empty(own, inputs))
        self.bias = nn.Parameter(torch.empty(own)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier-normal weights, zero bias."""
        nn.init.xavier_normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, *blocks: Tensor, common: bool = False, slope: float | None = None) -> Tensor:
        """y of x, n × d → n × outputs, own columns in, own columns out; several blocks are one x: [x1 ‖ x2 ‖ …].

        Args:
            blocks: n × d each.
            common: in training this number of rows comes again and again, that of all nodes or of a batch (see
                `core/dense.py`); where no gradients are recorded it may be any.
            slope: give LeakyReLU(y) with this slope below 0; None: y itself.
        """
        product = linear if common and torch.is_grad_enabled() else plain_linear
        first, *others = (block if _group is None else _Gather.apply(block) for block in blocks)
        if not others:
            return product(first, self.weight, self.bias, slope)
        # Blocks are multiplied one by one: they are never copied side by side, and each meets the same weights
        # however many processes share its columns.
        weight, *weights = self.weight.split([block.shape[1] for block in (first, *others)], dim=1)
        outputs = product(first, weight, self.bias)
        for block, weight in zip(others, weights, strict=True):
            outputs += product(block, weight)
        return outputs if slope is None else F.leaky_relu(outputs, slope, inplace=True)
