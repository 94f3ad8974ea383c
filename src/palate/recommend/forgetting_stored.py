"""Forgetting in the two folders that training reads and writes: the catalogue with its features, and the run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from palate.core.artefact import (
    MANIFEST,
    atomic_folder,
    atomic_path,
    inside,
    read_manifest,
    read_tensors,
    write_manifest,
    write_tensors,
)
from palate.core.errors import ArtefactError, WithdrawnError
from palate.encode.features import Features
from palate.encode.store import FAILED, FeatureStore
from palate.ingest.catalogue import TYPES, Catalogue
from palate.models.base import MODELS, Recommender
from palate.train.warmstart import IDS, Side, read_ids, sides_of

MODEL, EMBEDDINGS = "model.safetensors", "embeddings.safetensors"
FORGOTTEN = "forgotten"
Gone = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


def forget_catalogue(folder: Path, users: set[str], items: set[str]) -> Gone:
    """Forget in a catalogue: interactions, the item's row, links and triples, its features, and its files.

    Triples go where they name a forgotten item, or an entity that only forgotten items are linked to.

    Returns:
        The users and items that were there, and notes.

    Raises:
        ArtefactError: when it is damaged.
    """
    catalogue = Catalogue.load(folder)
    gone_users = tuple(sorted(users & set(catalogue.interactions["user_id"])))
    gone_items = tuple(sorted(items & set(catalogue.items["item_id"])))
    if not gone_users and not gone_items:
        return (), (), ()
    stays = ~pl.col("item_id").is_in(list(gone_items))
    entities, knowledge = catalogue.item_entities, catalogue.knowledge
    named = set(gone_items)
    if entities is not None:
        of_others = set(entities.filter(stays)["entity"])
        named |= set(entities.filter(~stays)["entity"]) - of_others
        entities = entities.filter(stays)
    if knowledge is not None:
        told = pl.col("head").is_in(list(named)) | pl.col("tail").is_in(list(named))
        knowledge = knowledge.filter(~told)
    left = Catalogue(
        catalogue.interactions.filter(stays & ~pl.col("user_id").is_in(list(gone_users))),
        catalogue.items.filter(stays),
        knowledge,
        entities,
        name=catalogue.name,
        media_root=catalogue.media_root,
    )
    doomed, notes = _files_of(catalogue, left)
    store = FeatureStore(folder)

    def carry(into: Path) -> None:
        for name in store.names():
            _carry_features(folder, into, name, set(gone_items))
        skipped = {f"{table}.parquet" for table in TYPES} | {MANIFEST}
        _carry_files(folder, into, doomed | skipped, [f"features/{name}" for name in store.names()])

    left.save(folder, replace=True, media=carry)
    return gone_users, gone_items, tuple(notes)


def _files_of(catalogue: Catalogue, left: Catalogue) -> tuple[set[str], list[str]]:
    """The media files within the catalogue's folder that only forgotten items have, and what lies elsewhere."""
    assert catalogue.folder is not None

    def cells(items: pl.DataFrame) -> set[str]:
        return {cell for column in ("image", "audio") for cell in items[column].drop_nulls()}

    alone = sorted(cells(catalogue.items) - cells(left.items))
    inner = catalogue.media_root is None
    doomed = {cell for cell in alone if inner and _within(catalogue.folder, cell)}
    elsewhere = [cell for cell in alone if cell not in doomed]
    if not elsewhere:
        return doomed, []
    where = catalogue.media_root or "outside the catalogue"
    return doomed, [f"files that lie elsewhere are not touched ({where}): {', '.join(elsewhere[:5])}"]


def _within(folder: Path, cell: str) -> bool:
    try:
        return inside(folder, cell).is_file()
    except ArtefactError:
        return False


def _carry_features(folder: Path, into: Path, name: str, gone: set[str]) -> None:
    source = folder / "features" / name
    ids = pl.read_parquet(source / "ids.parquet")["item_id"].to_list()
    features: Features = FeatureStore(folder).load(name, [item for item in ids if item not in gone])
    failed = None
    if (source / FAILED).is_file():
        table = pl.read_csv(source / FAILED, infer_schema=False)
        failed = table.filter(~pl.col("item_id").is_in(list(gone)))
    FeatureStore(into).save(features, failed)


