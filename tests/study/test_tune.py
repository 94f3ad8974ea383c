"""Tuning: the declared space alone, never worse than the start, kept through a stop, on validation only."""

from __future__ import annotations

import dataclasses
import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import worlds
from palate.core.errors import ArtefactError, ConfigError, DataError, Interrupted
from palate.core.lock import exclusive
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


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"nosuch": Range(0.1, 1.0)}, "unknown setting 'nosuch'"),
        ({"dim": Range(4, 16)}, "'dim' takes whole numbers"),
        ({"penalty_weight": Range(1.0, 0.1)}, "goes from 1 to 0.1"),
        ({"penalty_weight": Range(0.0, 0.1, log=True)}, "goes from 0 to 0.1"),
    ],
)
def test_a_space_of_what_is_no_setting_is_refused(
    space: dict[str, Range], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODELS["bpr"], "search", space)
    with pytest.raises(ConfigError, match=words) as caught:
        search_for("bpr", DataPlan("CAT", {}, None))
    assert "BPR in" in caught.value.where


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
    assert finished[0]["number"] == 0
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
    # The same data in another folder are the same search.
    shutil.copytree(plan.folder, tmp_path / "moved")
    tune(search_for("ease", dataclasses.replace(plan, folder=str(tmp_path / "moved"))), tmp_path, trials=5, quiet=True)
    assert len(counted(open_study(tmp_path, search, fingerprint(plan)))) == 5


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
    assert [trial["state"] for trial in trials] == ["complete"] * 6
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
    with pytest.raises(ConfigError, match="did you mean 'recall@20'"):
        search_for("ease", plan, metric="recal@20")


def test_data_without_a_validation_part_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    rows = worlds.interactions()
    parts = pl.Series(np.where(np.arange(rows.height) % 4 == 0, "test", "train"))
    folder = worlds.stored(tmp_path / "CAT", worlds.catalogue(rows.with_columns(split=parts)))
    whole = DataPlan(str(folder), {"split": "given", "seed": 0}, None)
    with pytest.raises(DataError, match="validation"):
        tune(search_for("ease", whole), tmp_path / "out", trials=1, quiet=True)
    assert not (tmp_path / "out").exists()


def test_one_palate_tunes_in_a_folder_and_a_second_disturbs_nothing(plan: DataPlan, tmp_path: Path) -> None:
    search = search_for("ease", plan)
    study = open_study(tmp_path, search, fingerprint(plan))
    study.ask()
    with exclusive(tmp_path, "tuning"), pytest.raises(ArtefactError, match="another palate is tuning in this folder"):
        tune(search, tmp_path, trials=1, quiet=True)
    assert [trial.state.name for trial in study.get_trials()] == ["RUNNING"]
    tune(search, tmp_path, trials=1, quiet=True)


def test_the_recipe_makes_the_data_that_were_tuned_on_and_selects_as_the_search_did(
    plan: DataPlan, tmp_path: Path
) -> None:
    filled = DataPlan(plan.folder, plan.split, None, "mean")
    recipe = tune(search_for("bpr", filled, settings=SMALL, metric="ndcg@10"), tmp_path / "a", trials=1, quiet=True)
    assert recipe.impute == {"image": "mean", "text": "mean"}
    assert recipe.settings["metric"] == "ndcg@10"
    assert recipe == RecipeFile.read(tmp_path / "a" / RECIPE)
    one = DataPlan(plan.folder, plan.split, ["text"], {"text": "zero"})
    assert tune(search_for("ease", one), tmp_path / "b", trials=1, quiet=True).impute == {"text": "zero"}
    plain = tune(search_for("ease", plan, metric="ndcg@10"), tmp_path / "c", trials=1, quiet=True)
    assert (plain.impute, "metric" in plain.settings) == ({}, False), "ease is not selected by epoch"


