"""Accuracy of ranked lists: Recall, NDCG, Precision, MAP, MRR and Hit, for each user at once.

Takes ranked items and each user's held-out positives; gives one value per user, metric and list length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palate.graph.rows import Rows, contains

CUTS = (5, 10, 20, 50)
METRICS = tuple(f"{name}@{k}" for k in CUTS for name in ("recall", "ndcg", "precision", "map", "mrr", "hit"))
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Accuracy:
    """Metric values by user.

    Attributes:
        users: row numbers of the users that were measured, those with at least one positive.
        values: "recall@20" and so on → one value for each of them.
    """

    users: NDArray[np.int64]
    values: dict[str, Values]

    def means(self) -> dict[str, float]:
        """The mean over users of each metric; 0 when nobody was measured."""
        return {name: float(column.mean()) if len(column) else 0.0 for name, column in self.values.items()}


def hits(items: NDArray[np.int64], users: NDArray[np.int64], positives: Rows) -> NDArray[np.bool_]:
    """Which ranked items are positives of their user: len(users) × k."""
    keys = users[:, None] * positives.width + items
    return contains(positives.keys(), keys) & (items >= 0)


def accuracy(hit: NDArray[np.bool_], positives: NDArray[np.int64], cuts: tuple[int, ...] = CUTS) -> dict[str, Values]:
    """Metrics from hits.

    With n positives and hits h_1 … h_k in rank order:
    Recall = Σh / n; Precision = Σh / k; Hit = [Σh > 0]; MRR = 1 / rank of the first hit, 0 without one;
    NDCG = Σ h_r / log2(r + 1), divided by its value for min(n, k) hits on top;
    MAP = Σ h_r · Precision@r, divided by min(n, k) (the convention of this field; other tools divide by n).

    Args:
        hit: users × ranks; shorter lists count as misses beyond their end.
        positives: held-out positives of each user, at least 1.
        cuts: list lengths k.
    """
    depth = max(cuts)
    relevant = np.pad(hit, ((0, 0), (0, max(0, depth - hit.shape[1]))))[:, :depth].astype(np.float64)
    rank = np.arange(1, depth + 1)
    found = relevant.cumsum(1)
    discount = 1.0 / np.log2(rank + 1.0)
    gain = (relevant * discount).cumsum(1)
    ideal = discount.cumsum()
    precision_sum = (relevant * found / rank).cumsum(1)
    first = np.where(relevant.any(1), relevant.argmax(1) + 1, depth + 1)
    result: dict[str, Values] = {}
    for k in cuts:
        best = np.minimum(positives, k)
        result[f"recall@{k}"] = found[:, k - 1] / positives
        result[f"ndcg@{k}"] = gain[:, k - 1] / ideal[best - 1]
        result[f"precision@{k}"] = found[:, k - 1] / k
        result[f"map@{k}"] = precision_sum[:, k - 1] / best
        result[f"mrr@{k}"] = np.where(first <= k, 1.0 / first, 0.0)
        result[f"hit@{k}"] = (first <= k).astype(np.float64)
    return result
