"""Which items may be in a list, decided before it is cut: lists of ids, and conditions on what is known of the items.

Takes the item table and the vocabulary in the same order; gives a mask of the items, which every way of searching
accepts: an index as `allowed`, any other scorer by `Restricted`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from palate.core.errors import ConfigError, DataError, nearest, unknown_name
from palate.dataset.dataset import Dataset
from palate.dataset.vocabulary import Vocabulary
from palate.encode.categories import SEVERAL, labels_of
from palate.graph.rows import IntArray
from palate.ingest.decimals import decimal_commas, points
from palate.models.base import Scorer
from palate.recommend.bundling import item_table
from palate.recommend.moments import Moments

BoolArray = NDArray[np.bool_]
Sign = Literal["=", "!=", ">=", "<=", ">", "<"]

BETWEEN = "|"
# Values among which a near one is looked for.
GUESSED_AMONG = 10_000
# Unknown ids that a note names.
NAMED = 5
_CONDITION = re.compile(r"\s*(?P<column>[^=<>!]+?)\s*(?P<sign>>=|<=|!=|=|>|<)\s*(?P<values>.*?)\s*", re.DOTALL)
_ORDERED: dict[Sign, Callable[[NDArray[np.float64], float], BoolArray]] = {
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
        return f"{self.column}{self.sign}{BETWEEN.join(self.values)}"

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read `genre=Comedy`, `genre=Comedy|Drama` (either), `genre!=Horror`, `year>=1990` or `added<2024-06-01`.

        Raises:
            ConfigError: when it is none of these.
        """
        found = _CONDITION.fullmatch(text)
        values = tuple(filter(None, (value.strip() for value in found["values"].split(BETWEEN)))) if found else ()
        if found is None or not values:
            raise ConfigError(
                f"'{text}' is no condition on items",
                do="write COLUMN=VALUE, COLUMN=VALUE|VALUE, COLUMN!=VALUE, or COLUMN>=NUMBER-OR-DATE (also <=, >, <)",
            )
        return cls(found["column"], cast("Sign", found["sign"]), values)


class ItemFilters:
    """Masks of items. Columns are read once, when a condition first names them.

    Args:
        table: one row for each item in the order of their row numbers, with whatever columns there are.
        items: their ids.
    """

    def __init__(self, table: pl.DataFrame, items: Vocabulary) -> None:
        assert table.height == len(items)
        self.table = table
        self.items = items
        self._columns: dict[str, _Column] = {}

    @classmethod
    def of(cls, dataset: Dataset) -> ItemFilters:
        """Filters over the items of a data set."""
        return cls(item_table(dataset), dataset.items)

    @property
    def columns(self) -> list[str]:
        """The columns that a condition may name."""
        return [name for name in self.table.columns if self.table[name].null_count() < self.table.height]

    def mask(
        self, where: Iterable[Condition | str] = (), *, allow: Iterable[str] | None = None, deny: Iterable[str] = ()
    ) -> BoolArray | None:
        """Which items satisfy all conditions, are among `allow` and are not among `deny`: bool, I.

        Args:
            where: conditions, or their texts (see `Condition.parse`).
            allow: ids; None: all items.
            deny: ids.

        Returns:
            None when nothing was asked for, so that all items are allowed.

        Raises:
            ConfigError: for a text that is no condition.
            DataError: for an unknown id, column or value, and for a comparison with what is no number or date.
        """
        conditions = [Condition.parse(each) if isinstance(each, str) else each for each in where]
        denied = self.items.rows(deny)
        if allow is None and not conditions and not len(denied):
            return None
        mask = np.full(len(self.items), allow is None)
        if allow is not None:
            mask[self.items.rows(allow)] = True
        mask[denied] = False
        for condition in conditions:
            mask &= self._column(condition.column).satisfying(condition)
        return mask

    def _column(self, name: str) -> _Column:
        if name not in self._columns:
            if name not in self.columns:
                raise DataError(unknown_name("item column", name, self.columns), do=f"there are: {self._names()}")
            self._columns[name] = _Column(self.table[name])
        return self._columns[name]

    def _names(self) -> str:
        return ", ".join(self.columns)


class Restricted:
    """A Scorer whose lists hold allowed items alone, for scorers that are no index.

    Args:
        scorer: any.
        allowed: bool, I.
    """

    def __init__(self, scorer: Scorer, allowed: BoolArray) -> None:
        self.scorer = scorer
        self.barred = torch.from_numpy(~allowed)

    @property
    def items(self) -> int:
        """Number of items."""
        return self.scorer.items

    def score_block(self, users: Tensor) -> Tensor:
        """The scores, -inf where an item is not allowed."""
        scores = self.scorer.score_block(users)
        return scores.masked_fill(self.barred.to(scores.device), -torch.inf)


def read_ids(path: Path) -> list[str]:
    """The item ids in a text file, one a line; blank lines are skipped.

    Raises:
        DataError: for no id at all, or what is no UTF-8 text file.
    """
    do = "give a text file with one id a line"
    try:
        # Some editors begin a file with a byte order mark, which is no part of the first id; and ids may hold what
        # `splitlines` takes for the end of a line.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise DataError("there is no such file", where=str(path), do=f"check the path; {do}") from None
    except IsADirectoryError:
        raise DataError("this is a folder, not a file", where=str(path), do=do) from None
    except UnicodeDecodeError:
        raise DataError("this is no UTF-8 text", where=str(path), do=do) from None
    names = [name for line in lines if (name := line.strip())]
    if not names:
        raise DataError("there is no id in this file", where=str(path), do="write one item id a line")
    return names


