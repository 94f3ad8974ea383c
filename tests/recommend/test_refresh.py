"""New interactions: users who did something are folded in anew from all that they did, and nobody else changes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from palate.core.errors import DataError
from palate.recommend.bundle import Bundle
from palate.recommend.refresh import refresh
from recommend import trained


def events(*rows: tuple[str, str, float], timestamps: list[int] | None = None) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "rating"], orient="row")
    return frame if timestamps is None else frame.with_columns(timestamp=pl.Series(timestamps))


def ids(bundle: Bundle, name: str, user: str) -> list[str]:
    items = bundle.items.ids.to_list()
    return [items[item] for item in getattr(bundle, name)[bundle.users.row(user)]]


@pytest.mark.parametrize("name", trained.NAMES)
def test_a_new_user_is_folded_in_and_everybody_else_stays(name: str, tmp_path: Path) -> None:
    bundle = trained.bundle(name)
    done = refresh(bundle, events(("new", "i1", 5.0), ("new", "i2", 4.0), ("new", "i4", 1.0), ("new", "i5", 3.0)))
    assert (done.events, done.changed, done.added, done.unknown) == (4, 0, 1, ())
    done.bundle.save(tmp_path / "bundle")
    found = Bundle.load(tmp_path / "bundle")
    assert np.allclose(found.scores(trained.everyone()), bundle.scores(trained.everyone()), atol=1e-6)
    expected = bundle.fold_in(["i1", "i2", "i4", "i5"], [5, 4, 1, 3]).scores[0]
    assert np.allclose(found.scores(np.array([40]))[0], expected.numpy(), atol=1e-5)
    assert ids(found, "liked", "new") == ["i1", "i2"]
    assert ids(found, "disliked", "new") == ["i4"]
    assert ids(found, "seen", "new") == ["i1", "i2", "i4", "i5"]
    assert found.facts.events == 4


@pytest.mark.parametrize("name", ["bpr", "crmman", "itemknn"])
def test_a_known_user_is_known_by_the_whole_history(name: str) -> None:
    bundle = trained.bundle(name)
    fresh = next(item for item in bundle.items.ids if item not in ids(bundle, "seen", "u3"))
    done = refresh(bundle, events(("u3", fresh, 5.0))).bundle
    row = bundle.users.row("u3")
    assert ids(done, "liked", "u3") == [*ids(bundle, "liked", "u3"), fresh]
    assert sorted(ids(done, "seen", "u3")) == sorted([*ids(bundle, "seen", "u3"), fresh])
    folded = bundle.fold_rows(done.liked.take(np.array([row])), done.disliked.take(np.array([row]))).scores
    assert np.allclose(done.scores(np.array([row])), folded.numpy(), atol=1e-5)
    assert not np.allclose(done.scores(np.array([row])), bundle.scores(np.array([row])))
    others = np.delete(trained.everyone(), row)
    assert np.array_equal(done.scores(others), bundle.scores(others))


def test_refreshing_twice_is_refreshing_once_with_both() -> None:
    bundle = trained.bundle("bpr")
    one, two = ("new", "i1", 5.0), ("new", "i2", 5.0)
    apart = refresh(refresh(bundle, events(one)).bundle, events(two)).bundle
    together = refresh(bundle, events(one, two)).bundle
    assert np.allclose(apart.scores(np.array([40])), together.scores(np.array([40])), atol=1e-6)
    assert apart.facts == together.facts


def test_the_latest_word_on_an_item_counts() -> None:
    bundle = trained.bundle("crmman")
    first = refresh(bundle, events(("new", "i1", 5.0), ("new", "i2", 5.0))).bundle
    turned = refresh(first, events(("new", "i1", 1.0))).bundle
    assert ids(turned, "liked", "new") == ["i2"]
    assert ids(turned, "disliked", "new") == ["i1"]
    assert sorted(ids(turned, "seen", "new")) == ["i1", "i2"]


def test_time_orders_events_whatever_their_order_in_the_file() -> None:
    rows = (("new", "i1", 5.0), ("new", "i2", 5.0), ("new", "i4", 5.0))
    done = refresh(trained.bundle("crmman"), events(*rows, timestamps=[3, 1, 2])).bundle
    assert ids(done, "liked", "new") == ["i2", "i4", "i1"]


def test_events_without_ratings_are_liked() -> None:
    done = refresh(trained.bundle("bpr"), events(("new", "i1", 1.0)).drop("rating")).bundle
    assert ids(done, "liked", "new") == ["i1"]


def test_unknown_items_are_reported_and_left_out() -> None:
    done = refresh(trained.bundle("bpr"), events(("new", "i1", 5.0), ("new", "i99", 5.0), ("u1", "i99", 5.0)))
    assert (done.events, done.unknown, done.left_out) == (1, ("i99",), 2)
    assert "2 events with 1 items that the bundle does not know: item 'i99'" in str(done)
    with pytest.raises(DataError, match="none of the 1 events"):
        refresh(trained.bundle("bpr"), events(("new", "i99", 5.0)))


def test_ratings_of_another_scale_are_taken_and_pointed_out() -> None:
    known = trained.bundle("bpr")
    assert (known.facts.positive, known.facts.rated) == (4.0, (1.0, 5.0))
    # As bundles were before they knew the range.
    older = dataclasses.replace(known, facts=known.facts.override({"rated": None}))

    def notes(bundle: Bundle, *ratings: float) -> str:
        rows = [(f"new{place}", "i1", rating) for place, rating in enumerate(ratings)]
        done = refresh(bundle, events(*rows))
        assert done.added == len(ratings)
        return "\n".join(done.notes)

    share = "2 of 3 ratings, 0.8 to 0.9, lie outside those of the bundle's data: at least 4 is liked; they were 1 to 5"
    assert share in notes(known, 1, 0.8, 0.9)
    assert "2 of 3 ratings, 80 to 100, lie outside" in notes(known, 100, 80, 5)
    assert "1 of 2 ratings, 100 to 100, are far from" in notes(older, 100, 5)
    assert "convert them" in notes(older, *[0.5] * 20)
    assert "none of the 20 ratings is one that counts as liked: at least 4 is liked" in notes(known, *[1, 2, 3, 3] * 5)
    for fine in (known, older):
        assert not notes(fine, 1, 2, 3)
        assert not notes(fine, *[1, 2, 3, 3] * 5, 4)
    done = refresh(known, events(("new", "i1", 100.0)))
    assert str(done).splitlines()[1].startswith("note: 1 of 1 ratings")


def test_ratings_of_some_events_alone_are_refused() -> None:
    mixed = events(("new", "i1", 5.0), ("new", "i2", 5.0)).with_columns(rating=pl.Series([5.0, None]))
    with pytest.raises(DataError, match="some have none"):
        refresh(trained.bundle("bpr"), mixed)
