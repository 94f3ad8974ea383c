"""What a comparison found: from the stored lists of its runs to tables with intervals, slices, separation and cost.

Takes a comparison folder and its data set; gives one nested table of plain values (`results.json`), the same by row
(`results.parquet`) and the values of every user (`per_user.parquet`). Nothing is trained or ranked here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palate.core.artefact import read_json, write_json
from palate.core.errors import ArtefactError
from palate.dataset.dataset import Dataset
from palate.experiment import environment
from palate.measure.beyond import beyond_accuracy
from palate.measure.evaluation import Lists, accuracy_of
from palate.measure.resampling import LEVEL, Estimate, estimates, resampled_means
from palate.measure.significance import Pair, Separation, holm, holm_steps, paired_test, separate
from palate.measure.slices import item_slices, measure_slices, user_slices
from palate.models import MODELS
from palate.recipe import Recipe, RecipeFile
from palate.study.compare import FAILED, LISTS, WHOLE, Plan, read_plan, runs_of, settings_file, stored_lists
from palate.study.knockout import remark

RESULTS, ROWS, PER_USER = "results.json", "results.parquet", "per_user.parquet"
# Metrics on which models are told apart; the first is the one that tables are ordered by.
COMPARED = ("recall@20", "ndcg@20", "recall@10", "ndcg@10")
SLICED_AT = 20
RESAMPLES = 10_000


@dataclass(frozen=True, eq=False)
class Measured:
    """One entrant's runs of one kind, measured.

    Attributes:
        folders: of its runs, by seed.
        users: row numbers.
        values: metric → seeds × users.
        lists: of each seed.
        clicks: metrics of the click protocol, averaged over seeds.
    """

    folders: list[Path]
    users: NDArray[np.int64]
    values: dict[str, NDArray[np.float64]]
    lists: list[Lists]
    clicks: dict[str, float]

    def by_user(self, metric: str) -> NDArray[np.float64]:
        """Averaged over seeds: one value for each user."""
        return self.values[metric].mean(0)


@dataclass(frozen=True, eq=False)
class _Own:
    """Feature rows of the items that have them of their own: what was filled in says nothing of an item."""

    matrix: NDArray[np.float32]
    present: NDArray[np.bool_]


def lacking(folder: Path, seeds: int) -> list[int]:
    """The seeds, of 0 … seeds - 1, without a finished run below `folder`."""
    return [seed for seed in range(seeds) if not (folder / f"s{seed}" / LISTS).is_file()]


def measured(folder: Path, dataset: Dataset, seeds: int) -> Measured | None:
    """The finished runs below `folder` with seeds 0 … seeds - 1; None unless all of them are there."""
    if lacking(folder, seeds):
        return None
    folders = [folder / f"s{seed}" for seed in range(seeds)]
    positives = dataset.positives["test"]
    stored = [stored_lists(path) for path in folders]
    accuracies = [accuracy_of(lists, positives) for lists, _ in stored]
    users = accuracies[0].users
    values = {name: np.stack([found.values[name] for found in accuracies]) for name in accuracies[0].values}
    clicks = _mean_of([click.means() for _, click in stored])
    return Measured(folders, users, values, [lists for lists, _ in stored], clicks)


def gather(out: Path, dataset: Dataset, *, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Measure everything that a comparison has finished so far, and store it in its folder.

    Args:
        out: folder of the comparison.
        dataset: the one it was made on.
        resamples: of users, for every interval and test.

    Raises:
        ArtefactError: when there is no comparison, it is of other data, or nothing is finished.
    """
    plan = read_plan(out)
    if plan.fingerprint != dataset.fingerprint:
        raise ArtefactError("this comparison is of other data", where=str(out), do="give the data it was made on")
    failed: Mapping[str, str] = read_json(out / FAILED) if (out / FAILED).is_file() else {}
    incomplete: dict[str, str] = {}
    whole: dict[str, Measured] = {}
    for label in plan.entrants:
        settings = settings_file(out, label)
        if label in failed or not settings.is_file():
            incomplete[label] = failed.get(label, "not begun")
            continue
        folder, count = out / "runs" / label / WHOLE, runs_of(RecipeFile.read(settings), plan.seeds)
        value = measured(folder, dataset, count)
        if value is None:
            incomplete[label] = _gap(lacking(folder, count), count)
        else:
            whole[label] = value
    if not whole:
        raise ArtefactError(
            "no entrant of this comparison is finished, with every seed",
            where=str(out),
            do="run the comparison again: what is trained already is kept",
        )
    separated = {
        metric: separate({label: value.by_user(metric) for label, value in whole.items()}, resamples=resamples)
        for metric in COMPARED
    }
    results: dict[str, Any] = {
        "plan": plan.model_dump(),
        "environment": environment(),
        "data": {**dataset.describe(), "notes": list(dataset.notes)},
        "test_users": len(next(iter(whole.values())).users),
        "models": {
            label: _model(label, value, dataset, plan, resamples)
            for label, value in sorted(whole.items(), key=lambda entry: -float(entry[1].by_user(COMPARED[0]).mean()))
        },
        "separation": {metric: separation_as_dict(value) for metric, value in separated.items()},
        "knock_out": _knock_outs(out, plan, whole, dataset, resamples, incomplete),
        "failed": dict(failed),
        "incomplete": incomplete,
    }
    write_json(out / RESULTS, results)
    _write_rows(out, results)
    _write_users(out, whole, dataset)
    return results


