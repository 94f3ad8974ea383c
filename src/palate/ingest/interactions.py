"""Interactions of one file, or of a file for each split: every row checked, each (user, item) pair kept once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from palate.ingest.cells import Cells, parse_ratings, parse_splits, parse_text
from palate.ingest.events import keep_chosen, note_kinds, strongest
from palate.ingest.filters import repeated_pairs
from palate.ingest.inspection import Inspection
from palate.ingest.report import Report
from palate.ingest.tables import ROW, Table
from palate.ingest.times import one_unit, parse_times, too_small

# Whether a time was written as a date.
DATES = "(date)"


@dataclass(frozen=True)
class Part:
    """A table of interactions.

    Args:
        table: its rows.
        plan: the file's column of each column of the catalogue.
        split: the split that all its rows belong to, or None when the file does not say so as a whole.
    """

    table: Table
    plan: Mapping[str, str]
    split: str | None = None


def read_interactions(
    parts: Sequence[Part], items: pl.DataFrame | None, report: Report, events: Mapping[str, float] | None = None
) -> pl.DataFrame:
    """The good rows of all parts.

    Args:
        parts: in the order train, valid, test. A column that not all of them have is left out.
        items: the items that there are, or None when any item will do.
        report: takes the problems.
        events: weights of the events to keep; each pair keeps the event that weighs most. None: all events, and each
            pair keeps its latest row.
    """
    frames = [_checked(part, items, report, events) for part in parts]
    shared = [name for name in frames[0].columns if all(name in frame.columns for frame in frames)]
    for part, frame in zip(parts, frames, strict=True):
        for name in frame.columns:
            if name not in shared and name != DATES:
                report.add("note", part.table.file, f"{name} is left out: not every file has it")
    together = _in_one_unit(pl.concat([frame.select(shared) for frame in frames]), parts, report)
    if events is None:
        again = repeated_pairs(together)
    else:
        together, again = strongest(together, events)
    kept: list[pl.DataFrame] = []
    start = 0
    for part, frame in zip(parts, frames, strict=True):
        own = (start, frame.height)
        kept.append(_once(part, together.slice(*own), again.slice(*own), events, report))
        start += frame.height
    return pl.concat(kept).drop(ROW)


def _times(rows: Inspection, column: str) -> dict[str, pl.Series | None]:
    raw = rows.table.frame[column]
    cells = parse_times(raw)
    for what in cells.said:
        rows.report.add("note", rows.table.file, what, column=column)
    do = (
        "write whole seconds since 1970, or ISO 8601 such as 1998-04-22T18:30:00Z; "
        "to go without times: --columns \"timestamp=''\""
    )
    rows.mark(
        cells.undecided, "the rows do not say whether the day or the month comes first", do, column=column, values=raw
    )
    known = Cells(cells.values, cells.empty, cells.bad & ~cells.undecided)
    values = rows.parsed(column, known, "timestamp", "not a time", do)
    return {} if values is None else {"timestamp": values, DATES: cells.dates}


def _in_one_unit(together: pl.DataFrame, parts: Sequence[Part], report: Report) -> pl.DataFrame:
    """The rows of all parts with their times in one unit, and a note where that is not seconds."""
    if "timestamp" not in together.columns:
        return together.drop(DATES, strict=False)
    times, units = one_unit(together["timestamp"], together[DATES])
    first = parts[0]
    if too_small(times, together[DATES]):
        what = f"these times are an order, but no seconds since 1970: they run from {times.min()} to {times.max()}"
        do = "write dates such as 2022-04-08, if these are any"
        report.add("note", first.table.file, what, column=first.plan["timestamp"], do=do)
    if units != ["seconds"] and len(together):
        *coarser, finest = units or ["numbers of no known unit"]
        what = f"these times look like {finest}; they are kept as they are"
        if coarser:
            what = f"some of these times look like {finest}, others like {' or '.join(coarser)}; all are made {finest}"
        what += ", and only their order is used"
        report.add("note", first.table.file, what, column=first.plan["timestamp"])
    return together.with_columns(times.alias("timestamp")).drop(DATES)


def _once(
    part: Part, frame: pl.DataFrame, again: pl.Series, events: Mapping[str, float] | None, report: Report
) -> pl.DataFrame:
    rows = Inspection(part.table, report)
    if events is None:
        kept = "the latest" if "timestamp" in frame.columns else "the last in the file"
        what = f"the same user and item occur in another row; {kept} is kept"
        good = rows.drop_again(frame, again, what, ("user_id", "item_id"))
        if "event" in good.columns:
            note_kinds(rows, good, part.plan["event"])
    else:
        good = frame.filter(~again)
        before, after = (dict(table.group_by("event").len().iter_rows()) for table in (frame, good))
        counts = ", ".join(f"{name} {before.get(name, 0):,} → {after.get(name, 0):,}" for name in events)
        report.add("note", part.table.file, f"each user and item once, with the event that weighs most: {counts} rows")
    # A part whose every pair is also in a later one has lost all of its rows.
    rows.done(good.height)
    return good


def _checked(
    part: Part, items: pl.DataFrame | None, report: Report, events: Mapping[str, float] | None
) -> pl.DataFrame:
    table, plan = part.table, part.plan
    rows = Inspection(table, report)
    user_ids, item_ids = rows.ids(plan["user_id"]), rows.ids(plan["item_id"])
    columns: dict[str, pl.Series | None] = {"user_id": user_ids, "item_id": item_ids}
    if items is not None:
        known = item_ids.is_in(items["item_id"].implode())
        rows.mark(
            ~known.fill_null(True),
            "the item is not in the items file",
            _zeros(item_ids.filter(~known.fill_null(True)), items["item_id"])
            or "add it there, or leave the items file out",
            column=plan["item_id"],
            values=table.frame[plan["item_id"]],
        )
    if "rating" in plan:
        raw = table.frame[plan["rating"]]
        cells, infinite = parse_ratings(raw)
        rows.mark(
            infinite,
            "the rating is not finite",
            "write a number, or remove the row",
            column=plan["rating"],
            values=raw,
        )
        do = "write ratings as plain numbers with a decimal point, such as 4 or 3.5"
        cells = Cells(cells.values, cells.empty, cells.bad & ~infinite)
        columns["rating"] = rows.parsed(plan["rating"], cells, "rating", "not a number", do)
    if "timestamp" in plan:
        columns |= _times(rows, plan["timestamp"])
    if "event" in plan:
        columns["event"] = parse_text(table.frame[plan["event"]])
    if "split" in plan:
        cells = parse_splits(table.frame[plan["split"]])
        columns["split"] = rows.parsed(
            plan["split"], cells, "split", "not a split", "use train, valid or test (or 0, 1, 2)"
        )
    unused = [column for column in table.columns if column not in plan.values()]
    if unused:
        report.add("note", table.file, f"columns that are not used: {', '.join(unused)}")
    good = rows.kept(columns)
    if part.split is not None:
        good = good.with_columns(split=pl.lit(part.split))
    if events is not None and "event" in plan:
        good = keep_chosen(rows, good.with_columns(pl.col("event").str.strip_chars()), plan["event"], events)
    return good


def _zeros(strangers: pl.Series, known: pl.Series) -> str:
    """What to do about ids that most items have with more or fewer zeros in front; empty where that is not so."""
    alone = strangers.unique(maintain_order=True)
    if alone.is_empty():
        return ""
    numbers = alone.filter(alone.str.contains(r"^\d+$"))
    bare = pl.DataFrame({"bare": known.str.strip_chars_start("0"), "known": known}).unique("bare", keep="first")
    found = pl.DataFrame({"stranger": numbers, "bare": numbers.str.strip_chars_start("0")}).join(
        bare, on="bare", maintain_order="left"
    )
    if 2 * found.height <= len(alone):
        return ""
    stranger, item = found["stranger"][0], found["known"][0]
    return (
        f"'{stranger}' here is '{item}' there: without the zeros in front, {found.height:,} of {len(alone):,} ids "
        "match; write both files with the ids as text (pandas: dtype=str), so that the zeros stay"
    )
