"""Which column of a file is which column of the catalogue: the user's own names, else a short list of usual ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from palate.core.errors import nearest
from palate.ingest import headless
from palate.ingest.guessing import guess, joining, melting, series
from palate.ingest.headless import shown
from palate.ingest.naming import ColumnNames, option
from palate.ingest.report import Report
from palate.ingest.roles import ALIASES, plain
from palate.ingest.tables import Table

# Names of columns that a message lists.
LISTED = 30


@dataclass(frozen=True)
class Wanted:
    """What a table should have.

    Args:
        name: the table's name in messages.
        required: columns that it must have.
        optional: columns that it may have.
    """

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


INTERACTIONS = Wanted("interactions", ("user_id", "item_id"), ("rating", "timestamp", "event", "split"))
ITEMS = Wanted("items", ("item_id",), ("title", "description", "image", "audio", "entity"))
# Of files that each hold one split, no column says the split.
UNDIVIDED = Wanted("interactions", INTERACTIONS.required, ("rating", "timestamp", "event"))
KNOWLEDGE = Wanted("knowledge", ("head", "relation", "tail"))
LINKS = Wanted("item_entities", ("item_id", "entity"))


@dataclass(frozen=True)
class Beside:
    """What is known of the other files while one is looked at.

    Args:
        columns: the columns that they have.
        met: the item ids of the interactions, for the items file; None when they are not known.
    """

    columns: frozenset[str] = frozenset()
    met: pl.Series | None = None


def resolve(
    table: Table, wanted: Wanted, names: ColumnNames, report: Report, *, beside: Beside | None = None
) -> dict[str, str]:
    """The file's column of each column of the catalogue that the table has.

    Args:
        table: the rows that were read.
        wanted: the columns to look for.
        names: the user's own names.
        report: takes what is missing or ambiguous, and each alias that was used.
        beside: the other tables; a name of the user's that is one of their columns need not be in this one.
    """
    present, beside = table.columns, beside or Beside()
    given, own_names = names.of(wanted.name), names.own(wanted.name)
    found: dict[str, str] = {}
    missing: list[str] = []
    for key in (*wanted.required, *wanted.optional):
        own = given.get(key)
        if own == "" and key not in wanted.required:
            continue
        if own and own in present:
            found[key] = own
        elif own and (key in own_names or not (key in wanted.required and own in beside.columns)):
            _refuse_name(table, key, own, report)
        elif key in present:
            found[key] = key
        elif not _by_alias(table, wanted, key, found, beside, report) and key in wanted.required:
            missing.append(key)
    if missing:
        _report_missing(table, wanted, missing, found, beside, report)
    elif table.first and table.header:
        report.add(
            "note", table.file, f"line 1 is read as the header, though it looks like a row: {shown(table.first)}"
        )
    _refuse_double_use(table, found, report)
    for key in (*wanted.required, "rating", "timestamp", "event", "split"):
        if found.get(key) in table.lists:
            report.add(
                "fatal", table.file, f"{key} is one value, and the cells here are lists", column=found[key],
                do="write a row for each value",
            )  # fmt: skip
    return found


def refuse_unused(names: ColumnNames, wanted: Wanted, file: str, report: Report, *, but: tuple[str, ...] = ()) -> None:
    """Report names that the user gave for a table that was not given; `but`: those that another table uses."""
    given, own = names.of(wanted.name), names.own(wanted.name)
    for key in (*wanted.required, *wanted.optional):
        name = given.get(key)
        if name and (key in own or key not in ("item_id", *but)):
            report.add(
                "fatal",
                file,
                f"'{name}' is to be read as {key}, but there is no {wanted.name} file",
                do=f"give the {wanted.name} file too, or leave {key} out of --columns",
            )


def refuse_split(names: ColumnNames, file: str, report: Report) -> None:
    """Report a column of the split that the user gave where each file holds one split."""
    split = names.of(INTERACTIONS.name).get("split")
    if split:
        report.add("fatal", file, f"the files say the split, and so does the column '{split}'")


def _refuse_name(table: Table, key: str, own: str, report: Report) -> None:
    guessed = nearest(own, table.columns)
    report.add(
        "fatal",
        table.file,
        f"there is no column '{own}' to read as {key}" + (f"; did you mean '{guessed}'?" if guessed else ""),
        do=f"the columns here are: {', '.join(table.columns)}",
    )


def _by_alias(table: Table, wanted: Wanted, key: str, found: dict[str, str], beside: Beside, report: Report) -> bool:
    """Look for a usual other name; whether one was found, or a question about several was reported."""
    free = [name for name in table.columns if name not in found.values() and name not in ALIASES]
    like = [name for name in free if plain(name) in (plain(key), *ALIASES[key])]
    shared = [name for name in like if name in beside.columns]
    if len(like) == 1:
        found[key] = like[0]
        report.add("note", table.file, f"read as {key}", column=like[0])
    elif key == "item_id" and len(shared) == 1:
        found[key] = shared[0]
        others = ", ".join(name for name in like if name != shared[0])
        report.add("note", table.file, f"read as {key}, and not {others}: another file has it too", column=shared[0])
    elif like:
        report.add(
            "fatal" if key in wanted.required else "note",
            table.file,
            f"each of these columns could be {key}, so none of them is used: {', '.join(like)}",
            do=f"choose one: {_option(key, like[0], wanted, beside)}",
        )
    elif key == "item_id" and wanted is ITEMS and (own := joining(table, free, beside.met)):
        found[key] = own
        why = "" if beside.met is None else ": most items of the interactions are in it"
        report.add("note", table.file, f"read as {key}{why}", column=own)
    return bool(like) or key in found


def _report_missing(
    table: Table, wanted: Wanted, missing: Sequence[str], found: dict[str, str], beside: Beside, report: Report
) -> None:
    """Say of each column that must be there which one was probably meant."""
    if table.first and wanted.name in headless.FILES:
        example = headless.advice(table.first, wanted.name, alone=not beside.columns)
        what = "this file has no header line: line 1 looks like data" if table.header else "the columns have no names"
        report.add(
            "fatal",
            table.file,
            f"{what}: {shown(table.first)}",
            do=f"say which column is what, for example: {example}",
        )
        return
    advised: list[str] = []
    for key in missing:
        free = [name for name in table.columns if name not in (*found.values(), *advised) and name not in ALIASES]
        numbered = series(free) if key == "item_id" and wanted is not ITEMS else []
        if numbered:
            report.add(
                "fatal",
                table.file,
                f"this looks like a matrix with a column for each item ({numbered[0]} to {numbered[-1]}); "
                "a row for each user and item is needed",
                do="make one: " + melting(table, numbered, found.get("user_id") or next(iter(advised), None))
                + " (where 0 says nothing, put .filter(pl.col('rating') != 0) before .write_csv)",
            )  # fmt: skip
            continue
        guessed = guess(key, wanted.name, [name for name in free if name not in series(free)], beside.columns)
        advised += [guessed] if guessed else []
        listed = ", ".join(table.columns[:LISTED])
        more = f" and {len(table.columns) - LISTED:,} more" if len(table.columns) > LISTED else ""
        report.add(
            "fatal",
            table.file,
            f"there is no column {key}" + (f"; did you mean '{guessed}'?" if guessed else ""),
            do=f"name it: {_option(key, guessed or 'NAME', wanted, beside)}; the columns here are: {listed}{more}",
        )


def _option(key: str, name: str, wanted: Wanted, beside: Beside) -> str:
    """The option that names a column: of one file alone, where others call the items something else."""
    alone = key == "item_id" and beside.columns and name not in beside.columns and wanted.name in headless.FILES
    return option({f"{wanted.name}.{key}" if alone else key: name})


def _refuse_double_use(table: Table, found: dict[str, str], report: Report) -> None:
    for column in dict.fromkeys(found.values()):
        keys = [key for key, name in found.items() if name == column]
        if len(keys) > 1:
            report.add(
                "fatal",
                table.file,
                f"the column is to be read as {' and as '.join(keys)}",
                column=column,
                do="give each its own column",
            )
