"""A JSON list of objects is read as its members on lines of their own would be, and names the true lines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.ingest.arrays import BrokenList, as_lines
from palate.ingest.report import Report
from palate.ingest.tables import ROW, read_table

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a]["{},:\\\n é'),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='a"]\\', max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(members=st.lists(VALUES, max_size=5), indent=st.sampled_from([None, 0, 2]))
def test_members_stay_as_they_are(members: list[object], indent: int | None) -> None:
    text = json.dumps(members, indent=indent)
    lines, starts = as_lines(text)
    assert [json.loads(line) for line in lines.split("\n") if line] == members
    assert len(starts) == len(members)
    for start, line in zip(starts.tolist(), lines.split("\n"), strict=False):
        assert text.split("\n")[start - 1].strip().startswith(line[:1] if indent is not None else "[")


@pytest.mark.parametrize(
    ("text", "line"),
    [("[1,\n2", 2), ("[1\n2]", 2), ("[\n\n{]", 3), ("[1]\n\n[2]", 3), ("[1,]", 1), ("[", 1), ("{}", 1)],
)
def test_what_is_no_whole_list_is_found_on_its_line(text: str, line: int) -> None:
    with pytest.raises(BrokenList) as caught:
        as_lines(text)
    assert caught.value.line == line


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz"])
def test_a_list_and_lines_of_objects_are_the_same_table(tmp_path: Path, name: str) -> None:
    text = '[\n  {"a": 1.50, "b": "x"},\n  7,\n  {"a": 2,\n   "b": ["y", "z"]}\n]\n'
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    report = Report()
    table = read_table(tmp_path / name, report)
    assert table is not None
    assert table.frame.drop(ROW).to_dict(as_series=False) == {"a": ["1.50", "2"], "b": ["x", "y|z"]}
    assert table.places(table.frame[ROW]) == [2, 4]
    assert [example.place for example in report.of("dropped")[0].examples] == [3]
    (tmp_path / "b.json").write_text('{"a": "1.50", "b": "x"}\n{"a": "2", "b": "y|z"}\n')
    lines = read_table(tmp_path / "b.json", Report())
    assert lines is not None
    assert lines.frame.select(pl.exclude(ROW)).equals(table.frame.select(pl.exclude(ROW)))
