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
        column_key = self.column_key if columns is None else self.column_key[columns.cpu()]
        priority = _mixed(column_key, _row_key(rows)[:, None])
        return priority if columns is None else priority.to(columns.device)

    def of_pairs(self, rows: NDArray[np.int64], columns: Tensor) -> Tensor:
        """The priorities of single pairs, n and n → n."""
        return _mixed(self.column_key[columns.cpu()], _row_key(rows)).to(columns.device)


def _row_key(rows: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(rows * 0x9E3779B1 % 2**31)


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
    for some, far in ((tied & ~beyond).nonzero()[:, 0], False), (beyond.nonzero()[:, 0], True):
        if len(some):
            own, owners, found = scores[some], rows[some.cpu().numpy()], columns[some]
            if far:
                found = _with_tied(own, found[:, :count], values[some, :count], priorities, owners)
            columns[some, :count] = by_score_and_priority(own, found, priorities.of(owners, found))[:, :count]
    columns = columns[:, :count]
    return scores.gather(1, columns), columns


def _with_tied(
    scores: Tensor, columns: Tensor, values: Tensor, priorities: Priorities, rows: NDArray[np.int64]
) -> Tensor:
    """The best columns of rows whose last one is tied with others: of these, those of the highest priority.

    Args:
        columns, values: the best of each row, best first, the tied ones any; B × k.
    """
    last = values[:, -1:]
    above = (values > last).sum(1, keepdim=True) + values.isnan().sum(1, keepdim=True)
    row, column = (scores == last).nonzero(as_tuple=True)
    number = torch.bincount(row, minlength=len(scores))
    place = torch.arange(len(row), device=row.device) - (number.cumsum(0) - number)[row]
    # Side by side, those of each row from the left.
    priority = row.new_full((len(scores), int(number.max())), -1)
    priority[row, place] = priorities.of_pairs(rows[row.cpu().numpy()], column)
    theirs = torch.zeros_like(priority)
    theirs[row, place] = column
    chosen = theirs.gather(1, torch.topk(priority, min(columns.shape[1], priority.shape[1]), dim=1).indices)
    rank = torch.arange(columns.shape[1], device=row.device) - above
    return torch.where(rank < 0, columns, chosen.gather(1, rank.clamp(0, chosen.shape[1] - 1)))


def by_score_and_priority(scores: Tensor, columns: Tensor, priority: Tensor) -> Tensor:
    """`columns` of each row, best score first, equal scores by descending priority."""
    columns = columns.gather(1, priority.argsort(dim=1, descending=True, stable=True))
    return columns.gather(1, scores.gather(1, columns).argsort(dim=1, descending=True, stable=True))
