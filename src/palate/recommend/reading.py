"""Reading a bundle: every file and array is checked, and the whole tried out, before it is believed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from palate.core.artefact import MANIFEST, read_manifest, unchanged
from palate.core.errors import ArtefactError, ConfigError, DataError, PalateError
from palate.dataset.vocabulary import Vocabulary
from palate.encode.features import Features
from palate.graph.rows import Rows
from palate.recommend import foldin
from palate.recommend.bundle import (
    CONTENT,
    FEATURES,
    FOLD_IN,
    HISTORY,
    ITEMS,
    KIND,
    SCORES,
    USERS,
    VERSION,
    Bundle,
    ContentFacts,
    Facts,
    QualityFacts,
)
from palate.recommend.colditem import ContentPath, Modality, Regression, RegressionSettings
from palate.recommend.contentpaths import NeighbourPath, restore_own
from palate.recommend.forms import Form, ItemScores, Places, Vectors, Weights
from palate.recommend.stored import rows_of, stored_ids, stored_table, stored_tensors

AGAIN = "export the run again, or restore the bundle from a copy"
TEXTS = ("title", "description", "image", "audio")
LISTS = ("liked", "disliked", "seen")
# What strange values lead to, in a folder that anybody may have written.
DAMAGE = (ArithmeticError, AssertionError, LookupError, PalateError, RuntimeError, TypeError, ValueError)


def read_bundle(folder: Path) -> Bundle:
    """See `Bundle.load`."""
    with unchanged(folder) as real:
        manifest = read_manifest(real, KIND, VERSION)
        try:
            facts = Facts.parse({name: manifest[name] for name in manifest if name not in ("kind", "version", "files")})
        except ConfigError as error:
            raise ArtefactError(f"the manifest is damaged: {error.what}", where=str(real / MANIFEST)) from None
        _check_files(real, facts, manifest["files"])
        try:
            bundle = _read(real, facts)
            _try(bundle)
        except ArtefactError as error:
            raise ArtefactError(error.what, where=error.where or str(real), do=error.do or AGAIN) from None
        except DAMAGE as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ArtefactError(f"the bundle is damaged: {reason}", where=str(real), do=AGAIN) from None
    return dataclasses.replace(bundle, folder=folder)


def _check_files(folder: Path, facts: Facts, listed: Mapping[str, Any]) -> None:
    wanted = {SCORES, HISTORY, USERS, ITEMS}
    wanted |= {FOLD_IN} if facts.form == "vectors" else set()
    wanted |= {FEATURES} if facts.features else set()
    wanted |= {CONTENT} if facts.content is not None else set()
    there = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() and not path.name.startswith(".")
    } - {MANIFEST}
    for name in sorted(wanted ^ set(listed)) + sorted(there - wanted):
        problem = "is missing" if name in wanted else "does not belong here"
        raise ArtefactError(f"the file '{name}' {problem}", where=str(folder), do=AGAIN)


def _read(folder: Path, facts: Facts) -> Bundle:
    users = Vocabulary("user", stored_ids(folder / USERS, "user_id", facts.users))
    table = stored_table(folder / ITEMS, "item_id", facts.items)
    for column in TEXTS:
        if table.schema.get(column, pl.String) not in (pl.String, pl.Null):
            raise ArtefactError(f"the column '{column}' holds no text", where=str(folder / ITEMS))
    lists = stored_tensors(folder / HISTORY, {}, types=("I64", "I32"))
    for name in sorted(set(lists) - {f"{name}_{part}" for name in LISTS for part in ("pointer", "columns")}):
        raise ArtefactError(f"the array '{name}' is unknown", where=str(folder / HISTORY))
    liked, disliked, seen = (rows_of(lists, name, facts.users, facts.items, where=folder / HISTORY) for name in LISTS)
    _check_columns(facts)
    form = _form(folder, facts, liked)
    features = _features(folder, facts, table["item_id"]) if facts.features else {}
    content = None if facts.content is None else _content(folder, facts, facts.content, features)
    items = Vocabulary("item", table["item_id"])
    return Bundle(facts, form, users, items, table, liked, disliked, seen, features, content, folder)


def _check_columns(facts: Facts) -> None:
    read = {**facts.features, **({} if facts.content is None else facts.content.modalities)}
    for name, columns in facts.columns.items():
        if name not in read or len(columns) != read[name].width:
            raise ArtefactError(f"the names of the columns of '{name}' do not fit its features")


def _try(bundle: Bundle) -> None:
    """Fold somebody in, and place an item that has no content: parts that do not fit each other show here."""
    facts = bundle.facts
    folded = bundle.fold_in(bundle.items.ids[:1].to_list())
    vectors = [] if folded.vectors is None else [(folded.vectors, (1, facts.width))]
    made = [(folded.scores, (1, facts.items)), *vectors]
    if bundle.content is not None:
        for name, like in bundle.content.modalities.items():
            kept = facts.features.get(name)
            if kept is not None and (kept.width, kept.encoder) != (like.width, like.encoder):
                raise ArtefactError(f"new items and known ones have other features '{name}'")
        absent = {
            name: Features(name, np.zeros((1, like.width), np.float32), np.zeros(1, np.bool_), like.encoder, ("",))
            for name, like in bundle.content.modalities.items()
        }
        placed = bundle.place(absent)
        # A path of another bundle would give vectors of another width, or weights to other items.
        if (placed.weights is not None) != (facts.form == "weights" and isinstance(bundle.content, NeighbourPath)):
            raise ArtefactError("the way from content to items does not fit the items")
        found = placed.weights if placed.vectors is None else placed.vectors
        assert found is not None
        made.append((found, (1, facts.items if placed.vectors is None else facts.width)))
    for values, shape in made:
        if tuple(values.shape) != shape or values.dtype != torch.float32 or not bool(torch.isfinite(values).all()):
            raise ArtefactError("its parts do not fit each other")


def _form(folder: Path, facts: Facts, liked: Rows) -> Form:
    of_vectors = facts.form == "vectors"
    if (facts.stored and facts.form != "weights") or (not of_vectors and (facts.width or facts.fold_in)):
        raise ArtefactError("the manifest describes the scores in two ways")
    path, users, items = folder / SCORES, facts.users, facts.items
    if facts.form == "vectors":
        if facts.width is None or facts.fold_in is None:
            raise ArtefactError("the manifest lacks the width of the vectors, or how to fold in")
        width = facts.width
        tensors = stored_tensors(path, {"user": ("F32", (users, width)), "item": ("F32", (items, width))})
        if facts.fold_in.quality is not None:
            QualityFacts.parse(facts.fold_in.quality)
        learnt = stored_tensors(folder / FOLD_IN, {}, types=("F32",))
        folding = foldin.restore(facts.fold_in.kind, tensors["item"], facts.fold_in.settings, learnt)
        return Vectors(tensors["user"], tensors["item"], folding)
    if facts.form == "weights":
        count = facts.stored
        shapes = {"pointer": ("I64", (items + 1,)), "columns": ("I32", (count,)), "values": ("F32", (count,))}
        tensors = stored_tensors(path, shapes)
        structure = {"weights_pointer": tensors["pointer"], "weights_columns": tensors["columns"]}
        return Weights(rows_of(structure, "weights", items, items, where=path), tensors["values"].numpy(), liked)
    if facts.form == "item-scores":
        return ItemScores(stored_tensors(path, {"item": ("F32", (items,))})["item"], users)
    shapes = {"user": ("F32", (users,)), "item": ("F32", (items,)), "sign": ("I64", (1,))}
    tensors = stored_tensors(path, shapes)
    return Places(tensors["user"], tensors["item"], 1 if int(tensors["sign"]) > 0 else -1)


def _features(folder: Path, facts: Facts, ids: pl.Series) -> dict[str, Features]:
    dtype = "F16" if facts.precision == "float16" else "F32"
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, like in facts.features.items():
        shapes[f"{name}.rows"] = (dtype, (facts.items, like.width))
        shapes[f"{name}.present"] = ("BOOL", (facts.items,))
    tensors, names = stored_tensors(folder / FEATURES, shapes), tuple(ids.to_list())
    try:
        return {
            name: Features(
                name, tensors[f"{name}.rows"].float().numpy(), tensors[f"{name}.present"].numpy(), like.encoder, names
            )
            for name, like in facts.features.items()
        }
    except (DataError, ConfigError) as error:
        raise ArtefactError(f"the features are damaged: {error.what}", where=str(folder / FEATURES)) from None


def _content(folder: Path, facts: Facts, found: ContentFacts, features: Mapping[str, Features]) -> ContentPath:
    tensors = stored_tensors(folder / CONTENT, {}, types=("F32",))
    modalities = {name: Modality(like.width, like.encoder) for name, like in found.modalities.items()}
    path: ContentPath
    if found.kind == Regression.kind:
        total, width = sum(like.width for like in modalities.values()), facts.width
        shapes = {"centre": (total,), "weight": (total, width), "bias": (width,)}
        if {name: tuple(value.shape) for name, value in tensors.items()} != shapes:
            raise ArtefactError("the regression from content does not fit the manifest", where=str(folder / CONTENT))
        explained = RegressionSettings.parse(found.settings).explained
        path = Regression(modalities, tensors["centre"], tensors["weight"], tensors["bias"], explained)
    else:
        path = restore_own(found.kind, found.settings, tensors, modalities, features)
    return path
