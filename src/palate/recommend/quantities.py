"""Numbers as conditions on items: columns of numbers, or of texts with numbers among them, that are compared with one.

Whole numbers are compared exactly, however long they are: ids and article numbers go beyond what a float tells apart.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palate.core.errors import DataError
from palate.ingest.decimals import decimal_commas, points

BoolArray = NDArray[np.bool_]
# Whole numbers of this size and more are not all floats.
EXACT = 2.0**53
# Digits with a zero before them are a code, of which 7 and 007 may be two.
CODE = r"^[+-]?0\d"


class Quantities:
    """A column of numbers, ready for comparisons.

    Args:
        column: of numbers, or of texts; other types hold no number. Texts may all have a decimal comma in place of a
            point; those that are no number count as empty.
    """

    def __init__(self, column: pl.Series) -> None:
        cells = column
        self.codes = False
        if column.dtype == pl.String:
            cells = column.str.strip_chars()
            filled = cells.filter(cells != "")
            cells = points(cells) if decimal_commas(filled) else cells
            self.codes = bool(filled.str.contains(CODE).any())
        known = cells.dtype.is_numeric() or column.dtype == pl.String
        found = cells.cast(pl.Float64, strict=False) if known else pl.Series([None] * len(cells), dtype=pl.Float64)
        floats = found.fill_null(float("nan")).to_numpy()
        self.present: BoolArray = ~np.isnan(floats)
        # Numbers of single precision are compared as such: 9.95 is none of the others.
        self.numbers: NDArray[Any] = floats.astype(np.float32) if column.dtype == pl.Float32 else floats
        if not column.dtype.is_float() and bool((np.abs(floats[self.present]) >= EXACT).any()):
            self.numbers = np.array([Decimal(0)] * len(cells), dtype=object)
            kept = cells.filter(pl.Series(self.present))
            self.numbers[self.present] = [read_number(cell) or Decimal(0) for cell in kept.cast(pl.String)]

    def satisfying(self, compare: Callable[[Any, Any], Any], text: str, where: str) -> BoolArray:
        """Which rows compare so with a number; none that is empty.

        Args:
            compare: of `operator`, such as `ge`.
            text: the number.
            where: the condition, for the message.

        Raises:
            DataError: when the text is none.
        """
        number = read_number(text)
        if number is None:
            raise DataError(f"'{text}' is no number", where=where, do="compare with a number")
        with np.errstate(over="ignore"):
            other = number if self.numbers.dtype == object else self.numbers.dtype.type(number)
        found = compare(self.numbers, other)
        return self.present & np.asarray(found, dtype=np.bool_)


def read_number(text: str) -> Decimal | None:
    """The number that a text says; None for any other text."""
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    return None if number.is_nan() else number
