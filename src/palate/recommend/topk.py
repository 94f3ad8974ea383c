"""Recommendations of a trained run as a table: the best items that a user does not know yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from palate.core.artefact import atomic_path
from palate.core.errors import ConfigError
from palate.core.lock import changing
from palate.core.progress import progress
from palate.dataset.dataset import Dataset
from palate.graph.rows import IntArray, Rows
from palate.measure.popularity import popularity
from palate.measure.ranking import NOBODY, Masking, top_items
from palate.models.base import Scorer
from palate.recommend.alike import BY_CHANCE, BY_POPULARITY, About, OrPopular, about, alike_rows, notes, tied_rows
from palate.recommend.filters import BoolArray, Restricted
from palate.recommend.forms import ItemScores
from palate.recommend.rerank import Rules, choose, search_scorer


@dataclass(frozen=True, eq=False)
class Lists:
    """Lists of recommendations.

    Attributes:
        table: see `recommend`.
        notes: what should be known about them, in sentences.
    """

    table: pl.DataFrame
    notes: list[str]


def recommend(
    scorer: Scorer,
    dataset: Dataset,
    users: IntArray,
    k: int,
    *,
    seed: int = 0,
    allowed: BoolArray | None = None,
    rules: Rules | None = None,
    title: str = "",
) -> pl.DataFrame:
    """The k best items of each user, best first, without those the user has any interaction with.

    Where all items that may be in a list have one score, the most popular come first.

    Args:
        scorer: scores all items for a block of users.
        users: row numbers.
        k: list length; a user with fewer unknown items gets a shorter list.
        seed: of the tie-breaking.
        allowed: items that may be in a list (see `ItemFilters.mask`); None: all.
        rules: what every list should be like beyond its scores; None: as the scores say.
        title: show progress under this title; empty: show none.

    Returns:
        Columns `user_id`, `rank` (from 1), `item_id`, `title` where the catalogue has titles, `score`.
    """
    return listed(
        scorer,
        dataset.users.ids,
        dataset.catalogue.items,
        dataset.items.ids,
        dataset.known(),
        dataset.positives["train"],
        users,
        k,
        seed=seed,
        allowed=allowed,
        rules=rules,
        title=title,
    ).table


def listed(
    scorer: Scorer,
    user_ids: pl.Series,
    about_items: pl.DataFrame,
    item_ids: pl.Series,
    known: Masking,
    train: Rows,
    users: IntArray,
    k: int,
    *,
    seed: int = 0,
    allowed: BoolArray | None = None,
    rules: Rules | None = None,
    title: str = "",
) -> Lists:
    """As `recommend`, of users and items by their ids.

    Args:
        user_ids, item_ids: in the order of the scorer's rows and columns.
        about_items: `item_id`, and `title` where there are titles.
        known: items that each user is not recommended.
        train: train positives, which tell how popular items are.
    """
    if not isinstance(k, int | np.integer) or k < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"k must be a whole number of at least 1, not {k!r}")
    counts, said = popularity(train), [About()] * len(users)
    if rules is None:
        popular: Scorer = ItemScores(torch.from_numpy(counts).double(), len(user_ids))
        limited, popular = (each if allowed is None else Restricted(each, allowed) for each in (scorer, popular))
        # A single item has no other to be told apart from.
        items, scores = top_items(limited, users, max(k, 2), mask=known, seed=seed, title=title)
        items, scores, tied = items[:, :k], scores[:, :k], tied_rows(items, scores)
        silent = tied[alike_rows(limited, users[tied], known)]
        items[silent], _ = top_items(popular, users[silent], k, mask=known, seed=seed)
        for row, level in zip(silent.tolist(), alike_rows(popular, users[silent], known).tolist(), strict=True):
            said[row] = About(BY_CHANCE if level else BY_POPULARITY)
    else:
        items, scores = np.full((len(users), k), NOBODY), np.full((len(users), k), -np.inf)
        with progress(title, len(users), "users", quiet=not title) as shown:
            for row, user in enumerate(users.tolist()):
                search = OrPopular(search_scorer(scorer, user, allowed=allowed, mask=known, seed=seed), counts)
                chosen = choose(search, k, rules)
                items[row, : len(chosen)], scores[row, : len(chosen)] = chosen.items, chosen.scores
                said[row] = about(search, chosen, rules)
                shown.advance()
    width = items.shape[1]
    flat = items.ravel()
    real = flat != NOBODY
    table = pl.DataFrame(
        {
            "user_id": user_ids.gather(np.repeat(users, width)[real]),
            "rank": np.tile(np.arange(1, width + 1), len(users))[real],
            "item_id": item_ids.gather(flat[real]),
            "score": scores.ravel()[real],
        }
    )
    return Lists(with_titles(table, about_items), notes(said, k, 0 if rules is None else rules.cold))


def history(dataset: Dataset, user: int) -> pl.DataFrame:
    """What one user did, latest first where there are timestamps: `item_id`, `title`, `rating`, `timestamp`."""
    rows = dataset.catalogue.interactions.filter(pl.col("user_id") == dataset.users.ids[user])
    if "timestamp" in rows.columns:
        rows = rows.sort("timestamp", descending=True, maintain_order=True)
    return with_titles(rows.drop("user_id"), dataset.catalogue.items)


def with_titles(table: pl.DataFrame, about: pl.DataFrame) -> pl.DataFrame:
    """`table` with a `title` column after `item_id`, where the items of `about` have titles."""
    if "title" not in about.columns or about["title"].null_count() == len(about):
        return table
    titles = about.select("item_id", "title")
    joined = table.join(titles, on="item_id", how="left", maintain_order="left")
    first = [name for name in ("user_id", "rank", "item_id", "title") if name in joined.columns]
    return joined.select(first + [name for name in joined.columns if name not in first])


def check_table(target: Path) -> None:
    """Refuse a file that no table can be written into, before any work is done for it.

    Raises:
        ConfigError: for a suffix that is neither .parquet nor .csv.
    """
    if target.suffix not in (".parquet", ".csv"):
        raise ConfigError(f"'{target.name}' is neither .parquet nor .csv", do="choose one of these suffixes")


def write_table(table: pl.DataFrame, target: Path) -> None:
    """Write a table as .parquet or .csv, atomically.

    Raises:
        ConfigError: for another suffix.
    """
    check_table(target)
    with changing(target, "writing it"), atomic_path(target) as temporary:
        if target.suffix == ".csv":
            table.write_csv(temporary)
        else:
            table.write_parquet(temporary)
