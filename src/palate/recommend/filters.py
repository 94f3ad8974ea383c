"""Which items may be in a list, decided before it is cut: lists of ids, and conditions on what is known of the items.

Takes the item table and the vocabulary in the same order; gives a mask of the items, which every way of searching
accepts: an index as `allowed`, any other scorer by `Restricted`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from palate.core.errors import DataError, unknown_name
from palate.dataset.dataset import Dataset
from palate.dataset.vocabulary import Vocabulary
from palate.models.base import Scorer
from palate.recommend.bundling import item_table
from palate.recommend.conditions import BoolArray, Column, Condition

# Unknown ids that a note names.
NAMED = 5


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
        self._columns: dict[str, Column] = {}

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

    def _column(self, name: str) -> Column:
        if name not in self._columns:
            if name not in self.columns:
                raise DataError(unknown_name("item column", name, self.columns), do=f"there are: {self._names()}")
            self._columns[name] = Column(self.table[name])
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
