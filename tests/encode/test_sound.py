"""Sound files to samples, another rate, and log-mel bands: what physics says must come out."""

from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from palate.core.errors import DataError
from palate.encode.sound import log_mel, mel_filters, read_sound, resample


def tone(frequency: float, rate: int, seconds: float = 0.5, loudness: float = 0.5) -> NDArray[np.float32]:
    time = np.arange(round(rate * seconds)) / rate
    return (loudness * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def stored(samples: NDArray[np.floating], rate: int = 16_000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 44_101])
@pytest.mark.parametrize("frequency", [100.0, 1_000.0, 3_000.0])
def test_a_tone_is_the_same_tone_at_another_rate(rate: int, frequency: float) -> None:
    found = resample(tone(frequency, rate), rate, 16_000)
    expected = tone(frequency, 16_000)
    assert len(found) == len(expected)
    assert np.abs(found - expected)[800:-800].max() < 0.01


def test_what_the_new_rate_cannot_hold_is_gone() -> None:
    assert np.abs(resample(tone(12_000, 48_000), 48_000, 16_000))[800:-800].max() < 0.01


@given(st.integers(1, 400), st.sampled_from([8_000, 12_345, 44_100]), st.sampled_from([8_000, 16_000]))
def test_any_length_comes_out_with_its_own_duration(length: int, rate: int, wanted: int) -> None:
    found = resample(np.ones(length, np.float32), rate, wanted)
    assert len(found) == -(-length * wanted // rate)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("kind", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")]
)
def test_every_kind_of_file_gives_the_same_samples(kind: str, subtype: str) -> None:
    samples = tone(440, 16_000)
    found = read_sound(stored(samples, 16_000, kind, subtype), rate=16_000, most_seconds=10)
    assert len(found) == len(samples)
    assert np.abs(found - samples)[500:-500].max() < 0.05


def test_channels_are_averaged_and_the_rest_of_a_long_sound_left_out() -> None:
    both = np.stack([tone(440, 16_000), 0.5 * tone(440, 16_000)], axis=1)
    found = read_sound(stored(both), rate=16_000, most_seconds=0.25)
    assert len(found) == 4_000
    assert np.allclose(found, both[:4_000].mean(axis=1), atol=1e-3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no sound at all, but words", "no sound that can be read"),
        (b"\0" * 1000, "no sound that can be read"),
        (stored(tone(440, 16_000))[:20], "no sound that can be read"),
        (stored(np.zeros(0, np.float32)), "the sound is empty"),
        (stored(np.array([0.1, np.nan, 0.2], np.float32), subtype="FLOAT"), "not finite"),
        (stored(tone(440, 16_000, 0.01), 2_000_000), "claims 2,000,000 samples a second"),
        (stored(np.zeros(16_000)), "the sound is digital silence: its samples are all the same"),
        (stored(np.full(16_000, -1.0)), "the sound is digital silence"),
    ],
    ids=["words", "zeros", "header", "empty", "nan", "rate", "silence", "constant"],
)
def test_what_is_no_sound_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_sound(data, rate=16_000, most_seconds=10)


def test_only_silence_is_silent() -> None:
    """One sample of the last bit of 16 is a sound; silence that a sound follows is one where it is not read so far."""
    click = np.zeros(16_000, np.int16)
    click[8_000] = 1
    assert np.ptp(read_sound(stored(click), rate=16_000, most_seconds=10)) == 2.0**-15
    with pytest.raises(DataError, match=r"digital silence in the 0\.25 seconds that are read"):
        read_sound(stored(click), rate=16_000, most_seconds=0.25)


SAMPLES = [stored(tone(440, 16_000, 0.05), 16_000, kind) for kind in ("WAV", "FLAC", "OGG")]


@given(st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=12))
def test_any_damage_ends_in_samples_or_in_a_reason(data: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    with suppress(DataError):
        samples = read_sound(bytes(damaged), rate=16_000, most_seconds=0.1)
        assert np.isfinite(samples).all()
        assert len(samples) <= 1_600 + 1


def test_mel_triangles_cover_the_spectrum_evenly() -> None:
    filters = mel_filters(20, 16_000, 4096)
    frequency = np.fft.rfftfreq(4096, 1 / 16_000)
    peaks = frequency[filters.argmax(axis=1)]
    mel = 2595 * np.log10(1 + peaks / 700)
    assert np.allclose(np.diff(mel), np.diff(mel).mean(), rtol=0.1)
    between = (frequency > peaks[0]) & (frequency < peaks[-1])
    assert np.allclose(filters.sum(axis=0)[between], 1.0, atol=0.02)


def test_no_band_of_a_row_is_empty() -> None:
    noise = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    assert log_mel(noise, 16_000, 128).max(axis=0).min() > np.log(1e-9)


def test_a_tone_is_loudest_in_its_own_band_and_its_power_is_right() -> None:
    bands = log_mel(tone(1_000, 16_000, loudness=0.5), 16_000, 40)
    peaks = np.fft.rfftfreq(1024, 1 / 16_000)[mel_filters(40, 16_000, 1024).argmax(axis=1)]
    assert bands.shape == (48, 40)
    assert abs(peaks[bands.mean(axis=0).argmax()] - 1_000) < 80
    twice = log_mel(tone(1_000, 16_000, loudness=1.0), 16_000, 40)
    loudest = bands.mean(axis=0).argmax()
    assert np.allclose(twice[:, loudest] - bands[:, loudest], np.log(4), atol=1e-3)


def test_silence_and_the_shortest_sound_are_finite() -> None:
    assert np.allclose(log_mel(np.zeros(16_000, np.float32), 16_000, 64), np.log(1e-10))
    assert log_mel(np.ones(1, np.float32), 16_000, 64).shape == (1, 64)


def test_long_sounds_are_taken_in_pieces_without_a_seam() -> None:
    samples = np.random.default_rng(0).normal(size=16_000 * 11).astype(np.float32)
    whole = log_mel(samples, 16_000, 8)
    start = 1_020
    part = log_mel(samples[start * 160 :], 16_000, 8)
    assert len(whole) == 1 + (len(samples) - 400) // 160
    assert np.allclose(whole[start : start + 10], part[:10], atol=1e-5)
