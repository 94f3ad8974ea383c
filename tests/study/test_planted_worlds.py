"""Planted truths of the synthetic world: pictures that decide, pictures that say nothing, new items, lost pictures.

The hidden factors of the pictures stand in for encoded ones, so that a world costs no more than its interactions.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import numpy as np
import pytest

from palate.dataset.dataset import Dataset
from palate.dataset.settings import SplitConfig
from palate.encode.features import Features
from palate.graph.rows import Rows
from palate.ingest.sources.synthetic import SyntheticConfig, World, plan, tables, world_features
from palate.measure.evaluation import evaluate
from palate.models import Scorer
from palate.recipe import resolve
from palate.train.fitting import fit_model

Content = Literal["true", "shuffled", "noise"]

SEEDS = (0, 1, 2)
PEOPLE = RECORDS = 300
TRAINING: dict[str, Any] = {
    "dim": 32, "epochs": 15, "evaluate_every": 5, "batch_size": 256, "learning_rate": 0.02,
}  # fmt: skip
# Models that must find out what decides, with what each needs beyond TRAINING in a world this small.
MODELS_WITH_CONTENT: dict[str, dict[str, Any]] = {
    "alignrec": {"epochs": 10},
    "bm3": {"epochs": 20},
    "crmman": {"dislikes": "none", "epochs": 5, "negatives_per_positive": 2, "set_size": 10},
    "lgmrec": {"epochs": 10},
    "mmgcn": {"layers": 1},
}
# Those of them that know an item by its content alone. BM3 scores by id tables, which a new item never reaches, and
# LGMRec's modal path ends in the neighbours of an item, of which a new one has none.
MODELS_FOR_NEW_ITEMS = ("alignrec", "crmman", "mmgcn")


@cache
def world(seed: int, missing: float = 0.0, interactions: int = 6) -> World:
    """Six interactions a user, four of them for training, and taste depends on pictures alone."""
    return plan(
        SyntheticConfig(
            users=PEOPLE,
            items=RECORDS,
            interactions=interactions,
            taste={"image": 1.0},
            choosiness=10.0,
            missing={"image": missing},
            media=False,
            seed=seed,
        )
    )


@cache
def data_of(planned: World, content: Content = "true", **settings: Any) -> Dataset:
    """The world with its pictures, with the same pictures on the wrong items, or with noise in their place."""
    catalogue, seed = tables(planned), planned.config.seed
    matrix, present = world_features(planned)["image"], planned.present["image"]
    generator = np.random.default_rng(seed + 99)
    if content == "shuffled":
        matrix = generator.permutation(matrix)
    elif content == "noise":
        matrix = generator.standard_normal(matrix.shape, dtype=np.float32)
    rows = matrix * present[:, None]
    image = Features("image", rows, present, content, tuple(catalogue.items["item_id"]))
    return Dataset.make(catalogue, SplitConfig.parse({"positive": "all", "seed": seed, **settings}), {"image": image})


def trained(name: str, data: Dataset) -> Scorer:
    settings = {**TRAINING, **MODELS_WITH_CONTENT.get(name, {})}
    kind, config, training = resolve(name, settings=settings)
    return fit_model(kind, config, data, training, seed=data.settings.seed, quiet=True).model.scorer()


def recall(name: str, content: Content, seed: int) -> float:
    """Recall@20 on the test part; chance is .07."""
    data = data_of(world(seed), content, split="random")
    return evaluate(trained(name, data), data.positives["test"], data.mask("test")).means()["recall@20"]


@pytest.mark.parametrize("name", MODELS_WITH_CONTENT)
def test_where_taste_depends_on_pictures_alone_the_true_ones_are_found_to_matter(name: str) -> None:
    """And noise is worth no more than pictures on the wrong items."""
    true, shuffled, noise = (
        np.array([recall(name, content, seed) for seed in SEEDS]) for content in ("true", "shuffled", "noise")
    )
    assert true.min() > max(shuffled.max(), noise.max()) + 0.08
    assert noise.mean() < shuffled.mean() + 0.06


def recall_of_new(name: str, seed: int) -> tuple[float, float]:
    """Recall@10 among the new items alone, and what chance gives."""
    data = data_of(world(seed), split="cold-items", cold_share=0.2)
    new = data.seen["train"].transpose().lengths == 0
    assert new.mean() == pytest.approx(0.2, abs=0.01)
    known = np.flatnonzero(~new)
    users = np.arange(len(data.users))
    mask = Rows.from_pairs(np.repeat(users, len(known)), np.tile(known, len(users)), len(users), len(data.items))
    found = evaluate(trained(name, data), data.positives["test"], mask).means()["recall@10"]
    return found, 10 / int(new.sum())


@cache
def ids_alone(seed: int) -> float:
    return recall_of_new("lightgcn", seed)[0]


@pytest.mark.parametrize("name", MODELS_FOR_NEW_ITEMS)
def test_new_items_are_ranked_by_their_content(name: str) -> None:
    for seed in SEEDS:
        found, chance = recall_of_new(name, seed)
        assert found > chance + 0.15
        assert found > ids_alone(seed) + 0.15


@pytest.mark.parametrize("seed", SEEDS)
def test_lost_pictures_are_better_guessed_from_what_the_same_people_took(seed: int) -> None:
    """Half of the pictures are lost; what the knowledge says has nothing to do with pictures in this world."""
    planned = world(seed, missing=0.5, interactions=12)
    data = data_of(planned, split="random")
    place = {name: row for row, name in enumerate(data.catalogue.items["item_id"])}
    truth = world_features(planned)["image"][[place[name] for name in data.items.ids]]
    lost = data.missing["image"]
    assert lost.sum() == RECORDS / 2

    def cosines(how: str) -> np.ndarray:
        guessed, right = data.imputed(how).features["image"].matrix[lost], truth[lost]
        return (guessed * right).sum(1) / (np.linalg.norm(guessed, axis=1) * np.linalg.norm(right, axis=1))

    mean, neighbours, knowledge = (cosines(how) for how in ("mean", "neighbours", "knowledge"))
    assert neighbours.mean() > mean.mean() + 0.15
    assert (neighbours > mean).mean() > 0.9
    assert knowledge.mean() < mean.mean() + 0.02
