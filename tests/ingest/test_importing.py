"""A file with one of each problem: every bad row is reported on its line, and the good rows arrive as they should."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from palate.core.errors import DataError
from palate.ingest.importing import import_tables
from palate.ingest.naming import ColumnNames

NASTY = """\
userId,movieId,rating,ts,split,page
u1,1,5,881250949,train,a
u1,2,five,881250950,train,a
u1,3,NaN,1998-04-22T18:30:00Z,train,a

u2,99,4,881250949,train,a
,1,4,881250949,train,a
u3,"  ",4,881250949,train,a
u3,1,4,yesterday,train,a
u3,3,4,881250949.0,holdout,a
u4,1,4,100,train,a
u4,1,2,300,val,a
u4,1,3,200,1,a
u5, 2 ,4,1998-04-22,test,a
u5,3,4,1998-04-22 18:30,2,"line
break"
u6,1,4,12,train,a,b,c
u6,2,,12,train,a
u6,3
u7,99,none,-5,dev,a
"""
ITEMS = '''\
asin,name,year,description,image,entity
1,One,1990,  , a.jpg ,e1
2,Two,,t,,
2,Again,1,1,1,1
,none,1,1,1,1
3,"Three ""3""",1990,t,b.jpg,e3
'''
KNOWLEDGE = "head,relation,tail\ne1,r,e2\ne1,r,e2\ne1,,e2\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    paths = (tmp_path / "interactions.csv", tmp_path / "items.csv", tmp_path / "knowledge.csv")
    for path, text in zip(paths, (NASTY, ITEMS, KNOWLEDGE), strict=True):
        path.write_text(text)
    return paths


def csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_good_rows_arrive_in_order_with_their_values(files: tuple[Path, Path, Path]) -> None:
    catalogue, _ = import_tables(*files)
    assert catalogue.interactions.rows() == [
        ("u1", "1", 5.0, 881250949, None, "train"),
        ("u4", "1", 2.0, 300, None, "valid"),
        ("u5", "2", 4.0, 893203200, None, "test"),
        ("u5", "3", 4.0, 893269800, None, "test"),
    ]
    assert catalogue.items.drop("audio").to_dict(as_series=False) == {
        "item_id": ["1", "2", "3"],
        "title": ["One", "Two", 'Three "3"'],
        "description": [None, "t", "t"],
        "image": ["a.jpg", None, "b.jpg"],
        "year": ["1990", None, "1990"],
    }
    assert catalogue.knowledge is not None
    assert catalogue.knowledge.rows() == [("e1", "r", "e2")]
    assert catalogue.item_entities is not None
    assert catalogue.item_entities.rows() == [("1", "e1"), ("3", "e3")]
    assert catalogue.media_root == str(files[1].parent)


def test_every_bad_row_is_reported_on_its_line(files: tuple[Path, Path, Path]) -> None:
    _, report = import_tables(*files)
    found = {
        (Path(problem.file).stem, problem.column, problem.what.split(":")[0].split(";")[0]): [
            example.place for example in problem.examples
        ]
        for problem in report.of("dropped")
    }
    assert found == {
        ("interactions", None, "too many fields"): [17],
        ("interactions", None, "too few fields"): [19],
        ("interactions", "userId", "the cell is empty"): [7],
        ("interactions", "movieId", "the cell is empty"): [8],
        ("interactions", "movieId", "the item is not in the items file"): [6, 20],
        ("interactions", "rating", "the rating is empty"): [4, 18],
        ("interactions", "rating", "not a number"): [3, 20],
        ("interactions", "ts", "not a time"): [9],
        ("interactions", "split", "not a split"): [10],
        ("interactions", None, "the same user and item occur in another row"): [11, 13],
        ("items", "asin", "the cell is empty"): [5],
        ("items", "asin", "the item occurs again"): [4],
        ("knowledge", "relation", "the cell is empty"): [4],
        ("knowledge", None, "the same triple occurs in an earlier row"): [3],
    }
    # Line 20 has two problems and is one row.
    assert report.rows == {str(files[0]): (17, 4), str(files[1]): (5, 3), str(files[2]): (3, 1)}
    assert report.dropped == 17
    stripped = next(problem for problem in report.of("note") if "blanks" in problem.what)
    assert (stripped.column, stripped.examples[0].place) == ("movieId", 14)


def test_strict_refuses_and_names_what_the_default_drops(files: tuple[Path, Path, Path]) -> None:
    with pytest.raises(DataError, match="strict") as caught:
        import_tables(*files, strict=True)
    for line in ("line 3: 'five'", "line 9: 'yesterday'", "line 10: 'holdout'", "line 6: '99'"):
        assert line in str(caught.value)


@pytest.mark.parametrize(("more", "kept"), [("", "the last in the file is kept"), ("time", "the latest is kept")])
def test_which_of_a_repeated_pair_is_kept_is_said_as_it_is(tmp_path: Path, more: str, kept: str) -> None:
    times = (",timestamp", ",9000000000", ",1") if more else ("", "", "")
    path = csv(tmp_path / "a.csv", f"user_id,item_id,rating{times[0]}\na,x,1{times[1]}\na,x,2{times[2]}\n")
    catalogue, report = import_tables(path)
    assert catalogue.interactions["rating"].to_list() == [1.0 if more else 2.0]
    (problem,) = report.of("dropped")
    assert problem.what.endswith(kept)


def test_strict_accepts_clean_files(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", "user_id,item_id\na,x\nb,x\n")
    catalogue, report = import_tables(path, strict=True)
    assert catalogue.interactions.height == 2
    assert report.problems == []


def test_problems_of_all_files_are_in_one_error(tmp_path: Path) -> None:
    interactions = csv(tmp_path / "a.csv", "user_id,item_id,rating\na,x,bad\nb,x,1\n")
    knowledge = csv(tmp_path / "k.csv", "head,relaton,tail\na,b,c\n")
    with pytest.raises(DataError) as caught:
        import_tables(interactions, tmp_path / "none.csv", knowledge)
    for part in ("no such file", "did you mean 'relaton'?", "line 2: 'bad'"):
        assert part in str(caught.value)


def test_no_row_left_is_fatal(tmp_path: Path) -> None:
    interactions = csv(tmp_path / "a.csv", "user_id,item_id\na,1.0\na,b\n")
    items = csv(tmp_path / "i.csv", "item_id\n1\n")
    with pytest.raises(DataError, match="no row is left") as caught:
        import_tables(interactions, items)
    assert "'1.0' is not '1'" in str(caught.value)


def test_parquet_rows_are_checked_like_text(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame(
        {
            "user_id": [1.0, 2.0, 2.5, None, 5.0],
            "item_id": [10, 11, 12, 13, 14],
            "rating": [1.0, float("nan"), 3.0, 4.0, float("inf")],
        }
    ).write_parquet(path)
    catalogue, report = import_tables(path)
    assert catalogue.interactions.select("user_id", "item_id", "rating").rows() == [("1", "10", 1.0)]
    places = {problem.what: [example.place for example in problem.examples] for problem in report.of("dropped")}
    assert places["the rating is not finite"] == [2, 5]
    assert places["the cell is empty"] == [4]
    assert {problem.unit for problem in report.of("dropped")} == {"row"}


def test_lists_of_ids_are_refused(tmp_path: Path) -> None:
    """A log of sequences, a row for each user: joined, each list would be an item of its own."""
    path = tmp_path / "a.parquet"
    pl.DataFrame({"user_id": ["a", "b"], "item_id": [["x", "y"], ["y"]]}).write_parquet(path)
    with pytest.raises(DataError, match="item_id is one value, and the cells here are lists"):
        import_tables(path)


def test_a_nested_id_column_is_missing_and_said_to_be_nested(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"user_id": [[["a"]]], "item_id": ["x"]}).write_parquet(path)
    with pytest.raises(DataError, match="no column user_id") as caught:
        import_tables(path)
    assert "List" in str(caught.value)


def test_a_rating_column_without_a_rating_is_left_out(tmp_path: Path) -> None:
    catalogue, report = import_tables(csv(tmp_path / "a.csv", "user_id,item_id,rating\na,x,\nb,y,\n"), strict=True)
    assert catalogue.interactions["rating"].null_count() == 2
    assert "empty throughout" in report.of("note")[0].what


def test_own_column_names_and_those_of_a_file_that_is_not_given(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", "who,what\na,x\n")
    catalogue, _ = import_tables(path, columns=ColumnNames(user_id="who", item_id="what"))
    assert catalogue.interactions.select("user_id", "item_id").rows() == [("a", "x")]
    with pytest.raises(DataError, match="there is no items file"):
        import_tables(path, columns=ColumnNames(user_id="who", item_id="what", title="name"))


def test_a_column_that_another_one_stands_in_for_is_left_out_and_noted(tmp_path: Path) -> None:
    interactions = csv(tmp_path / "a.csv", "user_id,item_id\na,x\n")
    items = csv(tmp_path / "i.csv", "item_id,title,long\nx,short,whole\n")
    catalogue, report = import_tables(interactions, items, columns=ColumnNames(title="long"))
    assert catalogue.items["title"].to_list() == ["whole"]
    assert [problem.column for problem in report.of("note")] == ["title"]


def test_k_core_is_applied_after_cleaning_and_noted(tmp_path: Path) -> None:
    text = "user_id,item_id\na,x\na,x\nb,x\nb,y\nc,x\nc,y\n"
    catalogue, report = import_tables(csv(tmp_path / "a.csv", text), min_user=2, min_item=2, name="toy")
    assert set(catalogue.interactions["user_id"]) == {"b", "c"}
    assert catalogue.name == "toy"
    assert any("k-core" in problem.what for problem in report.of("note"))
    with pytest.raises(DataError, match="smaller numbers"):
        import_tables(tmp_path / "a.csv", min_user=9)


def test_times_in_milliseconds_are_noticed(tmp_path: Path) -> None:
    _, report = import_tables(csv(tmp_path / "a.csv", "user_id,item_id,timestamp\na,x,1600000000000\n"))
    assert "milliseconds" in report.of("note")[0].what


def test_zeros_in_front_of_the_ids_of_one_file_are_said(tmp_path: Path) -> None:
    interactions = csv(tmp_path / "a.csv", "user_id,item_id\na,108775015\nb,108775044\nc,7\nd,5\n")
    items = csv(tmp_path / "i.csv", "item_id,title\n0108775015,x\n0108775044,y\n5,z\n")
    _, report = import_tables(interactions, items)
    (problem,) = report.of("dropped")
    assert "'108775015' here is '0108775015' there" in problem.do
    assert "2 of 3 ids match" in problem.do
    csv(tmp_path / "i.csv", "item_id,title\n0108775015,x\n5,z\n")
    _, report = import_tables(interactions, items)
    assert "zeros" not in report.of("dropped")[0].do
