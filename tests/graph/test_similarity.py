"""The item graph of content against a dense computation, and its closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from palate.graph.similarity import similarity_graph


@given(st.integers(1, 14), st.integers(1, 16), st.booleans(), st.booleans(), st.integers(0, 99), st.floats(0.0, 1.0))
def test_it_is_the_dense_graph_with_its_row_sums_on_both_sides(
    count: int, k: int, symmetrise: bool, clip: bool, seed: int, share: float
) -> None:
    generator = np.random.default_rng(seed)
    matrix = generator.normal(size=(count, 3)).astype(np.float32)
    present = generator.random(count) < share
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    cosines = unit @ unit.T
    dense = np.zeros((count, count))
    those = np.flatnonzero(present)
    for row in those:
        best = those[np.argsort(-cosines[row, those])[:k]]
        dense[row, best] = cosines[row, best]
    if symmetrise:
        dense = np.where(dense != 0, dense, dense.T)
    if clip:
        dense = dense.clip(0)
    sums = dense.sum(1)
    # A sum that is nearly 0 makes the quotient a matter of rounding.
    assume(not ((np.abs(sums) < 1e-2) & (sums != 0)).any())
    scale = np.where(sums > 0, 1 / np.sqrt(np.where(sums > 0, sums, 1)), 0)
    graph = similarity_graph(matrix, k, present=present, symmetrise=symmetrise, clip=clip)
    np.testing.assert_allclose(graph.dense().numpy(), scale[:, None] * dense * scale, atol=2e-6, rtol=1e-5)
    rows = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    weights = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed + 1))
    (graph(rows) * weights).sum().backward()
    torch.testing.assert_close(rows.grad, graph.dense().T @ weights)


def test_a_symmetrised_graph_equals_its_transpose_to_the_last_bit() -> None:
    matrix = np.random.default_rng(0).normal(size=(60, 7)).astype(np.float32)
    one_way, both = (similarity_graph(matrix, 5, symmetrise=symmetrise).dense() for symmetrise in (False, True))
    assert torch.equal(both, both.T)
    assert not torch.equal(one_way, one_way.T)
    assert int((both > 0).sum()) > int((one_way > 0).sum()) == 60 * 5


def test_groups_of_equal_items_mix_among_themselves() -> None:
    matrix = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    expected = np.kron(np.eye(3), np.full((4, 4), 0.25))
    np.testing.assert_allclose(similarity_graph(matrix, 4).dense().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("symmetrise", [False, True])
def test_opposite_items_are_joined_only_where_negative_cosines_count(symmetrise: bool) -> None:
    matrix = np.array([[1, 0], [-1, 0], [-1, 1]], np.float32)
    clipped, kept = (similarity_graph(matrix, 3, symmetrise=symmetrise, clip=clip).dense() for clip in (True, False))
    assert not (clipped < 0).any()
    assert clipped[0].tolist() == pytest.approx([1.0, 0.0, 0.0])
    assert kept[1, 2] > 0
    # The cosines of item 0 with all are 1, -1 and -0.7: they do not add up to anything that could be a degree.
    assert not kept[0].any()
