"""Records, field counts and line numbers agree with the standard library's CSV reader, however the blocks fall."""

from __future__ import annotations

import csv
import io

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.ingest import lines
from palate.ingest.lines import BrokenQuote, line_at, scan
from palate.ingest.report import Report
from palate.ingest.tables import ROW, read_text

FIELD = st.text(alphabet='ab ,"\n;é', max_size=6)
RECORDS = st.lists(st.lists(FIELD, max_size=4), max_size=12)


def written(records: list[list[str]], end: str) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator=end).writerows(records)
    return stream.getvalue()


def first_lines(text: str) -> list[tuple[int, list[str]]]:
    """Each record of the text with the line it starts on, by the standard library."""
    reader = csv.reader(io.StringIO(text, newline=""))
    found: list[tuple[int, list[str]]] = []
    line = 1
    for record in reader:
        found.append((line, record))
        line = reader.line_num + 1
    return found


@given(
    width=st.integers(1, 4),
    records=RECORDS,
    end=st.sampled_from(["\n", "\r\n"]),
    block=st.integers(1, 40),
    mark=st.booleans(),
    cut=st.booleans(),
)
def test_rows_and_their_lines_are_those_of_the_standard_library(
    width: int, records: list[list[str]], end: str, block: int, mark: bool, cut: bool
) -> None:
    names = [f"n{index}" for index in range(width)]
    text = written([names, *records], end)
    text = text.removesuffix(end) if cut else text
    expected = [(line, record) for line, record in first_lines(text)[1:] if len(record) == width]
    data = (b"\xef\xbb\xbf" if mark else b"") + text.encode()
    report = Report()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK", block)
        table = read_text(data, "f.csv", report)
    if not expected:
        assert table is None
        assert report.of("fatal")
        return
    assert table is not None
    assert table.places(table.frame[ROW]) == [line for line, _ in expected]
    found = table.frame.select(pl.exclude(ROW).fill_null("")).rows()
    assert [list(row) for row in found] == [record for _, record in expected]
    ragged = [record for _, record in first_lines(text)[1:] if record and len(record) != width]
    assert sum(problem.count for problem in report.of("dropped")) == len(ragged)


@pytest.mark.parametrize(
    ("text", "line", "opened"),
    [
        ('a,b\n1,5" disk\n2,3\n', 2, None),
        ('a,b\n1,"5" disk\n2,3\n', 2, 2),
        ('a,b\n1,"5 disk\n2,3\n4,"5"\n', 4, 2),
        ('a,b\n1,2\n3,"open\n4,5\n', 3, None),
        ('a,b\n1,"say ""\n3,open\n4,5\n', 2, None),
    ],
)
@pytest.mark.parametrize("block", [1, 3, 1 << 20])
def test_a_quote_mark_that_pairs_with_nothing_is_found_on_its_line(
    text: str, line: int, opened: int | None, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BLOCK", block)
    data = np.frombuffer(text.encode(), np.uint8)
    with pytest.raises(BrokenQuote) as caught:
        scan(data, ord(","), quoted=True)
    assert line_at(data, caught.value.offset) == line
    assert (None if caught.value.opened is None else line_at(data, caught.value.opened)) == opened
