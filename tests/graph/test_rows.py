"""Lists by row against plain Python lists and sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.graph.rows import Joined, Rows, contains, pointers

COUNT, WIDTH = 5, 7
Pairs = list[tuple[int, int]]
PAIRS = st.lists(st.tuples(st.integers(0, COUNT - 1), st.integers(0, WIDTH - 1)), max_size=25)


def rows_of(pairs: Pairs) -> Rows:
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Rows.from_pairs(table[:, 0], table[:, 1], COUNT, WIDTH)


def lists_of(rows: Rows) -> list[list[int]]:
    return [rows[row].tolist() for row in range(rows.count)]


def expected_lists(pairs: Pairs) -> list[list[int]]:
    return [[column for row, column in pairs if row == wanted] for wanted in range(COUNT)]


@given(PAIRS)
def test_pairs_are_grouped_by_row_in_their_given_order(pairs: Pairs) -> None:
    rows = rows_of(pairs)
    assert lists_of(rows) == expected_lists(pairs)
    assert (rows.count, rows.width, rows.size) == (COUNT, WIDTH, len(pairs))
    assert rows.lengths.tolist() == [len(row) for row in expected_lists(pairs)]
    assert (rows.pointer.dtype, rows.columns.dtype) == (np.int64, np.int32)
    found = list(zip(rows.row_of_entry().tolist(), rows.columns.tolist(), strict=True))
    assert found == sorted(pairs, key=lambda pair: pair[0])


@given(PAIRS)
def test_the_transpose_swaps_the_pairs_and_twice_is_the_same_in_ascending_order(pairs: Pairs) -> None:
    once = rows_of(pairs).transpose()
    assert (once.count, once.width) == (WIDTH, COUNT)
    assert lists_of(once) == [sorted(row for row, column in pairs if column == wanted) for wanted in range(WIDTH)]
    assert lists_of(once.transpose()) == [sorted(row) for row in expected_lists(pairs)]


@given(PAIRS, st.lists(st.integers(0, COUNT - 1), max_size=9))
def test_take_gives_the_asked_rows_in_that_order_repeats_included(pairs: Pairs, wanted: list[int]) -> None:
    taken = rows_of(pairs).take(np.array(wanted, dtype=np.int64))
    assert lists_of(taken) == [expected_lists(pairs)[row] for row in wanted]
    assert taken.width == WIDTH


@given(PAIRS, PAIRS)
def test_a_union_holds_the_own_entries_before_the_others(own: Pairs, other: Pairs) -> None:
    joined = rows_of(own).union(rows_of(other))
    both = zip(expected_lists(own), expected_lists(other), strict=True)
    assert lists_of(joined) == [first + second for first, second in both]


@given(st.lists(PAIRS, min_size=1, max_size=4), st.lists(st.integers(0, COUNT - 1), max_size=9))
def test_joined_rows_are_those_of_their_union(parts: list[Pairs], wanted: list[int]) -> None:
    taken = Joined(tuple(rows_of(pairs) for pairs in parts)).take(np.array(wanted, dtype=np.int64))
    expected = [[column for pairs in parts for column in expected_lists(pairs)[row]] for row in wanted]
    assert lists_of(taken) == expected
    assert (taken.count, taken.width) == (len(wanted), WIDTH)


@given(PAIRS)
def test_membership_is_that_of_a_set_for_every_possible_pair(pairs: Pairs) -> None:
    keys = rows_of(pairs).keys()
    every = np.arange(-1, COUNT * WIDTH + 1).reshape(1, -1)
    known = {row * WIDTH + column for row, column in pairs}
    assert contains(keys, every).tolist() == [[key in known for key in every[0].tolist()]]


def test_keys_do_not_overflow_where_rows_times_width_is_beyond_32_bits() -> None:
    rows = Rows.from_pairs(np.array([99_999]), np.array([99_998]), 100_000, 100_000)
    assert rows.keys().tolist() == [99_999 * 100_000 + 99_998]


def test_a_row_beyond_the_last_is_an_error_so_that_iteration_ends() -> None:
    rows = rows_of([(0, 1), (4, 2)])
    with pytest.raises(IndexError):
        rows[COUNT]
    assert [row.tolist() for row in rows] == [[1], [], [], [], [2]]  # pyright: ignore


def test_pointers_count_up_to_the_number_of_rows() -> None:
    assert pointers(np.array([2, 0, 2]), 4).tolist() == [0, 1, 1, 3, 3]
    assert pointers(np.zeros(0, np.int64), 2).tolist() == [0, 0, 0]
