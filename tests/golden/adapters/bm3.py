"""BM3's stored names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from golden.adapters.base import Adapter, Arrays, Names, modalities_of
from palate.models.bm3 import BM3, BM3Config


def config(hyper: dict[str, Any], record: str) -> BM3Config:
    return BM3Config.official().override(
        {
            "dim": hyper["embedding_dim"],
            "layers": hyper["n_layers"],
            "dropout": hyper["dropout"] if record == "noise" else 0.0,
            "penalty_weight": hyper["reg_weight"],
            "content_weight": hyper["cl_weight"],
        }
    )


def names(arrays: Arrays, modalities: list[str]) -> Names:
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


def weight(config: BM3Config, term: str) -> float:
    if term.startswith(("align_", "mask_")):
        return config.content_weight
    return config.penalty_weight if term == "embedding_norm" else 1.0


def intermediate(model: BM3, arrays: Arrays) -> Mapping[str, Tensor]:
    users, items = model.propagate()
    formed = {
        "adjacency": model.adjacency.dense(),
        "user_propagated": users,
        "item_propagated_with_residual": items,
    }
    everything = torch.arange(len(items))
    return formed | {f"{name}_projected": model.project(name, everything)[0] for name in model.modalities}


def draws(arrays: Arrays) -> dict[str, Tensor]:
    content = {f"mask_{name}": f"content/{name}" for name in modalities_of(arrays)}
    stored = {name.removeprefix("noise.in."): value for name, value in arrays.items() if name.startswith("noise.in.")}
    return {content.get(name, name.removeprefix("mask_")): torch.from_numpy(value) for name, value in stored.items()}


ADAPTER = Adapter(config, BM3, names, weight, intermediate, draws=draws, terms={"embedding_norm": "penalty"})
