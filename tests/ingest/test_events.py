"""Implicit logs: chosen events, one row per pair, and no time that wanders from test into train."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.core.errors import ConfigError, DataError
from palate.ingest.events import check_events, strongest
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
