"""New items without training: the vector of an item that nobody met, from its content alone.

Takes the features of new items by modality; gives vectors in the space of a trained model's, or, for ContentKNN,
weights to the items it knows. A model that has a way from content to items goes it (`contentpaths`); for the others a
ridge regression leads from content to vector, fitted on the items that have train interactions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palate.core.config import Config
from palate.core.errors import DataError, unknown_name
from palate.encode.concat import unit_rows
from palate.encode.features import Features
from palate.graph.rows import IntArray
from palate.models.base import Embeddings
from palate.recommend.ridge import ridge

How = Literal["auto", "content", "regression", "none"]


@dataclass(frozen=True)
class Placed:
    """Where new items stand. One of the two is there.

    Attributes:
        vectors: n × d, in the space of the item vectors.
        weights: n × I, how much each known item that a user liked speaks for the new one.
    """

    vectors: Tensor | None = None
    weights: Tensor | None = None


@dataclass(frozen=True)
class Modality:
    """What the features of a modality must be like.

    Attributes:
        width: columns.
        encoder: what made them, by its identity.
    """

    width: int
    encoder: str


class ContentPath(Protocol):
    """How content becomes a place among the items.

    Attributes:
        kind: its name where it is stored.
    """

    kind: ClassVar[str]

    @property
    def modalities(self) -> dict[str, Modality]:
        """What it reads."""
        ...

    def place(self, content: Mapping[str, Features]) -> Placed:
        """Where new items belong.

        Args:
            content: modality → features of the same items; those of all `modalities`, see `aligned`.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """What must be stored beside its tensors."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What it learnt."""
        ...


class RegressionSettings(Config):
    """What is stored of a regression beside its tensors."""

    explained: float


class Regression:
    """v = Σ_m (x_m / ‖x_m‖ - c_m) W_m + b, c_m the mean over items; what an item lacks counts as that mean.

    Args:
        modalities: what it reads, in the order of the rows of `weight`.
        centre: ΣD: c of all modalities side by side.
        weight: W, ΣD × d.
        bias: b, d.
        explained: share of the variance of warm items' vectors that it explains, by cross-validation.
    """

    kind: ClassVar[str] = "regression"

    def __init__(
        self, modalities: Mapping[str, Modality], centre: Tensor, weight: Tensor, bias: Tensor, explained: float
    ) -> None:
        self._modalities = dict(modalities)
        self.centre, self.weight, self.bias, self.explained = centre, weight, bias, explained

    @property
    def modalities(self) -> dict[str, Modality]:
        """See `ContentPath`."""
        return self._modalities

    @classmethod
    def fit(cls, items: Tensor, features: Mapping[str, Features], warm: IntArray) -> Regression:
        """The regression of the vectors of warm items on their content.

        Args:
            items: I × d.
            features: modality → features of all items; at least one.
            warm: row numbers of the items whose vectors can be believed.
        """
        rows = {name: _unit(value, warm) for name, value in sorted(features.items())}
        centres = [
            matrix.sum(0, dtype=np.float64) / max(1, int(features[name].present[warm].sum()))
            for name, matrix in rows.items()
        ]
        centre = np.concatenate(centres).astype(np.float32)
        inputs = _centred(rows, {name: features[name].present[warm] for name in rows}, centre)
        found = ridge(inputs, items.float().numpy()[warm])
        weight, bias = (torch.from_numpy(value).to(items.dtype) for value in (found.weight, found.bias))
        return cls(described(features), torch.from_numpy(centre), weight, bias, found.explained)

    def place(self, content: Mapping[str, Features]) -> Placed:
        """See `ContentPath`."""
        rows = {name: _unit(content[name]) for name in self.modalities}
        inputs = _centred(rows, {name: content[name].present for name in rows}, self.centre.numpy())
        return Placed(torch.from_numpy(inputs).to(self.weight.dtype) @ self.weight + self.bias)

    def settings(self) -> dict[str, Any]:
        """See `ContentPath`."""
        return {"explained": self.explained}

    def tensors(self) -> dict[str, Tensor]:
        """See `ContentPath`."""
        return {"centre": self.centre, "weight": self.weight, "bias": self.bias}


