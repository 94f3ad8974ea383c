"""Comparisons: same data and seeds for all, resumable, and results that are those of the runs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

import worlds
from palate.core.errors import ArtefactError, ConfigError, DataError, Interrupted, TrainingError
from palate.dataset.dataset import Dataset
from palate.experiment import Run
from palate.measure.beyond import beyond_accuracy
from palate.study import compare as comparing
from palate.study.compare import PLAN, Task, compare, read_plan, run_one
from palate.study.data_plan import DataPlan
from palate.study.entrants import entrants_of
from palate.study.processes import run_tasks
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
        assert found["cost"]["process_peak_memory_mb"] > found["cost"]["peak_memory_rise_mb"] >= 0
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
    recipe = yaml.safe_load((out / "runs" / "bm3" / "text-absent" / "s1" / "run" / "recipe.yaml").read_text())
    assert recipe["data"]["features"] == ["image"]
    assert recipe["seed"] == 1
    for entry in results["knock_out"]:
        assert entry["difference"]["mean"] == pytest.approx(entry["with"] - entry["without"])
        plain, wide = entry["difference"], entry["corrected"]
        assert wide["low"] <= plain["low"] <= plain["high"] <= wide["high"]
        assert not (entry["separated"] and wide["low"] <= 0 <= wide["high"])
        assert "note" not in entry, "nothing was made from these modalities"


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
    with pytest.raises(ConfigError, match="same name 'ease': ease and ease"):
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


def recipe_file(path: Path, **values: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values))
    return str(path)


def test_an_entrant_that_cannot_take_part_is_named_and_the_others_go_on(
    plan: DataPlan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = recipe_file(tmp_path / "sound.yaml", model="bm3", features=["audio"])
    filled = recipe_file(tmp_path / "filled.yaml", model="contentknn", impute={"text": "mean"})
    names = [sound, filled, "popularity"]
    failed = compare(names, plan, tmp_path / "out", seeds=1)
    assert set(failed) == {"sound", "filled"}
    assert "audio" in failed["sound"]
    assert "text=mean" in failed["filled"]
    assert "failed: sound" in capsys.readouterr().err
    results = gather(tmp_path / "out", plan.load(), resamples=100)
    assert list(results["models"]) == ["popularity"]
    assert results["incomplete"] == failed


def test_an_entrant_with_other_settings_than_before_is_refused(plan: DataPlan, tmp_path: Path) -> None:
    out, path = tmp_path / "out", tmp_path / "mine.yaml"
    name = recipe_file(path, model="ease", settings={"ridge": 10.0})
    compare([name], plan, out, seeds=1, quiet=True)
    recipe_file(path, model="ease", settings={"ridge": 10.0}, published=[{"source": "a table"}])
    compare([name], plan, out, seeds=1, quiet=True)
    recipe_file(path, model="ease", settings={"ridge": 20.0})
    with pytest.raises(ArtefactError, match=r"'mine'.*settings\.ridge"):
        compare([name], plan, out, seeds=1, quiet=True)
    # Left out once, it is still known.
    compare(["popularity"], plan, out, seeds=1, quiet=True)
    with pytest.raises(ArtefactError, match="'mine'"):
        compare([name, "popularity"], plan, out, seeds=1, quiet=True)


def test_tables_hold_the_seeds_that_were_asked_for(plan: DataPlan, tmp_path: Path) -> None:
    out, data = tmp_path / "out", plan.load()
    names = ["popularity", recipe_file(tmp_path / "mine.yaml", model="lightgcn", settings=SMALL)]
    compare(names, plan, out, seeds=2, quiet=True)
    both = gather(out, data, resamples=100)
    assert (both["models"]["mine"]["seeds"], both["incomplete"]) == (2, {})
    compare(names, plan, out, seeds=1, quiet=True)
    one = gather(out, data, resamples=100)
    run = Run.load(out / "runs" / "mine" / "whole" / "s0" / "run", data=data)
    assert one["models"]["mine"]["seeds"] == 1
    assert one["models"]["mine"]["metrics"]["recall@20"]["mean"] == pytest.approx(run.metrics["test"]["recall@20"])
    compare(names, plan, out, seeds=2, quiet=True)
    (out / "runs" / "mine" / "whole" / "s1" / "lists.safetensors").unlink()
    torn = gather(out, data, resamples=100)
    assert list(torn["models"]) == ["popularity"]
    assert torn["incomplete"] == {"mine": "1 of 2 runs are missing (seed 1)"}


def test_a_run_on_some_modalities_of_imputed_data_opens_again(place: Path, tmp_path: Path) -> None:
    ways = {"image": "mean", "text": "mean"}
    plan = DataPlan(str(place / "CAT"), {"split": "random", "seed": 0}, None, ways)
    name = recipe_file(tmp_path / "mine.yaml", model="bm3", settings=SMALL, features=["image"])
    assert compare([name, "contentknn"], plan, tmp_path / "out", seeds=1, knocked=True, trials=0, quiet=True) == {}
    runs = tmp_path / "out" / "runs"
    run = Run.load(runs / "mine" / "whole" / "s0" / "run")
    assert run.recipe.data.impute == {"image": "mean"}
    absent = Run.load(runs / "contentknn" / "image-absent" / "s0" / "run")
    assert absent.recipe.data.impute == {"text": "mean"}
    # Filled-in rows are nobody's content: diversity by text is that of the data as they were.
    beyond = gather(tmp_path / "out", plan.load(), resamples=100)["models"]["contentknn"]["beyond"]
    folder = runs / "contentknn" / "whole" / "s0"
    lists, _ = comparing.stored_lists(folder)
    plain = DataPlan(plan.folder, plan.split, None).load()
    expected = beyond_accuracy(lists, plain.positives["train"], plain.features).means()
    assert beyond["ild_text@20"] == pytest.approx(expected["ild_text@20"])


def test_a_recipe_of_another_split_is_said_once(
    plan: DataPlan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = recipe_file(tmp_path / "mine.yaml", model="ease", split={"split": "latest", "seed": 0})
    assert compare([name], plan, tmp_path / "out", seeds=1) == {}
    said = [line for line in capsys.readouterr().err.splitlines() if "another split" in line]
    assert len(said) == 1
    assert "mine (split latest)" in said[0]


def test_labels_tell_recipe_files_apart(tmp_path: Path) -> None:
    names = ["bm3/world.yaml", "bm3/world-dense.yaml", "bm3/wide.yaml", "runs/first/recipe.yaml", "mine/a.yaml"]
    assert list(entrants_of(names, "world")) == ["bm3", "bm3-dense", "bm3-wide", "first", "a"]
    with pytest.raises(ConfigError, match=r"'a': mine/a\.yaml and yours/a\.yaml"):
        entrants_of(["mine/a.yaml", "yours/a.yaml"], "world")


def test_it_goes_on_where_the_catalogue_has_moved(place: Path, plan: DataPlan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    name = recipe_file(tmp_path / "mine.yaml", model="lightgcn", settings=SMALL)
    assert compare([name], plan, out, seeds=1, quiet=True) == {}
    run = out / "runs" / "mine" / "whole" / "s0"
    lists, trained = (run / "lists.safetensors").read_bytes(), (run / "run" / "history.jsonl").read_bytes()
    # As if killed between the training and its lists.
    (run / "lists.safetensors").unlink()
    shutil.copytree(place / "CAT", tmp_path / "moved")
    moved = dataclasses.replace(plan, folder=str(tmp_path / "moved"))
    assert compare([name], moved, out, seeds=1, quiet=True) == {}
    assert (run / "lists.safetensors").read_bytes() == lists
    assert (run / "run" / "history.jsonl").read_bytes() == trained


def test_what_a_kill_left_behind_is_no_other_work(plan: DataPlan, tmp_path: Path) -> None:
    (tmp_path / f".{PLAN}.abc.partial").write_text("{")
    assert compare(["popularity"], plan, tmp_path, seeds=1, quiet=True) == {}
    assert not list(tmp_path.glob(".*.partial"))


def test_data_without_a_test_part_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    rows = worlds.interactions().with_columns(split=pl.lit("train"))
    folder = worlds.stored(tmp_path / "CAT", worlds.catalogue(rows))
    with pytest.raises(DataError, match="test part"):
        compare(["popularity"], DataPlan(str(folder), {"split": "given"}, None), tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_task_without_memory_or_with_a_mistake_fails_alone(plan: DataPlan) -> None:
    done: list[str] = []

    def work(data: Dataset, task: str) -> None:
        done.append(task)
        if task == "large":
            raise MemoryError
        if task == "larger":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        if task == "wrong":
            raise RuntimeError("a mistake in the program")
        if task == "stopped":
            raise Interrupted("stopped")

    data = plan.load()
    failed = run_tasks(["large", "larger", "wrong", "small"], work, plan, data, jobs=1, title="", quiet=True)
    assert done == ["large", "larger", "wrong", "small"]
    assert failed[0] == "out of memory"
    assert "allocate 9 bytes" in failed[1]
    assert failed[2].startswith(f"RuntimeError: a mistake in the program ({__file__}, line ")
    assert set(failed) == {0, 1, 2}
    with pytest.raises(Interrupted):
        run_tasks(["stopped", "small"], work, plan, data, jobs=1, title="", quiet=True)


def test_the_command_ends_with_an_error_when_anything_failed(place: Path, tmp_path: Path) -> None:
    sound = recipe_file(tmp_path / "sound.yaml", model="bm3", features=["audio"])
    words = ["--data", place / "CAT", "--split", "random", "--seeds", 1, "-q"]
    some = worlds.palate("compare", sound, "popularity", *words, "-o", tmp_path / "some")
    assert some.code == 1
    assert "failed: sound: the recipe of sound wants audio" in some.err
    assert (tmp_path / "some" / RESULTS).is_file()
    none = worlds.palate("compare", sound, *words, "-o", tmp_path / "none")
    assert none.code == 1
    assert "nothing can be trained: the recipe of sound wants audio" in none.err
    assert not (tmp_path / "none" / "comparison.json").exists()


def test_a_knock_out_where_nobody_reads_features_is_said(place: Path, tmp_path: Path) -> None:
    words = ["--data", place / "CAT", "--split", "random", "--seeds", 1, "-q", "-o", tmp_path / "out"]
    ended = worlds.palate("compare", "ease", "popularity", "--knock-out", *words)
    assert ended.code == 0, ended.text
    assert "nothing was knocked out: no model here reads features" in ended.err
