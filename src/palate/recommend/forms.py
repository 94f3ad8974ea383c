"""What is served of a trained model: the form in which it scores users it knows and users it does not.

A trained model becomes vectors, an item–item model a sparse matrix of weights; the two that look at nothing of a user
but a number become item scores or places in a line. Each form is a Scorer that folds in new users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palate.core.errors import ConfigError
from palate.graph.products import product_block
from palate.graph.rows import IntArray, Rows
from palate.models.base import Embeddings, Model
from palate.models.classical.ease import EASE
from palate.models.classical.indexorder import IndexOrder
from palate.models.classical.neighbourhood import Neighbourhood
from palate.models.classical.popularity import Popularity
from palate.recommend.foldin import FoldIn


@dataclass(frozen=True)
class Folded:
    """Users who were folded in.

    Attributes:
        scores: n × I.
        vectors: n × d, whose inner products with the items' vectors the scores are; None where the form has none.
    """

    scores: Tensor
    vectors: Tensor | None = None


class Given:
    """A Scorer of one user whose scores are known.

    Args:
        scores: 1 × I.
    """

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores

    @property
    def items(self) -> int:
        """Number of items."""
        return self.scores.shape[1]

    def score_block(self, users: Tensor) -> Tensor:
        """The scores, for whomever."""
        return self.scores.expand(len(users), -1)


class Form(Protocol):
    """A Scorer that also takes users it never met.

    Attributes:
        kind: its name where it is stored.
    """

    kind: ClassVar[str]

    @property
    def users(self) -> int:
        """Number of users."""
        ...

    @property
    def items(self) -> int:
        """Number of items."""
        ...

    def score_block(self, users: Tensor) -> Tensor:
        """Scores, len(users) × I, of the users with row numbers `users` (int64)."""
        ...

    def fold(self, liked: Rows, disliked: Rows) -> Folded:
        """New users from the items that they liked and disliked, in order of time."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What is stored of it."""
        ...

    def joined(self, changed: IntArray, liked: Rows, disliked: Rows, added: int) -> Form:
        """The same with some users folded in anew, and with new ones behind the others.

        Args:
            changed: row numbers of the users that change; the new ones have the numbers U … U + added - 1.
            liked, disliked: the whole history of each of `changed`.
            added: number of new users.
        """
        ...


@dataclass(frozen=True)
class Vectors:
    """s(u, i) = u · i.

    Attributes:
        user: U × d.
        item: I × d.
        folding: how a list of items becomes a user vector.
    """

    kind: ClassVar[str] = "vectors"
    user: Tensor
    item: Tensor
    folding: FoldIn

    @property
    def users(self) -> int:
        """Number of users."""
        return len(self.user)

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self.item)

    def score_block(self, users: Tensor) -> Tensor:
        """See `Form`."""
        return Embeddings(self.user, self.item).score_block(users)

    def fold(self, liked: Rows, disliked: Rows) -> Folded:
        """See `Form`."""
        vectors = self.folding.vectors(liked, disliked)
        return Folded(vectors @ self.item.T, vectors)

    def tensors(self) -> dict[str, Tensor]:
        """See `Form`."""
        return {"user": self.user, "item": self.item}

    def joined(self, changed: IntArray, liked: Rows, disliked: Rows, added: int) -> Vectors:
        """See `Form`."""
        user = torch.cat([self.user, self.user.new_zeros(added, self.user.shape[1])])
        user[torch.from_numpy(changed)] = self.folding.vectors(liked, disliked)
        return Vectors(user, self.item, self.folding)


@dataclass(frozen=True)
class Weights:
    """s(u, j) = Σ w_ij over the items i that u liked, in order of time; w_ij = 0 where nothing is stored.

    Attributes:
        weights: W by the item i that was liked, I × I.
        values: float32, one for each stored pair.
        liked: the items of each user that the scores are made of.
    """

    kind: ClassVar[str] = "weights"
    weights: Rows
    values: NDArray[np.float32]
    liked: Rows

    @property
    def users(self) -> int:
        """Number of users."""
        return self.liked.count

    @property
    def items(self) -> int:
        """Number of items."""
        return self.weights.count

    def score_block(self, users: Tensor) -> Tensor:
        """See `Form`."""
        return self._sums(self.liked.take(users.numpy()))

    def fold(self, liked: Rows, disliked: Rows) -> Folded:
        """See `Form`."""
        return Folded(self._sums(liked))

    def _sums(self, liked: Rows) -> Tensor:
        return torch.from_numpy(product_block(liked, self.weights, self.values)).float()

    def tensors(self) -> dict[str, Tensor]:
        """See `Form`."""
        return {
            "pointer": torch.from_numpy(self.weights.pointer),
            "columns": torch.from_numpy(self.weights.columns),
            "values": torch.from_numpy(self.values),
        }

    def joined(self, changed: IntArray, liked: Rows, disliked: Rows, added: int) -> Weights:
        """See `Form`."""
        return Weights(self.weights, self.values, replaced(self.liked, changed, liked, added))


