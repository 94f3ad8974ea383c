"""The item graph of CRMMAN (Hu et al., Applied Soft Computing 2023): items that share many neighbours in the knowledge.

Takes the set of neighbour entities of each item; gives an edge where |N_i ∩ N_j| > S_m. The counts are N Nᵀ, formed a
block of rows at a time, so that memory depends on the edges that are kept and not on the pairs that were counted.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import ConfigError, DataError
from palate.graph.rows import Int32Array, IntArray, Rows

# Counters held at once, and pairs written out at once: a few megabytes each, which is what fits the processor's cache.
CELLS = 1 << 19
# An entity of more than this share of the items is cheaper in a dense product than pair by pair.
HUB_SHARE = 1 / 8
# Undirected edges above which a graph is a mistake in the choice of S_m.
MOST_EDGES = 50_000_000


def sharing_graph(neighbours: Rows, threshold: int) -> Rows:
    """Items joined where they share more than `threshold` entities, |N_i ∩ N_j| > S_m.

    Args:
        neighbours: the entities of each item, items × entities, each entity at most once an item.
        threshold: S_m, 0 or more.

    Returns:
        The neighbours of each item, items × items: undirected, no self loops, ascending within a row.

    Raises:
        ConfigError: for a negative threshold.
        DataError: when there would be more than `MOST_EDGES` edges.
    """
    if threshold < 0:
        raise ConfigError(f"S_m must be 0 or more, it is {threshold}")
    firsts: list[Int32Array] = []
    seconds: list[Int32Array] = []
    edges = 0
    for start, counts in _shared_above(neighbours):
        row, offset = np.nonzero(counts > threshold)
        edges += len(row)
        if edges > MOST_EDGES:
            raise DataError(
                f"more than {MOST_EDGES:,} pairs of items share more than {threshold} entities",
                do="raise the threshold, or give a mean degree and let it be chosen",
            )
        firsts.append((row + start).astype(np.int32))
        seconds.append((offset + start).astype(np.int32))
    empty = [np.zeros(0, np.int32)]
    items = neighbours.count
    above = Rows.from_pairs(np.concatenate(firsts or empty), np.concatenate(seconds or empty), items, items)
    # The transpose holds the smaller neighbours of each item, so the joined rows ascend.
    return above.transpose().union(above)


def shared_counts(neighbours: Rows) -> IntArray:
    """How many pairs of items share exactly k entities, for k = 0, 1, …; pairs that share none are not counted."""
    histogram = np.zeros(2, dtype=np.int64)
    for _, counts in _shared_above(neighbours):
        found = np.bincount(counts[counts > 0])
        if len(found) > len(histogram):
            histogram = np.pad(histogram, (0, len(found) - len(histogram)))
        histogram[: len(found)] += found
    return histogram


def threshold_for_degree(neighbours: Rows, target: float) -> int:
    """The S_m that brings the mean degree nearest to `target`.

    The mean is over the items that have any neighbour entity: the others cannot have an edge. It falls in steps as S_m
    rises, and the steps can be coarse, so the mean may end up far from the target; of two that are equally near, the
    larger S_m (the sparser graph) is taken, and an empty graph never where there could be an edge.

    Args:
        neighbours: as in `sharing_graph`.
        target: the mean degree that is wanted, above 0.

    Raises:
        ConfigError: for a target that is not above 0.
    """
    if not target > 0:
        raise ConfigError(f"the mean degree must be above 0, it is {target:g}")
    histogram = shared_counts(neighbours)
    linked = max(int((neighbours.lengths > 0).sum()), 1)
    # Pairs that share more than S_m, for S_m = 0, 1, …; the last is always 0.
    above = histogram[::-1].cumsum()[::-1][1:]
    degrees = 2.0 * above[above > 0] / linked
    if len(degrees) == 0:
        return 0
    distance = np.abs(degrees - target)
    return int(np.flatnonzero(distance == distance.min())[-1])


def _shared_above(neighbours: Rows) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Blocks of the part of N Nᵀ above its diagonal.

    Yields:
        The first item `start` of a block, and its counts: entry (r, c) belongs to items start + r and start + c, and
        is 0 wherever c is not above r.
    """
    items = neighbours.count
    by_entity = neighbours.transpose()
    hub = by_entity.lengths > items * HUB_SHARE
    dense = _dense_columns(neighbours, hub)
    light = by_entity.take(np.flatnonzero(~hub))
    # Within an entity items ascend, so that an entry's partners above the diagonal are those that follow it.
    following = np.repeat(light.pointer[1:], light.lengths) - np.arange(light.size) - 1
    order = np.argsort(light.columns, kind="stable")
    first_entry = np.searchsorted(light.columns[order], np.arange(items + 1))
    start = 0
    while start < items:
        width = items - start
        stop = min(start + max(CELLS // width, 1), items)
        counts = np.zeros((stop - start) * width, dtype=np.int64)
        entries = order[first_entry[start] : first_entry[stop]]
        for part in _portions(entries, following[entries]):
            lengths = following[part]
            begins = lengths.cumsum() - lengths
            partner = np.repeat(part + 1 - begins, lengths) + np.arange(lengths.sum())
            cell = np.repeat((light.columns[part].astype(np.int64) - start) * width - start, lengths)
            counts += np.bincount(cell + light.columns[partner], minlength=len(counts))
        block = counts.reshape(stop - start, width)
        if dense.shape[1]:
            # Counts are whole numbers below 2^24, which float32 holds exactly.
            product = dense[start:stop] @ dense[start:].T
            product[np.tril_indices(stop - start)] = 0.0
            np.add(block, product, out=block, casting="unsafe")
        yield start, block
        start = stop


def _dense_columns(neighbours: Rows, chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The chosen columns of N as 0 and 1, items × number of chosen."""
    number = chosen.cumsum() - 1
    kept = chosen[neighbours.columns]
    dense = np.zeros((neighbours.count, int(chosen.sum())), dtype=np.float32)
    dense[neighbours.row_of_entry()[kept], number[neighbours.columns[kept]]] = 1.0
    return dense


def _portions(entries: IntArray, sizes: IntArray) -> Iterator[IntArray]:
    """Runs of `entries` whose sizes sum to about `CELLS` at most; an entry by itself may be larger."""
    portion = sizes.cumsum() // CELLS
    cuts = np.flatnonzero(np.diff(portion)) + 1
    for part in np.split(entries, cuts):
        if len(part):
            yield part
