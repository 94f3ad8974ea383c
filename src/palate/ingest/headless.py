"""Files without a header line: how their first line gives itself away, and what to write to have them read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence

from palate.core.errors import ConfigError, unknown_name
from palate.ingest.naming import option
from palate.ingest.roles import ALIASES, LIKELY, plain, stem

OPTION = "--no-header"
# Files that the option can speak of.
FILES = ("interactions", "items", "knowledge")

NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
DECIMAL = re.compile(r"[+-]?\d*\.\d+")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")
# Seconds since 1970 of the years from 2001 on have ten digits, milliseconds thirteen; those of 1990 have nine.
EPOCH = re.compile(r"[6-9]\d{8}|[12]\d{9}(\d{3})?")
ADDRESS = re.compile(r"https?://\S+")
HASH = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}")
GRADE = re.compile(r"\d(\.\d)?|10(\.0)?")
SHOWN = 8
WIDEST = 20

_KNOWN = {"id", *(plain(key) for key in ALIASES), *(word for words in ALIASES.values() for word in words)}
_LIKELY = {word for words in LIKELY.values() for word in words}


def refuse_unknown(given: Collection[str]) -> Collection[str]:
    """The files that are said to have no header line, as they were given.

    Raises:
        ConfigError: for a word that is none of `FILES`.
    """
    for name in given:
        if name not in FILES:
            raise ConfigError(unknown_name("file", name, FILES), where=OPTION, do=f"write one of {', '.join(FILES)}")
    return given


def names(width: int) -> list[str]:
    """The names of the columns of a file without a header line."""
    return [f"column_{number}" for number in range(1, width + 1)]


def looks_like_row(cells: Sequence[str]) -> bool:
    """Whether a first line is a row and no header: numbers, dates or addresses in it, and no name of a column.

    Numbers from 0 on in their order are names, as libraries give them to columns without one.
    """
    filled = [cell for cell in cells if cell]
    if not filled or filled == [str(number) for number in range(len(filled))]:
        return False
    if any(plain(cell) in _KNOWN for cell in filled):
        return False
    data = sum(_is_datum(cell) for cell in filled)
    if any(plain(cell) in _LIKELY or stem(cell) in _LIKELY for cell in filled):
        return 2 * data >= len(filled)
    return data > 0


def shown(cells: Sequence[str]) -> str:
    """What a first line holds, column by column."""
    pairs = [f"{name} {_cut(cell)}" for name, cell in zip(names(len(cells)), cells, strict=True)]
    return ", ".join(pairs[:SHOWN]) + (f" and {len(pairs) - SHOWN:,} more" if len(pairs) > SHOWN else "")


def advice(cells: Sequence[str], table: str, *, alone: bool) -> str:
    """What to write for a file whose first line is a row: the likeliest columns, to be set right by who knows them.

    Args:
        cells: of the first line.
        table: interactions, items or knowledge.
        alone: whether there is no other file whose columns could be meant.
    """
    guessed = _guess(cells, table)
    if "item_id" in guessed and not alone:
        guessed = {f"{table}.item_id" if key == "item_id" else key: name for key, name in guessed.items()}
    return f"{OPTION} {shlex.quote(table)} {option(guessed)}"


def _guess(cells: Sequence[str], table: str) -> dict[str, str]:
    free = dict(zip(names(len(cells)), cells, strict=True))
    if table == "knowledge":
        return dict(zip(("head", "relation", "tail"), free, strict=False))
    if table == "items":
        item = next(iter(free))
        del free[item]
        title = next(
            (name for name, cell in free.items() if re.search(r"[^\W\d_]", cell) and not _is_datum(cell)), None
        )
        return {"item_id": item, **({"title": title} if title else {})}
    found = {"user_id": next(iter(free))}
    del free[found["user_id"]]
    times = [name for name, cell in free.items() if DATE.fullmatch(cell) or EPOCH.fullmatch(cell)]
    # The last number of such a length is a time; one before it may be an id.
    time = next((name for name in times if DATE.fullmatch(free[name])), times[-1] if times else None)
    items = [name for name, cell in free.items() if cell and name != time and not DECIMAL.fullmatch(cell)]
    found["item_id"] = items[0] if items else next(iter(free), "NAME")
    for name, cell in free.items():
        if name not in (*found.values(), time) and GRADE.fullmatch(cell):
            found["rating"] = name
            break
    return {**found, **({"timestamp": time} if time and time != found["item_id"] else {})}


def _is_datum(cell: str) -> bool:
    return any(kind.fullmatch(cell) for kind in (NUMBER, DATE, ADDRESS, HASH))


def _cut(cell: str) -> str:
    return f"'{cell}'" if len(cell) <= WIDEST else f"'{cell[: WIDEST - 1]}…'"
