"""The item graph of content: every item and the items whose features point the most alike, normalised by degrees.

Takes a feature matrix; gives S, by which representations of items are mixed with those of similar items.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from palate.graph.bipartite import inverse_root
from palate.graph.neighbours import nearest
from palate.graph.operator import SparseOperator
from palate.graph.rows import IntArray, Rows


def similarity_graph(
    matrix: NDArray[np.float32],
    k: int,
    *,
    present: NDArray[np.bool_] | None = None,
    symmetrise: bool = True,
    clip: bool = True,
    names: IntArray | None = None,
) -> SparseOperator:
    """S = r^-1/2 K r^-1/2, K the cosines of each row with its k nearest and r the row sums of K, used on both sides.

    Args:
        matrix: n × D.
        k: neighbours of a row, itself among them.
        present: rows that take part; the others have neither rows nor columns in S. None: all.
        symmetrise: an edge where either of two rows has the other among its nearest; else S is not symmetric.
        names: decide ties, see `nearest`.
        clip: negative cosines count as 0; a row whose cosines do not add up to more than 0 has a zero row.
    """
    structure, values = nearest(matrix, k, present=present, itself=True, names=names)
    if symmetrise:
        structure, values = either_way(structure, values)
    if clip:
        values = np.maximum(values, 0.0)
    rows = structure.row_of_entry()
    scale = inverse_root(np.bincount(rows, weights=values, minlength=structure.count).astype(np.float64))
    return SparseOperator(structure, scale[rows] * values * scale[structure.columns], symmetric=symmetrise)


def either_way(structure: Rows, values: NDArray[np.float64]) -> tuple[Rows, NDArray[np.float64]]:
    """The pairs of `structure` and their mirror images, each once, columns ascending.

    Args:
        structure: n × n.
        values: one for each stored pair; of a pair and its mirror image the first one counts.
    """
    count = structure.count
    rows, columns = structure.row_of_entry(), structure.columns.astype(np.int64)
    low, high = np.minimum(rows, columns), np.maximum(rows, columns)
    keys, first = np.unique(low * count + high, return_index=True)
    low, high = np.divmod(keys, count)
    off = low != high
    every = np.concatenate([keys, high[off] * count + low[off]])
    order = np.argsort(every)
    kept = np.concatenate([values[first], values[first][off]])[order]
    rows, columns = np.divmod(every[order], count)
    return Rows.from_pairs(rows, columns, count, count), kept
