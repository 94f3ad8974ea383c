"""Seconds from the start of a training process until its validation Recall@20 is within 1 % of the best it will reach.

    python -m benchmarks.convergence --data CAT … [--model NAME …] [--set epochs=30 …] [--threads 1]
                                  [--out FILE.json [--add]]

Each (catalogue, model) is trained in a process of its own, as `palate train` does it: what counts are importing,
loading, building the model, epochs, validations and checkpoints. Settings are those of recipes/MODEL/CATALOGUE.yaml
where there is such a file, else the model's own with a validation every other epoch. A catalogue without features gets
random ones of 4096 and 384 columns: with these the cost is that of content, and the figures say nothing about its use.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.processes import added, ask_models, found_by, guarded, kept, output, write

if TYPE_CHECKING:
    from palate.dataset.dataset import Dataset
    from palate.dataset.settings import SplitConfig

NAMES = ("bpr", "lightgcn", "vbpr", "bm3", "freedom", "lgmrec", "mmgcn", "alignrec", "crmman")
RECIPES = Path(__file__).parents[1] / "recipes"
WIDTHS = {"image": 4096, "text": 384}
NEAR = 0.99
WITHOUT_RECIPE = {"evaluate_every": 2, "epochs": 100, "patience": 5}


@dataclass(frozen=True)
class Validation:
    """One validation.

    Attributes:
        epoch: after which epoch.
        seconds: since the process was started.
        cpu: seconds of all its threads until then, with one thread, those of a core of its own.
        value: of the metric.
    """

    epoch: int
    seconds: float
    cpu: float
    value: float


def reached(validations: Sequence[Validation], near: float = NEAR) -> tuple[Validation, Validation]:
    """The first validation within `near` of the best one, and the best itself (the first of equals)."""
    best = max(validations, key=lambda each: each.value)
    return next(each for each in validations if each.value >= near * best.value), best


def measure(folder: Path, name: str, settings: dict[str, Any], started: float) -> dict[str, Any]:
    """Train one model on one catalogue, in this process.

    Args:
        started: `time.time()` when the process was started.
    """
    import torch

    from palate.dataset.settings import SplitConfig
    from palate.optimise.profile import Profile
    from palate.recipe import RecipeFile, recipe_for, resolve
    from palate.train.fitting import fit_model

    catalogue = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["name"]
    path = RECIPES / name / f"{catalogue}.yaml"
    recipe = RecipeFile.read(path) if path.is_file() else recipe_for(name)
    own = recipe.settings if path.is_file() else WITHOUT_RECIPE
    kind, config, training = resolve(name, recipe.preset, {**own, **settings})
    data = load(folder, SplitConfig.parse(recipe.split), recipe.features, modal=kind.modal)
    seen: list[tuple[float, float, float]] = []
    profile = Profile()
    begun = time.time() - started
    with tempfile.TemporaryDirectory(prefix="palate-convergence-") as place:
        fitted = fit_model(
            kind,
            config,
            data,
            training,
            seed=recipe.seed,
            folder=Path(place),
            quiet=True,
            watch=lambda _, value: seen.append((time.time() - started, time.process_time(), value)),
            profile=profile,
        )
    last = int(fitted.facts["epochs"])
    validations = [
        Validation(min((number + 1) * training.evaluate_every, last), *found) for number, found in enumerate(seen)
    ]
    first, best = reached(validations)
    return {
        "data": catalogue,
        "model": name,
        "recipe": f"{name}/{path.name}" if path.is_file() else None,
        "settings": {**own, **settings},
        "asked": settings,
        "seconds": first.seconds,
        "cpu": first.cpu,
        "epoch": first.epoch,
        "value": first.value,
        "best_seconds": best.seconds,
        "best_cpu": best.cpu,
        "best_epoch": best.epoch,
        "best_value": best.value,
        "epochs": last,
        "ended_by": fitted.facts["stopped"],
        "before_training": begun,
        "whole_cpu": time.process_time(),
        "phases": {each.phase: each.seconds for each in profile.shares()},
        "threads": torch.get_num_threads(),
        "validations": [(each.epoch, each.seconds, each.cpu, each.value) for each in validations],
    }


def load(folder: Path, settings: SplitConfig, features: list[str] | None, *, modal: bool) -> Dataset:
    """The data set of a catalogue; with random features where the model wants some and the catalogue has none."""
    import numpy as np

    from palate.dataset.dataset import Dataset
    from palate.encode.features import Features
    from palate.encode.store import FeatureStore
    from palate.ingest.catalogue import Catalogue

    if not modal:
        return Dataset.load(folder, settings, [])
    if FeatureStore(folder).names():
        return Dataset.load(folder, settings, features)
    catalogue = Catalogue.load(folder)
    ids = tuple(catalogue.items["item_id"])
    generator = np.random.default_rng(0)
    present = np.ones(len(ids), dtype=np.bool_)
    random = {
        name: Features(name, generator.standard_normal((len(ids), width), dtype=np.float32), present, "random", ids)
        for name, width in WIDTHS.items()
    }
    return Dataset.make(catalogue, settings, random)


def row(found: dict[str, Any]) -> str:
    """One line of the table; settings that were given are told, but for the number of epochs, which has a column."""
    given = " ".join(f"{key}={value}" for key, value in found["asked"].items() if key != "epochs")
    cells = [
        found["data"],
        found["model"] + (f", `{given}`" if given else ""),
        f"{found['seconds']:.1f}",
        f"{found['cpu']:.1f}",
        str(found["epoch"]),
        f"{found['best_value']:.4f}",
        f"{found['best_seconds']:.1f}",
        f"{found['best_cpu']:.1f}",
        str(found["best_epoch"]),
        f"{found['before_training']:.1f}",
        f"{found['epochs']} ({found['ended_by']})",
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| data | model | s to within 1 % | CPU s | epoch | best valid recall@20 | s to it | CPU s | epoch "
    "| s before training | epochs |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Train each model on each catalogue and print the table."""
    from palate.core.config import read_assignments

    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--data", nargs="+", type=Path, required=True, metavar="CAT", help="catalogue folders")
    ask_models(reader, NAMES)
    reader.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="over those of the recipe")
    reader.add_argument("--threads", type=int, default=0, help="0: all cores")
    reader.add_argument("--out", type=output, help="JSON file, in place of what was there")
    reader.add_argument("--add", action="store_true", help="keep what the file has of others")
    reader.add_argument("--started", type=float, help=argparse.SUPPRESS)
    asked = reader.parse_args()
    if asked.started:
        print(json.dumps(measure(asked.data[0], asked.model[0], read_assignments(asked.set), asked.started)))
        return
    results = kept(asked.out, asked.add)
    failed: list[str] = []
    print(HEAD, flush=True)
    for folder in asked.data:
        for name in asked.model:
            words = ["--data", str(folder), "--model", name, *(["--set", *asked.set] if asked.set else [])]
            words += ["--started", repr(time.time())]
            found = found_by("benchmarks.convergence", *words, threads=asked.threads)
            if found is None:
                failed.append(f"{name} on {folder}")
                continue
            added(results, found, "data", "model", "asked")
            print(row(found), flush=True)
            if asked.out:
                write(asked.out, results)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    guarded(main)
