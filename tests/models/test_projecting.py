"""The projection in blocks against one matrix product."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import worlds
from palate.models import projecting
from palate.models.layers import FeatureTable
from palate.models.projecting import project

FEATURES = worlds.features([f"i{item}" for item in range(20)], width=5, missing=("i3", "i4"))


@given(st.lists(st.integers(0, 19), min_size=1, unique=True), st.integers(1, 2000), st.booleans())
def test_projection_and_gradients_are_those_of_the_plain_product(items: list[int], block: int, trained: bool) -> None:
    table, rows = FeatureTable(FEATURES, trained), torch.tensor(items)
    weight = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    sent = torch.randn(len(items), 4, generator=torch.Generator().manual_seed(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projecting, "BLOCK_BYTES", block)
        found = project(table, rows, weight)
        followed = [weight, table.matrix] if trained else [weight]
        gradients = torch.autograd.grad((found * sent).sum(), followed)
    expected = table.matrix[rows] @ weight.T
    torch.testing.assert_close(found, expected)
    for gradient, wanted in zip(gradients, torch.autograd.grad((expected * sent).sum(), followed), strict=True):
        torch.testing.assert_close(gradient, wanted)


def test_items_without_the_modality_are_projected_to_zero() -> None:
    found = project(FeatureTable(FEATURES), torch.tensor([3, 0, 4]), torch.ones(2, 5))
    assert not found[[0, 2]].any()
    assert found[1].any()


def test_two_projections_before_a_backward_keep_their_own_rows() -> None:
    table = FeatureTable(FEATURES)
    weight = torch.ones(2, 5, requires_grad=True)
    first, second = (project(table, torch.tensor(items), weight) for items in ([0, 1], [7, 5]))
    (gradient,) = torch.autograd.grad(first.sum() + 2 * second.sum(), weight)
    expected = table.matrix[[0, 1]].sum(0) + 2 * table.matrix[[7, 5]].sum(0)
    torch.testing.assert_close(gradient, torch.from_numpy(np.tile(expected.numpy(), (2, 1))))
