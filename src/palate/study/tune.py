"""Tuning: search a model's settings on the validation part, in parallel processes, resumable after a kill.

Takes a model or recipe file and a way to make the data set; gives a recipe file with the best settings found. The test
part is never looked at.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palate.core.artefact import write_json, write_text
from palate.core.errors import ConfigError, DataError, Interrupted, PalateError, TrainingError
from palate.core.lock import exclusive
from palate.core.progress import duration, progress
from palate.core.seeds import derive_seed
from palate.dataset.dataset import Dataset
from palate.dataset.imputation import choices
from palate.dataset.settings import Imputation
from palate.models import MODELS, Recommender
from palate.recipe import Figures, RecipeFile, resolve
from palate.study.processes import end_with_parent
from palate.study.trials import (
    STUDY_NAME,
    Search,
    best_note,
    counted,
    damage_named,
    open_study,
    requeue,
    require_optuna,
    storage_of,
    suggest,
    table,
)
from palate.train.fitting import TrainConfig, build, fit_model

if TYPE_CHECKING:
    import optuna

RECIPE, TRIALS = "recipe.yaml", "trials.json"
# A trial is compared with others at the same validation once it has had this many.
PRUNING_WARM_UP = 5


def tune(
    search: Search, out: Path, *, trials: int, timeout: float | None = None, jobs: int = 1, quiet: bool = False
) -> RecipeFile:
    """Search until there are `trials` trials in `out` or time is up; the same call goes on with what is there.

    The first trial has the settings of the start, so that the result is never worse than them. Trials that lag behind
    are ended early. Processes share the trials' database; each loads the data set once for all its trials.

    Args:
        search: see `search_for`.
        out: folder of the search: `trials.db`, `trials.json`, `recipe.yaml`.
        trials: finished or pruned ones, those of earlier calls included.
        timeout: seconds for this call.
        jobs: processes; each takes its share of the CPU threads.
        quiet: show no progress.

    Raises:
        ConfigError, DataError: when the data cannot be made, have no validation part, or do not suit the model.
        ArtefactError: when `out` holds another search, a damaged one, or one that another process is at work on.
        Interrupted: on Ctrl-C; the trials that were finished are kept.
        TrainingError: when no trial could be finished.
        MissingDependency: without Optuna.
    """
    if trials < 1 or jobs < 1:
        raise ConfigError(f"trials and jobs must be at least 1, not {trials} and {jobs}")
    require_optuna()
    whole = search.data.load()
    kind = MODELS[search.model]
    dataset = whole.seen_by(features=kind.modal, knowledge=kind.knowledge)
    if dataset.positives["valid"].size == 0:
        raise DataError("there is no validation part to tune on", do="choose another split")
    with exclusive(out, "tuning"), damage_named(out):
        study = open_study(out, search, dataset.fingerprint)
        requeue(study)
        done = len(counted(study))
        if done == 0:
            _try_start(search, dataset)
        deadline = None if timeout is None else time.monotonic() + timeout
        with progress(f"tuning {search.model}", trials, "trials", done=done, quiet=quiet) as shown:
            try:
                if jobs == 1:
                    _work(search, out, trials, deadline, 0, nullcontext(), dataset=dataset, tell=shown.advance)
                else:
                    _work_in_processes(search, out, trials, timeout, jobs, study, shown.advance)
            except KeyboardInterrupt:
                raise Interrupted(
                    f"stopped after {len(counted(study)):,} trials; they are kept", do="run the same command again"
                ) from None
        return _conclude(study, search, dataset, choices(search.data.impute, whole.features), out)


def _try_start(search: Search, dataset: Dataset) -> None:
    """Data that do not suit the model are said once, before any trial, not by each of them."""
    kind, config, training = resolve(search.model, search.preset, search.settings)
    # What is too large at the start may still have smaller settings to try.
    with suppress(MemoryError):
        build(kind, config, dataset.inputs(), search.seed, training.precision)


def _work(
    search: Search,
    out: Path,
    trials: int,
    deadline: float | None,
    number: int,
    asking: AbstractContextManager[Any],
    *,
    dataset: Dataset | None = None,
    tell: Callable[[int, str], None] | None = None,
) -> None:
    """One process's share of the trials; `asking` lets one process at a time take the next."""
    import optuna

    data = search.data.load() if dataset is None else dataset
    storage = storage_of(out)
    met = len(storage.get_all_trials(storage.get_study_id_from_name(STUDY_NAME), deepcopy=False))
    study = optuna.load_study(
        study_name=STUDY_NAME,
        storage=storage,
        sampler=optuna.samplers.TPESampler(seed=derive_seed(search.seed, "search", number, met) % 2**32),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=PRUNING_WARM_UP),
    )
    failures = 0
    while (deadline is None or time.monotonic() < deadline) and _has_parent():
        with asking:
            # Whoever fails at a trial takes another, so that those under way will count one way or the other.
            if len(counted(study, running=True)) >= trials:
                return
            trial = study.ask()
        try:
            value = _try(search, data, trial)
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except (TrainingError, ConfigError, MemoryError) as error:
            problem = str(error) or "not enough memory"
            trial.set_user_attr("problem", problem)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            failures += 1
            if failures > max(10, trials):
                raise TrainingError(f"{failures} trials failed; the last problem was: {problem}") from None
            continue
        except Interrupted:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params, skip_if_exists=False)
            raise KeyboardInterrupt from None
        else:
            study.tell(trial, value)
        if tell is not None:
            tell(1, best_note(study))


