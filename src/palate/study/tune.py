"""Tuning: search a model's settings on the validation part, in parallel processes, resumable after a kill.

Takes a model or recipe file and a way to make the data set; gives a recipe file with the best settings found. The test
part is never looked at.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palate.core.artefact import write_json, write_text
from palate.core.errors import ConfigError, DataError, Interrupted, TrainingError
from palate.core.progress import duration, progress
from palate.core.search import Choice, Range
from palate.core.seeds import derive_seed
from palate.dataset.dataset import Dataset
from palate.models import MODELS
from palate.recipe import Figures, RecipeFile, resolve
from palate.study.trials import NAME, Search, best_note, counted, open_study, requeue, require_optuna, storage_of
from palate.train.fitting import fit_model

if TYPE_CHECKING:
    import optuna

RECIPE, TRIALS = "recipe.yaml", "trials.json"
# A trial is compared with others at the same validation once it has had this many.
WARM_UP = 5


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
        ConfigError, DataError: when the data cannot be made, or have no validation part.
        ArtefactError: when `out` holds another search.
        Interrupted: on Ctrl-C; the trials that were finished are kept.
        TrainingError: when no trial could be finished.
        MissingDependency: without Optuna.
    """
    if trials < 1 or jobs < 1:
        raise ConfigError(f"trials and jobs must be at least 1, not {trials} and {jobs}")
    dataset = search.data.load()
    kind = MODELS[search.model]
    dataset = dataset.seen_by(features=kind.modal, knowledge=kind.knowledge)
    if dataset.positives["valid"].size == 0:
        raise DataError("there is no validation part to tune on", do="choose another split")
    out.mkdir(parents=True, exist_ok=True)
    study = open_study(out, search, dataset.fingerprint)
    requeue(study)
    deadline = None if timeout is None else time.monotonic() + timeout
    done = len(counted(study))
    with progress(f"tuning {search.model}", trials, "trials", done=done, quiet=quiet) as shown:
        try:
            if jobs == 1:
                _work(search, out, trials, deadline, 0, dataset=dataset, tell=shown.advance)
            else:
                _work_in_processes(search, out, trials, timeout, jobs, study, shown.advance)
        except KeyboardInterrupt:
            raise Interrupted(
                f"stopped after {len(counted(study)):,} trials; they are kept", do="run the same command again"
            ) from None
    return _conclude(study, search, dataset, out)


def _work(
    search: Search,
    out: Path,
    trials: int,
    deadline: float | None,
    number: int,
    *,
    dataset: Dataset | None = None,
    tell: Callable[[int, str], None] | None = None,
) -> None:
    """One process's share of the trials."""
    import optuna

    require_optuna()
    data = search.data.load() if dataset is None else dataset
    storage = storage_of(out)
    met = len(storage.get_all_trials(storage.get_study_id_from_name(NAME), deepcopy=False))
    study = optuna.load_study(
        study_name=NAME,
        storage=storage,
        sampler=optuna.samplers.TPESampler(seed=derive_seed(search.seed, "search", number, met) % 2**32),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=WARM_UP),
    )
    failures = 0
    while len(counted(study)) < trials and (deadline is None or time.monotonic() < deadline):
        trial = study.ask()
        try:
            value = _try(search, data, trial)
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except (TrainingError, ConfigError, MemoryError) as error:
            trial.set_user_attr("problem", str(error))
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            failures += 1
            if failures > max(10, trials):
                raise
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

    picked = {name: _suggest(trial, name, values) for name, values in search.space.items()}
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


def _suggest(trial: optuna.Trial, name: str, values: Choice | Range) -> Any:
    if isinstance(values, Choice):
        return trial.suggest_categorical(name, values.values)
    if values.whole:
        return trial.suggest_int(name, int(values.low), int(values.high), log=values.log)
    return trial.suggest_float(name, values.low, values.high, log=values.log)


def _process(search: Search, out: Path, trials: int, timeout: float | None, number: int, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    try:
        _work(search, out, trials, None if timeout is None else time.monotonic() + timeout, number)
    except (KeyboardInterrupt, Interrupted):
        # The parent meets the same Ctrl-C and reports it.
        return


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
    workers = [
        context.Process(target=_process, args=(search, out, trials, timeout, number, threads)) for number in range(jobs)
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


def _conclude(study: optuna.Study, search: Search, dataset: Dataset, out: Path) -> RecipeFile:
    from optuna.trial import TrialState

    table: list[dict[str, Any]] = [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "value": trial.value,
            "settings": trial.params,
            **{key: trial.user_attrs[key] for key in ("problem", "validation", "training") if key in trial.user_attrs},
        }
        for trial in study.get_trials(deepcopy=False)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    ]
    write_json(out / TRIALS, {"metric": search.metric, "trials": table})
    finished = [entry for entry in table if entry["state"] == "complete"]
    if not finished:
        problems = [entry["problem"] for entry in table if "problem" in entry]
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
    recipe = RecipeFile(
        model=search.model,
        preset=search.preset,
        data=dataset.catalogue.name,
        settings={**search.settings, **best["settings"]},
        split=search.data.split,
        features=search.data.features,
        seed=search.seed,
        ours=[figures],
    )
    write_text(out / RECIPE, recipe.text())
    return recipe
