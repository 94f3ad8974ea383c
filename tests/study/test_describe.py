"""`data describe`: figures of data built by hand, advice that follows from them, a page that holds no more."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import worlds
from palate.core.errors import ArtefactError, MissingDependency
from palate.encode.store import FeatureStore
from palate.ingest.catalogue import Catalogue
from palate.study.describe import Description, describe, gini, head_share
from palate.study.describe_page import page, write_page

DAY = 86_400
COUNTS = st.lists(st.integers(0, 50), min_size=1)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Users a and b, items x, y, z and w; w met nobody, x has both rows and half of the content."""
    rows = pl.DataFrame(
        {
            "user_id": ["a", "a", "b"],
            "item_id": ["x", "y", "x"],
            "rating": [5.0, 2.0, 4.0],
            "timestamp": [400 * DAY, 401 * DAY + 5, 500 * DAY],
            "event": ["buy", "view", "buy"],
        }
    )
    items = pl.DataFrame(
        {
            "item_id": ["w", "x", "y", "z"],
            "title": ["W", "X", None, None],
            "description": [None, "long", "words", None],
            "genres": [None, "A|B", None, " "],
            "image": [None, "x.png", None, None],
        }
    )
    knowledge = pl.DataFrame({"head": ["e1", "e2"], "relation": ["r", "r"], "tail": ["e3", "e3"]})
    entities = pl.DataFrame({"item_id": ["x", "y"], "entity": ["e1", "e2"]})
    Catalogue.of(rows, items, knowledge, entities, name="corner shop").save(tmp_path / "shop")
    FeatureStore(tmp_path / "shop").save(worlds.features(["w", "x", "y", "z"], "text", missing=["w", "z"]))
    FeatureStore(tmp_path / "shop").save(worlds.features(["w", "x", "y", "z"], "smell", missing=["w"]))
    return tmp_path / "shop"


def log(folder: Path, pairs: list[tuple[str, str]], **columns: list[str] | list[int] | list[float]) -> Description:
    frame = pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row")
    more = [pl.Series(name, values) for name, values in columns.items()]
    Catalogue.of(frame.with_columns(more)).save(folder)
    return describe(folder)


def test_the_figures_are_those_of_the_data(shop: Path) -> None:
    found = describe(shop)
    assert (found.users, found.items, found.interactions, found.cold_items) == (2, 4, 3, 2)
    assert found.density == 3 / 8
    assert found.user_activity.counts.tolist() == [2, 1]
    assert found.item_activity.counts.tolist() == [2, 1, 0, 0]
    assert found.item_activity.mean == 0.75
    assert found.ratings == {2.0: 1, 4.0: 1, 5.0: 1}
    assert found.days == ("1971-02-05", "1971-05-16")
    assert found.events == {"buy": 2, "view": 1}
    assert found.splits == {}
    assert found.core == (0, 0, 0)
    assert found.head_share == 2 / 3
    assert found.knowledge is not None
    assert (found.knowledge.linked, found.knowledge.neighbours) == (2, (1, 1, 1, 1, 1))


def test_coverage_counts_content_and_features_apart(shop: Path) -> None:
    parts = {part.modality: part for part in describe(shop).coverage}
    text = parts["text"]
    assert text.content == {"title": 2, "genres": 1, "description": 2}
    assert (text.any_content, text.encoded) == (3, 2)
    assert (parts["image"].any_content, parts["image"].encoded) == (1, None)
    assert (parts["knowledge"].any_content, parts["knowledge"].encoded) == (2, None)
    assert (parts["smell"].content, parts["smell"].encoded) == ({}, 3)
    assert "audio" not in parts


def test_it_says_how_many_items_lack_what(shop: Path, tmp_path: Path) -> None:
    found = describe(shop)
    assert found.complete == 1, "x alone has all of it"
    line = "items without: text 1, categories 3, image 3, knowledge 2; 1 (25.0%) have every kind of content"
    assert line in found.text()
    assert line in page(found)
    assert found.as_dict()["complete"] == 1
    items = pl.DataFrame({"item_id": ["x", "y"], "title": ["X", "Y"]})
    rows = pl.DataFrame({"user_id": ["a"], "item_id": ["x"]})
    Catalogue.of(rows, items).save(tmp_path / "whole")
    assert "no item lacks any of it" in describe(tmp_path / "whole").text()
    assert log(tmp_path / "bare", [("a", "x")]).lacking_line() == ""


