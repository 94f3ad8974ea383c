"""Rows of interactions to leave out: repeated pairs, and users and items with too few interactions (k-core)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palate.core.errors import ConfigError
from palate.ingest.catalogue import Catalogue

PAIR = ("user_id", "item_id")


def repeated_pairs(interactions: pl.DataFrame) -> pl.Series:
    """A mask of the rows to drop so that each (user, item) pair is left once.

    What is kept is the latest row by `timestamp` where there is one, among equal ones the last in the table; a row
    with a timestamp is later than one without.
    """
    # Equal pairs have equal hashes, so only rows whose hash occurs again are looked at more closely.
    hashes = interactions.select(PAIR).hash_rows()
    ordered = np.sort(hashes.to_numpy())
    again = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if len(again) == 0:
        return pl.repeat(False, len(hashes), dtype=pl.Boolean, eager=True).alias("repeated")
    suspects = interactions.with_row_index("row").filter(hashes.is_in(pl.Series(again).implode()))
    suspects = suspects.filter(suspects.select(PAIR).is_duplicated())
    order = ["timestamp", "row"] if "timestamp" in interactions.columns else ["row"]
    latest = suspects.sort(order, nulls_last=False).unique(subset=PAIR, keep="last", maintain_order=True)
    mask = np.zeros(interactions.height, dtype=np.bool_)
    mask[suspects["row"].to_numpy()] = True
    mask[latest["row"].to_numpy()] = False
    return pl.Series("repeated", mask)


def drop_repeated_pairs(interactions: pl.DataFrame) -> pl.DataFrame:
    """The interactions with each (user, item) pair once, as `repeated_pairs` chooses, in their order."""
    return interactions.filter(~repeated_pairs(interactions))


def k_core(interactions: pl.DataFrame, min_user: int, min_item: int) -> pl.DataFrame:
    """The largest part in which each user has at least `min_user` rows and each item at least `min_item`.

    Users and items below are removed again and again until none is left to remove. Rows keep their order, and rows of
    every split count.

    Raises:
        ConfigError: for a negative number.
    """
    if min_user < 0 or min_item < 0:
        raise ConfigError(f"a k-core needs numbers from 0, not {min_user} and {min_item}")
    users, items = _codes(interactions["user_id"]), _codes(interactions["item_id"])
    keep = np.ones(interactions.height, dtype=np.bool_)
    while True:
        user_rows = np.bincount(users[keep], minlength=1)
        item_rows = np.bincount(items[keep], minlength=1)
        short = (user_rows < min_user)[users[keep]] | (item_rows < min_item)[items[keep]]
        if not short.any():
            return interactions.filter(pl.Series(keep))
        keep[np.flatnonzero(keep)[short]] = False


def k_core_of(catalogue: Catalogue, min_user: int, min_item: int) -> Catalogue:
    """The catalogue with its interactions cut to their k-core.

    With `min_item` > 0 the items outside the core leave the items table (and `item_entities`) too, those that nobody
    ever met included; with `min_item` = 0 every item stays, as a cold one if need be. Knowledge stays whole.

    Raises:
        ConfigError: for a negative number.
    """
    interactions = k_core(catalogue.interactions, min_user, min_item)
    if min_item == 0:
        return replace(catalogue, interactions=interactions, folder=None)
    kept = interactions.select("item_id").unique()
    entities = catalogue.item_entities
    return replace(
        catalogue,
        interactions=interactions,
        items=catalogue.items.join(kept, on="item_id", how="semi", maintain_order="left"),
        item_entities=None if entities is None else entities.join(kept, on="item_id", how="semi"),
        folder=None,
    )


def _codes(ids: pl.Series) -> NDArray[np.int64]:
    frame = ids.alias("id").to_frame()
    distinct = frame.unique(maintain_order=True).with_row_index("code")
    codes = frame.join(distinct, on="id", how="left", maintain_order="left")["code"]
    return codes.to_numpy().astype(np.int64)
