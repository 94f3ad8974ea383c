"""Days and times as conditions on items: ISO texts, and columns of dates and times that are compared with them.

A time without a zone is UTC, on both sides. A day stands for all of it, so that `<=` a day takes the day in; a date in
a column is its first moment where it is compared with a time. Text is read as dates where all of it is: files without
types, such as CSV, give nothing else.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palate.core.errors import DataError
from palate.graph.rows import IntArray

BoolArray = NDArray[np.bool_]
MOMENTS_OF_A_DAY = 24 * 60 * 60 * 1_000_000
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MICROSECOND = datetime.timedelta(microseconds=1)
# What begins with a whole date. ISO 8601 knows others (20240601), which may as well be numbers.
ISO = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}\S*)?$"


class Moments:
    """A column of dates or times, ready for comparisons.

    Args:
        microseconds: since 1970, UTC; null where there is no time.
    """

    def __init__(self, microseconds: pl.Series) -> None:
        self.present: BoolArray = microseconds.is_not_null().to_numpy()
        self.microseconds: IntArray = microseconds.fill_null(0).to_numpy()

    @classmethod
    def of(cls, column: pl.Series) -> Moments | None:
        """A column of dates or times, or of texts that all are such but for empty ones; None for any other."""
        if column.dtype.base_type() in (pl.Date, pl.Datetime):
            times = column.cast(pl.Datetime("us")) if column.dtype == pl.Date else column.dt.cast_time_unit("us")
            # What a column with a zone stores is UTC.
            return cls(times.to_physical())
        if column.dtype != pl.String:
            return None
        cells = column.str.strip_chars()
        filled = cells.filter(cells != "")
        if not len(filled) or not dated(filled).all():
            return None
        try:
            known = {text: first_moment(text) for text in filled.unique()}
        except DataError:
            return None
        return cls(cells.replace_strict(known, default=None, return_dtype=pl.Int64))

    def satisfying(self, compare: Callable[[Any, int], Any], text: str, where: str) -> BoolArray:
        """Which rows compare so with a day or a time; none that is empty.

        Args:
            compare: of `operator`, such as `ge`.
            text: see `day_or_time`.
            where: the condition, for the message.

        Raises:
            DataError: when the text is neither.
        """
        day, number = day_or_time(text, where)
        own = self.microseconds // MOMENTS_OF_A_DAY if day else self.microseconds
        return self.present & compare(own, number)


def dated(texts: pl.Series) -> pl.Series:
    """Which texts look like dates or times."""
    return texts.str.strip_chars().str.contains(ISO)


def first_moment(text: str) -> int:
    """The microsecond since 1970 at which a day or a time begins.

    Raises:
        DataError: for a text that is neither.
    """
    day, number = day_or_time(text, text)
    return number * MOMENTS_OF_A_DAY if day else number


def day_or_time(text: str, where: str) -> tuple[bool, int]:
    """A day (True) as days since 1970, or a time (False) as microseconds since then, of an ISO 8601 text.

    Raises:
        DataError: when it is neither.
    """
    text = text.strip()
    try:
        return True, (datetime.date.fromisoformat(text) - EPOCH.date()).days
    except ValueError:
        pass
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise DataError(
            f"'{text}' is no date",
            where=where,
            do="write a day (2024-06-01) or a time (2024-06-01T18:30, which is UTC, or 2024-06-01T18:30+02:00)",
        ) from None
    aware = time if time.tzinfo is not None else time.replace(tzinfo=datetime.UTC)
    return False, (aware - EPOCH) // MICROSECOND
