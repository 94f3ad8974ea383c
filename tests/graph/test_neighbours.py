"""Nearest neighbours against a dense computation, in blocks of any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.graph import neighbours
from palate.graph.neighbours import nearest, nearest_to


@given(
    st.integers(1, 30), st.integers(1, 12), st.booleans(), st.integers(1, 400), st.integers(0, 9), st.floats(0.0, 1.0)
)
def test_blocks_give_what_the_dense_cosines_give(
    count: int, k: int, itself: bool, cells: int, seed: int, share: float
) -> None:
    generator = np.random.default_rng(seed)
    matrix = generator.normal(size=(count, 5)).astype(np.float32)
    present = generator.random(count) < share
    rows, cosines = nearest(matrix, k, present=present, itself=itself, cells=cells)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    dense = unit @ unit.T
    assert rows.count == rows.width == count
    for row in range(count):
        candidates = [other for other in np.flatnonzero(present) if (itself or other != row)] if present[row] else []
        best = sorted(candidates, key=lambda other: -dense[row, other])[:k]
        assert rows[row].tolist() == sorted(best)
        part = cosines[rows.pointer[row] : rows.pointer[row + 1]]
        np.testing.assert_allclose(part, dense[row, rows[row]], atol=1e-6)


def test_a_row_of_zeros_has_cosine_zero_with_all() -> None:
    rows, cosines = nearest(np.array([[0, 0], [1, 0], [1, 1]], np.float32), 2)
    assert rows[0].tolist() == [1, 2]
    assert cosines[:2].tolist() == [0, 0]
    assert cosines[2:] == pytest.approx([0, 0.5**0.5, 0, 0.5**0.5])


def test_a_row_is_among_its_own_neighbours_however_many_point_the_same_way() -> None:
    rows, cosines = nearest(np.tile(np.array([[3, 4]], np.float32), (300, 1)), 10, itself=True)
    assert all(row in rows[row] for row in range(300))
    assert cosines == pytest.approx(np.ones(3000))
    # Of 300 equal rows ten that are first in order would be everybody's.
    assert np.bincount(rows.columns, minlength=300).max() < 30


@given(st.integers(0, 99), st.integers(2, 60), st.integers(1, 12), st.booleans())
def test_new_places_change_no_neighbour_even_where_many_are_as_near(
    seed: int, count: int, k: int, itself: bool
) -> None:
    generator = np.random.default_rng(seed)
    matrix = np.eye(3, dtype=np.float32)[generator.integers(0, 3, count)]
    names, order = generator.permutation(1000)[:count], generator.permutation(count)
    rows, _ = nearest(matrix, k, itself=itself, names=names)
    moved, _ = nearest(matrix[order], k, itself=itself, names=names[order], cells=100)
    for place, row in enumerate(order):
        assert sorted(order[moved[place]]) == rows[row].tolist()


def test_neighbours_of_one_row_are_those_it_has_among_all() -> None:
    matrix = np.eye(3, dtype=np.float32)[np.random.default_rng(0).integers(0, 3, 80)]
    rows, _ = nearest(matrix, 7)
    for row in range(80):
        assert sorted(nearest_to(row, matrix, 7)[0]) == rows[row].tolist()


def test_a_few_rows_of_any_number_are_not_given_to_the_kernel_that_keeps_each(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(neighbours, "LARGE", 20)
    monkeypatch.setattr(neighbours, "times", lambda *given: asked.append(given[2]) or given[0] @ given[1].T)
    for count in (7, 19, 20):
        nearest(np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32), 2)
    assert asked == [False, False, True]
