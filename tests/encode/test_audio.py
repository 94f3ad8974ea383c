"""Encoders of sound: log-mel statistics tell sounds apart, and any transformers model of sound can be named."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel, Wav2Vec2Config, Wav2Vec2Model

from palate.core.errors import ConfigError, MissingDependency
from palate.encode import build_encoder, encode
from palate.encode.audio import LogMelConfig, LogMelEncoder, TransformersAudioConfig, TransformersAudioEncoder
from palate.encode.base import cache_key
from palate.encode.media import MediaFile
from palate.encode.sound import log_mel
from palate.encode.store import RowCache

RATE = 16_000


def tone(frequency: float, seconds: float = 0.4, pulse: float = 0.0) -> NDArray[np.float32]:
    """A tone, switched on and off `pulse` times a second."""
    time = np.arange(round(RATE * seconds)) / RATE
    gate = np.sin(2 * np.pi * pulse * time) >= 0 if pulse else np.ones(len(time))
    noise = np.random.default_rng(int(frequency)).normal(size=len(time))
    return (0.5 * gate * np.sin(2 * np.pi * frequency * time) + 0.001 * noise).astype(np.float32)


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Tones low, high, and low in pulses."""
    folder = tmp_path / "media"
    folder.mkdir()
    for name, samples in {"low": tone(300), "high": tone(3000), "pulses": tone(300, pulse=10)}.items():
        soundfile.write(folder / f"{name}.wav", samples, RATE)
    soundfile.write(folder / "low-again.flac", tone(310), RATE)
    return folder


def files(folder: Path, *names: str) -> list[MediaFile]:
    return [MediaFile(name, folder) for name in names]


def test_a_row_is_the_four_statistics_of_each_band(media: Path) -> None:
    encoder = LogMelEncoder(LogMelConfig(bands=10))
    samples, _ = soundfile.read(media / "pulses.wav", dtype="float32")
    bands = log_mel(samples, RATE, 10)
    changes = np.diff(bands, axis=0)
    row = encoder.encode_batch(files(media, "pulses.wav"))[0].reshape(4, 10)
    assert encoder.width == 40
    expected = [bands.mean(axis=0), bands.std(axis=0), np.abs(changes).mean(axis=0), changes.std(axis=0)]
    assert np.allclose(row, expected, atol=1e-4)


def test_like_sounds_have_like_rows_and_pulses_show(media: Path) -> None:
    names = ("low.wav", "low-again.flac", "high.wav", "pulses.wav")
    rows = build_encoder("logmel").encode_batch(files(media, *names))
    assert rows.shape == (4, 256)
    distance = np.linalg.norm(rows - rows[0], axis=1)
    assert distance[1] < 0.5 * distance[2:].min()
    change = rows[:, 128:192].mean(axis=1)
    assert change[3] > change[0]


def test_bad_files_are_reported_and_the_good_ones_encoded(media: Path) -> None:
    (media / "words.wav").write_text("no sound at all")
    (media / "empty.wav").touch()
    soundfile.write(media / "nothing.wav", np.zeros(0, np.float32), RATE)
    names = ["low.wav", "words.wav", "empty.wav", "nothing.wav", "gone.wav", "high.wav"]
    inputs = [*files(media, *names), None]
    features, summary = encode(inputs, build_encoder("logmel", {"batch_size": 2}), ids=[*names, "mute"], quiet=True)
    assert {item for item, _ in summary.failed} == {"words.wav", "empty.wav", "nothing.wav", "gone.wav"}
    assert features.present.tolist() == [True, False, False, False, False, True, False]
    assert (summary.encoded, summary.absent) == (2, 1)


def test_silence_lacks_content_also_where_an_older_cache_has_its_row(media: Path, tmp_path: Path) -> None:
    soundfile.write(media / "silence.wav", np.zeros(RATE, np.float32), RATE)
    encoder = build_encoder("logmel")
    inputs = files(media, "low.wav", "silence.wav")
    row = np.ones((1, encoder.width), dtype=np.float32)
    digest = hashlib.sha256((media / "silence.wav").read_bytes()).digest()
    RowCache(tmp_path, encoder.identity).append([digest], row)
    cache = RowCache(tmp_path, cache_key(encoder))
    for _ in range(2):
        features, summary = encode(inputs, encoder, ids=["low", "silence"], cache=cache, quiet=True)
        assert features.present.tolist() == [True, False]
        assert [item for item, reason in summary.failed if "digital silence" in reason] == ["silence"]
    assert summary.cached == 1


