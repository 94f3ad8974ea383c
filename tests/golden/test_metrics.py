"""Ranking and metrics against lists and values of the field's reference evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from palate.graph.rows import Rows
from palate.measure.evaluation import evaluate
from palate.measure.metrics import accuracy, hits
from palate.measure.ranking import top_items
from palate.models import Embeddings

METRICS = ("recall", "ndcg", "precision", "map")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder: Path = metafunc.config.getoption("golden")
    metafunc.parametrize("path", sorted(folder.glob("metrics*.npz")), ids=lambda path: path.stem)


def rows(arrays: dict[str, np.ndarray], name: str, width: int) -> Rows:
    pointer, items = arrays[f"in.{name}_pointer"], arrays[f"in.{name}_items"]
    return Rows(pointer.astype(np.int64), items.astype(np.int32), width)


def compare(arrays: dict[str, np.ndarray], prefix: str, values: dict[str, np.ndarray]) -> None:
    for metric in METRICS:
        expected = arrays[f"expect.{prefix}user_{metric}"]
        found = np.stack([values[f"{metric}@{k}"] for k in arrays["in.k"].tolist()], axis=1)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found.mean(0), arrays[f"expect.{prefix}mean_{metric}"], rtol=1e-12, atol=1e-12)


def test_ranking_and_metrics(path: Path) -> None:
    arrays = dict(np.load(path, allow_pickle=False))
    scores = torch.from_numpy(arrays["in.scores"])
    # Scores as a scorer: the identity times the score matrix.
    scorer = Embeddings(scores, torch.eye(scores.shape[1], dtype=scores.dtype))
    train, positives = rows(arrays, "train", scores.shape[1]), rows(arrays, "positive", scores.shape[1])
    items, _ = top_items(scorer, np.arange(len(scores)), 50, mask=train)
    np.testing.assert_array_equal(items, arrays["expect.top_items"])
    result = evaluate(scorer, positives, train, cuts=tuple(arrays["in.k"].tolist()))
    assert len(result.users) == len(scores)
    compare(arrays, "", result.values)


def test_metrics_of_given_lists(path: Path) -> None:
    arrays = dict(np.load(path, allow_pickle=False))
    lists = arrays["in.lists_top_items"].astype(np.int64)
    width = int(max(lists.max(), arrays["in.lists_positive_items"].max())) + 1
    positives = rows(arrays, "lists_positive", width)
    hit = hits(lists, np.arange(len(lists)), positives)
    compare(arrays, "lists_", accuracy(hit, positives.lengths, tuple(arrays["in.k"].tolist())))


def test_micro_recall_counts_every_hit(path: Path) -> None:
    arrays = dict(np.load(path, allow_pickle=False))
    width = arrays["in.scores"].shape[1]
    positives = rows(arrays, "positive", width)
    hit = hits(arrays["expect.top_items"].astype(np.int64), np.arange(positives.count), positives)
    cuts = arrays["in.k"].tolist()
    found = [hit[:, :k].sum() / positives.size for k in cuts]
    np.testing.assert_allclose(found, arrays["expect.micro_recall"], rtol=1e-12)
