"""Quote marks that nobody wrote as such take no rows away, and fields that are really quoted stay whole."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import polars as pl
import pytest

from palate.ingest.report import Report
from palate.ingest.tables import ROW, Table, read_table

SWALLOWING = [
    ("user_id", "item_id", "artist"),
    ("1", "a", '"Al'),
    ("2", "b", "X"),
    ("3", "c", "Y"),
    ("4", "d", 'Co"'),
    ("5", "e", "Z"),
]


def read(path: Path, text: str) -> tuple[Table, Report]:
    path.write_text(text)
    report = Report()
    table = read_table(path, report)
    assert table is not None
    return table, report


def written(rows: list[tuple[str, ...]], separator: str) -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def cells(table: Table) -> list[tuple[str, ...]]:
    return table.frame.select(pl.exclude(ROW)).rows()


@pytest.mark.parametrize(("name", "separator"), [("a.tsv", "\t"), ("a.csv", ","), ("a.csv", ";")])
def test_a_mark_that_begins_one_field_and_ends_a_later_one_takes_no_rows(
    tmp_path: Path, name: str, separator: str
) -> None:
    table, report = read(tmp_path / name, "\n".join(separator.join(row) for row in SWALLOWING))
    assert cells(table) == SWALLOWING[1:]
    assert table.places(table.frame[ROW]) == [2, 3, 4, 5, 6]
    (note,) = [problem for problem in report.of("note") if "ordinary characters" in problem.what]
    assert [example.place for example in note.examples] == [2]


def test_a_mark_that_begins_one_field_and_ends_the_next_breaks_no_row_between_tabs(tmp_path: Path) -> None:
    table, report = read(tmp_path / "a.tsv", 'a\tb\tc\n1\t"x\ty"\n2\tx\ty\n')
    assert cells(table) == [("1", '"x', 'y"'), ("2", "x", "y")]
    assert report.of("dropped") == []


@pytest.mark.parametrize("separator", ["\t", ","])
@pytest.mark.parametrize(
    "title",
    [
        "two\nlines",
        "first, a line,\nthen, another, one,\nthird, of, many,\nlast, and, out",
        'he said "no",\nand "yes"\n\n',
        "1,2,3\n4,5,6\n",
    ],
)
def test_real_titles_over_several_lines_stay_whole(tmp_path: Path, separator: str, title: str) -> None:
    rows = [("item_id", "title", "year"), ("1", title, "1990"), ("2", "plain", "1991"), ("3", title, "1992")]
    table, report = read(tmp_path / ("a.csv" if separator == "," else "a.tsv"), written(rows, separator))
    assert cells(table) == rows[1:]
    assert report.problems == []


def test_tabs_within_a_quoted_text_of_several_lines_leave_the_other_quotes_alone(tmp_path: Path) -> None:
    rows = [f'"u{row}"\t"i{row}"\t"fine"\n' for row in range(5)]
    text = "user_id\titem_id\twords\n" + "".join(rows) + '"u1"\t"i8"\t"first\nx\ty\tz\nlast"\n'
    table, _ = read(tmp_path / "log.tsv", text)
    assert [row[0] for row in cells(table)] == ["u0", "u1", "u2", "u3", "u4", "u1"]


def test_where_a_comma_needs_quotes_rows_that_others_swallow_are_said(tmp_path: Path) -> None:
    rows = [*SWALLOWING, ("6", "f", '"one, or two"')]
    table, report = read(tmp_path / "a.csv", "\n".join(",".join(row) for row in rows))
    assert table.frame.height == 3
    (note,) = report.of("note")
    assert "each of which looks like a row" in note.what
    assert [example.place for example in note.examples] == [2]