def _unit(features: Features, rows: IntArray | None = None) -> NDArray[np.float32]:
    return unit_rows(features.matrix if rows is None else features.matrix[rows])


def _centred(
    rows: Mapping[str, NDArray[np.float32]], present: Mapping[str, NDArray[np.bool_]], centre: NDArray[np.float32]
) -> NDArray[np.float32]:
    # Centred, a row of zeros says "as the others are", which is all that can be said of what is not there.
    joined = np.concatenate(list(rows.values()), axis=1) - centre
    there = np.repeat(np.stack(list(present.values()), axis=1), [matrix.shape[1] for matrix in rows.values()], axis=1)
    return np.where(there, joined, 0.0).astype(np.float32)


def described(features: Mapping[str, Features]) -> dict[str, Modality]:
    """What each modality is like, in the order of their names."""
    return {name: Modality(features[name].width, features[name].encoder) for name in sorted(features)}


def aligned(content: Mapping[str, Features], wanted: Mapping[str, Modality]) -> dict[str, Features]:
    """The content of new items as a path reads it: every modality there, those that were not given as absent.

    Args:
        content: modality → features of the same new items; at least one that is wanted.
        wanted: what the known items' features are like.

    Raises:
        DataError: for an unknown modality, none at all, other items, another width, or rows of another encoder, whose
            numbers mean something else.
    """
    for name in content:
        if name not in wanted:
            raise DataError(unknown_name("modality", name, wanted), do=f"it reads: {', '.join(wanted) or 'none'}")
    if not content:
        raise DataError("a new item needs some content", do=f"give features of {' or '.join(wanted)}")
    ids = next(iter(content.values())).ids
    for name, value in content.items():
        expected, where = wanted[name], f"features '{name}'"
        if value.ids != ids:
            raise DataError("the modalities are of different items", where=where)
        if value.encoder != expected.encoder:
            raise DataError(
                "these rows were made by another encoder than those of the known items",
                where=f"{where}: {value.encoder}; wanted: {expected.encoder}",
                do="encode the new items as the known ones were",
            )
        if value.width != expected.width:
            raise DataError(f"rows of {value.width} numbers, wanted are {expected.width}", where=where)
    absent = np.zeros(len(ids), dtype=np.bool_)
    return {
        name: content[name]
        if name in content
        else Features(name, np.zeros((len(ids), like.width), np.float32), absent, like.encoder, ids)
        for name, like in wanted.items()
    }


def with_cold_items(
    embeddings: Embeddings, path: ContentPath, features: Mapping[str, Features], cold: IntArray
) -> Embeddings:
    """The embeddings with the vectors of `cold` items placed by their content; what has none of it stays as it is.

    Args:
        embeddings: of a trained model.
        path: whose places are vectors.
        features: modality → features of all items.
        cold: row numbers of items without positive train interactions.

    Raises:
        DataError: when the path gives no vectors.
    """
    cold = described_by(path, features, cold)
    if len(cold) == 0:
        return embeddings
    placed = path.place({name: features[name].take(cold) for name in path.modalities}).vectors
    if placed is None:
        raise DataError("this model has weights between items, no vectors: its new items have no place among them")
    item = embeddings.item.clone()
    item[torch.from_numpy(cold)] = placed.to(item)
    return Embeddings(embeddings.user, item)


def names_of(modalities: Iterable[str]) -> str:
    """Modalities as a sentence names them."""
    return ", ".join(modalities) or "none"


def described_by(path: ContentPath, features: Mapping[str, Features], items: IntArray) -> IntArray:
    """Those of `items` that have any of the content that `path` reads."""
    present = [features[name].present[items] for name in path.modalities]
    return items[np.any(present, axis=0)] if present else items[:0]
