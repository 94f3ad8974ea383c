"""Every split against its definition in words, row by row, on data made by hypothesis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import worlds
from palate.core.errors import DataError
from palate.dataset.settings import Split
from palate.dataset.splits import TEST, TRAIN, VALID, Part, split_rows, thin_rows, tied_share


@dataclass(frozen=True)
class Table:
    """Rows sorted by user and item, as `split_rows` gets them."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[np.int64]

    def shuffled(self, seed: int) -> NDArray[np.int64]:
        return np.random.default_rng(seed).permutation(len(self.users))

    def split(self, kind: Split, seed: int = 0, cold_share: float = 0.2) -> Part:
        return split_rows(
            kind,
            self.users,
            self.items,
            self.times,
            None,
            shuffled=self.shuffled(seed),
            seed=seed,
            cold_share=cold_share,
        )


@st.composite
def tables(draw: st.DrawFn) -> Table:
    seed, users, items = draw(st.integers(0, 10_000)), draw(st.integers(1, 12)), draw(st.integers(3, 40))
    moments = draw(st.sampled_from([1, 5, 10_000]))
    generator = np.random.default_rng(seed)
    rows = [
        (user, item)
        for user in range(users)
        for item in sorted(generator.choice(items, generator.integers(1, items + 1), replace=False))
    ]
    user, item = np.array(rows, dtype=np.int32).T
    return Table(user, item, generator.integers(0, moments, len(user)))


def held_out_of(count: int) -> tuple[int, int]:
    """How many of a user's rows validate and test: the protocol's words."""
    if count < 3:
        return 0, 0
    if count < 10:
        return 1, 1
    together = int(0.2 * count)
    return together // 2, together - together // 2


@given(tables(), st.sampled_from(["random", "user-time"]), st.integers(0, 5))
def test_users_hold_out_two_or_a_fifth_half_and_half(table: Table, kind: Split, seed: int) -> None:
    part = table.split(kind, seed)
    for user in np.unique(table.users):
        own = part[table.users == user]
        assert (int((own == VALID).sum()), int((own == TEST).sum())) == held_out_of(len(own))


@given(tables(), st.sampled_from(["user-time", "latest"]), st.integers(0, 5))
def test_held_out_rows_are_each_users_latest(table: Table, kind: Split, seed: int) -> None:
    part = table.split(kind, seed)
    for user in np.unique(table.users):
        times, own = table.times[table.users == user], part[table.users == user]
        for earlier, later in ((TRAIN, VALID), (VALID, TEST), (TRAIN, TEST)):
            if (own == earlier).any() and (own == later).any():
                assert times[own == earlier].max() <= times[own == later].min()


@given(tables(), st.integers(0, 5))
def test_latest_holds_out_one_row_for_each_part(table: Table, seed: int) -> None:
    part = table.split("latest", seed)
    for user in np.unique(table.users):
        own = part[table.users == user]
        assert [int((own == held_out).sum()) for held_out in (VALID, TEST)] == ([1, 1] if len(own) >= 3 else [0, 0])


@given(tables(), st.integers(0, 5))
def test_time_cuts_one_global_line_at_eighty_and_ninety_percent(table: Table, seed: int) -> None:
    part = table.split("time", seed)
    count = len(part)
    assert np.bincount(part, minlength=3).tolist() == [
        int(0.8 * count),
        int(0.9 * count) - int(0.8 * count),
        count - int(0.9 * count),
    ]
    for earlier, later in ((TRAIN, VALID), (VALID, TEST), (TRAIN, TEST)):
        if (part == earlier).any() and (part == later).any():
            assert table.times[part == earlier].max() <= table.times[part == later].min()


@given(tables(), st.integers(0, 5), st.sampled_from([0.1, 0.2, 0.5]))
def test_cold_items_are_whole_items_and_their_share_is_right(table: Table, seed: int, share: float) -> None:
    part = table.split("cold-items", seed, share)
    parts_of_item = [np.unique(part[table.items == item]) for item in np.unique(table.items)]
    assert all(len(parts) == 1 for parts in parts_of_item)
    cold = sum(int(parts[0]) != TRAIN for parts in parts_of_item)
    assert cold == min(len(parts_of_item), max(2, round(share * len(parts_of_item))))
    valid = sum(int(parts[0]) == VALID for parts in parts_of_item)
    assert valid == cold // 2


@given(tables(), st.sampled_from(["random", "user-time", "latest", "time", "cold-items"]))
def test_the_same_seed_gives_the_same_split(table: Table, kind: Split) -> None:
    np.testing.assert_array_equal(table.split(kind, 3), table.split(kind, 3))


