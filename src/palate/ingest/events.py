"""Implicit logs: the chosen kinds of event, and of each (user, item) pair the event that weighs most.

Weights only rank the events of a pair: no model reads a weight, so none is stored; the event's name is.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping

import polars as pl

from palate.core.errors import ConfigError, nearest
from palate.ingest.filters import PAIR
from palate.ingest.inspection import Inspection

SHOWN = 8
# Names of kinds that say the opposite of taking an item, alone or as one of several words.
OPPOSITES = re.compile(
    r"(returns?|returned|refund(s|ed)?|dislike[sd]?|unlike[sd]?|removed?|removes|removal|deleted?|deletes"
    r"|cancel(s|l?ed|lation)?|reject(s|ed)?|downvote[sd]?|unsubscribed?|uninstall(s|ed)?|unfollow(s|ed)?"
    r"|unfavou?rited?|skip(s|ped)?|hide|hidden|not)"
)
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
NAMELESS = "(empty)"


def check_events(events: Mapping[str, object]) -> dict[str, float]:
    """The weights of the chosen events, `{"view": 1, "buy": 5}`.

    Raises:
        ConfigError: when there are none, or a weight is no positive, finite number.
    """
    if not events:
        raise ConfigError("no event is chosen", do="name them with their weights, for example view=1,buy=5")
    weights: dict[str, float] = {}
    for name, weight in events.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise ConfigError(
                f"the weight of event '{name}' is {weight!r}, and must be a positive number", do=f"write {name}=1"
            )
        weights[str(name).strip()] = float(weight)
    return weights


def keep_chosen(rows: Inspection, good: pl.DataFrame, column: str, events: Mapping[str, float]) -> pl.DataFrame:
    """The rows of chosen events; the others are left out with a note, and chosen events that never occur are named.

    Args:
        rows: the inspection of the table.
        good: its kept rows, with `event`.
        column: the file's column of events.
        events: the chosen events.
    """
    names = list(events)
    wanted = good["event"].is_in(names).fill_null(False)
    counts: dict[str, int] = dict(good.drop_nulls("event").group_by("event").len().iter_rows())
    if not wanted.all():
        others = sorted((name for name in counts if name not in events), key=lambda name: (-counts[name], name))
        shown = ", ".join(f"{name} ({counts[name]:,})" for name in others[:5]) or "empty cells"
        rows.report.add(
            "note",
            rows.table.file,
            f"left out: events that were not chosen: {shown}{' and others' if len(others) > 5 else ''}",
            column=column,
            count=int((~wanted).sum()),
        )
    for name in names:
        if name not in counts:
            guess = nearest(name, [other for other in counts if other not in events])
            rows.report.add(
                "note",
                rows.table.file,
                f"the chosen event '{name}' never occurs" + (f"; did you mean '{guess}'?" if guess else ""),
                column=column,
            )
    return good.filter(wanted)


def is_opposite(kind: str) -> bool:
    """Whether the name of a kind says the opposite of taking an item: return, remove_from_cart, thumbs-down."""
    words = [word.lower() for word in WORDS.findall(kind)]
    return any(OPPOSITES.fullmatch(word) for word in words) or "thumbsdown" in "".join(words)


def _can_be_chosen(kind: str) -> bool:
    """Whether --events can name a kind: commas and equals signs are its own, and a kind without a name has none."""
    return kind not in ("", NAMELESS) and not set(kind) & set(",=")


def note_kinds(rows: Inspection, kept: pl.DataFrame, column: str) -> None:
    """Say that kinds of event count alike where none was chosen, and which of them sound like the opposite.

    Args:
        rows: the inspection of the table.
        kept: the rows that become interactions, with `event`.
        column: the file's column of events.
    """
    named = kept["event"].fill_null(NAMELESS).str.strip_chars().alias("event").to_frame()
    counts = named.group_by("event").len().sort("len", "event", descending=[True, False])
    kinds: dict[str, int] = dict(counts.iter_rows())
    opposite = [kind for kind in kinds if is_opposite(kind)]
    if len(kinds) < 2 and not opposite:
        return
    more = f" and {len(kinds) - SHOWN:,} kinds more" if len(kinds) > SHOWN else ""
    shown = ", ".join(f"{kind} ({count:,})" for kind, count in list(kinds.items())[:SHOWN])
    what = f"kinds of event count all alike: {shown}{more}"
    if opposite:
        listed = ", ".join(f"{kind} ({kinds[kind]:,})" for kind in opposite[:SHOWN])
        what += f"; WARNING: {listed} too, though the name says the opposite of taking an item"
    # What is rarer is mostly meant more seriously; the user knows better.
    named = [kind for kind in kinds if kind not in opposite and _can_be_chosen(kind)]
    example = ",".join(f"{kind}={place}" for place, kind in enumerate(named[:SHOWN], start=1)) or "view=1,buy=5"
    others = "; kinds that are not named are left out" if len(named[:SHOWN]) < len(kinds) else ""
    rows.report.add(
        "note",
        rows.table.file,
        what,
        column=column,
        do=f"name those that count, and order them as they matter: --events {shlex.quote(example)}{others}",
    )


def strongest(interactions: pl.DataFrame, events: Mapping[str, float]) -> tuple[pl.DataFrame, pl.Series]:
    """One row per (user, item) pair: that of the event that weighs most, among equals the latest, then the last.

    Args:
        interactions: rows whose `event` is one of `events`.
        events: the weights.

    Returns:
        The interactions, each with the latest `timestamp` of its pair (within its split, where there is one: a time
        of the test part must not reach the train part), and a mask of the rows to leave out.
    """
    timed = "timestamp" in interactions.columns
    together = [*PAIR, *(["split"] if "split" in interactions.columns else [])]
    ranked = interactions.with_row_index("row").with_columns(
        weight=pl.col("event").replace_strict(dict(events), return_dtype=pl.Float64)
    )
    order = ["weight", *(["timestamp"] if timed else []), "row"]
    kept = ranked.sort(order, nulls_last=False).unique(subset=PAIR, keep="last", maintain_order=True)["row"]
    again = ~ranked["row"].is_in(kept.implode())
    if timed:
        interactions = interactions.with_columns(pl.col("timestamp").max().over(together))
    return interactions, again
