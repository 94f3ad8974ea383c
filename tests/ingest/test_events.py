"""Implicit logs: chosen events, one row per pair, and no time that wanders from test into train."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.core.config import read_assignments
from palate.core.errors import ConfigError, DataError
from palate.ingest.events import check_events, is_opposite, strongest
from palate.ingest.importing import import_tables

WEIGHTS = {"view": 1.0, "cart": 3.0, "buy": 5.0}
LOG = """\
user_id,item_id,action,timestamp
a,x,view,10
a,x, buy ,20
a,x,view,30
a,y,view,5
a,y,share,6
b,x,cart,7
b,x,cart,9
b,z,,9
"""


def log(folder: Path, text: str = LOG) -> Path:
    path = folder / "log.csv"
    path.write_text(text)
    return path


def test_each_pair_keeps_its_strongest_event_and_its_latest_time(tmp_path: Path) -> None:
    catalogue, report = import_tables(log(tmp_path), events=WEIGHTS, strict=True)
    assert catalogue.interactions.select("user_id", "item_id", "event", "timestamp").rows() == [
        ("a", "x", "buy", 30),
        ("a", "y", "view", 5),
        ("b", "x", "cart", 9),
    ]
    notes = {problem.what: problem.count for problem in report.of("note")}
    assert notes["left out: events that were not chosen: share (1)"] == 2
    assert any("view 3 → 1, cart 2 → 1, buy 1 → 1 rows" in what for what in notes)


def test_without_chosen_events_the_latest_row_stays_whatever_it_is(tmp_path: Path) -> None:
    catalogue, _ = import_tables(log(tmp_path))
    assert ("a", "x", "view", 30) in catalogue.interactions.select("user_id", "item_id", "event", "timestamp").rows()


def kinds(folder: Path, *given: str) -> list[tuple[str, str]]:
    """What is said of a log with these kinds of event, each with its advice."""
    rows = "".join(f"u{place},x,{kind}\n" for place, kind in enumerate(given))
    _, report = import_tables(log(folder, "user_id,item_id,event\n" + rows))
    return [(note.what, note.do) for note in report.of("note") if "kinds of event" in note.what]


def test_kinds_that_nobody_chose_are_listed_and_the_opposite_of_taking_is_warned_of(tmp_path: Path) -> None:
    ((what, do),) = kinds(tmp_path, "view", "view", "view", "buy", "buy", "return", "")
    assert what.startswith("kinds of event count all alike: view (3), buy (2), (empty) (1), return (1)")
    assert "WARNING: return (1) too, though the name says the opposite" in what
    assert do.endswith("--events view=1,buy=2; kinds that are not named are left out")
    ((what, _),) = kinds(tmp_path, "view", "buy")
    assert "WARNING" not in what
    assert kinds(tmp_path, "view", "view") == []
    assert "refund (1) too" in kinds(tmp_path, "refund")[0][0]


def test_the_example_names_every_kind_and_can_be_pasted(tmp_path: Path) -> None:
    names = ["view", "add to cart", "buy", "like", "it's"]
    ((_, do),) = kinds(tmp_path, *(name for place, name in enumerate(names) for _ in range(len(names) - place)))
    assert "order them as they matter" in do
    assert "not named" not in do
    option = shlex.split(do.partition("matter: ")[2])
    chosen = read_assignments(option[1].split(","), option[0])
    assert list(chosen) == names
    _, report = import_tables(tmp_path / "log.csv", events=chosen)
    assert not any("left out" in problem.what for problem in report.problems)
    ((_, do),) = kinds(tmp_path, *(f"kind {number}" for number in range(9)))
    assert do.count("=") == 8
    assert do.endswith("; kinds that are not named are left out")


def test_what_is_listed_of_kinds_are_the_rows_that_stay(tmp_path: Path) -> None:
    """Of LOG's eight rows three repeat a pair; its b,z has no kind."""
    _, report = import_tables(log(tmp_path))
    (said,) = [note for note in report.of("note") if "kinds of event" in note.what]
    assert said.what == "kinds of event count all alike: (empty) (1), cart (1), share (1), view (1)"
    assert said.column == "action"
    _, chosen = import_tables(log(tmp_path), events=WEIGHTS)
    assert not any("kinds of event" in note.what for note in chosen.problems)


@pytest.mark.parametrize("kind", ["return", "Returned", "remove_from_cart", "thumbs-down", "productRefund", "DISLIKE"])
def test_names_that_say_the_opposite(kind: str) -> None:
    assert is_opposite(kind)


@pytest.mark.parametrize("kind", ["view", "download", "turn", "like", "listen", "purchase", "", "12"])
def test_names_that_do_not(kind: str) -> None:
    assert not is_opposite(kind)


def test_a_chosen_event_that_never_occurs_is_named_with_its_neighbour(tmp_path: Path) -> None:
    _, report = import_tables(log(tmp_path), events={"veiw": 1, "buy": 2})
    assert any("'veiw' never occurs; did you mean 'view'?" in problem.what for problem in report.of("note"))


def test_a_time_of_the_test_part_does_not_reach_the_train_part(tmp_path: Path) -> None:
    path = log(tmp_path, "user_id,item_id,event,timestamp,split\na,x,buy,1,train\na,x,view,2,train\na,x,view,9,test\n")
    catalogue, _ = import_tables(path, events=WEIGHTS)
    assert catalogue.interactions.select("event", "timestamp", "split").rows() == [("buy", 2, "train")]


def test_events_without_a_column_of_events_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column event"):
        import_tables(log(tmp_path, "user_id,item_id\na,x\n"), events=WEIGHTS)


def test_choosing_events_that_leave_no_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row is left"):
        import_tables(log(tmp_path), events={"play": 1})


@pytest.mark.parametrize("weight", [0, -1, math.nan, math.inf, True, "much", None])
def test_a_weight_is_a_positive_number(weight: object) -> None:
    with pytest.raises(ConfigError, match="positive number"):
        check_events({"view": weight})


def test_no_event_at_all_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="no event"):
        check_events({})


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.sampled_from(list(WEIGHTS)), st.integers(0, 9)),
        min_size=1,
    )
)
def test_the_rule_holds_for_every_log(rows: list[tuple[str, str, str, int]]) -> None:
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "event", "timestamp"], orient="row")
    timed, again = strongest(frame, WEIGHTS)
    kept = timed.filter(~again)
    expected = {
        pair: (
            max((event for *others, event, _ in rows if tuple(others) == pair), key=WEIGHTS.__getitem__),
            max(time for *others, _, time in rows if tuple(others) == pair),
        )
        for pair in {(user, item) for user, item, _, _ in rows}
    }
    assert {(user, item): (event, time) for user, item, event, time in kept.rows()} == expected
    assert kept.height == len(expected)
