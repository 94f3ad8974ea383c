"""From a user's files to a `Catalogue`: reads the tables, checks every row, drops the bad ones and reports them all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from palate.core.errors import DataError
from palate.ingest.catalogue import ITEM_TYPES, Catalogue, conform, items_of
from palate.ingest.cells import MILLISECONDS_FROM, Cells, parse_ratings, parse_splits, parse_text, parse_times
from palate.ingest.columns import INTERACTIONS, ITEMS, KNOWLEDGE, ColumnNames, Wanted, refuse_unused, resolve
from palate.ingest.filters import k_core_of, repeated_pairs
from palate.ingest.inspection import Inspection
from palate.ingest.report import Report
from palate.ingest.tables import ROW, Table, read_table


def import_tables(
    interactions: Path,
    items: Path | None = None,
    knowledge: Path | None = None,
    columns: ColumnNames | None = None,
    *,
    strict: bool = False,
    min_user: int = 0,
    min_item: int = 0,
    name: str | None = None,
) -> tuple[Catalogue, Report]:
    """Read, check and clean a user's tables.

    Args:
        interactions: who met which item; csv, tsv or parquet.
        items: what is known of the items; without it the items are those of the interactions.
        knowledge: triples head, relation, tail.
        columns: the user's names of the columns; by default the usual names are recognised.
        strict: refuse to drop any row.
        min_user: k-core: interactions that each user has at least.
        min_item: k-core: interactions that each item has at least.
        name: the catalogue's name; by default that of the folder of the interactions.

    Returns:
        The catalogue (not stored yet), and the report of what was noted and dropped.

    Raises:
        DataError: with the whole report, when something fatal was found or `strict` and a row would be dropped.
    """
    report = Report()
    tables = (
        read_table(interactions, report),
        None if items is None else read_table(items, report),
        None if knowledge is None else read_table(knowledge, report),
    )
    names = columns or ColumnNames()
    for path, wanted in ((items, ITEMS), (knowledge, KNOWLEDGE)):
        if path is None:
            refuse_unused(names, wanted, str(interactions), report)
    catalogue = build_catalogue(
        *tables,
        names,
        report,
        strict=strict,
        name=name or interactions.resolve().parent.name or "catalogue",
        media_root=None if items is None else str(items.resolve().parent),
    )
    if min_user > 0 or min_item > 0:
        catalogue = _cut(catalogue, min_user, min_item, str(interactions), report)
    return catalogue, report


def build_catalogue(
    interactions: Table | None,
    items: Table | None,
    knowledge: Table | None,
    names: ColumnNames,
    report: Report,
    *,
    strict: bool = False,
    name: str = "catalogue",
    media_root: str | None = None,
) -> Catalogue:
    """A catalogue of tables that were read.

    Args:
        interactions: its rows, or None when it could not be read.
        items: its rows, or None when there are none or they could not be read.
        knowledge: as `items`.
        names: the user's names of the columns.
        report: takes the problems; what failed before is in it as fatal.
        strict: refuse to drop any row.
        name: the catalogue's name.
        media_root: folder of relative media paths.

    Raises:
        DataError: with the whole report, when something fatal was found or `strict` and a row would be dropped.
    """
    found = _plans(((interactions, INTERACTIONS), (items, ITEMS), (knowledge, KNOWLEDGE)), names, report)
    # A table with a fatal problem holds up no check of the others: all problems go into one report.
    goods = _items(items, found["items"], report) if items and "items" in found else None
    rows = None
    if interactions and "interactions" in found:
        rows = _interactions(interactions, found["interactions"], goods, report)
    triples = _knowledge(knowledge, found["knowledge"], report) if knowledge and "knowledge" in found else None
    report.raise_if(strict)
    if rows is None:
        raise DataError("there are no interactions", where=name, do="give a table of interactions")
    entities = None
    if goods is not None and "entity" in goods.columns:
        entities = goods.select("item_id", "entity").drop_nulls()
        goods = goods.drop("entity")
    elif knowledge is not None:
        report.add(
            "note",
            knowledge.file,
            "no item is linked to the knowledge",
            do="give the items a column entity that holds each item's node",
        )
    return Catalogue(
        conform(rows, "interactions"),
        conform(items_of(rows) if goods is None else goods, "items"),
        None if triples is None else conform(triples, "knowledge"),
        None if entities is None else conform(entities, "item_entities"),
        name=name,
        media_root=media_root,
    )


def _plans(
    tables: Sequence[tuple[Table | None, Wanted]], names: ColumnNames, report: Report
) -> dict[str, dict[str, str]]:
    """The columns of each table that has all that it must have, by the table's name."""
    headers = [frozenset[str]() if table is None else frozenset(table.columns) for table, _ in tables]
    plans: dict[str, dict[str, str]] = {}
    for index, (table, wanted) in enumerate(tables):
        if table is not None:
            others = frozenset[str]().union(*headers[:index], *headers[index + 1 :])
            plan = resolve(table, wanted, names, report, elsewhere=others)
            if all(key in plan for key in wanted.required):
                plans[wanted.name] = plan
    return plans


