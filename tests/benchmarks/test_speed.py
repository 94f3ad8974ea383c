"""The speed benchmark: costs told in one unit."""

from __future__ import annotations

import pytest
from benchmarks.speed import in_one_unit


def test_all_models_of_a_run_are_told_in_the_median_unit() -> None:
    first = {"epoch_cpu": 1.0, "evaluation_cpu": 0.3, "units_cpu": [0.02, 0.09]}
    second = {"epoch_cpu": 0.5, "evaluation_cpu": 0.3, "units_cpu": [0.03, 0.03]}
    in_one_unit([first])
    assert first["epoch_units"] == pytest.approx(1 / 0.055)
    in_one_unit([first, second])
    assert first["unit_cpu"] == second["unit_cpu"] == 0.03
    assert second["epoch_units"] == pytest.approx(0.5 / 0.03)
    assert first["evaluation_units"] == second["evaluation_units"] == pytest.approx(10)
