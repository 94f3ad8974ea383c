"""Numbers with a decimal comma, as spreadsheets of many countries write them, made numbers with a point."""

from __future__ import annotations

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


def with_points(table: Table, name: str, report: Report) -> Table:
    """A delimited table with decimal commas in a column of numbers turned into points, where they can be nothing else.

    A column is read so when some cells that look like numbers have a comma, and no other reading of them makes sense:
    '1,234' alone may be thousands. Then points between groups of three digits are thousands too. Cells that look like
    no number are left for a later check.

    Args:
        table: the rows that were read; tables whose fields are separated by commas, and typed ones, stay as they are.
        name: the column.
        report: takes a note where it was read so, or may be read in two ways.
    """
    if table.separator in (None, ","):
        return table
    cells = table.frame[name].str.strip_chars()
    like = cells.str.contains(NUMBERLIKE).fill_null(False)
    numbers = cells.filter(like)
    if not decimal_commas(numbers):
        return table
    commas = numbers.filter(numbers.str.contains(",", literal=True))
    doubtful = _doubtful(numbers)
    if doubtful is not None:
        report.add(
            "note",
            table.file,
            f"the cells may be numbers with a decimal comma or with thousands ('{doubtful}'), and stay as they are",
            column=name,
            do="write these numbers with a decimal point and without thousands",
        )
        return table
    report.add(
        "note",
        table.file,
        f"numbers with a decimal comma: '{commas[0]}' is read as {points(commas)[0]}",
        column=name,
        count=len(commas),
    )
    made = pl.select(pl.when(like).then(points(cells)).otherwise(table.frame[name]).alias(name)).to_series()
    return replace(table, frame=table.frame.with_columns(made))


def decimal_commas(cells: pl.Series) -> bool:
    """Whether all cells can be numbers with a decimal comma, and some have one.

    Args:
        cells: text, stripped and not empty.
    """
    forms = cells.str.contains(COMMA) | cells.str.contains(BOTH)
    others = cells.str.contains(WHOLE) | cells.str.contains(THOUSANDS)
    return bool(forms.any()) and bool((forms | others).all())


def points(cells: pl.Series) -> pl.Series:
    """Numbers with a decimal comma, and points between thousands, as numbers with a decimal point."""
    return cells.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)


def _doubtful(numbers: pl.Series) -> str | None:
    """A cell that leaves open what commas and points stand for; None where they are clear."""
    fraction = numbers.str.contains(",", literal=True) & ~numbers.str.contains(EITHER_COMMA)
    if not fraction.any():
        return str(numbers.filter(numbers.str.contains(",", literal=True))[0])
    if not numbers.str.contains(BOTH).any() and numbers.str.contains(EITHER_POINT).any():
        return str(numbers.filter(numbers.str.contains(EITHER_POINT))[0])
    return None
