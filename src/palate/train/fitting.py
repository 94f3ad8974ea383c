"""Train one recommender on one Dataset: build it, run the loop with validation by ranking, give it back at its best."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from palate.core.config import Config
from palate.core.errors import ConfigError, unknown_name
from palate.core.seeds import derive_seed
from palate.dataset.dataset import Dataset
from palate.dataset.inputs import ModelInputs
from palate.graph.rows import Rows
from palate.measure.evaluation import evaluate, of_some
from palate.measure.metrics import METRICS
from palate.models.base import Classical, Model, Recommender
from palate.models.layers import UnaskedFeatures
from palate.optimise.loop import Loop
from palate.optimise.memory import returned_memory
from palate.optimise.profile import Profile
from palate.optimise.settings import LoopConfig
from palate.train.batches import PairBatches
from palate.train.scorers import scorer_of
from palate.train.warmstart import WarmStart


class TrainConfig(LoopConfig):
    """Settings of training: those of the loop, and of batches and validation."""

    batch_size: int = Field(default=2048, ge=1, description="train pairs in a step")
    metric: str = Field(default="recall@20", description="validation metric that selects the best epoch")
    validation_users: int | None = Field(
        default=None,
        ge=1,
        description="at each validation rank no more users than this, the same ones, drawn at random (for large data; "
        "what a run ends with is measured on all); null: all",
    )


@dataclass(frozen=True)
class Fitted:
    """A trained model and what its training was like.

    Attributes:
        model: with its best parameters.
        validation: its validation metrics.
        facts: epochs, best epoch, why it stopped, seconds, peak memory and its rise, parameters, notes.
    """

    model: Model
    validation: dict[str, float]
    facts: dict[str, Any]


FIRST_IS_BEST = (
    "the first validation was the best: what was learnt after it did not help, so these settings may not suit the data "
    "(compare with popularity, try another learning rate or weight, or let palate tune look)"
)
# The default precision belongs to the process: who changes it is alone until it is what it was.
_PRECISION = threading.RLock()


@contextlib.contextmanager
def made_in(precision: str) -> Generator[None]:
    """Tensors that are made in the block without a word about their precision have this one, in all threads."""
    with _PRECISION:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64 if precision == "float64" else torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def build(kind: type[Model], config: Config, inputs: ModelInputs, seed: int, precision: str) -> Model:
    """A model with seeded initial parameters, its graphs and tables made in the precision it will have."""
    with made_in(precision), torch.random.fork_rng(devices=[]), returned_memory():
        torch.manual_seed(derive_seed(seed, "parameters"))
        return kind(config, inputs if kind.modal else replace(inputs, features=UnaskedFeatures(kind)))


def fit_at_once(model: Classical, seed: int) -> None:
    """Fit a classical model; what it draws from torch's generator depends on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "fit"))
        model.fit()


def fit_model(
    kind: type[Model],
    config: Config,
    dataset: Dataset,
    settings: TrainConfig,
    *,
    seed: int,
    folder: Path | None = None,
    quiet: bool = False,
    watch: Callable[[int, float], None] | None = None,
    profile: Profile | None = None,
    warm_start: WarmStart | None = None,
) -> Fitted:
    """Train `kind` on the train part, selected on the validation part; the test part is not looked at.

    Args:
        folder: for checkpoint and history; None keeps neither.
        quiet: show no progress.
        watch: told after each validation how many there were and the value of the metric; what it raises ends training.
        profile: is told where the time of each epoch goes; a classical model has none.
        warm_start: what an earlier run of this model ended with, to begin from.

    Raises:
        ConfigError: for a metric that does not exist, or a start that does not fit.
        TrainingError: when training cannot go on.
        Interrupted: after Ctrl-C.
    """
    start, held = time.monotonic(), peak_memory_mb()
    if settings.metric not in METRICS:
        raise ConfigError(
            unknown_name("validation metric", settings.metric, METRICS), do=f"choose one of {', '.join(METRICS)}"
        )
    dataset = dataset.seen_by(features=kind.modal, knowledge=kind.knowledge)
    inputs = dataset.inputs()
    model = build(kind, config, inputs, seed, settings.precision)
    began = [] if warm_start is None else [warm_start.note(dataset), *warm_start.apply(model, dataset)]
    held_out, hidden = dataset.positives["valid"], dataset.mask("valid")
    some = of_some(held_out, settings.validation_users or inputs.users, "validation", seed)
    title = "" if quiet else "validating"
    validations = 0

    def measure(positives: Rows) -> dict[str, float]:
        scorer = scorer_of(model, inputs)
        return evaluate(scorer, positives, hidden, seed=seed, title=title).means() if positives.size else {}

    def validate() -> dict[str, float]:
        nonlocal validations
        values = measure(some)
        validations += 1
        if watch is not None:
            watch(validations, values[settings.metric])
        return values

    if isinstance(model, Recommender):
        batches = PairBatches(inputs, settings.batch_size, model.needs, seed, before_epoch=model.start_epoch)
        loop = Loop(
            model,
            model.loss,
            batches,
            settings,
            seed=seed,
            identity=_identity(kind, config, dataset, settings, seed, warm_start),
            folder=folder,
            validate=validate if held_out.size else None,
            metric=settings.metric,
            quiet=quiet,
            profile=profile,
        )
        outcome = loop.run()
        facts: dict[str, Any] = {
            "epochs": outcome.epochs,
            "best_epoch": outcome.best_epoch,
            "stopped": outcome.stopped,
            "seconds": round(outcome.seconds, 3),
            "seconds_per_epoch": round(outcome.seconds / max(1, outcome.epochs), 4),
        }
    else:
        assert isinstance(model, Classical)
        fit_at_once(model, seed)
        facts = {"seconds": round(time.monotonic() - start, 3)}
    facts["parameters"] = sum(value.numel() for value in model.parameters())
    notes = [*model.notes, *began]
    if warm_start is None and validations > 1 and facts.get("best_epoch") == settings.evaluate_every:
        notes.append(FIRST_IS_BEST)
    if notes:
        facts["notes"] = notes
    peak = peak_memory_mb()
    facts["process_peak_memory_mb"] = round(peak)
    # What the process held before is the data and, after other runs, what their memory was not given back of.
    facts["peak_memory_rise_mb"] = round(peak - held)
    return Fitted(model, measure(held_out), facts)


def _identity(
    kind: type[Model],
    config: Config,
    dataset: Dataset,
    settings: TrainConfig,
    seed: int,
    warm_start: WarmStart | None,
) -> str:
    # A checkpoint of before there was this setting is one of all users.
    chosen = settings.model_dump(exclude={"validation_users"} if settings.validation_users is None else None)
    facts = [kind.__name__, config.model_dump(), chosen, dataset.fingerprint, seed]
    facts += [] if warm_start is None else [warm_start.digest]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def reset_peak_memory() -> None:
    """Let the peak start again from the present size, where the system can (Linux); for many runs in one process.

    The present size is not the same for all of these runs: of two runs, compare `peak_memory_rise_mb`. It leaves out
    memory that earlier runs freed and the process still holds.
    """
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
