"""`palate data describe`: what a catalogue holds on one screen, and what that advises.

Takes a catalogue folder; gives a `Description`: figures for people, for JSON, and for a page with plots.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palate.core.errors import ArtefactError, DataError
from palate.dataset.splits import tied_share, tied_text
from palate.encode.categories import category_columns
from palate.encode.media import media_files
from palate.encode.store import FeatureStore
from palate.encode.text import TEXT_COLUMNS
from palate.ingest.catalogue import Catalogue
from palate.ingest.cells import parse_text
from palate.ingest.filters import k_core
from palate.ingest.knowledge import KnowledgeStatistics, knowledge_statistics
from palate.ingest.media import KINDS
from palate.study.advice import advise

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
QUANTILE_NAMES = ("least", "25 %", "median", "75 %", "90 %", "most")
# Ratings of more different values than this are no scale of stars, and are shown in bins.
MOST_VALUES = 20
BINS = 10
HEAD_SHARE = 0.1
CORE = 5
BAR = 24


@dataclass(frozen=True)
class Activity:
    """Interactions of each user, or of each item.

    Attributes:
        counts: one number per user or item, descending; zero for items that nobody met.
        quantiles: least, lower quartile, median, upper quartile, 90 % and largest of them.
        mean: their mean.
    """

    counts: NDArray[np.int64]
    quantiles: tuple[int, ...]
    mean: float

    @classmethod
    def of(cls, counts: NDArray[np.int64]) -> Activity:
        """Of counts in any order; zeros throughout for none."""
        some = counts if len(counts) else np.zeros(1, dtype=np.int64)
        quantiles = np.quantile(some, QUANTILES, method="lower")
        return cls(np.sort(counts)[::-1], tuple(int(value) for value in quantiles), float(some.mean()))


@dataclass(frozen=True)
class Coverage:
    """One kind of content.

    Attributes:
        modality: its name.
        content: items that have it, by column of the item table.
        any_content: items with one of these columns at least.
        encoded: items that have a row of features, or None when nothing is encoded under this name.
        lost: items whose path leads to no file, or to an empty one; they are counted as content all the same.
    """

    modality: str
    content: dict[str, int]
    any_content: int
    encoded: int | None
    lost: int = 0


@dataclass(frozen=True)
class Description:
    """What `describe` found.

    Attributes:
        name: the catalogue's.
        users, items, interactions: how many; users are those with an interaction, items all of the item table.
        cold_items: items that nobody met.
        density: interactions out of all pairs of a user and an item.
        user_activity, item_activity: interactions of each.
        coverage: content and features by modality.
        complete: items with every kind of content there is.
        ratings: how often each rating occurs, or each bin of ratings by its lower bound; empty without ratings.
        rating_bins: width of these bins, or None when each value is its own.
        days: first and last day (UTC), or None without times that count seconds since 1970.
        times: interactions with a timestamp.
        tied: share of these whose time another one of the same user has too.
        splits, events: interactions by split and by event.
        head_share: share of the interactions that the busiest tenth of the items has.
        gini: of the items' interactions; 0: all equal, towards 1: one has all.
        core: interactions, users and items of the 5-core.
        knowledge: statistics of the triples, or None.
        advice: what to do with such data.
        notes: features that cannot be read.
    """

    name: str
    users: int
    items: int
    interactions: int
    cold_items: int
    density: float
    user_activity: Activity
    item_activity: Activity
    coverage: tuple[Coverage, ...]
    complete: int
    ratings: dict[float, int]
    rating_bins: float | None
    days: tuple[str, str] | None
    times: int
    tied: float
    splits: dict[str, int]
    events: dict[str, int]
    head_share: float
    gini: float
    core: tuple[int, int, int]
    knowledge: KnowledgeStatistics | None
    advice: tuple[str, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain["coverage"] = [dataclasses.asdict(part) for part in self.coverage]
        plain["ratings"] = [{"rating": rating, "count": count} for rating, count in self.ratings.items()]
        plain["core"] = dict(zip(("interactions", "users", "items"), self.core, strict=True))
        plain["knowledge"] = None if self.knowledge is None else dataclasses.asdict(self.knowledge)
        for key in ("user_activity", "item_activity"):
            activity: Activity = plain[key]
            plain[key] = {**dict(zip(QUANTILE_NAMES, activity.quantiles, strict=True)), "mean": activity.mean}
        return plain

    def text(self) -> str:
        """One screen."""
        lines = [
            f"{self.name}: {self.users:,} users, {self.items:,} items ({self.cold_items:,} that nobody met), "
            f"{self.interactions:,} interactions, density {self.density:.4%}",
            "",
            f"{'interactions of a':<20}" + "".join(f"{name:>9}" for name in (*QUANTILE_NAMES, "mean")),
        ]
        for name, activity in (("user", self.user_activity), ("item", self.item_activity)):
            row = "".join(f"{value:>9,}" for value in activity.quantiles)
            lines.append(f"  {name:<18}{row}{activity.mean:>9.1f}")
        lines.append(
            f"long tail: the busiest tenth of the items has {self.head_share:.1%} of all, Gini {self.gini:.3f}"
        )
        lines += self._time_lines()
        if self.ratings:
            most = max(self.ratings.values())
            lines += ["", "ratings"]
            lines += [
                f"  {self.rating_label(rating):>12} {'█' * round(BAR * count / most):<{BAR}} {count:,}"
                for rating, count in self.ratings.items()
            ]
        lines += ["", f"{'content':<14}{'items with it':>16}{'':>10}{'encoded':>16}"]
        lines += [f"  {line}" for line in self.coverage_lines()] or ["  none"]
        if self.lacking_line():
            lines.append(f"  {self.lacking_line()}")
        if self.knowledge is not None:
            lines += ["", "knowledge", *(f"  {line}" for line in self.knowledge.lines())]
        lines += ["", "advice", *(f"  - {line}" for line in self.advice)]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def rating_label(self, rating: float) -> str:
        """What stands for a rating, or for the bin that begins with it."""
        return f"{rating:g}" if self.rating_bins is None else f"{rating:.3g} to {rating + self.rating_bins:.3g}"

    def coverage_lines(self) -> list[str]:
        """A line for each kind of content."""
        lines: list[str] = []
        for part in self.coverage:
            share = part.any_content / max(self.items, 1)
            columns = ", ".join(f"{column} {count:,}" for column, count in part.content.items())
            encoded = "no" if part.encoded is None else f"{part.encoded:,} ({part.encoded / max(self.items, 1):.1%})"
            given = f"{part.any_content:>14,}{f'({share:.1%})':>10}" if part.content else f"{'-':>14}{'':>10}"
            lost = f"  {part.lost:,} of these paths lead{'s' if part.lost == 1 else ''} to no file" if part.lost else ""
            more = "  " + columns if len(part.content) > 1 else lost
            lines.append(f"{part.modality:<12}{given}{encoded:>18}{more}")
        return lines

    def lacking_line(self) -> str:
        """How many items lack what; empty where no content is known of."""
        content = [part for part in self.coverage if part.content]
        if not content:
            return ""
        without = {part.modality: self.items - part.any_content for part in content if part.any_content < self.items}
        if not without:
            return "no item lacks any of it"
        counts = ", ".join(f"{modality} {count:,}" for modality, count in without.items())
        share = self.complete / max(self.items, 1)
        return f"items without: {counts}; {self.complete:,} ({share:.1%}) have every kind of content"

    def _time_lines(self) -> list[str]:
        lines: list[str] = []
        if self.days is not None:
            lines.append(f"times: {self.days[0]} to {self.days[1]}")
        elif self.times:
            lines.append("times: an order, but no seconds since 1970")
        if tied_text(self.tied):
            lines.append(f"times: {tied_text(self.tied)}")
        for name, counts in (("splits", self.splits), ("events", self.events)):
            if counts:
                lines.append(f"{name}: " + ", ".join(f"{key} {count:,}" for key, count in counts.items()))
        return lines


def describe(folder: Path) -> Description:
    """Figures of a catalogue and its features.

    Raises:
        ArtefactError: when it is no catalogue, or is damaged.
    """
    catalogue = Catalogue.load(folder)
    log, items = catalogue.interactions, catalogue.items
    users = _counts(log, "user_id")
    met = _counts(log, "item_id")
    per_item = np.concatenate([met, np.zeros(items.height - len(met), dtype=np.int64)])
    coverage, complete, notes = _coverage(catalogue, folder)
    ratings, bins = _histogram(log["rating"].drop_nulls())
    core = k_core(log, CORE, CORE)
    timed = log.select("user_id", "timestamp").drop_nulls()
    made = Description(
        name=catalogue.name,
        users=len(users),
        items=items.height,
        interactions=log.height,
        cold_items=items.height - len(met),
        density=log.height / max(len(users) * items.height, 1),
        user_activity=Activity.of(users),
        item_activity=Activity.of(per_item),
        coverage=coverage,
        complete=complete,
        ratings=ratings,
        rating_bins=bins,
        days=_days(log["timestamp"].drop_nulls()),
        times=log.height - log["timestamp"].null_count(),
        tied=tied_share(timed["user_id"], timed["timestamp"]),
        splits=_named(log["split"]),
        events=_named(log["event"]),
        head_share=head_share(per_item),
        gini=gini(per_item),
        core=(core.height, core["user_id"].n_unique(), core["item_id"].n_unique()),
        knowledge=_knowledge(catalogue),
        advice=(),
        notes=notes,
    )
    return dataclasses.replace(made, advice=advise(made, _counted(log["rating"]), folder))


def gini(counts: NDArray[np.int64]) -> float:
    """The Gini coefficient of counts: 0 when all are equal, (n - 1) / n when one of n has everything."""
    total = int(counts.sum())
    if total == 0:
        return 0.0
    ordered = np.sort(counts).astype(np.float64)
    ranks = np.arange(1, len(ordered) + 1)
    return float(2 * (ranks * ordered).sum() / (len(ordered) * total) - (len(ordered) + 1) / len(ordered))


def head_share(counts: NDArray[np.int64], share: float = HEAD_SHARE) -> float:
    """The part of the sum that the largest counts have; `share` of the counts, rounded up, are the largest."""
    total = int(counts.sum())
    head = np.sort(counts)[::-1][: int(np.ceil(share * len(counts)))]
    return int(head.sum()) / total if total else 0.0


def _counts(log: pl.DataFrame, column: str) -> NDArray[np.int64]:
    return log.group_by(column).len()["len"].to_numpy().astype(np.int64)


def _named(column: pl.Series) -> dict[str, int]:
    counts = (
        column.drop_nulls()
        .alias("name")
        .to_frame()
        .group_by("name")
        .len()
        .sort("len", "name", descending=[True, False])
    )
    return dict(counts.iter_rows())


def _counted(ratings: pl.Series) -> dict[float, int]:
    return dict(ratings.drop_nulls().alias("rating").value_counts().sort("rating").iter_rows())


def _histogram(ratings: pl.Series) -> tuple[dict[float, int], float | None]:
    if not len(ratings):
        return {}, None
    if ratings.n_unique() <= MOST_VALUES:
        return _counted(ratings), None
    numbers, edges = np.histogram(ratings.to_numpy(), bins=BINS)
    return dict(zip(edges[:-1].tolist(), numbers.tolist(), strict=True)), float(edges[1] - edges[0])


def _days(times: pl.Series) -> tuple[str, str] | None:
    """First and last day; None when the times cannot be seconds since 1970 (a year from 1971 to 2100)."""
    bounds = (times.min(), times.max())
    if not all(isinstance(bound, int) and 31_536_000 <= bound < 4_102_444_800 for bound in bounds):
        return None
    first, last = (datetime.fromtimestamp(bound, UTC).date().isoformat() for bound in bounds if isinstance(bound, int))
    return first, last


def _coverage(catalogue: Catalogue, folder: Path) -> tuple[tuple[Coverage, ...], int, tuple[str, ...]]:
    """Content of the items by modality, how many have all of it, and notes; features of other names come last."""
    items = catalogue.items
    columns: dict[str, Sequence[str]] = {
        "text": [column for column in TEXT_COLUMNS if column in items.columns],
        "categories": category_columns(items),
        "audio": ["audio"],
        "image": ["image"],
    }
    encoded: dict[str, int] = {}
    notes: list[str] = []
    store = FeatureStore(folder)
    for name in store.names():
        try:
            encoded[name] = int(store.load(name, items["item_id"].to_list()).present.sum())
        except (ArtefactError, DataError) as error:
            notes.append(f"features '{name}' are not counted: {error.what}")
    found: list[Coverage] = []
    complete = np.ones(items.height, dtype=np.bool_)
    for modality, names in columns.items():
        # A blank cell is no content.
        has = pl.DataFrame([parse_text(items[name]).is_not_null().alias(name) for name in names])
        filled = {name: int(has[name].sum()) for name in names}
        filled = {name: count for name, count in filled.items() if count}
        if filled:
            some = has.select(pl.any_horizontal(list(filled))).to_series().to_numpy()
            complete &= some
            lost = _lost(catalogue, modality) if modality in KINDS else 0
            found.append(Coverage(modality, filled, int(some.sum()), encoded.pop(modality, None), lost))
    entities = catalogue.item_entities
    if catalogue.knowledge is not None and entities is not None:
        known = items["item_id"].is_in(entities["item_id"].to_list()).to_numpy()
        complete &= known
        linked = int(known.sum())
        found.append(Coverage("knowledge", {"entity": linked}, linked, encoded.pop("knowledge", None)))
    found += [Coverage(name, {}, 0, count) for name, count in encoded.items()]
    return tuple(found), int(complete.sum()), tuple(notes)


def _lost(catalogue: Catalogue, modality: str) -> int:
    files = media_files(catalogue.items, modality, catalogue.media_folder)
    return sum(file is not None and file.size() == 0 for file in files)


def _knowledge(catalogue: Catalogue) -> KnowledgeStatistics | None:
    if catalogue.knowledge is None or catalogue.item_entities is None:
        return None
    return knowledge_statistics(catalogue.knowledge, catalogue.item_entities, catalogue.items["item_id"].to_list())
