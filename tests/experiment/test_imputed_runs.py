"""Runs on data with missing content filled in: the recipe says so, and the run is opened on the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from experiment.folders import SMALL
from palate.core.errors import ArtefactError, ConfigError, DataError
from palate.experiment import Recipe, Run, fit, load
from palate.recipe import RecipeFile


@pytest.mark.parametrize("impute", ["neighbours", {"text": "mean", "image": "none"}])
def test_a_run_is_opened_on_the_rows_it_was_trained_on(
    impute: str | dict[str, str], catalogue: Path, tmp_path: Path
) -> None:
    data = load(catalogue, split="random", impute=impute)
    run = fit("bm3", data, settings=SMALL, out=tmp_path / "run", quiet=True)
    loaded = Run.load(tmp_path / "run")
    assert loaded.recipe.data.impute == data.imputation
    assert loaded.data.imputation["text"] == ("neighbours" if impute == "neighbours" else "mean")
    assert loaded.data.fingerprint == data.fingerprint
    np.testing.assert_array_equal(loaded.data.features["text"].matrix, data.features["text"].matrix)
    assert loaded.data.missing["text"].sum() == 1
    assert loaded.evaluate() == run.evaluate()
    assert RecipeFile.read(tmp_path / "run" / "recipe.yaml").impute == data.imputation
    with pytest.raises(DataError, match="not the data this run was trained on"):
        Run.load(tmp_path / "run", data=load(catalogue, split="random"))
    with pytest.raises(ArtefactError, match=r"impute"):
        fit("bm3", load(catalogue, split="random"), settings=SMALL, out=tmp_path / "run", quiet=True)


def test_filled_rows_count_in_training(catalogue: Path, tmp_path: Path) -> None:
    plain, filled = (
        fit("bm3", load(catalogue, split="random", impute=how), settings=SMALL, out=tmp_path / how, quiet=True)
        for how in ("none", "mean")
    )
    assert plain.recipe.data.impute == {}
    assert (plain.folder / "model.safetensors").read_bytes() != (filled.folder / "model.safetensors").read_bytes()


def test_a_run_without_features_has_nothing_filled_in(catalogue: Path, tmp_path: Path) -> None:
    fit("ease", load(catalogue, split="random", impute="mean"), out=tmp_path / "ease", quiet=True)
    assert Run.load(tmp_path / "ease").recipe.data.impute == {}
    assert Run.load(tmp_path / "ease", data=load(catalogue, split="random")).data.imputation == {}


def test_a_recipe_from_before_imputation_is_one_without(finished: Path) -> None:
    values = yaml.safe_load((finished / "recipe.yaml").read_text())
    assert values["data"].pop("impute") == {}
    assert Recipe.parse(values) == Recipe.read(finished / "recipe.yaml")
    values["data"]["impute"] = {"text": "means"}
    with pytest.raises(ConfigError, match="text"):
        Recipe.parse(values)
