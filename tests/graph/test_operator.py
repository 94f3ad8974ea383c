"""The sparse product against the dense one, forward and backward."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from palate.graph.operator import SparseOperator
from palate.graph.rows import Rows


def example(
    seed: int, count: int, width: int, share: float, *, symmetric: bool = False
) -> tuple[SparseOperator, Tensor]:
    """An operator in float64, and the same matrix, dense; the columns of a row are in no order."""
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((count, width)) * (generator.random((count, width)) < share)
    if symmetric:
        matrix = matrix + matrix.T
    rows, columns = np.nonzero(matrix)
    order = np.arange(len(rows)) if symmetric else generator.permutation(len(rows))
    structure = Rows.from_pairs(rows[order], columns[order], count, width)
    values = matrix[structure.row_of_entry(), structure.columns]
    operator = SparseOperator(structure, values, symmetric=symmetric).double()
    # Values are kept in the default type; the oracle has to start from what is kept.
    return operator, torch.tensor(matrix, dtype=torch.get_default_dtype()).double()


@given(st.integers(0, 1000), st.integers(1, 8), st.integers(1, 8), st.sampled_from([0.0, 0.2, 0.7, 1.0]))
def test_forward_and_backward_equal_those_of_the_dense_matrix(seed: int, count: int, width: int, share: float) -> None:
    operator, matrix = example(seed, count, width, share)
    assert operator.shape == (count, width)
    assert torch.equal(operator.dense(), matrix)
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(width, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    product = operator(table)
    torch.testing.assert_close(product.detach(), matrix @ table.detach(), rtol=1e-12, atol=1e-12)
    (product * weights).sum().backward()
    assert table.grad is not None
    torch.testing.assert_close(table.grad, matrix.T @ weights, rtol=1e-12, atol=1e-12)


@given(st.integers(0, 1000), st.integers(1, 8), st.booleans(), st.sampled_from([0.0, 0.2, 0.7, 1.0]))
def test_some_rows_of_the_product_and_what_they_send_back(seed: int, count: int, symmetric: bool, share: float) -> None:
    width = count if symmetric else 5
    operator, matrix = example(seed, count, width, share, symmetric=symmetric)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(count, generator=generator)[: 1 + seed % count]
    table = torch.randn(width, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(operator.product_at(table, rows), matrix[rows] @ table, rtol=1e-12, atol=1e-12)
    again = rows.repeat(2)
    torch.testing.assert_close(operator.product_at(table, again), matrix[again] @ table, rtol=1e-12, atol=1e-12)
    sent = torch.randn(len(rows), 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(operator.product_from(sent, rows), matrix[rows].T @ sent, rtol=1e-12, atol=1e-12)
    assert operator.product_at(table, rows[:0]).shape == (0, 3)


@pytest.mark.parametrize("columns", [1, 3, 64, 100])
def test_in_single_precision_it_is_the_dense_product_at_every_width(columns: int) -> None:
    operator, matrix = example(2, 50, 40, 0.2)
    table = torch.randn(40, columns, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(operator.float()(table), matrix.float() @ table, rtol=1e-5, atol=1e-5)


def test_values_are_stored_in_the_precision_that_is_asked_for() -> None:
    structure = Rows.from_pairs(np.array([0]), np.array([0]), 1, 1)
    for dtype in (torch.float32, torch.float64):
        stored = SparseOperator(structure, np.array([1 / 3]), dtype=dtype).dense()
        assert stored.dtype == dtype
        assert stored.item() == torch.tensor(1 / 3, dtype=dtype).item()


@pytest.mark.parametrize(("count", "width", "symmetric"), [(6, 9, False), (9, 6, False), (7, 7, True)])
def test_the_gradient_is_that_of_finite_differences(count: int, width: int, symmetric: bool) -> None:
    operator, _ = example(3, count, width, 0.4, symmetric=symmetric)
    table = torch.randn(width, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda rows: torch.tanh(operator(operator(rows) if symmetric else rows)), (table,))


def test_a_symmetric_matrix_is_stored_once_and_a_rectangular_one_in_both_directions() -> None:
    symmetric, matrix = example(1, 6, 6, 0.5, symmetric=True)
    rectangular, _ = example(1, 6, 5, 0.5)
    assert torch.equal(matrix, matrix.T)
    assert sum("values" in name for name, _ in symmetric.named_buffers()) == 1
    assert sum("values" in name for name, _ in rectangular.named_buffers()) == 2


def test_it_follows_its_owner_and_is_not_stored_with_it() -> None:
    structure = Rows.from_pairs(np.array([0, 1]), np.array([1, 0]), 2, 2)
    owner = nn.Module()
    owner.operator = SparseOperator(structure, np.array([2.0, 3.0]))
    assert owner.state_dict() == {}
    assert owner.operator(torch.ones(2, 1)).dtype == torch.float32
    owner.double()
    assert owner.operator(torch.ones(2, 1, dtype=torch.float64)).tolist() == [[2.0], [3.0]]
    owner.to(torch.float32)
    assert owner.operator(torch.ones(2, 1)).dtype == torch.float32
    assert torch.equal(copy.deepcopy(owner).operator.dense(), owner.operator.dense())
    owner.to("meta")
    assert {buffer.device.type for buffer in owner.buffers()} == {"meta"}


def test_a_gradient_that_is_not_contiguous_is_multiplied_right() -> None:
    operator, matrix = example(5, 6, 4, 0.6)
    table = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (operator(table).T * weights).sum().backward()
    assert table.grad is not None
    torch.testing.assert_close(table.grad, matrix.T @ weights.T, rtol=1e-12, atol=1e-12)


def test_it_runs_in_inference_mode_and_learns_after_it() -> None:
    operator, matrix = example(6, 5, 4, 0.6)
    table = torch.ones(4, 2, dtype=torch.float64, requires_grad=True)
    with torch.inference_mode():
        inferred = operator(table).clone()
    product = operator(table)
    product.sum().backward()
    assert torch.equal(inferred, product)
    assert table.grad is not None
    torch.testing.assert_close(table.grad[:, 0], matrix.sum(0))


def test_repeated_products_and_gradients_have_the_same_bits_on_two_threads() -> None:
    generator = np.random.default_rng(0)
    count, width, pairs = 3000, 2000, 60_000
    structure = Rows.from_pairs(generator.integers(0, count, pairs), generator.integers(0, width, pairs), count, width)
    operator = SparseOperator(structure, generator.standard_normal(pairs))
    table = torch.randn(width, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def repeat() -> tuple[Tensor, Tensor]:
        product = operator(table)
        (gradient,) = torch.autograd.grad(product.square().sum(), table)
        return product.detach(), gradient

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = repeat()
        for _ in range(10):
            product, gradient = repeat()
            assert torch.equal(product, first[0])
            assert torch.equal(gradient, first[1])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("rows", [2, 4, 0])
def test_a_table_of_another_length_is_refused(rows: int) -> None:
    operator, _ = example(0, 5, 3, 1.0)
    table = torch.zeros(rows, 2)
    for product in (operator, operator.product, lambda dense: operator.product_at(dense, torch.tensor([1]))):
        with pytest.raises(ValueError, match=f"a table of {rows} rows, not 3"):
            product(table)
    with pytest.raises(ValueError, match="a table of 3 rows, not 5"):
        operator.product(torch.zeros(3, 2), transposed=True)
