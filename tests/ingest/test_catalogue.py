"""A catalogue comes back from its folder as it was, and anything else that is there is refused."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from palate.core.artefact import read_manifest
from palate.core.errors import ArtefactError, DataError
from palate.ingest.catalogue import INTERACTION_TYPES, Catalogue

INTERACTIONS = pl.DataFrame(
    {"user_id": ["b", "a", "b"], "item_id": ["y", "x", "x"], "rating": [4.0, 2.0, None], "timestamp": [3, 2, 1]}
)
ITEMS = pl.DataFrame({"item_id": ["x", "y", "z"], "title": ["Ex", None, "Zed"], "year": [1990, None, 2000]})
KNOWLEDGE = pl.DataFrame({"head": ["e"], "relation": ["r"], "tail": ["f"]})
ENTITIES = pl.DataFrame({"item_id": ["x"], "entity": ["e"]})


def whole() -> Catalogue:
    return Catalogue.of(INTERACTIONS, ITEMS, KNOWLEDGE, ENTITIES, name="toy", media_root="pictures")


def test_stored_and_loaded_it_is_the_same_in_source_order(tmp_path: Path) -> None:
    stored = whole().save(tmp_path / "cat")
    loaded = Catalogue.load(tmp_path / "cat")
    assert stored.folder == loaded.folder == tmp_path / "cat"
    assert (loaded.name, loaded.media_root, loaded.media_folder) == ("toy", "pictures", Path("pictures"))
    assert loaded.tables.keys() == whole().tables.keys()
    for name, frame in whole().tables.items():
        assert frame.equals(loaded.tables[name])
        assert frame.schema == loaded.tables[name].schema
    assert loaded.interactions["user_id"].to_list() == ["b", "a", "b"]
    assert loaded.fingerprint == whole().fingerprint
    assert read_manifest(tmp_path / "cat", "catalogue", 1)["fingerprint"] == loaded.fingerprint


def test_without_items_they_are_those_of_the_interactions_by_first_appearance(tmp_path: Path) -> None:
    catalogue = Catalogue.of(INTERACTIONS)
    assert catalogue.items["item_id"].to_list() == ["y", "x"]
    assert list(catalogue.interactions.schema) == list(INTERACTION_TYPES)
    catalogue.save(tmp_path / "cat")
    loaded = Catalogue.load(tmp_path / "cat")
    assert (loaded.knowledge, loaded.item_entities, loaded.media_folder) == (None, None, tmp_path / "cat")


def test_the_fingerprint_sees_every_change_of_content_and_no_other(tmp_path: Path) -> None:
    original = whole()
    same = Catalogue.of(
        pl.concat([INTERACTIONS[:1], INTERACTIONS[1:]], rechunk=False), ITEMS, KNOWLEDGE, ENTITIES, name="other"
    )
    assert same.save(tmp_path / "x").fingerprint == original.fingerprint
    changed = [
        Catalogue.of(INTERACTIONS[::-1], ITEMS, KNOWLEDGE, ENTITIES),
        Catalogue.of(INTERACTIONS.with_columns(rating=pl.lit(4.0)), ITEMS, KNOWLEDGE, ENTITIES),
        Catalogue.of(INTERACTIONS.with_columns(pl.col("rating").fill_null(0.0)), ITEMS, KNOWLEDGE, ENTITIES),
        Catalogue.of(INTERACTIONS, ITEMS.with_columns(pl.col("title").fill_null("")), KNOWLEDGE, ENTITIES),
        Catalogue.of(INTERACTIONS, ITEMS.rename({"year": "age"}), KNOWLEDGE, ENTITIES),
        Catalogue.of(INTERACTIONS, ITEMS, KNOWLEDGE),
        # The same letters, cut elsewhere: between columns, and between rows.
        Catalogue.of(INTERACTIONS, ITEMS, KNOWLEDGE.with_columns(head=pl.lit("er"), relation=pl.lit("")), ENTITIES),
        Catalogue.of(INTERACTIONS, ITEMS.with_columns(title=pl.Series(["E", None, "xZed"])), KNOWLEDGE, ENTITIES),
    ]
    fingerprints = {catalogue.fingerprint for catalogue in [original, *changed]}
    assert len(fingerprints) == len(changed) + 1


def test_a_catalogue_is_replaced_only_on_request_and_nothing_else_ever(tmp_path: Path) -> None:
    folder = tmp_path / "cat"
    whole().save(folder)
    with pytest.raises(ArtefactError, match="exists already"):
        whole().save(folder)
    Catalogue.of(INTERACTIONS).save(folder, replace=True)
    assert Catalogue.load(folder).knowledge is None

    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "letter.txt").write_text("dear")
    with pytest.raises(ArtefactError, match="no catalogue"):
        whole().save(precious, replace=True)
    assert (precious / "letter.txt").read_text() == "dear"


def test_an_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    whole().save(tmp_path / "cat")
    assert Catalogue.load(tmp_path / "cat").fingerprint == whole().fingerprint


def test_files_that_are_stored_beside_the_tables_later_do_no_harm(tmp_path: Path) -> None:
    whole().save(tmp_path / "cat")
    (tmp_path / "cat" / "features").mkdir()
    (tmp_path / "cat" / "features" / "text.npy").write_bytes(b"numbers")
    assert Catalogue.load(tmp_path / "cat").fingerprint == whole().fingerprint


def test_a_changed_or_missing_table_is_refused(tmp_path: Path) -> None:
    whole().save(tmp_path / "cat")
    table = tmp_path / "cat" / "items.parquet"
    data = bytearray(table.read_bytes())
    data[len(data) // 2] ^= 1
    table.write_bytes(bytes(data))
    with pytest.raises(ArtefactError, match="not the one that was written"):
        Catalogue.load(tmp_path / "cat")
    table.unlink()
    with pytest.raises(ArtefactError, match="missing"):
        Catalogue.load(tmp_path / "cat")
    with pytest.raises(ArtefactError, match="no catalogue folder"):
        Catalogue.load(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("interactions", "items", "what"),
    [
        (INTERACTIONS.drop("user_id"), ITEMS, "no column user_id"),
        (INTERACTIONS.with_columns(user_id=pl.lit(None, pl.String)), ITEMS, "empty cells"),
        (INTERACTIONS.with_columns(rating=pl.lit("good")), ITEMS, "another type"),
        (pl.concat([INTERACTIONS, INTERACTIONS]), ITEMS, "pair occurs twice"),
        (INTERACTIONS, ITEMS[:1], "not in the items"),
        (INTERACTIONS, pl.concat([ITEMS, ITEMS]), "an item id occurs twice"),
    ],
)
def test_frames_that_break_a_promise_of_the_catalogue_are_refused(
    interactions: pl.DataFrame, items: pl.DataFrame, what: str
) -> None:
    with pytest.raises(DataError, match=what):
        Catalogue.of(interactions, items)


def test_tables_of_another_shape_are_refused_by_the_catalogue_itself() -> None:
    with pytest.raises(DataError, match="no column rating"):
        Catalogue(INTERACTIONS.drop("rating"), ITEMS)


def test_media_come_with_the_catalogue_or_not_at_all(tmp_path: Path) -> None:
    def draw(folder: Path) -> None:
        (folder / "media").mkdir()
        (folder / "media" / "x.png").write_bytes(b"a picture")

    def fail(folder: Path) -> None:
        draw(folder)
        assert not (tmp_path / "cat").exists()
        raise OSError("the disk is full")

    with pytest.raises(ArtefactError, match="the disk is full"):
        whole().save(tmp_path / "cat", media=fail)
    assert list(tmp_path.iterdir()) == []

    whole().save(tmp_path / "cat", media=draw)
    assert (tmp_path / "cat" / "media" / "x.png").read_bytes() == b"a picture"
    (tmp_path / "cat" / "media" / "x.png").write_bytes(b"damaged")
    assert Catalogue.load(tmp_path / "cat").fingerprint == whole().fingerprint