def test_the_metric_is_the_recipes_unless_said_otherwise(plan: DataPlan, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(RecipeFile(model="bpr", settings={"metric": "ndcg@10"}).text())
    assert search_for(str(path), plan).metric == "ndcg@10"
    assert search_for(str(path), plan, settings={"metric": "hit@5"}).metric == "hit@5"
    assert search_for(str(path), plan, settings={"metric": "hit@5"}, metric="map@20").metric == "map@20"
    assert search_for("bpr", plan).metric == "recall@20"


def test_data_that_do_not_suit_the_model_are_said_at_once_and_do_not_spoil_the_folder(tmp_path: Path) -> None:
    folder = worlds.stored(tmp_path / "CAT", worlds.catalogue(worlds.interactions(ratings=False)))
    plan = DataPlan(str(folder), {"split": "random", "seed": 0}, None)
    with pytest.raises(ConfigError, match="dislike"):
        tune(search_for("crmman", plan), tmp_path / "out", trials=2, quiet=True)
    assert tune(search_for("ease", plan), tmp_path / "out", trials=1, quiet=True).model == "ease"


def test_what_starts_outside_its_space_stays_and_the_first_trial_is_the_start(plan: DataPlan, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(RecipeFile(model="lightgcn", settings={**SMALL, "learning_rate": 0.5}).text())
    search = search_for(str(path), plan)
    assert search.kept == {"learning_rate": 0.5}
    assert set(search.space) == set(search_for("lightgcn", plan).space) - {"learning_rate"}
    recipe = tune(search, tmp_path / "out", trials=2, quiet=True)
    assert recipe.settings["learning_rate"] == 0.5


@pytest.mark.parametrize("name", list(MODELS))
def test_every_search_starts_within_its_space(name: str) -> None:
    kind = MODELS[name]
    if not kind.search and not issubclass(kind, Recommender):
        return
    search = search_for(name, DataPlan("CAT", {}, None))
    _, config, training = resolve(name)
    known = {**training.model_dump(), **config.model_dump()}
    assert search.space
    assert all(values.holds(known[setting]) for setting, values in search.space.items())


def test_a_queued_trial_that_was_killed_before_it_asked_for_a_value_is_queued_again(
    plan: DataPlan, tmp_path: Path
) -> None:
    search = search_for("ease", plan)
    start = resolve("ease")[1].model_dump()["ridge"]
    open_study(tmp_path, search, fingerprint(plan)).ask()
    tune(search, tmp_path, trials=1, quiet=True)
    (trial,) = counted(open_study(tmp_path, search, fingerprint(plan)))
    assert trial.params == {"ridge": start}


@pytest.mark.parametrize("name", ["a?b=c", "100% {sure}", "space # ü", "a:b@c"])
def test_the_folder_may_have_any_name(plan: DataPlan, tmp_path: Path, name: str) -> None:
    tune(search_for("ease", plan), tmp_path / name, trials=1, quiet=True)
    assert (tmp_path / name / "trials.db").stat().st_size > 0


@pytest.mark.parametrize("place", [0, 100, 4096])
def test_a_damaged_database_is_named(plan: DataPlan, tmp_path: Path, place: int) -> None:
    search = search_for("ease", plan)
    tune(search, tmp_path, trials=1, quiet=True)
    path = tmp_path / "trials.db"
    path.write_bytes(path.read_bytes()[:place] + b"damaged!" * 4096)
    with pytest.raises(ArtefactError, match="trials cannot be read"):
        tune(search, tmp_path, trials=2, quiet=True)


def test_processes_say_what_is_wrong_without_a_traceback(
    plan: DataPlan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a process meets it: the catalogue has gone since the search was begun."""
    gone = dataclasses.replace(search_for("ease", plan), data=DataPlan(str(tmp_path / "gone"), {}, None))
    with pytest.raises(SystemExit, match="1"):
        tuning._process(gone, tmp_path, 1, None, 0, 1, nullcontext())
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "Traceback" not in err
