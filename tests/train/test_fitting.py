"""Training one model on one data set: selection on validation, the planted truth, and clear errors."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import worlds
from palate.core.errors import ArtefactError, ConfigError, Interrupted
from palate.dataset.dataset import Dataset
from palate.encode.features import Features
from palate.experiment import resolve
from palate.ingest.catalogue import Catalogue
from palate.measure.evaluation import evaluate, of_some
from palate.models.base import Batch
from palate.train.batches import PairBatches
from palate.train.fitting import Fitted, TrainConfig, _identity, build, fit_model

SEEDS = (0, 1, 2)
TINY = worlds.dataset(split="random")


def trained(name: str, data: Dataset, seed: int = 0, preset: str = "intended", **settings: Any) -> Fitted:
    kind, config, training = resolve(name, preset, settings)
    return fit_model(kind, config, data, training, seed=seed, quiet=True)


def test_a_training_that_helps_nothing_is_noted() -> None:
    for name, rate, epochs, noted in (("bpr", 1e-12, 3, True), ("bpr", 1e-12, 1, False), ("ease", None, None, False)):
        settings = {} if rate is None else {"learning_rate": rate, "epochs": epochs}
        notes = trained(name, TINY, **settings).facts.get("notes", [])
        assert any("the first validation was the best" in note for note in notes) == noted


def planted(seed: int, *, shuffled: bool = False) -> Dataset:
    """The world of `worlds.planted` with its features, or with the same rows given to the wrong items."""
    rows, matrix = worlds.planted(seed, each=5)
    goods = pl.DataFrame({"item_id": [f"i{item}" for item in range(len(matrix))]})
    matrix = np.random.default_rng(seed + 99).permutation(matrix) if shuffled else matrix
    text = Features("text", matrix, np.ones(len(matrix), np.bool_), "planted", tuple(goods["item_id"]))
    return worlds.dataset(Catalogue.of(rows, goods), {"text": text}, split="random", seed=seed)


def recall_of(name: str, data: Dataset, seed: int, preset: str = "intended") -> float:
    settings = {"dim": 32, "epochs": 50, "batch_size": 256, "learning_rate": 5e-3, "patience": 15}
    scorer = trained(name, data, seed, preset, **settings).model.scorer()
    return evaluate(scorer, data.positives["test"], data.mask("test")).means()["recall@20"]


def test_where_taste_depends_on_content_alone_bm3_needs_the_true_features() -> None:
    """Five interactions a user, three of them for training: chance is .05, and ids alone get half of the way."""
    true = [recall_of("bm3", planted(seed), seed) for seed in SEEDS]
    wrong = [recall_of("bm3", planted(seed, shuffled=True), seed) for seed in SEEDS]
    ids_alone = [recall_of("lightgcn", planted(seed), seed) for seed in SEEDS]
    assert min(true) > max(wrong) + 0.25
    assert min(true) > max(ids_alone) + 0.1


def test_with_stopped_targets_bm3_cannot_use_the_features_at_all() -> None:
    """As released, content never reaches the id tables: the true features are worth no more than shuffled ones."""
    true, wrong = (recall_of("bm3", planted(0, shuffled=shuffled), 0, "official") for shuffled in (False, True))
    assert true < wrong + 0.05


def test_the_best_epoch_on_validation_is_what_is_given_back() -> None:
    data = planted(0)
    fitted = trained("bm3", data, dim=8, epochs=12, batch_size=256, learning_rate=0.01, patience=3)
    again = trained(
        "bm3", data, dim=8, epochs=fitted.facts["best_epoch"], batch_size=256, learning_rate=0.01, patience=99
    )
    scorers = fitted.model.scorer(), again.model.scorer()
    measured = [evaluate(scorer, data.positives["valid"], data.mask("valid"), seed=0).means() for scorer in scorers]
    assert measured[0] == fitted.validation
    # Training stopped at its best epoch is the same model: what came after it left no trace.
    assert again.facts["best_epoch"] == fitted.facts["best_epoch"]
    assert measured[0] == measured[1]


def test_validation_on_some_users_selects_by_them_and_the_run_is_measured_on_all() -> None:
    data = planted(0)
    seen: list[float] = []
    settings = {"dim": 8, "epochs": 4, "batch_size": 256, "learning_rate": 0.01, "patience": 9}
    kind, config, training = resolve("bm3", "intended", {**settings, "validation_users": 20})
    fitted = fit_model(kind, config, data, training, seed=0, quiet=True, watch=lambda _, value: seen.append(value))
    held_out, hidden, scorer = data.positives["valid"], data.mask("valid"), fitted.model.scorer()
    some = of_some(held_out, 20, "validation", 0)
    assert np.count_nonzero(some.lengths) == 20
    assert np.count_nonzero(held_out.lengths) > 20
    assert max(seen) == evaluate(scorer, some, hidden).means()["recall@20"]
    assert fitted.validation == evaluate(scorer, held_out, hidden).means()
    # Of more users than there are, all are ranked.
    whole, many = trained("bm3", data, **settings), trained("bm3", data, validation_users=10**6, **settings)
    assert whole.validation == many.validation


def test_the_test_part_is_not_looked_at() -> None:
    """Two data sets that differ in the test part alone train to the same bits."""
    rows = worlds.interactions(ratings=False).with_row_index()
    part = pl.when(pl.col("index") % 5 == 0).then(pl.lit("test")).when(pl.col("index") % 5 == 1).then(pl.lit("valid"))
    whole = rows.with_columns(split=part.otherwise(pl.lit("train"))).drop("index")
    # One row per user stays, so that both have the same users.
    fewer = whole.filter((pl.col("split") != "test") | pl.col("user_id").is_first_distinct())
    models = [
        trained("bm3", worlds.dataset(worlds.catalogue(frame), split="given"), dim=4, epochs=4).model
        for frame in (whole, fewer)
    ]
    assert whole.height > fewer.height
    for name, value in models[0].state_dict().items():
        torch.testing.assert_close(value, models[1].state_dict()[name], rtol=0, atol=0)


def test_initial_parameters_depend_on_the_seed_alone() -> None:
    data = worlds.dataset(split="random")
    kind, config, _ = resolve("bm3")
    torch.manual_seed(1)
    first = build(kind, config, data.inputs(), 3, "float32").state_dict()
    state = torch.random.get_rng_state()
    torch.randn(5)
    second, other = (
        build(kind, config, data.inputs(), 3, "float32").state_dict(),
        build(kind, config, data.inputs(), 4, "float32").state_dict(),
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not torch.equal(first["user_id"], other["user_id"])
    torch.random.set_rng_state(state)
    before = torch.random.get_rng_state()
    build(kind, config, data.inputs(), 3, "float32")
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 5},
        {"batch_size": 32},
        {"learning_rate": 0.02},
        {"weight_decay": 0.1},
        {"metric": "ndcg@10"},
        {"patience": 3},
        {"evaluate_every": 2},
        {"precision": "float64"},
        {"dim": 5},
        {"seed": 1},
        {"data": worlds.dataset(split="latest")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_checkpoint_is_that_of_all_settings_and_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """No other training may go on from it, whatever differs; the same one may."""
    base: dict[str, Any] = {"dim": 4, "epochs": 4, "batch_size": 64, "checkpoint_seconds": 0}

    def train(data: Dataset = TINY, seed: int = 0, **settings: Any) -> Fitted:
        kind, config, training = resolve("lightgcn", settings={**base, **settings})
        return fit_model(kind, config, data, training, seed=seed, folder=tmp_path, quiet=True)

    whole = PairBatches.epoch

    def stop(self: PairBatches, number: int) -> Iterator[Batch]:
        if number == 3:
            signal.raise_signal(signal.SIGINT)
        return whole(self, number)

    with monkeypatch.context() as patched:
        patched.setattr(PairBatches, "epoch", stop)
        with pytest.raises(Interrupted):
            train()
    with pytest.raises(ArtefactError, match="other settings or other data"):
        train(**change)
    assert train().facts["epochs"] == 4


def test_a_checkpoint_of_before_validation_users_is_one_of_all_users() -> None:
    kind, config, training = resolve("bpr")
    identity = _identity(kind, config, TINY, training, 0, None)
    facts = [kind.__name__, config.model_dump(), training.model_dump(), TINY.fingerprint, 0]
    assert facts[2].pop("validation_users") is None
    assert identity == hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    some = training.override({"validation_users": 20})
    assert _identity(kind, config, TINY, some, 0, None) != identity


def test_an_unknown_validation_metric_is_named_with_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match="recal@20") as caught:
        trained("lightgcn", worlds.dataset(split="random"), epochs=1, metric="recal@20")
    assert "recall@20" in str(caught.value)


def test_without_a_validation_part_training_runs_to_its_last_epoch() -> None:
    rows = worlds.interactions().with_columns(split=pl.lit("train"))
    fitted = trained("lightgcn", worlds.dataset(worlds.catalogue(rows), split="given"), epochs=3, dim=4)
    assert fitted.validation == {}
    assert (fitted.facts["epochs"], fitted.facts["stopped"]) == (3, "epochs")


def test_settings_of_training_have_ranges() -> None:
    for name in ("batch_size", "epochs", "learning_rate", "patience"):
        with pytest.raises(ConfigError, match=name):
            TrainConfig.parse({name: 0})


def test_two_models_that_are_built_at_once_leave_the_precision_as_it_was() -> None:
    """A service builds models in threads: each in its own precision, and none leaves it behind."""
    inside, begun, found = threading.Event(), threading.Event(), list[torch.dtype]()

    class Doubles:
        modal = True

        def __init__(self, *_: object) -> None:
            inside.set()
            # The other one comes now, and has to wait.
            assert begun.wait(60)
            other.join(0.2)
            found.append(torch.ones(1).dtype)

    class Singles:
        modal = True

        def __init__(self, *_: object) -> None:
            found.append(torch.ones(1).dtype)

    def make(kind: Any, precision: str) -> None:
        build(kind, TrainConfig(), TINY.inputs(), 0, precision)

    other = threading.Thread(target=make, args=(Singles, "float32"))
    first = threading.Thread(target=make, args=(Doubles, "float64"))
    first.start()
    assert inside.wait(60)
    other.start()
    begun.set()
    first.join()
    other.join()
    assert found == [torch.float64, torch.float32]
    assert torch.get_default_dtype() == torch.float32
