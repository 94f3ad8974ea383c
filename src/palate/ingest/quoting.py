"""Whether quote marks quote: a field in quotes may go over several lines, or swallow rows that were never quoted.

Text that nobody quoted has quote marks too. Where one field begins with such a mark and a field of a later line ends
with one, everything between them reads as one field, and the rows there are lost without a trace.
"""

from __future__ import annotations

import numpy as np

from palate.ingest.lines import NEWLINE, QUOTE, Bytes, Layout, Numbers, scan

TAB = 9
BLANK = 32
# Prose has commas as well; that many lines of it are looked at.
SAMPLE = 1000
LEAST_COLUMNS = 3
LEAST_ENDS = 3


def as_ordinary(data: Bytes, layout: Layout, separator: int, *, header: bool) -> tuple[Layout | None, Numbers] | None:
    """The layout with quote marks as ordinary characters, where that is how the file was written.

    Between tabs the reading that gives more rows, and no more broken ones, is the true one: a field over two lines that
    is really quoted makes no line a whole row but by tabs within it.

    Text in quotes has commas, so there every other sign must agree: three columns or more, a field over four lines
    or more, no line that only quotes explain, and no blank after a comma in the lines that were swallowed.

    Args:
        data: the bytes of the file.
        layout: the file read with quoting.
        separator: the byte between fields.
        header: whether the first record is one.

    Returns:
        The other layout, and the lines, counted from 1, on which the fields begin that would go over several lines
        or break a row; no other layout where quotes swallow rows and are needed elsewhere. None where quoting is right.
    """
    between_tabs = separator == TAB
    suspect = len(layout.inner) > 0 or (between_tabs and len(layout.ragged) > 0 and bool((data == QUOTE).any()))
    if not suspect or layout.width < (2 if between_tabs else LEAST_COLUMNS):
        return None
    plain = scan(data, separator, quoted=False, header=header)
    if plain.width != layout.width or plain.rows <= layout.rows:
        return None
    if not between_tabs and _may_be_text(data, layout, separator):
        return None
    records = np.unique(layout.inner if len(layout.inner) else layout.ragged)
    # Where quotes leave rows that are broken anyway, tabs within them are what they do not explain.
    broken = between_tabs and len(layout.ragged) > 0
    needed = not broken and len(plain.ragged) > len(layout.ragged)
    return None if needed else plain, layout.lines_of_records(records)


def _may_be_text(data: Bytes, layout: Layout, separator: int) -> bool:
    """Whether the fields that go over several lines are short, or hold a blank after a separator, as prose does."""
    records, held = np.unique(layout.inner, return_counts=True)
    if held.max() < LEAST_ENDS:
        return True
    firsts = layout.lines_of_records(records) - 1
    ends = np.concatenate([[-1], np.flatnonzero(data == NEWLINE), [len(data)]])
    for first, more in zip(firsts[:SAMPLE].tolist(), held[:SAMPLE].tolist(), strict=True):
        last = first + min(more, SAMPLE)
        text = data[int(ends[first]) + 1 : int(ends[last + 1])].tobytes()
        if bytes((separator, BLANK)) in text:
            return True
    return False
