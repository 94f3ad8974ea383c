"""Sounds of the synthetic world: short tunes of one instrument, as 16-bit mono WAV.

Takes what a sound is and how this one differs from others of its kind; gives samples, and WAV files.
"""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 8000

PITCHES: dict[str, float] = {"A2": 110.0, "D3": 146.8, "G3": 196.0, "C4": 261.6, "F4": 349.2, "B4": 493.9}
"""The lowest note of a tune, in hertz."""

TIMBRES: dict[str, tuple[tuple[tuple[float, float], ...], float]] = {
    "flute": (((1.0, 1.0), (2.0, 0.08)), 1.5),
    "reed": (tuple((k, 1.0 / k) for k in (1.0, 3.0, 5.0, 7.0, 9.0)), 1.5),
    "strings": (tuple((float(k), 1.0 / k) for k in range(1, 9)), 3.0),
    "bell": (((1.0, 1.0), (2.76, 0.7), (5.4, 0.45), (8.93, 0.25)), 8.0),
}
"""Overtones (times the pitch, loudness) and how fast a note dies away (times a second, on the scale of e)."""

RHYTHMS: dict[str, int] = {"slow": 2, "walking": 3, "brisk": 5, "racing": 8}
"""Notes a second."""

MELODIES: dict[str, tuple[float, ...]] = {
    "level": (1.0,),
    "rising": (1.0, 1.122, 1.26, 1.498),
    "falling": (1.498, 1.26, 1.122, 1.0),
}
"""The steps of a tune, over and over: times its lowest note."""

_PITCHES, _TIMBRES, _RHYTHMS, _MELODIES = (
    tuple(PITCHES.values()), tuple(TIMBRES.values()), tuple(RHYTHMS.values()), tuple(MELODIES.values()),
)  # fmt: skip


@dataclass(frozen=True)
class Tune:
    """What a sound is, as places in `PITCHES`, `TIMBRES`, `RHYTHMS` and `MELODIES`."""

    pitch: int
    timbre: int
    rhythm: int
    melody: int


def play(tune: Tune, loudness: float, hiss: NDArray[np.float32]) -> NDArray[np.int16]:
    """The samples of a tune, as many as there are of `hiss`, at `SAMPLE_RATE`.

    Args:
        loudness: of the tune, in (0, 1].
        hiss: noise of the recording, about -1 to 1, made faint here.
    """
    steps = _MELODIES[tune.melody]
    length = SAMPLE_RATE // _RHYTHMS[tune.rhythm]
    notes = [_note(_PITCHES[tune.pitch] * step, tune.timbre, length) for step in steps]
    count = -(-len(hiss) // length)
    sound = np.concatenate([notes[place % len(notes)] for place in range(count)])[: len(hiss)]
    mixed = np.float32(9000 * loudness) * sound + np.float32(90) * hiss
    return np.clip(mixed, -32767, 32767).astype(np.int16)


@lru_cache(maxsize=512)
def _note(pitch: float, timbre: int, length: int) -> NDArray[np.float32]:
    overtones, fading = _TIMBRES[timbre]
    seconds = np.arange(length) / SAMPLE_RATE
    # What lies beyond half the sample rate would come back as a tone of another pitch.
    heard = [(times * pitch, loud) for times, loud in overtones if times * pitch < 0.47 * SAMPLE_RATE]
    wave_form = sum((loud * np.sin(2 * np.pi * rate * seconds) for rate, loud in heard), np.zeros(length))
    envelope = np.minimum(seconds / 0.008, 1.0) * np.exp(-fading * seconds)
    # A note ends in silence, so that the next one does not begin with a click.
    envelope *= np.minimum((length - np.arange(length)) / (0.01 * SAMPLE_RATE), 1.0)
    shaped = wave_form * envelope
    # All notes are equally loud: loudness shall not tell the instrument.
    return (shaped / np.sqrt(np.mean(shaped**2))).astype(np.float32)


def wav_bytes(samples: NDArray[np.int16]) -> bytes:
    """A WAV file of mono samples at `SAMPLE_RATE`."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLE_RATE)
        sound.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()
