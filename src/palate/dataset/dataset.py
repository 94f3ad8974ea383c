"""Dataset: a Catalogue with features and a split, ready for models and honest evaluation. Immutable."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palate.core.errors import ConfigError, DataError, unknown_name
from palate.core.seeds import numpy_generator
from palate.dataset.imputation import Filling, choices, impute
from palate.dataset.inputs import ModelInputs, SourceNumbers
from palate.dataset.labels import check_ratings, holds, labels, resolve
from palate.dataset.notes import BY_USER_AND_TIME, split_notes
from palate.dataset.settings import Imputation, SplitConfig
from palate.dataset.splits import PARTS, TRAIN, Part, split_rows, thin_rows, tied_share
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
        features: modality → features, rows in item order; present wherever they were filled in.
        entities: the entities each item is linked to, for models that read knowledge; None for all others.
        split_notes: what a person should know about this split, in plain words.
        split_fingerprint: hex sha256 of settings, ids, parts and labels; equal when two runs share their split.
        fillings: modality → how missing content was filled in; no entry for those left as they were.
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
    fillings: dict[str, Filling] = field(default_factory=dict[str, Filling])

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {rows.size:,}" for name, rows in self.seen.items())
        features = ", ".join(self.features) or "none"
        return (
            f"Dataset of {self.catalogue.name or 'a catalogue'}: {len(self.users):,} users, {len(self.items):,} items, "
            f"split {self.settings.split} ({parts}), features {features}"
        )

    @classmethod
    def load(
        cls,
        folder: Path | str,
        settings: SplitConfig,
        features: str | list[str] | None = None,
        impute: str | Mapping[str, str] = "none",
    ) -> Dataset:
        """The data set of a catalogue folder.

        Args:
            features: a name of an encoded modality, or several; None takes all there are.
            impute: see `imputed`.

        Raises:
            ArtefactError, DataError, ConfigError: for damaged folders, unfit data or settings that do not suit them.
        """
        catalogue = Catalogue.load(Path(folder))
        store = FeatureStore(Path(folder))
        ids = catalogue.items["item_id"].to_list()
        names = store.names() if features is None else [features] if isinstance(features, str) else features
        return cls.make(catalogue, settings, {name: store.load(name, ids) for name in names}).imputed(impute)

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
        check_ratings(table)
        settings = resolve(settings, table)
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
        positive, disliked = labels(settings, table)
        by_time = timestamps is not None and settings.split in BY_USER_AND_TIME
        tied = tied_share(pl.Series(user), table["timestamp"]) if by_time else 0.0

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
            split_notes=tuple(split_notes(settings, part, made["positives"], disliked, tied)),
            split_fingerprint=_fingerprint(settings, users, items, made | further),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about the split and the features, in plain words."""
        notes = [*self.split_notes]
        for name, lacking in self.missing.items():
            if lacking.any():
                filled = f": {self.fillings[name]}" if name in self.fillings else ""
                notes.append(f"{name}: {int(lacking.sum()):,} of {len(self.items):,} items lack it{filled}")
        return tuple(notes)

    @property
    def missing(self) -> dict[str, NDArray[np.bool_]]:
        """Modality → which items lack it in the catalogue, whether it was filled in or not."""
        filled = self.fillings
        return {
            name: filled[name].missing if name in filled else ~value.present for name, value in self.features.items()
        }

    @property
    def imputation(self) -> dict[str, Imputation]:
        """Modality → how what items lack was filled in; no entry for those left as they were."""
        return {name: filling.how for name, filling in self.fillings.items()}

    def imputed(self, how: str | Mapping[str, str]) -> Dataset:
        """The same split, with content that items lack filled in from the train part (see `impute`).

        Args:
            how: none, zero, mean, neighbours or knowledge, for all modalities or by modality.

        Raises:
            ConfigError: for unknown names, `knowledge` without any, or what was filled in before.
            DataError: when there is nothing to fill in from.
        """
        wanted = choices(how, self.features)
        again = [name for name in wanted if name in self.fillings]
        if again:
            raise ConfigError(f"{', '.join(again)}: filled in already", do="begin with the data set as it was loaded")
        found = impute(self.features, wanted, Bipartite(self.positives["train"]), self._read_entities)
        features = {name: found[name][0] if name in found else value for name, value in self.features.items()}
        fillings = {name: filling for name, (_, filling) in found.items()}
        return dataclasses.replace(self, features=features, fillings={**self.fillings, **fillings}) if found else self

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of all that a result depends on: the split and the features."""
        digest = hashlib.sha256(self.split_fingerprint.encode())
        for name, value in self.features.items():
            digest.update(f"{name}:{value.fingerprint}".encode())
        if self.entities is not None:
            digest.update(self.entities.pointer.tobytes() + self.entities.columns.tobytes())
        return digest.hexdigest()

    def with_features(self, names: Collection[str]) -> Dataset:
        """The same split with these modalities and no others, filled in as they are here.

        Raises:
            ConfigError: for a modality that is not there.
        """
        for name in names:
            if name not in self.features:
                raise ConfigError(
                    unknown_name("modality", name, self.features), do=f"there are: {', '.join(self.features) or 'none'}"
                )
        kept = {name: value for name, value in self.features.items() if name in names}
        fillings = {name: value for name, value in self.fillings.items() if name in names}
        return dataclasses.replace(self, features=kept, fillings=fillings)

    def seen_by(self, *, features: bool, knowledge: bool) -> Dataset:
        """The same split with what a model looks at and no more, so that its runs do not depend on the rest.

        Args:
            features: whether it looks at features.
            knowledge: whether it reads the items' entities; without knowledge in the catalogue there are none.
        """
        seen = self if features else self.with_features(())
        entities = (self.entities or self._read_entities()) if knowledge else None
        if (features or not self.features) and entities is self.entities:
            return self
        return dataclasses.replace(seen, entities=entities)

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

        Raises:
            ConfigError: for another word.
        """
        for kind, word, valid in (("part", part, get_args(HeldOut)), ("mask", mask, get_args(Mask))):
            if word not in valid:
                raise ConfigError(unknown_name(kind, str(word), valid), do=f"choose {' or '.join(valid)}")
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
            "missing": {name: int(lacking.sum()) for name, lacking in self.missing.items()},
            "imputed": self.imputation,
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


def _timestamps(table: pl.DataFrame) -> IntArray | None:
    if not holds(table, "timestamp"):
        return None
    missing = table["timestamp"].null_count()
    if missing:
        raise DataError(f"{missing:,} interactions have no timestamp and the others do", do="drop or date these rows")
    return table["timestamp"].to_numpy()


def _given_parts(table: pl.DataFrame) -> Part | None:
    if not holds(table, "split"):
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
