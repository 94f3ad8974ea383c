"""The three protocols: by hand on small data, on planted taste, and what hiding a modality takes away."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

import worlds
from encode.joint.small import small_config, small_content, small_world
from palate.core.errors import ConfigError, DataError
from palate.dataset.dataset import Dataset, HeldOut
from palate.encode.concat import concatenated
from palate.encode.features import Features
from palate.encode.joint.content import joint_inputs
from palate.encode.joint.encoder import JointEncoder, encode_joint
from palate.encode.joint.model import JointNetwork
from palate.experiment import load
from palate.ingest.catalogue import Catalogue
from palate.measure.metrics import METRICS
from palate.study.masking import hide_in, items_to_hide
from palate.study.probes import ZeroShot, item_cf, mask_modality, neighbour_overlap, zero_shot

ROUGH = {"split": "random"}


def planted(seed: int = 0, **settings: Any) -> Dataset:
    """Taste depends on `true` alone; `shuffled` has its rows dealt out at random."""
    rows, matrix = worlds.planted(seed, users=150, items=150, groups=10, each=8)
    source = Catalogue.of(rows, pl.DataFrame({"item_id": [f"i{item}" for item in range(150)]}), name="planted")
    ids = tuple(source.items["item_id"])
    own = np.array([int(item[1:]) for item in ids])
    dealt = np.random.default_rng(seed).permutation(150)
    everywhere = np.ones(150, np.bool_)
    content = {
        "true": Features("true", matrix[own], everywhere, "given", ids),
        "shuffled": Features("shuffled", matrix[dealt], everywhere, "given", ids),
    }
    return worlds.dataset(source, content, **{**ROUGH, **settings})


def dense_train(data: Dataset) -> NDArray[np.float64]:
    train = data.positives["train"]
    matrix = np.zeros((train.count, train.width))
    matrix[train.row_of_entry(), train.columns] = 1
    return matrix


def unit(matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(matrix.astype(np.float64), axis=1, keepdims=True)
    return np.divide(matrix, lengths, out=np.zeros(matrix.shape), where=lengths > 0)


# Zero-shot


def test_zero_shot_scores_are_cosines_to_the_mean_of_the_unit_rows_of_the_history() -> None:
    data = worlds.dataset(**ROUGH)
    features = data.features["text"]
    assert not features.present.all()
    rows = unit(features.matrix)
    train = dense_train(data)
    means = train @ rows / np.maximum(train.sum(1, keepdims=True), 1)
    users = torch.tensor([4, 0, 4, *range(len(train))])
    scores = ZeroShot(features, data.inputs().train).score_block(users).numpy()
    np.testing.assert_allclose(scores, (unit(means) @ rows.T)[users.numpy()], atol=1e-6)
    assert not scores[:, ~features.present].any()


def test_what_taste_follows_is_found_without_training_and_shuffled_rows_are_chance() -> None:
    for probe in (zero_shot, item_cf_recommending):
        result = probe(planted())
        assert set(result.figures) == {"true", "shuffled", "concat"}
        chance = result.about["chance"]["recall@20"]
        assert result.figures["true"]["recall@20"] > 4 * chance
        assert result.figures["shuffled"]["recall@20"] < 1.5 * chance
        assert result.figures["true"]["recall@20"] > result.figures["concat"]["recall@20"] > 1.5 * chance
        assert set(result.figures["true"]) == set(METRICS)


def item_cf_recommending(data: Dataset) -> Any:
    return item_cf(data, target="recommendation")


def test_chance_is_what_features_of_pure_noise_give_on_average() -> None:
    data = planted()
    found: list[float] = []
    for seed in range(12):
        ids = data.features["true"].ids
        noise = np.random.default_rng(seed).normal(size=(150, 16)).astype(np.float32)
        noisy = Features("true", noise, np.ones(150, np.bool_), "noise", ids)
        result = zero_shot(dataclasses.replace(data, features={"true": noisy}))
        found.append(result.figures["true"]["recall@20"])
    assert np.mean(found) == pytest.approx(result.about["chance"]["recall@20"], rel=0.15)


@pytest.mark.parametrize("part", ["valid", "test"])
def test_the_figures_are_those_of_a_full_ranking_without_what_was_met_before(part: HeldOut) -> None:
    data = planted()
    rows = unit(data.features["true"].matrix)
    scores = unit(dense_train(data) @ rows) @ rows.T
    recalls: list[float] = []
    for user in np.flatnonzero(data.positives[part].lengths).tolist():
        scores[user, data.positives["train"][user]] = -np.inf
        if part == "test":
            scores[user, data.positives["valid"][user]] = -np.inf
        best = np.argsort(-scores[user])[:20]
        recalls.append(np.isin(data.positives[part][user], best).mean())
    result = zero_shot(data, ["true"], part=part)
    assert result.figures["true"]["recall@20"] == pytest.approx(np.mean(recalls))
    assert result.about["users"] == len(recalls)


# Item-CF


def brute_overlap(data: Dataset, features: Features, k: int) -> tuple[float, float, int]:
    train = dense_train(data)
    taken = np.flatnonzero(features.present & (train.sum(0) > 0))
    rows, users = unit(features.matrix), unit(train.T)
    shares: list[float] = []
    for item in taken:
        others = taken[taken != item]
        by_content = others[np.argsort(-(rows[others] @ rows[item]), kind="stable")[:k]]
        near = users[others] @ users[item]
        by_behaviour = others[np.argsort(-near, kind="stable")[: min(k, int((near > 1e-12).sum()))]]
        if len(by_behaviour):
            shares.append(len(np.intersect1d(by_content, by_behaviour)) / len(by_behaviour))
    return float(np.mean(shares)), min(k, len(taken) - 1) / (len(taken) - 1), len(shares)


@pytest.mark.parametrize("k", [1, 3, 24, 80])
def test_the_overlap_is_the_share_of_neighbours_by_behaviour_among_those_by_content(k: int) -> None:
    # With so many users hardly any two items are equally near.
    data = worlds.dataset(worlds.catalogue(worlds.interactions(60, 25, 1, 24, 1)), positive="all", **ROUGH)
    features = data.features["text"]
    overlap, chance, items = brute_overlap(data, features, k)
    found = neighbour_overlap(features, data.inputs(), k)
    assert found[f"overlap@{k}"] == pytest.approx(overlap)
    assert found[f"chance@{k}"] == pytest.approx(chance)
    assert found["items"] == items
    if k >= 24:
        assert overlap == chance == 1.0


def test_the_overlap_of_noise_is_chance_and_that_of_what_taste_follows_is_not() -> None:
    result = item_cf(planted(), k=10)
    chance = result.figures["shuffled"]["chance@10"]
    assert result.figures["shuffled"]["overlap@10"] == pytest.approx(chance, rel=0.35)
    assert result.figures["true"]["overlap@10"] > 5 * chance


def test_recommending_sums_the_cosines_between_the_history_and_an_item() -> None:
    data = planted()
    rows = unit(data.features["true"].matrix)
    scores = dense_train(data) @ (rows @ rows.T).clip(0)
    recalls: list[float] = []
    for user in np.flatnonzero(data.positives["valid"].lengths).tolist():
        scores[user, data.positives["train"][user]] = -np.inf
        recalls.append(np.isin(data.positives["valid"][user], np.argsort(-scores[user])[:20]).mean())
    whole, few = (item_cf(data, ["true"], target="recommendation", k=k) for k in (149, 2))
    assert whole.figures["true"]["recall@20"] == pytest.approx(np.mean(recalls))
    assert (whole.about["k"], few.about["k"]) == (149, 2)
    assert whole.figures != few.figures


def test_items_that_share_no_user_cannot_be_compared() -> None:
    pairs = [(f"u{number}", f"i{number}") for number in range(6)]
    rows = pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row").with_columns(split=pl.lit("train"))
    source = Catalogue.of(rows)
    content = {"text": worlds.features(source.items["item_id"].to_list())}
    with pytest.raises(DataError, match="no two items with 'text' share a train user"):
        item_cf(worlds.dataset(source, content, split="given"))
    with pytest.raises(DataError, match="the valid part has no positive"):
        zero_shot(worlds.dataset(source, content, split="given"))


# Mask-modality


def test_hiding_what_taste_follows_costs_and_hiding_noise_does_not() -> None:
    data = planted()
    true, noise = (mask_modality(data, hide=name, share=0.5) for name in ("true", "shuffled"))
    assert set(true.figures) == {"true", "concat"}
    assert set(noise.figures) == {"shuffled", "concat"}
    for measure, drop in true.drops["true"].items():
        assert drop is not None
        assert drop > 0.15, measure
    for protocol in ("zero-shot", "item-CF"):
        gained = noise.drops["concat"][f"{protocol} recall@20"]
        lost = true.drops["concat"][f"{protocol} recall@20"]
        assert gained is not None
        assert lost is not None
        assert gained < 0.1 < lost


def test_all_of_it_hidden_leaves_chance_and_no_neighbours() -> None:
    data = planted()
    result = mask_modality(data, ["true"], hide="true", share=1.0)
    chance = zero_shot(data, ["true"]).about["chance"]["recall@20"]
    assert result.about["items"] == 150
    assert result.figures["true"]["zero-shot recall@20"] == pytest.approx(chance, rel=0.4)
    assert result.figures["true"]["item-CF overlap@10"] == 0.0
    assert result.drops["true"]["item-CF overlap@10"] == 1.0


def test_the_hidden_items_are_a_seeded_share_of_those_that_have_it() -> None:
    data = worlds.dataset(**ROUGH)
    present = data.features["text"].present
    first, again, other = (items_to_hide(data, "text", 0.5, seed) for seed in (0, 0, 1))
    assert first.tolist() == again.tolist() != other.tolist()
    assert first.sum() == round(0.5 * present.sum())
    assert not (first & ~present).any()
    assert items_to_hide(data, "text", 1e-9, 0).sum() == 1


def test_a_model_is_trained_before_and_after_when_asked_for() -> None:
    data = planted()
    small = {"dim": 8, "epochs": 3, "batch_size": 256, "learning_rate": 0.02}
    result = mask_modality(data, hide="true", share=1.0, model="alignrec", settings=small)
    before, after = result.intact["alignrec (trained)"], result.figures["alignrec (trained)"]
    assert set(before) == {"recall@20", "ndcg@20"}
    assert before != after


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JointEncoder:
    """An encoder with random weights, stored in `tmp_path / "encoder"`."""
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    vocabulary = small_content()[1]
    network = JointNetwork(small_config(), len(vocabulary), 0)
    network.mean, network.deviation = torch.full((3,), 128.0), torch.full((3,), 60.0)
    made = JointEncoder(network, vocabulary)
    made.save(tmp_path / "encoder")
    return made


def joint_world(folder: Path, encoder: Path) -> Dataset:
    world = small_world(folder, users=25, interactions=10, missing={"image": 0.3})
    encode_joint(world, encoder, True)
    return load(world, features=["joint"], split="random", positive="all")


@pytest.mark.parametrize(("hide", "part"), [("image", "picture"), ("text", "text")])
def test_joint_rows_of_hidden_items_are_those_of_what_is_left(
    hide: str, part: str, encoder: JointEncoder, tmp_path: Path
) -> None:
    data = joint_world(tmp_path / "world", tmp_path / "encoder")
    by_id = dict(zip(data.catalogue.items["item_id"], joint_inputs(data.catalogue), strict=True))
    hidden = items_to_hide(data, hide, 0.5, 3)
    having = [row for row, item in enumerate(data.items.ids) if getattr(by_id[item], part) is not None]
    assert hidden.sum() == round(0.5 * len(having))
    after = hide_in(data, hide, hidden, tmp_path / "encoder")["joint"]
    before = data.features["joint"]
    np.testing.assert_array_equal(after.matrix[~hidden], before.matrix[~hidden])
    other = "text" if part == "picture" else "picture"
    for row in np.flatnonzero(hidden).tolist():
        value = by_id[before.ids[row]]
        assert value is not None
        left = getattr(value, other) is not None
        assert after.present[row] == left
        if left:
            alone = type(value)(**{"text": None, "picture": None, other: getattr(value, other)})
            np.testing.assert_allclose(after.matrix[row], encoder.encode_batch([alone])[0], rtol=1e-4, atol=1e-5)
            assert not np.allclose(after.matrix[row], before.matrix[row])
        else:
            assert not after.matrix[row].any()
    result = mask_modality(data, hide=hide, seed=3, encoder=tmp_path / "encoder")
    assert set(result.figures) == {"joint"}


def test_joint_features_need_the_encoder_that_made_them(encoder: JointEncoder, tmp_path: Path) -> None:
    data = joint_world(tmp_path / "world", tmp_path / "encoder")
    with pytest.raises(ConfigError, match="must be encoded again") as caught:
        mask_modality(data, hide="text")
    assert "--encoder" in caught.value.do
    JointEncoder(JointNetwork(small_config(), len(encoder.vocabulary), 1), encoder.vocabulary).save(tmp_path / "other")
    with pytest.raises(ConfigError, match="not made by this encoder") as caught:
        mask_modality(data, hide="text", encoder=tmp_path / "other")
    assert encoder.fingerprint in caught.value.where
    # As a modality of its own it is hidden like any other.
    assert mask_modality(data, hide="joint").drops["joint"]


# What people and programs read, and mistakes


def test_results_are_json_and_a_table() -> None:
    data = planted()
    for result in (zero_shot(data), item_cf(data), item_cf_recommending(data), mask_modality(data, hide="true")):
        again = json.loads(json.dumps(result.as_dict(), allow_nan=False))
        assert again["figures"] == result.figures
        assert ("drops" in again) == bool(result.intact)
        text = result.text()
        assert text.startswith(f"{result.probe}: data planted, split random")
        for content, row in result.figures.items():
            line = next(line for line in text.splitlines() if line.startswith(content))
            shown = result.intact.get(content, row)
            assert f"{shown.get('recall@20', next(iter(shown.values()))):.4f}" in line
    assert "chance: recall@20" in zero_shot(data).text()


def test_mistakes_say_what_there_is() -> None:
    data = planted()
    with pytest.raises(ConfigError, match="did you mean 'true'"):
        zero_shot(data, ["treu"])
    with pytest.raises(ConfigError, match="no features to probe"):
        item_cf(worlds.dataset(modalities={}, **ROUGH))
    with pytest.raises(ConfigError, match="unknown part 'train'"):
        zero_shot(data, part="train")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown target"):
        item_cf(data, target="recommend")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least 1"):
        item_cf(data, k=0)
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="share of items"):
            mask_modality(data, hide="true", share=share)
    with pytest.raises(ConfigError, match="none of the features depends on 'image'"):
        mask_modality(data, hide="image")
    ids = data.catalogue.items["item_id"].to_list()
    named = {name: worlds.features(ids, name) for name in ("concat", "text")}
    both = worlds.dataset(data.catalogue, named, **ROUGH)
    with pytest.raises(ConfigError, match="a modality is called 'concat'"):
        zero_shot(both)
    assert set(zero_shot(both, ["concat"]).figures) == {"concat"}
    assert concatenated(named).name == "concat"
