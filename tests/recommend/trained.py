"""Small trained models of every kind on one world, and the bundles made of them; each is trained once."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

import worlds
from palate.dataset.dataset import Dataset
from palate.encode.features import Features
from palate.models import MODELS, Model, Recommender
from palate.recipe import resolve
from palate.recommend.bundle import Bundle
from palate.recommend.bundling import bundle_of
from palate.train.fitting import TrainConfig, fit_model

NAMES = tuple(MODELS)
LEARNERS = tuple(name for name in NAMES if issubclass(MODELS[name], Recommender))
SMALL = {"dim": 8, "epochs": 2, "batch_size": 64, "neighbours": 5}


def content(dataset_items: list[str]) -> dict[str, Features]:
    """Two modalities; the first lacks an item."""
    return {
        "image": worlds.features(dataset_items, "image", width=4),
        "text": worlds.features(dataset_items, "text", missing=("i3",)),
    }


@cache
def data(split: str = "random") -> Dataset:
    """40 users, 25 items with ratings."""
    source = worlds.catalogue(worlds.interactions(users=40, least=4))
    return worlds.dataset(source, content(source.items["item_id"].to_list()), split=split)


@cache
def model(name: str, split: str = "random") -> Model:
    """A registered model, trained for a moment."""
    learnt = {**MODELS[name].Config.model_fields, **(TrainConfig.model_fields if name in LEARNERS else {})}
    kind, config, training = resolve(name, settings={key: value for key, value in SMALL.items() if key in learnt})
    return fit_model(kind, config, data(split), training, seed=0, quiet=True).model


@cache
def bundle(name: str, split: str = "random", keep: str = "float32", new_items: str = "auto") -> Bundle:
    """The bundle of that model."""
    trained, dataset = model(name, split), data(split)
    seen = dataset.seen_by(features=MODELS[name].modal, knowledge=MODELS[name].knowledge)
    return bundle_of(
        name,
        trained,
        trained.scorer(),
        seen,
        content=dataset.features,
        keep=keep,  # pyright: ignore[reportArgumentType]
        new_items=new_items,  # pyright: ignore[reportArgumentType]
        recipe={"model": name},
    )


def scores(name: str) -> Tensor:
    """What the trained model gives every user."""
    scorer = model(name).scorer()
    with torch.inference_mode():
        return scorer.score_block(torch.arange(len(data().users))).float()


def everyone() -> np.ndarray:
    """All user row numbers."""
    return np.arange(len(data().users))
