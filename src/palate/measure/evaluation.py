"""Full-ranking evaluation of a Scorer against held-out positives: all items are candidates, always."""

from __future__ import annotations

import numpy as np

from palate.graph.rows import Rows
from palate.measure.metrics import CUTS, Accuracy, Values, accuracy, hits
from palate.measure.ranking import Masking, ranked_blocks
from palate.models.base import Scorer


def evaluate(
    scorer: Scorer, positives: Rows, mask: Masking, *, seed: int = 0, cuts: tuple[int, ...] = CUTS
) -> Accuracy:
    """Rank all items for every user with a held-out positive and measure the lists.

    Args:
        scorer: scores all items for a block of users.
        positives: U rows of held-out positive items.
        mask: U rows of items that are no candidates (train items; at test also validation items).
        seed: of the tie-breaking.
        cuts: list lengths.
    """
    users = np.flatnonzero(positives.lengths)
    parts: list[dict[str, Values]] = []
    for block, items, _ in ranked_blocks(scorer, users, max(cuts), mask=mask, seed=seed):
        held_out = positives.take(block)
        hit = hits(items, np.arange(len(block), dtype=np.int64), held_out)
        parts.append(accuracy(hit, held_out.lengths, cuts))
    if not parts:
        parts = [accuracy(np.zeros((0, max(cuts)), dtype=np.bool_), np.zeros(0, dtype=np.int64), cuts)]
    return Accuracy(users, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
