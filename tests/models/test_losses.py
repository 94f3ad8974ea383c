"""Loss terms at values that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from palate.models.losses import batch_squared, bpr, cosine_distance


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
