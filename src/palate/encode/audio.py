"""Sounds to rows: statistics of log-mel bands over time, or any `transformers` model of sound.

Takes media files; gives one float32 row per sound. Files are read one by one, ahead of the model and apart from it,
so that a bad one is a reason for its item and nothing more.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from palate.core.config import Config
from palate.encode.base import ENCODERS, EncoderEntry
from palate.encode.checkpoints import WIDTH_KEYS, Checkpoint, finished, need_package
from palate.encode.media import MediaFile
from palate.encode.sound import log_mel, read_sound

if TYPE_CHECKING:
    from torch import Tensor

RATE = 16_000


class SoundConfig(Config):
    """Settings that all encoders of sound share."""

    max_seconds: float = Field(default=60.0, gt=0.0, le=3600.0)
    """Seconds read from the start of each sound; the rest is left out."""
    batch_size: int = Field(default=8, ge=1)
    """Sounds read ahead together."""
    max_bytes: int = Field(default=256 * 1024 * 1024, ge=1)
    """Size of the largest file that is read."""
    anywhere: bool = False
    """Also read absolute paths, and paths and links that leave the media folder."""


class LogMelConfig(SoundConfig):
    """Settings of log-mel statistics."""

    bands: int = Field(default=64, ge=4, le=128)
    """Mel bands from 0 to 8 kHz; a row has four numbers of each."""


class TransformersAudioConfig(SoundConfig):
    """Settings of a transformers model of sound."""

    model: str
    """A folder, or a name on the hub, of any transformers audio model with safetensors weights."""
    max_seconds: float = Field(default=30.0, gt=0.0, le=3600.0)
    """Seconds read from the start of each sound; the rest is left out."""
    normalise: bool = True
    """Scale each row to length 1."""


class _Sounds:
    """What encoders of sound share: reading files within limits."""

    modality = "audio"
    refuses = "silence"

    def __init__(self, limits: SoundConfig) -> None:
        need_package("soundfile", "reading sounds", "audio")
        self.limits = limits

    @property
    def batch_size(self) -> int:
        """Sounds per batch."""
        return self.limits.batch_size

    def content(self, value: MediaFile) -> bytes:
        """The file's bytes."""
        return value.read(most=self.limits.max_bytes, anywhere=self.limits.anywhere)

    def size(self, value: MediaFile) -> int:
        """Every sound is encoded by itself."""
        return 1

    def samples(self, value: MediaFile, rate: int) -> NDArray[np.float32]:
        """The sound's samples, one channel."""
        return read_sound(self.content(value), rate=rate, most_seconds=self.limits.max_seconds)


