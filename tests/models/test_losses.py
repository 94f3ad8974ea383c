"""Loss terms at values that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palate.models.losses import batch_squared, bpr, cosine_distance, gram_distance, in_batch_contrast


def test_bpr_of_equal_scores_is_ln_2_and_of_a_known_gap_its_softplus() -> None:
    user = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    same = torch.tensor([[3.0, 1.0], [5.0, 4.0]])
    assert bpr(user, same, same).item() == pytest.approx(math.log(2))
    worse = same - torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    assert bpr(user, same, worse).item() == pytest.approx((math.log1p(math.exp(-2)) + math.log1p(math.exp(-3))) / 2)


def test_bpr_stays_finite_far_out() -> None:
    user, item = torch.tensor([[1.0]]), torch.tensor([[1e6]])
    assert bpr(user, item, -item).item() == 0
    assert bpr(user, -item, item).item() == pytest.approx(2e6)


def test_batch_squared_adds_mean_squared_norms() -> None:
    assert batch_squared(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([[2.0]])).item() == 13 + 4


def test_cosine_distance_of_equal_orthogonal_and_opposite_rows() -> None:
    left = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0]])
    right = torch.tensor([[5.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    assert cosine_distance(left, right).item() == pytest.approx(1.0)
    for present, expected in (([1, 0, 0], 0.0), ([0, 1, 0], 1.0), ([0, 1, 1], 1.5), ([0, 0, 0], 0.0)):
        assert cosine_distance(left, right, torch.tensor(present, dtype=left.dtype)).item() == pytest.approx(expected)


def test_the_contrast_of_equal_rows_is_the_log_of_their_number_and_of_far_ones_nothing() -> None:
    once = torch.ones(4, dtype=torch.int64)
    assert in_batch_contrast(torch.ones(4, 3), torch.ones(4, 3), once, 0.2).item() == pytest.approx(math.log(4))
    assert in_batch_contrast(torch.eye(4), torch.eye(4), once, 1e-3).item() == pytest.approx(0.0, abs=1e-12)
    worst = in_batch_contrast(torch.eye(2), 1 - torch.eye(2), torch.ones(2, dtype=torch.int64), 1e-2).item()
    assert worst == pytest.approx(100.0)
    assert in_batch_contrast(torch.ones(0, 3), torch.ones(0, 3), once[:0], 0.2).item() == 0.0


counted = given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(1, 9), st.integers(0, 99))


@counted
def test_counts_stand_for_rows_written_out(counts: list[int], width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    often = torch.tensor(counts)
    place = torch.repeat_interleave(torch.arange(len(counts)), often)
    ones = torch.ones(len(place), dtype=torch.int64)
    for function, columns in ((lambda *rows: in_batch_contrast(*rows, 0.3), 4), (gram_distance, width)):
        left = torch.randn(len(counts), 4, generator=generator).requires_grad_()
        right = torch.randn(len(counts), columns, generator=generator)
        short = function(left, right, often)
        long = function(left[place], right[place], ones)
        torch.testing.assert_close(short, long)
        torch.testing.assert_close(torch.autograd.grad(short, left), torch.autograd.grad(long, left))


@counted
def test_the_distance_of_grams_is_that_of_the_matrices_of_all_pairs(counts: list[int], width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = sum(counts)
    left = torch.randn(rows, 3, generator=generator).requires_grad_()
    right = torch.randn(rows, width, generator=generator)
    found = gram_distance(left, right, torch.ones(rows, dtype=torch.int64))
    expected = torch.linalg.matrix_norm(left @ left.T - right @ right.T) / rows
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    oracle = torch.autograd.grad(expected, left)
    torch.testing.assert_close(torch.autograd.grad(found, left), oracle, rtol=1e-8, atol=1e-9)


def test_equal_grams_are_at_distance_zero_with_no_gradient() -> None:
    rows = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2))).Q
    left = rows.clone().requires_grad_()
    distance = gram_distance(left, rows @ turn, torch.ones(7, dtype=torch.int64))
    assert distance.item() == 0.0
    assert not torch.autograd.grad(distance, left)[0].any()


def test_a_row_without_direction_gets_no_gradient_and_the_others_theirs() -> None:
    left = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    right = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    distance = cosine_distance(left, right)
    assert float(distance.detach()) == pytest.approx((1 + 0.4) / 2)
    distance.backward()
    assert left.grad is not None
    assert left.grad[0].tolist() == [0.0, 0.0]
    # d cos / dx = y / |x||y| - cos x / |x|²
    assert left.grad[1].tolist() == pytest.approx([-(0.2 - 0.6 * 3 / 25) / 2, 0.6 * 4 / 25 / 2])
