"""Full-ranking evaluation of a Scorer against held-out positives: all items are candidates, always.

Lists are ranked once and may be measured in several ways: whole, by slice, and beyond accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palate.core.seeds import numpy_generator
from palate.graph.rows import Rows
from palate.measure.metrics import CUTS, Accuracy, Values, accuracy, hits
from palate.measure.ranking import Masking, ranked_blocks
from palate.models.base import Scorer

# Users whose lists are measured together.
BLOCK_USERS = 4096
Block = tuple[NDArray[np.int64], NDArray[np.int64]]


def of_some(positives: Rows, count: int, stream: str, seed: int = 0) -> Rows:
    """The held-out positives of `count` users, drawn at random among those who have any; all, where these are no more.

    Args:
        positives: U rows of held-out positive items.
        count: users.
        stream: what they are drawn for; other streams draw others.
        seed: of the draw.

    Returns:
        U rows, those of the others empty.
    """
    users = np.flatnonzero(positives.lengths)
    if len(users) <= count:
        return positives
    chosen = np.zeros(positives.count, dtype=np.bool_)
    chosen[numpy_generator(seed, stream).choice(users, count, replace=False)] = True
    rows = positives.row_of_entry()
    kept = chosen[rows]
    return Rows.from_pairs(rows[kept], positives.columns[kept], positives.count, positives.width)


@dataclass(frozen=True, eq=False)
class Lists:
    """Ranked lists of some users.

    Attributes:
        users: int64, n row numbers.
        items: int64, n × k, best first; -1 where a user has no candidate left.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]

    def blocks(self, size: int = BLOCK_USERS) -> Iterator[Block]:
        """The lists in runs of `size` users: (users, items)."""
        for start in range(0, len(self.users), size):
            yield self.users[start : start + size], self.items[start : start + size]

    def check_depth(self, cuts: tuple[int, ...], items: int) -> None:
        """Refuse list lengths that these lists do not hold.

        Raises:
            ValueError: when they end before the longest cut although there are more items.
        """
        if self.items.shape[1] < min(max(cuts), items):
            raise ValueError(f"lists of {self.items.shape[1]} items cannot be measured at {max(cuts)}")


def ranked_lists(
    scorer: Scorer, positives: Rows, mask: Masking, *, seed: int = 0, depth: int = max(CUTS), title: str = ""
) -> Lists:
    """The ranked lists of every user with a held-out positive, to be measured in several ways.

    Args:
        scorer: scores all items for a block of users.
        positives: U rows of held-out positive items.
        mask: U rows of items that are no candidates.
        seed: of the tie-breaking.
        depth: list length; cut to the number of items.
        title: show progress under this title; empty: show none.

    Raises:
        TrainingError: when a score is NaN.
    """
    users = np.flatnonzero(positives.lengths)
    items = np.empty((len(users), min(depth, scorer.items)), dtype=np.int64)
    done = 0
    for block, best, _ in ranked_blocks(scorer, users, depth, mask=mask, seed=seed, title=title):
        items[done : done + len(block)] = best
        done += len(block)
    return Lists(users, items)


def evaluate(
    scorer: Scorer,
    positives: Rows,
    mask: Masking,
    *,
    seed: int = 0,
    cuts: tuple[int, ...] = CUTS,
    title: str = "",
) -> Accuracy:
    """Rank all items for every user with a held-out positive and measure the lists.

    Args:
        scorer: scores all items for a block of users.
        positives: U rows of held-out positive items.
        mask: U rows of items that are no candidates (train items; at test also validation items).
        seed: of the tie-breaking.
        cuts: list lengths.
        title: show progress under this title; empty: show none.
    """
    users = np.flatnonzero(positives.lengths)
    ranked = ranked_blocks(scorer, users, max(cuts), mask=mask, seed=seed, title=title)
    return _measured(((block, items) for block, items, _ in ranked), positives, cuts)


def accuracy_of(lists: Lists, positives: Rows, *, cuts: tuple[int, ...] = CUTS) -> Accuracy:
    """Measure lists that were ranked before; the same as `evaluate` to the last bit.

    Args:
        lists: ranked lists.
        positives: U rows of the items that count as hits; users of the lists without one are not measured.
        cuts: list lengths.

    Raises:
        ValueError: when the lists are shorter than the longest cut.
    """
    lists.check_depth(cuts, positives.width)
    return _measured(lists.blocks(), positives, cuts)


def _measured(blocks: Iterable[Block], positives: Rows, cuts: tuple[int, ...]) -> Accuracy:
    users: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    parts: list[dict[str, Values]] = [accuracy(np.zeros((0, max(cuts)), dtype=np.bool_), users[0], cuts)]
    for block, items in blocks:
        counted = positives.lengths[block] > 0
        block, items = block[counted], items[counted]
        held_out = positives.take(block)
        hit = hits(items, np.arange(len(block), dtype=np.int64), held_out)
        users.append(block)
        parts.append(accuracy(hit, held_out.lengths, cuts))
    return Accuracy(np.concatenate(users), {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
