"""Time to quality: when the first validation was close enough to the best, on a small shop."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from benchmarks.convergence import Validation, load, measure, reached, row

import worlds
from palate.dataset.settings import SplitConfig


def curve(*values: float) -> list[Validation]:
    return [Validation(2 * number, float(number), number / 2, value) for number, value in enumerate(values, 1)]


def test_the_first_validation_within_one_per_cent_counts() -> None:
    first, best = reached(curve(0.05, 0.0989, 0.0991, 0.097, 0.1, 0.1, 0.02))
    assert (first.epoch, first.value) == (6, 0.0991)
    assert (best.epoch, best.value) == (10, 0.1)


def test_a_curve_that_only_falls_was_best_at_once() -> None:
    first, best = reached(curve(0.3, 0.2))
    assert first is best
    assert best.epoch == 2


@pytest.mark.parametrize("name", ["lightgcn", "bm3"])
def test_a_training_is_followed_from_the_start_of_its_process(tmp_path: Path, name: str) -> None:
    folder = worlds.stored(tmp_path / "catalogue")
    settings = {"dim": 4, "epochs": 5, "evaluate_every": 2, "patience": 9}
    found = measure(folder, name, settings, time.time() - 1000)
    assert [epoch for epoch, _, _, _ in found["validations"]] == [2, 4, 5]
    # The process is said to have started 1,000 seconds ago, all of which were spent before the training.
    moments = [1000, found["before_training"], *(seconds for _, seconds, _, _ in found["validations"])]
    assert moments == sorted(moments)
    assert found["best_value"] == max(value for *_, value in found["validations"])
    assert found["value"] >= 0.99 * found["best_value"]
    assert found["seconds"] <= found["best_seconds"]
    assert 0 < found["cpu"] <= found["best_cpu"] <= found["whole_cpu"]
    assert {"loss", "backward", "validation"} <= found["phases"].keys()
    assert json.loads(json.dumps(found)) == {**found, "validations": [list(each) for each in found["validations"]]}
    assert row(found).count("|") == 12


def test_a_catalogue_without_features_gets_random_ones(tmp_path: Path) -> None:
    folder = tmp_path / "catalogue"
    worlds.catalogue().save(folder)
    settings = SplitConfig.parse({"split": "random"})
    wide = load(folder, settings, None, modal=True)
    assert {name: value.width for name, value in wide.features.items()} == {"image": 4096, "text": 384}
    assert not load(folder, settings, None, modal=False).features
