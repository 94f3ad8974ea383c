"""A first line that is a row is told from names of columns, and what is advised reads the file as it is."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from palate.core.errors import ConfigError, DataError
from palate.ingest.headless import OPTION, looks_like_row
from palate.ingest.importing import import_tables
from palate.ingest.naming import ColumnNames, read_columns
from palate.ingest.report import Report
from palate.ingest.tables import ROW, read_table


@pytest.mark.parametrize(
    "line",
    [
        "196,242,3,881250949",
        "A2CX7LUOHB2NDG,0000013714,4.0,1355616000",
        "1,2268318,2520377,pv,1511544070",
        "0,2010-10-19T23:55:27Z,30.2359,-97.7951,22847",
        "user_000001,2009-05-04T23:08:57Z,f1b1cf71-bd35-4e99-8624-24a6e15f133a,Deep Dish,,Deep Dish",
        "1,A woman's work",
        "1,https://example.org/1.jpg",
    ],
)
def test_rows_are_told_by_what_no_column_is_called(line: str) -> None:
    assert looks_like_row(line.split(","))


@pytest.mark.parametrize(
    "line",
    ["user_id,1,2,3", "userId,itemId", "foo,bar", "customer,article,2019", "0,1,2,3", ",0,1", "id,2019,2020", ""],
)
def test_names_of_columns_are_no_row(line: str) -> None:
    assert not looks_like_row(line.split(","))


LOG = "196\t242\t3\t881250949\n186\t302\t3\t891717742\n\n22\t377\n"
FILMS = '242,"Kolya, (1996)"\n302,L.A. Confidential\n'


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    log, films = tmp_path / "u.tsv", tmp_path / "films.csv"
    log.write_text(LOG)
    films.write_text(FILMS)
    return log, films


def test_what_is_advised_reads_every_row(files: tuple[Path, Path]) -> None:
    with pytest.raises(DataError) as caught:
        import_tables(*files)
    commands = [line.partition("example: ")[2] for line in str(caught.value).splitlines() if OPTION in line]
    assert len(commands) == 2
    words = [word for command in commands for word in shlex.split(command)]
    given = {
        option: [words[place + 1] for place, word in enumerate(words) if word == option]
        for option in (OPTION, "--columns")
    }
    catalogue, report = import_tables(*files, columns=read_columns(given["--columns"]), no_header=given[OPTION])
    assert catalogue.interactions.drop("event", "split").rows() == [
        ("196", "242", 3.0, 881250949),
        ("186", "302", 3.0, 891717742),
    ]
    assert catalogue.items["title"].to_list() == ["Kolya, (1996)", "L.A. Confidential"]
    (short,) = report.of("dropped")
    assert "the first row has 4" in short.what
    assert short.examples[0].place == 4


def test_a_row_whose_cells_are_alike_is_no_matter_of_names_that_occur_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,1,5\n2,1,4\n")
    with pytest.raises(DataError, match="no header line") as caught:
        import_tables(path)
    assert "two columns" not in str(caught.value)


def test_names_that_look_like_data_can_be_chosen_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("2019,2020\na,b\n")
    catalogue, report = import_tables(path, columns=ColumnNames(user_id="2019", item_id="2020"))
    assert catalogue.interactions.height == 1
    assert "looks like a row" in report.of("note")[0].what


def test_one_row_is_not_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,5,4.0\n")
    report = Report()
    assert read_table(path, report) is None
    assert "looks like a row" in report.of("fatal")[0].what
    table = read_table(path, Report(), header=False)
    assert table is not None
    assert table.frame.drop(ROW).to_dict(as_series=False) == {"column_1": ["1"], "column_2": ["5"], "column_3": ["4.0"]}


def test_a_file_whose_columns_have_names_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"user_id": "u", "item_id": "i"}\n')
    catalogue, report = import_tables(path, no_header=["interactions"])
    assert catalogue.interactions.height == 1
    assert "names of their own" in report.of("note")[0].what


def test_an_unknown_file_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'items'"):
        import_tables(Path("none.csv"), no_header=["item"])


def test_double_colons_and_a_said_separator(tmp_path: Path) -> None:
    path = tmp_path / "movies.dat"
    path.write_text('id::title\n1::One: a "b"\n2::Two\tand,three\n3\n')
    report = Report()
    table = read_table(path, report)
    assert table is not None
    assert table.frame.drop(ROW).rows() == [("1", 'One: a "b"'), ("2", "Two\tand,three")]
    assert report.of("dropped")[0].examples[0].place == 4
    path = tmp_path / "said.csv"
    path.write_text("sep=;\nid;title\n1;a,b\n2\n")
    report = Report()
    table = read_table(path, report)
    assert table is not None
    assert table.frame.drop(ROW).rows() == [("1", "a,b")]
    assert report.of("dropped")[0].examples[0].place == 4
