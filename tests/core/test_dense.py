"""Dense products by the faster kernel, against torch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from palate.core.dense import STEP, filled_up, linear, plain_linear, times
from palate.core.seeds import torch_generator

dtypes = st.sampled_from([torch.float32, torch.float64])


def close(found: Tensor, wanted: Tensor) -> None:
    """Equal, as near as sums of some fifty terms in another order can be."""
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-12}[wanted.dtype]
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@given(st.integers(0, 1000), st.integers(0, 40), st.integers(0, 50), st.integers(0, 30), dtypes, st.booleans())
def test_a_product_is_that_of_the_formula_however_its_sides_lie_in_memory(
    seed: int, count: int, inner: int, width: int, dtype: torch.dtype, common: bool
) -> None:
    generator = torch_generator(seed, "product")
    left, right = (torch.randn(rows, inner, generator=generator, dtype=dtype) for rows in (count, width))
    wanted = (left[:, :, None] * right.T).sum(1)
    padded = torch.cat([right, right], 1)[:, :inner]
    for one in (left, left.T.contiguous().T):
        for other in (right, right.T.contiguous().T, padded):
            close(times(one, other, common), wanted)


@given(
    st.integers(0, 1000),
    st.integers(0, 40),
    st.booleans(),
    st.sampled_from([None, 0.0, 0.01, 0.5]),
    dtypes,
)
def test_a_layer_and_its_gradients_are_those_of_torch(
    seed: int, count: int, biased: bool, slope: float | None, dtype: torch.dtype
) -> None:
    generator = torch_generator(seed, "layer")
    rows, weight = (torch.randn(n, 7, generator=generator, dtype=dtype, requires_grad=True) for n in (count, 5))
    bias = torch.randn(5, generator=generator, dtype=dtype, requires_grad=True) if biased else None
    followed = [rows, weight] + ([] if bias is None else [bias])
    found, wanted = linear(rows, weight, bias, slope), F.linear(rows, weight, bias)
    wanted = wanted if slope is None else F.leaky_relu(wanted, slope)
    close(found.detach(), wanted.detach())
    outer = torch.randn(count, 5, generator=generator, dtype=dtype)
    pairs = zip(torch.autograd.grad(found, followed, outer), torch.autograd.grad(wanted, followed, outer), strict=True)
    for gradient, oracle in pairs:
        close(gradient, oracle)


def test_what_is_not_followed_gets_no_gradient_and_a_sum_can_be_sent_back() -> None:
    rows, weight = torch.randn(6, 4), torch.randn(3, 4, requires_grad=True)
    linear(rows, weight, None, 0.1).sum().backward()
    assert rows.grad is None
    assert weight.grad is not None
    with torch.inference_mode():
        close(linear(rows, weight), rows @ weight.T)


@pytest.mark.parametrize("slope", [None, 0.0, 0.01])
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_stays_so(slope: float | None, wrong: float) -> None:
    rows, weight = torch.ones(3, 2, dtype=torch.float32), torch.eye(2, dtype=torch.float32)
    rows[1, 0] = wrong
    torch.testing.assert_close(
        linear(rows, weight, None, slope), plain_linear(rows, weight, None, slope), equal_nan=True
    )


@pytest.mark.filterwarnings("ignore:TF32 acceleration:UserWarning")
def test_the_kernel_can_be_switched_off() -> None:
    rows = torch.randn(6, 4, dtype=torch.float32, requires_grad=True)
    with torch.backends.mkldnn.flags(enabled=False):
        loss = linear(rows, torch.randn(3, 4, dtype=torch.float32)).square().sum()
    torch.autograd.grad(loss, rows, create_graph=True)


def test_a_second_derivative_is_refused_where_the_first_was_formed_by_hand() -> None:
    rows, weight = (torch.randn(n, 4, dtype=torch.float32, requires_grad=True) for n in (6, 3))
    loss = linear(rows, weight).square().sum()
    with pytest.raises(RuntimeError, match="has no derivative of its own"):
        torch.autograd.grad(loss, rows, create_graph=True)
    torch.autograd.gradgradcheck(linear, (rows.double(), weight.double()))


@given(st.integers(0, 100_000))
def test_rows_are_filled_up_with_zeros(count: int) -> None:
    rows = torch.ones(count, 1)
    filled = filled_up(rows)
    assert len(filled) % STEP == 0
    assert count <= len(filled) < count + max(STEP, count / 8)
    assert torch.equal(filled[:count], rows)
    assert not filled[count:].any()


def test_numbers_of_rows_that_grow_make_few_shapes() -> None:
    sizes = {len(filled_up(torch.empty(count, 0))) for count in range(0, 1_000_000, 50)}
    assert len(sizes) < 200
