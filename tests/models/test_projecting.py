"""The projection in blocks against one matrix product, and the feature tables it reads."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import worlds
from palate.core import dense
from palate.core.dense import times
from palate.core.gradients import RowGradients, row_gradients
from palate.core.seeds import Draws
from palate.core.width import ColumnLinear
from palate.encode.features import Features
from palate.models import projecting
from palate.models.base import Batch
from palate.models.layers import FeatureTable, Projection
from palate.models.projecting import project, project_through
from palate.models.vbpr import VBPR, VBPRConfig

FEATURES = worlds.features([f"i{item}" for item in range(20)], width=5, missing=("i3", "i4"))


@given(st.lists(st.integers(0, 19), min_size=1, unique=True), st.integers(1, 25), st.booleans(), st.booleans())
def test_projection_and_gradients_are_those_of_the_plain_product(
    items: list[int], block: int, trained: bool, by_row: bool
) -> None:
    table, rows = FeatureTable(FEATURES, trained), torch.tensor(items)
    weight = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    sent = torch.randn(len(items), 4, generator=torch.Generator().manual_seed(1))
    collected = RowGradients([table.matrix])
    with pytest.MonkeyPatch.context() as patch, row_gradients(collected) if by_row else nullcontext():
        patch.setattr(projecting, "BLOCK_ROWS", block)
        found = project(table, rows, weight)
        followed = [weight, table.matrix] if trained else [weight]
        gradients = list(torch.autograd.grad((found * sent).sum(), followed, allow_unused=by_row))
    factors = collected.of(table.matrix)
    assert (factors is not None) == (trained and by_row)
    if factors is not None:
        assert gradients.pop() is None
        gradients.append(factors.written_out(20))
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


@pytest.mark.parametrize("width", [1, 3, 64, 65])
@pytest.mark.parametrize("count", [1, 7, 300])
def test_the_product_in_single_precision_is_as_good_as_any(width: int, count: int) -> None:
    """This is the type that goes through a kernel of its own; also with turned arguments."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, 90, generator=generator, dtype=torch.float64) for size in (width, count))
    for one, other in ((left, right), (right, left)):
        exact = one @ other.T
        torch.testing.assert_close(times(one.float(), other.float()).double(), exact, rtol=1e-5, atol=1e-4)
        turned = times(one.T.contiguous().T.float(), other.T.contiguous().float().T).double()
        torch.testing.assert_close(turned, exact, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("items", [None, [4, 0, 17]])
def test_through_a_projection_of_several_layers(items: list[int] | None, layers: int, trained: bool) -> None:
    table, projection = FeatureTable(FEATURES, trained), Projection(5, 4, layers)
    rows = None if items is None else torch.tensor(items)
    with torch.no_grad():
        for parameter in projection.parameters():
            parameter.add_(0.1)
    expected = projection(table.matrix if items is None else table.matrix[items])
    found = project_through(projection, table, rows)
    torch.testing.assert_close(found, expected)
    sent = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    followed = [*projection.parameters(), *table.parameters()]
    gradients, wanted = (torch.autograd.grad((value * sent).sum(), followed) for value in (found, expected))
    for gradient, oracle in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, oracle)


def test_fifty_steps_with_either_product_end_at_the_same_weights() -> None:
    table = FeatureTable(FEATURES)
    ends: list[torch.Tensor] = []
    for plain in (False, True):
        torch.manual_seed(0)
        projection = Projection(5, 4, 2)
        optimiser = torch.optim.Adam(projection.parameters(), lr=0.05)
        for step in range(50):
            items = torch.randperm(20, generator=torch.Generator().manual_seed(step))[:9]
            rows = projection(table.rows(items)) if plain else project_through(projection, table, items)
            optimiser.zero_grad()
            Draws(0, step).dropout("rows", rows, 0.3, items).cos().sum().backward()
            optimiser.step()
        ends.append(torch.cat([parameter.detach().flatten() for parameter in projection.parameters()]))
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-8)


def test_a_frozen_table_is_the_memory_of_its_features_and_a_trained_one_a_copy() -> None:
    """Where the float types agree; features are single precision."""
    torch.set_default_dtype(torch.float32)
    try:
        frozen, trained = FeatureTable(FEATURES), FeatureTable(FEATURES, trained=True)
    finally:
        torch.set_default_dtype(torch.float64)
    assert np.shares_memory(frozen.matrix.numpy(), FEATURES.matrix)
    assert not np.shares_memory(trained.matrix.detach().numpy(), FEATURES.matrix)
    for table in (frozen, trained, FeatureTable(FEATURES)):
        assert np.array_equal(table.matrix.detach().numpy(), FEATURES.matrix)
    assert FeatureTable(FEATURES).matrix.dtype == torch.float64


def test_training_on_memory_mapped_features_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, FEATURES.matrix)
    before = path.read_bytes()
    mapped = Features("text", np.load(path, mmap_mode="r"), FEATURES.present, "random", FEATURES.ids)
    torch.set_default_dtype(torch.float32)
    try:
        model = VBPR(VBPRConfig(), replace(worlds.inputs(np.ones((6, 20), np.int64)), features={"text": mapped}))
    finally:
        torch.set_default_dtype(torch.float64)
    everyone = torch.arange(6)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    for step in range(3):
        terms = model.loss(Batch(everyone, everyone, everyone + 9), Draws(0, step))
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
    assert path.read_bytes() == before


def test_only_training_asks_the_kernel_for_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps something for each number of rows, and new items that are to be placed are of any number."""
    asked: list[int] = []
    kernel = dense._pointwise  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(dense, "KERNEL", True)
    monkeypatch.setattr(dense, "_pointwise", lambda *given: asked.append(len(given[0])) or kernel(*given))
    table = FeatureTable(FEATURES).float()
    weight = nn.Parameter(torch.ones(2, 5, dtype=torch.float32))
    layer = ColumnLinear(5, 3).float()

    def both() -> None:
        project(table, None, weight)
        layer(table.matrix, common=True)

    both()
    assert len(asked) == 2
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            both()
    assert len(asked) == 2
