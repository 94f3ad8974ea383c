"""JSON lines: one object on each line of a text, as columns of strings.

Takes the text; gives the columns, the line of each row, and what could not be a row or a column. Numbers keep the
characters of the file, so that a cell here is what it would be in a csv file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

Cell = str | None

JOINT = "|"
# Half of a pair that makes one character: valid in JSON, no text anywhere else.
LONE = re.compile(r"[\ud800-\udfff]")


class _TwiceNamed(ValueError):
    """An object that gives two values to one name."""


@dataclass
class Objects:
    """What was read.

    Attributes:
        columns: cells by name, names stripped and in order of appearance; None where an object lacks the name, or has
            null or an empty list.
        lines: the line of each row, counted from 1.
        broken: lines that hold no row: number, what is wrong, and the text.
        nested: names with a value that is no plain value and no list of plain ones, with the lines and the values;
            they are not in `columns`.
        lists: names with a list among their values.
    """

    columns: dict[str, list[Cell]] = field(default_factory=dict[str, list[Cell]])
    lines: list[int] = field(default_factory=list[int])
    broken: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])
    nested: dict[str, list[tuple[int, str]]] = field(default_factory=dict[str, list[tuple[int, str]]])
    lists: set[str] = field(default_factory=set[str])


def read_objects(text: str) -> Objects:
    """Read JSON lines; blank lines are passed over.

    Lists of plain values become one cell, joined by "|".
    """
    found = Objects()
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = _row(line)
        except _TwiceNamed as error:
            found.broken.append((number, "a name occurs twice in the object", str(error)))
        except RecursionError:
            found.broken.append((number, "not readable JSON: nested too deeply", line))
        except ValueError as error:
            found.broken.append((number, "not readable JSON", str(error)))
        else:
            if row is None:
                found.broken.append((number, "the line is no JSON object", line))
            elif any(LONE.search(part) for part in _texts(row)):
                found.broken.append((number, "the text holds half a character (a lone surrogate)", line))
            else:
                _take(found, number, row)
    for name in found.nested:
        found.columns.pop(name, None)
    for column in found.columns.values():
        column.extend([None] * (len(found.lines) - len(column)))
    return found


def _row(line: str) -> dict[str, object] | None:
    value: object = json.loads(line, object_pairs_hook=_pairs, parse_int=str, parse_float=str, parse_constant=str)
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def _pairs(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    made = {name.strip(): value for name, value in pairs}
    if len(made) < len(pairs):
        names = [name.strip() for name, _ in pairs]
        raise _TwiceNamed(next(name for name in names if names.count(name) > 1))
    return made


def _take(found: Objects, number: int, row: dict[str, object]) -> None:
    place = len(found.lines)
    found.lines.append(number)
    for name, value in row.items():
        plain, cell = _cell(value)
        if isinstance(value, list):
            found.lists.add(name)
        if not plain:
            found.nested.setdefault(name, []).append((number, json.dumps(value, ensure_ascii=False)))
            continue
        column = found.columns.setdefault(name, [])
        column.extend([None] * (place - len(column)))
        column.append(cell)


def _cell(value: object) -> tuple[bool, Cell]:
    """Whether a value can be one cell, and the cell."""
    if value is None or isinstance(value, str):
        return True, value or None
    if isinstance(value, bool):
        return True, "true" if value else "false"
    if isinstance(value, list):
        parts = [_cell(part) for part in cast("list[object]", value) if not isinstance(part, list)]
        if len(parts) == len(cast("list[object]", value)) and all(plain for plain, _ in parts):
            return True, JOINT.join(cell for _, cell in parts if cell is not None) or None
    return False, None


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        inner = cast("dict[str, object]", value)
        return [*inner, *(text for part in inner.values() for text in _texts(part))]
    return [text for part in cast("list[object]", value) for text in _texts(part)] if isinstance(value, list) else []