def known_ids(names: Sequence[str], items: Vocabulary, where: str) -> tuple[list[str], list[str]]:
    """Those of some ids that are items, and a note on the others, where there are any.

    An item that is not there can be in no list, so that nothing is lost when its id is left out.

    Args:
        where: where the ids come from, for the note.
    """
    unknown = dict.fromkeys(name for name in names if items.find(name) is None)
    if not unknown:
        return list(names), []
    some = ", ".join(list(unknown)[:NAMED]) + (f" and {len(unknown) - NAMED:,} more" if len(unknown) > NAMED else "")
    one = len(unknown) == 1
    note = (
        f"{where}: {len(unknown):,} {'id that is' if one else 'ids that are'} no item {'is' if one else 'are'} left out"
    )
    return [name for name in names if name not in unknown], [f"{note}: {some}"]


class _Column:
    """A column, ready for conditions: the items of each of its values, and its values as numbers."""

    def __init__(self, column: pl.Series) -> None:
        self.column = column

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
            with np.errstate(invalid="ignore"):
                return compare(self.numbers, self._number(condition))
        mask = np.zeros(len(self.column), dtype=np.bool_)
        for value in condition.values:
            mask[self._having(value)] = True
        return ~mask if condition.sign == "!=" else mask

    def _having(self, value: str) -> IntArray:
        """The items that have this value.

        Raises:
            DataError: when none has.
        """
        if self.moments is not None:
            rows = np.flatnonzero(self.moments.satisfying(operator.eq, value, f"{self.column.name}={value}"))
        elif self.column.dtype.is_numeric():
            rows = np.flatnonzero(self.numbers == self._number(Condition(self.column.name, "=", (value,))))
        else:
            labels, pointer, rows = self.values
            place = int(labels.search_sorted(value)) if len(labels) else 0
            held = place < len(labels) and labels[place] == value
            rows = rows[pointer[place] : pointer[place + 1]] if held else rows[:0]
        if not len(rows):
            raise DataError(f"no item has the {self.column.name} '{value}'", do=self._advice(value))
        return rows

    def _advice(self, value: str) -> str:
        if self.column.dtype.is_numeric() or self.moments is not None:
            return "compare with >= and <= instead"
        labels = self.values[0]
        guess = nearest(value, labels.head(GUESSED_AMONG))
        some = ", ".join(labels.head(8)) + (", …" if len(labels) > 8 else "")
        return (f"did you mean '{guess}'? " if guess else "") + f"its {len(labels):,} values are {some}"

    def _number(self, condition: Condition) -> float:
        try:
            number = float(condition.values[0])
        except ValueError:
            number = float("nan")
        if np.isnan(number):
            raise DataError(f"'{condition.values[0]}' is no number", where=str(condition), do="compare with a number")
        return number

    @cached_property
    def moments(self) -> Moments | None:
        """The column as dates or times; None where it holds none."""
        return Moments(self.column) if Moments.among(self.column) else None

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """The column as numbers, NaN where it has none; all texts may have a decimal comma in place of a point.

        Raises:
            DataError: when it has no number at all.
        """
        column = self.column
        if column.dtype == pl.String:
            column = column.str.strip_chars()
            filled = column.drop_nulls()
            column = points(column) if decimal_commas(filled.filter(filled != "")) else column
        numeric = column.dtype.is_numeric() or column.dtype == pl.String
        values = column.cast(pl.Float64, strict=False) if numeric else pl.Series([None], dtype=pl.Float64)
        if values.null_count() == len(values):
            raise DataError(
                f"the item column '{self.column.name}' holds no numbers or dates",
                do="compare it with = or != and a value",
            )
        return values.fill_null(float("nan")).to_numpy()

    @cached_property
    def values(self) -> tuple[pl.Series, IntArray, IntArray]:
        """The values in order, where the items of each begin, and these items.

        Lists hold several values, and so do texts with `|` between them, or whatever a column of categories uses.
        """
        texts = self.column.dtype == pl.String
        apart = texts and self.column.name not in SEVERAL and self.column.str.contains(BETWEEN, literal=True).any()
        pairs = labels_of(self.column, BETWEEN if apart else None).unique().sort("label", "row")
        counts = pairs.group_by("label", maintain_order=True).len()
        pointer = np.concatenate([[0], np.cumsum(counts["len"].to_numpy())]).astype(np.int64)
        return counts["label"], pointer, pairs["row"].to_numpy()


def both(one: BoolArray | None, other: BoolArray | None) -> BoolArray | None:
    """The items that two masks allow; None allows all."""
    if one is None or other is None:
        return one if other is None else other
    return one & other


def require_items(mask: BoolArray | None, where: Sequence[str]) -> None:
    """Refuse a mask that allows nothing.

    Args:
        where: what was asked for, for the message.

    Raises:
        DataError: when no item is left.
    """
    if mask is not None and not mask.any():
        raise DataError("no item satisfies all that was asked for", where=", ".join(where), do="ask for less")