def slow(table: Table, kind: Split, seed: int) -> list[int]:
    """Parts by sorting each user's rows (or all rows) in plain Python; ties of time in the order of the shuffle."""
    shuffled = table.shuffled(seed).tolist()
    times = [0] * len(shuffled) if kind == "random" else table.times.tolist()
    rows = sorted(range(len(shuffled)), key=lambda row: (times[row], shuffled[row]))
    part = [TRAIN] * len(rows)
    if kind == "time":
        for place, row in enumerate(rows):
            part[row] = TRAIN if place < int(0.8 * len(rows)) else VALID if place < int(0.9 * len(rows)) else TEST
        return part
    for user in set(table.users.tolist()):
        own = [row for row in rows if table.users[row] == user]
        valid, test = held_out_of(len(own)) if kind != "latest" else (1, 1) if len(own) >= 3 else (0, 0)
        for row in own[len(own) - test :]:
            part[row] = TEST
        for row in own[len(own) - test - valid : len(own) - test]:
            part[row] = VALID
    return part


@given(tables(), st.sampled_from(["random", "user-time", "latest", "time"]), st.integers(0, 5))
def test_the_shuffle_is_the_order_of_random_and_breaks_ties_of_time(table: Table, kind: Split, seed: int) -> None:
    assert table.split(kind, seed).tolist() == slow(table, kind, seed)


def one_user(count: int, times: NDArray[np.int64]) -> Table:
    return Table(np.zeros(count, np.int32), np.arange(count, dtype=np.int32), times)


@pytest.mark.parametrize("kind", ["user-time", "latest", "time"])
def test_ties_in_time_are_broken_by_the_seed_and_not_by_the_id(kind: Split) -> None:
    table = one_user(40, np.zeros(40, np.int64))
    tested = [np.flatnonzero(table.split(kind, seed) == TEST) for seed in range(200)]
    assert len({tuple(rows) for rows in tested}) > 20
    mean = np.mean(np.concatenate(tested))
    # Uniform over 0 … 39: mean 19.5, and the standard error of the mean is below 0.9 for every kind.
    assert abs(mean - 19.5) < 3


def test_random_chooses_all_rows_of_a_user_equally_often() -> None:
    table = one_user(20, np.arange(20))
    counts = np.zeros(20)
    for seed in range(2000):
        counts += table.split("random", seed) == TEST
    # 2 of 20 rows: each is expected 200 times, standard deviation 13.4.
    assert counts.sum() == 4000
    assert counts.min() > 140
    assert counts.max() < 260


@pytest.mark.parametrize("kind", ["user-time", "time", "latest"])
def test_splits_by_time_need_timestamps(kind: Split) -> None:
    rows = np.zeros(3, np.int32)
    with pytest.raises(DataError, match="timestamps"):
        split_rows(kind, rows, rows, None, None, shuffled=np.arange(3), seed=0, cold_share=0.2)


def test_given_needs_a_split_column_and_is_taken_as_it_is() -> None:
    rows = np.zeros(3, np.int32)
    with pytest.raises(DataError, match="split column"):
        split_rows("given", rows, rows, None, None, shuffled=np.arange(3), seed=0, cold_share=0.2)
    parts = np.array([TEST, TRAIN, VALID], np.int8)
    taken = split_rows("given", rows, rows, None, parts, shuffled=np.array([2, 0, 1]), seed=1, cold_share=0.2)
    np.testing.assert_array_equal(taken, parts)


@given(
    st.lists(st.sampled_from([TRAIN, VALID, TEST]), min_size=1, max_size=200).filter(lambda parts: TRAIN in parts),
    st.floats(0.01, 1.0),
    st.integers(0, 5),
)
def test_thin_keeps_the_share_of_train_rows_and_all_others(parts: list[int], share: float, seed: int) -> None:
    part = np.array(parts, np.int8)
    stays = thin_rows(part, share, seed=seed)
    train = int((part == TRAIN).sum())
    assert stays[part != TRAIN].all()
    assert int(stays[part == TRAIN].sum()) == max(1, round(share * train))


def test_thinner_keeps_a_part_of_what_less_thin_keeps() -> None:
    part = np.zeros(100, np.int8)
    tenth, half = thin_rows(part, 0.1, seed=4), thin_rows(part, 0.5, seed=4)
    assert (half | ~tenth).all()
    assert not np.array_equal(half, thin_rows(part, 0.5, seed=5))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3))))
def test_tied_rows_are_those_with_a_twin(rows: list[tuple[int, int]]) -> None:
    frame = pl.DataFrame(rows, schema=["user", "time"], orient="row", schema_overrides={"user": pl.Int64})
    expected = sum(rows.count(row) > 1 for row in rows) / max(len(rows), 1)
    assert tied_share(frame["user"], frame["time"].cast(pl.Int64)) == pytest.approx(expected)


@pytest.mark.parametrize("split", ["user-time", "latest"])
def test_ties_of_time_are_in_the_notes_where_they_decide_the_split(split: str) -> None:
    rows = worlds.interactions().with_columns(timestamp=pl.int_range(pl.len()) // 4)
    said = "share their time with another of the same user, and their order is drawn at random"
    assert any(said in note for note in worlds.dataset(worlds.catalogue(rows), split=split).notes)
    assert not any(said in note for note in worlds.dataset(worlds.catalogue(rows), split="random").notes)
    apart = worlds.catalogue(rows.with_columns(timestamp=pl.int_range(pl.len())))
    assert not any(said in note for note in worlds.dataset(apart, split=split).notes)
