"""Where taste depends on content alone, the baselines that read content find it, and lose it with wrong features."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import worlds
from palate.dataset.dataset import Dataset
from palate.encode.features import Features
from palate.experiment import resolve
from palate.ingest.catalogue import Catalogue
from palate.measure.evaluation import evaluate
from palate.train.fitting import fit_model

TRAINED = {"dim": 32, "epochs": 20, "batch_size": 256, "learning_rate": 0.01}


def planted(*, shuffled: bool) -> Dataset:
    """Five interactions a user, three of them for training; the true features, or the same rows for wrong items."""
    rows, matrix = worlds.planted(0, each=5)
    goods = pl.DataFrame({"item_id": [f"i{item}" for item in range(len(matrix))]})
    matrix = np.random.default_rng(99).permutation(matrix) if shuffled else matrix
    text = Features("text", matrix, np.ones(len(matrix), np.bool_), "planted", tuple(goods["item_id"]))
    return worlds.dataset(Catalogue.of(rows, goods), {"text": text}, split="random")


@pytest.mark.parametrize(
    ("name", "settings"), [("vbpr", TRAINED), ("freedom", TRAINED), ("contentknn", {"neighbours": 20})]
)
def test_true_features_are_worth_much_and_shuffled_ones_nothing(name: str, settings: dict[str, Any]) -> None:
    recalls: list[float] = []
    torch.set_default_dtype(torch.float32)
    for shuffled in (False, True):
        data = planted(shuffled=shuffled)
        kind, config, training = resolve(name, "intended", settings)
        scorer = fit_model(kind, config, data, training, seed=0, quiet=True).model.scorer()
        recalls.append(evaluate(scorer, data.positives["test"], data.mask("test")).means()["recall@20"])
    true, wrong = recalls
    # Chance is .05; ids alone reach .2.
    assert true > 0.4
    assert wrong < 0.2
