"""Lists written as text, as exports of data frames leave them: "['Action', 'Sci-Fi']", JSON, records with names.

Takes a table of items; gives it with such cells joined as lists of JSON lines are.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Collection
from dataclasses import replace
from typing import cast

import polars as pl

from palate.ingest.objects import JOINT
from palate.ingest.report import Report, shorten
from palate.ingest.tables import Table

# A column is looked at closely when most of so many cells look like lists; longer cells are texts.
LOOKED_AT = 1000
MOSTLY = 0.5
LONGEST = 20_000
LIKE = r"(?s)^\s*\[.*\]\s*$"
# What numpy prints has no commas, and to Python two such strings are one.
UNPARTED = re.compile(r"(?<=[^\s,\[]['\"])\s+(?=['\"][^\s,\]])")
# MovieLens says so where it knows none; a genre of that name would join all of these films.
NO_GENRES = "(no genres listed)"


def with_lists(table: Table, but: Collection[str], report: Report) -> Table:
    """A table with lists that are written as text joined by "|"; an empty one, and no genres, are no value.

    A column is read so when most of its cells look like lists; those that cannot be read stay as they are.

    Args:
        table: the rows that were read.
        but: columns that hold no lists.
        report: takes a note for each such column, with an example.
    """
    made = {name: _joined(table, name, report) for name in table.columns if name not in but}
    made = {name: cells for name, cells in made.items() if cells is not None}
    frame = table.frame.with_columns(cells.alias(name) for name, cells in made.items())
    texts = [name for name in table.columns if name not in but and frame.schema[name] == pl.String]
    for name in texts:
        nothing = int((frame[name] == NO_GENRES).sum())
        if nothing:
            report.add("note", table.file, f"'{NO_GENRES}' is read as an empty cell", column=name, count=nothing)
            frame = frame.with_columns(pl.col(name).replace(NO_GENRES, None))
    return replace(table, frame=frame, joined=table.joined | made.keys())


def _joined(table: Table, name: str, report: Report) -> pl.Series | None:
    column = table.frame[name]
    if column.dtype != pl.String:
        return None
    first = column.drop_nulls().head(LOOKED_AT)
    if not len(first) or first.str.contains(LIKE).sum() <= MOSTLY * len(first):
        return None
    like = (column.str.contains(LIKE) & (column.str.len_bytes() <= LONGEST)).fill_null(False)
    different = column.filter(like).unique(maintain_order=True)
    with warnings.catch_warnings():
        # Stray backslashes in somebody's words.
        for kind in (SyntaxWarning, DeprecationWarning):
            warnings.simplefilter("ignore", kind)
        parts = [_parts(text) for text in different.to_list()]
    read = pl.Series([part is not None for part in parts], dtype=pl.Boolean)
    if not read.any():
        return None
    known = different.filter(read)
    words = pl.Series([JOINT.join(part) or None for part in parts if part is not None], dtype=pl.String)
    mask = column.is_in(known.implode()).fill_null(False)
    left = int((like & ~mask).sum())
    # An empty list shows nothing.
    place = words.is_not_null().arg_max() or 0
    example = f"'{shorten(known[place])}' as {shorten(words[place] or 'an empty cell')}"
    report.add(
        "note",
        table.file,
        f"lists written as text are read as their parts, {example}"
        + (f"; {left:,} that cannot be read stay as they are" if left else ""),
        column=name,
        count=int(mask.sum()),
    )
    return column.replace(known, words)


def _parts(text: str) -> list[str] | None:
    """The parts of a list of strings, numbers, or records with a name; None for anything else."""
    value = _value(text)
    if not isinstance(value, list):
        return None
    parts: list[str] = []
    for part in cast("list[object]", value):
        if part is None:
            continue
        named = cast("dict[object, object]", part).get("name") if isinstance(part, dict) else part
        # Lists of fractions are vectors.
        if isinstance(named, bool) or not isinstance(named, str | int):
            return None
        parts.append(str(named).strip())
    return [part for part in parts if part]


def _value(text: str) -> object:
    try:
        return json.loads(text, parse_int=str)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(UNPARTED.sub(", ", text.strip()))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
