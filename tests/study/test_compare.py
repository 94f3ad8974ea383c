"""Comparisons: same data and seeds for all, resumable, and results that are those of the runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

import worlds
from palate.core.errors import ArtefactError, ConfigError, TrainingError
from palate.dataset.dataset import Dataset
from palate.experiment import Run
from palate.study import compare as comparing
from palate.study.compare import Task, compare, read_plan, run_one
from palate.study.data_plan import DataPlan
from palate.study.results import COMPARED, PER_USER, RESULTS, ROWS, gather

SMALL = {"dim": 4, "epochs": 2, "batch_size": 64}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    worlds.stored(folder / "CAT")
    for model in ("lightgcn", "bm3"):
        (folder / "recipes" / model).mkdir(parents=True)
        recipe = {"model": model, "settings": SMALL}
        (folder / "recipes" / model / "world.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def plan(place: Path) -> DataPlan:
    return DataPlan(str(place / "CAT"), {"split": "random", "seed": 0}, None)


@pytest.fixture(scope="module")
def compared(place: Path, plan: DataPlan) -> tuple[Path, dict[str, Any]]:
    out = place / "comparison"
    failed = compare(
        ["popularity", "lightgcn", "bm3"],
        plan,
        out,
        seeds=2,
        knocked=True,
        quiet=True,
        recipes=place / "recipes",
    )
    assert failed == {}
    return out, gather(out, plan.load(), resamples=500)


def test_every_entrant_has_its_runs_and_their_figures(compared: tuple[Path, dict[str, Any]], plan: DataPlan) -> None:
    out, results = compared
    assert {label: found["seeds"] for label, found in results["models"].items()} == {
        "popularity": 1,
        "lightgcn": 2,
        "bm3": 2,
    }
    data = plan.load()
    for label, found in results["models"].items():
        runs = [Run.load(path, data=data) for path in sorted((out / "runs" / label / "whole").glob("s*/run"))]
        for metric in COMPARED:
            expected = np.mean([run.metrics["test"][metric] for run in runs])
            assert found["metrics"][metric]["mean"] == pytest.approx(expected)
            assert found["metrics"][metric]["low"] <= expected + 1e-12
        assert found["cost"]["process_peak_memory_mb"] > 0
    assert results["models"]["lightgcn"]["settings"]["dim"] == 4, "the recipe for these data"
    assert results["models"]["lightgcn"]["settings_from"].endswith("world.yaml")
    assert results["models"]["popularity"]["settings_from"] == "popularity"
    assert len(results["models"]["bm3"]["history"]) == 2
    assert set(results["separation"]) == set(COMPARED)


def test_slices_of_items_share_out_the_positives(compared: tuple[Path, dict[str, Any]], plan: DataPlan) -> None:
    slices = compared[1]["models"]["bm3"]["slices"]
    parts = [slices[f"items/{name}"]["positives"] for name in ("head", "mid", "tail", "cold")]
    assert sum(parts) == plan.load().positives["test"].size
    assert slices["items/no-text"]["members"] == 1


def test_knock_outs_are_runs_of_their_own_against_the_true_rows(compared: tuple[Path, dict[str, Any]]) -> None:
    out, results = compared
    found = {(entry["label"], entry["modality"], entry["how"]) for entry in results["knock_out"]}
    ways = {(modality, how) for modality in ("image", "text") for how in ("absent", "noise", "shuffled")}
    assert found == {("bm3", *way) for way in ways}
    absent = Run.load
    recipe = yaml.safe_load((out / "runs" / "bm3" / "text-absent" / "s1" / "run" / "recipe.yaml").read_text())
    assert recipe["data"]["features"] == ["image"]
    assert recipe["seed"] == 1
    assert absent is not None
    for entry in results["knock_out"]:
        assert entry["difference"]["mean"] == pytest.approx(entry["with"] - entry["without"])


def test_files_hold_what_was_found(compared: tuple[Path, dict[str, Any]], plan: DataPlan) -> None:
    out, results = compared
    assert json.loads((out / RESULTS).read_text()) == json.loads(json.dumps(results))
    rows = pl.read_parquet(out / ROWS)
    found = rows.filter(label="bm3", metric="recall@20")["mean"].item()
    assert found == results["models"]["bm3"]["metrics"]["recall@20"]["mean"]
    users = pl.read_parquet(out / PER_USER)
    assert users.filter(label="bm3")["recall@20"].mean() == pytest.approx(found)
    assert set(users["user_id"]) <= set(plan.load().users.ids)


def test_a_second_call_trains_only_what_is_missing(
    compared: tuple[Path, dict[str, Any]], plan: DataPlan, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = compared
    done: list[str] = []

    def noted(data: Dataset, task: Task) -> None:
        done.append(str(task))
        run_one(data, task)

    monkeypatch.setattr(comparing, "run_one", noted)
    (out / "runs" / "lightgcn" / "whole" / "s1" / "lists.safetensors").unlink()
    names = ["popularity", "lightgcn", "bm3"]
    compare(names, plan, out, seeds=2, knocked=True, quiet=True, recipes=place / "recipes")
    assert done == ["lightgcn, seed 1"]
    compare([*names, "ease"], plan, out, seeds=3, knocked=True, quiet=True, recipes=place / "recipes")
    assert {"ease, seed 0", "lightgcn, seed 2", "bm3, seed 2"} <= set(done)
    assert read_plan(out).seeds == 3


def test_what_fails_is_named_and_the_others_go_on(
    plan: DataPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(data: Dataset, task: Task) -> None:
        if task.label == "ease":
            raise TrainingError("this one breaks")
        run_one(data, task)

    monkeypatch.setattr(comparing, "run_one", broken)
    failed = compare(["ease", "popularity"], plan, tmp_path / "out", seeds=1, quiet=True)
    assert failed == {"ease, seed 0": "this one breaks"}
    assert list(gather(tmp_path / "out", plan.load(), resamples=100)["models"]) == ["popularity"]


def test_tuning_comes_first_where_it_is_asked_for(plan: DataPlan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    compare(["ease", "popularity"], plan, out, seeds=1, trials=2, quiet=True)
    assert (out / "tuning" / "ease" / "trials.json").is_file()
    tuned = yaml.safe_load((out / "tuning" / "ease" / "recipe.yaml").read_text())["settings"]
    assert yaml.safe_load((out / "settings" / "ease.yaml").read_text())["settings"] == tuned
    run = yaml.safe_load((out / "runs" / "ease" / "whole" / "s0" / "run" / "recipe.yaml").read_text())
    assert run["settings"]["ridge"] == tuned["ridge"]


def test_processes_give_the_same_figures(plan: DataPlan, tmp_path: Path) -> None:
    names = ["popularity", "ease"]
    found = []
    for jobs in (1, 2):
        out = tmp_path / str(jobs)
        assert compare(names, plan, out, seeds=1, jobs=jobs, quiet=True) == {}
        found.append(gather(out, plan.load(), resamples=100)["models"])
    for name in names:
        assert found[0][name]["metrics"] == found[1][name]["metrics"]


def test_mistakes_are_named(compared: tuple[Path, dict[str, Any]], place: Path, plan: DataPlan, tmp_path: Path) -> None:
    out, _ = compared
    with pytest.raises(ConfigError, match="same name"):
        compare(["ease", "ease"], plan, tmp_path / "a", quiet=True)
    with pytest.raises(ConfigError, match="bm3"):
        compare(["bm4"], plan, tmp_path / "b", quiet=True)
    other = DataPlan(plan.folder, {"split": "latest", "seed": 0}, None)
    with pytest.raises(ArtefactError, match="fingerprint"):
        compare(["ease"], other, out, quiet=True)
    with pytest.raises(ArtefactError, match="other data"):
        gather(out, other.load())
    with pytest.raises(ArtefactError, match="something else"):
        compare(["ease"], plan, place / "recipes", quiet=True)
    with pytest.raises(ArtefactError, match="no comparison"):
        gather(tmp_path, plan.load())


def test_an_entrant_sees_the_modalities_of_its_recipe(plan: DataPlan, tmp_path: Path) -> None:
    (tmp_path / "bm3.yaml").write_text(yaml.safe_dump({"model": "bm3", "settings": SMALL, "features": ["image"]}))
    names = [str(tmp_path / "bm3.yaml")]
    assert compare(names, plan, tmp_path / "out", seeds=1, knocked=True, quiet=True) == {}
    results = gather(tmp_path / "out", plan.load(), resamples=100)
    assert results["models"]["bm3"]["features"] == ["image"]
    assert {(entry["modality"], entry["how"]) for entry in results["knock_out"]} == {
        ("image", "noise"),
        ("image", "shuffled"),
    }
    (tmp_path / "sound.yaml").write_text(yaml.safe_dump({"model": "bm3", "features": ["audio"]}))
    with pytest.raises(ConfigError, match="audio"):
        compare([str(tmp_path / "sound.yaml")], plan, tmp_path / "other", seeds=1, quiet=True)
