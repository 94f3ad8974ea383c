"""Growth: the exponents of known laws, and what one model costs on two small graphs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from benchmarks.growth import BATCH, WARM, exponent, exponents, measure, row, world


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_its_power(power: float) -> None:
    sizes = [1e3, 1e4, 1e6]
    assert exponent(sizes, [7 * size**power for size in sizes]) == pytest.approx(power, abs=1e-9)


def test_one_size_has_no_exponent() -> None:
    assert math.isnan(exponent([1e4, 1e4], [1.0, 2.0]))


def test_memory_of_the_bare_process_does_not_count() -> None:
    sizes = [
        {"model": "bm3", "interactions": 10**n, "step_cpu": 0.1 * 10**n, "peak_mb": 300 + 100**n, "peak_before_mb": 300}
        for n in (1, 2, 3)
    ]
    (found,) = exponents(sizes)
    assert found == {"model": "bm3", "step": pytest.approx(1), "memory": pytest.approx(2)}


def test_a_world_has_the_interactions_asked_for() -> None:
    inputs = world(6000, {"text": 3})
    assert (inputs.users, inputs.items, inputs.train.by_user.size) == (300, 60, 6000)
    assert inputs.features["text"].matrix.shape == (60, 3)
    assert len(np.unique(inputs.train.by_user.keys())) == 6000


@pytest.mark.parametrize("name", ["lightgcn", "freedom"])
def test_a_model_is_measured_over_the_steps_asked_for(name: str) -> None:
    # Three batches and a rest.
    found = measure(name, 3 * BATCH + 1, steps=1, seconds=1000)
    assert found["steps"] == 1 + WARM
    assert found["steps_per_epoch"] == 4
    assert found["step_wall"] > 0
    assert found["peak_mb"] >= found["peak_world_mb"] >= found["peak_before_mb"] > 0
    assert row(found).count("|") == 10


def test_steps_end_with_the_epoch_and_with_the_time() -> None:
    assert measure("lightgcn", 2 * BATCH, steps=50, seconds=1000)["steps"] == 2
    assert measure("lightgcn", 2 * BATCH, steps=50, seconds=0)["steps"] == 1
