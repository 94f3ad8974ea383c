"""One condition on items: as a person writes it, and which items satisfy it by a column of what is known of them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palate.core.errors import ConfigError, DataError, nearest
from palate.encode.categories import SEVERAL, labels_of
from palate.graph.rows import IntArray
from palate.recommend.moments import Moments, dated
from palate.recommend.quantities import Quantities, read_number

BoolArray = NDArray[np.bool_]
Sign = Literal["=", "!=", ">=", "<=", ">", "<"]

BETWEEN = "|"
# Columns that call an item something, whatever their cells look like; and all whose cells are one text each.
NAMES = ("item_id", "title")
SINGLE = (*NAMES, "description", "image", "audio")
# What says yes or no, in small letters.
TRUTHS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
# Characters of a value that a message shows.
SHOWN = 60
# Values among which a near one is looked for.
GUESSED_AMONG = 10_000
_CONDITION = re.compile(r"\s*(?P<column>[^=<>!]+?)\s*(?P<sign>>=|<=|!=|=|>|<)\s*(?P<values>.*?)\s*", re.DOTALL)
# A bar between values; after a backslash it belongs to one.
_BAR = re.compile(r"(?<!\\)\|")
_ORDERED: dict[Sign, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Condition:
    """What an item must be like.

    Attributes:
        column: of the item table.
        sign: = (one of the item's values is one of these), != (none is), or a comparison with one number, or with one
            day or time (see `moments`). An item that lacks the column satisfies != alone.
        values: at least one; texts, or numbers, days and times as texts.
    """

    column: str
    sign: Sign
    values: tuple[str, ...]

    def __str__(self) -> str:
        written = (value.replace(BETWEEN, f"\\{BETWEEN}") for value in self.values)
        return f"{self.column}{self.sign}{BETWEEN.join(written)}"

    @classmethod
    def parse(cls, text: str) -> Condition:
        r"""Read `genre=Comedy`, `genre=Comedy|Drama` (either), `genre!=Horror`, `year>=1990` or `added<2024-06-01`.

        A bar that belongs to a value is written `\|`.

        Raises:
            ConfigError: when it is none of these.
        """
        found = _CONDITION.fullmatch(text)
        parts = _BAR.split(found["values"]) if found else []
        values = tuple(value for part in parts if (value := part.strip().replace(f"\\{BETWEEN}", BETWEEN)))
        if found is None or not values:
            raise ConfigError(
                f"'{text}' is no condition on items",
                do="write COLUMN=VALUE, COLUMN=VALUE|VALUE, COLUMN!=VALUE, or COLUMN>=NUMBER-OR-DATE (also <=, >, <)",
            )
        return cls(found["column"], cast("Sign", found["sign"]), values)


class Column:
    """A column, ready for conditions: the items of each of its values, and its values as numbers."""

    def __init__(self, column: pl.Series) -> None:
        # Texts that are stored by number are texts.
        self.column = column.cast(pl.String) if column.dtype.base_type() in (pl.Categorical, pl.Enum) else column

    def satisfying(self, condition: Condition) -> BoolArray:
        """Which items satisfy a condition on this column."""
        if condition.sign in _ORDERED:
            if len(condition.values) != 1:
                raise ConfigError(
                    f"'{condition}' compares with several values", do="compare with one number or one date"
                )
            compare = _ORDERED[condition.sign]
            if self.moments is not None:
                return self.moments.satisfying(compare, condition.values[0], str(condition))
            if not self.quantities.present.any():
                text = self.column.dtype == pl.String
                what = "is text, and holds no numbers and not dates alone" if text else "holds no numbers or dates"
                raise DataError(f"the item column '{self.column.name}' {what}", do=self._instead())
            return self.quantities.satisfying(compare, condition.values[0], str(condition))
        mask = np.zeros(len(self.column), dtype=np.bool_)
        for value in condition.values:
            mask[self._having(value)] = True
        return ~mask if condition.sign == "!=" else mask

    def _having(self, value: str) -> IntArray:
        """The items that have this value.

        Raises:
            DataError: when none has.
        """
        where = f"{self.column.name}={value}"
        if self.moments is not None and self.column.name not in NAMES:
            rows = np.flatnonzero(self.moments.satisfying(operator.eq, value, where))
        elif self.column.dtype.is_numeric():
            rows = np.flatnonzero(self.quantities.satisfying(operator.eq, value, where))
        else:
            labels, pointer, rows = self.values
            place = int(labels.search_sorted(value)) if len(labels) else 0
            held = place < len(labels) and labels[place] == value
            rows = rows[pointer[place] : pointer[place + 1]] if held else self._otherwise(value, where)
        if not len(rows):
            raise DataError(f"no item has the {self.column.name} '{value}'", do=self._advice(value))
        return rows

    def _otherwise(self, value: str, where: str) -> IntArray:
        """The items that have this value though none is written so."""
        rows = np.zeros(0, dtype=np.int64)
        if self.column.dtype == pl.String:
            # Where cells are taken apart, one can still be asked for as it stands.
            rows = (self.column == value).fill_null(False).arg_true().to_numpy().astype(np.int64)
        if len(rows) or self.column.name in SINGLE:
            return rows
        truth = TRUTHS.get(value.strip().lower())
        if truth is not None and self._truths is not None:
            return np.flatnonzero(self._truths == truth)
        # What asks in JSON, or once wrote the table, may have made 2003.0 of 2003.
        if read_number(value) is not None and not self.quantities.codes:
            return np.flatnonzero(self.quantities.satisfying(operator.eq, value, where))
        return rows

    def _advice(self, value: str) -> str:
        if self.column.dtype.is_numeric() or (self.moments is not None and self.column.name not in NAMES):
            return "compare with >= and <= instead"
        labels = self.values[0]
        guess = nearest(value, labels.head(GUESSED_AMONG))
        some = ", ".join(map(shortened, labels.head(8))) + (", …" if len(labels) > 8 else "")
        return (f"did you mean '{shortened(guess)}'? " if guess else "") + f"its {len(labels):,} values are {some}"

    def _instead(self) -> str:
        """What else can be asked of a column that has no order."""
        said = "compare it with = or != and a value"
        if self.column.dtype != pl.String:
            return said
        others = self.column.filter(~dated(self.column) & (self.column.str.strip_chars() != ""))
        return f"{said}, such as '{shortened(others[0])}'" if len(others) else said

    @cached_property
    def moments(self) -> Moments | None:
        """The column as dates or times; None where it holds none."""
        return Moments.of(self.column)

    @cached_property
    def quantities(self) -> Quantities:
        """The column as numbers."""
        return Quantities(self.column)

    @cached_property
    def _truths(self) -> NDArray[np.object_] | None:
        """The column as True, False and None where it holds nothing else; None for any other."""
        if not (self.column.dtype == pl.Boolean or self.column.dtype == pl.String):
            return None
        cells = self.column.cast(pl.String).str.to_lowercase()
        if not cells.drop_nulls().is_in(["true", "false", ""]).all():
            return None
        return np.array([TRUTHS.get(cell) for cell in cells], dtype=object)

    @cached_property
    def values(self) -> tuple[pl.Series, IntArray, IntArray]:
        """The values in order, where the items of each begin, and these items.

        Lists hold several values, and so do texts with `|` between them, which is how import stores lists, or whatever
        a column of categories uses. Names and descriptions are never taken apart.
        """
        apart = self.column.dtype == pl.String and self.column.name not in (*SINGLE, *SEVERAL)
        pairs = labels_of(self.column, BETWEEN if apart else None).unique().sort("label", "row")
        counts = pairs.group_by("label", maintain_order=True).len()
        pointer = np.concatenate([[0], np.cumsum(counts["len"].to_numpy())]).astype(np.int64)
        return counts["label"], pointer, pairs["row"].to_numpy()


def shortened(text: str) -> str:
    """A value as a message shows it."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
