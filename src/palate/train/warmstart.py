"""A training that begins where an earlier run ended: parameters are copied, rows of users and items by their ids.

Takes a finished run's folder; gives a start for a model of the same kind and widths on other data. Ids that the earlier
run did not know keep their fresh initial rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import polars as pl
import torch
from torch import Tensor

from palate.core.artefact import atomic_path, read_manifest, read_tensors, read_text, sha256_of
from palate.core.config import read_yaml
from palate.core.errors import ArtefactError, ConfigError
from palate.dataset.dataset import Dataset
from palate.graph.rows import IntArray
from palate.models.base import Model, Recommender

IDS = "ids.parquet"
Side = Literal["user", "item"]
# Splits by which the train part only grows when later events are appended.
IN_TIME = ("user-time", "time", "latest")
LEAK = "with this split it may have trained on what is held out now, so that the figures here look too good"

# Tables with a row for each user or item, by the names that Palate's models give them; a contract test keeps this
# complete.
TABLES: tuple[tuple[str, Side], ...] = (
    (r"user_\w+", "user"),
    (r".*\.preference", "user"),
    (r"item_\w+", "item"),
    (r"bias", "item"),
    (r"(features\..*|content)\.matrix", "item"),
)


def side_of(name: str) -> Side | None:
    """Whether the parameter `name` has a row for each user, for each item, or neither."""
    return next((side for pattern, side in TABLES if re.fullmatch(pattern, name)), None)


def sides_of(
    kind: type[Model], tensors: Mapping[str, Tensor], ids: Mapping[Side, pl.Series], *, where: str
) -> dict[str, Side | None]:
    """Which parameters have a row for each user, for each item, or neither.

    Palate's own models keep to names (`side_of`). In any other a table is what has as many rows as there are users, or
    items; names decide where both are as many.

    Args:
        kind: the model.
        tensors: its parameters.
        ids: of its users and items.
        where: they are stored, for messages.

    Raises:
        ConfigError: when that cannot be told.
    """
    if kind.__module__.startswith("palate."):
        return {name: side_of(name) for name in tensors}
    return {name: _side_by_size(name, value.shape, ids, where) for name, value in tensors.items()}


def _side_by_size(name: str, shape: torch.Size, ids: Mapping[Side, pl.Series], where: str) -> Side | None:
    named = side_of(name)
    rows, others = shape[:1], shape[1:]
    fitting: list[Side] = [side for side, known in ids.items() if rows == (len(known),)]
    if named in fitting:
        return named
    if len(fitting) > 1 or (not fitting and {len(known) for known in ids.values()} & set(others)):
        raise ConfigError(
            f"it cannot be told whether '{name}', {' × '.join(map(str, shape))}, has a row for each user or item",
            where=where,
            do="give such tables a row for each, name them user_… or item_…, and train again",
        )
    return fitting[0] if fitting else None


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
    """

    model: str
    tensors: dict[str, Tensor]
    ids: dict[Side, pl.Series]
    digest: str
    where: str
    encoders: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def load(cls, folder: Path) -> WarmStart:
        """Read a finished run.

        Raises:
            ArtefactError: when it is none, or keeps no ids.
        """
        manifest = read_manifest(folder, "run", 1)
        path = folder / "model.safetensors"
        tensors, _ = read_tensors(path)
        return cls(
            str(manifest.get("model")), tensors, read_ids(folder), sha256_of(path), str(folder), _encoders(folder)
        )

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

    def apply(self, model: Model, dataset: Dataset) -> None:
        """Give a new model what the earlier run knew.

        Raises:
            ConfigError: when its parameters have other shapes, because other settings or features made them, or when
                another encoder made the features, whose columns then mean something else.
        """
        for name, features in dataset.features.items():
            before = self.encoders.get(name, features.encoder)
            if _way(before) != _way(features.encoder):
                raise ConfigError(
                    f"the features '{name}' were made by another encoder than those of the run to start from",
                    where=f"{self.where}: {before}; now: {features.encoder}",
                    do="encode the catalogue with that encoder, or train without --warm-start",
                )
        places = {
            "user": _common(self.ids["user"], dataset.users.ids),
            "item": _common(self.ids["item"], dataset.items.ids),
        }
        state = model.state_dict()
        differing = sorted(set(state) ^ set(self.tensors))
        sides = sides_of(type(model), self.tensors, self.ids, where=self.where)
        for name in sorted(state.keys() & self.tensors.keys()):
            old, side = self.tensors[name].to(state[name].dtype), sides[name]
            if side is None and old.shape == state[name].shape:
                state[name] = old
            elif side is not None and old.shape[1:] == state[name].shape[1:] and len(old) == len(self.ids[side]):
                before, now = (torch.from_numpy(rows) for rows in places[side])
                state[name] = state[name].clone().index_copy_(0, now, old.index_select(0, before))
            else:
                differing.append(name)
        if differing:
            raise ConfigError(
                f"the run to start from has other parameters than this model: {', '.join(differing[:5])} differ",
                where=self.where,
                do="use the settings and the features that it was trained with",
            )
        model.load_state_dict(state)

    def note(self, dataset: Dataset) -> str:
        """How much of the data the earlier run knew."""
        known = {side: len(_common(self.ids[side], ids)[0]) for side, ids in _ids(dataset).items()}
        return (
            f"starts from {self.where}: {known['user']:,} of {len(dataset.users):,} users and "
            f"{known['item']:,} of {len(dataset.items):,} items were known to it"
            + ("" if dataset.settings.split in IN_TIME else f"; {LEAK}")
        )


def _encoders(folder: Path) -> dict[str, str]:
    recipe: Any = read_yaml(read_text(folder / "recipe.yaml"), where=str(folder / "recipe.yaml"))
    data: Any = cast("dict[str, Any]", recipe).get("data") if isinstance(recipe, dict) else None
    found: Any = cast("dict[str, Any]", data).get("encoders") if isinstance(data, dict) else None
    return {str(name): str(identity) for name, identity in found.items()} if isinstance(found, dict) else {}


def _way(identity: str) -> str:
    """What is the same of an encoder when the catalogue has grown, or its rows came in another file."""
    if identity.startswith("precomputed "):
        return "precomputed"
    return " ".join(word for word in identity.split() if not word.startswith(("graph=", "shared>")))


def _ids(dataset: Dataset) -> dict[Side, pl.Series]:
    return {"user": dataset.users.ids, "item": dataset.items.ids}


def _common(old: pl.Series, new: pl.Series) -> tuple[IntArray, IntArray]:
    """The rows of the ids that both have: in the old numbering, and in the new one."""
    before = old.to_frame("id").with_row_index("old")
    joined = new.to_frame("id").with_row_index("new").join(before, on="id", how="inner", maintain_order="left")
    return joined["old"].to_numpy().astype(np.int64), joined["new"].to_numpy().astype(np.int64)
