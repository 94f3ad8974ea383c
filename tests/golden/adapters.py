"""How the stored names of golden vectors map to Palate's: one table per model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from palate.dataset.inputs import ModelInputs
from palate.encode.features import Features
from palate.graph.bipartite import Bipartite
from palate.graph.rows import Rows
from palate.models import Recommender
from palate.models.bm3 import BM3, BM3Config

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Adapter:
    """One model's table.

    Attributes:
        config: hyper-parameters of the json → the model's config.
        build: the model's class.
        parameters: modalities → stored parameter name → (name in the model, stored transposed).
        weights: config → the weight that each of the model's loss terms carries; stored terms are bare.
        terms: stored loss term → the model's, where they differ.
        masks: stored noise → the name of the draw.
    """

    config: Callable[[dict[str, Any], bool], Any]
    build: Callable[[Any, ModelInputs], Recommender]
    parameters: Callable[[list[str]], dict[str, tuple[str, bool]]]
    weight: Callable[[Any, str], float]
    terms: dict[str, str] = field(default_factory=dict)


def bm3_config(hyper: dict[str, Any], noisy: bool) -> BM3Config:
    return BM3Config.official().override(
        {
            "dim": hyper["embedding_dim"],
            "layers": hyper["n_layers"],
            "dropout": hyper["dropout"] if noisy else 0.0,
            "penalty_weight": hyper["reg_weight"],
            "content_weight": hyper["cl_weight"],
        }
    )


def bm3_parameters(modalities: list[str]) -> dict[str, tuple[str, bool]]:
    table = {
        "user_id": ("user_id", False),
        "item_id": ("item_id", False),
        "predictor_weight": ("predictor.weight", False),
        "predictor_bias": ("predictor.bias", False),
    }
    for name in modalities:
        table[f"{name}_features"] = (f"features.of_{name}.matrix", False)
        table[f"{name}_weight"] = (f"projections.of_{name}.0.weight", False)
        table[f"{name}_bias"] = (f"projections.of_{name}.0.bias", False)
    return table


def bm3_weight(config: BM3Config, term: str) -> float:
    if term.startswith(("align_", "mask_")):
        return config.content_weight
    return config.penalty_weight if term == "embedding_norm" else 1.0


ADAPTERS = {
    "bm3": Adapter(bm3_config, BM3, bm3_parameters, bm3_weight, {"embedding_norm": "penalty"}),
}


def modalities_of(arrays: Arrays) -> list[str]:
    """The modalities that a case stores features for."""
    names = [name.removeprefix("in.").removesuffix("_features") for name in arrays if name.endswith("_features")]
    return sorted(name for name in names if f"in.{name}_features" in arrays)


def inputs_of(arrays: Arrays, users: int, items: int) -> ModelInputs:
    """The case's train interactions and features."""
    train = Rows.from_pairs(arrays["in.train_user"], arrays["in.train_item"], users, items)
    everywhere = np.ones(items, dtype=np.bool_)
    ids = tuple(str(item) for item in range(items))
    features = {
        name: Features(name, arrays[f"in.{name}_features"].astype(np.float32), everywhere, "golden", ids)
        for name in modalities_of(arrays)
    }
    return ModelInputs(users, items, Bipartite(train), train, features)


def draws_of(arrays: Arrays) -> dict[str, Tensor]:
    """The stored masks and noise by the name of the draw that they replace."""
    stored = {name.removeprefix("noise.in."): value for name, value in arrays.items() if name.startswith("noise.in.")}
    content = {f"mask_{name}": f"content/{name}" for name in modalities_of(arrays)}
    return {content.get(name, name.removeprefix("mask_")): torch.from_numpy(value) for name, value in stored.items()}
