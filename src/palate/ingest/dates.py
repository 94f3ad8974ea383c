"""Dates as people and programs write them: ISO 8601, 31.12.2000, 12/31/2000 10:12 PM, 2000/12/31, Sun Dec 31 … 2000.

Takes a column of text; gives seconds since 1970, null where a cell is none of these.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

ISO_8601 = (
    r"^(?P<date>[+-]?\d{4}-\d{2}-\d{2})(?:[T ](?P<minute>\d{2}:\d{2})(?P<second>:\d{2}(?:\.\d+)?)?)?"
    r" ?(?P<zone>[Zz]|UTC|[+-]\d{2}:?\d{2})?$"
)
NUMBERS = (
    r"^(?P<first>\d{1,4})(?P<mark>[./-])(?P<second>\d{1,2})[./-](?P<third>\d{1,4})"
    r"(?:,?[T ](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<seconds>\d{2})(?:\.\d+)?)?(?: ?(?P<half>[AaPp])[Mm])?)?"
    r" ?(?P<zone>[Zz]|UTC|[+-]\d{2}:?\d{2})?$"
)
# As C and Twitter write them: Sun Jul 30 07:44:10 -0700 2017.
NAMED = (
    r"^[A-Z][a-z]{2} (?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) (?P<time>\d{2}:\d{2}:\d{2})"
    r"(?: (?P<zone>[+-]\d{4}|UTC|GMT))? (?P<year>\d{4})$"
)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DATE = (("year", 4), ("month", 2), ("day", 2))
NO_ZONE = {"z": "Z", "UTC": "Z", "GMT": "Z"}


@dataclass(frozen=True)
class Written:
    """Dates that were read.

    Args:
        values: seconds since 1970, Int64, null where a cell is no such date.
        undecided: cells of which no other says whether day or month comes first.
        said: which of the two comes first, where the others say so.
    """

    values: pl.Series
    undecided: pl.Series
    said: tuple[str, ...] = ()


def iso(text: pl.Series) -> pl.Series:
    """ISO 8601, date alone or with a time; naive ones are UTC."""
    parts = pl.col("text").str.extract_groups(ISO_8601).struct
    time = pl.concat_str(parts.field("minute").fill_null("00:00"), parts.field("second").fill_null(":00"))
    return _seconds_of(text, parts.field("date"), time, parts.field("zone"))


def written(text: pl.Series) -> Written:
    """Dates of other forms.

    Points separate day, month and year, and four digits at the front are the year. Otherwise the whole column says
    whether day or month comes first, by those that are more than twelve.
    """
    read = text.alias("text").to_frame().select(pl.col("text").str.extract_groups(NUMBERS).struct.unnest())
    first, second, third = (read[name].cast(pl.Int64) for name in ("first", "second", "third"))
    year_first = (read["first"].str.len_chars() == 4) & (read["third"].str.len_chars() <= 2)
    year_last = (read["third"].str.len_chars() == 4) & (read["first"].str.len_chars() <= 2)
    open_ = (year_last & (read["mark"] != ".")).fill_null(False)
    # A date with two numbers above twelve is none, and says nothing of the others.
    says_day = bool((open_ & (first > 12) & (second <= 12)).any())
    says_month = bool((open_ & (second > 12) & (first <= 12)).any())
    month_first = open_ & says_month
    undecided = open_ if says_day == says_month else open_ & False
    frame = pl.DataFrame(
        {
            "year": pl.select(pl.when(year_first).then(first).when(year_last).then(third)).to_series(),
            "month": pl.select(pl.when(month_first).then(first).otherwise(second)).to_series(),
            "day": pl.select(
                pl.when(year_first).then(third).when(month_first).then(second).otherwise(first)
            ).to_series(),
            "zone": read["zone"],
            "time": read.select(_time_of_day()).to_series(),
        }
    ).with_columns(pl.when(~undecided).then("year").alias("year"))
    date = pl.concat_str(*(pl.col(name).cast(pl.String).str.zfill(n) for name, n in DATE), separator="-")
    values = _seconds_of(frame, date, pl.col("time"), pl.col("zone"))
    left = (values.is_null() & ~undecided).arg_true()
    values = values.scatter(left, _named(text.gather(left)))
    said: tuple[str, ...] = ()
    if open_.any() and not undecided.any():
        example = text.filter(open_)[0]
        said = (f"{'month' if says_month else 'day'} first in dates such as '{example}', as others of the column say",)
    return Written(values, undecided, said)


def seconds(moments: pl.Series) -> pl.Series:
    """Whole seconds since 1970; floored, not truncated, so that times before 1970 keep their order."""
    microseconds = moments.dt.epoch("us")
    return microseconds // 1_000_000


def _time_of_day() -> pl.Expr:
    hour, half = pl.col("hour").cast(pl.Int64), pl.col("half").str.to_lowercase()
    afternoon = pl.when(half == "p").then(12).otherwise(0)
    hour = pl.when(half.is_not_null() & hour.is_between(1, 12)).then(hour % 12 + afternoon).otherwise(hour)
    two = hour.fill_null(0).cast(pl.String).str.zfill(2)
    return pl.concat_str(two, pl.col("minute").fill_null("00"), pl.col("seconds").fill_null("00"), separator=":")


def _named(text: pl.Series) -> pl.Series:
    parts = pl.col("text").str.extract_groups(NAMED).struct
    numbers = {name: f"{number:02}" for number, name in enumerate(MONTHS, start=1)}
    month = parts.field("month").replace_strict(numbers, default=None, return_dtype=pl.String)
    date = pl.concat_str(parts.field("year"), month, parts.field("day").str.zfill(2), separator="-")
    return _seconds_of(text, date, parts.field("time"), parts.field("zone"))


def _seconds_of(source: pl.Series | pl.DataFrame, date: pl.Expr, time: pl.Expr, zone: pl.Expr) -> pl.Series:
    """Seconds of dates YYYY-MM-DD, times HH:MM:SS and zones, made of columns of `source`; a series is "text"."""
    frame = pl.DataFrame({"text": source}) if isinstance(source, pl.Series) else source
    full = pl.concat_str(date, pl.lit("T"), time, zone.fill_null("Z").replace(NO_ZONE))
    parsed = full.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False)
    return seconds(frame.select(parsed).to_series())
