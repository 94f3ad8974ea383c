"""A training that begins where an earlier run ended: parameters are copied, rows of users and items by their ids.

Takes a finished run's folder; gives a start for a model of the same kind and widths on other data. Ids that the earlier
run did not know keep their fresh initial rows, and new categories their fresh columns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import polars as pl
import torch
from torch import Tensor

from palate.core.artefact import atomic_path, read_manifest, read_tensors, read_text, sha256_of
from palate.core.config import Config, read_yaml
from palate.core.errors import ArtefactError, ConfigError
from palate.dataset.dataset import Dataset
from palate.graph.rows import IntArray
from palate.models.alignrec import AlignRec
from palate.models.base import Model, Recommender
from palate.train.columns import (
    OF_CONTENT,
    Pairing,
    along_columns,
    modality_of,
    names_of_columns,
    pair_columns,
    pair_content,
    way_of,
)

IDS = "ids.parquet"
Side = Literal["user", "item"]
# Splits by which the train part only grows when later events are appended.
IN_TIME = ("user-time", "time", "latest")
LEAK = "it may have trained on what is held out now, so that the figures here look too good"

# Tables with a row for each user or item, by the names that Palate's models give them; a contract test keeps this
# complete.
TABLES: tuple[tuple[str, Side], ...] = (
    (r"user_\w+", "user"),
    (r".*\.preference", "user"),
    (r"item_\w+", "item"),
    (r"bias", "item"),
    (r"(features\..*|content)\.matrix", "item"),
)


# The name under which whose rows they have is stored with the parameters of other models, and what is not known there.
SIDES, UNKNOWN = "sides", "unknown"


def side_of(name: str) -> Side | None:
    """Whether the parameter `name` has a row for each user, for each item, or neither."""
    return next((side for pattern, side in TABLES if re.fullmatch(pattern, name)), None)


def tell_sides(model: Model, config: Config, dataset: Dataset) -> dict[str, str]:
    """What a run stores of whose rows its parameters have; nothing where names tell it (`side_of`).

    In a model from outside Palate a table is what has as many rows as there are users, or items. Names decide where
    both are as many. Where a number may be another one by chance (a setting, a width), or where rows of both may lie
    in one table, it is `UNKNOWN`, and what needs to know it is refused later.

    Args:
        model: a trained one.
        config: its settings.
        dataset: what it was trained on.

    Returns:
        Metadata of the stored parameters.
    """
    if type(model).__module__.startswith("palate."):
        return {}
    counts: dict[Side, int] = {"user": len(dataset.users), "item": len(dataset.items)}
    others = {features.width for features in dataset.features.values()} | set(_numbers(config.model_dump()))
    told = {name: _side_by_size(name, tuple(value.shape), counts, others) for name, value in model.state_dict().items()}
    return {SIDES: json.dumps(told)}


def _numbers(value: object) -> Iterator[int]:
    if isinstance(value, int):
        yield int(value)
    elif isinstance(value, Mapping | list | tuple):
        inner = cast("Mapping[object, object]", value).values() if isinstance(value, Mapping) else value
        for part in cast("Iterable[object]", inner):
            yield from _numbers(part)


def _side_by_size(name: str, shape: tuple[int, ...], counts: Mapping[Side, int], others: set[int]) -> str | None:
    named, rows = side_of(name), shape[0] if shape else 0
    fitting = [side for side, count in counts.items() if rows == count]
    elsewhere = set(shape[1:]) & set(counts.values()) - others
    if fitting and rows not in others and not elsewhere:
        chosen = named if named in fitting else fitting[0]
        return chosen if named in fitting or len(fitting) == 1 else UNKNOWN
    # Larger than either, it may hold rows of both, or one more.
    joint = rows > min(counts.values()) and rows not in others
    return UNKNOWN if fitting or elsewhere or joint else None


def sides_of(
    kind: type[Model], tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, where: str
) -> dict[str, Side | None]:
    """Which stored parameters have a row for each user, for each item, or neither.

    Args:
        kind: the model.
        tensors: its parameters.
        metadata: stored with them, see `tell_sides`.
        where: they are stored, for messages.

    Raises:
        ConfigError: when that could not be told.
        ArtefactError: when what is stored does not fit the parameters.
    """
    if kind.__module__.startswith("palate."):
        return {name: side_of(name) for name in tensors}
    try:
        told: dict[str, Any] = json.loads(metadata[SIDES])
        found: dict[str, Side | None] = {name: told[name] for name in tensors}
    except (KeyError, TypeError, ValueError):
        what = "it is not stored whose rows the parameters have"
        raise ArtefactError(what, where=where, do="train it again") from None
    for name, side in found.items():
        if side not in ("user", "item", None):
            raise ConfigError(
                f"it cannot be told whether '{name}', {' × '.join(map(str, tensors[name].shape))}, has a row for each "
                "user or item",
                where=where,
                do="delete this run; give such tables a row for each, name them user_… or item_…, and train again",
            )
    return found


def write_ids(folder: Path, dataset: Dataset) -> None:
    """Keep the ids of a run's row numbers beside its parameters."""
    with atomic_path(folder / IDS) as path:
        pl.concat(
            [
                pl.DataFrame({"kind": kind, "id": ids})
                for kind, ids in (("user", dataset.users.ids), ("item", dataset.items.ids))
            ]
        ).write_parquet(path)


