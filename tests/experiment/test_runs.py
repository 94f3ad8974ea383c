"""Run folders: what they hold, that a recipe repeats them, and that they can be trusted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml

import palate
import palate.experiment
import worlds
from experiment.folders import FILES, SMALL, names
from palate.core.artefact import read_manifest, read_tensors, sha256_of
from palate.core.errors import ArtefactError, ConfigError, DataError, PalateError
from palate.dataset.dataset import Dataset
from palate.experiment import Recipe, Run, fit, load, resolve

# What a run folder holds


def test_a_finished_run_holds_these_files_and_no_others(finished: Path) -> None:
    assert names(finished) == FILES
    manifest = read_manifest(finished, "run", 1)
    assert set(manifest["files"]) == FILES - {"manifest.json"}
    assert manifest["model"] == "bm3"
    for name, entry in manifest["files"].items():
        assert entry["sha256"] == sha256_of(finished / name)


def test_a_classical_run_has_no_embeddings_and_no_history(data: Dataset, tmp_path: Path) -> None:
    run = fit("ease", data, out=tmp_path / "run", quiet=True)
    assert names(run.folder) == FILES - {"embeddings.safetensors", "history.jsonl"}
    assert Run.load(run.folder).recommend(["u1"], 3).equals(run.recommend(["u1"], 3))


def test_nothing_in_a_run_folder_is_a_pickle(finished: Path) -> None:
    for path in finished.iterdir():
        data = path.read_bytes()
        # Pickles begin with 0x80 and a protocol, 2 or more; torch's own files are zip archives of pickles.
        assert not data.startswith((*(bytes([0x80, protocol]) for protocol in range(2, 16)), b"PK"))
        assert b"torch" not in data or path.suffix in (".json", ".yaml")
        if path.suffix == ".safetensors":
            assert json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def test_history_has_one_line_per_epoch(finished: Path) -> None:
    entries = [json.loads(line) for line in (finished / "history.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in entries] == [1, 2, 3]
    for entry in entries:
        assert entry["loss"] == pytest.approx(sum(entry["terms"].values()))
        assert "recall@20" in entry["validation"]


def test_metrics_tell_validation_and_training_and_no_test(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    assert set(metrics) == {"validation", "training"}
    assert set(metrics["validation"]) == {
        f"{metric}@{cut}" for metric in ("recall", "ndcg", "precision", "map", "mrr", "hit") for cut in (5, 10, 20, 50)
    }
    assert metrics["training"]["process_peak_memory_mb"] > 10
    best = json.loads((finished / "history.jsonl").read_text().splitlines()[metrics["training"]["best_epoch"] - 1])
    assert best["validation"] == metrics["validation"]


def test_evaluate_notes_the_test_part_and_the_folder_stays_valid(finished: Path) -> None:
    run = Run.load(finished)
    means = run.evaluate()
    assert run.metrics["test"] == means
    users = int((run.data.positives["test"].lengths > 0).sum())
    assert run.metrics["test_about"] == {"users": users, "all_users": 30, "mask": "train+valid"}
    read_manifest(finished, "run", 1)
    assert Run.load(finished).evaluate() == means
    assert len(run.accuracy().users) == users


def test_masking_validation_items_too_only_moves_test_items_up(finished: Path) -> None:
    run = Run.load(finished)
    both, train = run.accuracy("train+valid").values, run.accuracy("train").values
    assert (both["ndcg@10"] >= train["ndcg@10"]).all()
    assert (both["ndcg@10"] > train["ndcg@10"]).any()


def test_the_same_settings_give_the_same_bits(data: Dataset, finished: Path, tmp_path: Path) -> None:
    again = fit("bm3", data, settings=SMALL, out=tmp_path / "again", quiet=True)
    for name in ("model.safetensors", "embeddings.safetensors", "recipe.yaml"):
        assert (again.folder / name).read_bytes() == (finished / name).read_bytes()
    other = fit("bm3", data, settings=SMALL, seed=1, out=tmp_path / "other", quiet=True)
    assert (other.folder / "model.safetensors").read_bytes() != (finished / "model.safetensors").read_bytes()


def test_scores_of_a_stored_run_are_inner_products_of_its_embeddings(finished: Path) -> None:
    tensors, _ = read_tensors(finished / "embeddings.safetensors")
    scores = Run.load(finished).scorer.score_block(torch.arange(30)).numpy()
    np.testing.assert_allclose(scores, tensors["user"].numpy() @ tensors["item"].numpy().T, rtol=1e-5, atol=1e-7)


# Recipes


def test_a_recipe_survives_the_way_through_its_file(finished: Path, catalogue: Path) -> None:
    recipe = Recipe.read(finished / "recipe.yaml")
    assert recipe.text() == (finished / "recipe.yaml").read_text()
    assert Recipe.parse(yaml.safe_load(recipe.text())) == recipe
    assert (recipe.model, recipe.settings["dim"], recipe.train.epochs) == ("bm3", 4, 3)
    assert (recipe.data.split.split, recipe.data.split.positive) == ("random", 4)
    assert recipe.data.catalogue == str(catalogue.resolve())
    assert recipe.data.features == ["image", "text"]


def test_a_recipe_is_all_it_takes_to_repeat_a_run(finished: Path, tmp_path: Path) -> None:
    recipe = Recipe.read(finished / "recipe.yaml")
    data = load(str(recipe.data.catalogue), split_seed=recipe.data.split.seed, **recipe.data.split.model_dump(
        exclude={"seed"}
    ))  # fmt: skip
    settings = {**recipe.settings, **recipe.train.model_dump()}
    again = fit(recipe.model, data, seed=recipe.seed, settings=settings, out=tmp_path / "again", quiet=True)
    assert (again.folder / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "mapping"),
        (b"- a\n- b\n", "mapping"),
        (b"model: bm3\nsede: 1\n", "did you mean 'seed'"),
        (b"model: [\n", "not valid YAML"),
        (b"\xff\xfe\x00", "not text"),
        (b"model: !!python/object/apply:os.system [ls]\n", "not valid YAML"),
    ],
)
def test_a_broken_recipe_is_an_error_with_its_place(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(PalateError, match=words) as caught:
        Recipe.read(path)
    assert str(path) in caught.value.where


def test_presets_and_settings_are_resolved_by_name() -> None:
    _, config, training = resolve("bm3", "official", {"dim": 16, "epochs": 7})
    assert config.model_dump()["dim"] == 16
    assert config.model_dump()["align_stops_target"] is True
    assert training.epochs == 7
    for model, preset, words in (
        ("bm4", "intended", "did you mean 'bm3'"),
        ("bm3", "oficial", "did you mean 'official'"),
        ("ease", "official", "no official preset"),
    ):
        with pytest.raises(ConfigError, match=words):
            resolve(model, preset)
    with pytest.raises(ConfigError, match="did you mean 'layers'"):
        resolve("bm3", settings={"layer": 3})


# Trust


@pytest.mark.parametrize("name", sorted(FILES - {"manifest.json"}))
def test_tampering_with_any_file_is_found(finished: Path, name: str) -> None:
    path = finished / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match="not the one that was written"):
        Run.load(finished)
    path.unlink()
    with pytest.raises(ArtefactError):
        Run.load(finished)


def test_moved_data_must_be_named(finished: Path, catalogue: Path, tmp_path: Path) -> None:
    expected = Run.load(finished).recommend(["u3"], 4)
    shutil.move(catalogue, tmp_path / "elsewhere")
    with pytest.raises(DataError, match="not there any more") as caught:
        Run.load(finished)
    assert "--data" in caught.value.do
    assert Run.load(finished, data=tmp_path / "elsewhere").recommend(["u3"], 4).equals(expected)
    with pytest.raises(DataError, match="not there any more"):
        Run.load(finished, data=tmp_path / "nowhere")


def test_a_moved_run_still_finds_its_data(finished: Path, tmp_path: Path) -> None:
    expected = Run.load(finished).recommend(["u3"], 4)
    shutil.move(finished, tmp_path / "else" / "where")
    assert Run.load(tmp_path / "else" / "where").recommend(["u3"], 4).equals(expected)


def fewer_rows(folder: Path) -> None:
    source = worlds.catalogue(worlds.interactions()[1:])
    shutil.rmtree(folder)
    worlds.stored(folder, source)


def other_features(folder: Path) -> None:
    shutil.rmtree(folder)
    worlds.stored(folder, missing=("i3", "i4"))


@pytest.mark.parametrize("change", [fewer_rows, other_features])
def test_changed_data_are_refused(finished: Path, catalogue: Path, change: Callable[[Path], None]) -> None:
    change(catalogue)
    with pytest.raises(DataError, match="not the data this run was trained on"):
        Run.load(finished)


def test_a_new_modality_does_not_disturb_an_old_run(finished: Path, catalogue: Path) -> None:
    expected = Run.load(finished).recommend(["u3"], 4)
    shutil.copytree(catalogue / "features" / "text", catalogue / "features" / "words")
    assert Run.load(finished).recommend(["u3"], 4).equals(expected)


def test_runs_of_models_without_features_outlive_a_change_of_features(catalogue: Path, tmp_path: Path) -> None:
    """Encoding anew must not orphan the runs of models that never looked at features."""
    data = load(catalogue, split="random")
    runs = {
        name: fit(name, data, settings={"epochs": 1, "dim": 4} if name == "lightgcn" else {}, out=tmp_path / name,
                  quiet=True)
        for name in ("popularity", "ease", "lightgcn")
    }  # fmt: skip
    expected = {name: run.recommend(["u3"], 4) for name, run in runs.items()}
    for run in runs.values():
        assert run.recipe.data.features == []
        assert run.data.features == {}
    with_features = fit("bm3", data, settings=SMALL, out=tmp_path / "bm3", quiet=True)
    assert with_features.recipe.data.features == ["image", "text"]
    other_features(catalogue)
    with pytest.raises(DataError, match="not the data this run was trained on"):
        Run.load(tmp_path / "bm3")
    for name, table in expected.items():
        assert Run.load(tmp_path / name).recommend(["u3"], 4).equals(table)
        again = Run.load(tmp_path / name, data=load(catalogue, split="random"))
        assert again.recommend(["u3"], 4).equals(table)
        assert again.data.features == {}
    with pytest.raises(DataError, match="not the data this run was trained on"):
        Run.load(tmp_path / "ease", data=load(catalogue, split="latest"))


def test_a_file_that_the_manifest_does_not_list_is_not_read(data: Dataset, finished: Path, tmp_path: Path) -> None:
    run = fit("ease", data, out=tmp_path / "ease", quiet=True)
    everyone = torch.arange(len(data.users))
    shutil.copy(finished / "embeddings.safetensors", run.folder)
    loaded = Run.load(run.folder)
    assert torch.equal(loaded.scorer.score_block(everyone), run.scorer.score_block(everyone))
    assert loaded.evaluate() == run.evaluate()


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("model", ["popularity", "ease", "indexorder", "bm3", "lightgcn"])
def test_a_run_is_opened_in_its_own_precision(
    model: str, precision: str, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_precision(*words: Any) -> Any:
        kind, config, training = resolve(*words)
        return kind, config, training.override({"precision": precision})

    monkeypatch.setattr(palate.experiment, "resolve", in_precision)
    run = fit(model, data, settings=SMALL if model in ("bm3", "lightgcn") else {}, out=tmp_path / "run", quiet=True)
    assert run.recipe.train.precision == precision
    loaded = Run.load(tmp_path / "run")
    everyone = torch.arange(len(data.users))
    scores = run.scorer.score_block(everyone)
    assert torch.equal(loaded.scorer.score_block(everyone), scores)
    if model != "indexorder":
        assert scores.dtype == (torch.float64 if precision == "float64" else torch.float32)
    if model == "ease" and precision == "float64":
        assert not torch.equal(scores, scores.float().double()), "float32 would not do for these scores"
    assert loaded.evaluate() == run.evaluate()


def test_data_made_in_memory_must_be_passed(tmp_path: Path) -> None:
    data = worlds.dataset(split="random")
    run = fit("popularity", data, out=tmp_path / "run", quiet=True)
    with pytest.raises(DataError, match="made in memory"):
        Run.load(tmp_path / "run")
    assert Run.load(tmp_path / "run", data=data).evaluate() == run.evaluate()


def test_folders_that_are_no_runs_are_refused(tmp_path: Path, catalogue: Path) -> None:
    for folder in (tmp_path / "nothing", tmp_path, catalogue):
        with pytest.raises(ArtefactError):
            Run.load(folder)


def test_a_finished_run_is_not_trained_again(finished: Path, data: Dataset) -> None:
    before = {path.name: sha256_of(path) for path in finished.iterdir()}
    again = fit("bm3", data, settings=SMALL, out=finished, quiet=True)
    assert again.earlier
    assert not Run.load(finished).earlier
    assert again.recommend(["u1"], 3).equals(Run.load(finished).recommend(["u1"], 3))
    others: list[tuple[int, dict[str, Any]]] = [(0, {**SMALL, "dim": 5}), (1, SMALL), (0, {})]
    for seed, settings in others:
        with pytest.raises(ArtefactError, match="a finished run with other settings is here"):
            fit("bm3", data, seed=seed, settings=settings, out=finished, quiet=True)
    with pytest.raises(ArtefactError, match="a finished run with other settings is here"):
        fit("bm3", load(str(data.catalogue.folder), split="latest"), settings=SMALL, out=finished, quiet=True)
    assert {path.name: sha256_of(path) for path in finished.iterdir()} == before


def test_a_finished_run_that_was_changed_is_not_given_back(finished: Path, data: Dataset) -> None:
    with open(finished / "embeddings.safetensors", "ab") as stream:
        stream.write(b"x")
    with pytest.raises(ArtefactError, match="not the one that was written"):
        fit("bm3", data, settings=SMALL, out=finished, quiet=True)


def test_a_folder_or_file_of_something_else_is_left_alone(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for place in ("notes", "file"):
        with pytest.raises(ArtefactError, match="something else"):
            fit("popularity", data, out=tmp_path / place, quiet=True)
    assert (tmp_path / "notes" / "mine.txt").read_text() == (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["mine.txt"]


def test_without_a_folder_runs_get_names_of_their_own(data: Dataset, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    other = load(str(data.catalogue.folder), split="random", positive=3)
    folders = [fit("popularity", source, quiet=True).folder.as_posix() for source in (data, other, data, other)]
    assert folders == 2 * ["runs/popularity-world-random-s0", "runs/popularity-world-random-s0-2"]


def test_recommending_and_measuring_nothing_is_said(finished: Path, data: Dataset, tmp_path: Path) -> None:
    run = Run.load(finished)
    with pytest.raises(ConfigError, match="at least 1"):
        run.recommend(["u1"], 0)
    assert run.recommend("u12", 3).equals(run.recommend(["u12"], 3))
    with pytest.raises(DataError, match="unknown user 'u99'"):
        run.recommend(["u99"])
    rows = worlds.interactions().with_columns(split=pl.lit("train"))
    empty = worlds.dataset(worlds.catalogue(rows), split="given")
    with pytest.raises(DataError, match="no positive interaction"):
        fit("popularity", empty, out=tmp_path / "p", quiet=True).evaluate()


def test_the_front_door_is_the_same(catalogue: Path, tmp_path: Path) -> None:
    run = palate.fit("popularity", palate.load(catalogue, split="latest"), out=tmp_path / "run", quiet=True)
    assert isinstance(run, palate.Run)
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        palate.fitt  # noqa: B018
