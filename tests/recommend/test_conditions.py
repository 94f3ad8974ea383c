"""What a column answers to a condition: dates in text, values with bars, long numbers, and yes and no."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from palate.core.errors import DataError
from palate.dataset.vocabulary import Vocabulary
from palate.recommend.conditions import Condition
from palate.recommend.filters import ItemFilters


def some(column: pl.Series) -> ItemFilters:
    """Filters over items a, b, … with one column `x`."""
    names = pl.Series("item_id", list("abcdefgh")[: len(column)])
    return ItemFilters(pl.DataFrame({"item_id": names, "x": column}), Vocabulary("item", names))


def found(column: pl.Series | list[str | None], where: str | Condition) -> str:
    """The items of such a table that satisfy one condition."""
    filters = some(pl.Series(column))
    mask = filters.mask([where])
    assert mask is not None
    return "".join(filters.items.ids.filter(pl.Series(mask)))


def test_texts_that_are_stored_by_number_are_texts() -> None:
    column = pl.Series(["2024-05-20", None, "2024-05-22"])
    for dtype in (pl.Categorical, pl.Enum(["2024-05-20", "2024-05-22"])):
        assert found(column.cast(dtype), "x>2024-05-20") == "c"


def test_times_in_text_are_the_times_that_a_person_writes() -> None:
    cells = ["2024-05-20", "2024-05-20T00:00:00.1234567Z", " 2024-05-20 02:30+0200", "2024-05-19T23:00:01-01:30", ""]
    for name, text in zip("abcd", ("T00:00", "T00:00:00.123456", "T00:30", "T00:30:01"), strict=True):
        assert found(cells, f"x=2024-05-20{text}") == name
    assert found(cells, "x=2024-05-20") == "abcd"
    assert found(cells, "x!=2024-05-20") == "e"
    assert found(["1969-12-31T23:59:59", "1970-01-01", None], "x<1970-01-01") == "a"


@pytest.mark.parametrize(
    "cells",
    [
        ["2024-05-20", "unknown", "2024-05-21"],
        ["2024-05-20", "2024-02-31", "2024-05-21"],
        ["2024-05-20", "2024-05-20T1", "2024-05-21"],
        ["2024-05-20", "2024-05-20T24:00", "2024-05-21"],
        ["20240520", "2024-05-20", "words"],
    ],
)
def test_text_that_is_not_dates_alone_is_said_to_be_text(cells: list[str | None]) -> None:
    numbers = cells[0] == "20240520"
    with pytest.raises(DataError, match="is no number" if numbers else "column 'x' is text") as caught:
        found(cells, "x>=2024-05-20")
    if cells[1] == "unknown":
        assert "such as 'unknown'" in str(caught.value)
    assert found(cells, f"x={cells[1]}") == "b"


BEYOND = 2**53


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([BEYOND, BEYOND + 1, BEYOND + 2, None], dtype=pl.Int64),
        pl.Series([BEYOND, BEYOND + 1, BEYOND + 2, None], dtype=pl.UInt64),
        pl.Series([f"00{BEYOND}", f" {BEYOND + 1}", f"{BEYOND + 2}.0", "none"]),
        pl.Series([f"{BEYOND},0", f"{BEYOND + 1}", f"{BEYOND + 2}", None]),
    ],
)
def test_long_numbers_are_compared_exactly(column: pl.Series) -> None:
    texts, wanted = column.dtype == pl.String, BEYOND + 1
    assert found(column, f"x={wanted}") == "b"
    assert found(column, f"x>={wanted}") == "bc"
    assert found(column, f"x>{wanted}") == "c"
    assert found(column, f"x<{wanted}") == "a"
    assert found(column, f"x<={wanted}.5") == "ab"
    assert found(column, f"x!={wanted}") == "acd"
    assert found(column, "x>=-1e400") == "abc"
    assert found(column, "x<=1e400") == "abc"
    if not texts:
        with pytest.raises(DataError, match="no item has"):
            found(column, f"x={wanted}.5")


def test_numbers_of_single_precision_are_found_as_they_are_written() -> None:
    column = pl.Series([9.95, 10.05, None, float("nan")], dtype=pl.Float32)
    assert found(column, "x=9.95") == "a"
    assert found(column, "x<=9.95") == "a"
    assert found(column, "x>=10.05") == "b"
    assert found(column, "x<=1e39") == "ab"


@pytest.mark.parametrize(
    ("cells", "wanted", "expected"),
    [
        (["2003", "2004", None], "2003.0", "a"),
        (["2003.0", "2004.0", "unknown"], "2003", "a"),
        (["10.50", "9,5", "nine"], "10.5", "a"),
        (["9,5", "10,25", None], "9.5", "a"),
        (["2003.0", "2003", None], "2003", "b"),
        (["2003|2004", "2004", None], "2004", "ab"),
        (["True", "False", None], "true", "a"),
        (["TRUE", "false", ""], "0", "b"),
        (["true", "false", "true"], "1", "ac"),
        ([True, False, None], "True", "a"),
        ([True, False, None], "1", "a"),
        ([True, False, None], "0.0", "b"),
        (["007", "7.0", "8"], "7.0", "b"),
    ],
)
def test_a_value_is_found_however_numbers_and_truths_are_written(
    cells: list[str | None], wanted: str, expected: str
) -> None:
    assert found(cells, Condition("x", "=", (wanted,))) == expected


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [(["007", "8"], "7"), (["yes", "true"], "1"), (["1", "true"], "True"), ([True, None], "yes"), (["7"], "nan")],
)
def test_codes_and_words_are_what_they_are(cells: list[str | None], wanted: str) -> None:
    with pytest.raises(DataError, match="no item has"):
        found(cells, Condition("x", "=", (wanted,)))


def test_bars_take_no_name_apart() -> None:
    table = pl.DataFrame(
        {
            "item_id": ["a|b", "a", "b"],
            "title": ["Up|Down", "Up", "Down"],
            "mood": ["light|warm", "warm", "dark"],
            "genres": ["R&B;Soul", "Soul", "R&B"],
        }
    )
    filters = ItemFilters(table, Vocabulary("item", table["item_id"]))

    def rows(where: Condition | str) -> list[int]:
        mask = filters.mask([where])
        assert mask is not None
        return np.flatnonzero(mask).tolist()

    # As the service asks: values are what they are.
    assert rows(Condition("item_id", "=", ("a|b",))) == [0]
    assert rows(Condition("item_id", "=", ("a",))) == [1]
    assert rows(Condition("title", "!=", ("Up|Down",))) == [1, 2]
    # As a person writes it on a line.
    assert rows(r"item_id=a\|b") == [0]
    assert rows("item_id=a|b") == [1, 2]
    assert rows(r"title=Up\|Down|Down") == [0, 2]
    # Other columns may hold lists, as import stores them; a cell as it stands is there as well.
    assert rows("mood=warm") == [0, 1]
    assert rows(r"mood=light\|warm") == [0]
    assert rows("genres=Soul") == [0, 1]
    assert rows("genres=R&B;Soul") == [0]
    for wrong in ("title=up", r"mood=warm\|light"):
        with pytest.raises(DataError, match="no item has"):
            rows(wrong)


def test_a_title_that_looks_like_a_date_is_a_title() -> None:
    titles = pl.DataFrame({"item_id": ["2024-05-20", "2024-05-20T00:00"], "title": ["1984-04-04", "2001-01-01"]})
    filters = ItemFilters(titles, Vocabulary("item", titles["item_id"]))
    for condition, expected in (("item_id=2024-05-20", [True, False]), ("title>=2000-01-01", [False, True])):
        mask = filters.mask([condition])
        assert mask is not None
        assert mask.tolist() == expected
    with pytest.raises(DataError, match="no item has the title"):
        filters.mask(["title=1984-04-04T00:00"])
