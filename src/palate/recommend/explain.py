"""What there is to say about a recommendation: which parts its score has, which items of the user's history are behind
it or near it, and what the item is like in each modality.

All of it are numbers of the model and of the features. Where a model's score is no sum of parts, there are none, and
where it knows nothing of items that are alike, nothing is said about the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from palate.dataset.dataset import Dataset
from palate.graph.neighbours import nearest_to
from palate.graph.rows import IntArray
from palate.measure.beyond import Described
from palate.models.base import Embeddings, Scorer
from palate.models.classical.ease import EASE
from palate.models.classical.neighbourhood import Neighbourhood
from palate.recommend.bundling import item_table
from palate.recommend.forms import Vectors, Weights

NEAR = 5
Basis = Literal["weight", "cosine"]


@dataclass(frozen=True, eq=False)
class Near:
    """Items with a number each, largest first.

    Attributes:
        items: int64, n.
        values: n.
    """

    items: IntArray
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Explanation:
    """One item for one user, in row numbers.

    Attributes:
        score: the model's.
        parts: named parts that add up to the score; empty where it is no sum of parts.
        history: items of the user's history.
        basis: what `history` says: "weight": what each item adds to the score, all of them together being the score;
            "cosine": how near each is to the item by the model's item vectors; None: the model compares no items.
        neighbours: modality → the items most like this one in it; without modalities that it lacks.
        rest: with weights, what the items of the history that are not in `history` add; else None.
    """

    score: float
    parts: dict[str, float]
    history: Near
    basis: Basis | None
    neighbours: dict[str, Near]
    rest: float | None = None

    def as_dict(self, table: pl.DataFrame) -> dict[str, Any]:
        """For JSON: with ids and, where there are any, titles.

        Args:
            table: the item table in the order of the row numbers.
        """
        return {
            "score": self.score,
            "parts": self.parts,
            "history": {
                "basis": self.basis,
                "items": named(self.history, table, self.basis or "cosine"),
                "rest": self.rest,
            },
            "neighbours": {name: named(near, table, "cosine") for name, near in self.neighbours.items()},
        }


def explain(
    scorer: Scorer,
    user: int,
    item: int,
    history: IntArray,
    *,
    parts: Mapping[str, Embeddings] | None = None,
    modalities: Mapping[str, Described] | None = None,
    k: int = NEAR,
) -> Explanation:
    """Explain one item to one user.

    Args:
        scorer: the model's scores; a form of a bundle is one.
        user, item: row numbers.
        history: row numbers of the items that the user's scores come of, each once (the train positives).
        parts: see `Recommender.score_parts`.
        modalities: modality → feature rows in item order.
        k: items of the history and neighbours in each modality, at most.
    """
    with torch.inference_mode():
        score = float(scorer.score_block(torch.tensor([user]))[0, item])
        adding = part_scores(parts or {}, user, item)
    near, basis = nearest_history(scorer, item, history, k)
    rest = score - float(near.values.sum()) if basis == "weight" else None
    found = neighbours_of(item, modalities or {}, k)
    return Explanation(score, adding, near, basis, found, rest)


def explain_to(
    dataset: Dataset,
    scorer: Scorer,
    user: str,
    item: str,
    *,
    parts: Mapping[str, Embeddings] | None = None,
    modalities: Mapping[str, Described] | None = None,
    k: int = NEAR,
) -> dict[str, Any]:
    """Explain an item of a data set to one of its users, for JSON: `explain` with ids instead of row numbers.

    Raises:
        DataError: for an unknown user or item.
    """
    who, what = dataset.users.row(user), dataset.items.row(item)
    history, table = dataset.positives["train"][who].astype(np.int64), item_table(dataset)
    found = explain(scorer, who, what, history, parts=parts, modalities=modalities, k=k)
    known = what in dataset.known().take(np.array([who])).columns
    about = {"user": str(user), **describe(what, table), "known": known, "history_length": len(history)}
    return about | found.as_dict(table)


def part_scores(parts: Mapping[str, Embeddings], user: int, item: int) -> dict[str, float]:
    """What each part adds to the score."""
    return {name: float(each.user[user] @ each.item[item]) for name, each in parts.items()}


def nearest_history(scorer: Scorer, item: int, history: IntArray, k: int) -> tuple[Near, Basis | None]:
    """The k items of a history that add most to an item's score, or are nearest to it; see `Explanation`."""
    weights = history_weights(scorer, item, history)
    if weights is not None:
        # What adds nothing is no reason.
        return _largest(history[weights != 0], weights[weights != 0], k), "weight"
    vectors = item_vectors(scorer)
    if vectors is None:
        return Near(history[:0], np.zeros(0)), None
    own, others = vectors[item].double(), vectors[torch.from_numpy(history)].double()
    length = torch.linalg.vector_norm(others, dim=1) * torch.linalg.vector_norm(own)
    cosines = torch.where(length > 0, (others @ own) / length, torch.zeros_like(length)).numpy()
    elsewhere = history != item
    return _largest(history[elsewhere], cosines[elsewhere], k), "cosine"


def history_weights(scorer: Scorer, item: int, history: IntArray) -> NDArray[np.float64] | None:
    """What each item of a history adds to the score of `item`; None for a scorer that does not add up items."""
    if isinstance(scorer, EASE):
        return scorer.weights[torch.from_numpy(history), item].double().numpy()
    if isinstance(scorer, Neighbourhood):
        pointer, columns = scorer.pointer.numpy(), scorer.columns.numpy()
        values = scorer.weights.numpy()
    elif isinstance(scorer, Weights):
        pointer, columns, values = scorer.weights.pointer, scorer.weights.columns, scorer.values
    else:
        return None
    found = np.zeros(len(history))
    for place, taken in enumerate(history.tolist()):
        stored = slice(int(pointer[taken]), int(pointer[taken + 1]))
        found[place] = values[stored][columns[stored] == item].sum(dtype=np.float64)
    return found


def item_vectors(scorer: Scorer) -> Tensor | None:
    """The item vectors of a scorer by inner product; None for any other."""
    return scorer.item if isinstance(scorer, Embeddings | Vectors) else None


def neighbours_of(item: int, modalities: Mapping[str, Described], k: int = NEAR) -> dict[str, Near]:
    """The k items most like `item` by cosine in each modality that it has."""
    found = {
        name: nearest_to(item, each.matrix, k, present=each.present)
        for name, each in modalities.items()
        if each.present[item]
    }
    return {name: Near(*near) for name, near in found.items()}


def named(near: Near, table: pl.DataFrame, value: str) -> list[dict[str, Any]]:
    """Items with ids, titles where there are any, and their number under the name `value`."""
    return [
        {**describe(item, table), value: number}
        for item, number in zip(near.items.tolist(), near.values.tolist(), strict=True)
    ]


def describe(item: int, table: pl.DataFrame) -> dict[str, str]:
    """An item's id, and its title where it has one."""
    columns = [name for name in ("item_id", "title") if name in table.columns]
    return {name: field for name, field in table.select(columns).row(item, named=True).items() if field is not None}


def _largest(items: IntArray, values: NDArray[np.float64], k: int) -> Near:
    order = np.argsort(-values, kind="stable")[:k]
    return Near(items[order], values[order])
