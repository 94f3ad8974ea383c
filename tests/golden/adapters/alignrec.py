"""AlignRec's stored names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from golden.adapters.base import Adapter, Arrays, Names
from palate.core.width import gram
from palate.graph.neighbours import nearest
from palate.models.alignrec import AlignRec, AlignRecConfig


def config(hyper: dict[str, Any], record: str) -> AlignRecConfig:
    assert not hyper.get("layer_norm"), "no vectors and no formula say what it does"
    return AlignRecConfig.official().override(
        {
            "dim": hyper["embedding_dim"],
            "layers": hyper["n_ui_layers"],
            "content": "multimodal",
            "item_layers": hyper["n_layers"],
            "neighbours": hyper["knn_k"],
            "contrast_weight": hyper["cl_loss"],
            "temperature": hyper["contrast_temperature"],
            "similarity_weight": hyper["sim_weight"],
            "user_item_weight": hyper["ui_cosine_loss_weight"],
            "penalty_weight": hyper["reg_weight"],
            "penalty_batch_size": hyper["train_batch_size"],
            "target": "initial" if record == "adam_fixed_target" else "current",
        }
    )


def names(arrays: Arrays, modalities: list[str]) -> Names:
    return {
        "user_id": ("user_id", False),
        "item_id": ("item_id", False),
        "multimodal_features": ("content.matrix", False),
        "feature_weight": ("feature.0.weight", False),
        "feature_bias": ("feature.0.bias", False),
        "gate_weight": ("gate.weight", False),
        "gate_bias": ("gate.bias", False),
    }


def weight(config: AlignRecConfig, term: str) -> float:
    weights = {
        "contrast_item": config.contrast_weight,
        "contrast_user": config.contrast_weight,
        "similarity_regulariser": config.similarity_weight,
        "user_item_cosine": config.user_item_weight,
    }
    return weights.get(term, 1.0)


def intermediate(model: AlignRec, arrays: Arrays) -> Mapping[str, Tensor]:
    features = arrays["in.multimodal_features"]
    cosines = nearest(features, len(features), itself=True)[1].reshape(len(features), -1)
    rows = model.target_rows(torch.from_numpy(arrays["in.batch_positive_item"].astype(np.int64)))
    (id_users, id_items), content = model.propagate(), model.spread_content()
    return {
        "adjacency": model.adjacency.dense(),
        "user_item_block": model.user_block.dense(),
        "item_graph": model.item_graph.dense(),
        "feature_cosine": torch.from_numpy(cosines),
        "batch_feature_cosine": gram(rows, rows),
        "feature_projected": model.feature(model.content.matrix),
        "item_gate": model.item_gate(),
        "user_id_propagated": id_users,
        "item_id_propagated": id_items,
        "user_multimodal": model.user_block(content),
        "item_multimodal": content,
    }


ADAPTER = Adapter(
    config,
    AlignRec,
    names,
    weight,
    intermediate,
    terms={
        "embedding_penalty_weighted": "penalty",
        "similarity_regulariser": "similarity",
        "user_item_cosine": "user_item",
    },
    lacking=(
        "unused_query_weight",
        "unused_query_bias",
        "unused_query_out",
        "unused_prefer_weight",
        "unused_prefer_bias",
    ),
    totals={"total_without_user_item_cosine": "user_item"},
)
