"""Ridge regression against its definition: the solution, the choice of the penalty, and both Gram matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.recommend.ridge import PENALTIES, ridge


def world(count: int, width: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, width))
    y = x @ generator.normal(size=(width, 3)) + 2.0 + noise * generator.normal(size=(count, 3))
    return x, y


@given(st.integers(2, 30), st.integers(1, 30), st.integers(0, 5))
def test_the_map_solves_the_penalised_least_squares_problem(count: int, width: int, seed: int) -> None:
    x, y = world(count, width, 0.5, seed)
    found = ridge(x, y)
    residual = found(x) - y
    # The gradient of ‖x W + b - y‖² + λ ‖W‖² is zero at its minimum.
    assert np.allclose(x.T @ residual + found.penalty * found.weight, 0, atol=1e-8)
    assert np.allclose(residual.sum(0), 0, atol=1e-9)


def cross_validation_error(x: np.ndarray, y: np.ndarray, penalty: float) -> float:
    """Golub, Heath & Wahba's formula with the hat matrix written out."""
    count = len(x)
    x, y = x - x.mean(0), y - y.mean(0)
    hat = x @ np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T)
    free = count - 1 - np.trace(hat)
    return float(((y - hat @ y) ** 2).sum() * count / free**2)


@pytest.mark.parametrize(("count", "width"), [(40, 10), (12, 30)])
def test_the_penalty_has_the_least_cross_validation_error(count: int, width: int) -> None:
    x, y = world(count, width, 3.0)
    centred = x - x.mean(0)
    eigenvalues = np.linalg.eigvalsh(centred.T @ centred)
    # Both Gram matrices have the same eigenvalues but for zeros, and the scale is the mean of the smaller one's.
    scale = eigenvalues.sum() / min(count, width)
    errors = [cross_validation_error(x, y, penalty * scale) for penalty in PENALTIES]
    found = ridge(x, y)
    assert found.penalty == pytest.approx(PENALTIES[int(np.argmin(errors))] * scale)
    total = ((y - y.mean(0)) ** 2).sum()
    assert found.explained == pytest.approx(1 - min(errors) * count / total)


def test_what_is_linear_is_found_and_what_is_noise_is_not_explained() -> None:
    x, y = world(60, 8, 0.0)
    assert ridge(x, y).explained > 0.999
    assert np.allclose(ridge(x, y)(x), y, atol=1e-3)
    noise = np.random.default_rng(5).normal(size=(60, 3))
    assert ridge(x, noise).explained < 0.1


def test_inputs_that_do_not_vary_give_the_mean() -> None:
    y = np.arange(12.0).reshape(4, 3)
    assert np.allclose(ridge(np.ones((4, 2)), y)(np.ones((1, 2))), y.mean(0))