def _carry_files(folder: Path, into: Path, skipped: Iterable[str], within: Iterable[str]) -> None:
    """Everything else in `folder`, linked where the disk can; dotfiles are leftovers and stay behind."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        left_out = name in skipped or any(name == part or name.startswith(f"{part}/") for part in within)
        if left_out or not path.is_file() or any(part.startswith(".") for part in Path(name).parts):
            continue
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, into / name)
        except OSError:
            shutil.copy2(path, into / name)


@dataclass(frozen=True)
class Opened:
    """What forgetting has to know of a run.

    Attributes:
        manifest: its facts.
        ids: of its rows.
        tensors: its parameters; empty for a model that is fitted in one pass.
        sides: whose rows each of them has.
        metadata: stored with them.
    """

    manifest: Mapping[str, Any]
    ids: dict[Side, pl.Series]
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    sides: Mapping[str, Side | None] = field(default_factory=dict[str, Side | None])
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    def gone(self, side: Side, names: set[str]) -> tuple[str, ...]:
        """Those of `names` that it knows."""
        return tuple(sorted(names & set(self.ids[side])))


def open_run(folder: Path, users: set[str], items: set[str]) -> Opened | None:
    """Open a run to forget in it, before anything is written.

    Returns:
        None when it knows none of these users and items.

    Raises:
        ArtefactError: when it is damaged, not finished, or does not say which row belongs to whom.
        ConfigError: when its model is unknown, or whose rows a parameter has.
    """
    if (folder / "checkpoint").exists():
        raise ArtefactError(
            "this run has a checkpoint, from which it may go on", where=str(folder), do="finish it, or delete it"
        )
    found = Opened(read_manifest(folder, "run", 1), read_ids(folder))
    if not found.gone("user", users) and not found.gone("item", items):
        return None
    kind = MODELS[str(found.manifest["model"])]
    if not issubclass(kind, Recommender):
        return found
    tensors, metadata = read_tensors(folder / MODEL)
    sides = sides_of(kind, tensors, metadata, where=str(folder))
    return Opened(found.manifest, found.ids, tensors, sides, metadata)


def forget_run(folder: Path, users: set[str], items: set[str]) -> Gone:
    """Forget in a run: its ids and every row of its tables that belongs to one of them.

    Its split cannot be made again without them, so the run cannot be measured or exported any more; its record stays,
    and other runs can start from its parameters. A model that is fitted in one pass keeps no parameters: its weights
    are numbers between the rows of everybody, and fitting again takes seconds.

    Returns:
        The users and items that were there, and notes.

    Raises:
        ArtefactError, ConfigError: see `open_run`.
    """
    opened = open_run(folder, users, items)
    if opened is None:
        return (), (), ()
    manifest, ids = opened.manifest, opened.ids
    gone_users, gone_items = opened.gone("user", users), opened.gone("item", items)
    kept = {
        "user": torch.from_numpy(np.flatnonzero(~ids["user"].is_in(list(gone_users)).to_numpy())),
        "item": torch.from_numpy(np.flatnonzero(~ids["item"].is_in(list(gone_items)).to_numpy())),
    }
    learnt = bool(opened.tensors)
    before = manifest.get(FORGOTTEN, {"users": 0, "items": 0})
    count = {"users": before["users"] + len(gone_users), "items": before["items"] + len(gone_items)}
    with atomic_folder(folder, replace=True) as into:
        _carry_files(folder, into, {MANIFEST, MODEL, EMBEDDINGS, IDS}, ())
        if learnt:
            left = {
                name: value if (side := opened.sides[name]) is None else value[kept[side]]
                for name, value in opened.tensors.items()
            }
            write_tensors(into / MODEL, left, opened.metadata)
            vectors, _ = read_tensors(folder / EMBEDDINGS)
            write_tensors(into / EMBEDDINGS, {side: value[kept[side]] for side, value in vectors.items()})
        with atomic_path(into / IDS) as path:
            pl.concat(
                [pl.DataFrame({"kind": side, "id": ids[side].gather(kept[side].numpy())}) for side in ("user", "item")]
            ).write_parquet(path)
        write_manifest(into, "run", 1, {"model": manifest["model"], FORGOTTEN: count})
    notes = ["the run can no longer be measured, recommend or be exported: its split included them; train again"]
    notes += ["a new run can start from it (--warm-start)"] if learnt else ["its weights are deleted as a whole"]
    return gone_users, gone_items, tuple(notes)


def refuse_forgotten(manifest: Mapping[str, Any], folder: Path) -> None:
    """Refuse to open a run in which somebody was forgotten.

    Raises:
        WithdrawnError: when that is so.
    """
    count = manifest.get(FORGOTTEN)
    if count is not None:
        raise WithdrawnError(
            f"{count['users']:,} users and {count['items']:,} items were forgotten in this run, so that its split "
            "cannot be made again",
            where=str(folder),
            do="train again on the catalogue as it is now; --warm-start can begin from this run",
        )
