"""Ids of one column under inspection: rows without a proper one are marked, and what a spreadsheet did to them is told.

Takes an `Inspection` and a column; gives the ids as strings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from palate.ingest.cells import MISSING, parse_ids

if TYPE_CHECKING:
    from palate.ingest.inspection import Inspection

DECIMAL = r"^-?\d+\.0+$"
# As spreadsheets write long numbers; a hash such as 12e5 has no sign.
SCIENTIFIC = r"^[+-]?\d([.,]\d+)?[eE]\+\d+$"
UNUSUAL = r"^[+-]?\d+(\.0+$|[.,]?\d*[eE]\+)"


def checked_ids(rows: Inspection, column: str) -> pl.Series:
    """The ids of the file's column, null in the rows that are marked."""
    raw = rows.table.frame[column]
    cells = parse_ids(raw)
    words = _words(raw, cells.empty)
    rows.mark(cells.empty & ~words, "the cell is empty", "fill it in", column=column)
    rows.mark(
        words,
        "the cell says that there is no id",
        "fill it in; an id that is really called so must be written otherwise, in every file",
        column=column,
        values=raw,
    )
    rows.mark(
        cells.bad,
        "not an id: ids are text or whole numbers",
        "write ids as text or as integers",
        column=column,
        values=raw,
    )
    if raw.dtype == pl.String:
        stripped = (raw != cells.values).fill_null(False) & ~cells.empty
        rows.note(stripped, "blanks around the id were removed", "", column=column, values=raw)
        # One search for what hardly any ids are, before each of them is looked at.
        if cells.values.str.contains(UNUSUAL).any():
            _note_rounded(rows, column, cells.values)
            _note_decimal(rows, column, cells.values)
    if (raw.dtype.is_float() or raw.dtype.is_decimal()) and cells.values.null_count() < len(raw):
        rows.report.add("note", rows.table.file, "decimal ids were read as whole numbers", column=column)
    return cells.values


def _words(raw: pl.Series, empty: pl.Series) -> pl.Series:
    """Which of the empty cells say so in a word of `MISSING`."""
    places = empty.arg_true()
    words = raw.gather(places).cast(pl.String).str.strip_chars().is_in(MISSING).fill_null(False)
    return pl.repeat(False, len(raw), dtype=pl.Boolean, eager=True).scatter(places, words)


def _note_rounded(rows: Inspection, column: str, ids: pl.Series) -> None:
    rounded = ids.str.contains(SCIENTIFIC).fill_null(False)
    different = ids.filter(rounded).n_unique()
    rows.note(
        rounded,
        f"ids in scientific notation, {different:,} different ones: a spreadsheet has rounded them, "
        "and ids that differed may be one now",
        "export again with the ids as text",
        column=column,
        values=ids,
    )


def _note_decimal(rows: Inspection, column: str, ids: pl.Series) -> None:
    # Without their '.0' they would miss those of another file, of a bundle, or beside features, that have it.
    decimal = ids.str.contains(DECIMAL).fill_null(False)
    rows.note(
        decimal,
        "ids look like decimals and stay as they are: '1.0' is not '1'",
        "write them as integers, if another file does",
        column=column,
        values=ids,
    )
