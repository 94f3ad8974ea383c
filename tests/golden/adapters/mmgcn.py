"""MMGCN's stored names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from golden.adapters.base import Adapter, Arrays, Names, modalities_of
from palate.models.mmgcn import MMGCN, Hop, MMGCNConfig

# Records of what the released program would be if its tables were trained.
TRAINED = ("grad_if_trained", "adam_all_trained")


def config(hyper: dict[str, Any], record: str) -> MMGCNConfig:
    """The released program has three layers, whatever `n_layers` says."""
    return MMGCNConfig.official().override(
        {
            "dim": hyper["embedding_dim"],
            "leaky_slope": hyper["leaky_slope"],
            "penalty_weight": hyper["reg_weight"],
            "projection_width": {"image": hyper["visual_latent_dim"]},
            "train_tables": record in TRAINED,
        }
    )


def modalities(arrays: Arrays, record: str) -> list[str]:
    """Sound has a part in the record of three modalities alone."""
    return [name for name in modalities_of(arrays) if record == "three" or name != "audio"]


def names(arrays: Arrays, modalities: list[str]) -> Names:
    table: Names = {"user_id": ("user_id", False), "item_id": ("item_id", False)}
    for name in modalities:
        branch = f"branches.of_{name}"
        table[f"user_preference_{name}"] = (f"{branch}.preference", False)
        for part in ("weight", "bias"):
            if f"param.{name}_projection_{part}" in arrays:
                table[f"{name}_projection_{part}"] = (f"{branch}.projection.{part}", False)
            for layer in (1, 2, 3):
                hop = f"{branch}.hops.{layer - 1}"
                table[f"{name}_self_{part}_{layer}"] = (f"{hop}.own.{part}", False)
                table[f"{name}_combine_{part}_{layer}"] = (f"{hop}.combine.{part}", False)
                table[f"{name}_message_weight_{layer}"] = (f"{hop}.message.weight", True)
    return table


def weight(config: MMGCNConfig, term: str) -> float:
    return config.penalty_weight if term == "embedding_penalty" else 1.0


def intermediate(model: MMGCN, arrays: Arrays) -> Mapping[str, Tensor]:
    users, items = model.everyone()
    to_users, to_items = users.aggregator.dense(), items.aggregator.dense()
    aside = torch.zeros(len(to_users), len(to_users)), torch.zeros(len(to_items), len(to_items))
    blocks = torch.cat([aside[0], to_users], 1), torch.cat([to_items, aside[1]], 1)
    formed = {"mean_aggregation_matrix": torch.cat(blocks)}
    for name in model.modalities:
        branch = model.branch(name)
        user, item = branch.start()
        for layer, hop in enumerate(branch.hops, 1):
            assert isinstance(hop, Hop)
            gathered = hop.gather(users, item), hop.gather(items, user)
            formed[f"{name}_message_preactivation_{layer}"] = torch.cat(gathered)
            user, item = hop(users, user, item), hop(items, item, user)
            formed[f"{name}_layer_output_{layer}"] = torch.cat([user, item])
        formed[f"{name}_output"] = torch.cat(branch([(users, items)] * model.config.layers))
    return formed


ADAPTER = Adapter(
    config, MMGCN, names, weight, intermediate, modalities=modalities, terms={"embedding_penalty": "penalty"}
)
