"""What every registered model promises, whatever it computes. A new model is picked up by being registered."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

import worlds
from palate.core.artefact import tensor_digest
from palate.core.config import Config
from palate.core.errors import ConfigError
from palate.dataset.dataset import Dataset
from palate.dataset.inputs import ModelInputs
from palate.encode.features import Features
from palate.experiment import Run, fit, resolve
from palate.ingest.catalogue import Catalogue
from palate.measure.ranking import top_items
from palate.models import MODELS, Model, Recommender
from palate.models.classical.indexorder import IndexOrder
from palate.study.verify import renumbered
from palate.train.fitting import Fitted, TrainConfig, build, fit_model

NAMES = list(MODELS)
PRESETS = [
    (name, preset)
    for name in NAMES
    for preset in ("intended", *(["official"] if hasattr(MODELS[name].Config, "official") else []))
]
TRAINED = [(name, preset) for name, preset in PRESETS if issubclass(MODELS[name], Recommender)]
LEARNERS = {name for name, _ in TRAINED}
every_model = pytest.mark.parametrize("name", NAMES)
every_preset = pytest.mark.parametrize(("name", "preset"), PRESETS)
every_trained = pytest.mark.parametrize(("name", "preset"), TRAINED)

SMALL = {"dim": 8, "epochs": 2, "batch_size": 64}


def settings_of(name: str, data: Dataset | ModelInputs, **wanted: Any) -> dict[str, Any]:
    """Those of `wanted` that the model or its training has; without dislikes, who reads them is told so."""
    if data.dislikes is None:
        wanted = {"dislikes": "none", **wanted}
    known = {**MODELS[name].Config.model_fields, **(TrainConfig.model_fields if name in LEARNERS else {})}
    return {key: value for key, value in {**SMALL, **wanted}.items() if key in known}


def trained(name: str, data: Dataset, preset: str = "intended", seed: int = 0, **wanted: Any) -> Fitted:
    kind, config, training = resolve(name, preset, settings_of(name, data, **wanted))
    return fit_model(kind, config, data, training, seed=seed, quiet=True)


def scores_of(model: Model, users: int) -> Tensor:
    with torch.inference_mode():
        return model.scorer().score_block(torch.arange(users))


def text(source: Catalogue, **settings: Any) -> dict[str, Features]:
    return {"text": worlds.features(source.items["item_id"].to_list(), **settings)}


@every_model
def test_every_setting_is_described_and_means_one_thing(name: str) -> None:
    fields = MODELS[name].Config.model_fields
    assert all(field.description for field in fields.values())
    assert not set(fields) & set(TrainConfig.model_fields), "a name of --set must not be the model's and the loop's"
    assert MODELS[name].title
    assert MODELS[name].source
    assert MODELS[name].__doc__


@every_preset
def test_presets_are_valid_settings(name: str, preset: str) -> None:
    _, config, _ = resolve(name, preset)
    assert isinstance(config, Config)
    assert type(config).parse(config.model_dump()) == config
    with pytest.raises(ConfigError, match="unknown setting 'no_such_thing'"):
        resolve(name, preset, {"no_such_thing": 1})
    if name not in LEARNERS:
        with pytest.raises(ConfigError, match="unknown setting 'epochs'"):
            resolve(name, preset, {"epochs": 1})


@every_preset
def test_scores_are_finite_complete_and_deterministic(name: str, preset: str) -> None:
    data = worlds.dataset(split="random")
    idle = data.positives["train"].lengths == 0
    assert idle.any(), "a user without train interactions belongs to this world"
    first, second = (trained(name, data, preset).model for _ in range(2))
    scores = scores_of(first, len(data.users))
    assert scores.shape == (len(data.users), len(data.items))
    assert bool(scores.isfinite().all())
    assert torch.equal(scores, scores_of(first, len(data.users)))
    assert torch.equal(scores, scores_of(second, len(data.users)))
    assert tensor_digest(first.state_dict()) == tensor_digest(second.state_dict())
    some = torch.tensor([5, 2, 5])
    torch.testing.assert_close(first.scorer().score_block(some), scores[some])
    assert first.scorer().items == len(data.items)


@every_trained
def test_another_seed_gives_another_model(name: str, preset: str) -> None:
    data = worlds.dataset(split="random")
    digests = {tensor_digest(trained(name, data, preset, seed).model.state_dict()) for seed in range(2)}
    assert len(digests) == 2


def two_tastes(told: float = 0.0) -> Dataset:
    """50 interactions: five users take items of one half, five of the other; all are for training.

    The content is wide enough to tell the items apart by it alone, for models that know nothing else of an item.

    Args:
        told: how loudly the content tells an item's half.
    """
    generator = np.random.default_rng(0)
    weights = np.linspace(3, 1, 15) / np.linspace(3, 1, 15).sum()
    pairs = [
        (f"u{user}", f"i{15 * (user // 5) + item}")
        for user in range(10)
        for item in generator.choice(15, 5, replace=False, p=weights)
    ]
    rows = pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row").with_columns(split=pl.lit("train"))
    source = Catalogue.of(rows, pl.DataFrame({"item_id": [f"i{item}" for item in range(30)]}))
    content = text(source, width=64)["text"]
    half = np.array([int(item[1:]) // 15 for item in content.ids])
    matrix = (content.matrix + told * (2 * half - 1)[:, None]).astype(np.float32)
    return worlds.dataset(source, {"text": dataclasses.replace(content, matrix=matrix, fingerprint="")}, split="given")


def recall_of_train(model: Model, data: Dataset) -> float:
    train = data.positives["train"]
    items, _ = top_items(model.scorer(), np.arange(len(data.users)), 5)
    return float(np.mean([len(np.intersect1d(items[user], train[user])) / 5 for user in range(train.count)]))


def best_without_memory(data: Dataset) -> float:
    """Recall of the five most popular items of each user's half."""
    train = data.inputs().train.by_item
    half = np.array([int(name[1:]) // 15 for name in data.items.ids])
    best = [np.flatnonzero(half == side)[np.argsort(-train.lengths[half == side])][:5] for side in (0, 1)]
    return float(train.lengths[np.concatenate(best)].sum() / data.positives["train"].size)


@every_trained
def test_a_trained_model_can_learn_fifty_interactions_by_heart(name: str, preset: str) -> None:
    data = two_tastes()
    assert data.positives["train"].size == 50
    wanted: dict[str, Any] = {
        "dim": 64,
        "epochs": 150,
        "batch_size": 50,
        "learning_rate": 0.02,
        "penalty_weight": 0.0,
        "dropout": 0.3,
    }
    model = trained(name, data, preset, **wanted).model
    # Chance is 1/6; who knows each user's taste, and what is popular in it, but no user alone, gets this far:
    assert recall_of_train(model, data) > best_without_memory(data) + 0.1


@pytest.mark.parametrize("name", [name for name in NAMES if not issubclass(MODELS[name], Recommender)])
def test_a_classical_model_is_better_than_chance_where_taste_follows_every_clue(name: str) -> None:
    data = two_tastes(told=1.0)
    items, _ = top_items(trained(name, data, ridge=1.0).model.scorer(), np.arange(len(data.users)), 5)
    train, half = data.positives["train"], np.array([int(user[1:]) // 5 for user in data.users.ids])
    took = np.zeros((len(data.users), len(data.items)))
    took[train.row_of_entry(), train.columns] = 1
    fellows = (half[:, None] == half) & ~np.eye(len(half), dtype=np.bool_)
    # How many of the four others of the same taste took what a user is shown; by chance 1 / 6 of them.
    agreed = np.take_along_axis(fellows @ took / 4, items, axis=1).mean()
    assert agreed > 1.5 * 5 / 30


@every_trained
def test_one_step_moves_every_parameter_or_its_absence_is_a_switch(name: str, preset: str) -> None:
    """Nothing a model trains may be out of reach of its loss for good."""
    data = worlds.dataset(split="random", positive="all")
    kind, config, _ = resolve(name, preset, settings_of(name, data))
    before = build(kind, config, data.inputs(), 0, "float32").state_dict()
    after = trained(name, data, preset, epochs=2, learning_rate=0.05).model
    for parameter, value in after.named_parameters():
        assert not torch.equal(value.detach(), before[parameter]), parameter


@every_preset
def test_a_stored_run_scores_the_same_bits(name: str, preset: str, tmp_path: Path) -> None:
    data = worlds.dataset(split="random")
    run = fit(name, data, preset=preset, settings=settings_of(name, data), out=tmp_path / "run", quiet=True)
    assert list(run.data.features) == (["text"] if MODELS[name].modal else [])
    loaded = Run.load(tmp_path / "run", data=data)
    everyone = torch.arange(len(data.users))
    assert torch.equal(run.scorer.score_block(everyone), loaded.scorer.score_block(everyone))
    assert run.evaluate() == loaded.evaluate()
    assert run.recommend(k=5).equals(loaded.recommend(k=5))


@every_preset
def test_nobody_is_recommended_what_is_known(name: str, preset: str, tmp_path: Path) -> None:
    data = worlds.dataset(split="random", thin=0.7)
    run = fit(name, data, preset=preset, settings=settings_of(name, data), out=tmp_path / "run", quiet=True)
    table = run.recommend(k=len(data.items))
    known = data.catalogue.interactions.select("user_id", "item_id")
    assert table.join(known, on=["user_id", "item_id"]).is_empty()
    # With k = all items, known and recommended together are everything, each once.
    assert table.height + known.height == len(data.users) * len(data.items)
    assert not table.select("user_id", "item_id").is_duplicated().any()


SOURCE = worlds.catalogue()
ALL = SOURCE.items["item_id"].to_list()
MODALITIES: dict[str, dict[str, Features]] = {
    "one": {"text": worlds.features(ALL)},
    "one, half of it missing": {"text": worlds.features(ALL, missing=ALL[::2])},
    "an item without any": {name: worlds.features(ALL, name, missing=ALL[:1]) for name in ("text", "image")},
    "three of other widths": {
        name: worlds.features(ALL, name, width) for name, width in (("audio", 1), ("image", 300), ("text", 8))
    },
    "a constant one": {
        "text": Features("text", np.ones((len(ALL), 3), np.float32), np.ones(len(ALL), np.bool_), "ones", tuple(ALL))
    },
    "names of a module's own attributes": {
        name: worlds.features(ALL, name) for name in ("type", "values", "forward", "training", "user", "item")
    },
    "all of one missing": {"text": worlds.features(ALL, missing=ALL), "image": worlds.features(ALL, "image")},
}


@pytest.mark.parametrize("modalities", MODALITIES)
@every_preset
def test_any_set_of_modalities_works(name: str, preset: str, modalities: str) -> None:
    data = worlds.dataset(SOURCE, MODALITIES[modalities], split="random")
    scores = scores_of(trained(name, data, preset, epochs=1).model, len(data.users))
    assert bool(scores.isfinite().all())


@every_model
def test_without_features_it_works_or_says_what_it_needs(name: str) -> None:
    data = worlds.dataset(modalities={}, split="random")
    kind = MODELS[name]
    if kind.modal:
        with pytest.raises(ConfigError, match="needs at least one modality"):
            trained(name, data)
    else:
        trained(name, data)


# U and I are no width of any parameter, so that a table's length tells what its rows are.
USERS, ITEMS = 23, 31


@pytest.mark.parametrize(("name", "preset"), [case for case in PRESETS if not issubclass(MODELS[case[0]], IndexOrder)])
def test_renumbering_users_and_items_changes_nothing(name: str, preset: str) -> None:
    generator = np.random.default_rng(4)
    matrix = (generator.random((USERS, ITEMS)) < 0.2).astype(np.int64)
    content = {name: generator.normal(size=(ITEMS, width)) for name, width in (("text", 6), ("image", 4))}
    content["image"][3] = np.nan
    content["knowledge"] = generator.normal(size=(ITEMS, 5))
    disliked = (generator.random((USERS, ITEMS)) < 0.1).astype(np.int64) * (1 - matrix)
    entities = (generator.random((ITEMS, 12)) < 0.2).astype(np.int64)
    inputs = worlds.inputs(matrix, content, dislikes=disliked, entities=entities)
    user, item = generator.permutation(USERS), generator.permutation(ITEMS)
    kind, config, _ = resolve(name, preset, settings_of(name, inputs))
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(1)
        one, other = kind(config, inputs), kind(config, renumbered(inputs, user, item))
        if isinstance(one, Recommender):
            order = {USERS: np.argsort(user), ITEMS: np.argsort(item)}
            state = {
                key: value[order[len(value)]] if value.ndim and len(value) in order else value
                for key, value in one.state_dict().items()
            }
            other.load_state_dict(state)
        else:
            for model in (one, other):
                model.fit()  # type: ignore[operator]
        scores, moved = scores_of(one, USERS), scores_of(other, USERS)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(moved[user][:, item], scores, rtol=1e-5, atol=1e-7)
