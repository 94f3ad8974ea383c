"""A file that is not what its name says is named for what it is, and the command that is advised makes it readable."""

from __future__ import annotations

import bz2
import gzip
import io
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest

from palate.ingest.headless import names
from palate.ingest.report import Report
from palate.ingest.tables import ROW, read_table

PLAIN = "user_id,item_id\nü1,i1\n"
LINES = "{'user_id': u'ü1', 'item_id': 'i1', 'old': None}\n"


def packed(text: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("inner.csv", text)
    return stream.getvalue()


def parquet() -> bytes:
    stream = io.BytesIO()
    pl.DataFrame({"user_id": ["ü1"], "item_id": ["i1"]}).write_parquet(stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("a b.csv", gzip.compress(PLAIN.encode()), "compressed with gzip"),
        ("a.csv", packed(PLAIN), "a zip archive"),
        ("a.csv.zip", packed(PLAIN), "a zip archive"),
        ("a.csv.bz2", bz2.compress(PLAIN.encode()), "compressed with bzip2"),
        ("a.csv", parquet(), "a Parquet file"),
        ("part-0", parquet(), "a Parquet file"),
        ("a.csv.gz", PLAIN.encode(), "not compressed"),
        ("a.csv", PLAIN.encode("utf-16"), "UTF-16"),
        ("a.csv", PLAIN.encode("utf-16-le"), "UTF-16"),
        ("a.csv.gz", gzip.compress(PLAIN.encode("utf-16-be")), "UTF-16"),
        ("a.csv", PLAIN.encode("latin1"), "not UTF-8"),
        ("a.csv", PLAIN.replace("\n", "\r").encode(), "bare carriage returns"),
        ("a.data", PLAIN.encode(), "text with commas"),
        ("a.data", PLAIN.replace(",", "\t").encode(), "text with tabs"),
        ("a.rating.gz", gzip.compress(PLAIN.replace(",", "::").encode()), "double colons"),
        ("a.log", b'{"user_id": "\xc3\xbc1", "item_id": "i1"}\n', "JSON"),
        ("a.json", LINES.encode(), "Python dictionaries"),
        ("a.json.gz", gzip.compress(LINES.encode()), "Python dictionaries"),
        ("a.json", '{"n": 1,\n"rows": [{"user_id": "ü1", "item_id": "i1"}]}\n'.encode(), "one JSON object"),
    ],
)
def test_what_is_advised_makes_the_file_readable(tmp_path: Path, name: str, data: bytes, what: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    report = Report()
    assert read_table(path, report) is None
    (problem,) = report.of("fatal")
    assert what in problem.what
    command = problem.do.partition(": ")[2].partition(" (")[0].removeprefix("for example: ")
    before = set(tmp_path.iterdir())
    subprocess.run(command.replace("python", shlex.quote(sys.executable), 1), shell=True, check=True, cwd=tmp_path)
    (made,) = {*tmp_path.iterdir()} - before
    table = read_table(made, Report())
    assert table is not None
    assert table.frame["user_id"].to_list() == ["ü1"]
    assert table.frame["item_id"].to_list() == ["i1"]


@pytest.mark.parametrize("name", ["a.txt", "a.rating"])
def test_blanks_between_numbers_become_rows_of_two(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("0 5 6 7\n1 5\n2\n")
    report = Report()
    assert read_table(path, report) is None
    (problem,) = report.of("fatal")
    command = problem.do.partition(": ")[2].replace("python", shlex.quote(sys.executable), 1)
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    table = read_table(tmp_path / "a.tsv", Report())
    assert table is not None
    assert table.frame.drop(ROW).rows() == [("0", "5"), ("0", "6"), ("0", "7"), ("1", "5")]
    path.write_text("0 1 2\n2 1 3\n")
    report = Report()
    assert read_table(path, report) is None
    subprocess.run(report.of("fatal")[0].do.partition(": ")[2], shell=True, check=True, cwd=tmp_path)
    table = read_table(tmp_path / "a.tsv", Report(), header=False)
    assert table is not None
    assert table.frame.select(names(3)).rows() == [("0", "1", "2"), ("2", "1", "3")]


@pytest.mark.parametrize(
    ("data", "what"), [(b"\x80\x04\x95", "pickle"), (b"\0\1\2", "not text"), (b"PK\x03\x04", "zip")]
)
def test_what_no_command_mends_is_named_all_the_same(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    report = Report()
    assert read_table(path, report) is None
    assert what in report.of("fatal")[0].what
    assert report.of("fatal")[0].do
