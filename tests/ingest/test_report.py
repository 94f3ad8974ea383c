"""The report groups problems of one kind, keeps their full count and a few examples, and stops when it must."""

from __future__ import annotations

import json

import pytest

from palate.core.errors import DataError
from palate.ingest.report import Example, Report, named_values


def test_problems_of_one_kind_are_one_entry_with_the_full_count_and_five_examples() -> None:
    report = Report()
    for line in range(2, 10):
        report.add("dropped", "a.csv", "not a number", column="rating", count=10, examples=[Example(line, f"'{line}'")])
    report.add("dropped", "b.csv", "not a number", column="rating", count=1)
    first, second = report.problems
    assert (first.count, [example.place for example in first.examples]) == (80, [2, 3, 4, 5, 6])
    assert (second.file, second.count) == ("b.csv", 1)
    assert "and 75 more" in report.text()


@pytest.mark.parametrize(
    ("severity", "strict", "stops"),
    [("note", True, False), ("dropped", False, False), ("dropped", True, True), ("fatal", False, True)],
)
def test_fatal_problems_stop_always_and_dropped_rows_only_when_strict(severity: str, strict: bool, stops: bool) -> None:
    report = Report()
    report.add(severity, "a.csv", "something odd", count=1, examples=[Example(7, "'x'")])  # pyright: ignore[reportArgumentType]
    if not stops:
        report.raise_if(strict)
        return
    with pytest.raises(DataError, match="something odd") as caught:
        report.raise_if(strict)
    assert "line 7: 'x'" in str(caught.value)


def test_a_file_with_a_fatal_problem_comes_first_in_the_text() -> None:
    report = Report()
    report.count_rows("good.csv", 3, 2)
    report.add("note", "good.csv", "a detail")
    report.add("fatal", "bad.csv", "unreadable")
    text = report.text()
    assert text.index("bad.csv") < text.index("good.csv: 3 rows read, 2 kept, 1 dropped")


def test_long_and_multi_line_values_take_one_short_line() -> None:
    report = Report()
    report.add("note", "a.csv", "long", count=1, examples=[Example(2, "word\n" * 100)])
    (problem,) = report.problems
    assert len(problem.examples[0].value) <= 60
    assert "\n" not in problem.examples[0].value


def test_of_several_values_the_longest_are_cut_and_none_is_lost() -> None:
    assert named_values({"user_id": "a" * 200, "item_id": "B00X"}) == f"user_id '{'a' * 33}…', item_id 'B00X'"
    assert len(named_values({"user_id": "a" * 36, "item_id": "b" * 36})) == 60
    assert named_values({"user_id": "ann", "item_id": "x"}) == "user_id 'ann', item_id 'x'"


def test_as_dict_is_json_with_the_same_facts() -> None:
    report = Report()
    report.count_rows("a.parquet", 5, 3)
    report.add("dropped", "a.parquet", "bad", column="c", count=2, examples=[Example(4, "NaN")], unit="row", do="mend")
    facts = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert facts["dropped"] == 2
    assert facts["files"] == {"a.parquet": {"read": 5, "kept": 3}}
    assert facts["problems"][0]["examples"] == [{"row": 4, "value": "NaN"}]
