"""Decimal commas: read where they can be nothing else, left with a word where they can, never touched elsewhere."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from palate.core.errors import DataError
from palate.ingest.decimals import with_points
from palate.ingest.importing import import_tables
from palate.ingest.report import Report
from palate.ingest.tables import Table


def read(*cells: str | None, separator: str | None = ";") -> tuple[list[str | None], str]:
    """The cells of a column, and what was said of it."""
    report = Report()
    table = Table("f.csv", pl.DataFrame({"rating": pl.Series(cells, dtype=pl.String)}), separator=separator)
    made = with_points(table, "rating", report)
    return made.frame["rating"].to_list(), "; ".join(note.what for note in report.problems)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["357,71", "12", None, " 0,5 "], ["357.71", "12", None, "0.5"]),
        (["4,5", "n/a", "3"], ["4.5", "n/a", "3"]),
        (["1,5", "1,5 EUR"], ["1.5", "1,5 EUR"]),
        (["1.234,56", "7,5", "1.234", "-1.234.567,8"], ["1234.56", "7.5", "1234", "-1234567.8"]),
        (["1,234", "1,5"], ["1.234", "1.5"]),
        (["0,125", "0,250"], ["0.125", "0.250"]),
        (["1.234.567", "1,5"], ["1234567", "1.5"]),
        (["+4,5", ",5"], ["+4.5", ".5"]),
    ],
)
def test_columns_of_nothing_but_numbers_are_read(cells: list[str | None], expected: list[str | None]) -> None:
    found, said = read(*cells)
    assert found == expected
    assert "numbers with a decimal comma" in said


@pytest.mark.parametrize("cells", [["1,234", "12,500"], ["1.234", "1,5"], ["1,234", "7"]])
def test_what_may_be_thousands_stays_and_is_said(cells: list[str]) -> None:
    found, said = read(*cells)
    assert found == cells
    assert "may be numbers with a decimal comma or with thousands" in said


@pytest.mark.parametrize(
    "cells",
    [
        ["1,5,7", "1,5"],
        ["1.5", "1,5"],
        ["1,234.56", "1,5"],
        ["1.5", "2"],
        ["a,b"],
        ["1,5 EUR"],
        ["4,5", "3.5"],
        [None],
    ],
)
def test_other_columns_stay_without_a_word(cells: list[str | None]) -> None:
    assert read(*cells) == (cells, "")


def test_tables_separated_by_commas_stay() -> None:
    assert read("1,5", separator=",") == (["1,5"], "")
    assert read("1,5", separator=None) == (["1,5"], "")


def test_ratings_with_decimal_commas_come_in_and_other_cells_stay_as_they_are(tmp_path: Path) -> None:
    log, items = tmp_path / "log.csv", tmp_path / "items.csv"
    log.write_text("user_id;item_id;rating\nu1;1,5;4,5\nu1;2,5;3\nu2;1,5;none\n")
    # '28,12' may as well be two genres.
    items.write_text("item_id;title;genre_ids\n1,5;7,5;28,12\n2,5;8,5;9\n")
    catalogue, report = import_tables(log, items)
    assert catalogue.interactions["rating"].to_list() == [4.5, 3.0]
    assert catalogue.items.select("item_id", "title", "genre_ids").rows() == [
        ("1,5", "7,5", "28,12"),
        ("2,5", "8,5", "9"),
    ]
    said = {(note.column, note.count) for note in report.of("note") if "decimal comma" in note.what}
    assert said == {("rating", 1)}
    assert report.dropped == 1


def test_ratings_that_may_be_thousands_are_still_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user_id;item_id;rating\nu1;x;1,234\n")
    with pytest.raises(DataError, match="decimal comma or with thousands"):
        import_tables(log)
