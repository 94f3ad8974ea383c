"""The synthetic world: what is planted can be found again, what is not planted cannot, and its files are real."""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ingest.sources.reading_back import decode, hear
from palate.core.errors import ArtefactError, ConfigError
from palate.dataset.dataset import Dataset
from palate.dataset.settings import SplitConfig
from palate.ingest.catalogue import Catalogue
from palate.ingest.sources import SOURCES, words
from palate.ingest.sources.factors import FACTORS, SyntheticConfig
from palate.ingest.sources.synthetic import INVERSES, make_synthetic, plan, tables, world_features
from palate.ingest.sources.world import World

MODALITIES = ("image", "text", "audio", "knowledge")
SMALL: dict[str, Any] = {"users": 12, "items": 40, "interactions": 6, "picture_size": 32, "seconds": 0.25}


def small(**values: Any) -> SyntheticConfig:
    return SyntheticConfig.parse(SMALL | values)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def held_out(world: World) -> NDArray[np.bool_]:
    """The last fifth of each user's interactions, which are stored in order of time."""
    visits = world.visits
    order = np.argsort(visits.user, kind="stable")
    users = visits.user[order]
    rank = np.arange(len(users)) - np.searchsorted(users, users)
    late = np.empty(len(users), dtype=np.bool_)
    late[order] = rank >= 0.8 * np.bincount(users)[users]
    return late


