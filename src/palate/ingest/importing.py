"""From a user's files to a `Catalogue`: reads the tables, checks every row, drops the bad ones and reports them all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import polars as pl

from palate.core.errors import DataError
from palate.ingest.catalogue import ITEM_TYPES, Catalogue, conform, items_of
from palate.ingest.cells import parse_text
from palate.ingest.columns import (
    INTERACTIONS,
    ITEMS,
    KNOWLEDGE,
    LINKS,
    UNDIVIDED,
    Beside,
    Wanted,
    refuse_split,
    refuse_unused,
    resolve,
)
from palate.ingest.decimals import with_points
from palate.ingest.events import check_events
from palate.ingest.filters import k_core_of
from palate.ingest.headless import FILES, refuse_unknown
from palate.ingest.inspection import Inspection
from palate.ingest.interactions import Part, read_interactions
from palate.ingest.lists import with_lists
from palate.ingest.media import KINDS, check_media, first_paths, relative_to
from palate.ingest.naming import ColumnNames
from palate.ingest.objects import JOINT
from palate.ingest.report import Report
from palate.ingest.tables import ROW, Table, read_table
from palate.ingest.unread import note_unread

# What is one value or a text, whatever it looks like.
WORDS = ("item_id", "title", "description")


def import_tables(
    interactions: Path,
    items: Path | None = None,
    knowledge: Path | None = None,
    columns: ColumnNames | None = None,
    *,
    valid: Path | None = None,
    test: Path | None = None,
    links: Path | None = None,
    events: Mapping[str, object] | None = None,
    no_header: Collection[str] = (),
    strict: bool = False,
    min_user: int = 0,
    min_item: int = 0,
    name: str | None = None,
) -> tuple[Catalogue, Report]:
    """Read, check and clean a user's tables: csv, tsv, jsonl, parquet, or RecBole's atomic files.

    Args:
        interactions: who met which item; the train part of it when `valid` or `test` is given.
        items: what is known of the items; without it the items are those of the interactions.
        knowledge: triples head, relation, tail.
        columns: the user's names of the columns; by default the usual names are recognised.
        valid, test: interactions that are for validation and for test. The catalogue has a column split then.
        links: item_id and entity, the items' nodes in the knowledge; else a column entity of the items says them.
        events: of an implicit log: the kinds of event to keep, with weights that rank them. Each (user, item) pair
            keeps the event that weighs most, with the latest time of its chosen events. The weights are not stored:
            all rows count alike in training. None: all kinds are kept, each pair with its latest row.
        no_header: of interactions, items and knowledge, those whose files have no header line; their columns are
            column_1, column_2, ….
        strict: refuse to drop any row, and any path that leads to no usable picture or sound.
        min_user: k-core: interactions that each user has at least.
        min_item: k-core: interactions that each item has at least.
        name: the catalogue's name; by default that of the folder of the interactions.

    Returns:
        The catalogue (not stored yet), and the report of what was noted and dropped.

    Raises:
        ConfigError: for weights of events that are no positive numbers, or an unknown word in `no_header`.
        DataError: with the whole report, when something fatal was found or `strict` and a row would be dropped.
    """
    weights = None if events is None else check_events(events)
    report = Report()
    names = columns or ColumnNames()
    headed = {name: name not in refuse_unknown(no_header) for name in FILES}
    if valid is None and test is None:
        rows: dict[str, Table | None] | Table | None = read_table(interactions, report, header=headed["interactions"])
    else:
        given = {"train": interactions, "valid": valid, "test": test}
        header = headed["interactions"]
        rows = {split: read_table(path, report, header=header) for split, path in given.items() if path is not None}
        refuse_split(names, str(interactions), report)
    others = ((items, headed["items"]), (knowledge, headed["knowledge"]), (links, True))
    tables = [None if path is None else read_table(path, report, header=header) for path, header in others]
    for path, wanted in ((items, ITEMS), (knowledge, KNOWLEDGE)):
        if path is None:
            refuse_unused(names, wanted, str(interactions), report, but=LINKS.required if links else ())
    catalogue = build_catalogue(
        rows,
        tables[0],
        tables[1],
        names,
        report,
        links=tables[2],
        events=weights,
        strict=strict,
        name=name or interactions.resolve().parent.name or "catalogue",
        media_root=None if items is None else str((items if items.is_dir() else items.parent).resolve()),
    )
    return cut(catalogue, min_user, min_item, str(interactions), report), report


def build_catalogue(
    interactions: Table | Mapping[str, Table | None] | None,
    items: Table | None,
    knowledge: Table | None,
    names: ColumnNames,
    report: Report,
    *,
    links: Table | None = None,
    events: Mapping[str, float] | None = None,
    strict: bool = False,
    name: str = "catalogue",
    media_root: str | None = None,
) -> Catalogue:
    """A catalogue of tables that were read.

    Args:
        interactions: its rows, or None when it could not be read; or the table of each split by its name.
        items: its rows, or None when there are none or they could not be read.
        knowledge, links: as `items`.
        names: the user's names of the columns.
        report: takes the problems; what failed before is in it as fatal.
        events: weights of the events to keep; None for all.
        strict: refuse to drop any row.
        name: the catalogue's name.
        media_root: folder of relative media paths; where there is one, the files are looked at.

    Raises:
        DataError: with the whole report, when something fatal was found or `strict` and a row would be dropped.
    """
    divided = isinstance(interactions, Mapping)
    splits = list(interactions) if divided else [None]
    tables = list(interactions.values()) if divided else [interactions]
    log = UNDIVIDED if divided else INTERACTIONS
    wanted = [*((table, log) for table in tables), (items, ITEMS), (knowledge, KNOWLEDGE), (links, LINKS)]
    plans = _plans(wanted, names, report)
    *_, items_plan, knowledge_plan, links_plan = plans
    tables = [_rated(table, plan, report) for table, plan in zip(tables, plans, strict=False)]
    if items is not None and items_plan is not None:
        items = with_lists(items, [items_plan.get(key, "") for key in WORDS], report)
    # A table with a fatal problem holds up no check of the others: all problems go into one report.
    goods = None if items is None or items_plan is None else _items(items, items_plan, report, media_root, strict)
    parts = [
        Part(table, plan, split)
        for table, plan, split in zip(tables, plans, splits, strict=False)
        if table is not None and plan is not None
    ]
    for part in parts if events is not None else ():
        if "event" not in part.plan:
            report.add(
                "fatal",
                part.table.file,
                "events are chosen, but there is no column event",
                do=f"name it: --columns event=NAME; the columns here are: {', '.join(part.table.columns)}",
            )
    rows = read_interactions(parts, goods, report, events) if parts and not _lack_events(parts, events) else None
    triples = (
        None if knowledge is None or knowledge_plan is None else _distinct(knowledge, knowledge_plan, KNOWLEDGE, report)
    )
    linked = None if links is None or links_plan is None else _distinct(links, links_plan, LINKS, report)
    report.raise_if(strict)
    if rows is None:
        raise DataError("there are no interactions", where=name, do="give a table of interactions")
    goods = items_of(rows) if goods is None else goods
    owned = goods.select("item_id", "entity").drop_nulls() if "entity" in goods.columns else None
    if owned is not None and items is not None and items_plan is not None and items_plan.get("entity") in items.joined:
        owned = owned.with_columns(pl.col("entity").str.split(JOINT)).explode("entity").unique(maintain_order=True)
    if links is not None and linked is not None:
        known = linked.join(goods, on="item_id", how="semi", maintain_order="left")
        if known.height < linked.height:
            lost = linked.height - known.height
            report.add("note", links.file, f"links of items that the catalogue does not have are left out: {lost:,}")
        owned = known if owned is None else pl.concat([owned, known]).unique(maintain_order=True)
    if knowledge is not None and owned is None:
        report.add(
            "note",
            knowledge.file,
            "no item is linked to the knowledge",
            do="give the items a column entity that holds each item's node",
        )
    return Catalogue(
        conform(rows, "interactions"),
        conform(goods.drop("entity", strict=False), "items"),
        None if triples is None else conform(triples, "knowledge"),
        None if owned is None else conform(owned, "item_entities"),
        name=name,
        media_root=media_root,
    )


def _rated(table: Table | None, plan: dict[str, str] | None, report: Report) -> Table | None:
    rating = None if plan is None else plan.get("rating")
    return table if table is None or rating is None else with_points(table, rating, report)


def _lack_events(parts: Sequence[Part], events: Mapping[str, float] | None) -> bool:
    return events is not None and any("event" not in part.plan for part in parts)


def _plans(
    tables: Sequence[tuple[Table | None, Wanted]], names: ColumnNames, report: Report
) -> list[dict[str, str] | None]:
    """The columns of each table that has all that it must have, None for the others."""
    headers = [frozenset[str]() if table is None else frozenset(table.columns) for table, _ in tables]
    met: pl.Series | None = None
    plans: list[dict[str, str] | None] = []
    for index, (table, wanted) in enumerate(tables):
        others = frozenset[str]().union(*headers[:index], *headers[index + 1 :])
        beside = Beside(others, met)
        plan = None if table is None else resolve(table, wanted, names, report, beside=beside)
        plans.append(plan if plan is not None and all(key in plan for key in wanted.required) else None)
        if table is not None and plans[-1] is not None:
            left_out = [key for key, own in names.of(wanted.name).items() if not own]
            note_unread(table, wanted.name, plans[-1], left_out, report)
        if table is not None and plan is not None and wanted.name == INTERACTIONS.name and "item_id" in plan:
            met = table.frame[plan["item_id"]]
    return plans


def _items(table: Table, plan: dict[str, str], report: Report, media_root: str | None, strict: bool) -> pl.DataFrame:
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
            cells = first_paths(table, plan[key], report) if key in KINDS else table.frame[plan[key]]
            columns[key] = parse_text(cells)
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
    if media_root is not None:
        paths = [relative_to(Path(media_root), good[name]) for name in ("image", "audio") if name in good.columns]
        good = good.with_columns(paths)
        check_media(table, good, plan, Path(media_root), report, "fatal" if strict else "note")
    return good.drop(ROW)


def _distinct(table: Table, plan: dict[str, str], wanted: Wanted, report: Report) -> pl.DataFrame:
    """The rows of a table of names alone, each once."""
    rows = Inspection(table, report)
    good = rows.kept({key: rows.ids(plan[key]) for key in wanted.required})
    again = ~good.select(pl.struct(wanted.required).is_first_distinct()).to_series()
    what = f"the same {'triple' if wanted is KNOWLEDGE else 'link'} occurs in an earlier row"
    good = rows.drop_again(good, again, what, wanted.required)
    rows.done(good.height)
    return good.drop(ROW)


def cut(catalogue: Catalogue, min_user: int, min_item: int, file: str, report: Report) -> Catalogue:
    """The k-core of a catalogue, what it cost in the report; the catalogue itself when both numbers are 0.

    Raises:
        DataError: when nothing is left.
    """
    if min_user <= 0 and min_item <= 0:
        return catalogue
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
