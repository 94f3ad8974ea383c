"""Warm starts: rows follow their ids, whatever their numbers; what is new begins as usual; a better start is one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import worlds
from palate.core.errors import ArtefactError, ConfigError
from palate.dataset.dataset import Dataset
from palate.experiment import Run, fit
from palate.ingest.catalogue import Catalogue
from palate.models import MODELS, Recommender
from palate.recipe import resolve
from palate.train.fitting import TrainConfig, build
from palate.train.warmstart import IDS, WarmStart, side_of, write_ids

LEARNERS = [name for name in MODELS if issubclass(MODELS[name], Recommender)]
PRESETS = [
    (name, preset)
    for name in LEARNERS
    for preset in ("intended", *(["official"] if hasattr(MODELS[name].Config, "official") else []))
]


def settings_of(name: str, **wanted: Any) -> dict[str, Any]:
    valid = {**MODELS[name].Config.model_fields, **TrainConfig.model_fields}
    return {key: value for key, value in {"dim": 8, "epochs": 2, "batch_size": 64, **wanted}.items() if key in valid}


def world(users: int, items: int, seed: int = 0) -> Dataset:
    """The users u0 … and items i0 … of a world that grows; the larger one holds the ids of the smaller."""
    rows = worlds.interactions(users=users, items=items, least=4, seed=3)
    source = worlds.catalogue(rows, items=items)
    ids = source.items["item_id"].to_list()
    content = {"text": worlds.features(ids), "image": worlds.features(ids, "image", width=4)}
    return worlds.dataset(source, content, split="random", seed=seed)


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_it_is_known_of_every_parameter_whether_it_has_rows_of_users_or_items(name: str, preset: str) -> None:
    """A table that goes with the number of users or items must be told as one: add it to `TABLES`."""
    kind, config, _ = resolve(name, preset, settings_of(name))
    shapes: list[dict[str, torch.Size]] = []
    for users, items in ((30, 25), (31, 25), (30, 26)):
        inputs = world(users, items).seen_by(features=kind.modal, knowledge=kind.knowledge).inputs()
        model = build(kind, config, inputs, 0, "float32")
        shapes.append({key: value.shape for key, value in model.state_dict().items()})
    small, more_users, more_items = shapes
    for key, shape in small.items():
        expected = "user" if more_users[key] != shape else "item" if more_items[key] != shape else None
        assert side_of(key) == expected, key


@pytest.mark.parametrize("name", LEARNERS)
def test_rows_are_copied_by_id_and_new_ones_begin_as_usual(name: str, tmp_path: Path) -> None:
    old, new = world(30, 25, seed=0), world(34, 28, seed=5)
    assert old.users.ids.to_list() != new.users.ids.to_list()[:30]
    run = fit(name, old, settings=settings_of(name), out=tmp_path / "run", quiet=True)
    kind, config, _ = resolve(name, settings=settings_of(name))
    seen = new.seen_by(features=kind.modal, knowledge=kind.knowledge)
    fresh = build(kind, config, seen.inputs(), 1, "float32")
    warm = build(kind, config, seen.inputs(), 1, "float32")
    WarmStart.load(run.folder).apply(warm, new)
    before, now, initial = run.model().state_dict(), warm.state_dict(), fresh.state_dict()
    for key, value in now.items():
        side = side_of(key)
        if side is None:
            assert torch.equal(value, before[key])
            continue
        known, ids = (old.users, new.users) if side == "user" else (old.items, new.items)
        rows = {item: row for row, item in enumerate(known.ids)}
        for row, item in enumerate(ids.ids):
            assert torch.equal(value[row], before[key][rows[item]] if item in rows else initial[key][row])


def planted() -> tuple[Catalogue, Catalogue]:
    """A world of taste in groups, and the same world a day later: one more event of everybody, and new users."""
    rows, features = worlds.planted(0, users=120, items=80, groups=5)
    rows = rows.with_columns(timestamp=pl.int_range(pl.len()).over("user_id"))
    late = pl.col("user_id").str.slice(1).cast(pl.Int64) >= 110
    items = pl.DataFrame({"item_id": [f"i{item}" for item in range(len(features))]})
    first = rows.filter(~late & (pl.col("timestamp") < 6))
    return Catalogue.of(first, items, name="yesterday"), Catalogue.of(rows, items, name="today")


def test_a_warm_start_begins_where_the_last_run_ended(tmp_path: Path) -> None:
    sources = planted()
    yesterday = worlds.dataset(sources[0], {}, split="user-time")
    today = worlds.dataset(sources[1], {}, split="user-time", seed=4)
    settings = {"dim": 16, "epochs": 60, "learning_rate": 0.02, "batch_size": 128}
    run = fit("lightgcn", yesterday, settings=settings, out=tmp_path / "yesterday", quiet=True)
    short = {**settings, "epochs": 1, "learning_rate": 1e-4}
    cold = fit("lightgcn", today, settings=short, out=tmp_path / "cold", quiet=True)
    warm = fit("lightgcn", today, settings=short, out=tmp_path / "warm", quiet=True, warm_start=run.folder)
    assert warm.metrics["validation"]["recall@20"] > cold.metrics["validation"]["recall@20"] + 0.1
    said = warm.metrics["training"]["notes"][0]
    assert "110 of 120 users and 80 of 80 items were known" in said
    assert "may have trained on what is held out" not in said
    assert "what came again since may have gone over from its train part" in said
    # A user's last event may lie before the time at which the whole is cut, and the other way round.
    for split in ("time", "random"):
        doubt = WarmStart.load(run.folder).note(worlds.dataset(sources[1], {}, split=split))
        assert f"its split user-time and {split} here it may have trained on what is held out" in doubt
    # The same rows under other ids are no start at all: it is the names that are matched.
    lost = WarmStart.load(run.folder)
    order = np.random.default_rng(0).permutation(len(lost.ids["item"]))
    lost = WarmStart(lost.model, lost.tensors, {**lost.ids, "item": lost.ids["item"].gather(order)}, "", "")
    kind, config, _ = resolve("lightgcn", settings=short)
    recalls: list[float] = []
    for start in (WarmStart.load(run.folder), lost):
        model = build(kind, config, today.inputs(), 0, "float32")
        start.apply(model, today)
        recalls.append(recall(model, today))
    assert recalls[0] > recalls[1] + 0.1


def recall(model: torch.nn.Module, data: Dataset) -> float:
    from palate.measure.evaluation import evaluate

    assert isinstance(model, Recommender)
    return evaluate(model.scorer(), data.positives["valid"], data.mask("valid")).means()["recall@20"]


def test_a_run_says_what_it_began_with_and_is_found_again(tmp_path: Path) -> None:
    data = world(30, 25)
    first = fit("bpr", data, settings=settings_of("bpr"), out=tmp_path / "first", quiet=True)
    assert "warm_start" not in (tmp_path / "first" / "recipe.yaml").read_text()
    second = fit("bpr", data, settings=settings_of("bpr"), out=tmp_path / "second", quiet=True, warm_start=first.folder)
    assert Run.load(second.folder, data=data).recipe.warm_start == WarmStart.load(first.folder).digest
    again = fit("bpr", data, settings=settings_of("bpr"), out=tmp_path / "second", quiet=True, warm_start=first.folder)
    assert torch.equal(again.model().state_dict()["user_id"], second.model().state_dict()["user_id"])
    with pytest.raises(ArtefactError, match="differ in: warm_start"):
        fit("bpr", data, settings=settings_of("bpr"), out=tmp_path / "second", quiet=True)


def test_starts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    data = world(30, 25)
    run = fit("bpr", data, settings=settings_of("bpr"), out=tmp_path / "run", quiet=True).folder

    def start(name: str, **wanted: Any) -> None:
        known = {"dim", "epochs"} if name in LEARNERS else set()
        settings = {key: value for key, value in {**settings_of("bpr"), **wanted}.items() if key in known}
        fit(name, data, settings=settings, out=tmp_path / "new", quiet=True, warm_start=run)

    with pytest.raises(ConfigError, match="is of bpr, and this is lightgcn"):
        start("lightgcn")
    with pytest.raises(ConfigError, match="fitted in one pass"):
        start("ease")
    with pytest.raises(ConfigError, match="item_id, user_id differ"):
        start("bpr", dim=4)
    (run / IDS).unlink()
    with pytest.raises(ArtefactError):
        WarmStart.load(run)
    write_ids(run, world(20, 25))
    with pytest.raises(ArtefactError, match="not the one that was written"):
        WarmStart.load(run)


@pytest.mark.parametrize(
    ("before", "now", "fits"),
    [
        ("text 1 minilm files=aa", "text 1 minilm files=aa", True),
        ("text 1 minilm files=aa", "text 1 minilm files=bb", False),
        ("text 1 minilm files=aa", "precomputed text.npy", False),
        # Rows of today in a file of today; vectors of a graph that has grown.
        ("precomputed monday.npy", "precomputed tuesday.npy", True),
        ("knowledge 1 sdne shared>3 dim=8 graph=aa", "knowledge 1 sdne shared>4 dim=8 graph=bb", True),
        ("knowledge 1 sdne shared>3 dim=8 graph=aa", "knowledge 1 sdne shared>3 dim=9 graph=aa", False),
    ],
)
def test_features_of_another_encoder_are_no_start(before: str, now: str, fits: bool, tmp_path: Path) -> None:
    """The widths are the same, so that nothing else would tell."""

    def made_by(encoder: str) -> Dataset:
        source = worlds.catalogue(worlds.interactions(users=30, least=4))
        ids = source.items["item_id"].to_list()
        content = {name: worlds.features(ids, name) for name in ("text", "image")}
        made = {name: dataclasses.replace(each, encoder=encoder) for name, each in content.items()}
        return worlds.dataset(source, made, split="random")

    run = fit("vbpr", made_by(before), settings=settings_of("vbpr"), out=tmp_path / "run", quiet=True)
    start = WarmStart.load(run.folder)
    assert start.encoders == {"image": before, "text": before}
    kind, config, _ = resolve("vbpr", settings=settings_of("vbpr"))
    data = made_by(now)
    model = build(kind, config, data.inputs(), 1, "float32")
    if fits:
        start.apply(model, data)
        return
    with pytest.raises(ConfigError, match="made by another encoder") as refused:
        start.apply(model, data)
    assert before in refused.value.where
    assert now in refused.value.where