def test_the_screen_and_the_json_say_the_same(shop: Path) -> None:
    found = describe(shop)
    text = found.text()
    for part in ("corner shop: 2 users, 4 items (2 that nobody met)", "density 37.5000%", "1971-02-05 to 1971-05-16"):
        assert part in text
    assert max(map(len, text.replace(str(shop), "CAT").splitlines())) < 160
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert plain["core"] == {"interactions": 0, "users": 0, "items": 0}
    assert plain["item_activity"]["most"] == 2
    assert [part["encoded"] for part in plain["coverage"] if part["modality"] == "text"] == [2]


def test_the_advice_follows_from_what_is_there(shop: Path) -> None:
    advice = "\n".join(describe(shop).advice)
    assert "split: user-time" in advice
    assert "positives: ratings from 4 (67% of them; the default); dislikes: ratings up to 2 (1)" in advice
    assert "image: mostly missing (25%" in advice
    assert "text: items with content but no features: 1;" in advice
    assert f"palate encode {shop} --modality categories --modality image --modality knowledge" in advice
    assert "nobody met 50% of them" in advice


def test_paths_without_their_file_are_told_from_content(shop: Path) -> None:
    assert {part.modality: part.lost for part in describe(shop).coverage}["image"] == 1
    found = describe(shop)
    assert "1 of these paths leads to no file" in found.text()
    assert "image: paths that lead to no file: 1;" in "\n".join(found.advice)
    (shop / "x.png").write_bytes(b"any")
    mended = describe(shop)
    assert [part.lost for part in mended.coverage] == [0] * len(mended.coverage)
    assert "no file" not in mended.text()


def test_counts_that_run_far_are_advised_by_value_and_not_by_bin(tmp_path: Path) -> None:
    """Forty counts of 1 to 40, and one of 7,760: all others are in the first bin of ten."""
    pairs = [(f"u{row % 5}", f"i{row}") for row in range(41)]
    found = log(tmp_path / "plays", pairs, rating=[*(float(count) for count in range(1, 41)), 7760.0])
    assert list(found.ratings.values()) == [40, *[0] * 8, 1]
    assert "--positive all, or --positive 18 (59% of the ratings); ratings run to 7,760" in found.advice[1]
    evenly = log(tmp_path / "percent", pairs, rating=[float(2 * percent) for percent in range(41)])
    assert "for example --positive 34 (59% of the ratings); ratings run to 80" in evenly.advice[1]


def test_a_mark_among_the_ratings_is_set_apart_and_said(tmp_path: Path) -> None:
    pairs = [("u", f"i{row}") for row in range(10)]
    found = log(tmp_path / "books", pairs, rating=[0.0] * 4 + [4.0] * 2 + [5.0] * 3 + [1.0])
    assert "for example --positive 4 (50% of the ratings);" in found.advice[1]
    assert "0 (40% of them) may say 'not rated'; no dislikes unless" in found.advice[1]


def test_data_that_say_less_get_other_advice(tmp_path: Path) -> None:
    pairs = [(f"u{user}", f"i{item}") for user in range(6) for item in range(6)]
    found = log(tmp_path / "plain", pairs)
    assert found.advice == (
        "split: random; there are no times, so nothing better can be had (the default)",
        "positives: every interaction, as there are no ratings (the default)",
        "k-core: none is needed; all users and items have 5 interactions at least",
        "content: none, so only models that learn from interactions alone apply",
    )
    assert (found.gini, found.head_share, found.core) == (0.0, 1 / 6, (36, 6, 6))
    found = log(tmp_path / "given", pairs, split=["train", "valid", "test"] * 12, rating=[10.0, 3.0] * 18)
    assert found.advice[0].startswith("split: given")
    assert "--positive 10 (50% of the ratings);" in found.advice[1]
    assert found.splits == {"test": 12, "train": 12, "valid": 12}