def read_ids(folder: Path) -> dict[Side, pl.Series]:
    """The ids of a run's users and items by row number.

    Raises:
        ArtefactError: when the run keeps none, or the file is damaged.
    """
    path = folder / IDS
    if not path.is_file():
        raise ArtefactError(
            "this run does not say which row belongs to whom: it was made by an earlier palate",
            where=str(folder),
            do="train it again once; later runs can start from that",
        )
    try:
        table = pl.read_parquet(path, columns=["kind", "id"], glob=False, hive_partitioning=False)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ArtefactError(f"the file cannot be read: {error}", where=str(path)) from None
    if table.schema["id"] != pl.String or table.is_duplicated().any() or table["id"].null_count():
        raise ArtefactError("the ids of this run are damaged", where=str(path))
    return {"user": table.filter(pl.col("kind") == "user")["id"], "item": table.filter(pl.col("kind") == "item")["id"]}


@dataclass(frozen=True)
class WarmStart:
    """What an earlier run ended with.

    Attributes:
        model: its registered name.
        tensors: its parameters.
        ids: of its rows.
        digest: hex sha256 of the file of its parameters.
        where: its folder, for messages.
        encoders: modality → what made the rows of its features, by its identity.
        split: the way in which its data were split; "" where that is not stored.
        metadata: stored with the parameters.
    """

    model: str
    tensors: dict[str, Tensor]
    ids: dict[Side, pl.Series]
    digest: str
    where: str
    encoders: Mapping[str, str] = field(default_factory=dict[str, str])
    split: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def load(cls, folder: Path) -> WarmStart:
        """Read a finished run.

        Raises:
            ArtefactError: when it is none, or keeps no ids.
        """
        manifest = read_manifest(folder, "run", 1)
        path = folder / "model.safetensors"
        tensors, metadata = read_tensors(path)
        name, digest = str(manifest.get("model")), sha256_of(path)
        data = _data_of_recipe(folder)
        encoders = {modality: str(identity) for modality, identity in _section(data, "encoders").items()}
        split = str(_section(data, "split").get("split", ""))
        return cls(name, tensors, read_ids(folder), digest, str(folder), encoders, split, metadata)

    def check(self, name: str, kind: type[Model]) -> None:
        """Make sure that a model of this kind can start from here.

        Raises:
            ConfigError: when it is another model, or one that is fitted in one go.
        """
        if not issubclass(kind, Recommender):
            raise ConfigError(
                f"{name} is fitted in one pass and has nothing to start from", do="leave --warm-start out"
            )
        if name != self.model:
            raise ConfigError(
                f"the run to start from is of {self.model}, and this is {name}",
                where=self.where,
                do="name a run of the same model",
            )

    def apply(self, model: Model, dataset: Dataset) -> tuple[str, ...]:
        """Give a new model what the earlier run knew: rows are matched by ids, columns of categories by name.

        What belongs to one modality alone begins as usual where its columns cannot be matched, or where one of the
        two has no such modality.

        Returns:
            What a person should know of features that are not what they were.

        Raises:
            ConfigError: when its parameters have other shapes, because other settings or features made them; when
                another encoder made the features, whose columns then mean something else; or when categories are
                others and it cannot be told which parameters go along them.
        """
        pairings = self._pairings(dataset)
        changed = [name for name, pairing in pairings.items() if pairing.changed]
        content = pair_content(model.config.content, pairings) if changed and isinstance(model, AlignRec) else None
        state = model.state_dict()
        if content is None:
            self._refuse_untold({name: pairings[name] for name in changed}, {*state, *self.tensors})
        common = sorted(state.keys() & self.tensors.keys())
        matched = {name for name in changed if any(along_columns(model, key, name) for key in common)}
        differing = [key for key in sorted(state.keys() ^ self.tensors.keys()) if modality_of(key, changed) is None]
        sides = sides_of(type(model), self.tensors, self.metadata, where=self.where)
        places = {side: _common(self.ids[side], ids) for side, ids in _ids(dataset).items()}
        for key in common:
            name, side = modality_of(key, changed), sides[key]
            if name is not None and name not in matched:
                continue
            columns = content if re.fullmatch(OF_CONTENT, key) else None
            if name is not None and along_columns(model, key, name):
                columns = pairings[name]
            rows = None if side is None else (len(self.ids[side]), *places[side])
            value = _carried(self.tensors[key].to(state[key].dtype), state[key], rows, columns)
            if value is None:
                differing.append(key)
            else:
                state[key] = value
        if differing:
            raise ConfigError(
                f"the run to start from has other parameters than this model: {', '.join(differing[:5])} differ",
                where=self.where,
                do="use the settings and the features that it was trained with",
            )
        model.load_state_dict(state)
        return tuple(pairing.said for pairing in pairings.values() if pairing.said)

    def _pairings(self, dataset: Dataset) -> dict[str, Pairing]:
        named = names_of_columns(self.metadata, where=self.where)
        found: dict[str, Pairing] = {}
        for name in sorted({*dataset.features, *self.encoders}):
            features = dataset.features.get(name)
            before = self.encoders.get(name)
            if features is not None:
                # Runs of old do not say what made their features.
                before = before if self.encoders else features.encoder
                if before is not None and way_of(before) != way_of(features.encoder):
                    raise ConfigError(
                        f"the features '{name}' were made by another encoder than those of the run to start from",
                        where=f"{self.where}: {before}; now: {features.encoder}",
                        do="encode the catalogue with that encoder, or train without --warm-start",
                    )
            found[name] = pair_columns(name, before, named.get(name, ()), features)
        return found

    def _refuse_untold(self, changed: Mapping[str, Pairing], parameters: Collection[str]) -> None:
        for name, pairing in changed.items():
            if all(pairing.widths) and not any(modality_of(key, [name]) for key in parameters):
                raise ConfigError(
                    f"the features '{name}' have other columns than those of the run to start from, and it cannot be "
                    "told which parameters of this model go along them",
                    where=self.where,
                    do="train without --warm-start",
                )

    def note(self, dataset: Dataset) -> str:
        """How much of the data the earlier run knew, and whether it may have trained on what is held out now."""
        known = {side: len(_common(self.ids[side], ids)[0]) for side, ids in _ids(dataset).items()}
        before, now = self.split, dataset.settings.split
        again = "; what came again since may have gone over from its train part to what is held out here"
        doubt = again if before == now and now in IN_TIME else f"; with its split {before} and {now} here {LEAK}"
        return (
            f"starts from {self.where}: {known['user']:,} of {len(dataset.users):,} users and "
            f"{known['item']:,} of {len(dataset.items):,} items were known to it{doubt}"
        )


