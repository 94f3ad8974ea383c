"""Dataset: parts and masks, order and fingerprint, features through the permutation, and what it tells of itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import worlds
from dataset.pairs import PARTS, SPLITS, pairs, pairs_where
from palate.core.errors import ConfigError
from palate.dataset.dataset import Dataset, Order
from palate.encode.features import Features
from palate.ingest.catalogue import Catalogue


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("thin", [1.0, 0.4])
def test_every_row_is_in_one_part_and_labels_come_afterwards(split: str, thin: float) -> None:
    data = worlds.dataset(split=split, thin=thin)
    seen = {part: pairs(data, data.seen[part]) for part in PARTS}
    withheld = pairs(data, data.withheld)
    assert set().union(*seen.values(), withheld) == pairs_where(data, pl.lit(True))
    assert sum(map(len, seen.values())) + len(withheld) == data.catalogue.interactions.height
    liked = pairs_where(data, pl.col("rating") >= 4)
    for part in PARTS:
        assert pairs(data, data.positives[part]) == seen[part] & liked
    assert data.dislikes is not None
    assert pairs(data, data.dislikes) == seen["train"] & pairs_where(data, pl.col("rating") <= 2)


def test_what_is_a_positive_does_not_move_rows_between_parts() -> None:
    strict, loose = worlds.dataset(split="random", positive=5), worlds.dataset(split="random", positive="all")
    for part in PARTS:
        assert pairs(strict, strict.seen[part]) == pairs(loose, loose.seen[part])
        assert pairs(strict, strict.positives[part]) < pairs(loose, loose.positives[part])
        assert pairs(loose, loose.positives[part]) == pairs(loose, loose.seen[part])


def test_masks_hold_what_was_seen_whatever_its_rating() -> None:
    data = worlds.dataset(split="user-time", thin=0.5)
    train, valid, test = (pairs(data, data.seen[part]) for part in PARTS)
    withheld = pairs(data, data.withheld)
    assert withheld
    assert pairs(data, data.mask("valid")) == train | withheld
    assert pairs(data, data.mask("test")) == train | withheld | valid
    assert pairs(data, data.mask("test", "train")) == train | withheld
    # A low rating in the test part is neither positive nor masked.
    low = test & pairs_where(data, pl.col("rating") <= 3)
    assert low
    assert not low & (pairs(data, data.mask("test")) | pairs(data, data.positives["test"]))
    assert pairs(data, data.known()) == pairs_where(data, pl.lit(True))


@pytest.mark.parametrize("split", SPLITS)
def test_no_held_out_row_reaches_the_model(split: str) -> None:
    data = worlds.dataset(split=split, thin=0.6)
    inputs = data.inputs()
    given_away = pairs(data, inputs.seen) | pairs(data, inputs.train.by_user)
    assert pairs(data, inputs.seen) == pairs(data, data.seen["train"])
    assert pairs(data, inputs.train.by_user) == pairs(data, data.positives["train"])
    assert inputs.dislikes is not None
    given_away |= pairs(data, inputs.dislikes)
    assert not given_away & (
        pairs(data, data.seen["valid"]) | pairs(data, data.seen["test"]) | pairs(data, data.withheld)
    )


def test_rows_are_in_order_of_time() -> None:
    data = worlds.dataset(split="user-time", positive="all")
    moment = {(user, item): time for user, item, time in data.catalogue.interactions.select(
        "user_id", "item_id", "timestamp").iter_rows()}  # fmt: skip
    for rows in (*data.seen.values(), *data.positives.values()):
        for user in range(rows.count):
            times = [moment[data.users.ids[user], data.items.ids[int(item)]] for item in rows[user]]
            assert times == sorted(times)


@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize("split", SPLITS)
def test_rows_of_one_moment_are_in_random_order_and_never_by_id(split: str, timestamps: bool) -> None:
    rows = worlds.interactions(users=60, least=8).with_columns(timestamp=pl.lit(7, pl.Int64))
    if not timestamps:
        rows = rows.drop("timestamp")
        split = split if split in ("random", "cold-items") else "random"
    source = worlds.catalogue(rows)
    one, other = (worlds.dataset(source, split=split, positive="all", seed=seed) for seed in (0, 1))
    names = [[one.items.ids[int(item)] for item in one.seen["train"][user]] for user in range(len(one.users))]
    for sort_key in (names, [one.seen["train"][user].tolist() for user in range(len(one.users))]):
        steps = [after > before for own in sort_key for before, after in itertools.pairwise(own)]  # type: ignore[operator]
        assert len(steps) > 300
        # Half of the neighbours ascend in a random order; five standard deviations are below 0.1.
        assert abs(np.mean(steps) - 0.5) < 0.1
    orders = [[name for user in data.users.ids.sort() for name in data.items.ids.gather(
        data.seen["train"][data.users.row(user)])] for data in (one, other)]  # fmt: skip
    assert orders[0] != orders[1]


def test_thin_keeps_its_share_of_the_train_rows() -> None:
    whole, thin = worlds.dataset(split="random"), worlds.dataset(split="random", thin=0.25)
    assert thin.seen["train"].size == round(0.25 * whole.seen["train"].size)
    assert thin.seen["train"].size + thin.withheld.size == whole.seen["train"].size
    for part in ("valid", "test"):
        assert pairs(thin, thin.seen[part]) == pairs(whole, whole.seen[part])


# Order and names


def shuffled(source: Catalogue, seed: int) -> Catalogue:
    return Catalogue.of(
        source.interactions.sample(fraction=1.0, shuffle=True, seed=seed),
        source.items.sample(fraction=1.0, shuffle=True, seed=seed + 1),
    )


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("timestamps", [True, False])
def test_the_order_of_the_files_changes_nothing(split: str, timestamps: bool) -> None:
    if not timestamps and split in ("user-time", "time", "latest"):
        split = "random"
    source = worlds.catalogue()
    if not timestamps:
        source = Catalogue.of(source.interactions.drop("timestamp"), source.items)
    one, other = (worlds.dataset(source, split=split) for source in (source, shuffled(source, 5)))
    assert one.fingerprint == other.fingerprint
    assert one.items.ids.to_list() == other.items.ids.to_list()
    for part in PARTS:
        np.testing.assert_array_equal(one.seen[part].columns, other.seen[part].columns)
    np.testing.assert_array_equal(one.features["text"].matrix, other.features["text"].matrix)


def test_seeds_give_the_same_and_others_something_else() -> None:
    prints = {seed: worlds.dataset(split="random", seed=seed).fingerprint for seed in range(3)}
    assert len(set(prints.values())) == 3
    assert prints == {seed: worlds.dataset(split="random", seed=seed).fingerprint for seed in range(3)}


def without_text(row: str) -> Callable[[], Dataset]:
    source = worlds.catalogue()
    ids = source.items["item_id"].to_list()
    return lambda: worlds.dataset(source, {"text": worlds.features(ids, missing=("i3", row))}, split="random")


def edited(expression: pl.Expr) -> Callable[[], Dataset]:
    rows = worlds.interactions().with_columns(expression)
    return lambda: worlds.dataset(worlds.catalogue(rows), split="random")


def renamed() -> Dataset:
    def change(table: pl.DataFrame) -> pl.DataFrame:
        return table.with_columns(pl.col("item_id").replace({"i7": "i7b"}))

    source = worlds.catalogue()
    return worlds.dataset(Catalogue.of(change(source.interactions), change(source.items)), split="random")


def with_other_names() -> Dataset:
    source = worlds.catalogue()
    return worlds.dataset(
        source, {"words": worlds.features(source.items["item_id"].to_list(), missing=("i3",))}, split="random"
    )


LOWEST = pl.when(pl.col("rating") == 3).then(1.0).otherwise(pl.col("rating")).alias("rating")
CHANGES: dict[str, Callable[[], Dataset]] = {
    "other split": lambda: worlds.dataset(split="latest"),
    "other positive": lambda: worlds.dataset(split="random", positive=3),
    "other dislike": lambda: worlds.dataset(split="random", dislike=1),
    "thinner": lambda: worlds.dataset(split="random", thin=0.9),
    "one item lacks its text": without_text("i9"),
    "no features": lambda: worlds.dataset(modalities={}, split="random"),
    "an item of another name": renamed,
    "features of another name": with_other_names,
    "a new dislike": edited(LOWEST),
    "one row less": lambda: worlds.dataset(worlds.catalogue(worlds.interactions()[1:]), split="random"),
    "reversed in time": edited(-pl.col("timestamp")),
}


FEATURES_ALONE = {"one item lacks its text", "no features", "features of another name"}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_matters_changes_the_fingerprint(change: str) -> None:
    one, other = worlds.dataset(split="random"), CHANGES[change]()
    assert one.fingerprint != other.fingerprint
    assert (one.split_fingerprint == other.split_fingerprint) == (change in FEATURES_ALONE)


def test_what_was_withheld_is_part_of_the_split() -> None:
    """Another item in a withheld row, and all else as it was."""
    rows = worlds.interactions().sort("user_id", "item_id")
    one = worlds.dataset(worlds.catalogue(rows), split="user-time", thin=0.5)
    withheld = pairs(one, one.withheld)
    ids = sorted(f"i{item}" for item in range(25))
    keys = list(zip(rows["user_id"], rows["item_id"], strict=True))
    # The row keeps its place among the sorted ones, so that the shuffles do not notice.
    place, name = next(
        (place, name)
        for place, (user, item) in enumerate(keys[:-1])
        for name in ids
        if (user, item) in withheld and keys[place + 1][0] == user and item < name < keys[place + 1][1]
    )
    changed = rows.with_columns(item_id=pl.Series([*rows["item_id"][:place], name, *rows["item_id"][place + 1 :]]))
    other = worlds.dataset(worlds.catalogue(changed), split="user-time", thin=0.5)
    assert pairs(other, other.withheld) == withheld - {keys[place]} | {(keys[place][0], name)}
    for part in PARTS:
        np.testing.assert_array_equal(one.seen[part].columns, other.seen[part].columns)
    assert one.split_fingerprint != other.split_fingerprint


def test_without_features_it_is_the_same_split_and_another_input() -> None:
    data = worlds.dataset(split="random", thin=0.5)
    bare = data.seen_by(features=False, knowledge=False)
    assert bare.split_fingerprint == data.split_fingerprint
    assert bare.fingerprint != data.fingerprint
    assert bare.fingerprint == worlds.dataset(modalities={}, split="random", thin=0.5).fingerprint
    assert bare.inputs().features == {}
    assert bare.seen_by(features=False, knowledge=False) is bare
    assert list(data.features) == ["text"], "the data set itself stays as it is"
    for part in PARTS:
        assert bare.seen[part] is data.seen[part]


def test_titles_and_the_catalogues_name_do_not_change_the_fingerprint() -> None:
    rows = worlds.catalogue()
    other = Catalogue.of(rows.interactions, rows.items.with_columns(title=pl.lit("?")), name="else")
    assert worlds.dataset(other, split="random").fingerprint == worlds.dataset(rows, split="random").fingerprint


@given(st.integers(0, 50))
def test_features_follow_their_items_through_the_permutation(seed: int) -> None:
    data = worlds.dataset(split="random", seed=seed)
    text = data.features["text"]
    assert text.ids == tuple(data.items.ids)
    for row, name in enumerate(data.items.ids):
        assert text.present[row] == (name != "i3")
        expected = worlds.row_of(name) if name != "i3" else np.zeros(text.width)
        np.testing.assert_array_equal(text.matrix[row], expected)


def test_numbers_are_places_in_the_source() -> None:
    data = worlds.dataset(split="random")
    met, items = data.catalogue.interactions, data.catalogue.items["item_id"].to_list()
    first_users = list(dict.fromkeys(met["user_id"]))
    expected: dict[Order, tuple[list[str], list[str]]] = {
        "ids": ([f"u{user}" for user in range(30)], [f"i{item}" for item in range(25)]),
        "items": (first_users, items),
        "interactions": (first_users, list(dict.fromkeys([*met["item_id"], *items]))),
    }
    assert len({tuple(order) for _, order in expected.values()}) == 3
    for order, (users, goods) in expected.items():
        numbers = data.numbers(order)
        assert [users[number] for number in numbers.user] == data.users.ids.to_list()
        assert [goods[number] for number in numbers.item] == data.items.ids.to_list()
    assert data.inputs().numbers is not None
    np.testing.assert_array_equal(data.inputs().numbers().item, data.numbers("ids").item)  # type: ignore[misc]


def test_items_that_nobody_met_have_their_place_after_the_others() -> None:
    rows = worlds.interactions(items=20)
    data = worlds.dataset(worlds.catalogue(rows, items=25), split="random")
    place = dict(zip(data.items.ids, data.numbers("interactions").item.tolist(), strict=True))
    unmet = [item for item in data.catalogue.items["item_id"] if item not in set(rows["item_id"])]
    assert [place[item] for item in unmet] == list(range(25 - len(unmet), 25))


def test_items_without_interactions_stay_candidates() -> None:
    rows = worlds.interactions(items=20)
    data = worlds.dataset(worlds.catalogue(rows, items=25), split="random")
    assert len(data.items) == 25
    assert data.seen["train"].width == 25


# What a data set tells of itself


def test_time_warns_of_few_warm_users_and_the_others_do_not() -> None:
    data = worlds.dataset(split="time")
    warm = int(((data.positives["test"].lengths > 0) & (data.positives["train"].lengths > 0)).sum())
    assert f"WARNING: {warm} warm test users are few; figures will be noisy (try split=user-time)" in data.notes
    assert not any("WARNING" in note for note in worlds.dataset(split="user-time").notes)


def test_notes_tell_parts_and_missing_modalities() -> None:
    data = worlds.dataset(split="random")
    sizes = ", ".join(f"{part} {data.seen[part].size}" for part in PARTS)
    liked = ", ".join(f"{part} {data.positives[part].size}" for part in PARTS)
    assert liked != sizes
    low = int((data.catalogue.interactions["rating"] <= 2).sum())
    said = f"{sizes} interactions, {low} of them dislikes (rated 2 or less); positive=4.0"
    first = f"split random: {said}: {liked} positives"
    assert data.notes == (first, "text: 1 of 25 items lack it")
    every = worlds.dataset(split="random", positive="all")
    assert every.notes[0] == f"split random: {sizes} interactions; positive=all"
    alone = worlds.dataset(worlds.catalogue(worlds.interactions(most=2)), split="random", positive="all")
    assert "the test part is empty" in alone.notes


def test_loading_from_a_folder_is_making_in_memory(tmp_path: Path) -> None:
    folder = worlds.stored(tmp_path / "catalogue")
    made: dict[str, Features] = {
        "text": worlds.features(worlds.catalogue().items["item_id"].to_list(), missing=("i3",)),
        "image": worlds.features(worlds.catalogue().items["item_id"].to_list(), "image", 4),
    }
    settings = worlds.dataset(split="random").settings
    assert Dataset.load(folder, settings).fingerprint == worlds.dataset(modalities=made, split="random").fingerprint
    assert list(Dataset.load(folder, settings).features) == ["image", "text"]
    assert list(Dataset.load(folder, settings, ["text"]).features) == ["text"]
    with pytest.raises(ConfigError, match="did you mean 'image'"):
        Dataset.load(folder, settings, ["imagee"])


def test_describe_counts() -> None:
    data = worlds.dataset(split="random")
    facts = data.describe()
    assert (facts["users"], facts["items"]) == (30, 25)
    assert facts["train_interactions"] == data.seen["train"].size
    assert facts["test_positives"] == data.positives["test"].size
    assert facts["features"] == {"text": pytest.approx(24 / 25)}
