"""The bundle: one folder that holds all that is served of a trained model, without the catalogue and the run.

A bundle scores the users it knows, folds in users it does not know, and places new items by their content. Reading one
checks every file against the manifest, and every array against what the manifest says of it, before it is believed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from palate.core.artefact import (
    atomic_folder,
    atomic_path,
    read_manifest,
    write_manifest,
    write_tensors,
)
from palate.core.config import Config
from palate.core.errors import ArtefactError, ConfigError, DataError
from palate.dataset.vocabulary import Vocabulary
from palate.encode.features import Features
from palate.graph.rows import IntArray, Rows
from palate.measure.ranking import top_items
from palate.recommend import foldin
from palate.recommend.colditem import ContentPath, Placed, aligned
from palate.recommend.forms import Folded, Form, Vectors

KIND, VERSION = "bundle", 1
SCORES, HISTORY, USERS, ITEMS = "scores.safetensors", "history.safetensors", "users.parquet", "items.parquet"
FOLD_IN, FEATURES, CONTENT = "foldin.safetensors", "features.safetensors", "content.safetensors"
MOST = 1 << 31
# Kinds of event that a bundle remembers.
MOST_KINDS = 100


class ModalityFacts(Config):
    """Width and encoder of the features of a modality."""

    width: int = Field(ge=1, le=1 << 20)
    encoder: str


class QualityFacts(Config):
    """See `foldin.Quality`."""

    users: int = Field(ge=0, lt=MOST)
    trained: float | None
    folded: float | None
    tried: dict[str, float] | None
    metric: str


class FoldInFacts(Config):
    """How new users get a vector, and how good it is (see `foldin.Quality`)."""

    kind: str
    settings: dict[str, Any] = Field(default={})
    quality: dict[str, Any] | None = Field(default=None, description="None where it is exact")


class ContentFacts(Config):
    """How new items are placed, from which modalities."""

    kind: str
    settings: dict[str, Any] = Field(default={})
    modalities: dict[str, ModalityFacts]


class Facts(Config):
    """What a bundle's manifest says, beside kind, version and files."""

    model: str
    title: str
    form: Literal["vectors", "weights", "item-scores", "places"]
    users: int = Field(ge=0, lt=MOST)
    items: int = Field(ge=1, lt=MOST)
    width: int | None = Field(default=None, ge=1, le=1 << 20, description="of the vectors")
    stored: int = Field(default=0, ge=0, description="entries of the weights")
    positive: float | Literal["all"] = Field(default="all", description="least rating of what a user likes")
    dislike: float | None = Field(default=None, description="greatest rating of what a user dislikes")
    rated: tuple[float, float] | None = Field(default=None, description="least and greatest rating; null: not known")
    features: dict[str, ModalityFacts] = Field(default={}, description="modalities whose rows are kept")
    columns: dict[str, tuple[str, ...]] = Field(
        default={}, description="what the columns of categories stand for, by digests of their names"
    )
    precision: Literal["float16", "float32"] = Field(default="float16", description="of the kept rows")
    fold_in: FoldInFacts | None = None
    content: ContentFacts | None = None
    placed: int = Field(default=0, ge=0, lt=MOST, description="items without train positives, placed by content")
    name: str = Field(default="", description="of the catalogue")
    recipe: dict[str, Any] = Field(default={}, description="of the run")
    fingerprint: str = Field(default="", description="of the data set")
    kinds: tuple[str, ...] | None = Field(
        default=None, max_length=MOST_KINDS, description="kinds of event that it came of; null: not known"
    )
    events: int = Field(default=0, ge=0, description="interactions that were added since (`palate refresh`)")
    palate: str = Field(default="", description="version that made it")


