"""The mean of matrix powers against dense powers, forward and backward, at all rows and at some."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from palate.graph.operator import SparseOperator
from palate.graph.powers import mean_of_powers, mean_of_powers_at
from palate.graph.rows import Rows

NODES, WIDTH = 9, 3


def example(seed: int, *, symmetric: bool, share: float = 0.3) -> tuple[SparseOperator, Tensor]:
    """An operator in float64, and the same matrix, dense."""
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((NODES, NODES)) * (generator.random((NODES, NODES)) < share)
    if symmetric:
        matrix = matrix + matrix.T
    structure = Rows.from_pairs(*np.nonzero(matrix), NODES, NODES)
    operator = SparseOperator(structure, matrix[np.nonzero(matrix)], symmetric=symmetric, dtype=torch.float64)
    return operator, torch.from_numpy(matrix)


def leaf(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(NODES, WIDTH, generator=generator, dtype=torch.float64, requires_grad=True)


def plain(matrix: Tensor, dense: Tensor, highest: int) -> Tensor:
    return torch.stack([torch.linalg.matrix_power(matrix, power) @ dense for power in range(highest + 1)]).mean(0)


examples = given(st.integers(0, 1000), st.integers(0, 4), st.booleans(), st.sampled_from([0.0, 0.1, 0.4]))


@examples
def test_all_rows_and_their_gradient(seed: int, highest: int, symmetric: bool, share: float) -> None:
    operator, matrix = example(seed, symmetric=symmetric, share=share)
    dense, weights = leaf(seed), leaf(seed + 1).detach()
    found, expected = mean_of_powers(operator, dense, highest), plain(matrix, dense, highest)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad((value * weights).sum(), dense)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


@examples
def test_some_rows_and_their_gradient(seed: int, highest: int, symmetric: bool, share: float) -> None:
    operator, matrix = example(seed, symmetric=symmetric, share=share)
    dense = leaf(seed)
    rows = torch.from_numpy(np.random.default_rng(seed).integers(0, NODES, 7))
    weights = torch.randn(2, 7, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = torch.stack(mean_of_powers_at(operator, dense, highest, rows))
    expected = torch.stack([plain(matrix, dense, highest)[rows], dense[rows]])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad((value * weights).sum(), dense)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("highest", [0, 1, 2])
@pytest.mark.parametrize("used", [0, 1])
def test_a_loss_may_use_one_of_the_two_alone(highest: int, used: int) -> None:
    operator, matrix = example(4, symmetric=True)
    rows = torch.tensor([3, 3, 8])
    dense = leaf(0)
    (gradient,) = torch.autograd.grad(mean_of_powers_at(operator, dense, highest, rows)[used].sum(), dense)
    expected = (plain(matrix, dense, highest) if used == 0 else dense)[rows].sum()
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, dense)[0], rtol=1e-12, atol=1e-12)


def test_the_table_and_earlier_results_are_left_as_they_were() -> None:
    """What is added up in place is the function's own memory."""
    operator, _ = example(2, symmetric=True)
    dense, rows = leaf(1), torch.tensor([0, 5])
    before = dense.detach().clone()
    kept = [*mean_of_powers_at(operator, dense, 0, rows), mean_of_powers(operator, dense, 0)]
    copies = [value.detach().clone() for value in kept]
    for highest in range(3):
        mean_of_powers(operator, dense, highest).sum().backward()
        torch.stack(mean_of_powers_at(operator, dense, highest, rows)).sum().backward()
    assert torch.equal(dense.detach(), before)
    for value, copy in zip(kept, copies, strict=True):
        assert torch.equal(value, copy)


def test_it_runs_in_inference_mode() -> None:
    operator, matrix = example(3, symmetric=False)
    dense = leaf(2)
    with torch.inference_mode():
        found = mean_of_powers(operator, dense, 2)
    torch.testing.assert_close(found.clone(), plain(matrix, dense, 2).detach(), rtol=1e-12, atol=1e-12)