class LogMelEncoder(_Sounds):
    """An `Encoder` of sounds: how loud each band is, how much that varies, and how fast it changes.

    A row holds, for each band of the log-mel spectrum, its mean and standard deviation over time, then the mean
    absolute difference between neighbouring frames and the standard deviation of these differences.

    Args:
        config: the settings.

    Raises:
        MissingDependency: when the `audio` extra is not installed.
    """

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__(config)
        self.config = config

    @property
    def width(self) -> int:
        """Four numbers a band."""
        return 4 * self.config.bands

    @property
    def identity(self) -> str:
        """The statistics and their settings."""
        return f"audio 1 logmel bands={self.config.bands} rate={RATE} max_seconds={self.config.max_seconds:g}"

    def prepare(self, value: MediaFile) -> NDArray[np.float32]:
        """The row of one sound.

        Raises:
            DataError: when it cannot be read.
        """
        bands = log_mel(self.samples(value, RATE), RATE, self.config.bands)
        changes = np.diff(bands, axis=0) if len(bands) > 1 else np.zeros_like(bands)
        parts = (bands.mean(axis=0), bands.std(axis=0), np.abs(changes).mean(axis=0), changes.std(axis=0))
        return np.concatenate(parts).astype(np.float32)

    def encode_ready(self, ready: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """The rows together, float32, sounds × width."""
        return np.stack(ready)

    def encode_batch(self, values: Sequence[MediaFile]) -> NDArray[np.float32]:
        """Rows of sound files, float32, files × width."""
        return self.encode_ready([self.prepare(value) for value in values])


class TransformersAudioEncoder(_Sounds):
    """An `Encoder` of sounds by a `transformers` model: the mean of its last layer over time.

    Sounds pass the model one by one: padding them to one length would change the rows of many such models.

    Args:
        config: the settings.

    Raises:
        MissingDependency: when transformers or soundfile is not installed.
        ConfigError: when there is no such model.
    """

    def __init__(self, config: TransformersAudioConfig) -> None:
        super().__init__(config)
        need_package("transformers", "this encoder", "text")
        self.config = config
        self.checkpoint = Checkpoint(config.model)
        self._lock = threading.Lock()

    @property
    def identity(self) -> str:
        """Model, settings, and a hash over the model's files."""
        return (
            f"audio-transformers 1 {self.checkpoint.title} max_seconds={self.config.max_seconds:g} "
            f"normalise={str(self.config.normalise).lower()} files={self.checkpoint.digest}"
        )

    @property
    def width(self) -> int:
        """Columns of a row, as the configuration has it; of unusual models, as a moment of silence shows."""
        return self._width

    def prepare(self, value: MediaFile) -> dict[str, NDArray[Any]]:
        """What the model's feature extractor makes of the sound, by name.

        Raises:
            DataError: when it cannot be read.
        """
        return self._arrays(self.samples(value, self._rate()))

    def encode_ready(self, ready: Sequence[dict[str, NDArray[Any]]]) -> NDArray[np.float32]:
        """Rows of prepared sounds, float32, sounds × width."""
        import torch

        rows = torch.stack([self._pooled(arrays) for arrays in ready])
        return finished(rows, self.width, self.checkpoint.where, normalise=self.config.normalise)

    def encode_batch(self, values: Sequence[MediaFile]) -> NDArray[np.float32]:
        """Rows of sound files, float32, files × width."""
        return self.encode_ready([self.prepare(value) for value in values])

    def _rate(self) -> int:
        with self._lock:  # two threads must not both load it
            rate = getattr(self._extractor, "sampling_rate", RATE)
        return rate if isinstance(rate, int) else RATE

    def _arrays(self, samples: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        made = self._extractor(samples, sampling_rate=self._rate(), return_tensors="np")
        return {name: np.asarray(array) for name, array in made.items()}

    def _pooled(self, arrays: dict[str, NDArray[Any]]) -> Tensor:
        model = getattr(self._model, "audio_model", self._model)
        states: Tensor = self.checkpoint.run(model.forward, arrays).last_hidden_state[0]
        if states.ndim == 3:  # channels × frequency × time
            states = states.flatten(1).T
        return states.mean(dim=0)

    @cached_property
    def _width(self) -> int:
        settings = self.checkpoint.settings()
        settings = getattr(settings, "audio_config", settings)
        for key in WIDTH_KEYS:
            value = getattr(settings, key, None)
            if isinstance(value, int):
                return value
        return len(self._pooled(self._arrays(np.zeros(self._rate(), np.float32))))

    @cached_property
    def _extractor(self) -> Any:
        from transformers import AutoFeatureExtractor

        return self.checkpoint.load(AutoFeatureExtractor.from_pretrained)

    @cached_property
    def _model(self) -> Any:
        return self.checkpoint.model()


ENCODERS.register("logmel")(
    EncoderEntry(
        modality="audio",
        summary="sounds by statistics of their log-mel bands over time (256 numbers), nothing to fetch",
        config=LogMelConfig,
        build=LogMelEncoder,
    )
)
ENCODERS.register("transformers-audio")(
    EncoderEntry(
        modality="audio",
        summary="sounds by any transformers audio model: model=FOLDER_OR_NAME",
        config=TransformersAudioConfig,
        build=TransformersAudioEncoder,
    )
)
