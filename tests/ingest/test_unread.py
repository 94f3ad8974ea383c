"""What looks like a time, a rating or content, and is read as nothing, is said; what is advised then reads it."""

from __future__ import annotations

import shlex
from pathlib import Path

import polars as pl
import pytest

from palate.ingest.columns import INTERACTIONS, ITEMS, Wanted, resolve
from palate.ingest.importing import import_tables
from palate.ingest.naming import ColumnNames, read_columns
from palate.ingest.report import Problem, Report
from palate.ingest.tables import Table
from palate.ingest.unread import note_unread


def noted(
    name: str, plan: dict[str, str], columns: dict[str, list[str]], left_out: tuple[str, ...] = ()
) -> list[Problem]:
    report = Report()
    frame = pl.DataFrame({**{column: ["1", "2"] for column in plan.values()}, **columns})
    note_unread(Table("f.csv", frame), name, plan, left_out, report)
    return report.problems


def log(columns: dict[str, list[str]], left_out: tuple[str, ...] = ()) -> list[Problem]:
    return noted("interactions", {"user_id": "user_id", "item_id": "item_id"}, columns, left_out)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("t_dat", ["2018-09-20", "2018-09-21"]),
        ("created_at", ["2018-09-20T10:00:00Z", "1546300800"]),
        ("whatever", ["2018-09-20 10:00", "2018-09-21 11:00"]),
        ("event_stamp", ["1546300800000", "1546300801000"]),
    ],
)
def test_a_column_of_times_is_said_and_the_advice_reads_it(name: str, cells: list[str]) -> None:
    (problem,) = log({name: cells, "price": ["1.5", "2.5"]})
    assert problem.column == name
    names = read_columns(shlex.split(problem.do.partition("--columns ")[2]))
    table = Table("f.csv", pl.DataFrame({"user_id": ["u", "v"], "item_id": ["i", "j"], name: cells}))
    assert resolve(table, INTERACTIONS, names, Report())["timestamp"] == name


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        # Numbers as long as times are; the day of something else; a usual name beside another one, said elsewhere.
        ("session", ["1546300800", "1546300801"]),
        ("release_date", ["1999-01-01", "2001-01-01"]),
        ("date", ["2018-09-20", "2018-09-21"]),
        ("updates", ["3", "4"]),
        ("review_count", ["3", "4"]),
        ("avg_rating", ["3.5", "4"]),
        ("my_rating", ["good", "4"]),
    ],
)
def test_nothing_is_said_of_what_is_something_else(name: str, cells: list[str]) -> None:
    assert log({name: cells}) == []


def test_times_in_another_form_are_said_to_be_unread() -> None:
    (problem,) = log({"InvoiceDate": ["12/1/2010 8:26", "12/2/2010 9:00"]})
    assert "a form that is not read: '12/1/2010 8:26'" in problem.what


def test_ratings_are_told_by_name_and_numbers() -> None:
    (problem,) = log({"my_rating": ["3", "4.5"]})
    assert problem.do.endswith("--columns rating=my_rating")
    assert log({"my_rating": ["3", "4.5"], "t_dat": ["2018-09-20", "2018-09-21"]}, ("rating", "timestamp")) == []


def test_content_is_told_by_its_cells() -> None:
    columns = {
        "kind": ["a", "a"],
        "price": ["1.5", "2"],
        "cover": ["a/1.jpg", "a/2.PNG"],
        "blurb": ["A long text. " * 10, "Another. " * 20],
        "made": ["Far away", "Near"],
        "fullname": ["Strap top", "Socks"],
        "link": ["https://x.org/1.jpg", "https://x.org/2.jpg"],
    }
    (problem,) = noted("items", {"item_id": "item_id"}, columns)
    assert problem.do.endswith("--columns title=fullname,description=blurb,image=cover")
    assert noted("items", {"item_id": "item_id", "title": "title"}, columns) == []
    (problem,) = noted("items", {"item_id": "item_id"}, {"price": ["1", "2"]})
    assert problem.do.endswith("--columns title=NAME")
    assert noted("items", {"item_id": "item_id"}, {}) == []


@pytest.mark.parametrize(
    ("wanted", "key", "name"), [(INTERACTIONS, "rating", "Book-Rating"), (ITEMS, "title", "Book-Title")]
)
def test_more_names_are_usual(wanted: Wanted, key: str, name: str) -> None:
    frame = pl.DataFrame({"user_id": ["u"], "item_id": ["i"], name: ["5"]})
    assert resolve(Table("f.csv", frame), wanted, ColumnNames(), Report())[key] == name


def test_an_import_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("user_id,item_id,t_dat\nu,i,2018-09-20\n")
    _, report = import_tables(path)
    assert [problem.column for problem in report.of("note")] == ["t_dat", None]
    _, report = import_tables(path, columns=ColumnNames(timestamp=""))
    assert [problem.column for problem in report.of("note")] == [None]