def test_identity_follows_what_changes_rows_and_nothing_else() -> None:
    base = LogMelEncoder(LogMelConfig()).identity
    assert LogMelEncoder(LogMelConfig(batch_size=1, max_bytes=9, anywhere=True)).identity == base
    others = {LogMelEncoder(LogMelConfig(bands=32)).identity, LogMelEncoder(LogMelConfig(max_seconds=5)).identity}
    assert len({base, *others}) == 3


@pytest.mark.parametrize(("package", "extra"), [("soundfile", "audio")])
def test_without_the_extra_the_error_names_it(package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def find_others(name: str) -> ModuleSpec | None:
        return None if name == package else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_others)
    with pytest.raises(MissingDependency, match=rf"pip install 'palate\[{extra}\]'"):
        build_encoder("logmel")


@pytest.fixture(scope="module")
def wav2vec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Wav2Vec2 of one thin layer."""
    torch.manual_seed(3)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8, 8),
        conv_kernel=(10, 8),
        conv_stride=(5, 4),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    folder = tmp_path_factory.mktemp("wav2vec")
    Wav2Vec2Model(config).save_pretrained(str(folder))
    settings = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 8_000, "do_normalize": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def tiny(folder: Path, **settings: object) -> TransformersAudioEncoder:
    return TransformersAudioEncoder(
        TransformersAudioConfig.parse({"model": str(folder), "normalise": False, **settings})
    )


def test_a_transformers_model_gives_the_mean_of_its_last_layer(wav2vec: Path, media: Path) -> None:
    from palate.encode.sound import resample

    samples, _ = soundfile.read(media / "low.wav", dtype="float32")
    slow = resample(samples, RATE, 8_000)
    normal = (slow - slow.mean()) / np.sqrt(slow.var() + 1e-7)
    model = Wav2Vec2Model.from_pretrained(str(wav2vec)).eval()
    with torch.inference_mode():
        expected = model(torch.tensor(normal[None])).last_hidden_state[0].mean(dim=0).numpy()
    encoder = tiny(wav2vec)
    rows = encoder.encode_batch(files(media, "high.wav", "low.wav"))
    assert encoder.width == 16
    assert np.allclose(rows[1], expected, atol=1e-4)
    unit = tiny(wav2vec, normalise=True).encode_batch(files(media, "low.wav"))[0]
    assert np.allclose(unit, expected / np.linalg.norm(expected), atol=1e-4)


def test_a_spectrogram_transformer_works_through_the_driver(tmp_path: Path, media: Path) -> None:
    torch.manual_seed(3)
    config = ASTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_length=64, num_mel_bins=32
    )
    ASTModel(config).save_pretrained(str(tmp_path / "ast"))
    ASTFeatureExtractor(num_mel_bins=32, max_length=64).save_pretrained(str(tmp_path / "ast"))
    names = ["low.wav", "high.wav", "pulses.wav"]
    features, summary = encode(files(media, *names), tiny(tmp_path / "ast", batch_size=2), ids=names, quiet=True)
    assert summary.encoded == 3
    assert features.matrix.shape == (3, 16)
    assert np.unique(features.matrix.round(4), axis=0).shape == (3, 16)


def test_seconds_beyond_the_limit_change_nothing(wav2vec: Path, media: Path) -> None:
    samples, _ = soundfile.read(media / "low.wav", dtype="float32")
    soundfile.write(media / "longer.wav", np.concatenate([samples, tone(3000)]), RATE)
    rows = tiny(wav2vec, max_seconds=0.4).encode_batch(files(media, "low.wav", "longer.wav"))
    assert np.allclose(rows[0], rows[1], atol=1e-6)


def test_a_model_must_be_named() -> None:
    with pytest.raises(ConfigError, match="model: field required"):
        build_encoder("transformers-audio")
