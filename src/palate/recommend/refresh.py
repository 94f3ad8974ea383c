"""New interactions without training: users who did something, and new ones, are folded in anew.

Takes a bundle and a table of events; gives a new bundle and says what could not be used. Items stay as they are
(`growing` takes new ones in).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import polars as pl

from palate.core.errors import DataError
from palate.dataset.vocabulary import Vocabulary
from palate.encode.features import some
from palate.graph.rows import IntArray, Rows
from palate.recommend.bundle import Bundle, Facts
from palate.recommend.foldin import by_rating
from palate.recommend.forms import replaced

# Ratings of which one would expect some to be liked; and how far beyond the least that is liked no scale goes on.
MANY, MANY_TIMES = 20, 10


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did.

    Attributes:
        bundle: the new one.
        events: that were used.
        changed: known users who were folded in anew.
        added: users who were not known before.
        unknown: the items that the bundle does not know, each once, whose events were left out.
        left_out: how many events that were.
        notes: what should be known besides.
    """

    bundle: Bundle
    events: int
    changed: int
    added: int
    unknown: tuple[str, ...]
    left_out: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.events:,} events: {self.changed:,} users refreshed, {self.added:,} new users"]
        if self.unknown:
            lines.append(
                f"left out: {self.left_out:,} events with {len(self.unknown):,} items that the bundle does not know: "
                f"{some(list(self.unknown))}; --items CAT takes them in by their content, and training again by all"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def refresh(bundle: Bundle, events: pl.DataFrame) -> Refreshed:
    """A bundle that knows of further events.

    An event with an item that the user met before counts as the user's latest word on it: a new rating takes the place
    of the old one.

    Args:
        events: `user_id`, `item_id` and, optionally, `rating` and `timestamp`; each pair once. Without timestamps the
            order of the rows is that of time.

    Raises:
        DataError: when no event is with a known item, or only some have ratings.
    """
    ordered = events.sort("timestamp", maintain_order=True) if "timestamp" in events.columns else events
    ids = bundle.items.ids
    known = ordered.filter(pl.col("item_id").is_in(ids.implode()))
    unknown = tuple(ordered.filter(~pl.col("item_id").is_in(ids.implode()))["item_id"].unique(maintain_order=True))
    if known.height == 0:
        raise DataError(
            f"none of the {events.height:,} events is with an item that the bundle knows",
            do="check that these are the same items, or train again on data that have them",
        )
    rated = "rating" in known.columns and known["rating"].null_count() < known.height
    if rated and known["rating"].null_count():
        raise DataError("some events have a rating and some have none", do="give all of them ratings, or none")
    names = known["user_id"].unique(maintain_order=True)
    new = names.filter(~names.is_in(bundle.users.ids.implode()))
    users = Vocabulary("user", pl.concat([bundle.users.ids, new]).rename("user_id"))
    changed = np.sort(users.rows(names))
    place = {row: number for number, row in enumerate(changed.tolist())}
    owner = np.array([place[row] for row in users.rows(known["user_id"]).tolist()], dtype=np.int64)
    items = bundle.items.rows(known["item_id"])
    met = Rows.from_pairs(owner, items, len(changed), len(ids))
    ratings = known["rating"].to_numpy() if rated else None
    liked, disliked = _labelled(bundle, owner, items, ratings, len(changed))
    before = {name: _padded(rows, len(new)).take(changed) for name, rows in _lists(bundle).items()}
    # The latest word counts: what was said of an item before is dropped, also where it was said by the catalogue.
    after = {
        "liked": _without(before["liked"], met).union(liked),
        "disliked": _without(before["disliked"], met).union(disliked),
        "seen": _without(before["seen"], met).union(met),
    }
    form = bundle.form.joined(changed, after["liked"], after["disliked"], len(new))
    lists = {name: replaced(rows, changed, after[name], len(new)) for name, rows in _lists(bundle).items()}
    facts = bundle.facts.override({"users": len(users), "events": bundle.facts.events + known.height})
    made = dataclasses.replace(bundle, facts=facts, form=form, users=users, folder=None, **lists)
    notes = () if ratings is None else _of_another_scale(ratings, bundle.facts)
    return Refreshed(
        made, known.height, len(changed) - len(new), len(new), unknown, events.height - known.height, notes
    )


def _of_another_scale(ratings: np.ndarray, facts: Facts) -> tuple[str, ...]:
    """A note where ratings seem to be on another scale than those of the bundle's data."""
    if facts.positive == "all":
        return ()
    low, high = facts.rated or (-np.inf, MANY_TIMES * facts.positive if facts.positive > 0 else np.inf)
    outside = ratings[(ratings < low) | (ratings > high)]
    if len(outside):
        found = f"{len(outside):,} of {len(ratings):,} ratings, {outside.min():g} to {outside.max():g}, "
        found += "lie outside those of the bundle's data" if facts.rated else "are far from those of the bundle's data"
    elif len(ratings) >= MANY and ratings.max() < facts.positive:
        found = f"none of the {len(ratings):,} ratings is one that counts as liked"
    else:
        return ()
    scale = f"; they were {low:g} to {high:g}" if facts.rated else ""
    do = "where these are on another scale, convert them and refresh the old bundle again, or leave them out"
    return (f"{found}: at least {facts.positive:g} is liked{scale}; {do}: then every event is liked",)


def _lists(bundle: Bundle) -> dict[str, Rows]:
    return {"liked": bundle.liked, "disliked": bundle.disliked, "seen": bundle.seen}


def _labelled(
    bundle: Bundle, owner: IntArray, items: IntArray, ratings: np.ndarray | None, users: int
) -> tuple[Rows, Rows]:
    count, given = len(items), None if ratings is None else ratings.tolist()
    # Labels belong to events: their numbers are handed through in place of the items.
    liked, disliked = by_rating(np.arange(count), given, bundle.facts.positive, bundle.facts.dislike)
    width = len(bundle.items)
    return (
        Rows.from_pairs(owner[liked], items[liked], users, width),
        Rows.from_pairs(owner[disliked], items[disliked], users, width),
    )


def _padded(rows: Rows, added: int) -> Rows:
    pointer = np.concatenate([rows.pointer, np.full(added, rows.pointer[-1])])
    return Rows(pointer, rows.columns, rows.width)


def _without(rows: Rows, other: Rows) -> Rows:
    owner = rows.row_of_entry()
    kept = ~np.isin(owner * rows.width + rows.columns, other.row_of_entry() * rows.width + other.columns)
    return Rows.from_pairs(owner[kept], rows.columns[kept], rows.count, rows.width)
