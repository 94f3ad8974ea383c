"""What a model is built from, and all it ever sees of a data set."""

from __future__ import annotations

from dataclasses import dataclass

from palate.encode.features import Features
from palate.graph.bipartite import Bipartite
from palate.graph.rows import Rows


@dataclass(frozen=True, eq=False)
class ModelInputs:
    """Counts, the train graph and the features; row i of each feature matrix is item i.

    Attributes:
        users, items: U and I.
        train: the positive train interactions, both CSR ways.
        seen: every train interaction whatever its rating; negatives are not drawn from it.
        features: modality → N × D float32 rows with a presence mask.
        dislikes: train interactions rated as disliked, each user's in order of time; None without ratings.
    """

    users: int
    items: int
    train: Bipartite
    seen: Rows
    features: dict[str, Features]
    dislikes: Rows | None = None
