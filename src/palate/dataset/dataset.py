"""Dataset: a Catalogue with features and a split, ready for models and honest evaluation. Immutable."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palate.core.errors import ConfigError, DataError
from palate.core.seeds import numpy_generator
from palate.dataset.inputs import ModelInputs, SourceNumbers
from palate.dataset.settings import SplitConfig
from palate.dataset.splits import PARTS, TEST, TRAIN, VALID, Part, split_rows, thin_rows
from palate.dataset.vocabulary import Vocabulary, codes
from palate.encode.features import Features
from palate.encode.store import FeatureStore
from palate.graph.bipartite import Bipartite
from palate.graph.rows import Int32Array, IntArray, Joined, Rows
from palate.ingest.catalogue import Catalogue
from palate.ingest.knowledge import item_neighbours

HeldOut = Literal["valid", "test"]
Mask = Literal["train", "train+valid"]
Order = Literal["ids", "items", "interactions"]
FEW_WARM_USERS = 200


@dataclass(frozen=True, eq=False)
class Dataset:
    """Train, validation and test rows as lists by user, each in order of time.

    Attributes:
        catalogue: where it came from, in source order.
        settings: how it was split and labelled, every default resolved.
        users, items: vocabularies.
        positives: part → U rows of positive items ("train", "valid", "test").
        seen: part → U rows of all items, whatever their rating.
        withheld: train rows left out by `thin`: unknown to models, but no candidates either.
        dislikes: U rows of disliked train items; None without ratings.
        features: modality → features, rows in item order.
        entities: the entities each item is linked to, for models that read knowledge; None for all others.
        split_notes: what a person should know about this split, in plain words.
        split_fingerprint: hex sha256 of settings, ids, parts and labels; equal when two runs share their split.
    """

    catalogue: Catalogue
    settings: SplitConfig
    users: Vocabulary
    items: Vocabulary
    positives: dict[str, Rows]
    seen: dict[str, Rows]
    withheld: Rows
    dislikes: Rows | None
    features: dict[str, Features]
    split_notes: tuple[str, ...]
    split_fingerprint: str
    entities: Rows | None = None

    @classmethod
    def load(cls, folder: Path | str, settings: SplitConfig, features: list[str] | None = None) -> Dataset:
        """The data set of a catalogue folder.

        Args:
            features: names of encoded modalities; None takes all there are.

        Raises:
            ArtefactError, DataError, ConfigError: for damaged folders, unfit data or settings that do not suit them.
        """
        catalogue = Catalogue.load(Path(folder))
        store = FeatureStore(Path(folder))
        ids = catalogue.items["item_id"].to_list()
        names = store.names() if features is None else features
        return cls.make(catalogue, settings, {name: store.load(name, ids) for name in names})

    @classmethod
    def make(
        cls, catalogue: Catalogue, settings: SplitConfig, features: Mapping[str, Features] | None = None
    ) -> Dataset:
        """Split all rows, label them afterwards, and number users and items at random.

        Args:
            features: modality → features whose rows are in the catalogue's item order.

        Raises:
            DataError: for repeated pairs, or a split that the data do not support.
            ConfigError: when a rating scale needs a threshold that was not given.
        """
        if catalogue.interactions.height == 0:
            raise DataError("the catalogue has no interactions", where=catalogue.name)
        _check_rows(catalogue, features or {})
        table = catalogue.interactions.sort("user_id", "item_id")
        sorted_users = table["user_id"].unique().sort()
        sorted_items = catalogue.items["item_id"].sort()
        user, item = codes(table["user_id"], sorted_users), codes(table["item_id"], sorted_items)
        _refuse_repeats(table, user, item, len(sorted_items))
        _check_ratings(table)
        settings = _resolve(settings, table)
        timestamps = _timestamps(table)
        given = _given_parts(table)
        assert settings.split is not None
        shuffled = numpy_generator(settings.seed, "ties of time").permutation(len(user))
        part = split_rows(
            settings.split,
            user,
            item,
            timestamps,
            given,
            shuffled=shuffled,
            seed=settings.seed,
            cold_share=settings.cold_share,
        )
        stays = thin_rows(part, settings.thin, seed=settings.seed)
        positive, disliked = _labels(settings, table)

        users, user_row = Vocabulary.permuted("user", sorted_users, settings.seed)
        items, item_row = Vocabulary.permuted("item", sorted_items, settings.seed)
        # Rows of one moment, or without any, are in random order: the order of ids may not show.
        in_time = np.argsort(shuffled) if timestamps is None else np.lexsort((shuffled, timestamps))

        def rows_where(chosen: NDArray[np.bool_]) -> Rows:
            kept = in_time[chosen[in_time]]
            return Rows.from_pairs(user_row[user[kept]], item_row[item[kept]], len(users), len(items))

        ordered = np.argsort(item_row)
        by_row = _source_rows(catalogue.items["item_id"], sorted_items)[ordered]
        taken = {name: value.take(by_row) for name, value in sorted((features or {}).items())}
        made = {
            "positives": {name: rows_where((part == code) & stays & positive) for name, code in PARTS.items()},
            "seen": {name: rows_where((part == code) & stays) for name, code in PARTS.items()},
        }
        if made["positives"]["train"].size == 0:
            raise DataError("no positive interaction is left to train on", do="lower --positive, or use --positive all")
        dislikes = None if disliked is None else rows_where((part == TRAIN) & stays & disliked)
        withheld = rows_where(~stays)
        further = {"dislikes": {"train": dislikes}, "withheld": {"train": withheld}}
        return cls(
            catalogue=catalogue,
            settings=settings,
            users=users,
            items=items,
            positives=made["positives"],
            seen=made["seen"],
            withheld=withheld,
            dislikes=dislikes,
            features=taken,
            split_notes=tuple(_notes(settings, part, made["positives"])),
            split_fingerprint=_fingerprint(settings, users, items, made | further),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about the split and the features, in plain words."""
        lacking = {name: int((~value.present).sum()) for name, value in self.features.items()}
        items = len(self.items)
        return *self.split_notes, *(f"{name}: {n:,} of {items:,} items lack it" for name, n in lacking.items() if n)

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of all that a result depends on: the split and the features."""
        digest = hashlib.sha256(self.split_fingerprint.encode())
        for name, value in self.features.items():
            digest.update(f"{name}:{value.fingerprint}".encode())
        if self.entities is not None:
            digest.update(self.entities.pointer.tobytes() + self.entities.columns.tobytes())
        return digest.hexdigest()

    def seen_by(self, *, features: bool, knowledge: bool) -> Dataset:
        """The same split with what a model looks at and no more, so that its runs do not depend on the rest.

        Args:
            features: whether it looks at features.
            knowledge: whether it reads the items' entities; without knowledge in the catalogue there are none.
        """
        kept = self.features if features else {}
        entities = (self.entities or self._read_entities()) if knowledge else None
        if kept == self.features and entities is self.entities:
            return self
        return dataclasses.replace(self, features=kept, entities=entities)

    def _read_entities(self) -> Rows | None:
        source = self.catalogue
        if source.knowledge is None or source.item_entities is None:
            return None
        neighbours = item_neighbours(source.knowledge, source.item_entities, list(self.items.ids)).rows
        return neighbours if neighbours.size else None

    def numbers(self, order: Order = "ids") -> SourceNumbers:
        """The place of each user and item in the source.

        Args:
            order: "ids": ids sorted as a person would, numbers in them by value; "items": the order of the item table;
                "interactions": first appearance in the interactions. Users are in no table of their own.
        """
        met = self.catalogue.interactions
        items = self.catalogue.items["item_id"]
        if order == "interactions":
            items = pl.concat([met["item_id"], items])
        return SourceNumbers(
            self.users.places(met["user_id"], by_id=order == "ids"), self.items.places(items, by_id=order == "ids")
        )

    def inputs(self) -> ModelInputs:
        """What models are built from."""
        return ModelInputs(
            users=len(self.users),
            items=len(self.items),
            train=Bipartite(self.positives["train"]),
            seen=self.seen["train"],
            features=self.features,
            dislikes=self.dislikes,
            entities=self.entities,
            numbers=self.numbers,
        )

    def mask(self, part: HeldOut, mask: Mask = "train+valid") -> Joined:
        """The items that are no candidates when `part` is measured.

        Args:
            part: validation masks train rows alone.
            mask: at test, whether validation rows are masked too; "train" is for parity with published tables.
        """
        hidden = (self.seen["train"], self.withheld)
        return Joined((*hidden, self.seen["valid"]) if part == "test" and mask == "train+valid" else hidden)

    def known(self) -> Joined:
        """Every interaction of each user: what a recommendation should not repeat."""
        return Joined((*self.seen.values(), self.withheld))

    def describe(self) -> dict[str, Any]:
        """Sizes and settings, for reports."""
        return {
            "name": self.catalogue.name,
            "users": len(self.users),
            "items": len(self.items),
            **{f"{name}_interactions": rows.size for name, rows in self.seen.items()},
            **{f"{name}_positives": rows.size for name, rows in self.positives.items()},
            "features": {name: value.coverage for name, value in self.features.items()},
            "settings": self.settings.model_dump(),
            "fingerprint": self.fingerprint,
        }


def _check_rows(catalogue: Catalogue, features: Mapping[str, Features]) -> None:
    ids = tuple(catalogue.items["item_id"])
    for name, value in features.items():
        if value.ids != ids:
            raise DataError(
                f"the rows of features '{name}' are not the catalogue's items in their order",
                do="load them through FeatureStore.load(name, item_ids), which aligns them",
            )


def _refuse_repeats(table: pl.DataFrame, user: Int32Array, item: Int32Array, items: int) -> None:
    keys = user.astype(np.int64) * items + item
    repeated = int((keys[1:] == keys[:-1]).sum())
    if repeated:
        place = int(np.flatnonzero(keys[1:] == keys[:-1])[0])
        raise DataError(
            f"{repeated:,} user–item pairs occur more than once, so that one could be in train and test",
            where=f"user '{table['user_id'][place]}', item '{table['item_id'][place]}'",
            do="make the catalogue with 'palate data import', which keeps the latest of each pair",
        )


def _holds(table: pl.DataFrame, column: str) -> bool:
    return table[column].null_count() < len(table)


def _timestamps(table: pl.DataFrame) -> IntArray | None:
    if not _holds(table, "timestamp"):
        return None
    missing = table["timestamp"].null_count()
    if missing:
        raise DataError(f"{missing:,} interactions have no timestamp and the others do", do="drop or date these rows")
    return table["timestamp"].to_numpy()


def _check_ratings(table: pl.DataFrame) -> None:
    wrong = len(table) - int(table["rating"].is_finite().sum())
    if wrong and _holds(table, "rating"):
        raise DataError(
            f"{wrong:,} interactions have no rating, or one that is not finite, and the others do",
            do="drop these rows, as 'palate data import' does",
        )


def _resolve(settings: SplitConfig, table: pl.DataFrame) -> SplitConfig:
    """Fill in the defaults that depend on the data."""
    split = settings.split
    if split is None:
        split = "given" if _holds(table, "split") else "user-time" if _holds(table, "timestamp") else "random"
    positive, dislike = settings.positive, settings.dislike
    ratings = table["rating"].drop_nulls()
    if len(ratings) == 0:
        if isinstance(positive, float) or dislike is not None:
            raise ConfigError("positive and dislike are rating thresholds, and these data have no ratings")
        return settings.override({"split": split, "positive": "all"})
    least, greatest = float(ratings.min()), float(ratings.max())  # pyright: ignore[reportArgumentType]
    if positive is None:
        if not (4 <= greatest <= 5 and least >= 0):
            raise ConfigError(
                f"ratings run from {least:g} to {greatest:g}; what is a positive must be said",
                do="say it: --positive 8, for example, or --positive all (in Python positive=8 or positive='all')",
            )
        positive = 4.0
    if isinstance(positive, float) and positive > 2 and dislike is None and 4 <= greatest <= 5 and least >= 0:
        dislike = 2.0
    if isinstance(positive, float) and dislike is not None and dislike >= positive:
        raise ConfigError(f"dislike={dislike:g} must be below positive={positive:g}")
    return settings.override({"split": split, "positive": positive, "dislike": dislike})


def _labels(settings: SplitConfig, table: pl.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    everything = np.ones(len(table), dtype=np.bool_)
    if not _holds(table, "rating"):
        return everything, None
    rating = table["rating"].to_numpy()
    positive = everything if settings.positive == "all" else rating >= settings.positive
    return positive, None if settings.dislike is None else rating <= settings.dislike


def _given_parts(table: pl.DataFrame) -> Part | None:
    if not _holds(table, "split"):
        return None
    parts = table["split"].replace_strict(PARTS, default=None, return_dtype=pl.Int8)
    if parts.null_count():
        wrong = table["split"].filter(parts.is_null())[0]
        raise DataError(f"the split column holds '{wrong}'", do=f"valid values: {', '.join(PARTS)}")
    return parts.to_numpy()


def _source_rows(source: pl.Series, sorted_items: pl.Series) -> IntArray:
    """For each of the sorted ids, its row in the catalogue's items."""
    place = codes(source, sorted_items)
    rows = np.empty(len(place), dtype=np.int64)
    rows[place] = np.arange(len(place))
    return rows