def _data_of_recipe(folder: Path) -> Mapping[str, Any]:
    recipe: Any = read_yaml(read_text(folder / "recipe.yaml"), where=str(folder / "recipe.yaml"))
    return _section(recipe, "data")


def _section(of: Any, name: str) -> Mapping[str, Any]:
    found: Any = cast("dict[str, Any]", of).get(name) if isinstance(of, dict) else None
    return {str(key): value for key, value in cast("dict[Any, Any]", found).items()} if isinstance(found, dict) else {}


def _carried(
    old: Tensor, fresh: Tensor, rows: tuple[int, IntArray, IntArray] | None, columns: Pairing | None
) -> Tensor | None:
    """`fresh` with what `old` has of the same rows and columns; None where the shapes do not fit.

    Args:
        rows: how many the earlier run had, and the places of those in common, then and now; None: all, in order.
        columns: of the second axis; None: all, in order.
    """
    if columns is not None and (old.ndim != 2 or (old.shape[1], *fresh.shape[1:]) != columns.widths):
        return None
    if columns is None and old.shape[1:] != fresh.shape[1:]:
        return None
    if old.ndim == 0 or len(old) != (len(fresh) if rows is None else rows[0]):
        return old if old.shape == fresh.shape else None
    before, now = (np.arange(len(old)),) * 2 if rows is None else rows[1:]
    value, taken = fresh.clone(), old[torch.from_numpy(before)]
    if columns is None:
        return value.index_copy_(0, torch.from_numpy(now), taken)
    value[torch.from_numpy(now).unsqueeze(1), torch.from_numpy(columns.now)] = taken[
        :, torch.from_numpy(columns.before)
    ]
    return value


def _ids(dataset: Dataset) -> dict[Side, pl.Series]:
    return {"user": dataset.users.ids, "item": dataset.items.ids}


def _common(old: pl.Series, new: pl.Series) -> tuple[IntArray, IntArray]:
    """The rows of the ids that both have: in the old numbering, and in the new one."""
    before = old.to_frame("id").with_row_index("old")
    joined = new.to_frame("id").with_row_index("new").join(before, on="id", how="inner", maintain_order="left")
    return joined["old"].to_numpy().astype(np.int64), joined["new"].to_numpy().astype(np.int64)
