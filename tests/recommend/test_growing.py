"""New items in a bundle: placed as `Bundle.place` says, with everything else as it was."""

from __future__ import annotations

import dataclasses
from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import worlds
from palate.core.errors import ConfigError, DataError
from palate.encode.features import Features
from palate.encode.store import FeatureStore
from palate.ingest.catalogue import Catalogue
from palate.recommend.bundle import Bundle
from palate.recommend.bundling import bundle_of
from palate.recommend.forgetting import without
from palate.recommend.forms import Vectors
from palate.recommend.growing import grow, grow_from
from palate.recommend.refresh import refresh
from recommend import trained

NEW = ("new-1", "new-2", "bare")
VECTORS = [name for name in trained.NAMES if trained.bundle(name).facts.form == "vectors"]


def table(*ids: str) -> pl.DataFrame:
    return pl.DataFrame({"item_id": ids, "title": [f"about {item}" for item in ids], "price": [3.5] * len(ids)})


def content(ids: tuple[str, ...] = NEW, bare: tuple[str, ...] = ("bare",)) -> dict[str, Features]:
    """Of these items; `bare` ones have none."""
    return {
        "image": worlds.features(ids, "image", width=4, missing=bare),
        "text": worlds.features(ids, "text", missing=bare),
    }


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("keep", ["float16", "none"])
def test_new_items_are_where_their_content_places_them_and_the_rest_is_as_it_was(
    name: str, keep: str, tmp_path: Path
) -> None:
    before = trained.bundle(name, keep=keep, new_items="regression")
    found = grow(before, table(*NEW), content())
    assert (found.added, found.left_out, found.notes) == (2, ("bare",), ())
    found.bundle.save(tmp_path / "bundle")
    made = Bundle.load(tmp_path / "bundle")
    known = len(before.items)
    assert made.items.ids.to_list() == [*before.items.ids, "new-1", "new-2"]
    assert made.facts.placed == before.facts.placed + 2
    users = trained.everyone()
    np.testing.assert_array_equal(made.scores(users)[:, :known], before.scores(users))
    placed = before.place({key: value.take(np.arange(2)) for key, value in content().items()})
    np.testing.assert_allclose(made.scores(users)[:, known:], before.scores_of_placed(placed, users), atol=1e-5)
    for key, kept in made.features.items():
        np.testing.assert_array_equal(kept.matrix[:known], before.features[key].matrix)
        np.testing.assert_allclose(np.linalg.norm(kept.matrix[known:], axis=1), 1, atol=1e-3)
    # What the catalogue says of them is known in the columns that there were.
    assert made.table["item_id"].to_list() == made.items.ids.to_list()
    assert made.table.columns == before.table.columns
    assert made.table["title"][-1] == "about new-2"
    # A history of old items says what it said.
    liked = before.items.ids[:3].to_list()
    np.testing.assert_allclose(made.fold_in(liked).scores[:, :known], before.fold_in(liked).scores, atol=1e-5)


def test_they_are_recommended_met_placed_among_and_forgotten() -> None:
    made = grow(trained.bundle("bm3"), table(*NEW), content()).bundle
    events = pl.DataFrame({"user_id": ["u1", "somebody"], "item_id": ["new-1", "new-2"], "rating": [5.0, 5.0]})
    done = refresh(made, events)
    assert (done.changed, done.added, done.unknown) == (1, 1, ())
    row = made.items.row("new-1")
    assert row in done.bundle.seen[done.bundle.users.row("u1")]
    lists, _ = done.bundle.recommend(np.arange(len(done.bundle.users)), k=len(done.bundle.items))
    assert row in lists
    assert row not in lists[done.bundle.users.row("u1")]
    again = grow(done.bundle, table("later"), content(("later",))).bundle
    assert len(again.items) == len(made.items) + 1
    left = without(again, [], ["new-1"])
    assert "new-1" not in left.items.ids.to_list()
    assert isinstance(left.form, Vectors)
    assert isinstance(again.form, Vectors)
    assert torch.equal(left.form.item[-1], again.form.item[-1])


@pytest.mark.parametrize("name", ["popularity", "ease", "contentknn"])
def test_models_without_a_place_for_them_say_so(name: str) -> None:
    with pytest.raises(ConfigError, match="takes no new items in") as caught:
        grow(trained.bundle(name), table(*NEW), content())
    assert "train again" in caught.value.do


def test_what_is_known_of_new_items_stands_beside_the_old() -> None:
    bundle = trained.bundle("bm3")
    known = bundle.table.select("item_id").with_columns(
        price=pl.lit(10),
        year=pl.lit(1990),
        day=pl.lit(date(2024, 5, 1)),
        added=pl.lit(datetime(2024, 5, 1)).dt.replace_time_zone("Europe/Berlin"),
        tags=pl.concat_list(pl.lit("old")),
    )
    bundle = dataclasses.replace(bundle, table=known)
    # As another import has them, which found other types.
    new = pl.DataFrame(
        {
            "item_id": NEW[:2],
            "price": [9.95, None],
            "year": [2003.0, 2004.0],
            "day": ["2024-05-20", "soon"],
            "added": ["2024-05-20T12:00+02:00", None],
            "tags": [7, 8],
            "hue": "red",
        }
    )
    table = grow(bundle, new, content(NEW[:2])).bundle.table
    assert table.columns == known.columns
    assert table["price"].to_list()[-3:] == [10.0, 9.95, None]
    assert table.drop("price").schema == known.drop("price").schema
    assert table["year"].to_list()[-2:] == [2003, 2004]
    assert table["day"].to_list()[-2:] == [date(2024, 5, 20), None]
    assert table["added"].dt.convert_time_zone("UTC").dt.hour().to_list()[-2:] == [10, None]


