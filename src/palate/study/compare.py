"""A comparison: several models on the same split with the same seeds and budget, into one folder.

Takes recipes or model names and a way to make the data; gives a folder of runs with their ranked test lists, from which
`results.py` makes tables. The same call goes on after a kill.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import Field

from palate.core.artefact import read_json, read_tensors, write_json, write_tensors, write_text
from palate.core.config import Config
from palate.core.errors import ArtefactError, ConfigError
from palate.dataset.dataset import Dataset
from palate.experiment import fit
from palate.measure.clicks import click_candidates, click_metrics
from palate.measure.evaluation import Lists, ranked_lists
from palate.measure.metrics import Accuracy
from palate.models import MODELS, Recommender
from palate.recipe import RecipeFile, recipe_for
from palate.study.data_plan import DataPlan
from palate.study.knockout import WAYS, How, knock_out
from palate.study.processes import run_tasks
from palate.study.trials import search_for
from palate.study.tune import RECIPE, tune
from palate.train.fitting import reset_peak_memory

PLAN, LISTS, RECIPES = "comparison.json", "lists.safetensors", Path("recipes")
WHOLE = "whole"


class Plan(Config):
    """What a comparison is of; stored beside its runs."""

    data: str = Field(description="name of the catalogue")
    fingerprint: str = Field(description="of the data set with all its features")
    entrants: dict[str, str] = Field(description="label → model or recipe file")
    seeds: int = Field(ge=1)
    trials: int = Field(default=0, ge=0, description="of tuning before the comparison; 0: settings as they are")
    knock_out: bool = Field(default=False)


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


def recipe_of(name: str, data: str, recipes: Path = RECIPES) -> str:
    """The recipe file of a model for a data set where there is one, else the model itself with its defaults."""
    if name.endswith((".yaml", ".yml")):
        return name
    MODELS[name]
    stored = recipes / name / f"{data}.yaml"
    return str(stored) if stored.is_file() else name


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
        ConfigError: for unknown or repeated names.
        ArtefactError: when `out` holds another comparison.
        Interrupted: on Ctrl-C.
    """
    dataset = plan.load()
    data = dataset.catalogue.name
    entrants = {_label(name, data): recipe_of(name, data, recipes) for name in names}
    if len(entrants) < len(names):
        raise ConfigError("two entrants have the same name", do="give each recipe file a name of its own")
    wanted = Plan(
        data=data,
        fingerprint=dataset.fingerprint,
        entrants=entrants,
        seeds=seeds,
        trials=trials,
        knock_out=knocked,
    )
    _prepare(out, wanted)
    files = {label: _settings(label, name, plan, out, trials, jobs, quiet) for label, name in entrants.items()}
    tasks = [task for label, file in files.items() for task in _tasks(label, file, dataset, out, seeds, knocked)]
    left = [task for task in tasks if not (Path(task.folder) / LISTS).is_file()]
    # Long runs first would be better for many processes; seeds first shows every model early.
    left.sort(key=lambda task: (task.how is not None, task.seed))
    failed = run_tasks(left, run_one, plan, dataset, jobs=jobs, title="comparing", quiet=quiet)
    problems = {str(left[place]): problem for place, problem in failed.items()}
    write_json(out / "failed.json", problems)
    return problems


def run_one(dataset: Dataset, task: Task) -> None:
    """Train one run, and keep its ranked lists of the test users."""
    reset_peak_memory()
    data = with_features(dataset, RecipeFile.read(Path(task.recipe)).features, task.label)
    data = knock_out(data, task.modality, task.how, task.seed) if task.how else data
    run_folder = Path(task.folder) / "run"
    run = fit(task.recipe, data, seed=task.seed, out=run_folder, quiet=True)
    run.evaluate()
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


def with_features(dataset: Dataset, names: list[str] | None, label: str) -> Dataset:
    """The data set with the modalities that an entrant's recipe asks for; None takes all.

    Raises:
        ConfigError: when the comparison does not have one of them.
    """
    if names is None:
        return dataset
    lacking = [name for name in names if name not in dataset.features]
    if lacking:
        raise ConfigError(
            f"the recipe of {label} wants {', '.join(lacking)}, which this comparison does not have",
            do="encode it, or name it in --features; or take the modalities out of the recipe",
        )
    return dataclasses.replace(dataset, features={name: dataset.features[name] for name in sorted(names)})


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


def _label(name: str, data: str) -> str:
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        return name
    # recipes/bm3/ml100k-mm.yaml is bm3 and recipes/bm3/ml100k-mm-dense.yaml bm3-dense; other files bear their own name.
    if path.parent.name not in MODELS:
        return path.stem
    return f"{path.parent.name}{path.stem.removeprefix(data)}" if path.stem.startswith(data) else path.parent.name


def _prepare(out: Path, wanted: Plan) -> None:
    if (out / PLAN).is_file():
        before = read_plan(out)
        same = wanted.model_dump(exclude={"knock_out", "seeds", "entrants"})
        if before.model_dump(exclude={"knock_out", "seeds", "entrants"}) != same:
            changed = [name for name, value in same.items() if before.model_dump()[name] != value]
            raise ArtefactError(
                f"another comparison is here (they differ in: {', '.join(changed)})",
                where=str(out),
                do="choose another folder (-o)",
            )
    elif out.exists() and any(out.iterdir()):
        raise ArtefactError("there is something else here", where=str(out), do="choose a new or empty folder")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / PLAN, wanted.model_dump())


def _settings(label: str, name: str, plan: DataPlan, out: Path, trials: int, jobs: int, quiet: bool) -> str:
    """The file with the settings of an entrant: tuned, or as they stand, kept so that a later call has the same."""
    target = out / "settings" / f"{label}.yaml"
    if not target.is_file():
        chosen = recipe_for(name)
        if trials:
            chosen = _tuned(label, name, plan, out, trials, jobs, quiet) or chosen
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, RecipeFile.model_validate({**chosen.model_dump(), "split": {}}).text())
    return str(target)


def _tuned(label: str, name: str, plan: DataPlan, out: Path, trials: int, jobs: int, quiet: bool) -> RecipeFile | None:
    chosen = recipe_for(name)
    plan = dataclasses.replace(plan, features=chosen.features or plan.features)
    if not MODELS[chosen.model].search and not issubclass(MODELS[chosen.model], Recommender):
        return None
    folder = out / "tuning" / label
    found = tune(search_for(name, plan), folder, trials=trials, jobs=jobs, quiet=quiet)
    assert (folder / RECIPE).is_file()
    return found


def _tasks(label: str, file: str, dataset: Dataset, out: Path, seeds: int, knocked: bool) -> list[Task]:
    recipe = RecipeFile.read(Path(file))
    kind = MODELS[recipe.model]
    own = with_features(dataset, recipe.features, label).features
    count = seeds if issubclass(kind, Recommender) else 1
    tasks = [Task(label, file, seed, str(out / "runs" / label / WHOLE / f"s{seed}")) for seed in range(count)]
    if knocked and kind.modal:
        for modality in own:
            for how in WAYS:
                if how == "absent" and len(own) == 1:
                    continue
                place = out / "runs" / label / f"{modality}-{how}"
                # A classical model of shuffled rows depends on the shuffling: it has seeds here too.
                tasks += [Task(label, file, seed, str(place / f"s{seed}"), modality, how) for seed in range(seeds)]
    return tasks
