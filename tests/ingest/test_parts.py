"""A folder in place of a file: which of its files are one table, and how text files become one."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from palate.core.errors import ConfigError, DataError
from palate.ingest.folders import import_data
from palate.ingest.naming import ColumnNames
from palate.ingest.parts import instead_of_folder

ROWS = [("a", "x"), ("b", "x"), ("user_id", "x"), ("b", "y")]


def folder_of(path: Path, files: Mapping[str, str | bytes]) -> Path:
    path.mkdir()
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def command_of(text: str) -> str:
    return text.split("join them first: ")[1].splitlines()[0]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "CSV", "tsv", "jsonl", "jsonl.gz"])
@pytest.mark.parametrize("headless", [False, True])
@pytest.mark.parametrize("place", ["it's a log", ".", "-log"])
def test_text_parts_become_one_file_by_the_command_that_is_told(
    tmp_path: Path, suffix: str, headless: bool, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    separator = "\t" if suffix == "tsv" else ","
    files: dict[str, str | bytes] = {"_SUCCESS": "", ".part.crc": "x", "README": "words"}
    for day, (user, item) in enumerate(ROWS):
        header = f"user_id{separator}item_id\r\n" * (not headless)
        rows = f"{header}{user}{separator}{item}\r\n{user}{separator}other"
        objects = f'{{"user_id": "{user}", "item_id": "{item}"}}\n{{"user_id": "{user}", "item_id": "other"}}'
        files[f"2024.01.0{day}.{suffix}"] = objects if suffix.startswith("jsonl") else rows
    folder = folder_of(tmp_path / "log" if place == "." else tmp_path / place, files)
    monkeypatch.chdir(folder if place == "." else tmp_path)
    # Without a header a row that every file begins with is a row.
    no_header = {"interactions"} if headless else set[str]()
    with pytest.raises(DataError, match="its 4 files") as caught:
        import_data(Path(place), no_header=no_header)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    subprocess.run(["sh", "-c", command_of(str(caught.value))], check=True)
    (whole,) = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert whole.name == f"{folder.name}-all.{suffix.removesuffix('.gz')}"
    names = ColumnNames(user_id="column_1", item_id="column_2")
    plain = headless and not suffix.startswith("jsonl")
    found = import_data(whole, columns=names if plain else None, no_header=no_header)
    expected = [pair for user, item in ROWS for pair in ((user, item), (user, "other"))]
    rows = found.catalogue.interactions.select("user_id", "item_id").rows()
    assert sorted(rows) == sorted(set(expected))


HEADED = "user_id,item_id\na,x\n"


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"movies.csv": "movieId,title\n", "ratings.csv": "userId,movieId\n"}, "ratings.csv begins otherwise"),
        ({"a.csv": HEADED.replace("\n", "\r\n"), "b.csv": HEADED, "c.csv": HEADED}, "a.csv begins otherwise"),
        ({"a.csv": HEADED, "b.csv": "\ufeff" + HEADED}, "b.csv begins otherwise"),
        ({"a.csv": "\n" + HEADED, "b.csv": "\n" + HEADED}, "they begin with no line of column names"),
        ({"a.csv": HEADED, "b.csv": "item_id,user_id\nx,b\n", "c.csv": HEADED}, "b.csv begins otherwise"),
        ({"a.csv": HEADED, "b.csv": "x", "c.csv": HEADED, "d.csv": "y", "e.csv": "z"}, "the others, and so do 2 more"),
        ({"a.jsonl": "\ufeff{}\n", "b.jsonl": "{}\n"}, "a.jsonl begins with a byte order mark"),
        ({"README.txt": "words", "LICENSE.txt": "others", "ratings.csv": HEADED}, "README.txt begins otherwise"),
        ({"_meta.csv": HEADED, "a.csv": HEADED, "b.csv": HEADED}, ""),
        ({"a.json": "[1]", "b.json": "[1]"}, ""),
        ({"a.PARQUET": "PAR1", "b.PARQUET": "PAR1"}, ""),
        ({"a.csv.gz": b"", "b.csv": "x"}, ""),
    ],
)  # fmt: skip
def test_files_that_are_no_parts_of_one_table_are_not_joined(
    tmp_path: Path, files: dict[str, str | bytes], why: str
) -> None:
    said = instead_of_folder(folder_of(tmp_path / "f", files), header=True)
    assert said.startswith("name the file itself")
    assert "join them" not in said
    assert (why in said) if why else said == "name the file itself"


def test_a_broken_archive_and_a_folder_among_the_files_are_no_parts(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", {"a.csv": HEADED, "b.csv": HEADED})
    assert "join them" in instead_of_folder(folder, header=True)
    (folder / "c.csv").mkdir()
    assert instead_of_folder(folder, header=True) == "name the file itself"
    other = folder_of(tmp_path / "g", {})
    for name in ("a.csv.gz", "b.csv.gz"):
        (other / name).write_bytes(b"no archive")
    assert "a.csv.gz cannot be read" in instead_of_folder(other, header=True)


def test_files_put_behind_each_other_lose_their_further_headers(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(HEADED + "user_id,item_id\nuser_id,y\n" + HEADED.replace("a,x", "b,x"))
    found = import_data(log)
    assert found.catalogue.interactions.select("user_id", "item_id").rows() == [
        ("a", "x"),
        ("user_id", "y"),
        ("b", "x"),
    ]
    (dropped,) = found.report.of("dropped")
    assert "the line of column names again" in dropped.what
    assert (dropped.count, [example.place for example in dropped.examples]) == (2, [3, 5])
    assert found.report.rows == {str(log): (5, 3)}


def test_of_what_is_no_folder_or_has_no_table_nothing_is_said(tmp_path: Path) -> None:
    assert instead_of_folder(tmp_path / "none", header=True) == ""
    recbole = folder_of(tmp_path / "f", {"toy.item": "item_id:token\n1\n", "toy.link": "", "notes": ""})
    assert instead_of_folder(recbole, header=True) == ""
    with pytest.raises(DataError, match="name one file of interactions instead of the folder"):
        import_data(recbole)


def test_one_file_in_a_folder_is_named(tmp_path: Path) -> None:
    log, goods = tmp_path / "log.csv", folder_of(tmp_path / "goods", {"items.json": '[{"item_id": "x"}]'})
    log.write_text("user_id,item_id\na,x\n")
    with pytest.raises(DataError, match=f"name the file itself: {goods}{os.sep}items.json"):
        import_data(log, goods)
    logs = folder_of(tmp_path / "logs", {"log.csv": "user_id,item_id\na,x\n"})
    with pytest.raises(ConfigError, match="given too: items") as caught:
        import_data(logs, goods / "items.json")
    assert caught.value.do == f"name the file itself: {logs}{os.sep}log.csv"