def test_a_core_that_loses_most_is_not_advised(tmp_path: Path) -> None:
    lonely = [(f"v{user}", f"j{user}") for user in range(100)]
    pairs = [(f"u{user}", f"i{item}") for user in range(5) for item in range(5)]
    found = log(tmp_path / "c", [*lonely, *pairs])
    assert found.core == (25, 5, 5)
    assert "better none: a 5-core keeps 20%" in "\n".join(found.advice)


def test_many_different_ratings_come_in_bins(tmp_path: Path) -> None:
    ratings = np.linspace(0, 100, 40)
    found = log(tmp_path / "c", [("u", f"i{item}") for item in range(40)], rating=ratings.tolist())
    assert found.rating_bins == 10
    assert list(found.ratings.values()) == [4] * 10
    assert found.rating_label(20.0) == "20 to 30"


@pytest.mark.parametrize("times", [[0, 5], [1_600_000_000_000, 1_600_000_000_001]])
def test_times_that_are_no_seconds_have_no_days(tmp_path: Path, times: list[int]) -> None:
    found = log(tmp_path / "c", [("a", "x"), ("b", "x")], timestamp=times)
    assert found.days is None
    assert "an order, but no seconds" in found.text()


def test_times_of_days_promise_no_latest_interaction(tmp_path: Path) -> None:
    """Two of a's five share a day, b's one and only is nobody's twin: 2 of 6, and 0 of 6 without."""
    pairs = [("a", f"i{row}") for row in range(5)] + [("b", "i0")]
    found = log(
        tmp_path / "days", pairs, timestamp=[400 * DAY, 400 * DAY, *(day * DAY for day in (401, 402, 403, 400))]
    )
    assert found.tied == 2 / 6
    said = "33% of the interactions share their time with another of the same user, and their order is drawn at random"
    assert f"times: {said}" in found.text()
    assert said in found.advice[0]
    assert "latest" not in found.advice[0]
    found = log(tmp_path / "seconds", pairs, timestamp=[400 * DAY + row for row in range(6)])
    assert found.tied == 0
    assert "each user's latest interactions are held out" in found.advice[0]


def test_features_that_do_not_fit_are_a_note_and_not_counted(shop: Path) -> None:
    FeatureStore(shop).save(worlds.features(["x"], "text"))
    (shop / "features" / "smell" / "matrix.npy").write_bytes(b"")
    found = describe(shop)
    assert {part.modality: part.encoded for part in found.coverage}["text"] is None
    assert [note.split(" are ")[0] for note in found.notes] == ["features 'smell'", "features 'text'"]
    assert "note: features 'text'" in found.text()


def test_what_is_no_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError):
        describe(tmp_path)


@given(COUNTS)
def test_gini_is_the_mean_difference_of_all_pairs(counts: list[int]) -> None:
    values = np.array(counts)
    total = values.sum()
    expected = np.abs(values[:, None] - values[None, :]).sum() / (2 * len(values) * total) if total else 0.0
    assert gini(values) == pytest.approx(expected, abs=1e-12)


@given(COUNTS)
def test_the_head_has_at_least_its_share(counts: list[int]) -> None:
    share = head_share(np.array(counts))
    assert share == 0 if sum(counts) == 0 else 0.1 <= share <= 1


def test_the_page_stands_alone_in_light_and_dark(shop: Path, tmp_path: Path) -> None:
    write_page(describe(shop), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text == page(describe(shop))
    assert "prefers-color-scheme: dark" in text
    drawings = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(drawings) == 5
    for drawing in drawings:
        assert len(list(ElementTree.fromstring(drawing).iter())) > 20
        # Every colour is the page's, so that the dark page has no dark ink.
        assert not re.search(r"#[0-9a-fA-F]{6}\b", drawing)
        assert "var(--bar)" in drawing
    assert not re.search(r"<(img|image|script|link|iframe)\b|\bsrc=|url\(http", text)
    assert "x.png" not in text


def test_names_in_the_page_are_text(tmp_path: Path) -> None:
    rows = pl.DataFrame({"user_id": ["a"], "item_id": ["x"]})
    Catalogue.of(rows, name="<script>alert(1)</script>").save(tmp_path / "c")
    text = page(describe(tmp_path / "c"))
    assert "<script" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_its_packages_the_page_names_the_extra(
    shop: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    found = describe(shop)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match=package) as caught:
        page(found)
    assert "palate[report]" in str(caught.value)
