"""Explanations: parts add up to the score, the history's weights too, and what is near is what brute force finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

import worlds
from palate.core.errors import DataError
from palate.dataset.inputs import ModelInputs
from palate.encode.features import Features
from palate.experiment import resolve
from palate.graph.neighbours import nearest, nearest_to
from palate.models import MODELS, Embeddings, Recommender
from palate.recommend.explain import explain, explain_to, history_weights, nearest_history, neighbours_of
from palate.recommend.forms import classical_form
from palate.train.fitting import build, fit_model

USERS, ITEMS = 23, 31
LEARNERS = [name for name in MODELS if issubclass(MODELS[name], Recommender)]
NEIGHBOURHOODS = ["ease", "itemknn", "rp3beta", "contentknn"]


def inputs() -> ModelInputs:
    """Three modalities; some items lack one or two, one lacks all and the knowledge too, and one user has nothing."""
    generator = np.random.default_rng(4)
    matrix = (generator.random((USERS, ITEMS)) < 0.2).astype(np.int64)
    matrix[5] = 0
    content = {name: generator.normal(size=(ITEMS, width)) for name, width in (("text", 6), ("image", 4))}
    content["knowledge"] = generator.normal(size=(ITEMS, 5))
    content["image"][[3, 7]] = np.nan
    content["text"][[7, 9]] = np.nan
    content["knowledge"][[7, 11]] = np.nan
    disliked = (generator.random((USERS, ITEMS)) < 0.1).astype(np.int64) * (1 - matrix)
    entities = (generator.random((ITEMS, 12)) < 0.2).astype(np.int64)
    entities[7] = 0
    return worlds.inputs(matrix, content, dislikes=disliked, entities=entities)


def moved(name: str, **settings: Any) -> Recommender:
    """A model whose parameters are all away from where they start (a bias starts at zero)."""
    preset = settings.pop("preset", "intended")
    dim = {"dim": 8} if "dim" in MODELS[name].Config.model_fields else {}
    kind, config, _ = resolve(name, preset, {**dim, **settings})
    model = build(kind, config, inputs(), 0, "float32")
    assert isinstance(model, Recommender)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.3 * torch.randn(value.shape, generator=generator))
    return model


def whole(embeddings: Embeddings) -> Tensor:
    return embeddings.user @ embeddings.item.T


PARTS: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "mmgcn": ("mmgcn", {}, {"image", "text", "knowledge"}),
    "mmgcn official": ("mmgcn", {"preset": "official"}, {"image", "text", "knowledge"}),
    "vbpr": ("vbpr", {}, {"item id", "image", "text", "knowledge", "item bias"}),
    "vbpr without item bias": ("vbpr", {"item_bias": False}, {"item id", "image", "text", "knowledge"}),
    "vbpr without content bias": (
        "vbpr",
        {"content_bias": False},
        {"item id", "image", "text", "knowledge", "item bias"},
    ),
    "freedom": ("freedom", {}, {"item id", "similar items"}),
    "freedom, two hops": ("freedom", {"item_layers": 2, "preset": "official"}, {"item id", "similar items"}),
    "alignrec": ("alignrec", {}, {"item id", "item content"}),
    "alignrec official": ("alignrec", {"preset": "official"}, {"item id", "item content"}),
    "alignrec by attention": ("alignrec", {"fuse": "attention"}, set()),
    "lgmrec": ("lgmrec", {}, {"item id", "image", "text", "knowledge", "all hyperedges"}),
    "lgmrec official": ("lgmrec", {"preset": "official"}, {"item id", "image", "text", "knowledge", "all hyperedges"}),
    "crmman": ("crmman", {}, {"image", "text", "knowledge"}),
    "crmman, other widths": ("crmman", {"structure_dim": 4}, {"image", "text", "knowledge"}),
    "crmman by the mean": ("crmman", {"fuse": "mean"}, {"image", "text", "knowledge"}),
    "bm3": ("bm3", {}, set()),
    "lightgcn": ("lightgcn", {}, set()),
    "bpr": ("bpr", {}, set()),
}


def test_every_trained_model_is_asked_for_its_parts() -> None:
    assert {name for name, _, _ in PARTS.values()} == set(LEARNERS)


@pytest.mark.parametrize("case", PARTS)
def test_parts_add_up_to_the_score(case: str) -> None:
    name, settings, names = PARTS[case]
    model = moved(name, **settings)
    parts = model.score_parts()
    assert set(parts) == names
    if parts:
        total = torch.stack([whole(part) for part in parts.values()]).sum(0)
        torch.testing.assert_close(total, whole(model.embed()), rtol=1e-5, atol=1e-5)
        # No part is idle: each tells items apart.
        assert all(float(whole(part).std()) > 0 for part in parts.values())


def test_the_part_of_a_modality_is_nothing_for_an_item_that_lacks_it() -> None:
    for name in ("vbpr", "lgmrec", "crmman"):
        model = moved(name, **({"modal_layers": 0} if name == "lgmrec" else {}))
        parts = model.score_parts()
        lacks = whole(parts["image"])[:, 3]
        assert bool((lacks == 0).all()), name
        assert bool((whole(parts["text"])[:, 3] != 0).any()), name


@pytest.mark.parametrize("name", NEIGHBOURHOODS)
def test_what_the_history_adds_is_the_score(name: str) -> None:
    source = worlds.catalogue(worlds.interactions(users=40, least=4))
    data = worlds.dataset(source, split="random")
    kind, config, training = resolve(name)
    model = fit_model(kind, config, data, training, seed=0, quiet=True).model
    scorer, train = model.scorer(), data.positives["train"]
    form = classical_form(model, train)
    scores = scorer.score_block(torch.arange(len(data.users)))
    said = 0
    for user in range(len(data.users)):
        history = train[user].astype(np.int64)
        for item in range(len(data.items)):
            for each in (scorer, form):
                weights = history_weights(each, item, history)
                assert weights is not None
                assert weights.sum() == pytest.approx(float(scores[user, item]), abs=1e-5)
        found = explain(scorer, user, 3, history, k=2)
        assert found.basis == "weight"
        assert found.rest is not None
        assert found.history.values.sum() + found.rest == pytest.approx(found.score, abs=1e-5)
        weights = history_weights(scorer, 3, history)
        assert weights is not None
        np.testing.assert_allclose(found.history.values, np.sort(weights[weights != 0])[::-1][:2])
        said += len(found.history.items)
    assert said > len(data.users) / 2


def test_a_history_is_near_by_the_models_item_vectors() -> None:
    item = torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 3.0], [-1.0, 0.0], [0.0, 0.0]])
    scorer = Embeddings(torch.ones(1, 2), item)
    near, basis = nearest_history(scorer, 0, np.array([3, 2, 0, 1, 4]), 3)
    assert basis == "cosine"
    # Not the item itself; a vector of zeros is near nothing.
    np.testing.assert_array_equal(near.items, [1, 2, 4])
    np.testing.assert_allclose(near.values, [2 / np.hypot(2, 0.1), 0, 0], atol=1e-7)


def test_who_compares_no_items_says_nothing_of_the_history() -> None:
    data = worlds.dataset(split="random")
    kind, config, training = resolve("popularity")
    scorer = fit_model(kind, config, data, training, seed=0, quiet=True).model.scorer()
    found = explain(scorer, 0, 1, data.positives["train"][0].astype(np.int64))
    assert (found.basis, found.rest, len(found.history.items), found.parts) == (None, None, 0, {})
    assert found.score == data.inputs().train.by_item.lengths[1]


def test_neighbours_in_each_modality_are_those_of_the_whole_graph() -> None:
    ids = [f"i{number}" for number in range(40)]
    content = {
        name: worlds.features(ids, name, width=5, missing=missing)
        for name, missing in (("image", ()), ("text", ("i3", "i9")))
    }
    graphs = {name: nearest(each.matrix, 4, present=each.present) for name, each in content.items()}
    for item in range(40):
        found = neighbours_of(item, content, 4)
        assert set(found) == {"image"} if item in (3, 9) else {"image", "text"}
        for name, near in found.items():
            rows, cosines = graphs[name]
            stored = slice(int(rows.pointer[item]), int(rows.pointer[item + 1]))
            order = np.argsort(-cosines[stored])
            np.testing.assert_array_equal(near.items, rows.columns[stored][order])
            np.testing.assert_allclose(near.values, cosines[stored][order], rtol=1e-5)


def test_rows_are_looked_at_in_blocks_and_few_rows_have_few_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    items, cosines = nearest_to(4, matrix, 50)
    assert sorted(items.tolist()) == [row for row in range(10) if row != 4]
    assert bool((np.diff(cosines) <= 0).all())
    monkeypatch.setattr("palate.graph.neighbours.CELLS", 7)
    np.testing.assert_array_equal(nearest_to(4, matrix, 50)[0], items)
    present = np.zeros(10, np.bool_)
    present[[2, 4]] = True
    np.testing.assert_array_equal(nearest_to(4, matrix, 3, present=present)[0], [2])
    assert len(nearest_to(3, matrix, 3, present=present)[0]) == 0
    present[2] = False
    assert len(nearest_to(4, matrix, 3, present=present)[0]) == 0


def test_an_explanation_speaks_in_ids_and_titles() -> None:
    source = worlds.catalogue()
    ids = source.items["item_id"].to_list()
    content: dict[str, Features] = {"image": worlds.features(ids, "image", width=4), "text": worlds.features(ids)}
    data = worlds.dataset(source, content, split="random")
    kind, config, training = resolve("vbpr", settings={"dim": 4, "epochs": 1})
    model = fit_model(kind, config, data, training, seed=0, quiet=True).model
    assert isinstance(model, Recommender)
    rows = data.catalogue.interactions.filter(pl.col("user_id") == "u2")["item_id"]
    found = explain_to(data, model.scorer(), "u2", rows[0], parts=model.score_parts(), modalities=data.features, k=3)
    user, item = data.users.row("u2"), data.items.row(rows[0])
    assert found["known"] is True
    assert found["title"] == f"The film {rows[0][1:]}"
    assert found["score"] == pytest.approx(float(whole(model.embed())[user, item]), abs=1e-6)
    assert sum(found["parts"].values()) == pytest.approx(found["score"], abs=1e-5)
    assert found["history_length"] == len(data.positives["train"][user])
    trained = set(data.items.ids.gather(data.positives["train"][user]))
    assert {near["item_id"] for near in found["history"]["items"]} <= trained - {rows[0]}
    assert set(found["neighbours"]) == {"image", "text"}
    for near in found["neighbours"].values():
        assert len(near) == 3
        assert all(set(each) == {"item_id", "title", "cosine"} for each in near)
    other = next(name for name in ids if name not in set(rows))
    assert explain_to(data, model.scorer(), "u2", other)["known"] is False
    for wrong in (("u2", "i999"), ("nobody", "i1")):
        with pytest.raises(DataError, match="unknown"):
            explain_to(data, model.scorer(), *wrong)
