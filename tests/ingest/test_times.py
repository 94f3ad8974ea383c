"""Times as numbers, as dates of many forms, and what is no time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.core.errors import DataError
from palate.ingest.catalogue import Catalogue
from palate.ingest.importing import import_tables
from palate.ingest.report import Report
from palate.ingest.times import one_unit, parse_times

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
        ("893269800.5", MOMENT),
        ("893269800.999", MOMENT),
        ("-893269800.5", -MOMENT - 1),
        ("893269.5", None),
        ("1998-02-30", None),
        ("1998-04-22T25:00", None),
        ("22.04.1998", MOMENT - (18 * 60 + 30) * 60),
        ("22.4.1998 18:30", MOMENT),
        ("22/4/1998 6:30 PM", MOMENT),
        ("04/22/1998 18:30:00", MOMENT),
        ("4-22-1998, 06:30pm", MOMENT),
        ("1998/04/22 18:30:00.75", MOMENT),
        ("1998/4/22 20:30+02:00", MOMENT),
        ("1998-4-22 18:30", MOMENT),
        ("Wed Apr 22 18:30:00 +0000 1998", MOMENT),
        ("Wed Apr 22 11:30:00 -0700 1998", MOMENT),
        ("Wed Apr 22 18:30:00 1998", MOMENT),
        ("31.02.1998", None),
        ("31/31/1998", None),
        ("22/4/98", None),
        ("Wed Foo 22 18:30:00 1998", None),
        ("yesterday", None),
        ("inf", None),
        ("99999999999999999999", None),
    ],
)
def test_times_are_whole_seconds_or_dates(text: str, seconds: int | None) -> None:
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
    read = parse_times(column)
    times, units = one_unit(read.values, read.dates)
    return times.to_list(), units


def test_decimal_times_are_those_of_fractions() -> None:
    for type_ in (pl.Float64, pl.Decimal(20, 2)):
        large = parse_times(pl.Series([1_700_000_000.75, 1_700_000_001.0]).cast(type_))
        assert large.values.to_list() == [1_700_000_000, 1_700_000_001]
        assert large.said == ("fractions of a second are cut off",)
        assert parse_times(pl.Series([0.25, 0.75]).cast(type_)).bad.to_list() == [True, True]


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


def days(*cells: object) -> list[str | None]:
    """The days of cells of one column."""
    values = parse_times(pl.Series("t", cells, strict=False)).values
    return (values * 1000).cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%d").to_list()


def test_the_whole_column_says_whether_day_or_month_comes_first() -> None:
    assert days("01/02/2000", "31/01/2000") == ["2000-02-01", "2000-01-31"]
    assert days("01/02/2000 10:00", "12/31/2000 22:12") == ["2000-01-02", "2000-12-31"]
    assert days("01.02.2000", "12/31/2000") == ["2000-02-01", "2000-12-31"], "points are not in question"
    assert days("01-02-2000", "2000/01/31", "1.1.2001") == [None, "2000-01-31", "2001-01-01"]


@pytest.mark.parametrize("cells", [["01/02/2000", "03/04/2000"], ["31/01/2000", "01/31/2000"]])
def test_dates_that_no_row_decides_are_refused_in_clear_words(tmp_path: Path, cells: list[str]) -> None:
    read = parse_times(pl.Series(cells))
    assert read.undecided.all()
    assert read.bad.all()
    with pytest.raises(
        DataError, match="the rows do not say whether the day or the month comes first: 2 rows"
    ) as caught:
        log(tmp_path, cells)
    assert "1998-04-22" in str(caught.value)


@pytest.mark.parametrize("dtype", [pl.String, pl.Int64, pl.Float64])
def test_whole_numbers_that_are_all_dates_are_dates(dtype: type[pl.DataType]) -> None:
    column = pl.Series([20220408, 19991231, None]).cast(dtype)
    if dtype == pl.String:
        column = column.fill_null("NA")
    read = parse_times(column)
    assert read.values.to_list() == [1_649_376_000, 946_598_400, None]
    assert read.dates.to_list() == [True, True, False]
    assert "20220408 are read as dates" in read.said[0]


def test_a_wrong_day_among_many_dates_is_no_time() -> None:
    read = parse_times(pl.Series([20220400 + day for day in range(1, 32)]))
    assert read.bad.arg_true().to_list() == [30]


@pytest.mark.parametrize("numbers", [[20220408, 5], [20220408, 20229999], [2019, 2020], [408, 1231], [0, 0]])
def test_other_small_numbers_stay_an_order(tmp_path: Path, numbers: list[int]) -> None:
    catalogue, report = log(tmp_path, [str(number) for number in numbers])
    assert catalogue.interactions["timestamp"].to_list() == numbers
    (note,) = [problem.what for problem in report.of("note")]
    assert f"an order, but no seconds since 1970: they run from {min(numbers)} to {max(numbers)}" in note


def test_times_of_any_later_year_are_not_called_an_order(tmp_path: Path) -> None:
    for cells in (["1000000000", "5"], ["1970-01-02", "1970-01-03"]):
        assert log(tmp_path, cells)[1].problems == []


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            ["2024-05-01T10:00:00Z", "2024-05-01T10:00:00", "2024-05-02"],
            "1 of 2 times have no zone and are taken for UTC",
        ),
        (["2024-05-01 10:00+02:00", "2024-05-01 10:00", "2024-05-01 11:00"], "2 of 3 times have no zone"),
        (["31.12.2000 10:00 UTC", "31.12.2000 10:00"], "1 of 2 times have no zone"),
        (["2024-05-01T10:00:00Z", "2024-05-01T10:00:00.5+0200", "2024-05-02"], ""),
        (["2024-05-01T10:00:00", "2024-05-02", "2024-05-01 10:00"], ""),
        (["Sun Jul 30 07:44:10 -0700 2017", "Sun Jul 30 07:44:10 UTC 2017"], ""),
        (["2024-05-01T10:00:00Z", "no time at 10:00"], ""),
    ],
)
def test_times_without_a_zone_among_others_are_said(cells: list[str], said: str) -> None:
    found = parse_times(pl.Series(cells)).said
    assert (any(said in each for each in found)) if said else not found


def test_fractions_of_seconds_are_cut_off_and_said(tmp_path: Path) -> None:
    catalogue, report = log(tmp_path, ["1593880665.128", "1593880665", "1593880664.9"])
    assert catalogue.interactions["timestamp"].to_list() == [1593880665, 1593880665, 1593880664]
    assert [problem.what for problem in report.problems] == ["fractions of a second are cut off"]
    typed = parse_times(pl.Series([1593880665.128, None, float("nan")]))
    assert typed.values.to_list() == [1593880665, None, None]
    assert typed.bad.to_list() == [False, False, True]


def test_fractions_that_are_all_the_order_there_is_are_not_cut_off(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a time: 2 rows"):
        log(tmp_path, ["0.25", "0.5"])


def log(folder: Path, times: list[str]) -> tuple[Catalogue, Report]:
    rows = "".join(f"u,i{row},{time}\n" for row, time in enumerate(times))
    (folder / "log.csv").write_text("user_id,item_id,timestamp\n" + rows)
    return import_tables(folder / "log.csv")
