"""Search by words: items that hold every word of a query in their texts, and users whose id holds it.

Takes the item table and how often each item was taken; gives row numbers, best first. Case and accents do not matter.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palate.encode.categories import category_columns
from palate.graph.rows import IntArray, Rows

MOST_WORDS = 16


class ItemWords:
    """The texts of the items, in order of popularity.

    Args:
        table: the item table in the order of the row numbers.
        taken: how often each item was taken.
    """

    def __init__(self, table: pl.DataFrame, taken: NDArray[np.integer]) -> None:
        self.order = np.argsort(-taken, kind="stable").astype(np.int64)
        names = [name for name in ("description", *category_columns(table)) if name in table.columns]
        title = folded(table["title"]) if "title" in table.columns else pl.Series("title", [""] * table.height)
        rest = pl.concat_str([folded(table[name]) for name in names], separator="\n") if names else pl.lit("")
        self.texts = pl.DataFrame({"title": title}).with_columns(rest=rest)[self.order]

    def find(self, query: str, limit: int) -> IntArray:
        """The items that hold every word, those whose title is the query first, then those whose title begins with it,
        then those with all words in the title; among equals the most popular.

        Args:
            query: words; of more than 16 the first. Without any, the most popular items are found.
            limit: items at most.
        """
        text = folded(pl.Series([query])).item()
        words = text.split()[:MOST_WORDS]
        if not words:
            return self.order[:limit]
        title, rest = pl.col("title"), pl.col("rest")
        within = [title.str.contains(word, literal=True) for word in words]
        held = [here | rest.str.contains(word, literal=True) for here, word in zip(within, words, strict=True)]
        whole = " ".join(words)
        class_of = _first_of(title == whole, title.str.starts_with(whole), pl.all_horizontal(within))
        places = self.texts.with_row_index("place").filter(pl.all_horizontal(held))
        found = places.select("place", class_of=class_of).sort("class_of", "place").head(limit)
        return self.order[found["place"].to_numpy()]


class UserIds:
    """The ids of the users.

    Args:
        ids: in the order of the row numbers.
        met: what each of them met.
    """

    def __init__(self, ids: pl.Series, met: Rows) -> None:
        table = pl.DataFrame({"id": ids, "met": met.lengths}).with_row_index("row")
        # Short ids first: numbers come in their order.
        self.table = table.sort(pl.col("id").str.len_chars(), "id")

    def find(self, query: str, limit: int) -> list[tuple[str, int]]:
        """Ids that hold the query, and how many items each user met: the id itself first, then those that begin so."""
        name = pl.col("id")
        found = self.table
        if query:
            found = found.filter(name.str.contains(query, literal=True))
            class_of = _first_of(name == query, name.str.starts_with(query))
            found = found.with_columns(class_of=class_of).sort("class_of", maintain_order=True)
        return found.head(limit).select("id", "met").rows()


def _first_of(*conditions: pl.Expr) -> pl.Expr:
    """The number of the first condition that holds; their count where none does."""
    number = pl.lit(len(conditions), pl.Int8)
    for place in reversed(range(len(conditions))):
        number = pl.when(conditions[place]).then(pl.lit(place, pl.Int8)).otherwise(number)
    return number


def folded(column: pl.Series) -> pl.Series:
    """A column as texts in lower case, without accents, nothing missing."""
    if isinstance(column.dtype, pl.List):
        column = column.cast(pl.List(pl.String)).list.join(" ", ignore_nulls=True)
    plain = column.cast(pl.String).fill_null("").str.normalize("NFKD").str.replace_all(r"\p{M}", "")
    return plain.str.to_lowercase()
