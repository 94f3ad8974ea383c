"""What a model gives to score with is looked at before it is believed: its author may have made a mistake."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from palate.core.errors import TrainingError
from palate.core.sources import place_of
from palate.dataset.inputs import ModelInputs
from palate.models.base import Embeddings, Model, Recommender, Scorer

VECTORS = "return Embeddings(user, item): two float tensors of one width and type, users first"


def scorer_of(model: Model, inputs: ModelInputs) -> Scorer:
    """The scorer of a model for these users and items; its vectors want no gradient.

    Raises:
        TrainingError: when its vectors are none, or of other users and items.
    """
    with torch.no_grad():
        scorer: Any = model.scorer()
    method = f"embed of {place_of(type(model))}" if isinstance(model, Recommender) else place_of(type(model))
    if isinstance(scorer, Embeddings):
        found = _wrong_vectors(scorer)
        if found is not None:
            raise TrainingError(found[0], where=method, do=found[1])
    elif isinstance(model, Recommender) or not (hasattr(scorer, "score_block") and hasattr(scorer, "items")):
        raise TrainingError(
            f"the model gives no vectors to score with ({type(scorer).__name__})", where=method, do=VECTORS
        )
    users = len(scorer.user) if isinstance(scorer, Embeddings) else inputs.users
    if (users, scorer.items) != (inputs.users, inputs.items):
        raise TrainingError(
            f"the model scores {scorer.items:,} items for {users:,} users; there are {inputs.items:,} and "
            f"{inputs.users:,}",
            where=method,
            do="give vectors of all users first, then of all items",
        )
    return Embeddings(scorer.user.detach(), scorer.item.detach()) if isinstance(scorer, Embeddings) else scorer


def _wrong_vectors(vectors: Embeddings) -> tuple[str, str] | None:
    """What is wrong and what to do; None where nothing is."""
    both: dict[str, Any] = {"user": vectors.user, "item": vectors.item}
    for name, value in both.items():
        if not isinstance(value, Tensor):
            return f"the {name} vectors are no tensor ({type(value).__name__})", VECTORS
        if value.ndim != 2 or not value.is_floating_point():
            return f"the {name} vectors are {' × '.join(map(str, value.shape))} of {value.dtype}", VECTORS
    user, item = vectors.user, vectors.item
    if user.shape[1] != item.shape[1]:
        return f"user vectors are {user.shape[1]} wide and item vectors {item.shape[1]}", VECTORS
    if user.dtype != item.dtype:
        return f"user vectors are {user.dtype} and item vectors {item.dtype}", VECTORS
    return None
