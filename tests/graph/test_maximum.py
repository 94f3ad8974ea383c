"""The neighbour maximum against a dense table of values where all that are no neighbours are minus infinity."""

from __future__ import annotations

import copy

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from palate.graph.maximum import NeighbourMaximum
from palate.graph.rows import Rows


def example(seed: int, count: int, width: int, share: float) -> tuple[NeighbourMaximum, Tensor]:
    """A random structure, its columns in no order, and the same as a matrix of booleans."""
    generator = np.random.default_rng(seed)
    matrix = generator.random((count, width)) < share
    rows, columns = np.nonzero(matrix)
    order = generator.permutation(len(rows))
    return NeighbourMaximum(Rows.from_pairs(rows[order], columns[order], count, width)), torch.from_numpy(matrix)


def dense_maximum(matrix: Tensor, table: Tensor) -> Tensor:
    """`amax` over columns; like the formula, it shares the gradient of equal values evenly."""
    everything = torch.where(matrix.unsqueeze(2), table.unsqueeze(0), -torch.inf)
    return torch.where(matrix.any(1, keepdim=True), everything.amax(1), 0.0)


@given(
    st.integers(0, 1000),
    st.integers(1, 8),
    st.integers(1, 8),
    st.sampled_from([0.0, 0.2, 0.7, 1.0]),
    st.booleans(),
)
def test_values_and_gradients_equal_those_of_the_dense_form(
    seed: int, count: int, width: int, share: float, ties: bool
) -> None:
    maximum, matrix = example(seed, count, width, share)
    assert maximum.shape == (count, width)
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(width, 3, generator=generator, dtype=torch.float64)
    table = (table.round() if ties else table).requires_grad_()
    weights = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    found, expected = maximum(table), dense_maximum(matrix, table)
    assert torch.equal(found, expected)
    (gradient,) = torch.autograd.grad((found * weights).sum(), table, materialize_grads=True)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), table, materialize_grads=True)
    torch.testing.assert_close(gradient, wanted)


def test_of_negative_values_the_largest_is_taken_and_nobody_gives_zero() -> None:
    maximum = NeighbourMaximum(Rows.from_pairs(np.array([0, 0, 2]), np.array([1, 0, 1]), 3, 2))
    assert maximum(torch.tensor([[-3.0, -1.0], [-2.0, -5.0]])).tolist() == [[-2.0, -1.0], [0.0, 0.0], [-2.0, -5.0]]


def test_entries_that_share_the_maximum_share_its_gradient() -> None:
    maximum = NeighbourMaximum(Rows.from_pairs(np.zeros(3, np.int64), np.arange(3), 1, 3))
    table = torch.tensor([[2.0], [1.0], [2.0]], requires_grad=True)
    maximum(table).sum().backward()
    assert table.grad is not None
    assert table.grad.tolist() == [[0.5], [0.0], [0.5]]


def test_it_follows_its_owner_and_is_not_stored_with_it() -> None:
    owner = nn.Module()
    owner.maximum = NeighbourMaximum(Rows.from_pairs(np.array([0]), np.array([1]), 2, 2))
    assert owner.state_dict() == {}
    table = torch.tensor([[1.0], [4.0]])
    assert owner.double().maximum(table.double()).tolist() == [[4.0], [0.0]]
    assert owner.float().maximum(table).dtype == torch.float32
    assert torch.equal(copy.deepcopy(owner).maximum(table), owner.maximum(table))
    owner.to("meta")
    assert {buffer.device.type for buffer in owner.buffers()} == {"meta"}
