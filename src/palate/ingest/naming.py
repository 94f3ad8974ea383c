"""The user's names of the columns: for all files or for one of them, read from words and written as advice."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ConfigDict

from palate.core.config import Config, read_assignments
from palate.core.errors import ConfigError, unknown_name

OPTION = "--columns"


class _Names(Config):
    # A column whose name is a number reaches us as that number.
    model_config = ConfigDict(coerce_numbers_to_str=True)


class InteractionNames(_Names):
    """Names of the columns in the files of interactions."""

    user_id: str | None = None
    """Interactions: who."""
    item_id: str | None = None
    """Interactions and items: which item. May be the name in either file, or in both."""
    rating: str | None = None
    """Interactions: how much it was liked; a plain number."""
    timestamp: str | None = None
    """Interactions: when; numbers, as seconds since 1970 or finer, or dates."""
    event: str | None = None
    """Interactions: what was done, such as view or buy."""
    split: str | None = None
    """Interactions: train, valid or test."""


class ItemNames(_Names):
    """Names of the columns in the items file."""

    item_id: str | None = None
    """Interactions and items: which item. May be the name in either file, or in both."""
    title: str | None = None
    """Items: a short name."""
    description: str | None = None
    """Items: a text."""
    image: str | None = None
    """Items: a path, relative to the items file."""
    audio: str | None = None
    """Items: a path, relative to the items file."""
    entity: str | None = None
    """Items: the item's node in the knowledge."""


class KnowledgeNames(_Names):
    """Names of the columns in the knowledge file."""

    head: str | None = None
    """Knowledge: what a triple is about."""
    relation: str | None = None
    """Knowledge: how head and tail are related."""
    tail: str | None = None
    """Knowledge: what the head is related to."""


class ColumnNames(KnowledgeNames, ItemNames, InteractionNames):
    """Names of the columns in the user's files, by their names in the catalogue.

    None: look for the same name, then for the usual other ones. An empty string: leave that column out.
    """

    interactions: InteractionNames = InteractionNames()
    """Names that hold for the files of interactions alone."""
    items: ItemNames = ItemNames()
    """Names that hold for the items file alone."""
    knowledge: KnowledgeNames = KnowledgeNames()
    """Names that hold for the knowledge file alone."""

    def own(self, table: str) -> dict[str, str]:
        """The names that are given for one table alone, by their names in the catalogue."""
        given: object = getattr(self, table, None)
        return _given(given) if isinstance(given, _Names) else {}

    def of(self, table: str) -> dict[str, str]:
        """The names that are given for a table, its own before those for all files."""
        return {**_given(self), **self.own(table)}


TABLES: dict[str, type[_Names]] = {"interactions": InteractionNames, "items": ItemNames, "knowledge": KnowledgeNames}


def _given(names: _Names) -> dict[str, str]:
    return {key: value for key, value in names.model_dump().items() if isinstance(value, str)}


def read_columns(given: Sequence[str]) -> ColumnNames:
    r"""What `--columns` says, given once or several times.

    Args:
        given: such as `user_id=uid,items.item_id=id`. A comma within a name is written `\,`, or the name in quotes;
            an empty name leaves the column out.

    Raises:
        ConfigError: for a word that names no column.
    """
    words = [word for each in given for word in _words(each)]
    values: dict[str, Any] = {}
    for key, name in read_assignments(words, OPTION, "user_id=uid", read=_name).items():
        table, dot, column = key.partition(".")
        if dot or table in TABLES:
            _check_own(table, column, name)
            values.setdefault(table, {})[column] = name
        else:
            values[key] = name
    return ColumnNames.parse(values, where=OPTION)


def _check_own(table: str, column: str, name: str) -> None:
    """Refuse a name for one file alone where there is no such file, or it has no such column."""
    if table not in TABLES:
        do = f"say {', '.join(f'{each}.' for each in TABLES)} or no file, for all"
        raise ConfigError(unknown_name("file", table, TABLES), where=OPTION, do=do)
    columns = TABLES[table].model_fields
    if column not in columns:
        what = unknown_name("column", column, columns) if column else f"'{table}' is a file, not a column"
        do = f"write {table}.COLUMN={name or 'NAME'}, with one of {', '.join(columns)}"
        raise ConfigError(what, where=OPTION, do=do)


def option(names: Mapping[str, str]) -> str:
    """The words of a command line that name columns, ready for a shell.

    Args:
        names: the file's columns by those of the catalogue; `items.item_id` for one file alone.
    """
    return f"{OPTION} {shlex.quote(','.join(f'{key}={_written(name)}' for key, name in names.items()))}"


def _written(name: str) -> str:
    escaped = re.sub(r"([\\,])", r"\\\1", name)
    return f'"{escaped}"' if name != name.strip() else escaped if name[:1] not in ('"', "'") else f"\\{escaped}"


def _words(text: str) -> list[str]:
    """The words between the commas that are neither escaped nor in quotes."""
    words, quote, place = [""], "", 0
    while place < len(text):
        letter = text[place]
        if letter == "\\":
            words[-1] += text[place : place + 2]
            place += 2
            continue
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'" and words[-1].rstrip().endswith("=") and letter in text[place + 1 :]:
            quote = letter
        if letter == "," and not quote:
            words.append("")
        else:
            words[-1] += letter
        place += 1
    return words


def _name(text: str, *, where: str) -> str:
    # A name is no YAML: No, null and 2009-05-04 are names of columns.
    del where
    bare = text.strip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'":
        bare = bare[1:-1]
    return re.sub(r"\\([\\,\"'])", r"\1", bare)