def found_again(world: World, modality: str) -> float:
    """How often a held-out like lies nearer to the user's earlier likes than a random item does; 0.5 is chance."""
    rows, visits, liked = world_features(world)[modality], world.visits, world.rating >= 4
    late = held_out(world)
    profiles = np.zeros((world.config.users, rows.shape[1]))
    np.add.at(profiles, visits.user[liked & ~late], rows[visits.item[liked & ~late]] - rows.mean(axis=0))
    user, item = visits.user[liked & late], visits.item[liked & late]
    others = np.random.default_rng(0).integers(0, world.config.items, (50, len(user)))
    score = np.einsum("nd,nd->n", profiles[user], rows[item])
    against = np.einsum("nd,knd->kn", profiles[user], rows[others])
    return float(((score > against) + 0.5 * (score == against)).mean())


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_world(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_synthetic(tmp_path / name, small(seed=seed, missing={"image": 0.25}), quiet=True)
    first, again, other = (digests(tmp_path / name) for name in "abc")
    assert first == again
    shared = first.keys() & other.keys()
    assert len(shared) > 40
    # Knowledge nodes keep their names; every table and every drawing is another one.
    assert all(first[name] != other[name] for name in shared if not name.endswith("item_entities.parquet"))


def test_the_files_are_those_that_the_items_name_and_are_real(tmp_path: Path) -> None:
    catalogue = make_synthetic(tmp_path / "cat", small(items=1100, missing={"image": 0.5, "audio": 0.9}), quiet=True)
    stored = Catalogue.load(tmp_path / "cat")
    assert stored.fingerprint == catalogue.fingerprint
    assert stored.media_folder == tmp_path / "cat"
    named = set(stored.items["image"].drop_nulls()) | set(stored.items["audio"].drop_nulls())
    assert len(named) == 550 + 110
    assert {name for name in digests(tmp_path / "cat") if name.startswith("media/")} == named
    assert {path.split("/")[2] for path in named} == {"000", "001"}
    for item, image, audio in stored.items.select("item_id", "image", "audio").iter_rows():
        if image is not None and item < "i0060":
            assert Path(image).stem == item
            assert decode((tmp_path / "cat" / image).read_bytes()).shape == (32, 32, 3)
        if audio is not None:
            assert Path(audio).stem == item
            samples = hear((tmp_path / "cat" / audio).read_bytes())
            assert len(samples) == 2000
            assert np.abs(samples.astype(np.int64)).max() > 1000


def test_what_is_there_is_replaced_only_on_request(tmp_path: Path) -> None:
    make_synthetic(tmp_path / "cat", small(), quiet=True)
    with pytest.raises(ArtefactError, match="exists already"):
        make_synthetic(tmp_path / "cat", small(), quiet=True)
    make_synthetic(tmp_path / "cat", small(media=("audio",), seed=1), replace=True, quiet=True)
    assert not (tmp_path / "cat" / "media" / "pictures").exists()
    assert len(list((tmp_path / "cat" / "media" / "sounds").rglob("*.wav"))) == 40
    assert Catalogue.load(tmp_path / "cat").items["image"].null_count() == 40


def test_it_is_a_source_by_name() -> None:
    assert SOURCES["synthetic"] is make_synthetic


def test_descriptions_name_what_pictures_show_and_only_on_request() -> None:
    named = plan(small(items=400, missing={"text": 0.1}))
    silent = plan(small(items=400, words_name_pictures=False))
    for item, text in enumerate(tables(named).items["description"]):
        assert (text is None) == (not named.present["text"][item])
        if text is not None:
            sleeve = text.replace("crosses", "cross").split(".")[0]
            for each, value in zip(FACTORS["image"], named.factors["image"][item], strict=True):
                assert re.search(rf"\b{each.values[value]}s?\b", sleeve)
                # And no other value of the same factor.
                assert sum(bool(re.search(rf"\b{word}s?\b", sleeve)) for word in each.values) == 1
    goods = tables(silent).items
    written = set(re.findall(r"[a-z]+", " ".join([*goods["title"], *goods["description"]]).lower()))
    shown = {word for each in FACTORS["image"] for word in each.values}
    assert not (shown | {f"{word}s" for word in shown}) & written
    assert goods["title"].n_unique() == 400


def test_words_of_one_topic_or_mood_belong_to_no_other() -> None:
    for several in (words.TOPICS, words.MOODS, words.OCCASIONS):
        flat = [word for group in several.values() for word in group]
        assert len(set(flat)) == len(flat)
    assert all(len(group) == 10 for group in words.TOPICS.values())


def test_people_have_different_names() -> None:
    names = list(words.people(5000))
    assert len(set(names)) == 5000
    assert names[:1200] == [name for name in names[:1200] if name.count(" ") == 1]


@pytest.mark.parametrize("modality", MODALITIES)
def test_taste_that_depends_on_one_modality_is_found_in_it_and_in_no_other(modality: str) -> None:
    for seed in range(3):
        world = plan(SyntheticConfig(users=300, items=400, interactions=20, taste={modality: 1.0}, seed=seed))
        found = {name: found_again(world, name) for name in MODALITIES}
        assert found[modality] > 0.8
        assert all(abs(found[name] - 0.5) < 0.12 for name in MODALITIES if name != modality)


def test_a_larger_share_of_taste_is_found_better_and_chance_is_found_nowhere() -> None:
    def found(taste: dict[str, float]) -> float:
        return found_again(plan(SyntheticConfig(users=300, items=400, interactions=20, taste=taste)), "image")

    chance, third, most = (
        found({"chance": 1}),
        found({"image": 0.3, "chance": 0.7}),
        found({"image": 0.9, "chance": 0.1}),
    )
    assert abs(chance - 0.5) < 0.1
    assert chance + 0.1 < third < most - 0.1


def test_the_modalities_tell_nothing_about_each_other() -> None:
    rows = world_features(plan(SyntheticConfig(items=5000, users=10, interactions=5)))
    for first in MODALITIES:
        for second in MODALITIES:
            if first < second:
                both = np.corrcoef(rows[first].T, rows[second].T)[: rows[first].shape[1], rows[first].shape[1] :]
                assert np.abs(both).max() < 0.07


def test_utility_is_the_weighted_sum_of_what_is_planted() -> None:
    taste = {"image": 4.0, "text": 2.0, "audio": 1.0, "knowledge": 2.0, "popularity": 1.0}
    world = plan(SyntheticConfig(users=40, items=300, interactions=15, taste=taste))
    rows, visits = world_features(world), world.visits
    assert sum(world.config.shares.values()) == pytest.approx(1.0)
    parts = {name: rows[name] @ world.tastes[name].T for name in MODALITIES}
    for part in parts.values():
        assert part.mean(axis=0) == pytest.approx(np.zeros(40), abs=1e-5)
        assert part.var(axis=0).mean() == pytest.approx(1.0, abs=0.1)
    total = np.sqrt(0.1) * world.popularity[visits.item]
    for name, weight in taste.items():
        if name in parts:
            total += np.sqrt(weight / 10) * parts[name][visits.item, visits.user]
    assert visits.utility == pytest.approx(total, abs=1e-4)
    # People choose what they want: far above the mean, which is zero.
    assert visits.utility.mean() > 1.0


def test_ratings_follow_utility_and_both_likes_and_dislikes_are_common() -> None:
    world = plan(SyntheticConfig(users=200, items=300))
    cuts = [world.visits.utility[world.rating == rating] for rating in range(1, 6)]
    assert all(lower.max() <= upper.min() for lower, upper in pairwise(cuts))
    assert (world.rating >= 4).mean() == pytest.approx(0.6, abs=0.01)
    assert (world.rating <= 2).mean() == pytest.approx(0.2, abs=0.01)


def test_the_share_of_popularity_decides_how_long_the_tail_is() -> None:
    def counts(share: float, items: int) -> tuple[NDArray[np.int64], World]:
        taste = {"popularity": share, "chance": 1 - share}
        world = plan(SyntheticConfig(users=400, items=items, interactions=20, taste=taste))
        return np.bincount(world.visits.item, minlength=items), world

    # The larger world is one where people look at a sample of the items.
    for items in (400, 5000):
        heads: list[float] = []
        for share in (0.0, 0.2, 0.6):
            often, world = counts(share, items)
            heads.append(float(np.sort(often)[::-1][: items // 10].sum() / often.sum()))
            assert share == 0 or np.corrcoef(np.sqrt(often), world.popularity)[0, 1] > 0.5
        assert heads[0] < heads[1] - 0.1 < heads[2] - 0.2


@given(share=st.floats(0, 1), items=st.integers(20, 60))
@settings(max_examples=25, deadline=None)
def test_missing_shares_are_exact(share: float, items: int) -> None:
    config = SyntheticConfig(users=3, items=items, interactions=3, missing={"text": share, "knowledge": share})
    catalogue = tables(plan(config))
    gone = round(share * items)
    nulls = catalogue.items.null_count().row(0, named=True)
    assert (nulls["title"], nulls["description"]) == (gone, gone)
    assert (nulls["styles"], nulls["publisher"]) == (gone, gone)
    assert catalogue.item_entities is not None
    assert catalogue.item_entities.height == items - gone
    assert catalogue.knowledge is not None
    heads = catalogue.knowledge["head"]
    assert heads.filter(heads.str.starts_with("record:")).n_unique() == items - gone


def test_knowledge_has_inverses_and_says_what_was_planted() -> None:
    world = plan(small(items=200))
    catalogue = tables(world)
    triples = catalogue.knowledge
    assert triples is not None
    assert not triples.is_duplicated().any()
    for relation, inverse in INVERSES.items():
        there = triples.filter(pl.col("relation") == relation).select("head", "tail")
        back = triples.filter(pl.col("relation") == inverse).select(head="tail", tail="head")
        assert there.height > 0
        assert there.sort("head", "tail").equals(back.sort("head", "tail"))
    assert set(triples["relation"]) - set(INVERSES) - set(INVERSES.values()) == {"composed_by", "has_style", "kind_of"}
    # From a record to its performer, and on to the town where the performer comes from.
    steps = {relation: frame for (relation,), frame in triples.group_by("relation")}
    walked = steps["performed_by"].join(steps["comes_from"], left_on="tail", right_on="head").sort("head")
    towns = FACTORS["knowledge"][1].values
    assert walked["tail_right"].to_list() == [f"town:{towns[town]}" for town in world.factors["knowledge"][:, 1]]


def test_new_items_appear_late_or_never_and_nothing_is_chosen_before_its_release() -> None:
    world = plan(SyntheticConfig(users=500, items=500, new_items=0.2))
    visits = world.visits
    late = visits.timestamp.min() + 0.8 * np.ptp(visits.timestamp)
    new = world.released > visits.timestamp.min()
    assert new.sum() == 100
    assert world.released[new].min() > late - 86_400 * 30
    assert (visits.timestamp >= world.released[visits.item]).all()
    often = np.bincount(visits.item, minlength=500)
    assert 0 < (often[new] == 0).sum() < 100
    assert often[new].sum() > 200
    assert (often[~new] > 0).all()


def test_each_user_moves_on_in_time_and_activity_has_a_long_tail() -> None:
    world = plan(SyntheticConfig(users=800, items=400, interactions=20))
    visits = world.visits
    assert (np.diff(visits.timestamp) >= 0).all()
    order = np.argsort(visits.user, kind="stable")
    same = np.diff(visits.user[order]) == 0
    assert (np.diff(visits.timestamp[order])[same] > 0).all()
    activity = np.bincount(visits.user, minlength=800)
    assert activity.mean() == pytest.approx(20, abs=0.1)
    assert activity.min() >= 5
    assert activity.max() > 4 * np.median(activity)


def test_changing_tastes_leaves_the_items_as_they_are() -> None:
    one, other = plan(small(taste={"image": 1.0})), plan(small(taste={"text": 1.0}))
    assert tables(one).items.equals(tables(other).items)
    assert not np.array_equal(one.visits.item, other.visits.item)


def test_a_data_set_is_made_of_it() -> None:
    catalogue = tables(plan(SyntheticConfig(users=60, items=100, interactions=15)))
    data = Dataset.make(catalogue, SplitConfig(split="user-time"))
    assert (len(data.users), len(data.items)) == (60, 100)
    assert data.settings.positive == 4
    assert data.dislikes is not None
    assert data.dislikes.size > 0
    assert all(rows.size > 0 for rows in data.positives.values())


def test_a_large_world_is_planned_in_blocks() -> None:
    world = plan(SyntheticConfig(users=2000, items=20_000, interactions=12, media=False))
    assert len(world.visits.user) == 24_000
    catalogue = tables(world)
    assert catalogue.items.height == 20_000
    assert not catalogue.interactions.select("user_id", "item_id").is_duplicated().any()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"taste": {"imagee": 1.0}}, "did you mean 'image'"),
        ({"taste": {"image": -1.0}}, "must not be negative"),
        ({"taste": {"image": 0.0}}, "at least one positive weight"),
        ({"missing": {"popularity": 0.1}}, "valid: image, text, audio, knowledge"),
        ({"missing": {"text": 1.5}}, "a share, at most 1"),
        ({"items": 40, "interactions": 11}, "at most 10 with 40 items"),
        ({"media": ["video"]}, "media"),
        ({"user": 5}, "did you mean 'users'"),
    ],
)
def test_a_world_that_cannot_be_is_explained(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        SyntheticConfig.parse(values)