def _notes(settings: SplitConfig, part: Part, positives: dict[str, Rows]) -> list[str]:
    shares = ", ".join(f"{name} {int((part == code).sum()):,}" for name, code in PARTS.items())
    notes = [f"split {settings.split}: {shares} interactions; positive={settings.positive}"]
    for name, code in (("valid", VALID), ("test", TEST)):
        if not (part == code).any():
            notes.append(f"the {name} part is empty")
            continue
        held_out = positives[name].lengths > 0
        warm = int((held_out & (positives["train"].lengths > 0)).sum())
        if settings.split == "time":
            notes.append(f"{warm:,} of {int(held_out.sum()):,} {name} users have train interactions")
            if warm < FEW_WARM_USERS:
                notes.append(f"WARNING: {warm} warm {name} users are few; figures will be noisy (try split=user-time)")
    return notes


def _fingerprint(
    settings: SplitConfig,
    users: Vocabulary,
    items: Vocabulary,
    rows: Mapping[str, Mapping[str, Rows | None]],
) -> str:
    digest = hashlib.sha256(settings.model_dump_json().encode())
    for vocabulary in (users, items):
        digest.update("\x1f".join(vocabulary.ids).encode())
    for kind in rows.values():
        for part in filter(None, kind.values()):
            digest.update(part.pointer.tobytes() + part.columns.tobytes())
    return digest.hexdigest()
