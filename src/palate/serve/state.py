"""What is served: models, each loaded whole and checked before it takes the place of the one before it.

A path is a run or a bundle; it may be a link that is turned to another one, or a folder that is replaced. A request
takes its model once and keeps it to its end, so that a swap loses none.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import polars as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from palate.core.artefact import MANIFEST, kind_of, left_beside, unchanged
from palate.core.errors import ArtefactError, ConfigError, PalateError, WithdrawnError, unknown_name
from palate.encode.features import Features
from palate.measure.popularity import popularity
from palate.models.base import Embeddings
from palate.recommend.bundle import Bundle
from palate.recommend.filters import ItemFilters
from palate.recommend.forms import Vectors
from palate.recommend.index import ExactIndex, Index, choose_index
from palate.recommend.rerank import Rules
from palate.serve.branches import branches_of, no_branches
from palate.serve.refusals import Refusal
from palate.serve.words import ItemWords, UserIds

log = logging.getLogger("palate.serve")

Source = Literal["run", "bundle"]
Stamp = tuple[object, ...]
Outcome = Literal["swapped", "refused"]


class Served:
    """One model, ready to answer. Nothing of it changes once it stands on a shelf.

    Args:
        name: what requests call it.
        bundle: all that is known of it.
        source: what it was made of.
        parts: named parts of its scores, see `Recommender.score_parts`.
        media: the folder that the paths of pictures belong to.

    Raises:
        ConfigError: for a model that must not be served.
    """

    def __init__(
        self,
        name: str,
        bundle: Bundle,
        *,
        source: Source = "bundle",
        parts: Mapping[str, Embeddings] | None = None,
        media: Path | None = None,
    ) -> None:
        if bundle.form.kind == "places":
            raise ConfigError(f"{bundle.facts.title} is a leak canary, not to be served", where=name)
        self.name, self.bundle = name, bundle
        # Whether it is meant where a request names no model; its shelf knows.
        self.default = True
        self.source: Source = source
        self.media = None if media is None else media.resolve()
        seed = bundle.facts.recipe.get("seed", 0)
        self.seed: int = seed if isinstance(seed, int) else 0
        self.index: Index | None = None
        self.near: Index | None = None
        self.branches = no_branches(len(bundle.items))
        self.taken, self.counts = popularity(bundle.seen), popularity(bundle.liked)
        form = bundle.form
        if isinstance(form, Vectors):
            self.index = choose_index(form.item, form.user, seed=self.seed)
            self.near = ExactIndex(F.normalize(form.item, dim=1))
            # Items that nobody took may stand where their content put them, which the model's parts know nothing of.
            unlearnt = self.counts == 0 if bundle.facts.placed else None
            self.branches = branches_of(parts or {}, form.user, form.item, unlearnt)
        self.modal = {key: ExactIndex(_shared(value)) for key, value in bundle.features.items()}
        self.filters = ItemFilters(bundle.table, bundle.items)
        self.words = ItemWords(bundle.table, self.taken)
        self.people = UserIds(bundle.users.ids, bundle.seen)
        # Ids are looked up by request; the tables are made now.
        bundle.users.find("")
        bundle.items.find("")
        columns = [pl.col(key) if key in bundle.table.columns else pl.lit(None, pl.String).alias(key) for key in SHORT]
        self.short = bundle.table.select(columns)

    @property
    def searched(self) -> str:
        """How items are searched, in plain words."""
        return self.index.about if self.index is not None else "all items are scored"

    @property
    def lacks_media(self) -> bool:
        """Items name pictures, and nobody said where they are."""
        return self.media is None and self.short["image"].null_count() < self.short.height

    @cached_property
    def rules(self) -> Rules:
        """No rule; what rules look at, made once."""
        return Rules(self.bundle.liked)

    def user(self, name: str) -> int:
        """The row number of a user.

        Raises:
            Refusal: 404 for an unknown one.
        """
        return _found("user", name, self.bundle.users.find(name))

    def item(self, name: str) -> int:
        """The row number of an item.

        Raises:
            Refusal: 404 for an unknown one.
        """
        return _found("item", name, self.bundle.items.find(name))


SHORT = ("item_id", "title", "image")


def _found(kind: str, name: str, row: int | None) -> int:
    if row is None:
        raise Refusal(404, f"there is no {kind} '{name}'", do=f"see /v1/{kind}s?query=…")
    return row


def _shared(features: Features) -> Tensor:
    """The rows of features as a tensor, without a copy where that can be."""
    view = features.matrix.view()
    try:
        view.flags.writeable = True
    except ValueError:  # mapped into memory for reading alone
        return torch.tensor(features.matrix)
    return torch.from_numpy(view)


def load(name: str, path: Path, *, media: Path | None = None, data: Path | None = None) -> Served:
    """Load a run or a bundle, everything checked.

    Args:
        name: what requests call it.
        path: its folder.
        media: the folder that the paths of pictures belong to; None: for a run, its catalogue's; for a bundle, none.
        data: of a run: its catalogue, where that has moved.

    Raises:
        PalateError: when it is neither, or cannot be believed.
    """
    kind = kind_of(path)
    if kind == "run":
        from palate.experiment import METRICS, Run
        from palate.models import Recommender

        with unchanged(path, but=METRICS) as real:
            run = Run.load(real, data=data)
            model = run.model()
            parts = model.score_parts() if isinstance(model, Recommender) else {}
            folder = media or run.data.catalogue.media_folder
            return Served(name, run.bundle(), source="run", parts=parts, media=folder)
    if kind not in (None, "bundle"):
        raise ArtefactError(f"this folder is a {kind}, not a run or a bundle", where=str(path), do="name one of those")
    if (path / "recipe.yaml").exists() and not (path / MANIFEST).exists():
        raise ArtefactError("this run is not finished", where=str(path), do="go on with 'palate train'")
    return Served(name, Bundle.load(path), media=media)


def stamp(path: Path) -> Stamp:
    """What tells one state of a folder from another: its files' names, sizes and times. Empty where it is not there."""
    try:
        real = path.resolve(strict=True)
        files = sorted(entry for entry in real.iterdir() if not entry.name.startswith("."))
        facts = [
            (entry.name, found.st_size, found.st_mtime_ns, found.st_ino) for entry in files if (found := entry.stat())
        ]
    except (OSError, RuntimeError):
        # RuntimeError: links that lead to each other.
        return ()
    return (str(real), *facts)


