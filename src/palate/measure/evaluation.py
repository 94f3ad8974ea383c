"""Full-ranking evaluation of a Scorer against held-out positives: all items are candidates, always."""

from __future__ import annotations

import numpy as np

from palate.graph.rows import Rows
from palate.measure.metrics import CUTS, Accuracy, accuracy, hits
from palate.measure.ranking import Scored, top_items


def evaluate(scorer: Scored, positives: Rows, mask: Rows, *, seed: int = 0, cuts: tuple[int, ...] = CUTS) -> Accuracy:
    """Rank all items for every user with a held-out positive and measure the lists.

    Args:
        scorer: scores all items for a block of users.
        positives: U rows of held-out positive items.
        mask: U rows of items that are no candidates (train items; at test also validation items).
        seed: of the tie-breaking.
        cuts: list lengths.
    """
    users = np.flatnonzero(positives.lengths)
    items, _ = top_items(scorer, users, max(cuts), mask=mask, seed=seed)
    held_out = positives.take(users)
    local = np.arange(len(users), dtype=np.int64)
    return Accuracy(users, accuracy(hits(items, local, held_out), held_out.lengths, cuts))
