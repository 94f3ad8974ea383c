"""How well items that nobody met in training are recommended, once their content has placed them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from palate.core.errors import ConfigError, DataError
from palate.dataset.dataset import Dataset, Mask
from palate.encode.features import Features
from palate.graph.rows import Joined, Rows
from palate.measure.evaluation import evaluate
from palate.models.base import Embeddings, Model, Scorer
from palate.recommend.bundling import check_choice, content_path, unit
from palate.recommend.colditem import How, with_cold_items


def measure_new_items(
    name: str,
    model: Model,
    scorer: Scorer,
    dataset: Dataset,
    content: Mapping[str, Features],
    how: How = "auto",
    mask: Mask = "train+valid",
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """The metrics of the test part with the items that have no train positive placed by their content.

    Args:
        name: the model's registered name.
        model: with its trained parameters.
        scorer: its scores.
        dataset: what it was trained on, as the model sees it.
        content: modality → features of all items.
        how: what places them, see `bundle_of`.
        mask: which rows are no candidates.
        seed: of the tie-breaking.

    Returns:
        `way` (what placed them), `items` (how many), `mask`, the metrics among `all` items, and those among these
        `alone`: of users with a positive among them (`users` of them), which are then the only positives.

    Raises:
        ConfigError: when the model cannot place new items.
        DataError: when no item is new, or none of them is a positive of the test part.
    """
    check_choice("way for new items", how, ("auto", "content", "regression"))
    warm = dataset.positives["train"].transpose().lengths > 0
    cold, positives = np.flatnonzero(~warm), dataset.positives["test"]
    rows, columns = positives.row_of_entry(), positives.columns
    own = Rows.from_pairs(rows[~warm[columns]], columns[~warm[columns]], positives.count, positives.width)
    if own.size == 0:
        lacking = (
            "every item has train positives"
            if len(cold) == 0
            else f"none of the {len(cold):,} items without train positives is a positive of the test part"
        )
        raise DataError(f"{lacking}: there is nothing to measure", do="train on --split cold-items")
    if not isinstance(scorer, Embeddings):
        raise ConfigError(
            f"{name} has no vectors to place new items among",
            do="leave --new-items out: contentknn weighs new items by content anyway, and models that know "
            "interactions alone cannot rank them",
        )
    kept = {key: unit(value, "float32") for key, value in content.items()}
    path = content_path(name, model, scorer.item, dataset, content, kept, how)
    if path is None:
        raise ConfigError(f"{name} has no content to place new items by", do="encode the catalogue first")
    placed = with_cold_items(scorer, path, content, cold)
    hidden = dataset.mask("test", mask)
    users, known = len(dataset.users), np.flatnonzero(warm).astype(np.int32)
    others = Rows(np.arange(users + 1, dtype=np.int64) * len(known), np.tile(known, users), len(warm))
    return {
        "way": path.kind,
        "items": len(cold),
        "users": int((own.lengths > 0).sum()),
        "mask": mask,
        "all": evaluate(placed, positives, hidden, seed=seed, title="among all").means(),
        "alone": evaluate(placed, own, Joined((*hidden.parts, others)), seed=seed, title="among new").means(),
    }
