"""What a model's table of stored names says, and the model inputs of a stored case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from palate.dataset.inputs import ModelInputs
from palate.encode.features import Features
from palate.graph.bipartite import Bipartite
from palate.graph.rows import Rows
from palate.models import Recommender

Arrays = dict[str, np.ndarray]
# Stored name → (name of the parameter or buffer in the model, stored transposed).
Names = dict[str, tuple[str, bool]]


def modalities_of(arrays: Arrays, record: str = "main") -> list[str]:
    """The modalities that a case stores features for."""
    return sorted(
        name.removeprefix("in.").removesuffix("_features")
        for name in arrays
        if name.startswith("in.") and name.endswith("_features")
    )


def no_draws(arrays: Arrays) -> dict[str, Tensor]:
    """For models without noise records."""
    return {}


def as_stored(arrays: Arrays) -> Arrays:
    """The features by modality, as they are stored."""
    return {name: arrays[f"in.{name}_features"] for name in modalities_of(arrays)}


@dataclass(frozen=True)
class Adapter:
    """One model's table.

    Attributes:
        config: hyper-parameters of the json (with `embedding_dim`) and a record → the model's config. Records are
            "main", "noise", and the prefixes of the further ones a model has ("three", "adam_all_trained", …);
            "grad_if_trained" for gradients of tables that are otherwise frozen.
        build: the model's class.
        names: arrays and modalities → stored parameter (or frozen tensor) → its name in the model.
        weight: config and stored loss term → the weight that the model's term carries; stored terms are bare.
        intermediate: model → stored name of an `expect.` array → what the model forms. None of them may be left out.
        modalities: arrays and record → the modalities that the record uses.
        draws: arrays → the stored masks and noise by the name of the draw that they replace.
        terms: stored loss term → the model's, where they differ.
        not_formed: `expect.` names (of any record) that no fast path needs to form.
        lacking: stored parameters that the model has no use for.
        not_terms: stored `loss.` names that are no term of the total.
        totals: further stored totals → the model's term that each of them leaves out.
    """

    config: Callable[[dict[str, Any], str], Any]
    build: Callable[[Any, ModelInputs], Recommender]
    names: Callable[[Arrays, list[str]], Names]
    weight: Callable[[Any, str], float]
    intermediate: Callable[[Any, Arrays], Mapping[str, Tensor]]
    modalities: Callable[[Arrays, str], list[str]] = modalities_of
    draws: Callable[[Arrays], dict[str, Tensor]] = no_draws
    terms: dict[str, str] = field(default_factory=dict[str, str])
    not_formed: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    not_terms: tuple[str, ...] = ()
    totals: dict[str, str] = field(default_factory=dict[str, str])


def inputs_of(arrays: Arrays, modalities: list[str], users: int, items: int) -> ModelInputs:
    """The case's train interactions and the features of `modalities`."""
    train = Rows.from_pairs(arrays["in.train_user"], arrays["in.train_item"], users, items)
    everywhere = np.ones(items, dtype=np.bool_)
    ids = tuple(str(item) for item in range(items))
    features = {
        name: Features(name, arrays[f"in.{name}_features"].astype(np.float32), everywhere, "golden", ids)
        for name in modalities
    }
    return ModelInputs(users, items, Bipartite(train), train, features)
