"""Blocked exact nearest neighbours by cosine: every row of a matrix and the rows that point the most alike.

Takes a dense matrix; gives the neighbours of each row in CSR form with their cosines. Memory is one block of rows
against all, whatever the number of rows.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from palate.core.dense import times
from palate.graph.rows import IntArray, Rows
from palate.graph.ties import Priorities, best

# Cosines, or features, held at once: 16 MB in single precision; more are no faster.
CELLS = 1 << 22
# What the priorities are for that decide between rows of the same cosine.
STREAM = "content"
# From so many rows on the faster product is worth what it keeps of each size; a few new items may be of any number.
LARGE = 4096


def nearest(
    matrix: NDArray[np.float32],
    k: int,
    *,
    present: NDArray[np.bool_] | None = None,
    itself: bool = False,
    names: IntArray | None = None,
    cells: int = CELLS,
) -> tuple[Rows, NDArray[np.float64]]:
    """The k rows of largest cosine for each row, in torch's default precision; of equal ones some at random.

    Args:
        matrix: n × D.
        k: neighbours of a row; fewer where there are fewer candidates.
        present: rows that take part; the others have no neighbours and are nobody's. None: all.
        itself: count a row among its own neighbours, also where k others have the same direction.
        names: a number of each row that decides ties, wherever the row stands; None: its place.
        cells: cosines to hold at once.

    Returns:
        The neighbours of each row (n × n, columns ascending within a row), and the cosine of each stored pair.
    """
    count = len(matrix)
    chosen = np.arange(count) if present is None else np.flatnonzero(present)
    unit = _unit_rows(matrix, chosen)
    wanted = min(k, len(chosen) - (not itself))
    if wanted < 1:
        return Rows(np.zeros(count + 1, np.int64), np.zeros(0, np.int32), count), np.zeros(0)
    step = max(1, cells // len(chosen))
    named = chosen if names is None else names[chosen]
    priorities = Priorities.named(named, STREAM)
    # Small tables that stay, made among blocks that come and go, would leave no room for the next block.
    places = torch.empty(len(chosen), wanted, dtype=torch.int64)
    cosines = torch.empty(len(chosen), wanted, dtype=unit.dtype)
    for start in range(0, len(chosen), step):
        block = times(unit[start : start + step], unit, len(unit) >= LARGE)
        own = torch.arange(len(block)), torch.arange(start, start + len(block))
        cosine = block[own]
        block[own] = torch.inf if itself else -torch.inf
        _, place = best(block, wanted, priorities, named[start : start + step])
        block[own] = cosine
        place = place.sort(dim=1).values
        places[start : start + step], cosines[start : start + step] = place, block.gather(1, place)
    found = Rows.from_pairs(np.repeat(chosen, wanted), chosen[places.numpy().ravel()], count, count)
    return found, cosines.double().numpy().ravel()


def _unit_rows(matrix: NDArray[np.float32], chosen: NDArray[np.int64]) -> Tensor:
    """The chosen rows at unit length, in torch's default precision; no other copy of them is made."""
    unit = torch.empty(len(chosen), matrix.shape[1])
    step = max(1, CELLS // max(1, matrix.shape[1]))
    for start in range(0, len(chosen), step):
        block = torch.tensor(matrix[chosen[start : start + step]], dtype=unit.dtype)
        unit[start : start + step] = F.normalize(block, dim=1)
    return unit


def nearest_to(
    row: int, matrix: NDArray[np.float32], k: int, *, present: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k other rows of largest cosine to one row, nearest first, as `nearest` would find them, and their cosines.

    Rows that are equal but for rounding may fall otherwise: their cosines are summed in another order.

    Args:
        row: which one.
        matrix: n × D; memory-mapped or not: no copy of it is made.
        k: neighbours; fewer where there are fewer candidates.
        present: rows that take part; when `row` does not, it has no neighbours. None: all.
    """
    wanted = min(k, len(matrix) - 1 if present is None else int(present.sum()) - 1)
    if wanted < 1 or (present is not None and not present[row]):
        return np.zeros(0, np.int64), np.zeros(0)
    own = F.normalize(torch.tensor(matrix[row], dtype=torch.get_default_dtype()), dim=0)
    cosines = torch.empty(len(matrix), dtype=own.dtype)
    step = max(1, CELLS // matrix.shape[1])
    for start in range(0, len(matrix), step):
        block = torch.tensor(matrix[start : start + step], dtype=own.dtype)
        cosines[start : start + step] = F.normalize(block, dim=1) @ own
    if present is not None:
        cosines[torch.from_numpy(~present)] = -torch.inf
    cosines[row] = -torch.inf
    priorities = Priorities.named(np.arange(len(matrix)), STREAM)
    values, places = best(cosines.unsqueeze(0), wanted, priorities, np.array([row]))
    return places[0].numpy(), values[0].double().numpy()
