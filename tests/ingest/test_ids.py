"""What programs and spreadsheets do to ids, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from palate.core.errors import DataError
from palate.ingest.importing import import_tables
from palate.ingest.report import Problem, Report


def read(folder: Path, *rows: str, items: str | None = None) -> tuple[list[tuple[str, str]], Report]:
    """Users and items of a log of these rows, and the report."""
    (folder / "log.csv").write_text("user_id,item_id\n" + "".join(f"{row}\n" for row in rows))
    if items is not None:
        (folder / "items.csv").write_text(items)
    catalogue, report = import_tables(folder / "log.csv", None if items is None else folder / "items.csv")
    return catalogue.interactions.select("user_id", "item_id").rows(), report


def said(report: Report, words: str) -> Problem:
    (problem,) = [problem for problem in report.problems if words in problem.what]
    return problem


@pytest.mark.parametrize("word", ["NA", "N/A", "NULL", "null", "nan", "NaN", "None", "\\N", "<NA>"])
def test_a_word_for_no_value_is_nobody(tmp_path: Path, word: str) -> None:
    rows, report = read(tmp_path, "a,x", f"{word},x", f"b,{word}", ",y")
    assert rows == [("a", "x")]
    words = [problem for problem in report.of("dropped") if "says that there is no id" in problem.what]
    assert {(problem.column, problem.examples[0].value) for problem in words} == {
        ("user_id", f"'{word}'"),
        ("item_id", f"'{word}'"),
    }
    assert said(report, "the cell is empty").count == 1
    assert "in every file" in words[0].do


def test_a_word_for_no_value_is_no_item_of_the_items_file(tmp_path: Path) -> None:
    rows, report = read(tmp_path, "a,x", "a,None", items="item_id,title\nx,None\nNone,y\n")
    assert rows == [("a", "x")]
    assert [problem.count for problem in report.of("dropped") if "no id" in problem.what] == [1, 1]


def test_whole_numbers_with_a_point_stay_and_are_told(tmp_path: Path) -> None:
    """Changed in one file alone they would miss those of another, where one odd id keeps all as they are."""
    rows, report = read(tmp_path, "u,1.0", "u,", "v,23.0", items="item_id\n1.0\n23.0\npromo\n")
    assert rows == [("u", "1.0"), ("v", "23.0")]
    told = [problem for problem in report.problems if "'1.0' is not '1'" in problem.what]
    assert [(problem.severity, problem.count) for problem in told] == [("note", 2), ("note", 2)]


def test_versions_among_words_stay_as_they_are(tmp_path: Path) -> None:
    rows, report = read(tmp_path, "u,1.0", "u,beta")
    assert rows == [("u", "1.0"), ("u", "beta")]
    assert said(report, "'1.0' is not '1'").severity == "note"
    assert read(tmp_path, "u,1.5", "u,2.0")[0] == [("u", "1.5"), ("u", "2.0")]


def test_ids_that_a_spreadsheet_rounded_are_counted(tmp_path: Path) -> None:
    rows, report = read(tmp_path, "1.23000E+15,x", "1.23000E+15,y", '"4,5E+12",x', "1e15,x", "12e5,y", "a+b,y")
    assert len(rows) == 6
    problem = said(report, "scientific notation, 2 different ones: a spreadsheet has rounded them")
    assert (problem.count, problem.column, problem.do) == (3, "user_id", "export again with the ids as text")


def test_typed_whole_numbers_are_ids_and_others_are_not(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    ids = pl.Series("item_id", ["12", "13"]).cast(pl.Decimal(20, 0))
    pl.DataFrame([pl.Series("user_id", ["a", "b"]), ids]).write_parquet(path)
    assert import_tables(path)[0].interactions["item_id"].to_list() == ["12", "13"]
    pl.DataFrame({"user_id": ["a"], "item_id": [True]}).write_parquet(path)
    with pytest.raises(DataError, match="not an id"):
        import_tables(path)
