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
# A day, or a time whose fractions beyond microseconds are left out. ISO 8601 knows other forms (20240601), which may as
# well be numbers.
ISO = (
    r"^(?<day>\d{4}-\d{2}-\d{2})(?:[T ](?<hour>[01]\d|2[0-3]):(?<minute>[0-5]\d)"
    r"(?::(?<second>[0-5]\d)(?:[.,](?<fraction>\d{1,6})\d*)?)?"
    r"(?:Z|(?<sign>[+-])(?<ahead>[01]\d|2[0-3])(?::?(?<minutes_ahead>[0-5]\d))?)?)?$"
)


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
        read = microseconds_of(column)
        others = read.is_null() & (column.str.strip_chars() != "")
        return None if others.any() or read.null_count() == len(read) else cls(read)

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
    """Which texts are dates or times."""
    return microseconds_of(texts).is_not_null()


def microseconds_of(texts: pl.Series) -> pl.Series:
    """Texts as microseconds since 1970: the first of a day, or those of a time; null where they are neither."""
    cells = texts.str.strip_chars()
    if not cells.str.contains(ISO).any():
        return pl.Series(texts.name, [None] * len(texts), dtype=pl.Int64)
    part = pl.col("texts").struct.field

    def number(name: str) -> pl.Expr:
        return part(name).cast(pl.Int64).fill_null(0)

    day = part("day").str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64)
    ahead = (number("ahead") * 60 + number("minutes_ahead")) * pl.when(part("sign") == "-").then(-1).otherwise(1)
    seconds = (number("hour") * 60 + number("minute") - ahead) * 60 + number("second")
    fraction = part("fraction").str.pad_end(6, "0").cast(pl.Int64).fill_null(0)
    groups = pl.DataFrame({"texts": cells.str.extract_groups(ISO)})
    found = day * MOMENTS_OF_A_DAY + seconds * 1_000_000 + fraction
    return groups.select(found.alias(texts.name)).to_series()


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