@pytest.mark.parametrize("name", ["ease", "bpr"])
def test_a_catalogue_without_new_items_changes_nothing(name: str, tmp_path: Path) -> None:
    bundle = trained.bundle(name)
    done = grow_from(bundle, worlds.stored(tmp_path / "same", trained.data().catalogue))
    assert done.bundle is bundle
    assert str(done) == "0 new items placed by their content"


def test_a_bundle_that_kept_its_neighbours_or_no_content_says_so() -> None:
    for way, why in (("content", "by their neighbours among those"), ("none", "exported without their content")):
        with pytest.raises(ConfigError, match=why) as caught:
            grow(trained.bundle("freedom", new_items=way), table(*NEW), content())
        assert "--new-items regression" in caught.value.do


def test_features_of_another_encoder_are_refused_and_shifted_categories_said() -> None:
    bundle = trained.bundle("bm3")
    other = {**content(), "text": dataclasses.replace(content()["text"], encoder="another network", fingerprint="")}
    with pytest.raises(DataError, match="'text' were made by another encoder"):
        grow(bundle, table(*NEW), other)
    assert bundle.content is not None
    old, new = (f"categories 1 multihot columns=4 vocabulary={end}" for end in ("aa", "bb"))
    image = dataclasses.replace(content()["image"], encoder=new, fingerprint="")
    regression = bundle.content
    like = dict(regression.modalities)
    like["image"] = dataclasses.replace(like["image"], encoder=old)
    facts = bundle.facts.override(
        {"features": {**bundle.facts.model_dump()["features"], "image": {"width": 4, "encoder": old}}}
    )
    kept = {**bundle.features, "image": dataclasses.replace(bundle.features["image"], encoder=old, fingerprint="")}
    moved = type(regression)(
        like,
        regression.centre,
        regression.weight,
        regression.bias,
        regression.explained,  # pyright: ignore
    )
    shifted = dataclasses.replace(bundle, content=moved, facts=facts, features=kept)
    found = grow(shifted, table(*NEW), {**content(), "image": image})
    assert found.added == 2
    # Where both know their names, columns go back to their places, and new ones are left out.
    names, order = ("a", "b", "c", "d"), [3, 0, 2, 1]
    named = dataclasses.replace(shifted, facts=facts.override({"columns": {"image": names}}))
    rows = content()["image"].matrix
    extra = image.present[:, None].astype(np.float32)
    turned = np.concatenate([rows[:, order], extra], axis=1)
    again = Features(
        "image", turned, image.present, new.replace("=4", "=5"), NEW, columns=(*(names[at] for at in order), "e")
    )
    placed = grow(named, table(*NEW), {**content(), "image": again})
    as_before = Features("image", rows, image.present, old, NEW)
    expected = grow(named, table(*NEW), {**content(), "image": as_before})
    assert placed.notes == ("features 'image' have other columns than then: 4 of 5 are known",)
    assert isinstance(placed.bundle.form, Vectors)
    assert isinstance(expected.bundle.form, Vectors)
    torch.testing.assert_close(placed.bundle.form.item, expected.bundle.form.item)
    assert not torch.allclose(placed.bundle.form.item[-2:], found.bundle.form.item[-2:])  # pyright: ignore
    assert found.notes == ("features 'image' have other columns than then, and say nothing of the new items",)
    assert isinstance(found.bundle.form, Vectors)
    assert not found.bundle.features["image"].present[-2:].any()


def test_a_catalogue_gives_the_items_that_are_not_known(tmp_path: Path) -> None:
    bundle = trained.bundle("bm3")
    known = bundle.items.ids.to_list()
    items = pl.concat([pl.DataFrame({"item_id": known[:5]}), table(*NEW)], how="diagonal")
    rows = pl.DataFrame({"user_id": ["u1"] * 3, "item_id": list(NEW)})
    Catalogue.of(rows, items, name="grown").save(tmp_path / "grown")
    store = FeatureStore(tmp_path / "grown")
    for features in content((*known[:5], *NEW)).values():
        store.save(features)
    store.save(worlds.features([*known[:5], *NEW], "sound"))
    found = grow_from(bundle, tmp_path / "grown")
    assert (found.added, found.left_out) == (2, ("bare",))
    assert "2 new items placed by their content" in str(found)
    assert "left out: 1 new items without content that could place them: item 'bare'" in str(found)
    assert "encode" not in str(found)
    Catalogue.of(rows, items, name="grown").save(tmp_path / "raw")
    raw = grow_from(bundle, tmp_path / "raw")
    assert raw.added == 0
    assert f"the catalogue has no {', '.join(raw.lacking)}: palate encode it first" in str(raw)
    assert set(raw.lacking) == set(bundle.content.modalities)
    again = grow_from(found.bundle, tmp_path / "grown")
    assert (again.added, len(again.bundle.items)) == (0, len(found.bundle.items))


def test_a_bundle_knows_what_the_columns_of_categories_stand_for(tmp_path: Path) -> None:
    dataset, names = trained.data(), ("a", "b", "c", "d")
    content = {**dataset.features, "image": dataclasses.replace(dataset.features["image"], columns=names)}
    model = trained.model("bm3")
    made = bundle_of("bm3", model, model.scorer(), dataset, content=content)
    made.save(tmp_path / "bundle")
    assert Bundle.load(tmp_path / "bundle").facts.columns == {"image": names}
