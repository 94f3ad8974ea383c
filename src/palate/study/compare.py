"""A comparison: several models on the same split with the same seeds and budget, into one folder.

Takes recipes or model names and a way to make the data; gives a folder of runs with their ranked test lists, from which
`results.py` makes tables. The same call goes on after a kill.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from palate.core.artefact import leftover, read_json, read_tensors, write_json, write_tensors, write_text
from palate.core.config import Config
from palate.core.errors import ArtefactError, ConfigError, DataError, Interrupted, PalateError
from palate.core.lock import LOCK, exclusive
from palate.dataset.dataset import Dataset
from palate.experiment import differences, fit
from palate.measure.clicks import click_candidates, click_metrics
from palate.measure.evaluation import Lists, ranked_lists
from palate.measure.metrics import Accuracy
from palate.models import MODELS, Recommender
from palate.models.base import Classical
from palate.recipe import RecipeFile, resolve
from palate.study.data_plan import DataPlan
from palate.study.entrants import (
    RECIPES,
    check_there,
    entrant_recipe,
    entrants_of,
    other_splits,
    resolved,
    with_features,
)
from palate.study.knockout import How, knock_out, knock_outs_of
from palate.study.processes import run_tasks
from palate.study.trials import search_for
from palate.study.tune import RECIPE, tune
from palate.train.fitting import reset_peak_memory

PLAN, LISTS, FAILED = "comparison.json", "lists.safetensors", "failed.json"
WHOLE = "whole"


class Plan(Config):
    """What a comparison is of; stored beside its runs."""

    data: str = Field(description="name of the catalogue")
    fingerprint: str = Field(description="of the data set with all its features")
    entrants: dict[str, str] = Field(description="label → model or recipe file")
    seeds: int = Field(ge=1)
    trials: int = Field(default=0, ge=0, description="of tuning before the comparison; 0: settings as they are")
    knock_out: bool = Field(default=False)
    resolved: dict[str, dict[str, Any]] = Field(
        default={},
        description="label → settings before any tuning, every default in place; entrants of earlier calls too",
    )


@dataclass(frozen=True)
class Task:
    """One run of a comparison.

    Attributes:
        label: the entrant.
        recipe: file of its settings.
        seed: of training.
        folder: of the run.
        modality, how: what is knocked out; both empty in the comparison itself.
    """

    label: str
    recipe: str
    seed: int
    folder: str
    modality: str = ""
    how: How | None = None

    def __str__(self) -> str:
        changed = f", {self.modality} {self.how}" if self.how else ""
        return f"{self.label}, seed {self.seed}{changed}"


def compare(
    names: Sequence[str],
    plan: DataPlan,
    out: Path,
    *,
    seeds: int = 5,
    trials: int = 0,
    knocked: bool = False,
    jobs: int = 1,
    quiet: bool = False,
    recipes: Path = RECIPES,
) -> dict[str, str]:
    """Train every entrant on the same data with each seed, and keep its ranked test lists.

    Args:
        names: models or recipe files. A model takes `recipes/MODEL/DATA.yaml` where there is one.
        plan: the data.
        out: folder of the comparison.
        seeds: 0 … seeds - 1; models without any randomness run once.
        trials: validation trials of tuning for each entrant that has something to tune; 0 for none.
        knocked: train again without each modality (absent, noise, shuffled).
        jobs: processes.

    Returns:
        What failed, and why; the others are whole.

    Raises:
        ConfigError: for unknown models, recipe files that are not there, or repeated names.
        ArtefactError: when `out` holds another comparison, or an entrant's runs with other settings, or is in use.
        DataError: when there is nothing to test on.
        Interrupted: on Ctrl-C.
    """
    dataset = plan.load()
    if dataset.positives["test"].size == 0:
        raise DataError("the test part has no positive interaction", do="choose another split or positive")
    entrants = entrants_of(names, dataset.catalogue.name, recipes)
    check_there(entrants)
    _check_free(out)
    with exclusive(out, "comparing"):
        problems: dict[str, str] = {}
        chosen: dict[str, RecipeFile] = {}
        for label, name in entrants.items():
            with _noted(label, problems, quiet):
                chosen[label] = entrant_recipe(name, label, dataset)
        if not chosen:
            raise ConfigError(f"nothing can be trained: {'; '.join(problems.values())}")
        _say(other_splits(chosen, dataset), quiet)
        wanted = Plan(
            data=dataset.catalogue.name,
            fingerprint=dataset.fingerprint,
            entrants=entrants,
            seeds=seeds,
            trials=trials,
            knock_out=knocked,
            resolved={label: resolved(recipe) for label, recipe in chosen.items()},
        )
        left_out = sorted(_prepare(out, wanted) - set(entrants))
        if left_out:
            _say(
                f"{out} also holds {', '.join(left_out)}: the report is of those named now, name all to have all", quiet
            )
        tasks: list[Task] = []
        for label, recipe in chosen.items():
            with _noted(label, problems, quiet):
                file = _settings(label, entrants[label], recipe, plan, out, trials, jobs, quiet)
                tasks += _tasks(label, file, dataset, out, seeds, knocked)
        # Known even if this call is killed.
        write_json(out / FAILED, problems)
        left = [task for task in tasks if not (Path(task.folder) / LISTS).is_file()]
        # Long runs first would be better for many processes; seeds first shows every model early.
        left.sort(key=lambda task: (task.how is not None, task.seed))
        failed = run_tasks(left, run_one, plan, dataset, jobs=jobs, title="comparing", quiet=quiet)
        problems |= {str(left[place]): problem for place, problem in failed.items()}
        write_json(out / FAILED, problems)
    return problems


@contextmanager
def _noted(label: str, problems: dict[str, str], quiet: bool) -> Generator[None, None, None]:
    """An entrant's error is noted, said, and over."""
    try:
        yield
    except Interrupted:
        raise
    except PalateError as error:
        problems[label] = str(error)
        _say(f"failed: {label}: {error}", quiet)


