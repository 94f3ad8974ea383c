"""BPR by content in one pass, against the formula written out."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

import worlds
from palate.core.gradients import RowGradients, row_gradients
from palate.models import pairwise
from palate.models.layers import FeatureTable
from palate.models.pairwise import content_bpr

NAMES = [f"i{item}" for item in range(20)]
FEATURES = [worlds.features(NAMES, width=5, missing=("i3", "i4")), worlds.features(NAMES, width=3, seed=1)]


@given(
    st.integers(1, 40),
    st.integers(1, 25),
    st.integers(0, 100),
    st.integers(1, 2),
    st.booleans(),
    st.sampled_from(["frozen", "trained", "trained, by row"]),
)
def test_loss_and_gradients_are_those_of_the_formula(
    count: int, block: int, seed: int, modalities: int, some: bool, features: str
) -> None:
    tables = [FeatureTable(each, trained=features != "frozen") for each in FEATURES[:modalities]]
    matrices = [table.matrix for table in tables if features != "frozen"]
    collected = RowGradients(matrices)
    chance = torch.Generator().manual_seed(seed)
    items, others = (torch.randint(20, (count,), generator=chance) for _ in range(2))
    ahead = torch.randn(count, generator=chance, requires_grad=True)
    likes = torch.randn(count, 4, generator=chance, requires_grad=True)
    kernels = [torch.randn(4, table.width, generator=chance, requires_grad=True) for table in tables]
    followed = [ahead, likes, *kernels, *matrices]
    by_row = features == "trained, by row"
    with pytest.MonkeyPatch.context() as patch, row_gradients(collected) if by_row else nullcontext():
        patch.setattr(pairwise, "BLOCK_PAIRS", block)
        counted = torch.randint(2, (count,), generator=chance).bool() if some else None
        found = content_bpr(ahead, likes, tables, kernels, items, others, counted)
        gradients = list(torch.autograd.grad(3 * found, followed, allow_unused=by_row))
    if by_row:
        assert gradients[2 + modalities :] == [None] * modalities
        factors = [collected.of(matrix) for matrix in matrices]
        gradients[2 + modalities :] = [each.written_out(20) for each in factors if each is not None]
    shown = sum((table.matrix[items] - table.matrix[others]) @ w.T for table, w in zip(tables, kernels, strict=True))
    each = -F.logsigmoid(ahead + (likes * shown).sum(1))
    expected = each.mean() if counted is None else each[counted].sum() / max(1, int(counted.sum()))
    torch.testing.assert_close(found, expected)
    for gradient, wanted in zip(gradients, torch.autograd.grad(3 * expected, followed), strict=True):
        torch.testing.assert_close(gradient, wanted)


def test_no_pair_is_no_loss() -> None:
    likes, none = torch.zeros(0, 4, requires_grad=True), torch.zeros(0, dtype=torch.int64)
    kernel = torch.randn(4, 5, requires_grad=True)
    loss = content_bpr(None, likes, [FeatureTable(FEATURES[0])], [kernel], none, none)
    loss.backward()
    assert loss.item() == 0
    assert kernel.grad is not None
    assert not kernel.grad.any()
