"""Numbers with a decimal comma, as spreadsheets of many countries write them, made numbers with a point.

Takes a delimited table whose fields no comma separates; gives the same table, with a note for each column it read so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import polars as pl

from palate.ingest.report import Report
from palate.ingest.tables import Table

WHOLE = r"^[+-]?\d+$"
COMMA = r"^[+-]?\d*,\d+$"
THOUSANDS = r"^[+-]?\d{1,3}(\.\d{3})+$"
BOTH = r"^[+-]?\d{1,3}(\.\d{3})+,\d+$"
# One group of three digits: thousands in one country, a fraction in another.
EITHER_COMMA = r"^[+-]?[1-9]\d{0,2},\d{3}$"
EITHER_POINT = r"^[+-]?\d{1,3}\.\d{3}$"
NUMBERLIKE = r"^[+-]?[\d.,]+$"
# Here '1,5' is two things and no number.
LISTS = ("genres", "genre", "categories", "category", "tags", "tag", "keywords")


def with_points(table: Table, columns: Collection[str], report: Report, *, known: Collection[str] = ()) -> Table:
    """The table with decimal commas in these columns turned into points, where they can be nothing else.

    A column is read so when every filled cell is a number, some have a comma, and no other reading of it makes sense:
    '1,234' alone may be thousands. Then points between groups of three digits are thousands too.

    Args:
        table: the rows that were read; tables whose fields are separated by commas, and typed ones, stay as they are.
        columns: the file's columns that may hold numbers.
        report: takes a note for each column that was read so, or that may be read in two ways.
        known: those of `columns` that must hold numbers: cells that look like none are left for a later check.
    """
    if table.separator in (None, ","):
        return table
    made = [
        found
        for name in columns
        if name.lower() not in LISTS and (found := _read(table, name, report, known=name in known)) is not None
    ]
    return replace(table, frame=table.frame.with_columns(made)) if made else table


def _read(table: Table, name: str, report: Report, *, known: bool) -> pl.Series | None:
    cells = table.frame[name].str.strip_chars()
    if not cells.str.contains(",", literal=True).any():
        return None
    filled = cells.filter(cells != "")
    if known:
        filled = filled.filter(filled.str.contains(NUMBERLIKE))

    def some(form: str) -> bool:
        return bool(filled.str.contains(form).any())

    commas = filled.str.contains(COMMA) | filled.str.contains(BOTH)
    if not (commas | filled.str.contains(WHOLE) | filled.str.contains(THOUSANDS)).all() or not commas.any():
        return None
    first = str(filled.filter(commas)[0])
    fraction = bool((commas & ~filled.str.contains(EITHER_COMMA)).any())
    grouped = some(BOTH) or not some(EITHER_POINT)
    if not fraction or not grouped:
        doubtful = first if not fraction else str(filled.filter(filled.str.contains(EITHER_POINT))[0])
        report.add(
            "note",
            table.file,
            f"the cells may be numbers with a decimal comma or with thousands ('{doubtful}'), and stay as they are",
            column=name,
            do="write these numbers with a decimal point and without thousands",
        )
        return None
    plain = _point(cells)
    report.add(
        "note",
        table.file,
        f"numbers with a decimal comma: '{first}' is read as {_point(pl.Series([first]))[0]}",
        column=name,
        count=int(commas.sum()),
    )
    like = cells.str.contains(NUMBERLIKE).fill_null(False)
    return pl.select(pl.when(like).then(plain).otherwise(table.frame[name]).alias(name)).to_series()


def _point(cells: pl.Series) -> pl.Series:
    return cells.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
