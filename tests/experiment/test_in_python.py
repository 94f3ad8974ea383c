"""The same tools from Python: what one mistypes is said, and what one looks at is readable."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import palate
from experiment.folders import SMALL
from palate.core.errors import ConfigError
from palate.dataset.dataset import Dataset
from palate.experiment import Run, fit, load


@pytest.fixture
def run(data: Dataset, tmp_path: Path) -> Run:
    return fit("bpr", data, settings=SMALL, out=tmp_path / "run", quiet=True)


@pytest.mark.parametrize(
    "ask",
    [
        lambda run: run.evaluate(mask="train+val"),
        lambda run: run.accuracy("Train+valid"),
        lambda run: run.data.mask("test", "train+vaild"),
    ],
)
def test_a_mask_that_is_none_is_no_other_mask(run: Run, ask: Callable[[Any], object]) -> None:
    before = json.loads((run.folder / "metrics.json").read_text())
    with pytest.raises(ConfigError, match="unknown mask") as caught:
        ask(run)
    assert "did you mean 'train+valid'" in caught.value.what
    assert caught.value.do == "choose train or train+valid"
    assert run.metrics == before


def test_new_items_are_measured_with_a_mask_that_there_is(catalogue: Path, tmp_path: Path) -> None:
    data = load(catalogue, split="cold-items", cold_share=0.3)
    run = fit("vbpr", data, settings=SMALL, out=tmp_path / "run", quiet=True)
    with pytest.raises(ConfigError, match="unknown mask 'train\\+val'"):
        run.evaluate_new_items("content", mask=cast(Any, "train+val"))
    assert "test_new_items" not in run.metrics


def test_only_held_out_parts_have_a_mask(data: Dataset) -> None:
    with pytest.raises(ConfigError, match="unknown part 'tset'; did you mean 'test'"):
        data.mask(cast(Any, "tset"))
    with pytest.raises(ConfigError, match="unknown mask"):
        data.mask("valid", cast(Any, "none"))


def test_one_modality_may_be_named_alone(catalogue: Path) -> None:
    assert list(load(catalogue, split="random", features="text").features) == ["text"]
    with pytest.raises(ConfigError, match="unknown modality 'txt'"):
        load(catalogue, split="random", features="txt")


@pytest.mark.parametrize("seed", [-1, 1.5, "one"])
def test_a_seed_that_is_none_is_refused(data: Dataset, seed: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seed"):
        fit("popularity", data, seed=seed, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_folder_may_stand_for_its_data_set(catalogue: Path, tmp_path: Path) -> None:
    run = fit("popularity", catalogue, out=tmp_path / "run", quiet=True)
    assert run.data.fingerprint == load(catalogue).seen_by(features=False, knowledge=False).fingerprint


def test_an_id_may_be_a_number(run: Run) -> None:
    user = run.data.users.ids[0]
    assert run.recommend(user, k=np.int64(3)).equals(run.recommend([user], k=3))
    with pytest.raises(palate.core.errors.DataError, match="unknown user '196'"):
        run.recommend(196)
    with pytest.raises(palate.core.errors.DataError, match="unknown user '196'"):
        run.recommend(cast(Any, np.int64(196)))


@pytest.mark.parametrize("k", [0, 1.5, "5"])
def test_a_list_has_a_whole_length(run: Run, k: Any) -> None:
    with pytest.raises(ConfigError, match="whole number"):
        run.recommend(run.data.users.ids[0], k=k)


def test_runs_and_data_are_one_line(run: Run) -> None:
    assert repr(run) == f"Run {run.folder}: bpr, seed 0, on world (split random)"
    seen = run.data.seen
    assert repr(run.data) == (
        f"Dataset of world: {len(run.data.users)} users, {len(run.data.items)} items, split random "
        f"(train {seen['train'].size}, valid {seen['valid'].size}, test {seen['test'].size}), features none"
    )


def test_the_package_shows_what_it_offers() -> None:
    assert {"Run", "compare", "fit", "load", "tune", "__version__"} <= set(dir(palate))
    assert importlib.resources.files("palate").joinpath("py.typed").is_file()
