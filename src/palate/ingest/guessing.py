"""Which column is probably meant where none has a usual name; where nothing is likely, nothing is advised."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches

import polars as pl

from palate.ingest.commands import python
from palate.ingest.delimited import UNIT
from palate.ingest.roles import ALIASES, LIKELY, plain, stem
from palate.ingest.tables import Table

# Two names are alike from here on: usr and user are, type and item are not.
ALIKE = 0.75
NUMBERED = re.compile(r"(.*?)(\d+)")
LEAST_SERIES = 5
# Of the items that were met, the share that a column must hold to be their id.
MOST = 0.5
SAMPLE = 10_000


def guess(key: str, table: str, free: Sequence[str], elsewhere: Collection[str]) -> str | None:
    """The column that is probably meant; none that another key of `ALIASES` or `LIKELY` fits better.

    Args:
        key: the catalogue's column.
        table: the table's name.
        free: columns of the file that are nothing else.
        elsewhere: columns of the other files.
    """
    if key == "item_id":
        shared = [name for name in free if name in elsewhere and _is_id(name) and stem(name) not in LIKELY["user_id"]]
        shared.sort(key=lambda name: stem(name) not in LIKELY["item_id"])
        own = [name for name in free if plain(name) == "id" and table == "items"]
        if shared or own:
            return (shared or own)[0]
    for name in free:
        if stem(name) in LIKELY.get(key, ()):
            return name
    usual = sum((*ALIASES.values(), *(words for other, words in LIKELY.items() if other != key)), ())
    open_ = [name for name in free if plain(name) not in usual and stem(name) not in usual]
    # An ending that both have in common makes no likeness: track_id is no user_id.
    stems = {stem(name): name for name in reversed(open_)}
    found = get_close_matches(stem(key), list(stems), n=1, cutoff=ALIKE)
    return stems[found[0]] if found else None


def joining(table: Table, free: Sequence[str], met: pl.Series | None) -> str | None:
    """The column of an items file that holds the items' ids under a name of its own; None where none does clearly.

    Args:
        table: the items.
        free: its columns that are nothing else.
        met: the item ids of the interactions, or None when they are not known.
    """
    named = [name for name in free if plain(name) == "id"]
    if met is None:
        return named[0] if len(named) == 1 else None
    wanted = met.cast(pl.String).unique(maintain_order=True).drop_nulls().head(SAMPLE).str.strip_chars()
    # Small whole numbers are in many columns, so that the name must say id as well.
    numbers = bool(wanted.str.contains(r"^\d+$").any())
    for name in sorted(free, key=lambda name: name not in named):
        column = table.frame[name]
        if (numbers and not _is_id(name)) or not (column.dtype == pl.String or column.dtype.is_integer()):
            continue
        held = column.cast(pl.String).str.strip_chars()
        if wanted.is_in(held.implode()).sum() > MOST * len(wanted) and held.n_unique() == len(held):
            return name
    return None


def series(names: Sequence[str]) -> list[str]:
    """Columns that are numbered one after the other and make up most of a file, as those of a matrix do."""
    groups: dict[str, list[str]] = {}
    for name in names:
        match = NUMBERED.fullmatch(name)
        if match:
            groups.setdefault(match[1], []).append(name)
    for prefix, group in groups.items():
        numbers = {int(name.removeprefix(prefix)) for name in group}
        # Bare numbers may be the items' own ids, with gaps between them.
        unbroken = max(numbers) - min(numbers) + 1 == len(group) or not prefix
        if len(group) >= LEAST_SERIES and unbroken and 2 * len(group) >= len(names):
            return group
    return []


def melting(table: Table, columns: Sequence[str], user: str | None) -> str:
    """A command that makes a row for each user and item of a matrix with a column for each item.

    Args:
        table: the matrix.
        columns: those of the items.
        user: the column of the users; None where each row is one.
    """
    name = table.file.lower()
    if name.endswith(".parquet"):
        read = f"pl.read_parquet({table.file!r})"
    elif table.separator is None and name.endswith(".json"):
        # One list, or lines.
        read = f"(pl.read_json if open({table.file!r}).read(1) == '[' else pl.read_ndjson)({table.file!r})"
    elif table.separator is None:
        read = f"pl.read_ndjson({table.file!r})"
    elif table.separator == UNIT:
        data = f"open({table.file!r}, 'rb').read().replace(b'::', b',')"
        read = f"pl.read_csv({data}, infer_schema_length=None)"
    else:
        read = f"pl.read_csv({table.file!r}, separator={table.separator!r}, infer_schema_length=None)"
    prefix = NUMBERED.fullmatch(columns[0])
    pattern = f"^{re.escape(prefix[1] if prefix else '')}[0-9]+$"
    numbered = "" if user else ".with_row_index('user_id')"
    program = (
        f"import polars as pl; {read}{numbered}"
        f".unpivot(pl.selectors.matches({pattern!r}), index={user or 'user_id'!r}, "
        "variable_name='item_id', value_name='rating').drop_nulls().write_csv('long.csv')"
    )
    return python(program)


def _is_id(name: str) -> bool:
    return plain(name).endswith("id")
