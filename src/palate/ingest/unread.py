"""Columns that are read as nothing, though they look like something that a catalogue has: said, never assumed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import polars as pl

from palate.ingest.cells import parse_ratings, parse_text
from palate.ingest.naming import option
from palate.ingest.report import Report
from palate.ingest.roles import ALIASES, plain
from palate.ingest.tables import Table
from palate.ingest.times import BELIEVED, UNITS, parse_times

# Rows that are looked at, and cells among them that have a value.
LOOKED_AT, SAMPLE = 100_000, 1000
# Names of columns of times, in which numbers are believed to be some; and of dates that are no deed of a user's.
TIMES = re.compile(r"time|date|stamp|epoch|unix|when|(^|[_ -])(at|ts|dat)$", re.IGNORECASE)
OTHER_TIMES = re.compile(r"birth|born|release|publi|launch|expir|signup|join|regist", re.IGNORECASE)
WRITTEN = r"\d+[-/.: ]+\w+[-/.: ]+\d+"
RATINGS = re.compile(r"rating|score|stars|grade", re.IGNORECASE)
SUMMARIES = re.compile(r"count|num|avg|average|mean|total|(^|[_ -])n([_ -]|$)", re.IGNORECASE)
NAMED = re.compile(r"title|name|text|desc", re.IGNORECASE)
CONTENT = ("title", "description", "image", "audio")
FILES = {"image": r"(?i)\.(jpe?g|png|gif|webp|bmp|tiff?)$", "audio": r"(?i)\.(wav|mp3|flac|ogg|aiff?)$"}
ADDRESS = r"^[a-z]+://"
# Text of more signs than that is no title; a column of few different texts is one of kinds.
LONGEST_TITLE = 80
DISTINCT = 0.5
MOST = 0.9


def note_unread(table: Table, name: str, plan: Mapping[str, str], left_out: Collection[str], report: Report) -> None:
    """Say which columns look like a time, a rating or content that nothing is read as, and how to have them read.

    Args:
        table: the rows.
        name: of the table: interactions or items.
        plan: the file's column of each column of the catalogue.
        left_out: columns of the catalogue that the user wants left out.
        report: takes the notes.
    """
    free = [column for column in table.columns if column not in plan.values()]
    open_ = [key for key in ("timestamp", "rating") if key not in plan and key not in left_out and _is_open(key, free)]
    if name == "interactions":
        if "timestamp" in open_:
            _note_time(table, free, report)
        if "rating" in open_:
            _note_rating(table, free, report)
    elif name == "items" and not any(key in plan or key in left_out for key in CONTENT):
        _note_content(table, free, report)


def _is_open(key: str, free: Sequence[str]) -> bool:
    """Whether no usual name of a column is there: where several are, that is said already."""
    return not any(plain(name) in ALIASES[key] for name in free)


def _note_time(table: Table, free: Sequence[str], report: Report) -> None:
    for column in free:
        if not OTHER_TIMES.search(column) and _is_time(_sample(table, column), named=bool(TIMES.search(column))):
            report.add(
                "note",
                table.file,
                "it looks like times, and no column is read as timestamp",
                column=column,
                do=f"if it says when: {option({'timestamp': column})}",
            )
            return
    for column in free:
        cells = _sample(table, column)
        if TIMES.search(column) and not OTHER_TIMES.search(column) and _share(cells, WRITTEN) >= MOST:
            report.add(
                "note",
                table.file,
                f"it looks like times, in a form that is not read: '{cells[0]}'",
                column=column,
                do="if it says when, write it as 1998-04-22T18:30:00 or as seconds since 1970, "
                f"and name it: {option({'timestamp': column})}",
            )
            return


def _note_rating(table: Table, free: Sequence[str], report: Report) -> None:
    for column in free:
        cells = _sample(table, column)
        if RATINGS.search(column) and not SUMMARIES.search(column) and len(cells):
            parsed, infinite = parse_ratings(cells)
            if not (parsed.bad | infinite).any():
                report.add(
                    "note",
                    table.file,
                    "it looks like ratings, and no column is read as rating",
                    column=column,
                    do=f"if it says how much an item was liked: {option({'rating': column})}",
                )
                return


def _note_content(table: Table, free: Sequence[str], report: Report) -> None:
    if not free:
        return
    found: dict[str, str] = {}
    samples = {column: _sample(table, column) for column in free}
    # What is called a name or title comes first, then what has most different texts.
    order = sorted(free, key=lambda column: (not NAMED.search(column), -samples[column].n_unique()))
    for column in order:
        key = _content(samples[column])
        if key:
            found.setdefault(key, column)
    alike = ", ".join(f"'{column}' looks like {key}" for key, column in found.items())
    chosen = {key: found[key] for key in CONTENT if key in found} or {"title": "NAME"}
    report.add(
        "note",
        table.file,
        f"no column is read as {', '.join(CONTENT[:-1])} or {CONTENT[-1]}" + (f"; {alike}" if alike else ""),
        do=f"if there is one: {option(chosen)}",
    )


def _is_time(cells: pl.Series, *, named: bool) -> bool:
    if not len(cells) or cells.dtype.is_nested() or cells.dtype == pl.Boolean:
        return False
    times = parse_times(cells)
    if times.bad.any():
        return False
    believed = [times.values.is_between(BELIEVED[0] * count, BELIEVED[1] * count) for _, count in UNITS]
    return bool(times.dates.all()) or (named and any(bool((fits | times.dates).all()) for fits in believed))


def _content(cells: pl.Series) -> str | None:
    """Which content a column looks like: by the endings of its paths, else by the length and variety of its texts."""
    if not len(cells) or cells.dtype != pl.String or _share(cells, ADDRESS) > 1 - MOST:
        return None
    for key, pattern in FILES.items():
        if _share(cells, pattern) >= MOST:
            return key
    distinct = cells.n_unique() > DISTINCT * len(cells)
    if _share(cells, r"\pL") < MOST or not distinct or _is_time(cells, named=False):
        return None
    lengths = cells.str.len_chars().mean()
    return "description" if isinstance(lengths, float) and lengths > LONGEST_TITLE else "title"


def _sample(table: Table, column: str) -> pl.Series:
    cells = table.frame[column].head(LOOKED_AT).drop_nulls().head(SAMPLE)
    return parse_text(cells).drop_nulls() if cells.dtype == pl.String else cells


def _share(cells: pl.Series, pattern: str) -> float:
    if not len(cells) or cells.dtype != pl.String:
        return 0.0
    return int(cells.str.contains(pattern).sum()) / len(cells)
