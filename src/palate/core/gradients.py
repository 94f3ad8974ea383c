"""Gradients that are formed by hand: what they may be asked for, and in which form they come."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor

_by_row = False


@contextmanager
def row_gradients() -> Generator[None, None, None]:
    """Within it, the gradient of a wide table of which a step met some rows may be those rows alone, a sparse tensor.

    It is for an optimiser that can take such a gradient, as `palate.optimise.adam` does: the others are zero, and a
    table of zeros is not free.
    """
    global _by_row
    before, _by_row = _by_row, True
    try:
        yield
    finally:
        _by_row = before


def by_row() -> bool:
    """Whether `row_gradients` is on."""
    return _by_row


def gradient_of_rows(rows: Tensor, values: Tensor, count: int) -> Tensor:
    """A table that is zero but for some rows, as a sparse tensor.

    Args:
        rows: int64, B; ascending and each once, or `rows_of` will have to sort them.
        values: of these rows, B × d.
        count: rows of the table.
    """
    return torch.sparse_coo_tensor(rows.unsqueeze(0), values, (count, values.shape[1]), check_invariants=False)


def rows_of(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of a sparse gradient, ascending and each once (int64, B), and their values (B × d)."""
    # Autograd forgets that they are in order, and `coalesce` would copy all of them to find out.
    if not bool((gradient._indices()[0].diff() > 0).all()):
        gradient = gradient.coalesce()
    return gradient._indices()[0], gradient._values()


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
