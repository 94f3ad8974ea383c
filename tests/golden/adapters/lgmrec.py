"""LGMRec's stored names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from golden.adapters.base import Adapter, Arrays, Names, modalities_of
from palate.core.width import normalize
from palate.models.lgmrec import LGMRec, LGMRecConfig


def config(hyper: dict[str, Any], record: str) -> LGMRecConfig:
    noisy = record == "noise"
    return LGMRecConfig.official().override(
        {
            "dim": hyper["embedding_dim"],
            "layers": hyper["n_ui_layers"],
            "modal_layers": hyper["n_mm_layers"],
            "hyper_layers": hyper["n_hyper_layer"],
            "hyperedges": hyper["hyper_num"],
            "alpha": hyper["alpha"],
            "temperature": hyper["softmax_temperature"],
            "dropout": 1 - hyper["keep_rate"] if noisy else 0.0,
            "contrast_weight": hyper["cl_weight"],
            "contrast_temperature": hyper["contrast_temperature"],
            "penalty_weight": hyper["reg_weight"],
        }
        | ({} if noisy else {"noise": "none"})
    )


def names(arrays: Arrays, modalities: list[str]) -> Names:
    table = {"user_id": ("user_id", False), "item_id": ("item_id", False)}
    for name in modalities:
        table[f"{name}_features"] = (f"content.of_{name}.table.matrix", False)
        table[f"{name}_weight"] = (f"content.of_{name}.weight", True)
        table[f"{name}_hyperedge"] = (f"content.of_{name}.hyperedge", True)
    return table


def weight(config: LGMRecConfig, term: str) -> float:
    if term.startswith("hyper_contrast"):
        return config.contrast_weight
    return config.penalty_weight if term == "embedding_norm" else 1.0


def intermediate(model: LGMRec, arrays: Arrays) -> Mapping[str, Tensor]:
    views = model.views()
    formed = {"{}_id_propagated": views.ids, "{}_local": views.ids}
    for name in model.modalities:
        _, logits = model.content_of(name)(model.history)
        formed |= {
            f"{name}_{{}}_dependency_logits": logits,
            f"{name}_{{}}_dependency": views.dependency[name],
            f"{{}}_{name}_propagated": views.modal[name],
            f"{{}}_{name}_global": views.reached[name].table(),
        }
        formed["{}_local"] = formed["{}_local"] + normalize(views.modal[name])
    sides = {"user": slice(0, model.users), "item": slice(model.users, None)}
    by_side = {name.format(side): rows[part] for side, part in sides.items() for name, rows in formed.items()}
    return by_side | {"adjacency": model.adjacency.dense()}


def draws(arrays: Arrays) -> dict[str, Tensor]:
    def nodes(kind: str, name: str) -> Tensor:
        return torch.cat([torch.from_numpy(arrays[f"noise.in.{kind}_{name}_{side}"]) for side in ("user", "item")])

    given: dict[str, Tensor] = {}
    for name in modalities_of(arrays):
        given |= {f"noise/{name}": nodes("gumbel", name), f"mask/{name}": nodes("mask", name)}
    return given


TERMS = {"hyper_contrast_user": "contrast_user", "hyper_contrast_item": "contrast_item", "embedding_norm": "penalty"}
ADAPTER = Adapter(config, LGMRec, names, weight, intermediate, draws=draws, terms=TERMS, not_formed=("inverse_degree",))
