"""The physical structure of a delimited text: where records start and end, how many fields they have, on which lines.

Takes the bytes of a file; gives a `Layout` from which bad records can be cut out and true line numbers be told. One
pass in blocks of bytes, no Python per record, and memory only for what is irregular.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]

BLOCK = 1 << 24
NEWLINE, RETURN, QUOTE = 10, 13, 34
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class BrokenQuote(ValueError):
    """A quote mark where none may stand, or a quoted field without an end.

    Args:
        offset: its byte in the file.
        what: what is wrong with it.
        opened: the byte where the quoted field around it starts, or None when there is none.
    """

    def __init__(self, offset: int, what: str, opened: int | None = None) -> None:
        super().__init__(what)
        self.offset = offset
        self.what = what
        self.opened = opened


@dataclass(frozen=True)
class Layout:
    """Records of a delimited text. Records are counted from 0, over header and blank lines too.

    Args:
        records: how many there are.
        header: first and last-plus-one byte of the first record that is not blank; (0, 0) when all are blank.
        width: fields of that record.
        left_out: records that are no rows: the header, where there is one, blank ones, and those in `ragged`;
            ascending.
        cut: first and last-plus-one bytes of the records in `left_out`, the header excepted (n × 2).
        ragged: records with another number of fields than that.
        fields: how many each of those has.
        inner: the record of each line end inside a quoted field; ascending.
    """

    records: int
    header: tuple[int, int]
    width: int
    left_out: Numbers
    cut: Numbers
    ragged: Numbers
    fields: Numbers
    inner: Numbers

    @property
    def rows(self) -> int:
        """Records that are rows."""
        return self.records - len(self.left_out)

    def lines_of_records(self, records: Numbers) -> Numbers:
        """The line, counted from 1, on which each record starts."""
        return records + 1 + np.searchsorted(self.inner, records, side="left")

    def lines_of_rows(self, rows: Numbers) -> Numbers:
        """The line, counted from 1, on which each row (counted from 0) starts."""
        before = self.left_out - np.arange(len(self.left_out))
        return self.lines_of_records(rows + np.searchsorted(before, rows, side="right"))

    def without_cut(self, data: Bytes) -> bytes:
        """The text without the records that are no rows."""
        # Slices of a mapped file cost more than those of a plain view of it.
        whole, kept, start = np.asarray(data), BytesIO(), 0
        for first, end in self.cut.tolist():
            kept.write(whole[start:first].tobytes())
            start = end
        kept.write(whole[start:].tobytes())
        return kept.getvalue()


class _Collector:
    """Takes the records of one block after the other and keeps what is irregular."""

    def __init__(self, headed: bool) -> None:
        self.headed = headed
        self.records = 0
        self.header: tuple[int, int] | None = None
        self.header_record = 0
        self.width = 0
        self.left_out: list[Numbers] = []
        self.cut: list[Numbers] = []
        self.ragged: list[Numbers] = []
        self.fields: list[Numbers] = []

    def take(self, data: Bytes, starts: Numbers, ends: Numbers, separators: Numbers) -> None:
        """Records by first byte, byte of their line end, and number of separators."""
        lengths = ends - starts
        blank = lengths == 0
        one = np.flatnonzero(lengths == 1)
        blank[one] = data[starts[one]] == RETURN
        if self.header is None:
            filled = np.flatnonzero(~blank)
            if len(filled):
                first = int(filled[0])
                self.header = (int(starts[first]), int(ends[first]))
                self.header_record = self.records + first
                self.width = int(separators[first]) + 1
        ragged = ~blank & (separators != self.width - 1)
        odd = np.flatnonzero(blank | ragged)
        self.left_out.append(odd + self.records)
        self.cut.append(np.stack([starts[odd], np.minimum(ends[odd] + 1, len(data))], axis=1))
        wrong = np.flatnonzero(ragged)
        self.ragged.append(wrong + self.records)
        self.fields.append(separators[wrong] + 1)
        self.records += len(starts)

    def layout(self, inner: Numbers) -> Layout:
        left_out = _joined(self.left_out)
        if self.headed and self.header is not None:
            left_out = np.sort(np.append(left_out, np.int64(self.header_record)))
        cut = np.concatenate(self.cut) if self.cut else np.zeros((0, 2), dtype=np.int64)
        return Layout(
            self.records,
            self.header or (0, 0),
            self.width,
            left_out,
            cut,
            _joined(self.ragged),
            _joined(self.fields),
            inner,
        )


def scan(data: Bytes, separator: int, *, quoted: bool, header: bool = True) -> Layout:
    """Find the records of a delimited text.

    Args:
        data: the bytes of the file.
        separator: the byte between fields.
        quoted: whether fields may be quoted (RFC 4180); otherwise quote marks are ordinary characters.
        header: whether the first record is one; otherwise it is a row, and says how many fields a row has.

    Raises:
        BrokenQuote: when quote marks do not pair up into quoted fields.
    """
    start = len(BYTE_ORDER_MARK) if data[:3].tobytes() == BYTE_ORDER_MARK else 0
    collector = _Collector(header)
    inner: list[Numbers] = []
    record_start, separators_before, open_quote, opened_at = start, 0, 0, start
    for block_start in range(start, len(data), BLOCK):
        block = data[block_start : block_start + BLOCK]
        marks = (block == NEWLINE) | (block == separator)
        inside: Bytes | None = None
        quotes = (block == QUOTE) if quoted else None
        if quotes is not None and (open_quote or quotes.any()):
            # A quote mark is inside what it opens; sums that wrap at 256 keep their parity.
            inside = (np.cumsum(quotes, dtype=np.uint8) + np.uint8(open_quote)) & np.uint8(1)
            positions = np.flatnonzero(quotes) + block_start
            opening = positions[open_quote::2]
            # What opens right after a closing quote mark is the second half of a doubled one, no new field.
            fresh = opening[(opening == start) | (data[opening - 1] != QUOTE)]
            fresh = np.concatenate([[opened_at], fresh])
            _check_quotes(data, opening, positions[1 - open_quote :: 2], fresh, separator, start)
            opened_at = int(fresh[-1])
            open_quote = int(inside[-1])
            marks &= inside == 0
        found = np.flatnonzero(marks)
        line_ends = np.flatnonzero(block[found] == NEWLINE)
        if inside is not None:
            held = np.flatnonzero((block == NEWLINE) & (inside == 1))
            inner.append(collector.records + np.searchsorted(found[line_ends], held))
        if not len(line_ends):
            separators_before += len(found)
            continue
        separators = np.diff(line_ends, prepend=-1) - 1
        separators[0] += separators_before
        ends = found[line_ends] + block_start
        starts = np.concatenate([[record_start], ends[:-1] + 1])
        collector.take(data, starts, ends, separators)
        record_start = int(ends[-1]) + 1
        separators_before = len(found) - int(line_ends[-1]) - 1
    if open_quote:
        raise BrokenQuote(opened_at, "a quoted field that starts here has no closing quote mark")
    if record_start < len(data):
        collector.take(data, np.array([record_start]), np.array([len(data)]), np.array([separators_before]))
    return collector.layout(_joined(inner))


def line_at(data: Bytes, offset: int) -> int:
    """The line, counted from 1, of a byte."""
    return int(np.count_nonzero(data[:offset] == NEWLINE)) + 1


def _check_quotes(data: Bytes, opening: Numbers, closing: Numbers, fresh: Numbers, separator: int, start: int) -> None:
    around = np.zeros(256, dtype=np.bool_)
    around[[separator, NEWLINE, QUOTE]] = True
    before = opening[opening > start]
    stray = before[~around[data[before - 1]]]
    around[RETURN] = True
    after = closing[closing + 1 < len(data)]
    early = after[~around[data[after + 1]]]
    what = "a quote mark stands in the middle of a field"
    if len(stray) and not (len(early) and early[0] < stray[0]):
        raise BrokenQuote(int(stray[0]), what)
    if len(early):
        raise BrokenQuote(int(early[0]), what, int(fresh[np.searchsorted(fresh, early[0]) - 1]))


def _joined(parts: list[Numbers]) -> Numbers:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
