"""Known facts of real data sets; `conftest.py` leaves this file out where they are not at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from palate.core.places import data_folder
from palate.dataset.dataset import Dataset
from palate.dataset.settings import SplitConfig
from palate.encode.precomputed import read_precomputed
from palate.ingest.importing import import_tables
from palate.measure.evaluation import evaluate
from palate.models.classical.indexorder import IndexOrder, IndexOrderConfig
from palate.models.classical.popularity import Popularity, PopularityConfig

DATA = data_folder() or Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def ml100k() -> Path:
    return DATA / "ml100k-mm/interactions.csv"


@pytest.fixture
def baby() -> Path:
    return DATA / "amazon-baby/interactions.parquet"


@pytest.fixture
def tiktok() -> Path:
    return DATA / "tiktok/interactions.csv"


def recall(model: Popularity | IndexOrder, data: Dataset) -> float:
    """Recall@20 on test under the conditions of the published tables."""
    model.fit()
    return evaluate(model, data.positives["test"], data.mask("test", "train")).means()["recall@20"]


def test_baby_gives_the_published_popularity_and_leaks_through_its_order(baby: Path) -> None:
    data = Dataset.make(import_tables(baby)[0], SplitConfig(split="given"))
    assert (len(data.users), len(data.items)) == (19_445, 7_050)
    assert sum(rows.size for rows in data.seen.values()) == 160_792
    inputs = data.inputs()
    assert recall(Popularity(PopularityConfig(), inputs), data) == pytest.approx(0.0495, abs=0.0005)
    assert recall(IndexOrder(IndexOrderConfig(), inputs), data) == pytest.approx(0.149, abs=0.001)


def test_tiktok_gives_the_known_popularity_and_its_features_keep_their_items(tiktok: Path) -> None:
    catalogue, _ = import_tables(tiktok)
    ids = catalogue.items["item_id"].to_list()
    source = tiktok.parent / "image_feat.npy"
    row_ids = [str(item) for item in range(6_710)]
    image, summary = read_precomputed(source, name="image", item_ids=ids, ids=row_ids)
    data = Dataset.make(catalogue, SplitConfig(split="given"), {"image": image})
    stored = np.load(source, allow_pickle=False)
    for row in (0, 17, len(ids) - 1):
        expected = stored[int(data.items.ids[row])].astype(np.float32)
        np.testing.assert_array_equal(data.features["image"].matrix[row], expected)
    assert summary.present == len(ids)
    assert recall(Popularity(PopularityConfig(), data.inputs()), data) == pytest.approx(0.0597, abs=0.001)


def test_movielens_splits_as_the_protocol_says_and_its_order_is_silent(ml100k: Path) -> None:
    catalogue, report = import_tables(ml100k, ml100k.parent / "items.csv")
    assert (catalogue.interactions.height, catalogue.items.height) == (100_000, 1_682)
    assert report.text()
    data = Dataset.make(catalogue, SplitConfig())
    assert (data.settings.split, data.settings.positive, data.settings.dislike) == ("user-time", 4, 2)
    counts = catalogue.interactions["user_id"].value_counts()["count"].to_numpy()
    assert counts.min() >= 20
    held_out = (0.2 * counts).astype(int)
    assert data.seen["valid"].size == (held_out // 2).sum()
    assert data.seen["test"].size == (held_out - held_out // 2).sum()
    everything = Dataset.make(catalogue, SplitConfig(positive="all"))
    inputs = everything.inputs()
    popularity = recall(Popularity(PopularityConfig(), inputs), everything)
    canary = recall(IndexOrder(IndexOrderConfig(), inputs), everything)
    assert 0.08 < popularity < 0.17
    assert canary < popularity / 2
    timeline = Dataset.make(catalogue, SplitConfig(split="time"))
    assert any("WARNING" in note and "warm test users are few" in note for note in timeline.notes)