def _say(text: str, quiet: bool) -> None:
    if text and not quiet:
        print(text, file=sys.stderr)


def run_one(dataset: Dataset, task: Task) -> None:
    """Train one run, and keep its ranked lists of the test users."""
    data = with_features(dataset, RecipeFile.read(Path(task.recipe)).features, task.label)
    data = knock_out(data, task.modality, task.how, task.seed) if task.how else data
    run_folder = Path(task.folder) / "run"
    reset_peak_memory()
    run = fit(task.recipe, data, seed=task.seed, out=run_folder, quiet=True)
    run.evaluate(quiet=True)
    positives, mask = data.positives["test"], data.mask("test")
    lists = ranked_lists(run.scorer, positives, mask, seed=task.seed)
    # Every system is asked about the same candidates.
    candidates = click_candidates(data.seen["test"], positives, data.known())
    clicks = click_metrics(run.scorer, candidates, seed=task.seed)
    write_tensors(
        Path(task.folder) / LISTS,
        {
            "users": torch.from_numpy(lists.users),
            "items": torch.from_numpy(lists.items.astype(np.int32)),
            "click/users": torch.from_numpy(clicks.users),
            **{f"click/{name}": torch.from_numpy(values) for name, values in clicks.values.items()},
        },
        {"label": task.label, "seed": str(task.seed), "modality": task.modality, "how": task.how or ""},
    )


def stored_lists(folder: Path) -> tuple[Lists, Accuracy]:
    """The lists of a finished run, and its click metrics by user."""
    tensors, _ = read_tensors(folder / LISTS)
    clicks = {
        name.removeprefix("click/"): value.numpy() for name, value in tensors.items() if name.startswith("click/")
    }
    users = clicks.pop("users")
    lists = Lists(tensors["users"].numpy(), tensors["items"].numpy().astype(np.int64))
    return lists, Accuracy(users, clicks)


def read_plan(out: Path) -> Plan:
    """The plan of a comparison folder.

    Raises:
        ArtefactError: when there is none.
    """
    if not (out / PLAN).is_file():
        raise ArtefactError("there is no comparison here", where=str(out))
    return Plan.parse(read_json(out / PLAN), where=str(out / PLAN))


def runs_of(recipe: RecipeFile, seeds: int) -> int:
    """How many runs an entrant has: one for each seed, or one in all where nothing is random."""
    kind = MODELS[recipe.model]
    return seeds if issubclass(kind, Recommender) or (issubclass(kind, Classical) and kind.random) else 1