@dataclass(frozen=True)
class ItemScores:
    """s(u, i) is the same for every user.

    Attributes:
        item: I.
        users: U.
    """

    kind: ClassVar[str] = "item-scores"
    item: Tensor
    users: int

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self.item)

    def score_block(self, users: Tensor) -> Tensor:
        """See `Form`."""
        return self.item.expand(len(users), -1)

    def fold(self, liked: Rows, disliked: Rows) -> Folded:
        """See `Form`."""
        return Folded(self.item.expand(liked.count, -1))

    def tensors(self) -> dict[str, Tensor]:
        """See `Form`."""
        return {"item": self.item}

    def joined(self, changed: IntArray, liked: Rows, disliked: Rows, added: int) -> ItemScores:
        """See `Form`."""
        return ItemScores(self.item, self.users + added)


@dataclass(frozen=True)
class Places:
    """The leak canary: s(u, i) falls with the distance of i's place from u's, above it twice as fast as below.

    Attributes:
        user: float32, U: the place of each user.
        item: float32, I: the place of each item.
        sign: 1 where an item is above a user when its place is larger; -1 the other way round.
    """

    kind: ClassVar[str] = "places"
    user: Tensor
    item: Tensor
    sign: int

    @property
    def users(self) -> int:
        """Number of users."""
        return len(self.user)

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self.item)

    def score_block(self, users: Tensor) -> Tensor:
        """See `Form`."""
        return self._closeness(self.user[users])

    def fold(self, liked: Rows, disliked: Rows) -> Folded:
        """See `Form`."""
        return Folded(self._closeness(self._places(liked)))

    def _places(self, liked: Rows) -> Tensor:
        # With sign 1 the place of a user is that of the first item met; else the newcomer comes after all others.
        if self.sign < 0:
            return torch.full((liked.count,), float(self.user.max()) + 1, dtype=self.user.dtype)
        last = float(self.item.max()) + 1
        places = np.full(liked.count, last, dtype=np.float32)
        np.minimum.at(places, liked.row_of_entry(), self.item.numpy()[liked.columns])
        return torch.from_numpy(places)

    def _closeness(self, places: Tensor) -> Tensor:
        offset = self.sign * (self.item[None, :] - places[:, None])
        return -torch.where(offset < 0, -offset / 2, offset)

    def tensors(self) -> dict[str, Tensor]:
        """See `Form`."""
        return {"user": self.user, "item": self.item, "sign": torch.tensor([self.sign], dtype=torch.int64)}

    def joined(self, changed: IntArray, liked: Rows, disliked: Rows, added: int) -> Places:
        """See `Form`."""
        user = torch.cat([self.user, self.user.new_zeros(added)])
        user[torch.from_numpy(changed)] = self._places(liked)
        return Places(user, self.item, self.sign)


def replaced(rows: Rows, changed: IntArray, new: Rows, added: int) -> Rows:
    """`rows` with the rows `changed` replaced by `new`, and `added` further rows behind."""
    owner = rows.row_of_entry()
    kept = ~np.isin(owner, changed)
    owners = np.concatenate([owner[kept], changed[new.row_of_entry()]])
    return Rows.from_pairs(owners, np.concatenate([rows.columns[kept], new.columns]), rows.count + added, rows.width)


def classical_form(model: Model, liked: Rows) -> Form:
    """The form of a model that is fitted in one go.

    Args:
        liked: the train positives of each user.

    Raises:
        ConfigError: for a model whose scores have none of the forms there are.
    """
    if isinstance(model, Neighbourhood):
        kept = int(model.pointer[-1])
        structure = Rows(model.pointer.numpy(), model.columns[:kept].numpy(), model.items)
        return Weights(structure, model.weights[:kept].float().numpy(), liked)
    if isinstance(model, EASE):
        dense = model.weights.float().numpy()
        row, column = np.nonzero(dense)
        structure = Rows.from_pairs(row, column, model.items, model.items)
        return Weights(structure, dense[row, column], liked)
    if isinstance(model, Popularity):
        return ItemScores(model.counts.float(), liked.count)
    if isinstance(model, IndexOrder):
        own, other = model.expected.float(), model.number.float()
        return Places(own, other, 1) if model.by_user_number else Places(other, own, -1)
    raise ConfigError(
        f"scores of {type(model).title} are neither vectors nor item–item weights: there is no bundle of them",
        do="give the model one of the forms in recommend/forms.py",
    )


def vector_form(model: Model, embeddings: Embeddings, folding: FoldIn) -> Vectors:
    """The form of a model with vectors, in single precision.

    Raises:
        ConfigError: when a vector is not finite.
    """
    if not bool(torch.isfinite(embeddings.user).all() and torch.isfinite(embeddings.item).all()):
        raise ConfigError(f"{model.title} has vectors that are not finite: it has diverged", do="train it again")
    return Vectors(embeddings.user.float(), embeddings.item.float(), folding)
