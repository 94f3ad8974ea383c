"""Tuning: the declared space alone, never worse than the start, kept through a stop, on validation only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import worlds
from palate.core.errors import ArtefactError, ConfigError, DataError, Interrupted
from palate.core.search import Choice, Range
from palate.models import MODELS, Recommender
from palate.recipe import RecipeFile, resolve
from palate.study import tune as tuning
from palate.study.data_plan import DataPlan
from palate.study.trials import Search, counted, open_study, search_for
from palate.study.tune import RECIPE, TRIALS, tune
from palate.train.fitting import Fitted, fit_model


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> DataPlan:
    folder = worlds.stored(tmp_path_factory.mktemp("data") / "CAT")
    return DataPlan(str(folder), {"split": "random", "seed": 0}, None)


SMALL = {"dim": 4, "epochs": 3, "batch_size": 64}


@pytest.mark.parametrize("name", list(MODELS))
def test_every_searched_setting_exists_and_its_default_can_be_set_to_any_value_of_the_space(name: str) -> None:
    kind = MODELS[name]
    for setting, values in kind.search.items():
        assert setting in kind.Config.model_fields
        for value in values.values if isinstance(values, Choice) else (values.low, values.high):
            wanted = int(value) if isinstance(values, Range) and values.whole else value
            resolve(name, settings={setting: wanted})
    if issubclass(kind, Recommender):
        assert "learning_rate" in search_for(name, DataPlan("CAT", {}, None)).space


def test_the_result_is_the_best_trial_as_a_recipe_and_not_worse_than_the_start(plan: DataPlan, tmp_path: Path) -> None:
    search = search_for("lightgcn", plan, settings=SMALL)
    recipe = tune(search, tmp_path, trials=4, quiet=True)
    stored = json.loads((tmp_path / TRIALS).read_text())["trials"]
    finished = [trial for trial in stored if trial["state"] == "complete"]
    best = max(finished, key=lambda trial: trial["value"])
    assert len([trial for trial in stored if trial["state"] in ("complete", "pruned")]) == 4
    start = resolve("lightgcn", settings=SMALL)
    known = {**start[2].model_dump(), **start[1].model_dump()}
    assert finished[0]["settings"] == pytest.approx({name: known[name] for name in search.space})
    assert best["value"] >= finished[0]["value"]
    assert recipe == RecipeFile.read(tmp_path / RECIPE)
    assert recipe.settings == {**SMALL, **best["settings"]}
    assert recipe.ours[0].metrics["recall@20"] == best["value"]
    data = plan.load().seen_by(features=False, knowledge=False)
    kind, config, training = resolve("lightgcn", settings=recipe.settings)
    again = fit_model(kind, config, data, training, seed=0, quiet=True)
    assert again.validation["recall@20"] == best["value"]


def test_it_goes_on_where_it_was_and_a_half_done_trial_is_tried_again(plan: DataPlan, tmp_path: Path) -> None:
    search = search_for("ease", plan)
    tune(search, tmp_path, trials=2, quiet=True)
    study = open_study(tmp_path, search, fingerprint(plan))
    half = study.ask({})
    value = half.suggest_float("ridge", 10.0, 3000.0, log=True)
    tune(search, tmp_path, trials=4, quiet=True)
    study = open_study(tmp_path, search, fingerprint(plan))
    assert len(counted(study)) == 4
    assert value in [trial.params["ridge"] for trial in counted(study)]


def fingerprint(plan: DataPlan) -> str:
    return plan.load().seen_by(features=False, knowledge=False).fingerprint


def test_a_stop_keeps_the_trials_that_were_finished(
    plan: DataPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_for("ease", plan)
    calls = 0

    def stopped(*words: Any, **named: Any) -> Fitted:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Interrupted("stopped")
        return fit_model(*words, **named)

    with monkeypatch.context() as patched:
        patched.setattr(tuning, "fit_model", stopped)
        with pytest.raises(Interrupted, match="2 trials"):
            tune(search, tmp_path, trials=5, quiet=True)
    assert tune(search, tmp_path, trials=3, quiet=True).model == "ease"
    assert len(counted(open_study(tmp_path, search, fingerprint(plan)))) == 3


def test_the_test_part_plays_no_role(plan: DataPlan, tmp_path: Path) -> None:
    """The same search on data whose test positives are others finds the same."""
    search = search_for("lightgcn", plan, settings=SMALL)
    first = tune(search, tmp_path / "one", trials=3, quiet=True)

    class Other(DataPlan):
        def load(self) -> Any:
            data = super().load()
            empty = data.positives["test"].take(np.arange(len(data.users))[::-1])
            data.positives["test"] = empty
            return data

    other = Search(**{**search.__dict__, "data": Other(plan.folder, plan.split, plan.features)})
    second = tune(other, tmp_path / "two", trials=3, quiet=True)
    assert (first.settings, first.ours[0].metrics) == (second.settings, second.ours[0].metrics)


def test_two_processes_share_the_trials(plan: DataPlan, tmp_path: Path) -> None:
    recipe = tune(search_for("ease", plan), tmp_path, trials=6, jobs=2, quiet=True)
    trials = json.loads((tmp_path / TRIALS).read_text())["trials"]
    # Each process may be in the middle of one when the last is counted.
    assert 6 <= len([trial for trial in trials if trial["state"] == "complete"]) <= 7
    assert len({trial["number"] for trial in trials}) == len(trials)
    assert recipe.settings["ridge"] in [trial["settings"]["ridge"] for trial in trials]


def test_mistakes_are_named(plan: DataPlan, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to tune"):
        search_for("popularity", plan)
    with pytest.raises(ConfigError, match="not set already"):
        search_for("ease", plan, settings={"ridge": 3.0})
    with pytest.raises(ConfigError, match="at least 1"):
        tune(search_for("ease", plan), tmp_path, trials=0)
    tune(search_for("ease", plan), tmp_path, trials=1, quiet=True)
    with pytest.raises(ArtefactError, match="another search"):
        tune(search_for("ease", plan, seed=1), tmp_path, trials=1, quiet=True)
    whole = DataPlan(plan.folder, {"split": "cold-items", "seed": 0, "positive": 5.0}, None)
    if whole.load().positives["valid"].size == 0:
        with pytest.raises(DataError, match="validation"):
            tune(search_for("ease", whole), tmp_path / "other", trials=1, quiet=True)
