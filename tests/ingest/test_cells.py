"""What text and typed cells mean as ids, ratings and splits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import polars as pl
import pytest

from palate.ingest.cells import Cells, parse_ids, parse_ratings, parse_splits, parse_text
from palate.ingest.times import parse_times


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


def test_splits_know_the_usual_words_and_numbers() -> None:
    text = parse_splits(pl.Series(["train", "Validation", "val", "dev", " TEST ", "0", "1", "2", "3", "holdout", ""]))
    assert text.values.to_list() == ["train", *["valid"] * 3, "test", "train", "valid", "test", None, None, None]
    assert text.bad.arg_true().to_list() == [8, 9]
    for dtype in (pl.Int64, pl.Float64):
        assert parse_splits(pl.Series([0, 1, 2], dtype=dtype)).values.to_list() == ["train", "valid", "test"]


def test_blank_text_is_null_and_other_text_stays_as_it_is() -> None:
    assert parse_text(pl.Series("t", [" x ", " \t", "", None])).to_list() == [" x ", None, None, None]
    assert parse_text(pl.Series("t", [1990])).to_list() == ["1990"]
