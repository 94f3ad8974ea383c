"""What a model is built from, and all it ever sees of a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from palate.encode.features import Features
from palate.graph.bipartite import Bipartite
from palate.graph.rows import IntArray, Rows


@dataclass(frozen=True, eq=False)
class SourceNumbers:
    """The place of each user and item in the source. Only the leak canary may look at it.

    Attributes:
        user, item: int64, a permutation of 0 … U - 1 and of 0 … I - 1, by row number.
    """

    user: IntArray
    item: IntArray


@dataclass(frozen=True, eq=False)
class ModelInputs:
    """Counts, the train graph and the features; row i of each feature matrix is item i.

    Attributes:
        users, items: U and I.
        train: the positive train interactions, both CSR ways.
        seen: every train interaction whatever its rating; negatives are not drawn from it.
        features: modality → N × D float32 rows with a presence mask.
        dislikes: train interactions rated as disliked, each user's in order of time; None without ratings.
        entities: the entities that each item is linked to, items × entities; None without knowledge, and for models
            that do not read it.
        names: int64, a number of each item below 2^31 by which ties between neighbours fall; None: its row number,
            which is drawn at random as it is.
        numbers: gives the places in the source, for the leak canary alone.
    """

    users: int
    items: int
    train: Bipartite
    seen: Rows
    features: dict[str, Features]
    dislikes: Rows | None = None
    entities: Rows | None = None
    names: IntArray | None = None
    numbers: Callable[[], SourceNumbers] | None = None

    @property
    def likes(self) -> Rows:
        """The positive train items of each user, in order of time."""
        return self.train.by_user
