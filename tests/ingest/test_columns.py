"""Which file column is read as what: own names first, then the same name, then one unambiguous alias."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from palate.core.errors import ConfigError
from palate.ingest.columns import INTERACTIONS, ITEMS, Beside, Wanted, resolve
from palate.ingest.naming import ColumnNames, ItemNames
from palate.ingest.report import Report
from palate.ingest.tables import Table, read_table


def table(*columns: str) -> Table:
    return Table("f.csv", pl.DataFrame({column: ["1"] for column in columns}))


@pytest.mark.parametrize("user", ["user_id", "userId", "User-ID", "uid", "user", "reviewerID"])
@pytest.mark.parametrize("item", ["item_id", "itemID", "movieId", "asin", "product_id"])
def test_usual_names_are_recognised_and_each_alias_is_noted(user: str, item: str) -> None:
    report = Report()
    found = resolve(table(user, item, "other"), INTERACTIONS, ColumnNames(), report)
    assert found == {"user_id": user, "item_id": item}
    aliases = {name for name in (user, item) if name not in found}
    assert {problem.column for problem in report.of("note")} == aliases


def test_the_exact_name_wins_over_aliases_without_a_word() -> None:
    report = Report()
    found = resolve(
        table("user", "user_id", "uid", "item_id", "time", "timestamp"), INTERACTIONS, ColumnNames(), report
    )
    assert found == {"user_id": "user_id", "item_id": "item_id", "timestamp": "timestamp"}
    assert report.problems == []


def test_two_aliases_are_a_question_not_a_guess() -> None:
    report = Report()
    found = resolve(table("user", "uid", "item_id", "time", "date"), INTERACTIONS, ColumnNames(), report)
    assert found == {"item_id": "item_id"}
    assert "user, uid" in report.of("fatal")[0].what
    assert "time, date" in report.of("note")[0].what


def test_own_names_come_first_and_a_wrong_one_names_the_nearest() -> None:
    report = Report()
    columns = table("user_id", "customer", "item_id", "grade")
    found = resolve(columns, INTERACTIONS, ColumnNames(user_id="customer", rating="grade"), report)
    assert found == {"user_id": "customer", "item_id": "item_id", "rating": "grade"}
    resolve(columns, INTERACTIONS, ColumnNames(user_id="custommer"), report)
    assert "did you mean 'customer'?" in report.of("fatal")[0].what


def test_an_own_name_of_the_other_table_is_no_mistake_here() -> None:
    report = Report()
    names = ColumnNames(item_id="asin")
    assert resolve(table("asin", "title"), ITEMS, names, report)["item_id"] == "asin"
    found = resolve(
        table("user_id", "item_id"), INTERACTIONS, names, report, beside=Beside(frozenset({"asin", "title"}))
    )
    assert found["item_id"] == "item_id"
    assert report.of("fatal") == []


def test_an_empty_name_leaves_an_optional_column_out() -> None:
    found = resolve(table("user_id", "item_id", "rating"), INTERACTIONS, ColumnNames(rating=""), Report())
    assert "rating" not in found


def test_a_missing_column_names_the_nearest_and_lists_all() -> None:
    report = Report()
    resolve(table("usr", "item_id"), INTERACTIONS, ColumnNames(), report)
    (problem,) = report.of("fatal")
    assert "did you mean 'usr'?" in problem.what
    assert "usr, item_id" in problem.do


@pytest.mark.parametrize(
    ("columns", "user", "item"),
    [
        (("listener", "track"), "listener", "track"),
        (("track_id", "listener_id", "plays"), "listener_id", "track_id"),
        (("CustomerID", "sku", "price"), "CustomerID", "sku"),
        (("usr", "itm"), "usr", "itm"),
        (("users", "song"), "users", "song"),
    ],
)
def test_what_is_advised_for_users_is_never_advised_for_items(columns: tuple[str, ...], user: str, item: str) -> None:
    report = Report()
    resolve(table(*columns), INTERACTIONS, ColumnNames(), report)
    first, second = report.of("fatal")
    assert f"--columns user_id={user};" in first.do
    assert f"--columns item_id={item};" in second.do


@pytest.mark.parametrize("columns", [("track_id", "song_id"), ("a_id", "b_id"), ("plays", "when")])
def test_where_no_column_is_like_a_user_none_is_advised(columns: tuple[str, ...]) -> None:
    report = Report()
    resolve(table(*columns), INTERACTIONS, ColumnNames(), report)
    assert "--columns user_id=NAME;" in report.of("fatal")[0].do


def test_one_column_is_advised_once() -> None:
    report = Report()
    resolve(table("usr_id", "when"), INTERACTIONS, ColumnNames(), report, beside=Beside(frozenset({"usr_id"})))
    assert ["usr_id;" in problem.do for problem in report.of("fatal")] == [True, False]


@pytest.mark.parametrize(
    ("columns", "others", "wanted", "advised"),
    [
        # Names that share some letters with item are no items.
        (("steam_id", "user"), (), INTERACTIONS, "item_id=NAME"),
        (("type", "year"), (), ITEMS, "item_id=NAME"),
        (("imdb_id", "budget"), (), ITEMS, "item_id=NAME"),
        # What both files call an id is their common one; else what a file of items calls id.
        (("user_id", "book", "anime_id"), ("anime_id", "name"), INTERACTIONS, "item_id=anime_id"),
        (("user_id", "song"), ("id", "name"), INTERACTIONS, "interactions.item_id=song"),
    ],
)
def test_what_is_advised_for_items(
    columns: tuple[str, ...], others: tuple[str, ...], wanted: Wanted, advised: str
) -> None:
    report = Report()
    resolve(table(*columns), wanted, ColumnNames(), report, beside=Beside(frozenset(others)))
    (problem,) = report.of("fatal")
    assert f"--columns {advised};" in problem.do


def test_of_two_usual_names_that_is_taken_which_another_file_has_too() -> None:
    report = Report()
    beside = Beside(frozenset({"parent_asin", "title"}))
    found = resolve(table("user_id", "asin", "parent_asin"), INTERACTIONS, ColumnNames(), report, beside=beside)
    assert found["item_id"] == "parent_asin"
    assert "not asin" in report.of("note")[0].what


def test_an_id_of_the_items_is_known_by_its_name_and_its_values() -> None:
    items = Table("i.csv", pl.DataFrame({"id": ["7", "8", "9"], "rank": ["1", "2", "3"], "recipe_id": ["1", "2", "4"]}))

    def chosen(*met: str) -> str | None:
        beside = Beside(frozenset({"song"}), pl.Series(met) if met else None)
        return resolve(items, ITEMS, ColumnNames(), Report(), beside=beside).get("item_id")

    assert chosen() == "id"
    assert chosen("7", "9", "9") == "id"
    assert chosen("1", "2", "3") == "recipe_id"
    assert chosen("50", "60") is None


def test_names_of_one_file_come_before_those_of_all() -> None:
    names = ColumnNames(item_id="song", items=ItemNames(item_id="id"))
    report = Report()
    beside = Beside(frozenset({"song"}))
    assert resolve(table("id", "song"), ITEMS, names, report, beside=beside)["item_id"] == "id"
    assert resolve(table("user_id", "song", "id"), INTERACTIONS, names, report)["item_id"] == "song"
    assert report.problems == []
    resolve(table("item_id"), ITEMS, names, report, beside=Beside(frozenset({"id"})))
    assert "no column 'id'" in report.of("fatal")[0].what


def test_a_matrix_of_items_is_told_with_a_command_that_mends_it(tmp_path: Path) -> None:
    wide = tmp_path / "wide table.csv"
    wide.write_text("who;item_0;item_1;item_2;item_3;item_4\na;1;;2;;\nb;;3.5;;;\n")
    report = Report()
    found = read_table(wide, report)
    assert found is not None
    resolve(found, INTERACTIONS, ColumnNames(user_id="who"), report)
    (problem,) = report.of("fatal")
    assert "item_0 to item_4" in problem.what
    command = problem.do.removeprefix("make one: ").partition(" (where")[0]
    run = command.replace("python", shlex.quote(sys.executable), 1)
    subprocess.run(run, shell=True, check=True, cwd=tmp_path)
    rows = pl.read_csv(tmp_path / "long.csv").sort("who").rows()
    assert rows == [("a", "item_0", 1.0), ("a", "item_2", 2.0), ("b", "item_1", 3.5)]


def test_one_column_cannot_be_two_things() -> None:
    report = Report()
    resolve(table("id", "rating"), INTERACTIONS, ColumnNames(user_id="id", item_id="id"), report)
    assert [problem.column for problem in report.of("fatal")] == ["id"]


def test_an_unknown_key_names_the_nearest_valid_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'user_id'"):
        ColumnNames.parse({"userid": "u"})
    assert ColumnNames.parse({"user_id": 0}).user_id == "0"
