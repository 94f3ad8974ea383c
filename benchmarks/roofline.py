"""What a step must move and compute at the least: bytes of the sparse products and of Adam, flops of the dense ones.

The estimate counts what really ran: dense products by torch's own counter, sparse ones as they are called. It leaves
out elementwise work, gathers and randomness, so that a step can come near it and not below.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from palate.graph.operator import SparseOperator


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


@contextmanager
def _counting(work: Work) -> Generator[None, None, None]:
    whole = SparseOperator.forward

    def counted(self: SparseOperator, dense: Tensor) -> Tensor:
        nonzeros, width, size = self.get_buffer("forward_values").numel(), dense.shape[1], dense.element_size()
        # Indices and values once, each input row once at the least, each output row once; the backward the same.
        once = nonzeros * (4 + size) + (self.shape[0] + self.shape[1]) * width * size
        work.bytes += once * (2 if dense.requires_grad else 1)
        return whole(self, dense)

    SparseOperator.forward = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        SparseOperator.forward = whole  # type: ignore[method-assign]


def _narrow(left: tuple[int, int], right: tuple[int, int], *_: object, **__: object) -> int:
    """Operations of the product that `palate.models.projecting` calls; torch's counter knows it not."""
    return 2 * left[0] * left[1] * right[0]


def work_of(module: nn.Module, step: Callable[[], Tensor]) -> Work:
    """Count one forward and backward, and the Adam step that follows.

    Args:
        module: whose parameters are trained.
        step: gives the loss.
    """
    work = Work()
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.mkldnn._linear_pointwise: _narrow})
    with _counting(work), counter:
        step().backward()
    work.flops = float(counter.get_total_flops())
    trained = sum(value.numel() for value in module.parameters() if value.grad is not None)
    # Parameter, gradient and two moments are read, all but the gradient are written.
    work.bytes += 7 * 4 * trained
    module.zero_grad(set_to_none=True)
    torch.set_grad_enabled(True)
    return work