def settings_file(out: Path, label: str) -> Path:
    """Where a comparison keeps the recipe that an entrant is trained with."""
    return out / "settings" / f"{label}.yaml"


def _check_free(out: Path) -> None:
    """Refuse a folder of something else; what a killed comparison left behind is not that."""
    if (out / PLAN).is_file() or not out.exists():
        return
    if not out.is_dir() or any(path.name != LOCK and not leftover(path) for path in out.iterdir()):
        raise ArtefactError("there is something else here", where=str(out), do="choose a new or empty folder")


def _prepare(out: Path, wanted: Plan) -> set[str]:
    """Store the plan, unless what is here already is of another; labels of all entrants that were ever here."""
    known: dict[str, dict[str, Any]] = {}
    if (out / PLAN).is_file():
        before = read_plan(out)
        free = {"knock_out", "seeds", "entrants", "resolved"}
        same = wanted.model_dump(exclude=free)
        if before.model_dump(exclude=free) != same:
            changed = [name for name, value in same.items() if before.model_dump()[name] != value]
            raise ArtefactError(
                f"another comparison is here (they differ in: {', '.join(changed)})",
                where=str(out),
                do="choose another folder (-o)",
            )
        known = before.resolved
        for label, now in wanted.resolved.items():
            changed = differences(known[label], now) if label in known else []
            if "code" not in known.get(label, {}):
                # Plans did not always say so; each run still knows its own.
                changed = [name for name in changed if name != "code"]
            if changed == ["code"]:
                raise ArtefactError(
                    f"the model of '{label}' is another one than in its runs here: its code has changed",
                    where=str(out),
                    do="choose another folder (-o), or go on with the code of before",
                )
            if changed:
                raise ArtefactError(
                    f"'{label}' is here already, with other settings (they differ in: {', '.join(changed)})",
                    where=str(out),
                    do="choose another folder (-o), or give its recipe file another name, which becomes its label",
                )
    # Entrants that are left out this time may come back.
    write_json(out / PLAN, wanted.model_copy(update={"resolved": {**known, **wanted.resolved}}).model_dump())
    for path in filter(leftover, out.iterdir()):
        path.unlink(missing_ok=True)
    return set(known)


def _settings(
    label: str, name: str, recipe: RecipeFile, plan: DataPlan, out: Path, trials: int, jobs: int, quiet: bool
) -> str:
    """The file with the settings of an entrant: tuned, or as they stand, kept so that a later call has the same."""
    target = settings_file(out, label)
    if not target.is_file():
        chosen = (_tuned(label, name, recipe, plan, out, trials, jobs, quiet) if trials else None) or recipe
        write_text(target, RecipeFile.model_validate({**chosen.model_dump(), "split": {}}).text())
    return str(target)


def _tuned(
    label: str, name: str, recipe: RecipeFile, plan: DataPlan, out: Path, trials: int, jobs: int, quiet: bool
) -> RecipeFile | None:
    kind = MODELS[recipe.model]
    if not kind.search and not issubclass(kind, Recommender):
        return None
    if recipe.features is not None:
        ways = plan.impute
        own = ways if isinstance(ways, str) else {key: how for key, how in ways.items() if key in recipe.features}
        plan = dataclasses.replace(plan, features=recipe.features, impute=own)
    folder = out / "tuning" / label
    found = tune(search_for(name, plan), folder, trials=trials, jobs=jobs, quiet=quiet)
    assert (folder / RECIPE).is_file()
    return found


def _tasks(label: str, file: str, dataset: Dataset, out: Path, seeds: int, knocked: bool) -> list[Task]:
    recipe = RecipeFile.read(Path(file))
    kind, config, _ = resolve(recipe.model, recipe.preset, recipe.settings)
    own = with_features(dataset, recipe.features, label).features
    place = out / "runs" / label
    tasks = [Task(label, file, seed, str(place / WHOLE / f"s{seed}")) for seed in range(runs_of(recipe, seeds))]
    for modality, how in knock_outs_of(config, own) if knocked and kind.modal else []:
        # A classical model of shuffled rows depends on the shuffling: it has seeds here too.
        folder = place / f"{modality}-{how}"
        tasks += [Task(label, file, seed, str(folder / f"s{seed}"), modality, how) for seed in range(seeds)]
    return tasks
