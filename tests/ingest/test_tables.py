"""Every way in which a file can be unreadable ends in a report that names the place, never in a traceback."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from palate.ingest.report import Example, Report
from palate.ingest.tables import ROW, read_table


def read(path: Path, data: bytes) -> tuple[pl.DataFrame | None, Report]:
    path.write_bytes(data)
    report = Report()
    table = read_table(path, report)
    return (None if table is None else table.frame.drop(ROW)), report


@pytest.mark.parametrize(
    ("name", "data", "what", "place"),
    [
        ("a.csv", b"", "the file is empty", None),
        ("a.csv", b"\n\n", "no header line", None),
        ("a.csv", b"a,b\n", "a header and no rows", None),
        ("a.csv", b"a,b", "a header and no rows", None),
        ("a.csv", b"a,b\n1\n2\n", "no row is left", None),
        ("a.csv", b"a,b,a\n1,2,3\n", "two columns have this name", None),
        ("a.csv", b"a,b\n1,2\n3,caf\xe9\n", "not UTF-8", 3),
        ("a.csv", b"a,b\n1,2\n3,\x00\n", "no text file", 3),
        ("a.csv", "a,b\n1,2\n".encode("utf-16"), "UTF-16", None),
        ("a.csv", b"a,b\r1,2\r", "bare carriage returns", None),
        ("a.csv", b'a,b\n1,"x\n2,3\n', "no closing quote mark", 2),
        ("a.csv", b'a,b\n1,2\n2,5" disk\n', "middle of a field", 3),
        ("a.xlsx", b"PK", "unknown kind of file", None),
        ("a.parquet", b"a,b\n1,2\n", "not a readable Parquet file", None),
        ("a.csv.gz", b"a,b\n1,2\n", "not compressed", None),
        ("a.csv.gz", gzip.compress(b"a,b\n1,2\n" * 1000)[:-9], "cannot be read", None),
    ],
)
def test_an_unreadable_file_is_one_fatal_problem_with_its_place(
    tmp_path: Path, name: str, data: bytes, what: str, place: int | None
) -> None:
    frame, report = read(tmp_path / name, data)
    assert frame is None
    (problem,) = report.of("fatal")
    assert what in problem.what
    assert problem.file == str(tmp_path / name)
    assert [example.place for example in problem.examples] == ([] if place is None else [place])


def test_a_bad_byte_far_into_a_file_is_found_on_its_line(tmp_path: Path) -> None:
    lines = 3_000_000
    data = b"aa,b\n" + "1,é234\n".encode() * lines + b"1,\xe9\n"
    block = 1 << 24
    assert data[block - 1 : block + 1] == "é".encode()
    frame, report = read(tmp_path / "a.csv", data)
    assert frame is None
    assert report.of("fatal")[0].examples == (Example(lines + 2, "byte 0xe9"),)


def test_missing_files_and_folders_are_told_apart(tmp_path: Path) -> None:
    report = Report()
    assert read_table(tmp_path / "none.csv", report) is None
    assert read_table(tmp_path, report) is None
    assert ["no such file" in problem.what for problem in report.of("fatal")] == [True, False]
    assert "folder" in report.of("fatal")[1].what


def test_every_truncation_of_a_parquet_file_is_reported(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pl.DataFrame({"a": range(50), "b": ["x"] * 50}).write_parquet(whole)
    data = whole.read_bytes()
    for length in range(1, len(data), 17):
        frame, report = read(tmp_path / "cut.parquet", data[:length])
        assert frame is None
        assert len(report.of("fatal")) == 1


def test_byte_order_mark_and_windows_line_ends_leave_no_trace(tmp_path: Path) -> None:
    frame, report = read(tmp_path / "a.csv", b'\xef\xbb\xbf"user",b\r\n1,"x\r\ny"\r\n2,\r\n')
    assert frame is not None
    assert frame.to_dict(as_series=False) == {"user": ["1", "2"], "b": ["x\r\ny", None]}
    assert report.problems == []


def test_cells_stay_text_whatever_they_look_like(tmp_path: Path) -> None:
    frame, _ = read(tmp_path / "a.tsv", b"id\tn\n007\t1e3\n1.0\tNaN\n")
    assert frame is not None
    assert frame.rows() == [("007", "1e3"), ("1.0", "NaN")]


def test_ragged_rows_are_dropped_with_their_lines_and_the_rest_is_read(tmp_path: Path) -> None:
    frame, report = read(tmp_path / "a.csv", b'a,b\n"1\n1",2\n1,2,3\n\n4,5\n6\n7,8\n')
    assert frame is not None
    assert frame.rows() == [("1\n1", "2"), ("4", "5"), ("7", "8")]
    many, few = report.of("dropped")
    assert ("too many" in many.what, many.examples[0].place) == (True, 4)
    assert ("too few" in few.what, few.examples[0].place) == (True, 7)
    assert report.rows[str(tmp_path / "a.csv")] == (5, 3)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b"a;b\n1;x,y\n"),
        ("a.txt", b"a\tb\n1\tx,y\n"),
        ("a.txt", b"a|b\n1|x,y\n"),
        ("a.csv.gz", gzip.compress(b'a,b\n1,"x,y"\n')),
        ("a.tsv", b"a:token\tb:token_seq\n1\tx,y\n"),
    ],
)
def test_separators_compression_and_typed_headers_are_recognised(tmp_path: Path, name: str, data: bytes) -> None:
    frame, _ = read(tmp_path / name, data)
    assert frame is not None
    assert frame.to_dict(as_series=False) == {"a": ["1"], "b": ["x,y"]}


def test_lone_quote_marks_are_ordinary_characters_between_tabs(tmp_path: Path) -> None:
    frame, report = read(tmp_path / "a.tsv", b'a\tb\n1\t12" single\n2\t"x\n')
    assert frame is not None
    assert frame.rows() == [("1", '12" single'), ("2", '"x')]
    assert "ordinary characters" in report.of("note")[0].what


def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    frame, report = read(tmp_path / "a.csv", b",a,\n0,1,\n1,2,\n")
    assert frame is not None
    assert frame.to_dict(as_series=False) == {"a": ["1", "2"]}
    assert len(report.of("note")) == 1


def test_nested_parquet_columns_are_left_out_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"a": [1], "tags": [[0.5]], "more": [{"y": 1}], "raw": [b"\xff"]}).write_parquet(path)
    report = Report()
    table = read_table(path, report)
    assert table is not None
    assert table.columns == ["a"]
    assert [problem.column for problem in report.of("note")] == ["tags", "more", "raw"]


def test_bytes_in_parquet_that_are_text_are_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"user_id": ["ü1".encode(), b"u2", None], "n": [1, 2, 3]}).write_parquet(path)
    report = Report()
    table = read_table(path, report)
    assert table is not None
    assert table.frame["user_id"].to_list() == ["ü1", "u2", None]
    assert report.problems == []


def test_lists_in_parquet_are_joined_as_in_json_lines(tmp_path: Path) -> None:
    cells = {"tags": [["x", None, "y z"], [], None], "years": [[1990, 2001], [7], []]}
    pl.DataFrame(cells).write_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({name: of[n] for name, of in cells.items()}) + "\n" for n in range(3))
    )
    found = [read_table(tmp_path / name, Report()) for name in ("a.parquet", "a.jsonl")]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].frame["tags"].to_list() == ["x|y z", None, None]
    assert found[0].frame["years"].to_list() == ["1990|2001", "7", None]
    assert found[0].frame.equals(found[1].frame)


def test_names_with_glob_characters_are_plain_names(tmp_path: Path) -> None:
    (tmp_path / "a1.csv").write_text("a\nwrong\n")
    frame, _ = read(tmp_path / "a[1].csv", b"a\nright\n")
    assert frame is not None
    assert frame["a"].to_list() == ["right"]
