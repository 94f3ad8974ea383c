"""Sound files to one channel of samples at a wanted rate, and log-mel bands of such samples; NumPy only.

Bytes that are no sound, or hold none, are a `DataError` with a plain reason.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import DataError

if TYPE_CHECKING:
    from soundfile import SoundFile

VALUES_AT_ONCE = 1 << 20
HIGHEST_RATE = 768_000
# Silence on either side, in seconds, keeps the end of a sound from leaking into its start.
MARGIN = 0.05
WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.010
# Of full scale's power; below the noise of 16 bits, and keeps digital silence finite.
QUIETEST = 1e-10
# Samples that all lie this near to each other are digital silence: half the last bit of 16.
SILENT = 2.0**-16


def read_sound(data: bytes, *, rate: int, most_seconds: float) -> NDArray[np.float32]:
    """The mean of all channels, float32, at `rate` samples a second, in [-1, 1] for ordinary files.

    Args:
        data: a whole file (WAV, FLAC, Ogg, MP3 and what else libsndfile reads).
        rate: samples a second that are wanted.
        most_seconds: what follows is left out.

    Raises:
        DataError: when it is no sound of a known kind, damaged, holds no finite samples, or nothing but digital
            silence: every silent sound would have the same row, and such a row says nothing of its item.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as stream:
            found = int(stream.samplerate)
            if not 0 < found <= HIGHEST_RATE:
                raise DataError(f"the sound claims {found:,} samples a second")
            samples = _mono(stream, round(most_seconds * found))
            whole = len(samples) >= stream.frames
    except (soundfile.SoundFileRuntimeError, TypeError, ValueError) as error:
        raise DataError(f"the file is no sound that can be read: {' '.join(str(error).split())}") from None
    if not len(samples):
        raise DataError("the sound is empty: it has no samples")
    if not np.isfinite(samples).all():
        raise DataError("the sound holds samples that are not finite")
    if np.ptp(samples) < SILENT:
        part = "" if whole else f" in the {most_seconds:g} seconds that are read"
        raise DataError(f"the sound is digital silence{part}: its samples are all the same, so it has no content")
    return resample(samples, found, rate)


def _mono(stream: SoundFile, most: int) -> NDArray[np.float32]:
    # In pieces, so that a file of very many channels stays small in memory.
    piece = max(1, VALUES_AT_ONCE // stream.channels)
    parts: list[NDArray[np.float32]] = []
    while most > 0:
        block = cast(NDArray[np.float32], stream.read(min(piece, most), dtype="float32", always_2d=True))
        if not len(block):
            break
        parts.append(block.mean(axis=1))
        most -= len(block)
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def resample(samples: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """The same sound at another rate: band-limited, by cutting or extending its spectrum.

    Args:
        samples: float32, one channel.
        rate: samples a second of it.
        wanted: samples a second of the result, whose length is ⌈len · wanted / rate⌉.
    """
    if rate == wanted:
        return samples
    shared = math.gcd(rate, wanted)
    step, wanted_step = rate // shared, wanted // shared
    # Both lengths are whole only for a multiple of `step`.
    blocks = -(-(len(samples) + int(MARGIN * rate)) // step)
    spectrum = np.fft.rfft(samples, blocks * step)
    length = blocks * wanted_step
    kept = spectrum[: length // 2 + 1]
    if length < blocks * step and length % 2 == 0:
        kept[-1] = 0  # half the new rate cannot be told from its own mirror image
    values = np.fft.irfft(kept, length) * (length / (blocks * step))
    return values[: -(-len(samples) * wanted // rate)].astype(np.float32)


def mel_filters(bands: int, rate: int, points: int) -> NDArray[np.float32]:
    """Triangles evenly spaced on the mel scale 2595 log10(1 + f / 700), from 0 to rate / 2: bands × (points / 2 + 1).

    Each triangle's peak is 1; neighbours add up to 1 between their peaks.
    """
    highest = 2595.0 * math.log10(1.0 + rate / 2 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, highest, bands + 2) / 2595.0) - 1.0)
    frequency = np.fft.rfftfreq(points, 1.0 / rate)
    rising = (frequency - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequency) / np.diff(edges)[1:, None]
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def log_mel(samples: NDArray[np.float32], rate: int, bands: int) -> NDArray[np.float32]:
    """Natural logarithm of the power in each mel band, frames × bands; Hann windows of 25 ms every 10 ms.

    A sound shorter than a window is filled up with silence.
    """
    window, hop = round(WINDOW_SECONDS * rate), round(HOP_SECONDS * rate)
    # Twice the next power of two: the lowest of many bands would fall between two frequencies otherwise.
    points = 2 << math.ceil(math.log2(window))
    if len(samples) < window:
        samples = np.pad(samples, (0, window - len(samples)))
    taper = np.hanning(window + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    filters = mel_filters(bands, rate, points)
    rows: list[NDArray[Any]] = []
    for start in range(0, len(frames), 1024):  # a minute's spectra at once would take tens of megabytes
        power = np.abs(np.fft.rfft(frames[start : start + 1024] * taper, points)) ** 2 / np.square(taper.sum())
        # No matrix product: sounds are read in several threads already, and each product would start more.
        rows.append(np.log(np.einsum("tf,bf->tb", power.astype(np.float32), filters) + QUIETEST))
    return np.concatenate(rows).astype(np.float32)
