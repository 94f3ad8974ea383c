"""Splits and labels that follow from the data where none are asked for, and data and settings that are refused."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import worlds
from dataset.pairs import PARTS, pairs, pairs_where
from palate.core.errors import ConfigError, DataError
from palate.dataset.labels import labels, marks, resolve, run_far
from palate.dataset.settings import SplitConfig
from palate.ingest.catalogue import Catalogue


def rated(least: float, greatest: float) -> Catalogue:
    rows = worlds.interactions()
    scale = least + (rows["rating"] - 1) / 4 * (greatest - least)
    return worlds.catalogue(rows.with_columns(rating=scale))


def test_defaults_of_the_split_follow_the_data() -> None:
    rows = worlds.interactions()
    assert worlds.dataset().settings.split == "user-time"
    assert worlds.dataset(worlds.catalogue(rows.drop("timestamp"))).settings.split == "random"
    parts = pl.Series((["train"] * 6 + ["valid", "test"]) * rows.height)[: rows.height]
    data = worlds.dataset(worlds.catalogue(rows.with_columns(split=parts)))
    assert data.settings.split == "given"
    for part in PARTS:
        assert pairs(data, data.seen[part]) == pairs_where(data, pl.col("split") == part)


def test_without_ratings_everything_is_positive_and_nothing_disliked() -> None:
    data = worlds.dataset(worlds.catalogue(worlds.interactions(ratings=False)))
    assert (data.settings.positive, data.settings.dislike, data.dislikes) == ("all", None, None)
    assert data.positives["train"].size == data.seen["train"].size


@pytest.mark.parametrize(
    ("scale", "settings", "expected"),
    [
        ((1, 5), {}, (4, 2)),
        ((0.5, 5), {}, (4, 2)),
        ((1, 5), {"positive": 4}, (4, 2)),
        ((1, 5), {"positive": 5}, (5, 2)),
        ((1, 5), {"positive": 2}, (2, None)),
        ((1, 5), {"dislike": 1}, (4, 1)),
        ((1, 5), {"positive": "all"}, ("all", None)),
        ((1, 10), {"positive": 8}, (8, None)),
        ((1, 10), {"positive": 8, "dislike": 3}, (8, 3)),
        ((1, 10), {"positive": "all"}, ("all", None)),
        ((0, 1), {"positive": 1}, (1, None)),
    ],
)
def test_thresholds_by_scale(
    scale: tuple[float, float], settings: dict[str, Any], expected: tuple[float | str, float | None]
) -> None:
    data = worlds.dataset(rated(*scale), **settings)
    assert (data.settings.positive, data.settings.dislike) == expected
    assert (data.dislikes is None) == (expected[1] is None)


@pytest.mark.parametrize("scale", [(1, 10), (0, 1), (-5, 5), (1, 3)])
def test_other_scales_must_say_what_a_positive_is(scale: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=f"ratings run from {scale[0]} to {scale[1]}") as caught:
        worlds.dataset(rated(*scale))
    assert "positive" in caught.value.do


@pytest.mark.parametrize("settings", [{"positive": 3}, {"dislike": 2}])
def test_thresholds_without_ratings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no ratings"):
        worlds.dataset(worlds.catalogue(worlds.interactions(ratings=False)), **settings)


@pytest.mark.parametrize("dislike", [4, 5])
def test_a_dislike_is_below_a_positive(dislike: float) -> None:
    with pytest.raises(ConfigError, match="must be below"):
        worlds.dataset(positive=4, dislike=dislike)


def test_where_everything_is_a_positive_nothing_is_a_dislike() -> None:
    """CRMMAN would be told that users dislike what they like."""
    with pytest.raises(ConfigError, match="rated 2 or less is a positive too"):
        worlds.dataset(positive="all", dislike=2)
    assert worlds.dataset(positive="all").dislikes is None


def test_nothing_positive_to_train_on_is_said() -> None:
    with pytest.raises(DataError, match="no positive interaction"):
        worlds.dataset(positive=6)


def test_partly_missing_timestamps_are_refused() -> None:
    rows = worlds.interactions()
    some = rows.with_columns(timestamp=pl.when(pl.col("timestamp") > 40).then(None).otherwise(pl.col("timestamp")))
    with pytest.raises(DataError, match="have no timestamp"):
        worlds.dataset(worlds.catalogue(some))


@pytest.mark.parametrize("wrong", [None, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("positive", [None, 4, "all"])
def test_ratings_that_are_missing_or_not_finite_are_refused(wrong: float | None, positive: float | str | None) -> None:
    first = pl.int_range(pl.len()) < 3
    rows = worlds.interactions().with_columns(rating=pl.when(first).then(wrong).otherwise(pl.col("rating")))
    with pytest.raises(DataError, match="3 interactions have no rating, or one that is not finite"):
        worlds.dataset(worlds.catalogue(rows), positive=positive)


def test_a_catalogue_without_interactions_is_refused() -> None:
    empty = worlds.catalogue(worlds.interactions().clear())
    with pytest.raises(DataError, match="no interactions") as caught:
        worlds.dataset(empty)
    assert caught.value.where == "world"


@pytest.mark.parametrize("order", ["reversed", "by id", "fewer", "of others"])
def test_features_whose_rows_are_not_the_items_in_order_are_refused(order: str) -> None:
    source = worlds.catalogue()
    ids = source.items["item_id"].to_list()
    wrong = {"reversed": ids[::-1], "by id": sorted(ids), "fewer": ids[:-1], "of others": [*ids[:-1], "i99"]}[order]
    fine = worlds.features(ids, "image")
    with pytest.raises(DataError, match="features 'text' are not the catalogue's items") as caught:
        worlds.dataset(source, {"image": fine, "text": worlds.features(wrong)})
    assert "FeatureStore" in caught.value.do


@pytest.mark.parametrize("split", ["user-time", "time", "latest"])
def test_splits_by_time_need_timestamps(split: str) -> None:
    with pytest.raises(DataError, match="needs timestamps"):
        worlds.dataset(worlds.catalogue(worlds.interactions().drop("timestamp")), split=split)


def test_given_needs_a_split_column_of_known_parts() -> None:
    with pytest.raises(DataError, match="needs a split column"):
        worlds.dataset(split="given")
    odd = worlds.interactions().with_columns(split=pl.lit("holdout"))
    with pytest.raises(DataError, match="holds 'holdout'"):
        worlds.dataset(worlds.catalogue(odd), split="given")


def test_repeated_pairs_are_refused_with_an_example() -> None:
    source = worlds.catalogue()
    twice = Catalogue(pl.concat([source.interactions, source.interactions[4:5]]), source.items)
    with pytest.raises(DataError, match="1 user–item pairs occur more than once") as caught:
        worlds.dataset(twice)
    assert source.interactions["item_id"][4] in caught.value.where


def test_unknown_settings_and_values_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'thin'"):
        worlds.dataset(thinn=0.5)
    wrong: list[dict[str, Any]] = [{"split": "last"}, {"thin": 0}, {"thin": 1.5}, {"cold_share": 1}, {"seed": -1}]
    for settings in wrong:
        with pytest.raises(ConfigError, match=next(iter(settings))):
            worlds.dataset(**settings)


@pytest.mark.parametrize(
    ("ratings", "advised"),
    [
        ([0.0, 0.2, 0.8, 1.0], "--positive 0.8"),
        ([10.0, 20.0, 90.0, 100.0], "--positive 90"),
        ([3.0] * 4, "--positive all"),
        ([1.0, 3.0, 5.0, 7760.0], "--positive all, or --positive 5 (50% of the ratings)"),
        ([0.1 + 0.2, 0.3, 0.3, 0.3], "--positive 0.30000000000000004"),
    ],
)
def test_what_is_advised_of_a_scale_leaves_positives(ratings: list[float], advised: str) -> None:
    table = pl.DataFrame({"user_id": list("aabb"), "item_id": list("xyxy"), "rating": ratings}).with_columns(
        timestamp=pl.lit(None, pl.Int64), event=pl.lit(None, pl.String), split=pl.lit(None, pl.String)
    )
    with pytest.raises(ConfigError) as caught:
        resolve(SplitConfig(), table)
    assert f"say it: {advised}" in caught.value.do
    word = advised.replace(",", "").split()[1]
    said = SplitConfig(positive="all" if word == "all" else float(word))
    assert labels(resolve(said, table), table)[0].any()


def test_counts_are_told_from_scales_by_how_far_they_run() -> None:
    assert run_far({1.0: 60, 30.0: 39, 7760.0: 1})
    assert not run_far({1.0: 60, 30.0: 40})
    assert not run_far({float(percent): 1 for percent in range(101)})
    assert not run_far({-200.0: 1, 0.0: 5, 200.0: 1})


def rows_rated(ratings: dict[float, int]) -> pl.DataFrame:
    """A log with each rating as often as said, by users of four ratings."""
    given = [rating for rating, count in ratings.items() for _ in range(count)]
    users, items = ([f"{kind}{number}" for number in range(len(given))] for kind in "ui")
    rows = {"user_id": [users[number // 4] for number in range(len(given))], "item_id": items, "rating": given}
    return worlds.catalogue(pl.DataFrame(rows, strict=False), items=len(given)).interactions


GOODREADS = {0.0: 30, 1.0: 2, 2.0: 4, 3.0: 14, 4.0: 25, 5.0: 25}


def test_a_zero_below_whole_stars_is_no_dislike_without_a_word() -> None:
    """On Goodreads and Food.com it says "not rated"; CRMMAN would learn that these users dislike what they read."""
    table = rows_rated(GOODREADS)
    with pytest.raises(ConfigError, match=r"run from 0 to 5; .*: 0 \(30% of them\) may say 'not rated'") as caught:
        resolve(SplitConfig(), table)
    assert "say it: --positive 4 (50% of the ratings), or --positive all" in caught.value.do
    assert "unless --dislike says so" in caught.value.do
    liked, disliked = labels(resolve(SplitConfig(positive=4), table), table)
    assert (int(liked.sum()), disliked) == (50, None)
    _, disliked = labels(resolve(SplitConfig(positive=4, dislike=2), table), table)
    assert disliked is not None, "where somebody says that 0 is a rating"
    assert int(disliked.sum()) == 36


@pytest.mark.parametrize(
    ("ratings", "dislikes"),
    [
        ({1.0: 1, 3.0: 1, 5.0: 2}, 1),
        ({0.5: 1, 3.0: 1, 4.5: 2}, 1),
        ({0.0: 1, 0.5: 1, 1.0: 1, 4.5: 2}, 3),
        ({0.0: 1, 0.13: 1, 4.9: 2}, 2),
    ],
)
def test_a_scale_that_goes_down_to_its_zero_has_the_usual_thresholds(ratings: dict[float, int], dislikes: int) -> None:
    table = rows_rated(ratings)
    settings = resolve(SplitConfig(), table)
    _, disliked = labels(settings, table)
    assert (settings.positive, settings.dislike) == (4, 2)
    assert disliked is not None
    assert int(disliked.sum()) == dislikes


def test_half_stars_that_stop_at_one_leave_the_zero_in_doubt() -> None:
    with pytest.raises(ConfigError, match="may say 'not rated'"):
        resolve(SplitConfig(), rows_rated({0.0: 3, 1.0: 1, 1.5: 1, 4.5: 2, 5.0: 3}))


def test_where_positives_have_a_threshold_and_dislikes_none_the_notes_say_so() -> None:
    assert " interactions, none of them a dislike; positive=8.0" in worlds.dataset(rated(1, 10), positive=8).notes[0]
    assert "dislike" not in worlds.dataset(positive="all").notes[0]


@pytest.mark.parametrize(
    ("ratings", "apart", "advised"),
    [
        ({0.0: 716, 1.0: 20, 5.0: 51, 6.0: 37, 7.0: 76, 8.0: 104, 9.0: 67, 10.0: 79}, (0,), "--positive 8"),
        ({-1.0: 20, 1.0: 1, 5.0: 5, 6.0: 9, 7.0: 18, 8.0: 21, 9.0: 16, 10.0: 12}, (-1,), "--positive 8"),
        ({-1.0: 5, 0.0: 9, 1.0: 2, 4.0: 3, 5.0: 3}, (-1, 0), "--positive 4"),
        ({-1.0: 5, 0.0: 2, 1.0: 9}, (), "--positive 1"),
        ({0.0: 3, 1.0: 2, 5.0: 2, 9.0: 1}, (), "--positive 5"),
        ({-5.0: 3, -1.0: 9, 0.0: 2, 6.0: 9}, (), "--positive 0"),
        ({0.0: 900, 1.0: 80, 2.0: 9, 7760.0: 1}, (), "--positive all"),
    ],
)
def test_a_mark_among_ratings_is_set_apart_before_anything_is_advised(
    ratings: dict[float, int], apart: tuple[float, ...], advised: str
) -> None:
    """Book-Crossing's 0 says "implicit", and −1 among anime "watched": half of all rows would be from 1."""
    assert marks(ratings) == apart
    with pytest.raises(ConfigError) as caught:
        resolve(SplitConfig(), rows_rated(ratings))
    assert f"say it: {advised}" in caught.value.do
    assert ("may say 'not rated'" in caught.value.what) == bool(apart)