@dataclass(frozen=True, eq=False)
class Bundle:
    """What is served of one model. `load` reads one, `bundling.bundle_of` makes one.

    Attributes:
        facts: what the manifest says.
        form: how it scores; a Scorer.
        users, items: ids ↔ row numbers.
        table: what is known of the items, one row for each in the order of the row numbers: `item_id`, `title`,
            `description`, `image` (a path below the catalogue's media folder), ….
        liked: the items of each user, in order of time, that the user's scores came of.
        disliked: likewise, those rated low; empty without ratings.
        seen: all items that each user met, which a recommendation should not repeat.
        features: modality → rows of the known items, of unit length; empty where they were not kept.
        content: how new items are placed; None where the model cannot.
        folder: where it was read from.
    """

    facts: Facts
    form: Form
    users: Vocabulary
    items: Vocabulary
    table: pl.DataFrame
    liked: Rows
    disliked: Rows
    seen: Rows
    features: dict[str, Features] = field(default_factory=dict[str, Features])
    content: ContentPath | None = None
    folder: Path | None = None

    @property
    def item_vectors(self) -> NDArray[np.float32] | None:
        """I × d, where the bundle has vectors."""
        return self.form.item.numpy() if isinstance(self.form, Vectors) else None

    @property
    def user_vectors(self) -> NDArray[np.float32] | None:
        """U × d, where the bundle has vectors."""
        return self.form.user.numpy() if isinstance(self.form, Vectors) else None

    def scores(self, users: IntArray) -> NDArray[np.float32]:
        """Scores of all items, len(users) × I, of the users with row numbers `users`."""
        with torch.inference_mode():
            return self.form.score_block(torch.from_numpy(users)).numpy()

    def fold_in(self, items: Sequence[str], ratings: Sequence[float] | None = None) -> Folded:
        """Somebody the model never met, by a list of items in order of time; one row of scores (and a vector).

        Args:
            items: ids, each once.
            ratings: one for each item; what is liked, disliked or neither is decided as in training. None: all are
                liked.

        Raises:
            DataError: for an unknown or repeated item, or ratings that do not fit.
        """
        rows = self.items.rows(items)
        if len(np.unique(rows)) < len(rows):
            raise DataError("an item is named twice", do="name each item once, with one rating")
        liked, disliked = foldin.by_rating(rows, ratings, self.facts.positive, self.facts.dislike)
        return self.fold_rows(one_row(liked, len(self.items)), one_row(disliked, len(self.items)))

    def fold_rows(self, liked: Rows, disliked: Rows) -> Folded:
        """Several such people, by item row numbers."""
        with torch.inference_mode():
            return self.form.fold(liked, disliked)

    def place(self, content: Mapping[str, Features]) -> Placed:
        """Where new items belong, by their content.

        Args:
            content: modality → features of the new items, made by the encoders of the known ones (`encode_item`).
                Modalities that are left out count as absent.

        Raises:
            ConfigError: when the model cannot place new items.
            DataError: when the content does not fit.
        """
        if self.content is None:
            raise ConfigError(
                f"this {self.facts.title} cannot place new items: it knows items by their interactions alone, "
                "or was exported without their content",
                do="export a model that reads content, or train on interactions with the item",
            )
        with torch.inference_mode():
            return self.content.place(aligned(content, self.content.modalities))

    def scores_of_placed(self, placed: Placed, users: IntArray) -> NDArray[np.float32]:
        """Scores, len(users) × n, that known users give to n new items."""
        if placed.vectors is not None:
            assert isinstance(self.form, Vectors)
            return (self.form.user[torch.from_numpy(users)] @ placed.vectors.T).numpy()
        assert placed.weights is not None
        liked, weights = self.liked.take(users), placed.weights.numpy().T
        sums = np.zeros((len(users), weights.shape[1]))
        np.add.at(sums, liked.row_of_entry(), weights[liked.columns])
        return sums.astype(np.float32)

    def recommend(
        self, users: IntArray, k: int = 10, *, seed: int = 0
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The k best items that each user has not met, best first, and their scores; -1 where none is left."""
        return top_items(self.form, users, k, mask=self.seen, seed=seed)

    def save(self, folder: Path, *, replace: bool = False) -> Bundle:
        """Store the bundle, all or nothing.

        Args:
            replace: take the place of a bundle that is there.

        Raises:
            ArtefactError: when something is there already that may not be replaced.
        """
        refuse_stranger(folder, replace=replace)
        with atomic_folder(folder, replace=replace) as into:
            for name, frame in ((USERS, pl.DataFrame({"user_id": self.users.ids})), (ITEMS, self.table)):
                with atomic_path(into / name) as path:
                    frame.write_parquet(path)
            write_tensors(into / SCORES, self.form.tensors())
            lists = {"liked": self.liked, "disliked": self.disliked, "seen": self.seen}
            write_tensors(
                into / HISTORY,
                {
                    f"{name}_{part}": torch.from_numpy(np.ascontiguousarray(values))
                    for name, rows in lists.items()
                    for part, values in (("pointer", rows.pointer), ("columns", rows.columns))
                },
            )
            if isinstance(self.form, Vectors):
                write_tensors(into / FOLD_IN, self.form.folding.tensors())
            if self.features:
                write_tensors(into / FEATURES, self._kept())
            if self.content is not None:
                write_tensors(into / CONTENT, self.content.tensors())
            write_manifest(into, KIND, VERSION, self.facts.model_dump(mode="json"))
        return dataclasses.replace(self, folder=folder)

    def _kept(self) -> dict[str, Tensor]:
        dtype = torch.float16 if self.facts.precision == "float16" else torch.float32
        rows = {f"{name}.rows": torch.tensor(value.matrix).to(dtype) for name, value in self.features.items()}
        return rows | {f"{name}.present": torch.tensor(value.present) for name, value in self.features.items()}

    @classmethod
    def load(cls, folder: Path | str) -> Bundle:
        """Read a bundle, everything in it checked.

        Raises:
            ArtefactError: when it is no bundle, of another version, or not what was written.
        """
        from palate.recommend.reading import read_bundle

        return read_bundle(Path(folder))


def refuse_stranger(folder: Path, *, replace: bool) -> None:
    """Make sure that a bundle may be stored in `folder`.

    Raises:
        ArtefactError: when there is something that may not be replaced, or is no bundle.
    """
    if folder.exists() and not replace:
        raise ArtefactError(f"{folder} exists already", do="choose another folder, or replace it (--replace)")
    if folder.exists():
        read_manifest(folder, KIND, VERSION, verify=False)


def one_row(items: NDArray[np.integer], width: int) -> Rows:
    """Rows of a single row."""
    return Rows(np.array([0, len(items)], np.int64), items.astype(np.int32), width)
