"""The product of two sparse matrices, some rows at a time, as a dense block: item–item counts, walks and scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from palate.graph.rows import Rows

# Products of two entries that are written out at once, a few tens of megabytes.
PRODUCTS = 1 << 21


def product_block(
    left: Rows, right: Rows, values: NDArray[np.floating] | None = None, *, products: int = PRODUCTS
) -> NDArray[np.float64]:
    """L M, where each stored entry of L is 1 and those of M are `values`.

    The sum of a cell is taken in the order of the entries of its row of L, whatever other rows there are.

    Args:
        left: L, n × m; its rows make up the block.
        right: M, m × w.
        values: one for each stored pair of `right`; None: ones.
        products: of two entries, to hold at once; one row's may be more.

    Returns:
        n × w.
    """
    width = right.width
    block = np.zeros((left.count, width))
    if left.size == 0:
        return block
    needed = np.concatenate([[0], np.cumsum(right.lengths[left.columns])])[left.pointer[1:]]
    cuts = np.flatnonzero(np.diff((needed - 1) // products)) + 1
    for rows in np.split(np.arange(left.count), cuts):
        some = left.take(rows)
        lengths = right.lengths[some.columns]
        begins = np.cumsum(lengths) - lengths
        entry = np.repeat(right.pointer[some.columns] - begins, lengths) + np.arange(lengths.sum())
        cell = np.repeat(some.row_of_entry() * width, lengths) + right.columns[entry]
        weights = None if values is None else values[entry]
        block[rows] = np.bincount(cell, weights=weights, minlength=len(rows) * width).reshape(len(rows), width)
    return block
