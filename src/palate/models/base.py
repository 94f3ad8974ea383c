"""What a model is: built from its typed config and ModelInputs, it knows no file, no loop and no device.

A trained model gives a loss and embeddings, a classical one is fitted in one go; both become a Scorer, which is all
that ranking, evaluation and recommending need. To add a model, write one file in this folder, or anywhere
(`palate --models FILE.py`): a config, a class, and `@MODELS.register("name")` above it. CONTRIBUTING.md has the rules.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from palate.core.config import Config
from palate.core.dense import times
from palate.core.errors import ConfigError
from palate.core.registry import Registry
from palate.core.search import Space
from palate.core.seeds import Draws
from palate.dataset.inputs import ModelInputs
from palate.models.soundness import problem_of


@dataclass(frozen=True)
class Batch:
    """Rows of one training step; a user or item may occur in several.

    Attributes:
        users: int64, B.
        positives: int64, B, an item of the user's train interactions.
        negatives: int64, B (one negative) or B × R, items the user has no train interaction with; None for models
            that need none.
    """

    users: Tensor
    positives: Tensor
    negatives: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same rows on `device`."""
        negatives = None if self.negatives is None else self.negatives.to(device)
        return Batch(self.users.to(device), self.positives.to(device), negatives)


@dataclass(frozen=True)
class Needs:
    """What a model asks of the training loop.

    A class says what all its models need; a model whose settings decide sets its own in `__init__`.

    Attributes:
        negatives: sampled negatives for each positive.
        dislike_share: probability that a negative is one of the user's disliked items, for users who have any; the
            others are items the user has no train interaction with.
    """

    negatives: int = 1
    dislike_share: float = 0.0


# Users of whom so many are scored at once come in blocks of one size, for which the fast product is made ready.
BLOCK = 64


class Scorer(Protocol):
    """Scores all items for a block of users; higher is better."""

    @property
    def items(self) -> int:
        """Number of items."""
        ...

    def score_block(self, users: Tensor) -> Tensor:
        """Scores, len(users) × items, of the users with row numbers `users` (int64)."""
        ...


@dataclass(frozen=True)
class Embeddings:
    """A Scorer by inner product.

    Attributes:
        user: U × d.
        item: I × d.
    """

    user: Tensor
    item: Tensor

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self.item)

    def score_block(self, users: Tensor) -> Tensor:
        """user · item for all items."""
        rows = self.user.index_select(0, users.to(self.user.device))
        if rows.requires_grad or self.item.requires_grad:
            return rows @ self.item.T
        return times(rows, self.item, len(rows) >= BLOCK)


class Model(nn.Module, ABC):
    """Base of every model.

    Class attributes:
        Config: its settings. `Config.official()`, where there is one, is the preset of the released code.
        title: the name people use; unset: that of the class.
        source: the paper, if there is one.
        modal: it looks at item features. A class that does not say so is given none, and refused when it looks.
        knowledge: it reads which entities an item is linked to, where the catalogue has knowledge.
        search: settings that tuning tries, and in which range.

    Attributes:
        notes: what a person should know about what this model makes of its inputs, in plain words.
    """

    Config: ClassVar[type[Config]]
    title: ClassVar[str]
    source: ClassVar[str] = ""
    modal: ClassVar[bool] = False
    knowledge: ClassVar[bool] = False
    search: ClassVar[Space] = {}
    notes: tuple[str, ...] = ()

    def __init_subclass__(cls, **words: object) -> None:
        super().__init_subclass__(**words)
        if cls.__module__ != __name__ and not hasattr(cls, "title"):
            cls.title = cls.__name__

    @abstractmethod
    def __init__(self, config: Config, inputs: ModelInputs) -> None:
        super().__init__()

    @abstractmethod
    def scorer(self) -> Scorer:
        """Scores in inference mode; deterministic."""


class Recommender(Model):
    """A model that is trained by the loop.

    Tables with a row for each user or item are parameters (or buffers) of that many rows: forgetting somebody, and a
    training that starts from an earlier one, find their rows by that (`train/warmstart.py`).

    Attributes:
        needs: what it asks of the loop; a class attribute, or set in `__init__`.
    """

    needs: Needs = Needs()

    def start_epoch(self, draws: Draws) -> None:
        """Called before the first batch of every epoch; what it draws depends on seed and epoch alone.

        Args:
            draws: those of the epoch; `draws.step` is its number, from 1.
        """

    @abstractmethod
    def loss(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Named scalar terms, weights applied; their sum is the loss."""

    @abstractmethod
    def embed(self) -> Embeddings:
        """User and item vectors whose inner product is the score; inference mode, deterministic."""

    def score_parts(self) -> dict[str, Embeddings]:
        """Named parts whose scores add up to the score; empty where it is no sum of parts.

        A part is what an item has of one modality, of its id and so on, met with the user's whole vector. Names with a
        space are no modalities.
        """
        return {}

    def scorer(self) -> Embeddings:
        """The embeddings."""
        return self.embed()


class Classical(Model):
    """A model that is fitted in one pass over the train interactions; its state lies in buffers.

    Attributes:
        random: `fit` draws from torch's generator, which is seeded then; a comparison fits it once for each seed.
    """

    random: ClassVar[bool] = False

    @abstractmethod
    def fit(self) -> None:
        """Compute the buffers from the train interactions."""

    @abstractmethod
    def score_block(self, users: Tensor) -> Tensor:
        """Scores, len(users) × items."""

    @property
    @abstractmethod
    def items(self) -> int:
        """Number of items."""

    def scorer(self) -> Scorer:
        """The model itself, or vectors where it has them."""
        return self


def _problem(name: str, kind: object) -> ConfigError | None:
    return problem_of(name, kind, (Recommender, Classical), Needs)


OWN = "models of your own come in with palate --models FILE.py …"
MODELS: Registry[type[Model]] = Registry("model", OWN, _problem)
