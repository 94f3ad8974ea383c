"""What gradients formed by hand may be asked for."""

from __future__ import annotations

import torch


def once() -> None:
    """Refuse a second derivative; called first in the backward pass of a function whose gradient is formed by hand.

    Such a gradient is a constant to autograd, which would take its derivative for zero and say nothing.

    Raises:
        RuntimeError: in a backward pass that is itself recorded (`create_graph=True`).
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "this gradient was formed by hand and has no derivative of its own; "
            "take the second derivative (create_graph=True) of a loss that is written in torch's operations"
        )
