"""Categories to rows: one column of 0 and 1 for each category that occurs often enough (genres, brand, tags).

Takes the labels of each item (`item_categories` makes them from an item table). The vocabulary is learnt from all
items first, and is part of the encoder's identity.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from palate.core.config import Config
from palate.core.errors import ConfigError, DataError, unknown_name
from palate.encode.base import ENCODERS, EncoderEntry

# Columns whose cells hold several categories, and columns whose cells are one.
SEVERAL = ("genres", "genre", "categories", "category", "tags", "keywords")
ONE = ("brand", "manufacturer", "publisher", "studio", "language", "artist")
SEPARATORS = ("|", ";", ",")
# Blanks separate when taking cells apart at them leaves at most this share of the different values.
SHARED_WORDS = 0.34

Labels = tuple[tuple[str, str], ...]
"""An item's categories, each as (column, category)."""


class CategoriesConfig(Config):
    """Settings of the multi-hot encoder."""

    min_count: int = Field(default=2, ge=1)
    """Items that a category must have; one that a single item has makes it like no other."""
    max_columns: int = Field(default=256, ge=1)
    """Categories kept at most, the most frequent."""
    separator: str | None = None
    """What separates the categories of a cell ("|", ",", " "); None: found for each column by itself, and the cell
    of a column such as brand is one category."""


class CategoriesEncoder:
    """An `Encoder` of labels, once `fit` has given it a vocabulary.

    Args:
        config: the settings.
        vocabulary: the categories in the order of the columns; None before `fit`.
    """

    modality = "categories"
    batch_size = 1024

    def __init__(self, config: CategoriesConfig, vocabulary: Labels | None = None) -> None:
        self.config = config
        self._vocabulary = vocabulary
        self._column = {label: column for column, label in enumerate(vocabulary or ())}

    def fit(self, inputs: Sequence[Labels | None]) -> CategoriesEncoder:
        """The encoder whose columns are the most frequent categories of these items.

        Raises:
            DataError: when no category is frequent enough.
        """
        count = Counter(label for labels in inputs for label in set(labels or ()))
        kept = [label for label, times in count.items() if times >= self.config.min_count]
        # Ties go by name: the order of the items must not decide.
        kept.sort(key=lambda label: (-count[label], label))
        if not kept:
            raise DataError(
                f"none of the {len(count):,} categories belongs to {self.config.min_count} or more items",
                do="set min_count=1, or name other columns",
            )
        return CategoriesEncoder(self.config, tuple(kept[: self.config.max_columns]))

    @property
    def vocabulary(self) -> Labels:
        """The categories, column by column.

        Raises:
            ConfigError: before `fit`.
        """
        if self._vocabulary is None:
            raise ConfigError("this encoder has no vocabulary yet", do="fit it to the items first")
        return self._vocabulary

    @property
    def identity(self) -> str:
        """The vocabulary, as a hash."""
        digest = hashlib.sha256(json.dumps(self.vocabulary).encode()).hexdigest()
        return f"categories 1 multihot columns={self.width} vocabulary={digest[:16]}"

    @property
    def columns(self) -> tuple[str, ...]:
        """A digest of each category. Names themselves would outlive the last item that has them."""
        return tuple(hashlib.sha256(json.dumps(label).encode()).hexdigest()[:16] for label in self.vocabulary)

    @property
    def width(self) -> int:
        """Categories of the vocabulary."""
        return len(self.vocabulary)

    def content(self, value: Labels) -> bytes:
        """The labels that the vocabulary has; an item with none of them has no row."""
        return (
            json.dumps(sorted({self._column[label] for label in value if label in self._column})).encode().strip(b"[]")
        )

    def size(self, value: Labels) -> int:
        """All rows cost the same."""
        return 1

    def encode_batch(self, values: Sequence[Labels]) -> NDArray[np.float32]:
        """Rows of 0 and 1, float32, items × width."""
        rows = np.zeros((len(values), self.width), dtype=np.float32)
        for row, labels in zip(rows, values, strict=True):
            row[[self._column[label] for label in labels if label in self._column]] = 1.0
        return rows


def category_columns(items: pl.DataFrame) -> list[str]:
    """The item columns that hold categories by their usual names, and have any."""
    return [name for name in (*SEVERAL, *ONE) if name in items.columns and items[name].null_count() < items.height]


def item_categories(
    items: pl.DataFrame, columns: Sequence[str] | None = None, separator: str | None = None
) -> list[Labels | None]:
    """The categories of each item, None where it has none.

    Args:
        items: the catalogue's item table.
        columns: the columns to read; None for those of `SEVERAL` and `ONE` that the table has.
        separator: see `CategoriesConfig.separator`.

    Raises:
        DataError: for a column that the table lacks, or a table without any such column.
    """
    chosen = list(columns) if columns is not None else category_columns(items)
    if not chosen:
        raise DataError(
            f"the items have no column of categories; looked for {', '.join((*SEVERAL, *ONE))}",
            where=f"columns: {', '.join(items.columns)}",
            do="name the columns that hold categories",
        )
    found: list[list[tuple[str, str]]] = [[] for _ in range(items.height)]
    for name in chosen:
        if name not in items.columns:
            raise DataError(unknown_name("item column", name, items.columns), do=f"columns: {', '.join(items.columns)}")
        labels = labels_of(items[name], separator)
        # Items share their labels: a hundred thousand hold as many references, not as many texts.
        pairs: dict[str, tuple[str, str]] = {}
        for row, label in labels.iter_rows():
            found[row].append(pairs.setdefault(label, (name, label)))
    return [tuple(labels) if labels else None for labels in found]


def labels_of(column: pl.Series, separator: str | None = None) -> pl.DataFrame:
    """The categories in a column's cells: `row` (Int64) and `label`, in order of rows, blank ones left out.

    Args:
        column: texts, or lists of them.
        separator: see `CategoriesConfig.separator`.
    """
    return (
        pl.DataFrame({"row": pl.int_range(len(column), eager=True), "label": _cells(column, separator)})
        .explode("label")
        .with_columns(pl.col("label").str.strip_chars())
        .filter(pl.col("label").is_not_null() & (pl.col("label") != ""))
    )


def _cells(column: pl.Series, separator: str | None) -> pl.Series:
    """Lists of texts, one list a row."""
    dtype = column.dtype
    if isinstance(dtype, pl.List):
        while isinstance(dtype.inner, pl.List):
            column = column.list.eval(pl.element().explode())
            dtype = column.dtype
            assert isinstance(dtype, pl.List)
        return column.cast(pl.List(pl.String))
    texts = column.cast(pl.String)
    between = separator if separator is not None else _separator(texts)
    return texts.str.split(between) if between else texts.to_frame().select(pl.concat_list(column.name)).to_series()


def _separator(texts: pl.Series) -> str | None:
    if texts.name not in SEVERAL:
        return None
    for separator in SEPARATORS:
        if texts.str.contains(separator, literal=True).any():
            return separator
    values = texts.drop_nulls().unique()
    words = values.str.split(" ").explode().n_unique()
    return " " if len(values) and words <= SHARED_WORDS * len(values) else None


ENCODERS.register("multihot")(
    EncoderEntry(
        modality="categories",
        summary="one column of 0 and 1 for each frequent category: genres, brand, tags (at most 256 numbers)",
        config=CategoriesConfig,
        build=CategoriesEncoder,
        cached=False,
    )
)