def _interactions(table: Table, plan: dict[str, str], items: pl.DataFrame | None, report: Report) -> pl.DataFrame:
    rows = Inspection(table, report)
    user_ids, item_ids = rows.ids(plan["user_id"]), rows.ids(plan["item_id"])
    columns: dict[str, pl.Series | None] = {"user_id": user_ids, "item_id": item_ids}
    if items is not None:
        known = item_ids.is_in(items["item_id"].implode())
        rows.mark(
            ~known.fill_null(True),
            "the item is not in the items file",
            "add it there, or leave the items file out",
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
        cells = parse_times(table.frame[plan["timestamp"]])
        do = "write whole seconds since 1970, or ISO 8601 such as 1998-04-22T18:30:00Z"
        columns["timestamp"] = rows.parsed(plan["timestamp"], cells, "timestamp", "not a time", do)
        if (cells.values.abs() >= MILLISECONDS_FROM).any():
            report.add(
                "note",
                table.file,
                "these times look like milliseconds; they are kept as they are, and only their order is used",
                column=plan["timestamp"],
            )
    if "event" in plan:
        columns["event"] = parse_text(table.frame[plan["event"]])
    if "split" in plan:
        cells = parse_splits(table.frame[plan["split"]])
        columns["split"] = rows.parsed(
            plan["split"], cells, "split", "not a split", "use train, valid or test (or 0, 1, 2)"
        )
    good = rows.kept(columns)
    what = "the same user and item occur in another row; the latest is kept"
    good = rows.drop_again(good, repeated_pairs(good), what, ("user_id", "item_id"))
    rows.done(good.height)
    unused = [column for column in table.columns if column not in plan.values()]
    if unused:
        report.add("note", table.file, f"columns that are not used: {', '.join(unused)}")
    return good.drop(ROW)


def _items(table: Table, plan: dict[str, str], report: Report) -> pl.DataFrame:
    rows = Inspection(table, report)
    ids = rows.ids(plan["item_id"])
    rows.mark(
        ~ids.is_first_distinct() & ids.is_not_null(),
        "the item occurs again; its first row is kept",
        "remove the others",
        column=plan["item_id"],
        values=table.frame[plan["item_id"]],
    )
    columns: dict[str, pl.Series | None] = {"item_id": ids}
    for key in ITEMS.optional:
        if key in plan:
            columns[key] = parse_text(table.frame[plan[key]])
    for key in ("image", "audio", "entity"):
        if (series := columns.get(key)) is not None:
            columns[key] = series.str.strip_chars()
    for column in table.columns:
        if column in plan.values():
            continue
        if column in (*ITEM_TYPES, "entity"):
            report.add("note", table.file, f"left out: another column is read as {column}", column=column)
        else:
            columns[column] = table.frame[column]
    good = rows.kept(columns)
    rows.done(good.height)
    return good.drop(ROW)


def _knowledge(table: Table, plan: dict[str, str], report: Report) -> pl.DataFrame:
    rows = Inspection(table, report)
    good = rows.kept({key: rows.ids(plan[key]) for key in KNOWLEDGE.required})
    again = ~good.select(pl.struct(KNOWLEDGE.required).is_first_distinct()).to_series()
    good = rows.drop_again(good, again, "the same triple occurs in an earlier row", KNOWLEDGE.required)
    rows.done(good.height)
    return good.drop(ROW)


def _cut(catalogue: Catalogue, min_user: int, min_item: int, file: str, report: Report) -> Catalogue:
    core = k_core_of(catalogue, min_user, min_item)
    lost_rows = catalogue.interactions.height - core.interactions.height
    lost_items = catalogue.items.height - core.items.height
    report.add(
        "fatal" if core.interactions.height == 0 else "note",
        file,
        f"the k-core (users from {min_user}, items from {min_item} interactions) leaves "
        f"{core.interactions.height:,} interactions and {core.items.height:,} items: "
        f"{lost_rows:,} and {lost_items:,} fewer",
        do="ask for smaller numbers" if core.interactions.height == 0 else "",
    )
    report.raise_if()
    return core
