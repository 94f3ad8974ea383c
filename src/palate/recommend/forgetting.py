"""Forgetting a user or an item: nothing that Palate stored of it stays in a bundle, a run, a catalogue or a list.

Each place is written anew and swapped in whole. What a model learnt from somebody lives on in what it learnt of
others; only training again without them ends that, and the notes say so.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from palate.core.artefact import MANIFEST, atomic_path, kind_of, left_beside
from palate.core.errors import ArtefactError, DataError, nearest
from palate.core.lock import changing
from palate.dataset.vocabulary import Vocabulary
from palate.graph.rows import IntArray, Rows
from palate.recommend.bundle import Bundle
from palate.recommend.colditem import ContentPath
from palate.recommend.contentpaths import NeighbourPath
from palate.recommend.foldin import of_items
from palate.recommend.forgetting_stored import forget_catalogue, forget_run, open_run
from palate.recommend.forms import Form, ItemScores, Places, Vectors, Weights
from palate.recommend.topk import write_table

TREC = {"run.txt": (0, 2), "qrels.txt": (0, 2)}
# What else Palate makes that holds ids: a file that tells it, and what it is.
RECORDS = {
    "comparison.json": "a comparison, with runs and lists of everybody",
    "checkpoint": "a run that is not finished",
    "*.inter": "an export for another toolkit",
}
OTHERS = (
    "runs that were trained on it cannot be opened any more: train again; runs, bundles and lists that were made of it "
    "hold them until they are named here too"
)
REMAINS = (
    "what it learnt from them stays in the vectors and weights of everybody else until it is trained again without them"
)


@dataclass(frozen=True)
class Forgotten:
    """What was forgotten in one place.

    Attributes:
        where: the folder or file.
        kind: bundle, run, catalogue, table or ranked lists.
        users, items: the ids that it held, and holds no more.
        notes: what should be known besides.
    """

    where: Path
    kind: str
    users: tuple[str, ...]
    items: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        gone = [f"{kind} '{name}'" for kind, names in (("user", self.users), ("item", self.items)) for name in names]
        lines = [f"{self.where}: {self.kind}: " + (f"forgot {', '.join(gone)}" if gone else "knew none of them")]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def forget(places: Collection[Path], users: Collection[str] = (), items: Collection[str] = ()) -> list[Forgotten]:
    """Forget users and items in all of these places; a place that knows none stays as it is.

    What killed processes left beside a place may hold anybody, and is deleted.

    Args:
        places: folders of bundles, runs, catalogues and TREC exports; tables (.parquet or .csv) with `user_id` or
            `item_id`, such as `palate recommend` writes.
        users, items: ids.

    Raises:
        ArtefactError, ConfigError: for a place of another kind, a damaged one, or one that another process writes.
            Kinds, and runs, are looked at before anything is written; where something else is wrong, the places before
            it are done.
        DataError: when an id is in none of them.
    """
    for place in places:
        if _kind(Path(place)) == "run":
            open_run(Path(place), set(users), set(items))
    done: list[Forgotten] = []
    for place in places:
        with changing(Path(place), "forgetting in it"):
            done.append(_cleared(_forget_in(Path(place), set(users), set(items))))
    for kind, wanted, found in (
        ("user", users, {name for one in done for name in one.users}),
        ("item", items, {name for one in done for name in one.items}),
    ):
        missing = sorted(set(wanted) - found)
        if missing:
            told = "\n".join(str(one) for one in done if one.users or one.items)
            raise DataError(
                f"no {kind} '{missing[0]}' is known in {', '.join(str(place) for place in places)}"
                + (f"; of the others:\n{told}" if told else ""),
                do="check the id" + "; whatever else was to be forgotten is forgotten" * bool(told),
            )
    return done


def _kind(place: Path) -> str:
    if place.suffix in (".parquet", ".csv") and place.is_file():
        return "table"
    if place.is_dir() and all((place / name).is_file() for name in TREC) and not (place / MANIFEST).exists():
        return "ranked lists"
    kind = kind_of(place)
    if kind in ("bundle", "catalogue", "run"):
        return kind
    for file, what in RECORDS.items():
        if place.is_dir() and any(place.glob(file)):
            raise ArtefactError(
                f"this is {what}, which is not written anew without somebody",
                where=str(place),
                do="delete the folder, and make it again where it is needed",
            )
    guess = nearest(place.name, [path.name for path in place.parent.iterdir()]) if place.parent.is_dir() else None
    raise ArtefactError(
        "this is no bundle, run, catalogue, table or ranked lists" if place.exists() else "there is nothing here",
        where=str(place),
        do=f"did you mean '{guess}'?" if guess and not place.exists() else "name what 'palate' made",
    )


def _forget_in(place: Path, users: set[str], items: set[str]) -> Forgotten:
    kind = _kind(place)
    if kind == "table":
        return _forget_table(place, users, items)
    if kind == "ranked lists":
        return _forget_lists(place, users, items)
    if kind == "bundle":
        return _forget_bundle(place, users, items)
    if kind == "catalogue":
        gone = forget_catalogue(place, users, items)
        return Forgotten(place, kind, gone[0], gone[1], (*gone[2], OTHERS) if gone[0] or gone[1] else ())
    gone_users, gone_items, notes = forget_run(place, users, items)
    return Forgotten(place, kind, gone_users, gone_items, (*notes, f"the model: {REMAINS}") if notes else ())


def _cleared(done: Forgotten) -> Forgotten:
    left = left_beside(done.where.resolve(), "old", "partial")
    for path in left:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    if not left:
        return done
    names = ", ".join(path.name for path in left)
    return dataclasses.replace(
        done, notes=(*done.notes, f"what killed processes had left beside it is deleted: {names}")
    )


def _forget_table(place: Path, users: set[str], items: set[str]) -> Forgotten:
    try:
        stored = place.suffix == ".parquet"
        table = pl.read_parquet(place, glob=False) if stored else pl.read_csv(place, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ArtefactError(f"the table cannot be read: {error}", where=str(place)) from None
    columns = [(name, wanted) for name, wanted in (("user_id", users), ("item_id", items)) if name in table.columns]
    if not columns:
        raise ArtefactError("this table has no column user_id or item_id", where=str(place), do="name another file")
    gone = {name: tuple(sorted(wanted & set(table[name].cast(pl.String)))) for name, wanted in columns}
    for name, _ in columns:
        # A row of nobody is nobody's.
        table = table.filter(~pl.col(name).cast(pl.String).is_in(list(gone[name])).fill_null(False))
    if any(gone.values()):
        write_table(table, place)
    return Forgotten(place, "table", gone.get("user_id", ()), gone.get("item_id", ()))


def _forget_lists(place: Path, users: set[str], items: set[str]) -> Forgotten:
    gone: tuple[set[str], set[str]] = (set(), set())
    for name, (user, item) in TREC.items():
        kept: list[str] = []
        for line in (place / name).read_text(encoding="utf-8").splitlines(keepends=True):
            words = line.split()
            here = ({words[user]} & users, {words[item]} & items) if len(words) > item else (set[str](), set[str]())
            gone[0].update(here[0])
            gone[1].update(here[1])
            if not here[0] and not here[1]:
                kept.append(line)
        with atomic_path(place / name) as path:
            path.write_text("".join(kept), encoding="utf-8")
    return Forgotten(place, "ranked lists", tuple(sorted(gone[0])), tuple(sorted(gone[1])))


def _forget_bundle(place: Path, users: set[str], items: set[str]) -> Forgotten:
    bundle = Bundle.load(place)
    gone = [tuple(sorted(wanted & set(known.ids))) for wanted, known in ((users, bundle.users), (items, bundle.items))]
    if not any(gone):
        return Forgotten(place, "bundle", (), ())
    if len(gone[1]) == len(bundle.items):
        raise DataError("a bundle without any item is none", where=str(place), do="delete the folder")
    without(bundle, gone[0], gone[1]).save(place, replace=True)
    return Forgotten(place, "bundle", gone[0], gone[1], (f"the model: {REMAINS}",))


def without(bundle: Bundle, users: Collection[str], items: Collection[str]) -> Bundle:
    """A bundle without some users and items: their vectors, weights, ids, features and every list they are in."""
    kept_users, kept_items = _kept(bundle.users, users), _kept(bundle.items, items)
    lists = {name: _part(getattr(bundle, name), kept_users, kept_items) for name in ("liked", "disliked", "seen")}
    form = _form(bundle.form, kept_users, kept_items, lists["liked"])
    # Of the items that are left, at most those that nobody is known to like were placed.
    unliked = int((lists["liked"].transpose().lengths == 0).sum())
    features = {name: value.take(kept_items) for name, value in bundle.features.items()}
    facts = {
        "users": len(kept_users),
        "items": len(kept_items),
        "stored": len(form.values) if isinstance(form, Weights) else 0,
        "placed": min(bundle.facts.placed, unliked),
    }
    return dataclasses.replace(
        bundle,
        facts=bundle.facts.override(facts),
        form=form,
        users=Vocabulary("user", bundle.users.ids.gather(kept_users)),
        items=Vocabulary("item", bundle.items.ids.gather(kept_items)),
        table=bundle.table[kept_items],
        features=features,
        content=None if bundle.content is None else _path(bundle.content, features, kept_items),
        folder=None,
        **lists,
    )


def _kept(vocabulary: Vocabulary, names: Collection[str]) -> IntArray:
    return np.delete(np.arange(len(vocabulary)), vocabulary.rows(names))


def _part(rows: Rows, kept: IntArray, columns: IntArray) -> Rows:
    """Some rows of `rows`, with some of its columns, both numbered anew."""
    taken = rows.take(kept)
    place = np.full(rows.width, -1, dtype=np.int64)
    place[columns] = np.arange(len(columns))
    owner, now = taken.row_of_entry(), place[taken.columns]
    return Rows.from_pairs(owner[now >= 0], now[now >= 0], len(kept), len(columns))


def _form(form: Form, users: IntArray, items: IntArray, liked: Rows) -> Form:
    user_rows, item_rows = torch.from_numpy(users), torch.from_numpy(items)
    if isinstance(form, Vectors):
        item = form.item[item_rows]
        return Vectors(form.user[user_rows], item, of_items(form.folding, item))
    if isinstance(form, Weights):
        entry = Rows(form.weights.pointer, np.arange(form.weights.size, dtype=np.int32), max(1, form.weights.size))
        values = form.values[entry.take(items).columns]
        stays = np.isin(form.weights.take(items).columns, items)
        return Weights(_part(form.weights, items, items), values[stays], liked)
    if isinstance(form, ItemScores):
        return ItemScores(form.item[item_rows], len(users))
    assert isinstance(form, Places)
    return Places(form.user[user_rows], form.item[item_rows], form.sign)


def _path(path: ContentPath, features: Mapping[str, Any], items: IntArray) -> ContentPath:
    if not isinstance(path, NeighbourPath):
        return path
    rows = torch.from_numpy(items)
    handed = None if path.handed is None else path.handed[rows]
    return NeighbourPath(path.rule, path.groups, features, handed, path.scale[rows])
