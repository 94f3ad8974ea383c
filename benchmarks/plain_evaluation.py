"""A full evaluation as one would write it first: what `palate.measure.evaluation` is measured against."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from palate.graph.rows import Rows
from palate.measure.metrics import CUTS
from palate.models.base import Embeddings

NAMES = ("recall", "ndcg", "precision", "map", "mrr", "hit")
USERS = 4096


def evaluation(
    embed: Callable[[], Embeddings], held_out: Rows, seen: Rows, cuts: tuple[int, ...] = CUTS
) -> dict[str, float]:
    """All metrics of all users with a held-out item: a forward pass for each block, and loops over their lists."""
    users = np.flatnonzero(held_out.lengths)
    found: dict[str, list[float]] = {f"{name}@{cut}": [] for cut in cuts for name in NAMES}
    for start in range(0, len(users), USERS):
        block = users[start : start + USERS]
        vectors = embed()
        scores = vectors.user[torch.from_numpy(block)] @ vectors.item.T
        hidden = [(row, item) for row, user in enumerate(block) for item in seen[int(user)].tolist()]
        row, column = torch.tensor(hidden).T
        scores[row, column] = -1e10
        lists = torch.topk(scores, max(cuts), dim=1).indices.tolist()
        for user, items in zip(block, lists, strict=True):
            wanted = held_out[int(user)].tolist()
            hits = [item in wanted for item in items]
            for cut in cuts:
                for name, value in zip(NAMES, metrics(hits[:cut], len(wanted), cut), strict=True):
                    found[f"{name}@{cut}"].append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def metrics(hits: list[bool], wanted: int, cut: int) -> tuple[float, ...]:
    """`NAMES` of one list of hits."""
    count, gain, precision, first = 0, 0.0, 0.0, 0.0
    for rank, hit in enumerate(hits, 1):
        if hit:
            count += 1
            gain += 1 / math.log2(rank + 1)
            precision += count / rank
            first = first or 1 / rank
    best = min(wanted, cut)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, best + 1))
    return count / wanted, gain / ideal, count / cut, precision / best, first, float(count > 0)
