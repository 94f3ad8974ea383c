"""The feature store and the cache of rows: what is written is what is read, in the items' order, or nothing is."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from palate.core.errors import ArtefactError, ConfigError, DataError
from palate.encode.features import Features
from palate.encode.store import FeatureStore, RowCache


def example(name: str = "text", items: int = 5) -> Features:
    matrix = np.arange(items * 3, dtype=np.float32).reshape(items, 3) + 1
    present = np.ones(items, dtype=np.bool_)
    matrix[1], present[1] = 0, False
    return Features(name, matrix, present, "tester 1", tuple(f"i{row}" for row in range(items)))


def test_saved_features_come_back_memory_mapped_and_equal(tmp_path: Path) -> None:
    features = example()
    store = FeatureStore(tmp_path)
    assert store.save(features) == tmp_path / "features" / "text"
    found = store.load("text", features.ids)
    assert isinstance(found.matrix, np.memmap)
    assert np.array_equal(found.matrix, features.matrix)
    assert np.array_equal(found.present, features.present)
    assert (found.encoder, found.fingerprint, found.ids) == ("tester 1", features.fingerprint, features.ids)
    assert store.names() == ["text"]


def test_rows_follow_the_items_when_their_order_or_number_differs(tmp_path: Path) -> None:
    features = example()
    FeatureStore(tmp_path).save(features)
    found = FeatureStore(tmp_path).load("text", ["i4", "i1", "i0"])
    assert found.ids == ("i4", "i1", "i0")
    assert found.present.tolist() == [True, False, True]
    assert np.array_equal(found.matrix, features.matrix[[4, 1, 0]])
    assert found.fingerprint == features.take(np.array([4, 1, 0])).fingerprint


def test_names_of_columns_are_kept_with_the_rows(tmp_path: Path) -> None:
    store, named = FeatureStore(tmp_path), dataclasses.replace(example(), columns=("c", "a", "b"))
    assert named.fingerprint == example().fingerprint
    store.save(named)
    assert store.load("text", named.ids).columns == ("c", "a", "b")
    assert store.load("text", ["i4", "i0"]).columns == ("c", "a", "b")
    store.save(example())
    assert store.load("text", named.ids).columns == ()
    for wrong in (("a", "b"), ("a", "b", "b"), ("a", "b", "c", "c")):
        with pytest.raises(DataError, match=f"3 columns but {len(wrong)} names"):
            dataclasses.replace(example(), columns=wrong)


def test_items_without_a_row_are_refused_by_name_and_number(tmp_path: Path) -> None:
    FeatureStore(tmp_path).save(example())
    with pytest.raises(DataError, match=r"5 rows, but none for 2 of the 4 items: item 'x', 'y'"):
        FeatureStore(tmp_path).load("text", ["i0", "x", "i1", "y"])


def test_saving_again_replaces_and_what_was_loaded_stays_readable(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.save(example())
    old = store.load("text", example().ids)
    shorter = example(items=3)
    store.save(shorter)
    assert store.load("text", shorter.ids).fingerprint == shorter.fingerprint
    assert np.array_equal(old.matrix, example().matrix)
    assert [path.name for path in (tmp_path / "features").iterdir()] == ["text"]


def test_an_unknown_modality_names_the_nearest(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    with pytest.raises(ConfigError, match="nothing is encoded yet"):
        store.load("text", [])
    store.save(example("text"))
    store.save(example("image"))
    with pytest.raises(ConfigError, match=r"did you mean 'image'\?[^?]*stored modalities: image, text"):
        store.load("imag", [])


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    FeatureStore(tmp_path / "inner").save(example())
    with pytest.raises(ConfigError, match="cannot name a modality"):
        FeatureStore(tmp_path / "inner" / "features").load("../text", [])


@pytest.mark.parametrize("file", ["matrix.npy", "present.npy", "ids.parquet"])
def test_a_changed_file_is_noticed(tmp_path: Path, file: str) -> None:
    folder = FeatureStore(tmp_path).save(example())
    damaged = bytearray((folder / file).read_bytes())
    damaged[-1] ^= 1
    (folder / file).write_bytes(damaged)
    with pytest.raises(ArtefactError, match="not the one that was written"):
        FeatureStore(tmp_path).load("text", example().ids)


def digests(*texts: str) -> list[bytes]:
    return [hashlib.sha256(text.encode()).digest() for text in texts]


def fetched(cache: RowCache, *texts: str) -> tuple[list[bool], NDArray[np.float32]]:
    into = np.full((len(texts), 2), -1, dtype=np.float32)
    found = cache.fetch(digests(*texts), np.arange(len(texts)), into)
    return found.tolist(), into


def test_cached_rows_are_found_by_content_over_several_files(tmp_path: Path) -> None:
    cache = RowCache(tmp_path, "tester 1")
    assert fetched(cache, "a") == ([False], pytest.approx(np.full((1, 2), -1)))
    cache.append(digests("a", "b"), np.array([[1, 2], [3, 4]], dtype=np.float32))
    cache.append(digests("c"), np.array([[5, 6]], dtype=np.float32))
    found, rows = fetched(RowCache(tmp_path, "tester 1"), "c", "x", "a")
    assert found == [True, False, True]
    assert rows.tolist() == [[5, 6], [-1, -1], [1, 2]]


def test_each_encoder_has_a_cache_of_its_own(tmp_path: Path) -> None:
    RowCache(tmp_path, "tester 1").append(digests("a"), np.ones((1, 2), dtype=np.float32))
    assert fetched(RowCache(tmp_path, "tester 2"), "a")[0] == [False]
    assert fetched(RowCache(tmp_path, "tester 1"), "a")[0] == [True]


def test_the_row_that_was_there_first_counts(tmp_path: Path) -> None:
    first, second = RowCache(tmp_path, "tester"), RowCache(tmp_path, "tester")
    first.append(digests("a"), np.array([[1, 1]], dtype=np.float32))
    second.append(digests("a", "b"), np.array([[2, 2], [3, 3]], dtype=np.float32))
    assert fetched(first, "a", "b")[1].tolist() == [[1, 1], [3, 3]]


@pytest.mark.parametrize("damage", ["cut", "flip", "foreign"])
def test_a_damaged_file_is_removed_with_a_note_and_the_others_stay(tmp_path: Path, damage: str) -> None:
    cache = RowCache(tmp_path, "tester")
    cache.append(digests("a"), np.array([[1, 1]], dtype=np.float32))
    (victim,) = cache.folder.glob("rows-*")
    cache.append(digests("b"), np.array([[2, 2]], dtype=np.float32))
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes({"cut": content[:-5], "flip": content, "foreign": b"a letter to a friend"}[damage])
    found, rows = fetched(cache, "a", "b")
    assert found == [False, True]
    assert rows[1].tolist() == [2, 2]
    assert [victim.name in note for note in cache.notes] == [True]
    assert not victim.exists()


def test_rows_of_another_width_are_not_used(tmp_path: Path) -> None:
    cache = RowCache(tmp_path, "tester")
    cache.append(digests("a"), np.ones((1, 3), dtype=np.float32))
    assert fetched(cache, "a")[0] == [False]
    assert "width should be 2" in cache.notes[0]


def test_a_cache_that_cannot_be_written_says_where_to_put_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArtefactError, match="PALATE_CACHE"):
        RowCache(tmp_path / "file", "tester").append(digests("a"), np.ones((1, 2), dtype=np.float32))


def test_the_default_place_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "elsewhere"))
    RowCache(None, "tester").append(digests("a"), np.ones((1, 2), dtype=np.float32))
    assert list((tmp_path / "elsewhere").rglob("rows-*.safetensors"))
