"""`palate.compare` and `palate.tune` in Python do what the commands do."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import worlds
from palate.core.errors import ConfigError
from palate.dataset.dataset import Dataset
from palate.encode.store import FeatureStore
from palate.experiment import Run, fit, load
from palate.study.calls import compare, tune

SMALL = {"epochs": 2, "batch_size": 64}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = worlds.stored(tmp_path_factory.mktemp("calls") / "catalogue")
    return load(folder, split="random", split_seed=3, features=["text"], impute={"text": "mean"})


def test_a_comparison_has_its_table_and_goes_on(data: Dataset, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"model: bm3\nfeatures: [text]\nimpute: {{text: mean}}\nsettings: {json.dumps(SMALL)}\n")
    found = compare(["popularity", str(recipe)], data, seeds=2, out=tmp_path / "c", quiet=True)
    assert found.failed == {}
    table = found.table("recall@10", "ndcg@20")
    assert table["model"].sort().to_list() == ["mine", "popularity"]
    for row in table.iter_rows(named=True):
        seeds = sorted((found.folder / "runs" / row["model"] / "whole").iterdir())
        runs = [Run.load(seed / "run", data=data) for seed in seeds]
        assert len(runs) == {"mine": 2, "popularity": 1}[row["model"]]
        mean = sum(run.accuracy().means()["recall@10"] for run in runs) / len(runs)
        assert row["recall@10"] == pytest.approx(mean)
        assert row["recall@10 low"] <= row["recall@10"] <= row["recall@10 high"]
    assert found.per_user()["user_id"].n_unique() == found.results["test_users"]
    assert found.verdict
    assert (found.folder / "report.html").is_file()
    before = (seeds[0] / "run" / "model.safetensors").stat().st_mtime_ns
    again = compare(["popularity", str(recipe)], data, seeds=2, out=tmp_path / "c", quiet=True)
    assert again.table().equals(found.table())
    assert (seeds[0] / "run" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="nothing to compare"):
        compare([], data, out=tmp_path / "none")
    assert data.catalogue.folder is not None
    one = compare("popularity", data.catalogue.folder, seeds=1, out=tmp_path / "one", quiet=True)
    assert one.table()["model"].to_list() == ["popularity"]
    with pytest.raises(ConfigError, match="no metric 'recal@20'"):
        found.table("recal@20")


def test_a_search_gives_a_recipe_that_is_trained_by_its_file(data: Dataset, tmp_path: Path) -> None:
    found = tune("lightgcn", data, trials=2, settings=SMALL, out=tmp_path / "t", quiet=True)
    run = fit(found.file, data, out=tmp_path / "run", quiet=True)
    assert run.metrics["validation"] == found.recipe.ours[0].metrics


def test_data_that_no_other_process_could_load_are_refused(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="made in memory"):
        compare(["popularity"], worlds.dataset(), out=tmp_path / "c", quiet=True)
    knocked = data.with_features([])
    compare(["popularity"], knocked, seeds=1, out=tmp_path / "without", quiet=True)
    assert data.catalogue.folder is not None
    text = FeatureStore(data.catalogue.folder).load("text", data.catalogue.items["item_id"].to_list())
    doubled = dataclasses.replace(text, matrix=text.matrix * 2, fingerprint="")
    changed = Dataset.make(data.catalogue, data.settings, {"text": doubled})
    with pytest.raises(ConfigError, match="changed in memory"):
        tune("bm3", changed, trials=1, out=tmp_path / "t", quiet=True)
