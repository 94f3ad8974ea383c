"""Studies as Python calls: `palate.compare` and `palate.tune` on a data set at hand, as the command line does them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from palate.core.errors import ConfigError, MissingDependency
from palate.core.places import file_name
from palate.dataset.dataset import Dataset
from palate.experiment import load
from palate.models import MODELS
from palate.recipe import RecipeFile, recipe_for
from palate.study import compare as comparing
from palate.study import tune as tuning
from palate.study.data_plan import DataPlan
from palate.study.report import write_report
from palate.study.results import PER_USER, gather
from palate.study.trials import search_for


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        folder: runs, `results.json`, and the report, where what draws it is installed.
        results: what `results.json` holds: metrics with intervals, differences, what separates, slices, cost.
        failed: what could not be trained, and why.
    """

    folder: Path
    results: dict[str, Any] = field(repr=False)
    failed: dict[str, str]

    def table(self, *metrics: str) -> pl.DataFrame:
        """A row for each model: mean over seeds and users, and the ends of the 95 % interval.

        Args:
            metrics: as `recall@20`; none: recall@20 and ndcg@20.

        Raises:
            ConfigError: for a metric that was not measured.
        """
        rows: list[dict[str, Any]] = []
        for label, found in self.results["models"].items():
            row: dict[str, Any] = {"model": label}
            for name in metrics or ("recall@20", "ndcg@20"):
                if name not in found["metrics"]:
                    raise ConfigError(f"there is no metric '{name}'", do=f"choose of {', '.join(found['metrics'])}")
                value = found["metrics"][name]
                row |= {name: value["mean"], f"{name} low": value["low"], f"{name} high": value["high"]}
            rows.append(row)
        return pl.DataFrame(rows)

    @property
    def verdict(self) -> str:
        """What separates by Recall@20, in a sentence."""
        return self.results["separation"]["recall@20"]["verdict"]

    def per_user(self) -> pl.DataFrame:
        """The metrics of every test user, means over seeds."""
        return pl.read_parquet(self.folder / PER_USER)


@dataclass(frozen=True)
class Tuned:
    """The end of a search.

    Attributes:
        folder: of the search; the same call with more trials goes on there.
        recipe: the best settings found, with their validation metrics.
    """

    folder: Path
    recipe: RecipeFile

    @property
    def file(self) -> str:
        """The recipe's file: `palate.fit(tuned.file, data)` trains it."""
        return str(self.folder / tuning.RECIPE)


def compare(
    models: str | Sequence[str] | None,
    data: Dataset | Path | str,
    *,
    seeds: int = 5,
    trials: int = 0,
    knock_out: bool = False,
    jobs: int = 1,
    out: Path | str | None = None,
    recipes: Path | str = comparing.RECIPES,
    quiet: bool = False,
) -> Comparison:
    """Compare models on the same split, seeds and budget; the same call goes on after a stop.

    Args:
        models: names or recipe files; None: every model.
        data: of a stored catalogue, see `palate.load`; or its folder, with the split that the data suggest.
        seeds: trainings of each model, with seeds 0, 1, ….
        trials: validation trials of tuning for each model first; 0: settings as they are.
        knock_out: train again with each modality absent, as noise, and shuffled.
        jobs: processes.
        out: folder; default: comparisons/DATA-SPLIT.
        recipes: folder of recipe files MODEL/DATA.yaml.
        quiet: show no progress.

    Raises:
        ConfigError: for unknown models, or data that were made in memory.
        ArtefactError: when `out` holds another comparison.
        Interrupted: on Ctrl-C; what was finished is kept.
    """
    data = data if isinstance(data, Dataset) else load(data)
    names = list(MODELS) if models is None else [models] if isinstance(models, str) else list(models)
    if not names:
        raise ConfigError("there is nothing to compare", do="name models or recipe files, or give None for all models")
    plan = plan_of(data)
    folder = Path(out or Path("comparisons") / f"{file_name(data.catalogue.name)}-{data.settings.split}")
    failed = comparing.compare(
        names,
        plan,
        folder,
        seeds=seeds,
        trials=trials,
        knocked=knock_out,
        jobs=jobs,
        quiet=quiet,
        recipes=Path(recipes),
    )
    results = gather(folder, data)
    with suppress(MissingDependency):
        write_report(folder)
    return Comparison(folder, results, failed)


def tune(
    model: str,
    data: Dataset | Path | str,
    *,
    trials: int = 20,
    timeout: float | None = None,
    jobs: int = 1,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    metric: str | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    quiet: bool = False,
) -> Tuned:
    """Search a model's settings on the validation part; the same call goes on, also with more trials.

    Args:
        model: a name or a recipe file.
        data: as in `compare`.
        trials: in all, those of earlier calls included.
        timeout: seconds after which no new trial starts.
        jobs: processes.
        preset, settings: the start; what is set is not searched.
        metric: of validation; None: the recipe's, or recall@20.
        seed: of training and of the search.
        out: folder; default: tuning/MODEL-DATA.
        quiet: show no progress.

    Raises:
        ConfigError: for unknown names, a model without anything to tune, or data that were made in memory.
        ArtefactError: when `out` holds another search.
        Interrupted: on Ctrl-C; what was finished is kept.
    """
    data = data if isinstance(data, Dataset) else load(data)
    search = search_for(model, plan_of(data), preset=preset, settings=settings, metric=metric, seed=seed)
    folder = Path(out or Path("tuning") / f"{recipe_for(model).model}-{file_name(data.catalogue.name)}")
    return Tuned(folder, tuning.tune(search, folder, trials=trials, timeout=timeout, jobs=jobs, quiet=quiet))


def plan_of(data: Dataset) -> DataPlan:
    """How other processes make the same data set.

    Raises:
        ConfigError: when it is of no stored catalogue, or its features are not the stored ones.
    """
    folder = data.catalogue.folder
    if folder is None:
        raise ConfigError("these data were made in memory", do="store the catalogue (Catalogue.save) and load it")
    ways = dict(data.imputation) or "none"
    plan = DataPlan(str(folder), data.settings.model_dump(), list(data.features), ways)
    if plan.load().fingerprint != data.fingerprint:
        raise ConfigError(
            "these data are not those of their catalogue's folder: features or interactions were changed in memory",
            where=str(folder),
            do="store the features (FeatureStore.save, or palate encode --from) and load the data again",
        )
    return plan