def _try(search: Search, data: Dataset, trial: optuna.Trial) -> float:
    import optuna

    picked = {name: suggest(trial, name, values) for name, values in search.space.items()}
    kind, config, training = resolve(search.model, search.preset, {**search.settings, **picked})

    def watch(count: int, value: float) -> None:
        trial.report(value, count)
        if trial.should_prune():
            raise optuna.TrialPruned

    fitted = fit_model(
        kind,
        config,
        data,
        training.override({"metric": search.metric}),
        seed=search.seed,
        quiet=True,
        watch=watch,
    )
    trial.set_user_attr("validation", fitted.validation)
    trial.set_user_attr("training", fitted.facts)
    return fitted.validation[search.metric]


def _has_parent() -> bool:
    """False in a process that was left behind by a killed one, which no longer holds the folder for it."""
    parent = multiprocessing.parent_process()
    return parent is None or parent.is_alive()


def _process(
    search: Search,
    out: Path,
    trials: int,
    timeout: float | None,
    number: int,
    threads: int,
    asking: AbstractContextManager[Any],
) -> None:
    import torch

    end_with_parent()
    torch.set_num_threads(threads)
    try:
        require_optuna()
        with damage_named(out):
            _work(search, out, trials, None if timeout is None else time.monotonic() + timeout, number, asking)
    except (KeyboardInterrupt, Interrupted):
        # The parent meets the same Ctrl-C and reports it.
        return
    except PalateError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def _work_in_processes(
    search: Search,
    out: Path,
    trials: int,
    timeout: float | None,
    jobs: int,
    study: optuna.Study,
    tell: Callable[[int, str], None],
) -> None:
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    asking = context.Lock()
    workers = [
        context.Process(target=_process, args=(search, out, trials, timeout, number, threads, asking))
        for number in range(jobs)
    ]
    shown = len(counted(study))
    try:
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            for worker in workers:
                worker.join(0.5)
            now = min(len(counted(study)), trials)
            if now > shown:
                tell(now - shown, best_note(study))
                shown = now
    except KeyboardInterrupt:
        for worker in workers:
            worker.join(30)
        raise
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
    if all(worker.exitcode for worker in workers):
        raise TrainingError("every process of the search ended with an error; see above")


def _conclude(
    study: optuna.Study, search: Search, dataset: Dataset, impute: dict[str, Imputation], out: Path
) -> RecipeFile:
    ended = table(study)
    write_json(out / TRIALS, {"metric": search.metric, "trials": ended})
    finished = [entry for entry in ended if entry["state"] == "complete"]
    if not finished:
        problems = [entry["problem"] for entry in ended if "problem" in entry]
        raise TrainingError(
            "no trial was finished" + (f"; the first problem was: {problems[0]}" if problems else ""),
            where=str(out),
            do="give it more time, or narrow what is searched",
        )
    best = max(finished, key=lambda entry: entry["value"])
    seconds = sum(entry["training"]["seconds"] for entry in finished)
    figures = Figures(
        source=f"palate tune: best of {len(counted(study)):,} trials on validation, {duration(seconds)} of training",
        data=f"{dataset.catalogue.name}, {dataset.settings.split}, validation part",
        metrics=best["validation"],
    )
    settings = {**search.settings, **best["settings"]}
    if issubclass(MODELS[search.model], Recommender) and search.metric != TrainConfig().metric:
        settings["metric"] = search.metric
    recipe = RecipeFile(
        model=search.model,
        preset=search.preset,
        data=dataset.catalogue.name,
        settings=settings,
        split=search.data.split,
        features=search.data.features,
        impute=impute,
        seed=search.seed,
        ours=[figures],
    )
    write_text(out / RECIPE, recipe.text())
    return recipe
