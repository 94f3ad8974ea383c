"""The encoder folder, and encoding a catalogue with it: every item that has anything gets a row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from encode.joint.small import SMALL, small_config, small_content, small_world
from palate.core.artefact import read_tensors, write_manifest, write_tensors
from palate.core.errors import ArtefactError, DataError
from palate.encode.features import Features
from palate.encode.joint.content import joint_inputs
from palate.encode.joint.encoder import KIND, VERSION, JointEncoder, encode_joint
from palate.encode.joint.model import JointNetwork
from palate.encode.store import FeatureStore
from palate.ingest.catalogue import Catalogue


def stored(world: Path) -> Features:
    """The `joint` features of a catalogue."""
    return FeatureStore(world).load("joint", Catalogue.load(world).items["item_id"].to_list())


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an encoder with random weights."""
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    vocabulary = small_content()[1]
    network = JointNetwork(small_config(), len(vocabulary), 0)
    network.mean, network.deviation = torch.full((3,), 128.0), torch.full((3,), 60.0)
    JointEncoder(network, vocabulary).save(tmp_path / "encoder", history=[{"epoch": 1}])
    return tmp_path / "encoder"


def test_what_is_loaded_is_what_was_saved(encoder: Path, tmp_path: Path) -> None:
    loaded = JointEncoder.load(encoder)
    loaded.save(tmp_path / "again")
    again = JointEncoder.load(tmp_path / "again")
    assert again.fingerprint == loaded.fingerprint
    assert again.fingerprint in again.identity
    assert again.vocabulary.words == loaded.vocabulary.words
    assert again.config == loaded.config == small_config()
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name])
    with pytest.raises(ArtefactError, match="exists already"):
        loaded.save(tmp_path / "again")
    (tmp_path / "stranger").mkdir()
    with pytest.raises(ArtefactError, match="not a joint-encoder"):
        loaded.save(tmp_path / "stranger", replace=True)


def test_a_changed_file_is_refused(encoder: Path) -> None:
    weights = encoder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(ArtefactError, match="not the one that was written"):
        JointEncoder.load(encoder)


@pytest.mark.parametrize("change", ["weights", "words", "settings", "shape", "unknown", "list"])
def test_a_folder_whose_manifest_was_made_anew_is_refused(encoder: Path, change: str) -> None:
    fingerprint = json.loads((encoder / "manifest.json").read_text())["fingerprint"]
    words = json.loads((encoder / "vocabulary.json").read_text())
    if change == "weights":
        tensors, _ = read_tensors(encoder / "model.safetensors")
        tensors["start"][0] += 1.0
        write_tensors(encoder / "model.safetensors", tensors)
    elif change == "words":
        words[3], words[4] = words[4], words[3]
        (encoder / "vocabulary.json").write_text(json.dumps(words))
    elif change == "list":
        (encoder / "vocabulary.json").write_text("[1, 2]")
    else:
        changed = {"settings": {"heads": 3}, "shape": {"width": 32}, "unknown": {"widht": 3}}[change]
        (encoder / "settings.json").write_text(json.dumps({**SMALL, **changed}))
    write_manifest(encoder, KIND, VERSION, {"fingerprint": fingerprint})
    with pytest.raises(ArtefactError):
        JointEncoder.load(encoder)


def test_every_item_with_anything_is_encoded_and_the_rest_is_absent(encoder: Path, tmp_path: Path) -> None:
    world = small_world(tmp_path / "world", missing={"image": 0.4, "text": 0.4})
    items = Catalogue.load(world).items
    picture, text = (items[name].is_not_null().to_numpy() for name in ("image", "description"))
    assert (picture & ~text).any()
    assert (text & ~picture).any()
    inputs = joint_inputs(Catalogue.load(world))
    has = np.array([value is not None for value in inputs])
    assert has.tolist() == (picture | text).tolist()
    assert not has.all()
    summary = encode_joint(world, encoder, True)
    features = stored(world)
    assert features.present.tolist() == has.tolist()
    assert features.width == 24
    assert features.encoder == JointEncoder.load(encoder).identity
    assert summary.encoded == len(np.unique(features.matrix[has], axis=0))
    again = encode_joint(world, encoder, True)
    assert again.encoded == 0
    assert again.cached == summary.encoded
    assert np.array_equal(stored(world).matrix, features.matrix)


def test_an_item_seen_by_one_modality_is_the_pair_with_the_other_hidden(encoder: Path, tmp_path: Path) -> None:
    world = small_world(tmp_path / "world")
    catalogue = Catalogue.load(world)
    loaded = JointEncoder.load(encoder)
    value = joint_inputs(catalogue)[0]
    assert value is not None
    ready = loaded.prepare(value)
    both = loaded.encode_ready([ready])
    picture = loaded.encode_ready([type(ready)(ready.pixels, None)])
    text = loaded.encode_ready([type(ready)(None, ready.words)])
    assert not np.allclose(both, picture)
    assert not np.allclose(both, text)
    assert not np.allclose(picture, text)
    together = loaded.encode_ready([ready, type(ready)(ready.pixels, None), type(ready)(None, ready.words)])
    np.testing.assert_allclose(together, np.concatenate([both, picture, text]), rtol=1e-4, atol=1e-5)


def test_a_bad_picture_leaves_an_item_with_its_words(encoder: Path, tmp_path: Path) -> None:
    world = small_world(tmp_path / "world")
    clean = encode_joint(world, encoder, True)
    assert clean.notes == ()
    before = stored(world)
    broken, missing = sorted((world / "media").rglob("*.png"))[:2]
    broken.write_bytes(broken.read_bytes()[:60])
    missing.unlink()
    summary = encode_joint(world, encoder, True)
    assert summary.failed == ()
    assert len(summary.notes) == 2
    assert all("by its words alone" in note for note in summary.notes)
    after = stored(world)
    assert after.present.all()
    changed = (before.matrix != after.matrix).any(1)
    assert {before.ids[row] for row in np.flatnonzero(changed)} == {broken.stem, missing.stem}


def test_a_bad_picture_without_words_fails_alone(encoder: Path, tmp_path: Path) -> None:
    world = small_world(tmp_path / "world", missing={"text": 1.0})
    broken = sorted((world / "media").rglob("*.png"))[0]
    broken.write_bytes(b"words")
    summary = encode_joint(world, encoder, True)
    assert [item for item, _ in summary.failed] == [broken.stem]
    assert stored(world).present.sum() == 39
    for path in (world / "media").rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match="no item could be encoded"):
        encode_joint(world, encoder, True)


def test_a_catalogue_without_words_and_pictures_is_refused(encoder: Path, tmp_path: Path) -> None:
    rows = pl.DataFrame({"user_id": ["a"], "item_id": ["x"]})
    Catalogue.of(rows).save(tmp_path / "bare")
    with pytest.raises(DataError, match="no item has words or a picture"):
        encode_joint(tmp_path / "bare", encoder, True)
    with pytest.raises(ArtefactError, match="not a joint-encoder"):
        encode_joint(tmp_path / "bare", tmp_path / "bare", True)
