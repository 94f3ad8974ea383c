"""Gradients that are formed by hand: what they may be asked for, and in which form they come."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor


class Factors(NamedTuple):
    """The gradient of a wide table of which a step met some rows: those rows are L R, the others zero.

    It is as wide as the table only once it is written out, a block at a time, where it is used.

    Attributes:
        rows: which they are (int64, n); in any order, and what comes twice counts twice.
        left: L, n × k.
        right: R, k × D.
    """

    rows: Tensor
    left: Tensor
    right: Tensor

    def in_order(self) -> Factors:
        """The same with ascending rows, each once."""
        if bool((self.rows.diff() > 0).all()):
            return self
        rows, place = torch.unique(self.rows, return_inverse=True)
        left = self.left.new_zeros(len(rows), self.left.shape[1]).index_add_(0, place, self.left)
        return Factors(rows, left, self.right)

    def written_out(self, count: int) -> Tensor:
        """The whole gradient of a table of `count` rows."""
        rows, left, right = self.in_order()
        return right.new_zeros(count, right.shape[1]).index_add_(0, rows, left @ right)


class RowGradients:
    """Gradients of an optimiser's tables that backward passes left as `Factors`.

    Args:
        tables: that may have such a gradient.
    """

    def __init__(self, tables: Iterable[Tensor]) -> None:
        self._tables = set(tables)
        self._found: dict[Tensor, Factors] = {}

    def take(self, table: Tensor, factors: Factors) -> bool:
        """Keep a gradient, whose R may be written to afterwards; False where `table` is another's, or has one."""
        if table not in self._tables or table in self._found:
            return False
        self._found[table] = factors._replace(right=factors.right.clone())
        return True

    def of(self, table: Tensor) -> Factors | None:
        """Of one table, rows in order; None when it has none."""
        found = self._found.get(table)
        return None if found is None else found.in_order()

    def clear(self) -> None:
        """Forget all."""
        self._found.clear()


_collected: RowGradients | None = None


@contextmanager
def row_gradients(collected: RowGradients) -> Generator[None, None, None]:
    """Within it, gradients of wide tables may go to `collected` as `Factors`: hooks of these tables, and what looks at
    their `.grad`, do not see them.

    It is for an optimiser that can take them, as `palate.optimise.adam` does: written out they are as large as the
    table, and mostly zeros.
    """
    global _collected
    before, _collected = _collected, collected
    try:
        yield
    finally:
        _collected = before


def gradient_of_rows(table: Tensor, factors: Factors) -> Tensor | None:
    """What the backward pass of a function returns for `table`: the gradient, or None where `row_gradients` has it."""
    if _collected is not None and _collected.take(table, factors):
        return None
    return factors.written_out(len(table))


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
