"""JSON lines: cells keep the characters of the file, and every line that is no row is named."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.ingest.importing import import_tables
from palate.ingest.objects import read_objects
from palate.ingest.report import Report
from palate.ingest.tables import ROW, read_table

PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda text: text == text.strip())


@given(st.lists(st.fixed_dictionaries({"a": PLAIN, "b": PLAIN}), min_size=1))
def test_text_comes_back_as_it_was_written(rows: list[dict[str, str]]) -> None:
    for ascii_only in (True, False):
        found = read_objects("\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows))
        assert found.columns == {name: [row[name] for row in rows] for name in ("a", "b")}
        assert found.lines == list(range(1, len(rows) + 1))


def test_numbers_keep_their_characters_and_missing_names_are_empty() -> None:
    found = read_objects('{"a": 1.0, "b": NaN}\n\n{" c ": 1e3, "a": 12345678901234567890123}\r\n{"a": null, "b": true}')
    assert found.columns == {
        "a": ["1.0", "12345678901234567890123", None],
        "b": ["NaN", None, "true"],
        "c": [None, "1e3", None],
    }
    assert found.lines == [1, 3, 4]


def test_lists_of_plain_values_are_joined_and_nested_values_take_their_column_along() -> None:
    found = read_objects('{"a": ["x", "y"], "n": {"k": 1}}\n{"a": [], "n": "plain"}\n{"a": [1, null], "m": [["x"]]}')
    assert found.columns == {"a": ["x|y", None, "1"]}
    assert {name: [line for line, _ in cells] for name, cells in found.nested.items()} == {"n": [1], "m": [3]}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"a": 1', "not readable JSON"),
        ("a,b", "not readable JSON"),
        ("[1]", "the line is no JSON object"),
        ('"text"', "the line is no JSON object"),
        ('{"a": 1, "a ": 2}', "a name occurs twice in the object"),
        ('{"a": "\\ud800"}', "the text holds half a character (a lone surrogate)"),
        ('{"\\udfff": 1}', "the text holds half a character (a lone surrogate)"),
        ('{"a": ' + "[" * 100_000, "not readable JSON: nested too deeply"),
    ],
)
def test_a_line_that_is_no_row_is_named_and_the_others_are_read(line: str, what: str) -> None:
    found = read_objects(f'{{"a": "x"}}\n{line}\n{{"a": "y"}}\n')
    assert [(number, why) for number, why, _ in found.broken] == [(2, what)]
    assert found.columns == {"a": ["x", "y"]}


def test_a_table_of_json_lines_is_checked_like_csv_with_true_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(
        '{"user": "007", "item": 1, "rating": 5, "more": {"x": 1}}\n'
        "\n"
        "{broken\n"
        '{"user": 8, "item": 1, "rating": "five"}\n'
        '{"user": 8, "item": 2, "rating": NaN}\n'
        '{"user": 9, "item": 1.5, "rating": 2.5}\n',
        encoding="utf-8-sig",
    )
    catalogue, report = import_tables(path)
    assert catalogue.interactions.select("user_id", "item_id", "rating").rows() == [
        ("007", "1", 5.0),
        ("9", "1.5", 2.5),
    ]
    places = {problem.what: [example.place for example in problem.examples] for problem in report.of("dropped")}
    assert places == {"not readable JSON": [3], "not a number": [4], "the rating is empty": [5]}
    assert {problem.unit for problem in report.of("dropped")} == {"line"}
    assert report.rows[str(path)] == (5, 2)
    assert any("nested" in problem.what and problem.column == "more" for problem in report.of("note"))


def test_csv_and_json_lines_of_the_same_rows_give_the_same_catalogue(tmp_path: Path) -> None:
    rows = [{"user_id": f"u{n % 7}", "item_id": f"{n}", "rating": n % 5 + 1, "timestamp": n} for n in range(40)]
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    (tmp_path / "a.csv").write_text(text.getvalue())
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
    first, _ = import_tables(tmp_path / "a.csv", strict=True)
    second, _ = import_tables(tmp_path / "a.ndjson.gz", strict=True)
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b'[\n{"a": 1}\n', "not a readable JSON list"),
        (b"[1, 2]\n[3, 4]\n", "not a readable JSON list"),
        (b"[]", "no row is left"),
        (b"nothing\n", "no row is left"),
        (b"{}\n", "no column is left"),
        (b'{"a": "\xe9"}\n', "not UTF-8"),
    ],
)
def test_a_file_without_rows_is_fatal(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    report = Report()
    assert read_table(path, report) is None
    assert what in report.of("fatal")[0].what


def test_a_nameless_column_is_left_out_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"": 1, "b": 2}\n')
    report = Report()
    table = read_table(path, report)
    assert table is not None
    assert table.frame.drop(ROW).to_dict(as_series=False) == {"b": ["2"]}
    assert "without a name" in report.of("note")[0].what
