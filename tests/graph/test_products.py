"""Blocks of a product of sparse matrices against the dense product."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from palate.graph.products import product_block
from palate.graph.rows import Rows


def rows_of(matrix: NDArray[np.bool_]) -> Rows:
    return Rows.from_pairs(*np.nonzero(matrix), *matrix.shape)


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.2, 0.8]), st.integers(1, 40))
def test_it_is_the_dense_product_however_much_is_held_at_once(seed: int, share: float, products: int) -> None:
    generator = np.random.default_rng(seed)
    left, right = generator.random((6, 5)) < share, generator.random((5, 7)) < share
    values = generator.normal(size=(5, 7))
    found = product_block(rows_of(left), rows_of(right), values[right], products=products)
    np.testing.assert_allclose(found, left @ (values * right), atol=1e-14)
    counts = product_block(rows_of(left), rows_of(right), products=products)
    np.testing.assert_array_equal(counts, left.astype(int) @ right.astype(int))


def test_a_row_has_the_same_bits_in_whatever_company() -> None:
    generator = np.random.default_rng(1)
    left, right = (generator.random(shape) < 0.5 for shape in ((20, 30), (30, 40)))
    values = generator.normal(size=int(right.sum()))
    whole = product_block(rows_of(left), rows_of(right), values)
    for row in (0, 7, 19):
        alone = product_block(rows_of(left).take(np.array([row])), rows_of(right), values, products=1)
        assert np.array_equal(alone[0], whole[row])
