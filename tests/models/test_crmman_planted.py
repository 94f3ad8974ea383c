"""CRMMAN in planted worlds: true knowledge beats shuffled knowledge, and dislikes tell taste."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

import worlds
from palate.encode.features import Features
from palate.ingest.catalogue import Catalogue
from palate.models.crmman import CRMMAN, CRMMANConfig
from palate.train.fitting import Fitted, TrainConfig, fit_model


def trained(source: Catalogue, modalities: dict[str, Features], batch_size: int, **settings: object) -> Fitted:
    data = worlds.dataset(source, modalities, split="given", positive=4.0, dislike=2.0)
    config = CRMMANConfig.parse({"dim": 8, **settings})
    training = TrainConfig(epochs=15, learning_rate=0.02, batch_size=batch_size, metric="recall@10", device="cpu")
    return fit_model(CRMMAN, config, data, training, seed=0, quiet=True)


def parts(pairs: list[tuple[str, str]], generator: np.random.Generator, held_out: float) -> pl.DataFrame:
    part = np.where(generator.random(len(pairs)) < held_out, "valid", "train")
    frame = pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row")
    return frame.with_columns(rating=pl.lit(5.0), split=pl.Series(part))


def test_true_knowledge_beats_shuffled_knowledge() -> None:
    """Taste follows groups of items that knowledge alone tells: content and initial vectors are noise."""
    generator = np.random.default_rng(0)
    users, items, groups = 120, 120, 12
    group = generator.integers(0, groups, items)
    pairs: list[tuple[str, str]] = []
    for user in range(users):
        liked = np.flatnonzero(np.isin(group, generator.choice(groups, 2, replace=False)))
        pairs += [(f"u{user}", f"i{item}") for item in generator.choice(liked, min(7, len(liked)), replace=False)]
    rows = parts(pairs, generator, 0.3)
    ids = [f"i{item}" for item in range(items)]
    goods = pl.DataFrame({"item_id": ids})
    noise = {name: worlds.features(ids, name, 16) for name in ("text", "knowledge")}

    def recall(order: NDArray[np.int64]) -> float:
        facts = [(f"e{item}", "of", f"g{group[order[item]]}/{fact}") for item in range(items) for fact in range(3)]
        knowledge = pl.DataFrame(facts, schema=["head", "relation", "tail"], orient="row")
        linked = pl.DataFrame({"item_id": ids, "entity": [f"e{item}" for item in range(items)]})
        source = Catalogue.of(rows, goods, knowledge, linked, name="groups")
        fitted = trained(source, noise, 128, dislikes="none", shared_entities=2)
        assert fitted.model.notes == ()
        return fitted.validation["recall@10"]

    true, shuffled = recall(np.arange(items)), recall(generator.permutation(items))
    assert true > 2 * shuffled


def test_dislikes_tell_the_taste_of_who_likes_nothing_yet() -> None:
    """Two camps dislike each other's items; in training a user likes one item, and who is asked about none so far."""
    generator = np.random.default_rng(1)
    pairs: list[tuple[str, str, float, str]] = []
    for user in range(240):
        own, other = (generator.permutation(30) + 30 * camp for camp in (user % 2, 1 - user % 2))
        part, likes = ("valid", 6) if user < 80 else ("train", 1)
        pairs += [(f"u{user}", f"i{item}", 5.0, part) for item in own[:likes]]
        pairs += [(f"u{user}", f"i{item}", 1.0, "train") for item in other[:6]]
    rows = pl.DataFrame(pairs, schema=["user_id", "item_id", "rating", "split"], orient="row")
    ids = [f"i{item}" for item in range(60)]
    source = Catalogue.of(rows, pl.DataFrame({"item_id": ids}), name="camps")
    content = {"text": worlds.features(ids, width=64)}
    both, one = (
        trained(source, content, 32, dislikes=view, negatives="dislikes+unseen").validation["recall@10"]
        for view in ("ratings", "none")
    )
    # Of 54 candidates, 10 are shown: knowing the camp finds 10 in 30 of its items, knowing nothing 10 in 54.
    assert both > 1.4 * one
