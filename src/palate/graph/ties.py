"""The best columns of each row where some score the same: a seeded random priority of the pair decides.

Neither the place of a column nor that of a row says anything then, and a row has the same columns whatever is worked
on with it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palate.core.seeds import derive_seed, torch_generator
from palate.graph.largest import largest
from palate.graph.rows import IntArray

# Columns looked at beyond those that are wanted, among which most ties are settled.
SPARE = 8


class Priorities:
    """Random priorities of (row, column) pairs, 31 bits each.

    A pair's priority mixes a row's and a column's random number, so that every row has an order of its own without a
    table of all pairs.

    Args:
        columns: their number.
        seed: of the numbers.
    """

    def __init__(self, columns: int, seed: int) -> None:
        self.column_key = torch.randint(0, 2**31, (columns,), generator=torch_generator(seed, "ties"))

    @classmethod
    def named(cls, names: IntArray, stream: str) -> Priorities:
        """Of columns that have a number of their own each, whatever their place.

        Args:
            names: those numbers, below 2^31.
            stream: what the priorities are for; two streams have nothing to do with each other.
        """
        made = cls(0, 0)
        made.column_key = _mixed(torch.from_numpy(names), torch.tensor(derive_seed(0, "ties", stream)))
        return made

    def among(self, columns: Tensor) -> Priorities:
        """Those of some columns (int64), which are then numbered in that order: ties fall as among all of them."""
        some = Priorities(0, 0)
        some.column_key = self.column_key[columns]
        return some

    def of(self, rows: NDArray[np.int64], columns: Tensor | None = None) -> Tensor:
        """The priorities of `columns` (len(rows) × n; None: all columns) for each row: len(rows) × n."""
        row_key = torch.from_numpy(rows * 0x9E3779B1 % 2**31)[:, None]
        column_key = self.column_key if columns is None else self.column_key[columns.cpu()]
        priority = _mixed(column_key, row_key)
        return priority if columns is None else priority.to(columns.device)


def _mixed(key: Tensor, with_key: Tensor) -> Tensor:
    mixed = (key ^ with_key) * 0x2545F4914F6CDD1D
    # Twice, or some distant pairs of rows would share much of their order.
    mixed = (mixed ^ (mixed >> 32)) * 0x2545F4914F6CDD1D
    return (mixed >> 33) & 0x7FFFFFFF


def best(
    scores: Tensor, count: int, priorities: Priorities, rows: NDArray[np.int64], *, above: float | None = None
) -> tuple[Tensor, Tensor]:
    """The `count` best columns of each row, best first, NaN before all; equal scores by descending priority.

    Args:
        scores: B × n.
        count: at most n.
        priorities: of the n columns.
        rows: the numbers of the rows that go into their priorities, B.
        above: scores that are no larger need not be in any order; None: all are.

    Returns:
        Their scores, B × count, and which columns they are (int64).
    """
    values, columns = largest(scores, min(count + SPARE, scores.shape[1]))
    tied = (values[:, 1:] == values[:, :-1])[:, :count]
    if above is not None:
        tied &= values[:, :-1][:, :count] > above
    tied = tied.any(1)
    # A tie at the end may reach beyond what was looked at; then all columns are looked at.
    last = values[:, count - 1] if count else values.new_zeros(len(values))
    beyond = tied & (values[:, -1] == last) & (values.shape[1] < scores.shape[1])
    if above is not None:
        beyond &= last > above
    near, far = (tied & ~beyond).nonzero()[:, 0], beyond.nonzero()[:, 0]
    for some in (near, far):
        if len(some):
            own, owners = scores[some], rows[some.cpu().numpy()]
            found = _everywhere(own, priorities, owners, count) if some is far else columns[some]
            columns[some, :count] = by_score_and_priority(own, found, priorities.of(owners, found))[:, :count]
    columns = columns[:, :count]
    return scores.gather(1, columns), columns


def _everywhere(scores: Tensor, priorities: Priorities, rows: NDArray[np.int64], count: int) -> Tensor:
    """The best columns of each row by (score, priority), in no order: all pairs are looked at."""
    threshold = torch.topk(scores, count, dim=1).values[:, -1:]
    # All above the threshold enter, and what is no number; at the threshold those of the highest priority.
    level = torch.where(scores < threshold, 0.0, torch.where(scores == threshold, 1.0, 2.0)).double()
    return torch.topk(level + priorities.of(rows).to(scores.device).double() / 2**31, count, dim=1).indices


def by_score_and_priority(scores: Tensor, columns: Tensor, priority: Tensor) -> Tensor:
    """`columns` of each row, best score first, equal scores by descending priority."""
    columns = columns.gather(1, priority.argsort(dim=1, descending=True, stable=True))
    return columns.gather(1, scores.gather(1, columns).argsort(dim=1, descending=True, stable=True))