def _gap(seeds: list[int], count: int) -> str:
    return f"{len(seeds)} of {count} runs are missing (seed {', '.join(map(str, seeds))})"


def _mean_of(tables: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([table[name] for table in tables])) for name in tables[0]}


def _model(label: str, value: Measured, dataset: Dataset, plan: Plan, resamples: int) -> dict[str, Any]:
    recipe = Recipe.read(value.folders[0] / "run" / "recipe.yaml")
    kind = MODELS[recipe.model]
    names = list(value.values)
    table = np.stack([value.by_user(name) for name in names], axis=1)
    intervals = estimates(table, resampled_means(table, min(resamples, 2000), 0))
    runs = [read_json(folder / "run" / "metrics.json") for folder in value.folders]
    train = dataset.positives["train"]
    own = {
        name: _Own(features.matrix, features.present & ~dataset.missing[name])
        for name, features in dataset.features.items()
    }
    beyond = [beyond_accuracy(lists, train, own).means() for lists in value.lists]
    return {
        "model": recipe.model,
        "title": kind.title,
        "source": kind.source,
        "settings_from": plan.entrants[label],
        "settings": recipe.settings,
        "training": recipe.train.model_dump(),
        "features": recipe.data.features,
        "seeds": len(value.folders),
        "metrics": {
            name: {**_interval(estimate), "over_seeds": _spread(value.values[name])}
            for name, estimate in zip(names, intervals, strict=True)
        },
        "clicks": value.clicks,
        "beyond": {name: _known_mean([found[name] for found in beyond]) for name in beyond[0]},
        "slices": _slices(value, dataset),
        "validation": _mean_of([run["validation"] for run in runs]) if runs[0]["validation"] else {},
        "cost": _cost([run["training"] for run in runs]),
        "history": _history(value.folders[0] / "run" / "history.jsonl", recipe.train.metric),
    }


def _spread(values: NDArray[np.float64]) -> float | None:
    """Standard deviation of the seeds' means; None for one seed."""
    return float(values.mean(1).std(ddof=1)) if len(values) > 1 else None


def _known_mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _interval(estimate: Estimate) -> dict[str, float]:
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}


def _slices(value: Measured, dataset: Dataset) -> dict[str, Any]:
    """Recall and NDCG at one length by slice, averaged over seeds before users are resampled."""
    train, positives = dataset.positives["train"], dataset.positives["test"]
    present = {name: ~missing for name, missing in dataset.missing.items()}
    chosen = [*item_slices(train, present), *user_slices(train)]
    by_seed = [measure_slices(lists, positives, chosen, cuts=(SLICED_AT,), resamples=1) for lists in value.lists]
    names = (f"recall@{SLICED_AT}", f"ndcg@{SLICED_AT}")
    found: dict[str, Any] = {}
    for place, part in enumerate(chosen):
        first = by_seed[0][place]
        entry: dict[str, Any] = {
            "kind": part.kind,
            "meaning": part.meaning,
            "members": int(part.members.sum()),
            "users": first.users,
            "positives": first.positives,
        }
        if first.users:
            columns = [np.mean([seed[place].accuracy.values[name] for seed in by_seed], axis=0) for name in names]
            table = np.stack(columns, axis=1)
            made = estimates(table, resampled_means(table, 2000, 0))
            entry |= {name: _interval(estimate) for name, estimate in zip(names, made, strict=True)}
        found[part.name] = entry
    return found


def _cost(runs: list[dict[str, Any]]) -> dict[str, float | None]:
    """Means over the runs of what was noted of each; None where a model has no such figure."""
    time = ("seconds", "seconds_per_epoch", "epochs", "best_epoch")
    names = (*time, "process_peak_memory_mb", "peak_memory_rise_mb", "parameters")
    return {name: _known_mean([run.get(name) for run in runs]) for name in names}


