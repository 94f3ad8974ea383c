"""What text and typed cells mean as ids, ratings, times and splits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.ingest.cells import (
    Cells,
    is_date,
    one_unit,
    parse_ids,
    parse_ratings,
    parse_splits,
    parse_text,
    parse_times,
)


def test_ids_are_stripped_text_and_whole_numbers_their_decimal_text() -> None:
    cells = parse_ids(pl.Series("id", [" a ", "1.0", "007", "  ", "", None]))
    assert cells.values.to_list() == ["a", "1.0", "007", None, None, None]
    assert cells.empty.to_list() == [False, False, False, True, True, True]
    assert parse_ids(pl.Series("id", [1, None, -3])).values.to_list() == ["1", None, "-3"]
    assert parse_ids(pl.Series("id", ["x"], dtype=pl.Categorical)).values.to_list() == ["x"]


def test_float_ids_are_whole_numbers_or_bad() -> None:
    cells = parse_ids(pl.Series("id", [1.0, 2.5, float("nan"), float("inf"), 2.0**60, None]))
    assert cells.values.to_list() == ["1", None, None, None, None, None]
    assert cells.bad.to_list() == [False, True, True, True, True, False]
    assert cells.empty.to_list() == [False] * 5 + [True]


@pytest.mark.parametrize("column", [pl.Series([True, False]), pl.Series([date(2020, 1, 1), None])])
def test_other_types_are_no_ids(column: pl.Series) -> None:
    cells = parse_ids(column)
    assert cells.values.null_count() == 2
    assert (cells.bad | cells.empty).all()


def test_ratings_tell_bad_infinite_and_empty_apart() -> None:
    cells, infinite = parse_ratings(pl.Series(["4", " 3.5 ", "-1e1", "five", "4,5", "inf", "-inf", "", None, "NaN"]))
    assert cells.values.to_list() == [4.0, 3.5, -10.0, *[None] * 7]
    assert infinite.arg_true().to_list() == [5, 6]
    assert (cells.bad & ~infinite).arg_true().to_list() == [3, 4]
    assert cells.empty.arg_true().to_list() == [7, 8, 9]
    typed, infinite = parse_ratings(pl.Series([4.0, float("nan"), None]))
    assert (typed.values.to_list(), infinite.to_list()) == ([4.0, None, None], [False, True, False])


def test_true_and_false_are_ratings_in_words_as_they_are_typed() -> None:
    cells, _ = parse_ratings(pl.Series(["True", "false", " TRUE ", "4", "yes", "None"]))
    assert cells.values.to_list() == [1.0, 0.0, 1.0, 4.0, None, None]
    assert cells.bad.arg_true().to_list() == [4]
    assert parse_ratings(pl.Series([True, False, None]))[0].values.to_list() == [1.0, 0.0, None]


@pytest.mark.parametrize("parse", [parse_ids, parse_times, parse_splits])
def test_words_for_no_value_are_empty_cells(parse: Callable[[pl.Series], Cells]) -> None:
    words = ["NA", "N/A", "NULL", "null", "nan", "NaN", "None", "\\N", "<NA>", " NA "]
    for column in (pl.Series(words), pl.Series(words, dtype=pl.Categorical)):
        cells = parse(column)
        assert cells.empty.all()
        assert not cells.bad.any()
        assert cells.values.null_count() == len(words)
    others = ["none", "Nan", "nap", "NAN", "n/a"]
    assert not parse(pl.Series(others)).empty.any()


def test_decimal_ids_are_whole_or_bad() -> None:
    whole = pl.Series(["1", "98765432109876543210", None]).cast(pl.Decimal(38, 0))
    assert parse_ids(whole).values.to_list() == ["1", "98765432109876543210", None]
    cells = parse_ids(pl.Series(["1.00", "2.50", None]).cast(pl.Decimal(10, 2)))
    assert cells.values.to_list() == ["1", None, None]
    assert (cells.bad.to_list(), cells.empty.to_list()) == ([False, True, False], [False, False, True])


MOMENT = 893269800  # 1998-04-22T18:30:00Z


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("893269800", MOMENT),
        (" 893269800.0 ", MOMENT),
        ("8.932698e8", MOMENT),
        ("-5", -5),
        ("1998-04-22T18:30:00Z", MOMENT),
        ("1998-04-22 18:30:00", MOMENT),
        ("1998-04-22T18:30", MOMENT),
        ("1998-04-22 18:30:00.750 UTC", MOMENT),
        ("1998-04-22T20:30:00+02:00", MOMENT),
        ("1998-04-22T13:30:00-0500", MOMENT),
        ("1998-04-22", MOMENT - (18 * 60 + 30) * 60),
        ("1969-12-31T23:59:59.5Z", -1),
        ("893269800.5", None),
        ("1998-02-30", None),
        ("1998-04-22T25:00", None),
        ("22.04.1998", None),
        ("yesterday", None),
        ("inf", None),
        ("99999999999999999999", None),
    ],
)
def test_times_are_whole_seconds_or_iso_8601(text: str, seconds: int | None) -> None:
    cells = parse_times(pl.Series("t", [text, ""]))
    assert cells.values.to_list() == [seconds, None]
    assert cells.bad.to_list() == [seconds is None, False]
    assert cells.empty.to_list() == [False, True]


@given(
    st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["T", " "]),
)
def test_any_iso_time_is_the_second_that_python_says(moment: datetime, minutes: int, between: str) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    epoch = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    assert parse_times(pl.Series([aware.isoformat(sep=between)])).values.to_list() == [epoch]


def test_typed_times_are_converted() -> None:
    moment = datetime(1998, 4, 22, 18, 30, tzinfo=UTC)
    for column in (
        pl.Series([moment]),
        pl.Series([moment.replace(tzinfo=None)]).cast(pl.Datetime("ns")),
        pl.Series([moment]).dt.convert_time_zone("Asia/Tokyo"),
        pl.Series([float(MOMENT)]),
        pl.Series([MOMENT], dtype=pl.UInt64),
    ):
        assert parse_times(column).values.to_list() == [MOMENT]
    assert parse_times(pl.Series([date(1970, 1, 2)])).values.to_list() == [86400]
    assert parse_times(pl.Series([1.5, float("nan"), None])).bad.to_list() == [True, True, False]


def unified(*cells: object) -> tuple[list[int | None], list[str]]:
    column = pl.Series("t", cells, strict=False)
    times, units = one_unit(parse_times(column).values, is_date(column))
    return times.to_list(), units


def test_times_of_several_units_become_those_of_the_finest() -> None:
    """A log that was joined of two: milliseconds, and ISO 8601, which is read as seconds."""
    times, units = unified(" 1760000000000", "2026-01-01T00:00:00Z", "", "1760000001 ")
    assert times == [1_760_000_000_000, 1_767_225_600_000, None, 1_760_000_001_000]
    assert units == ["seconds", "milliseconds"]
    times, units = unified(1_700_000_000, 1_700_000_000_000, 1_700_000_000_000_000, 1_700_000_000_000_000_000)
    assert set(times) == {1_700_000_000_000_000_000}
    assert units == ["seconds", "milliseconds", "microseconds", "nanoseconds"]


@pytest.mark.parametrize(
    "cells",
    [
        ("2020-01-01", "2024-05-05", "9999-12-31"),
        (0, 50_000_000_000, 99_000_000_000, 120_000_000_000),
        (60_000_000_000, 630_000_000_000, 1_700_000_000_000),
        (50_000_000_000, 10**17),
        (-1, 0, 99_999_999_999),
        ("2020-01-01", "9999-12-31", "1760000000000000000"),
    ],
)
def test_no_order_is_lost_by_units(cells: tuple[object, ...]) -> None:
    """Dates far away, counters that are no times, and times before 1990 beside later ones."""
    times, _ = unified(*cells)
    known = [time for time in times if time is not None]
    given = parse_times(pl.Series("t", cells, strict=False)).values.to_list()
    if all(isinstance(cell, int) for cell in cells):
        assert known == given
    order = [0, 2, 1] if "1760000000000000000" in cells else list(range(len(cells)))
    assert sorted(range(len(known)), key=known.__getitem__) == order


def test_splits_know_the_usual_words_and_numbers() -> None:
    text = parse_splits(pl.Series(["train", "Validation", "val", "dev", " TEST ", "0", "1", "2", "3", "holdout", ""]))
    assert text.values.to_list() == ["train", *["valid"] * 3, "test", "train", "valid", "test", None, None, None]
    assert text.bad.arg_true().to_list() == [8, 9]
    for dtype in (pl.Int64, pl.Float64):
        assert parse_splits(pl.Series([0, 1, 2], dtype=dtype)).values.to_list() == ["train", "valid", "test"]


def test_blank_text_is_null_and_other_text_stays_as_it_is() -> None:
    assert parse_text(pl.Series("t", [" x ", " \t", "", None])).to_list() == [" x ", None, None, None]
    assert parse_text(pl.Series("t", [1990])).to_list() == ["1990"]
