"""One new item: its rows are those that the catalogue's encoder gives it, and those of any other are refused."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from palate.core.errors import ConfigError, DataError
from palate.encode import build_encoder, encode
from palate.encode.media import MediaFile
from palate.encode.single import encode_item

TEXT = "A cowboy doll is jealous of a spaceman."


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "poster.png")
    return tmp_path / "poster.png"


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    with wave.open(str(tmp_path / "sound.wav"), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(16_000)
        tone = np.sin(np.arange(16_000) / 10) * 20_000
        stream.writeframes(tone.astype("<i2").tobytes())
    return tmp_path / "sound.wav"


def test_a_text_has_the_row_that_it_has_in_a_catalogue() -> None:
    for settings in ({}, {"pooling": "cls", "max_tokens": 8, "normalise": False}):
        encoder = build_encoder("minilm", settings)
        known, _ = encode([TEXT], encoder, ids=["1"], quiet=True)
        found = encode_item({"words": encoder.identity}, text=TEXT, item="n7")
        assert list(found) == ["words"]
        assert found["words"].ids == ("n7",)
        assert found["words"].encoder == known.encoder
        assert np.array_equal(found["words"].matrix, known.matrix)


def test_a_picture_has_its_row_as_a_file_and_as_bytes(picture: Path) -> None:
    encoder = build_encoder("efficientnet-lite0", {"frame": "centre"})
    known, _ = encode([MediaFile("poster.png", picture.parent)], encoder, ids=["1"], quiet=True)
    for given in (picture, picture.read_bytes()):
        found = encode_item({"image": encoder.identity}, image=given)
        assert np.allclose(found["image"].matrix, known.matrix, atol=1e-6)


def test_a_sound_has_its_row(sound: Path) -> None:
    encoder = build_encoder("logmel", {"bands": 16})
    known, _ = encode([MediaFile("sound.wav", sound.parent)], encoder, ids=["1"], quiet=True)
    assert np.allclose(encode_item({"audio": encoder.identity}, audio=sound)["audio"].matrix, known.matrix, atol=1e-6)


def test_only_what_was_given_and_is_wanted_is_made(picture: Path) -> None:
    wanted = {"text": build_encoder("minilm").identity, "categories": "categories 1 multihot columns=3 vocabulary=ab"}
    assert list(encode_item(wanted, text=TEXT, image=picture)) == ["text"]


MINILM = "text 1 minilm pooling=mean max_tokens=256 normalise=true files="


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"text": MINILM + "0123456789abcdef"}, "not the one that made the known items' rows"),
        ({"text": "text 1 another pooling=mean"}, "cannot be built from its name alone"),
        ({"joint": "joint 1 fingerprint=00"}, "JointEncoder.load"),
    ],
)
def test_rows_of_another_encoder_are_refused(wanted: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        encode_item(wanted, text=TEXT)
    assert words in str(refused.value)


def test_an_encoder_that_is_given_must_be_the_one_that_is_wanted() -> None:
    mean, first = build_encoder("minilm"), build_encoder("minilm", {"pooling": "cls"})
    assert encode_item({"text": first.identity}, text=TEXT, encoders={"text": first})
    with pytest.raises(ConfigError, match="not the one that made"):
        encode_item({"text": first.identity}, text=TEXT, encoders={"text": mean})


def test_nothing_to_encode_is_said(tmp_path: Path) -> None:
    wanted = {"text": build_encoder("minilm").identity}
    for given in ({}, {"text": "  "}, {"image": b"no picture"}):
        with pytest.raises(DataError, match="nothing that was given"):
            encode_item(wanted, **given)  # pyright: ignore
    image = {"image": build_encoder("efficientnet-lite0").identity}
    with pytest.raises(DataError, match="picture"):
        encode_item(image, image=b"no picture")
    with pytest.raises(DataError, match="missing"):
        encode_item(image, image=tmp_path / "nowhere.png")
