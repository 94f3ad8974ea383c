"""What a step must move and compute at the least: bytes of the sparse products and of Adam, flops of the dense ones.

The estimate counts what really ran: dense products by torch's own counter, sparse ones where torch runs them (the
differences of feature rows among them, which are such products). It leaves out elementwise work, other gathers and
randomness, so that a step can come near it and not below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


@dataclass
class Work:
    """Of one step.

    Attributes:
        flops: of dense products, forward and backward.
        bytes: that sparse products and the optimiser must move.
    """

    flops: float = 0.0
    bytes: float = 0.0

    def seconds(self, bandwidth: float, rate: float) -> float:
        """At full speed: the two cannot overlap on a CPU whose cores do both."""
        return self.flops / rate + self.bytes / bandwidth


class _SparseProducts(TorchDispatchMode):
    """Adds the bytes of every sum of weighted rows, the kernel of all of Palate's sparse products, in both passes."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket in (torch.ops.aten._embedding_bag, torch.ops.aten._embedding_bag_forward_only):
            table, columns, pointer = args[:3]
            size = table.element_size()
            # Indices and values once, each row that can be met once at the least, each row of the product once.
            rows = min(len(table), len(columns)) + len(pointer) - 1
            self.work.bytes += len(columns) * (columns.element_size() + size) + rows * table.shape[1] * size
        return func(*args, **(kwargs or {}))


def _narrow(left: tuple[int, int], right: tuple[int, int], *_: object, **__: object) -> int:
    """Operations of the product that `palate.models.projecting` calls; torch's counter knows it not."""
    return 2 * left[0] * left[1] * right[0]


def _added(_: object, left: tuple[int, int], right: tuple[int, ...], *__: object, **___: object) -> int:
    """Operations of a product that is added to something."""
    return 2 * left[0] * left[1] * (right[1] if len(right) > 1 else 1)


def _vector(left: tuple[int, int], *_: object, **__: object) -> int:
    """Operations of a matrix times a vector."""
    return 2 * left[0] * left[1]


# What torch's counter does not know: the product of `palate.core.dense`, and products in place or with vectors.
COUNTED = {
    torch.ops.mkldnn._linear_pointwise: _narrow,
    torch.ops.aten.addmm_: _added,
    torch.ops.aten.addmv: _added,
    torch.ops.aten.addmv_: _added,
    torch.ops.aten.mv: _vector,
}


def work_of(module: nn.Module, step: Callable[[], Tensor]) -> Work:
    """Count one forward and backward, and the Adam step that follows.

    Args:
        module: whose parameters are trained.
        step: gives the loss.
    """
    work = Work()
    counter = FlopCounterMode(display=False, custom_mapping=COUNTED)
    with _SparseProducts(work), counter:
        step().backward()
    work.flops = float(counter.get_total_flops())
    trained = sum(value.numel() for value in module.parameters() if value.grad is not None)
    # Parameter, gradient and two moments are read, all but the gradient are written.
    work.bytes += 7 * 4 * trained
    module.zero_grad(set_to_none=True)
    torch.set_grad_enabled(True)
    return work
