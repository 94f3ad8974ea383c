"""One call encodes all that a catalogue has; what fails is reported and harms nothing that was stored."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile
from PIL import Image

import worlds
from palate.core.errors import ConfigError, DataError, MissingDependency
from palate.encode.catalogue import encode_all, encode_text, take_precomputed
from palate.encode.store import FeatureStore
from palate.ingest.catalogue import Catalogue

IDS = ["a", "b", "c", "d"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))


def shop(folder: Path, **columns: list[object]) -> Path:
    """A catalogue of four items with these columns, its media in the folder `media` beside it."""
    items = pl.DataFrame({"item_id": IDS, **columns})
    rows = pl.DataFrame({"user_id": ["u"] * 4, "item_id": IDS})
    media = folder / "media"
    media.mkdir(exist_ok=True)
    Catalogue.of(rows, items, media_root=str(media)).save(folder / "shop", replace=True)
    return folder / "shop"


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """Words, categories, sounds and pictures; one picture is words, one sound is missing."""
    at = shop(
        tmp_path,
        title=["A spy", "The sea", None, "A ship"],
        genres=["x|y", "x", "y", None],
        image=["a.png", "b.png", None, "bad.png"],
        audio=["a.wav", None, "gone.wav", None],
    )
    for number, name in enumerate("ab"):
        Image.new("RGB", (30, 40), (200 * number, 90, 10)).save(tmp_path / "media" / f"{name}.png")
    (tmp_path / "media" / "bad.png").write_text("words")
    soundfile.write(tmp_path / "media" / "a.wav", np.sin(np.arange(8000) / 9), 16_000)
    return at


def test_one_call_encodes_all_there_is(full: Path) -> None:
    report = encode_all(full, quiet=True)
    store = FeatureStore(full)
    present = {name: store.load(name, IDS).present.tolist() for name in store.names()}
    assert present == {
        "text": [True, True, True, True],
        "categories": [True, True, True, False],
        "audio": [True, False, False, False],
        "image": [True, True, False, False],
    }
    assert [summary.name for summary in report.summaries] == ["text", "categories", "audio", "image"]
    failed = {summary.name: [item for item, _ in summary.failed] for summary in report.summaries}
    assert failed == {"text": [], "categories": [], "audio": ["c"], "image": ["d"]}
    assert "failed: item 'd': the file is no picture" in str(report)
    assert store.load("categories", IDS).matrix.tolist() == [[1, 1], [1, 0], [0, 1], [0, 0]]


def test_a_second_call_takes_all_from_the_cache(full: Path) -> None:
    first = encode_all(full, quiet=True)
    prints = {name: FeatureStore(full).load(name, IDS).fingerprint for name in FeatureStore(full).names()}
    again = encode_all(full, quiet=True)
    cached = {summary.name: (summary.encoded, summary.cached) for summary in again.summaries}
    # Rows of categories cost less to make than to find.
    assert cached == {"text": (0, 4), "categories": (3, 0), "audio": (0, 1), "image": (0, 2)}
    assert [summary.encoded for summary in first.summaries] == [4, 3, 1, 2]
    assert prints == {name: FeatureStore(full).load(name, IDS).fingerprint for name in FeatureStore(full).names()}


def test_modalities_encoders_columns_and_settings_can_be_chosen(full: Path) -> None:
    assert [summary.name for summary in encode_all(full, ["image", "categories"], quiet=True).summaries] == [
        "image",
        "categories",
    ]
    report = encode_all(full, encoder="logmel", settings={"bands": 8}, quiet=True)
    assert report.summaries[0].name == "audio"
    assert FeatureStore(full).load("audio", IDS).width == 32
    encode_all(full, ["cover"], "efficientnet-lite0", ["image"], {"frame": "centre"}, quiet=True)
    assert "frame=centre" in FeatureStore(full).load("cover", IDS).encoder
    encode_all(full, ["words-used"], "multihot", ["title"], {"separator": " "}, quiet=True)
    assert FeatureStore(full).load("words-used", IDS).present.tolist() == [True, False, False, True]
    one = encode_text(full, "words", "minilm", ["title"], quiet=True)
    assert (one.name, one.absent) == ("words", 1)


def test_settings_for_several_modalities_are_refused(full: Path) -> None:
    for given in ({"encoder": "minilm"}, {"columns": ["title"]}, {"settings": {"pooling": "cls"}}):
        with pytest.raises(ConfigError, match=r"go with one modality, not with 2: text, image"):
            encode_all(full, ["text", "image"], **given, quiet=True)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="not with 4"):
        encode_all(full, settings={"pooling": "cls"}, quiet=True)
    assert FeatureStore(full).names() == []


def test_unknown_names_are_refused_before_any_work(full: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown modality 'imag'; did you mean 'image'\?"):
        encode_all(full, ["text", "imag"], quiet=True)
    with pytest.raises(ConfigError, match=r"did you mean 'minilm'\?"):
        encode_all(full, encoder="minilmm", quiet=True)
    assert FeatureStore(full).names() == []


def test_a_catalogue_without_content_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no content to encode; looked for text, categories, knowledge, audio, image"):
        encode_all(shop(tmp_path), quiet=True)


def test_a_missing_extra_skips_its_modality_unless_it_was_asked_for(
    full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec

    def find_others(name: str) -> ModuleSpec | None:
        return None if name == "soundfile" else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_others)
    report = encode_all(full, quiet=True)
    assert [name for name, _ in report.skipped] == ["audio"]
    assert "audio: skipped: reading sounds needs the package soundfile (pip install 'palate[audio]')" in str(report)
    assert FeatureStore(full).names() == ["categories", "image", "text"]
    with pytest.raises(MissingDependency, match="soundfile"):
        encode_all(full, ["audio"], quiet=True)


def test_media_that_moved_away_do_not_wipe_out_what_was_stored(full: Path, tmp_path: Path) -> None:
    encode_all(full, ["image"], quiet=True)
    before = FeatureStore(full).load("image", IDS).fingerprint
    (tmp_path / "media").rename(tmp_path / "elsewhere")
    with pytest.raises(
        DataError, match=r"none of the 3 items with content could be encoded as image; item 'a'.*missing"
    ):
        encode_all(full, ["image"], quiet=True)
    assert FeatureStore(full).load("image", IDS).fingerprint == before
    report = encode_all(full, quiet=True)
    assert [name for name, _ in report.skipped] == list(report.failed) == ["audio", "image"]
    command = worlds.palate("encode", full)
    assert command.code == 1
    assert "text: " in command.out
    assert "nothing was encoded of audio, image; the other features are stored" in command.err


def test_every_file_that_failed_is_named_with_its_reason(tmp_path: Path) -> None:
    ids = [f"i{number}" for number in range(9)]
    items = pl.DataFrame({"item_id": ids, "image": [f"{item}.png" for item in ids]})
    for number, item in enumerate(ids):
        Image.new("RGB", (30, 40), (20 * number, 90, 10)).save(tmp_path / f"{item}.png")
    whole = (tmp_path / "i1.png").read_bytes()
    bad = {"i1": whole[:40], "i2": b"", "i3": b"notes", "i5": whole[:60], "i7": b"notes", "i8": b"\0\1\2"}
    for item, data in bad.items():
        (tmp_path / f"{item}.png").write_bytes(data)
    rows = pl.DataFrame({"user_id": ["u"] * 9, "item_id": ids})
    at = tmp_path / "shop"
    Catalogue.of(rows, items, media_root=str(tmp_path)).save(at)
    report = encode_all(at, quiet=True)
    failed = pl.read_csv(at / "features" / "image" / "failed.csv")
    assert failed["item_id"].to_list() == list(bad)
    assert failed["file"].to_list() == [f"{item}.png" for item in bad]
    assert dict(report.summaries[0].failed) == dict(failed.select("item_id", "reason").iter_rows())
    for item, words in (("i1", "damaged"), ("i2", "empty"), ("i3", "looks like text"), ("i8", "of another kind")):
        assert words in failed.row(by_predicate=pl.col("item_id") == item, named=True)["reason"]
    assert "failed: 1 more; all 6 are named in" in str(report)
    for item in bad:
        Image.new("RGB", (30, 40), (200, 90, 10)).save(tmp_path / f"{item}.png")
    assert "failed.csv" not in str(encode_all(at, quiet=True))
    assert not (at / "features" / "image" / "failed.csv").exists()


def test_categories_too_rare_to_matter_skip_their_modality(tmp_path: Path) -> None:
    at = shop(tmp_path, title=list(IDS), genres=["p", "q", "r", None])
    report = encode_all(at, quiet=True)
    assert [summary.name for summary in report.summaries] == ["text"]
    assert report.skipped[0][0] == "categories"
    assert report.failed == ()
    assert "belongs to 2 or more items" in report.skipped[0][1]


def test_ready_made_rows_are_still_taken(full: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.eye(4, dtype=np.float32))
    take_precomputed(full, "given", tmp_path / "rows.npy", "item-order")
    assert np.array_equal(FeatureStore(full).load("given", IDS).matrix, np.eye(4))


def test_ready_made_rows_of_zeros_are_missing_where_it_is_said(full: Path, tmp_path: Path) -> None:
    rows = np.eye(4, dtype=np.float32)
    rows[1] = 0
    np.save(tmp_path / "rows.npy", rows)
    kept = take_precomputed(full, "given", tmp_path / "rows.npy", "item-order")
    assert "kept as present; palate encode --from … --zero-is-missing makes them absent" in str(kept)
    assert FeatureStore(full).load("given", IDS).present.all()
    said = take_precomputed(full, "given", tmp_path / "rows.npy", "item-order", zero_is_missing=True)
    assert (said.present, said.zero) == (3, 1)
    assert FeatureStore(full).load("given", IDS).present.tolist() == [True, False, True, True]
    np.save(tmp_path / "rows.npy", np.zeros((4, 3), dtype=np.float32))
    with pytest.raises(DataError, match="no row is left"):
        take_precomputed(full, "given", tmp_path / "rows.npy", "item-order", zero_is_missing=True)
