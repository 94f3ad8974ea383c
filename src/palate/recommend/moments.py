"""Days and times as conditions on items: ISO texts, and columns of dates and times that are compared with them.

A time without a zone is UTC, on both sides. A day stands for all of it, so that `<=` a day takes the day in; a date in
a column is its first moment where it is compared with a time.
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


class Moments:
    """A column of dates or times, ready for comparisons.

    Args:
        column: of Date or Datetime.
    """

    def __init__(self, column: pl.Series) -> None:
        times = column.cast(pl.Datetime("us")) if column.dtype == pl.Date else column.dt.cast_time_unit("us")
        self.present: BoolArray = column.is_not_null().to_numpy()
        # What a column with a zone stores is UTC.
        self.microseconds: IntArray = times.to_physical().fill_null(0).to_numpy()

    @staticmethod
    def among(column: pl.Series) -> bool:
        """Whether a column holds dates or times."""
        return column.dtype.base_type() in (pl.Date, pl.Datetime)

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