def standing(path: Path) -> Path:
    """The folder itself; or, where whoever replaced it was killed at that very moment, the old one beside its place."""
    if path.exists():
        return path
    try:
        # Where a link's folder is replaced, what was there lies beside that folder.
        place = path.resolve() if path.is_symlink() else path
    except (OSError, RuntimeError):
        return path
    left = [old / "was" for old in left_beside(place, "old") if (old / "was" / MANIFEST).is_file()]
    if not left:
        return path
    log.warning("%s is gone: somebody was stopped while replacing it; what was there before is served", path)
    return max(left, key=lambda folder: folder.stat().st_mtime_ns)


@dataclass
class Place:
    """One of the paths that are served.

    Attributes:
        name: what requests call it.
        served: what is there now; None when somebody was forgotten in the run that was served.
        path: where it comes from; None for what is not reloaded.
        load: makes a `Served` of the path.
        seen: the state of the path that was looked at last.
        since: when `served` came, seconds since 1970.
    """

    name: str
    served: Served | None
    path: Path | None = None
    load: Callable[[], Served] | None = None
    seen: Stamp = ()
    since: float = field(default_factory=time.time)


class Shelf:
    """All models that are served, by name; the first is the default.

    Args:
        places: at least one.
        told: is called with the model's name after every attempt to swap.
    """

    def __init__(self, places: list[Place], told: Callable[[str, Outcome], None] | None = None) -> None:
        self.places = {place.name: place for place in places}
        self.default = places[0].name
        for place in places:
            if place.served is not None:
                place.served.default = place.name == self.default
        self.told = told
        self._lock = threading.Lock()

    @classmethod
    def of(cls, *models: Served) -> Shelf:
        """Models that are in memory already."""
        return cls([Place(model.name, model) for model in models])

    @classmethod
    def open(cls, paths: Mapping[str, Path], *, media: Path | None = None, data: Path | None = None) -> Shelf:
        """Load everything that shall be served.

        Args:
            paths: name → run or bundle; at least one.
            media, data: see `load`.

        Raises:
            PalateError: when one of them cannot be served.
        """

        def place(name: str, path: Path) -> Place:
            def again() -> Served:
                return load(name, standing(path), media=media, data=data)

            # Looked at first: what changes while it is read is read again.
            served, seen = _twice(again, path, stamp(path))
            return Place(name, served, path, again, seen)

        return cls([place(name, path) for name, path in paths.items()])

    def get(self, name: str | None = None) -> Served:
        """A model as it is now.

        Raises:
            Refusal: 404 for an unknown name, 410 for a run in which somebody was forgotten.
        """
        place = self.places.get(name or self.default)
        if place is None:
            served = [other.name for other, _ in self.all()]
            raise Refusal(404, unknown_name("model", name or "", served), do=f"there are: {', '.join(served)}")
        if place.served is None:
            raise Refusal(
                410, f"'{place.name}' is not served any more: somebody was forgotten in its run", do="train it again"
            )
        return place.served

    def all(self) -> list[tuple[Place, Served]]:
        """The places with something to serve, and what that is now."""
        return [(place, served) for place in list(self.places.values()) if (served := place.served) is not None]

    def refresh(self, *, force: bool = False) -> None:
        """Load what has changed on disk; what cannot be loaded leaves the old model in its place.

        A run in which somebody was forgotten is the exception: its old model is not served any more.

        Args:
            force: also load what has not changed.
        """
        with self._lock:
            for place in self.places.values():
                if place.path is not None and place.load is not None:
                    now = stamp(place.path)
                    # A folder that is being replaced is away for a moment.
                    if force or now not in ((), place.seen):
                        self._swap(place, place.path, place.load, now)

    def _swap(self, place: Place, path: Path, again: Callable[[], Served], now: Stamp) -> None:
        place.seen = now
        outcome: Outcome = "refused"
        try:
            new, place.seen = _twice(again, path, now)
        except WithdrawnError as error:
            place.served = None
            log.error("%s: is not served any more: %s", place.name, error.what)
        except Exception as error:  # Whatever is wrong with the new model, the old one goes on, and the watcher too.
            reason = " ".join(str(error).split())
            log.error(
                "%s: what is in %s now is not served, the old model stays: %s",
                place.name,
                place.path,
                reason or type(error).__name__,
                exc_info=not isinstance(error, PalateError | OSError | MemoryError),
            )
        else:
            new.default = place.name == self.default
            place.served, place.since, outcome = new, time.time(), "swapped"
            facts = new.bundle.facts
            log.info("%s: swapped; now %s, %s users, %s items", place.name, facts.title, facts.users, facts.items)
        if self.told is not None:
            self.told(place.name, outcome)


def _twice(again: Callable[[], Served], path: Path, seen: Stamp) -> tuple[Served, Stamp]:
    """What is in `path`, and the state in which it was read; what changed while it was read is read once more."""
    try:
        return again(), seen
    except (PalateError, OSError):
        now = stamp(path)
        if now == seen:
            raise
    return again(), now


def names_of(words: list[str]) -> dict[str, Path]:
    """Name → path of what a person wants served, from `PATH` or `NAME=PATH`; a path's own name is its folder's.

    Raises:
        ConfigError: for a name that is given twice, or is none.
    """
    found: dict[str, Path] = {}
    for word in words:
        given, equals, rest = word.partition("=")
        named = bool(equals) and "/" not in given and not Path(word).exists()
        path = Path(rest if named else word)
        name = given if named else path.name or path.resolve().name
        if named and not (name and rest):
            raise ConfigError(f"'{word}' names no model", do="write NAME=PATH, or the path alone")
        number = 2
        while not named and name in found:
            name, number = f"{path.name}-{number}", number + 1
        if name in found:
            raise ConfigError(f"two models are called '{name}'", do="give them other names: NAME=PATH")
        found[name] = path
    return found
