"""Imputation: closed forms, nothing but the train part, and a data set that still knows who lacked what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import worlds
from palate.core.errors import ConfigError, DataError
from palate.dataset import imputation
from palate.dataset.dataset import Dataset
from palate.dataset.imputation import impute
from palate.encode.features import Features
from palate.graph.bipartite import Bipartite
from palate.graph.rows import Rows
from palate.graph.sharing import sharing_graph, threshold_for_degree
from palate.ingest.catalogue import Catalogue

USERS, ITEMS = 5, 9
HOWS = ("zero", "mean", "neighbours", "knowledge")
FILLED = pytest.mark.parametrize("how", HOWS)
MATRICES = st.lists(st.lists(st.booleans(), min_size=ITEMS, max_size=ITEMS), min_size=USERS, max_size=USERS)
ENTITIES = st.lists(st.sets(st.integers(0, 5)), min_size=ITEMS, max_size=ITEMS)


def modality(present: NDArray[np.bool_], width: int = 4) -> Features:
    ids = [f"i{item}" for item in range(len(present))]
    return worlds.features(ids, width=width, missing=[name for name, has in zip(ids, present, strict=True) if not has])


def train_of(matrix: NDArray[np.bool_]) -> Bipartite:
    user, item = np.nonzero(matrix)
    return Bipartite(Rows.from_pairs(user, item, *matrix.shape))


def rows_of(lists: list[set[int]]) -> Rows:
    pairs = [(row, column) for row, columns in enumerate(lists) for column in sorted(columns)]
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Rows.from_pairs(table[:, 0], table[:, 1], len(lists), 6)


def weights(how: str, matrix: NDArray[np.bool_], entities: Rows) -> NDArray[np.int64]:
    """What each item counts for each other one."""
    items = matrix.shape[1]
    found = np.zeros((items, items), dtype=np.int64)
    if how == "neighbours":
        for one in range(items):
            for other in range(items):
                found[one, other] = sum(bool(row[one]) and bool(row[other]) for row in matrix)
    elif how == "knowledge":
        graph = sharing_graph(entities, threshold_for_degree(entities, 20))
        for one in range(items):
            found[one, graph[one]] = 1
    return found


@FILLED
@given(MATRICES, ENTITIES, st.lists(st.booleans(), min_size=ITEMS, max_size=ITEMS))
def test_what_is_filled_in_is_the_closed_form(
    how: str, bought: list[list[bool]], lists: list[set[int]], has: list[bool]
) -> None:
    matrix, present = np.array(bought), np.array(has)
    # Two donors and two items that share something, so that there always is an answer.
    matrix[0, :2] = present[:2] = True
    lists[0].add(0)
    lists[1].add(0)
    entities, text = rows_of(lists), modality(present)
    found, filling = impute({"text": text}, {"text": how}, train_of(matrix), lambda: entities)["text"]  # type: ignore[dict-item]
    donors = present & matrix.any(axis=0)
    counts = weights(how, matrix, entities)
    alone = 0
    for item in range(ITEMS):
        own = {other: counts[item, other] for other in np.flatnonzero(donors) if counts[item, other]}
        if present[item]:
            expected = text.matrix[item]
        elif how == "zero":
            expected = np.zeros(4)
        elif own and how != "mean":
            expected = sum(text.matrix[other] * count for other, count in own.items()) / sum(own.values())
        else:
            alone += 1
            expected = text.matrix[donors].mean(axis=0)
        np.testing.assert_allclose(found.matrix[item], expected, rtol=1e-5, atol=1e-6)
    assert found.present.all()
    np.testing.assert_array_equal(filling.missing, ~present)
    assert filling.alone == (alone if how in ("neighbours", "knowledge") else 0)
    assert filling.donors == donors.sum()
    np.testing.assert_array_equal(text.present, present)


@pytest.mark.parametrize("how", ["neighbours", "knowledge"])
def test_the_blocks_of_columns_change_nothing(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    matrix, present = generator.random((30, 40)) < 0.2, generator.random(40) < 0.6
    entities = rows_of([set(generator.integers(0, 6, 2).tolist()) for _ in range(40)])

    def filled() -> NDArray[np.float32]:
        made = impute({"text": modality(present, 11)}, {"text": how}, train_of(matrix), lambda: entities)  # type: ignore[dict-item]
        return made["text"][0].matrix

    whole = filled()
    for cells in (1, 130):
        monkeypatch.setattr(imputation, "CELLS", cells)
        np.testing.assert_array_equal(filled(), whole)


def shop(missing: tuple[str, ...] = ("i3", "i7", "i8"), rows: pl.DataFrame | None = None) -> Catalogue:
    """The catalogue of `worlds`, with an entity for each item and neighbours among twelve others."""
    source = worlds.catalogue(rows)
    ids = source.items["item_id"].to_list()
    generator = np.random.default_rng(4)
    facts = [(f"e{item}", "about", f"t{tail}") for item in ids for tail in generator.integers(0, 12, 3)]
    knowledge = pl.DataFrame(facts, schema=["head", "relation", "tail"], orient="row")
    entities = pl.DataFrame({"item_id": ids, "entity": [f"e{item}" for item in ids]})
    return Catalogue.of(source.interactions, source.items, knowledge, entities, name="shop")


def data_of(source: Catalogue | None = None, missing: tuple[str, ...] = ("i3", "i7", "i8"), **settings: Any) -> Dataset:
    source = source or shop()
    ids = source.items["item_id"].to_list()
    made = {"text": worlds.features(ids, missing=missing), "image": worlds.features(ids, "image", 3)}
    return worlds.dataset(source, made, **{"split": "random", **settings})


@FILLED
def test_the_data_set_still_knows_who_lacked_what(how: str) -> None:
    data = data_of()
    filled = data.imputed({"text": how})
    lacking = np.isin(data.items.ids.to_list(), ["i3", "i7", "i8"])
    for each in (data, filled):
        np.testing.assert_array_equal(each.missing["text"], lacking)
        assert not each.missing["image"].any()
    assert filled.imputation == {"text": how}
    assert filled.describe()["missing"] == {"image": 0, "text": 3}
    assert filled.describe()["imputed"] == {"text": how}
    text = filled.inputs().features["text"]
    assert text.present.all()
    assert (text.matrix[lacking] == 0).all() == (how == "zero")
    np.testing.assert_array_equal(text.matrix[~lacking], data.features["text"].matrix[~lacking])
    assert f"imputed={how}" in text.encoder
    assert filled.features["image"] is data.features["image"]
    assert data.features["text"].present.sum() == 22, "the data set it was made from stays as it was"


@FILLED
def test_the_split_stays_and_the_data_set_is_another(how: str) -> None:
    data = data_of()
    one, again, other = data.imputed(how), data_of().imputed(how), data.imputed({"text": how})
    assert one.split_fingerprint == data.split_fingerprint
    assert one.fingerprint == again.fingerprint == other.fingerprint
    assert one.features["text"].fingerprint != data.features["text"].fingerprint
    np.testing.assert_array_equal(one.features["text"].matrix, again.features["text"].matrix)
    prints = {data.fingerprint, *(data.imputed(each).fingerprint for each in HOWS)}
    assert len(prints) == 1 + len(HOWS)


def test_nothing_is_done_where_nothing_was_asked_or_nothing_is_missing() -> None:
    data = data_of()
    assert data.imputed("none") is data
    assert data.imputed({"image": "none"}) is data
    whole = data_of(missing=())
    assert whole.imputed("mean").fingerprint == whole.fingerprint
    assert whole.imputed("mean").notes == whole.notes


def parts(seed: int) -> pl.DataFrame:
    """Given parts: the train rows are always the same, the others are drawn by `seed`."""
    rows = worlds.interactions(seed=1)
    train = rows.filter(pl.int_range(pl.len()) % 3 > 0).with_columns(split=pl.lit("train"))
    others = worlds.interactions(seed=seed).join(train, on=["user_id", "item_id"], how="anti").gather_every(2)
    drawn = np.random.default_rng(seed).choice(["valid", "test"], len(others))
    # Everybody has a row in each of them, so that the users are the same ones.
    return pl.concat([train, others.with_columns(split=pl.Series(drawn))])


@FILLED
def test_held_out_rows_have_no_say(how: str) -> None:
    frames = [parts(seed) for seed in (5, 6)]
    users = set(frames[0]["user_id"]) & set(frames[1]["user_id"])
    one, other = (
        data_of(shop(rows=frame.filter(pl.col("user_id").is_in(list(users)))), split="given").imputed(how)
        for frame in frames
    )
    assert one.items.ids.to_list() == other.items.ids.to_list()
    assert one.split_fingerprint != other.split_fingerprint
    np.testing.assert_array_equal(one.features["text"].matrix, other.features["text"].matrix)
    assert one.features["text"].fingerprint == other.features["text"].fingerprint


@FILLED
def test_what_people_did_not_like_has_no_say(how: str) -> None:
    rows = worlds.interactions()
    lower = rows.with_columns(rating=pl.when(pl.col("rating") == 3).then(1.0).otherwise("rating"))
    liked = rows.with_columns(rating=pl.when(pl.col("rating") == 3).then(5.0).otherwise("rating"))
    one, other, third = (data_of(shop(rows=each)).imputed(how).features["text"].matrix for each in (rows, lower, liked))
    np.testing.assert_array_equal(one, other)
    assert (one != third).any() == (how == "neighbours")


@FILLED
def test_content_of_items_without_a_train_interaction_fills_nothing(how: str) -> None:
    data = data_of(split="cold-items", seed=3)
    cold = data.positives["train"].transpose().lengths == 0
    assert (cold & data.features["text"].present).sum() >= 3
    assert (cold & data.missing["text"]).any()
    text = data.features["text"]
    altered = np.where((cold & text.present)[:, None], 100.0, text.matrix).astype(np.float32)
    changed = Features("text", altered, text.present, text.encoder, text.ids)
    train = Bipartite(data.positives["train"])
    entities = data.seen_by(features=True, knowledge=True).entities
    one, other = (
        impute({"text": each}, {"text": how}, train, lambda: entities)["text"][0].matrix  # type: ignore[dict-item]
        for each in (text, changed)
    )
    np.testing.assert_array_equal(one[~text.present], other[~text.present])


def test_the_order_of_the_files_changes_nothing() -> None:
    source = shop()
    tables = [source.interactions, source.items, source.knowledge, source.item_entities]
    mixed = Catalogue.of(*(table.sample(fraction=1.0, shuffle=True, seed=3) for table in tables if table is not None))
    for how in HOWS:
        assert data_of(source).imputed(how).fingerprint == data_of(mixed).imputed(how).fingerprint


@pytest.mark.parametrize("how", ["mean", "neighbours", "knowledge"])
def test_the_fingerprint_is_that_of_what_the_rows_follow_from(how: str) -> None:
    matrix = np.eye(6, 9, dtype=np.bool_) | np.eye(6, 9, 1, dtype=np.bool_)
    moved = matrix.copy()
    moved[0, [0, 8]] = False, True
    text = modality(np.arange(9) != 4)
    one, other = rows_of([{item % 3, 3} for item in range(9)]), rows_of([{item % 2, 3, 4} for item in range(9)])

    def made(train: NDArray[np.bool_], entities: Rows) -> str:
        filled = impute({"text": text}, {"text": how}, train_of(train), lambda: entities)  # type: ignore[dict-item]
        return filled["text"][0].fingerprint

    assert made(matrix, one) == made(matrix, one)
    assert made(matrix, one) != made(moved, one)
    assert (made(matrix, one) != made(matrix, other)) == (how == "knowledge")


# What people are told


def test_notes_say_who_lacked_what_and_what_was_filled_from_what() -> None:
    """i0 is bought with i1 (twice) and i2 (once), i3 alone; i0 and i3 have no text, i4 nobody bought."""
    pairs = [("a", "i0"), ("a", "i1"), ("b", "i0"), ("b", "i1"), ("b", "i2"), ("c", "i3")]
    rows = pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row").with_columns(split=pl.lit("train"))
    source = worlds.catalogue(rows, items=5)
    text = worlds.features(source.items["item_id"].to_list(), missing=("i0", "i3"))
    data = worlds.dataset(source, {"text": text}, split="given")
    lack = "text: 2 of 5 items lack it"
    assert data.notes[-1] == lack
    assert data.imputed("zero").notes[-1] == f"{lack}: filled with zeros"
    mean = "the mean of the 2 train items that have it"
    assert data.imputed("mean").notes[-1] == f"{lack}: filled with {mean}"
    filled = data.imputed("neighbours")
    assert filled.notes[-1] == (
        f"{lack}: 1 filled with the mean of the items that share train users with them, weighted by how many, "
        f"1 without such a neighbour with {mean}"
    )
    row = {name: worlds.row_of(name) for name in ("i1", "i2")}
    matrix = filled.features["text"].matrix
    np.testing.assert_allclose(matrix[data.items.row("i0")], (2 * row["i1"] + row["i2"]) / 3, rtol=1e-6)
    np.testing.assert_allclose(matrix[data.items.row("i3")], (row["i1"] + row["i2"]) / 2, rtol=1e-6)


def test_notes_name_the_threshold_of_the_item_graph() -> None:
    assert "share more than 0 entities" in data_of().imputed("knowledge").notes[-1]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("neighbors", "did you mean 'neighbours'"),
        ({"text": "means"}, "did you mean 'mean'"),
        ({"txt": "mean"}, "unknown modality 'txt'; did you mean 'text'"),
        ("", "unknown imputation ''"),
        ({"text": None}, "unknown imputation 'None'"),
    ],
)
def test_unknown_names_are_refused(asked: str | Mapping[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        data_of().imputed(asked)
    assert caught.value.do


def test_an_unknown_name_is_refused_even_where_there_is_no_modality() -> None:
    with pytest.raises(ConfigError, match="unknown imputation 'meen'"):
        worlds.dataset(modalities={}, split="random").imputed("meen")
    bare = worlds.dataset(modalities={}, split="random")
    assert bare.imputed("mean") is bare


def test_what_was_filled_in_is_not_filled_in_again() -> None:
    data = data_of().imputed({"text": "mean"})
    with pytest.raises(ConfigError, match="text: filled in already"):
        data.imputed("zero")
    assert data.imputed({"image": "mean"}).imputation == {"text": "mean", "image": "mean"}


def test_knowledge_needs_knowledge() -> None:
    with pytest.raises(ConfigError, match="this catalogue has none") as caught:
        worlds.dataset(split="random").imputed("knowledge")
    assert "neighbours" in caught.value.do
    source = shop()
    assert source.knowledge is not None
    alone = source.knowledge.with_columns(tail=pl.int_range(pl.len()).cast(pl.String))
    lonely = Catalogue.of(source.interactions, source.items, alone, source.item_entities)
    with pytest.raises(DataError, match="no two items share any entity"):
        data_of(lonely).imputed("knowledge")
    # Nothing is missing, so nothing is needed.
    ids = worlds.catalogue().items["item_id"].to_list()
    worlds.dataset(modalities={"text": worlds.features(ids)}, split="random").imputed("knowledge")


@pytest.mark.parametrize("how", ["mean", "neighbours", "knowledge"])
def test_where_no_train_item_has_it_there_is_nothing_to_fill_from(how: str) -> None:
    data = data_of(missing=tuple(f"i{item}" for item in range(25)))
    with pytest.raises(DataError, match="no item with a train interaction has 'text'"):
        data.imputed(how)
    assert data.imputed("zero").features["text"].present.all()


# What a model does not look at


def test_models_without_features_see_no_imputation() -> None:
    data = data_of()
    one, other = (each.seen_by(features=False, knowledge=False) for each in (data, data.imputed("neighbours")))
    assert one.fingerprint == other.fingerprint
    assert other.imputation == other.missing == {}
    filled = data.imputed("knowledge").seen_by(features=True, knowledge=False)
    assert filled.imputation == {"image": "knowledge", "text": "knowledge"}
    assert filled.entities is None