def _history(path: Path, metric: str) -> list[dict[str, float]]:
    """Epoch, loss, seconds so far and the validation metric of each validated epoch of one run."""
    if not path.is_file():
        return []
    lines = pl.read_ndjson(path, infer_schema_length=None).to_dicts()
    return [
        {
            "epoch": line["epoch"],
            "loss": line["loss"],
            "seconds": line["seconds"],
            **({"validation": line["validation"][metric]} if line.get("validation") else {}),
        }
        for line in lines
    ]


def separation_as_dict(found: Separation) -> dict[str, Any]:
    """Plain values: the order, the verdict, and every pair."""
    return {
        "order": list(found.order),
        "winner": found.winner,
        "level_with_best": list(found.level_with_best),
        "verdict": found.verdict,
        "users": found.users,
        "left_out": found.left_out,
        "resamples": found.resamples,
        "level": found.level,
        "pairs": [_pair(pair) for pair in found.pairs],
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "first": pair.first,
        "second": pair.second,
        "difference": _interval(pair.difference),
        "corrected": _interval(pair.corrected),
        "p": pair.p,
        "corrected_p": pair.corrected_p,
        "effect": pair.effect.size,
        "better": pair.effect.better,
        "worse": pair.effect.worse,
        "separated": pair.separated,
    }


def _knock_outs(
    out: Path,
    plan: Plan,
    whole: Mapping[str, Measured],
    dataset: Dataset,
    resamples: int,
    incomplete: dict[str, str],
) -> list[dict[str, Any]]:
    """What each modality brought: the true rows against each knock-out, paired over users; Holm over all of them.

    As between models (`separate`), one is separated only if the corrected p is at most alpha and the interval at the
    level of its Holm step excludes zero. Knock-outs without a run for every seed are noted in `incomplete`.
    """
    metric, alpha = COMPARED[0], 1 - LEVEL
    found: list[dict[str, Any]] = []
    differences: list[NDArray[np.float64]] = []
    for label, value in whole.items():
        given = Recipe.read(value.folders[0] / "run" / "recipe.yaml").data.features
        for folder in sorted((out / "runs" / label).iterdir()):
            modality, _, how = folder.name.rpartition("-")
            if folder.name == WHOLE or not folder.is_dir():
                continue
            other = measured(folder, dataset, plan.seeds)
            if other is None:
                if plan.knock_out:
                    incomplete[f"{label}, {modality} {how}"] = _gap(lacking(folder, plan.seeds), plan.seeds)
                continue
            true, without = value.by_user(metric), other.by_user(metric)
            note = remark(modality, given)
            found.append(
                {
                    "label": label,
                    "modality": modality,
                    "how": how,
                    "metric": metric,
                    "with": float(true.mean()),
                    "without": float(without.mean()),
                    "seeds": len(other.folders),
                    **({"note": note} if note else {}),
                }
            )
            differences.append(true - without)
    # The strictest step needs a tail that still holds a resample, and a p that can get below it.
    resamples = max(resamples, math.ceil(2 * len(found) / alpha))
    p = np.array([paired_test(each, np.zeros_like(each), resamples=resamples) for each in differences])
    for entry, each, own, corrected, step in zip(found, differences, p, holm(p), holm_steps(p), strict=True):
        column = each[:, None]
        means = resampled_means(column, resamples, 0)
        entry["difference"] = _interval(estimates(column, means)[0])
        wide = estimates(column, means, level=1 - alpha / int(step))[0]
        entry["corrected"] = _interval(wide)
        entry["p"], entry["corrected_p"] = float(own), float(corrected)
        entry["separated"] = bool(corrected <= alpha and (wide.low > 0 or wide.high < 0))
    return found


def _write_rows(out: Path, results: Mapping[str, Any]) -> None:
    rows = [
        {"label": label, "model": found["model"], "metric": metric, **numbers}
        for label, found in results["models"].items()
        for metric, numbers in found["metrics"].items()
    ]
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(out / ROWS)


def _write_users(out: Path, whole: Mapping[str, Measured], dataset: Dataset) -> None:
    tables: list[pl.DataFrame] = []
    for label, value in whole.items():
        ids = [dataset.users.ids[row] for row in value.users.tolist()]
        for place, folder in enumerate(value.folders):
            columns = {name: column[place] for name, column in value.values.items()}
            tables.append(
                pl.DataFrame({"label": [label] * len(ids), "seed": int(folder.name[1:]), "user_id": ids, **columns})
            )
    pl.concat(tables).write_parquet(out / PER_USER)
