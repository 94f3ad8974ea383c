"""What cells mean: ids, ratings, times and splits, parsed from text or taken from typed columns, whole columns at once.

Each function takes a column and gives its values beside masks of the rows that cannot be what they should.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

SPLITS = {
    "train": "train", "training": "train", "0": "train",
    "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid", "1": "valid",
    "test": "test", "testing": "test", "2": "test",
}  # fmt: skip

# What programs write where there is no value; exact words, so that few ids are really called so.
MISSING = ("NA", "N/A", "NULL", "null", "nan", "NaN", "None", "\\N", "<NA>")
TRUTH = {"true": 1.0, "false": 0.0}

# What a number of each unit counts in a second, and the years in which a time is believed to be of that unit.
UNITS = (("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9))
BELIEVED = (631_152_000, 4_102_444_800)  # 1990 to 2100
# Above this a count of seconds is beyond the year 5000.
FINER_FROM = 100_000_000_000
EXACT_FLOAT = 2**53

ISO_8601 = (
    r"^(?P<date>[+-]?\d{4}-\d{2}-\d{2})(?:[T ](?P<minute>\d{2}:\d{2})(?P<second>:\d{2}(?:\.\d+)?)?)?"
    r" ?(?P<zone>[Zz]|UTC|[+-]\d{2}:?\d{2})?$"
)


@dataclass(frozen=True)
class Cells:
    """A parsed column.

    Args:
        values: the parsed values, null where `empty` or `bad`.
        empty: rows without a value.
        bad: rows whose value is not what it should be.
    """

    values: pl.Series
    empty: pl.Series
    bad: pl.Series


def parse_text(column: pl.Series) -> pl.Series:
    """A column as strings; blank ones are null."""
    text = column.cast(pl.String)
    frame = pl.DataFrame({"text": text})
    blank = pl.col("text").str.strip_chars() == ""
    return frame.select(pl.when(~blank).then("text").alias("text")).to_series().alias(column.name)


def parse_ids(column: pl.Series) -> Cells:
    """Ids as strings without surrounding blanks; words of `MISSING` are empty.

    Whole numbers of any type become their decimal text. Floating-point ids are bad where they are not whole, or too
    large to be exact.
    """
    if column.dtype.is_decimal():
        text = column.cast(pl.String).str.replace(r"\.0+$", "")
        fraction = _true(text.str.contains(".", literal=True))
        return Cells(text.set(fraction, None), column.is_null(), fraction)
    if column.dtype.is_float():
        whole = _whole(column, EXACT_FLOAT)
        values = column.set(~whole, None).cast(pl.Int64).cast(pl.String)
        empty = column.is_null()
        return Cells(values, empty, ~whole & ~empty)
    if not _is_id_type(column.dtype):
        nothing = column.is_null()
        return Cells(pl.Series(column.name, [None] * len(column), dtype=pl.String), nothing, ~nothing)
    values = column.cast(pl.String).str.strip_chars()
    empty = _empty(values)
    return Cells(values.set(empty, None), empty, _nowhere(column))


def missing_words(column: pl.Series) -> pl.Series:
    """Which cells hold a word of `MISSING`."""
    if column.dtype.base_type() not in (pl.String, pl.Categorical, pl.Enum):
        return _nowhere(column)
    return _true(column.cast(pl.String).str.strip_chars().is_in(MISSING))


def parse_ratings(column: pl.Series) -> tuple[Cells, pl.Series]:
    """Ratings as Float64, and the mask of those that are NaN or infinite (null in the values, not in `bad`).

    True and false are 1 and 0, whether they are words or typed.
    """
    raw, empty = _stripped(column)
    if raw.dtype == pl.String:
        values = raw.cast(pl.Float64, strict=False)
        left = (values.is_null() & ~empty).arg_true()
        if len(left):
            words = raw.gather(left).str.to_lowercase()
            values = values.scatter(left, words.replace_strict(TRUTH, default=None, return_dtype=pl.Float64))
    elif raw.dtype.is_numeric() or raw.dtype == pl.Boolean:
        values = raw.cast(pl.Float64, strict=False)
    else:
        values = pl.Series(column.name, [None] * len(column), dtype=pl.Float64)
    infinite = _true(~values.is_finite())
    return Cells(values.set(infinite, None), empty, values.is_null() & ~empty), infinite


def parse_times(column: pl.Series) -> Cells:
    """Times as Int64 seconds since 1970 (UTC): whole numbers as they are, ISO 8601 converted, naive times as UTC."""
    raw, empty = _stripped(column)
    if raw.dtype.base_type() in (pl.Date, pl.Datetime):
        values = _seconds(raw.cast(pl.Datetime("us")) if raw.dtype == pl.Date else raw)
    elif raw.dtype.is_integer():
        values = raw.cast(pl.Int64, strict=False)
    elif raw.dtype.is_float():
        values = raw.set(~_whole(raw, 2**63), None).cast(pl.Int64, strict=False)
    elif raw.dtype == pl.String:
        values = raw.cast(pl.Int64, strict=False)
        for parse in (_whole_text, _iso_text):
            left = (values.is_null() & ~empty).arg_true()
            if len(left):
                values = values.scatter(left, parse(raw.gather(left)))
    else:
        values = pl.Series(column.name, [None] * len(column), dtype=pl.Int64)
    return Cells(values.alias(column.name), empty, values.is_null() & ~empty)


def is_date(column: pl.Series) -> pl.Series:
    """Which cells say a date, whose unit is known, and not a number."""
    raw, _ = _stripped(column)
    if raw.dtype == pl.String:
        return raw.cast(pl.Float64, strict=False).is_null()
    return pl.repeat(raw.dtype.base_type() in (pl.Date, pl.Datetime), len(raw), eager=True)


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


def parse_splits(column: pl.Series) -> Cells:
    """Splits as "train", "valid" or "test"; also known are validation, val, dev and RecBole-style 0, 1, 2."""
    raw, empty = _stripped(column)
    if raw.dtype.is_float():
        raw = raw.cast(pl.Int64, strict=False)
    text = raw.cast(pl.String, strict=False).str.to_lowercase()
    values = text.replace_strict(SPLITS, default=None, return_dtype=pl.String)
    return Cells(values, empty, values.is_null() & ~empty)


def _stripped(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    if column.dtype.base_type() in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype != pl.String:
        return column, column.is_null()
    text = column.str.strip_chars()
    empty = _empty(text)
    return text.set(empty, None), empty


def _empty(text: pl.Series) -> pl.Series:
    return text.is_in(["", *MISSING]) | text.is_null()


def _whole(column: pl.Series, limit: int) -> pl.Series:
    return _true(column.is_finite() & (column == column.round(0)) & (column.abs() < limit))


def _whole_text(text: pl.Series) -> pl.Series:
    number = text.cast(pl.Float64, strict=False)
    return number.set(~_whole(number, 2**63), None).cast(pl.Int64, strict=False)


def _iso_text(text: pl.Series) -> pl.Series:
    parts = pl.col("text").str.extract_groups(ISO_8601).struct
    zone = parts.field("zone").fill_null("Z").replace({"z": "Z", "UTC": "Z"})
    full = pl.concat_str(
        parts.field("date"),
        pl.lit("T"),
        parts.field("minute").fill_null("00:00"),
        parts.field("second").fill_null(":00"),
        zone,
    )
    frame = pl.DataFrame({"text": text})
    parsed = full.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False)
    return _seconds(frame.select(parsed).to_series())


def _seconds(moments: pl.Series) -> pl.Series:
    # Floor, not truncation, so that times before 1970 keep their order.
    microseconds = moments.dt.epoch("us")
    return microseconds // 1_000_000


def _is_id_type(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or dtype.base_type() in (pl.String, pl.Categorical, pl.Enum)


def _true(mask: pl.Series) -> pl.Series:
    return mask.fill_null(False)


def _nowhere(column: pl.Series) -> pl.Series:
    return pl.repeat(False, len(column), dtype=pl.Boolean, eager=True)
