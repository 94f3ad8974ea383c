"""Inner products of chosen pairs against all of them written out, values and gradients."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from palate.graph.pairs import inner_at


@given(st.integers(0, 6), st.integers(1, 5), st.integers(1, 9), st.integers(0, 10_000))
def test_inner_products_of_pairs_are_cells_of_the_whole_product(rows: int, others: int, each: int, seed: int) -> None:
    """Among them the same pair twice, and more pairs than there are cells."""
    torch.manual_seed(seed)
    left, right = torch.randn(rows, 4, requires_grad=True), torch.randn(others, 4, requires_grad=True)
    columns = torch.randint(0, others, (rows, each))
    weights = torch.randn(rows, each)
    found, plain = inner_at(left, right, columns), (left @ right.T).gather(1, columns)
    torch.testing.assert_close(found, plain)
    gradients = torch.autograd.grad((found * weights).sum(), (left, right))
    for gradient, wanted in zip(gradients, torch.autograd.grad((plain * weights).sum(), (left, right)), strict=True):
        torch.testing.assert_close(gradient, wanted)
