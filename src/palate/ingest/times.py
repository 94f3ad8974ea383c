"""Times of a column: whole seconds since 1970, numbers of other units as they are, and dates in their usual forms.

Takes a column of text or of typed values; gives Int64 beside masks of the rows that hold no time.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from palate.ingest.cells import Cells, stripped, sure, whole
from palate.ingest.dates import Written, iso, seconds, written

# What a number of each unit counts in a second, and the years in which a time is believed to be of that unit.
UNITS = (("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9))
BELIEVED = (631_152_000, 4_102_444_800)  # 1990 to 2100
# Above this a count of seconds is beyond the year 5000; below the other one it is 1970, and hardly meant so.
FINER_FROM = 100_000_000_000
YEAR = 31_536_000
COMPACT = (19_000_101, 21_001_231)
MOSTLY = 0.9
ZONE = r":\d{2}.*(?:[Zz]|UTC|GMT|[+-]\d{2}:?\d{2})(?: \d{4})?$"


@dataclass(frozen=True)
class Times(Cells):
    """A parsed column of times.

    Args:
        dates: which cells say a date, whose unit is known, and not a number.
        undecided: those of `bad` that are dates of which day and month cannot be told apart.
        said: what is read otherwise than it stands there, in plain words.
    """

    dates: pl.Series
    undecided: pl.Series
    said: tuple[str, ...] = ()


def parse_times(column: pl.Series) -> Times:
    """Times as Int64: whole numbers as they are, fractions of a second cut off, dates as seconds since 1970 (UTC).

    Naive dates are UTC. A column of whole numbers that are dates without marks, 20220408, is read as dates.
    """
    raw, empty = stripped(column)
    # A series of its own each: scattering changes it in place.
    dates, undecided = (pl.repeat(False, len(raw), dtype=pl.Boolean, eager=True) for _ in range(2))
    said: list[str] = []
    if raw.dtype.base_type() in (pl.Date, pl.Datetime):
        values = seconds(raw.cast(pl.Datetime("us")) if raw.dtype == pl.Date else raw)
        dates = ~dates
    elif raw.dtype.is_numeric() or raw.dtype == pl.String:
        fractions = raw.dtype.is_float() or raw.dtype.is_decimal()
        values = raw.clear(len(raw)).cast(pl.Int64) if fractions else raw.cast(pl.Int64, strict=False)
        left = (values.is_null() & ~empty).arg_true()
        if len(left):
            numbers, cut = _floored(raw.gather(left).cast(pl.Float64, strict=False))
            values = values.scatter(left, numbers)
            said += ["fractions of a second are cut off"] if cut else []
        left = (values.is_null() & ~empty).arg_true() if raw.dtype == pl.String else left.clear()
        if len(left):
            found = _dated(raw.gather(left))
            values, dates = values.scatter(left, found.values), dates.scatter(left, found.values.is_not_null())
            undecided = undecided.scatter(left, found.undecided)
            said += [*found.said, *_zones(raw.gather(left).filter(found.values.is_not_null()))]
        if not dates.any() and (compact := _compact(values)) is not None:
            example = values.drop_nulls()[0]
            said.append(f"whole numbers such as {example} are read as dates, year, month and day")
            values, dates = compact, compact.is_not_null()
    else:
        values = pl.Series(column.name, [None] * len(column), dtype=pl.Int64)
    bad = values.is_null() & ~empty
    return Times(values.alias(column.name), empty, bad, dates, undecided, tuple(said))


def one_unit(times: pl.Series, dates: pl.Series) -> tuple[pl.Series, list[str]]:
    """Times in the finest unit that occurs among them, and the units that occur, the finest last.

    Numbers are of a unit by which they lie between 1990 and 2100. Where one lies there by none, all times stay as they
    are, and no unit is told unless all are dates.

    Args:
        times: Int64, as `parse_times` gives them: dates in seconds, numbers as they were.
        dates: which of them are dates.
    """
    if not (times.abs() >= FINER_FROM).any():
        return times, ["seconds"] if len(times) else []
    unit = pl.select(pl.lit(None, pl.Int64)).to_series().new_from_index(0, len(times))
    for place, (_, count) in enumerate(UNITS):
        fits = times.is_between(BELIEVED[0] * count, BELIEVED[1] * count)
        unit = pl.select(pl.when(fits).then(place).otherwise(unit)).to_series()
    unit = pl.select(pl.when(dates).then(0).otherwise(unit)).to_series()
    present = times.is_not_null()
    if (unit.is_null() & present).any():
        return times, []
    occurring: list[int] = unit.filter(present).unique().sort().to_list()
    finest = UNITS[occurring[-1]][1]
    if len(occurring) > 1:
        # Dates far away stop at what can be counted.
        most = (2**63 - 1) // finest
        factors = {place: finest // UNITS[place][1] for place in occurring}
        kept = pl.select(pl.when(unit == 0).then(times.clip(-most, most)).otherwise(times)).to_series()
        times = (kept * unit.replace_strict(factors, default=1, return_dtype=pl.Int64)).alias(times.name)
    return times, [UNITS[place][0] for place in occurring]


def too_small(times: pl.Series, dates: pl.Series) -> bool:
    """Whether times that are no dates lie in 1970 throughout: years, ranks, or seconds since something else."""
    return len(times) > 0 and not dates.any() and not (times.abs() >= YEAR).any()


def _floored(numbers: pl.Series) -> tuple[pl.Series, bool]:
    """Whole numbers below the given ones, and whether some had a fraction; none of what is no time in seconds.

    Fractions among small numbers are all there is of their order, so that cutting them off would lose it.
    """
    exact = whole(numbers, 2**63)
    cut = sure(numbers.is_between(-(2**63), 2**63, closed="none") & (numbers.abs() >= YEAR)) & ~exact
    return numbers.floor().set(~(exact | cut), None).cast(pl.Int64, strict=False), bool(cut.any())


def _zones(dates: pl.Series) -> list[str]:
    """What is done about times of day without a zone, where others have one."""
    timed = dates.filter(dates.str.contains(":", literal=True))
    naive = timed.filter(~timed.str.contains(ZONE))
    if not 0 < len(naive) < len(timed):
        return []
    return [f"{len(naive):,} of {len(timed):,} times have no zone and are taken for UTC, such as '{naive[0]}'"]


def _dated(text: pl.Series) -> Written:
    values = iso(text)
    left = values.is_null().arg_true()
    if not len(left):
        return Written(values, values.is_null())
    other = written(text.gather(left))
    nowhere = pl.repeat(False, len(text), dtype=pl.Boolean, eager=True)
    return Written(values.scatter(left, other.values), nowhere.scatter(left, other.undecided), other.said)


def _compact(values: pl.Series) -> pl.Series | None:
    """Numbers as dates, YYYYMMDD, those that are none null; None where they are numbers of something else."""
    if values.null_count() == len(values) or not values.is_between(*COMPACT).all():
        return None
    days = values.cast(pl.String).str.to_date("%Y%m%d", strict=False)
    if days.is_not_null().sum() < MOSTLY * (len(values) - values.null_count()):
        return None
    return seconds(days.cast(pl.Datetime("us")))
