"""k-core and repeated pairs against plain definitions."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.core.errors import ConfigError
from palate.ingest.catalogue import Catalogue
from palate.ingest.filters import drop_repeated_pairs, k_core, k_core_of

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=40)


def frame_of(pairs: list[tuple[int, int]]) -> pl.DataFrame:
    users, items = [f"u{user}" for user, _ in pairs], [f"i{item}" for _, item in pairs]
    return pl.DataFrame({"user_id": users, "item_id": items}, schema={"user_id": pl.String, "item_id": pl.String})


@given(PAIRS, st.integers(0, 4), st.integers(0, 4))
def test_k_core_is_what_is_left_after_removing_one_row_at_a_time(
    pairs: list[tuple[int, int]], min_user: int, min_item: int
) -> None:
    left = list(pairs)
    while True:
        short = [
            (user, item)
            for user, item in left
            if sum(u == user for u, _ in left) < min_user or sum(i == item for _, i in left) < min_item
        ]
        if not short:
            break
        left.remove(short[0])
    # One by one or all at once, the order of removal cannot change which rows are left.
    assert k_core(frame_of(pairs), min_user, min_item).rows() == frame_of(left).rows()


def test_a_chain_falls_apart_to_its_end() -> None:
    chain = [(index, index + step) for index in range(50) for step in (0, 1)]
    assert k_core(frame_of(chain), 2, 2).height == 0
    closed = [*chain, (49, 0), (50, 50), (50, 0)]
    assert k_core(frame_of(closed), 2, 2).height == len(closed)


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ConfigError):
        k_core(frame_of([(0, 0)]), -1, 0)


ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.none() | st.integers(0, 3)), max_size=25)


@given(ROWS)
def test_of_repeated_pairs_the_latest_is_kept_and_of_equal_ones_the_last(
    rows: list[tuple[int, int, int | None]],
) -> None:
    frame = frame_of([(user, item) for user, item, _ in rows]).with_columns(
        pl.Series("timestamp", [time for *_, time in rows], dtype=pl.Int64)
    )
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for index, (user, item, time) in enumerate(rows):
        best[user, item] = max(best.get((user, item), (-2, -1)), (-1 if time is None else time, index))
    kept = sorted(index for _, index in best.values())
    assert drop_repeated_pairs(frame).rows() == frame[kept].rows()


def test_items_outside_the_core_leave_the_catalogue_only_when_items_are_counted() -> None:
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)]
    items = pl.DataFrame({"item_id": ["i2", "i1", "i0", "i9"], "title": ["c", "b", "a", "never met"]})
    entities = pl.DataFrame({"item_id": ["i9", "i1"], "entity": ["e9", "e1"]})
    whole = Catalogue.of(frame_of(pairs), items, item_entities=entities)
    by_user = k_core_of(whole, 2, 0)
    assert by_user.interactions["user_id"].unique(maintain_order=True).to_list() == ["u0", "u1"]
    assert by_user.items.equals(whole.items)
    by_item = k_core_of(whole, 0, 2)
    assert by_item.items["item_id"].to_list() == ["i1", "i0"]
    assert by_item.item_entities is not None
    assert by_item.item_entities["entity"].to_list() == ["e1"]
