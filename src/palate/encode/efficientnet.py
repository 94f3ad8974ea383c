"""EfficientNet-Lite0: 224 × 224 pixels to 1,280 numbers, in plain torch, with the weights of an installed package.

Tan and Le, "EfficientNet" (ICML 2019), table 1, in its Lite form: no squeeze-and-excitation, ReLU6 for swish, stem and
head not scaled. The blocks are the inverted bottlenecks of Sandler et al., "MobileNetV2" (CVPR 2018), section 3.
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from palate.core.errors import ArtefactError

WIDTH = 1280
CLASSES = 1000
STEM = 32
# Repeats, kernel, stride of the first block, expansion, output channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# TensorFlow's, with which the weights were trained.
NORM_EPSILON = 1e-3


class Convolution(nn.Module):
    """Convolution, batch normalisation and, unless it is the linear end of a bottleneck, ReLU6."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.linear = kernel, stride, linear
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=NORM_EPSILON)

    def forward(self, pixels: Tensor) -> Tensor:
        """batch × inputs × height × width → batch × outputs × ⌈height / stride⌉ × ⌈width / stride⌉."""
        if self.stride > 1:
            pixels = F.pad(pixels, (*self._padding(pixels.shape[-1]), *self._padding(pixels.shape[-2])))
        values = self.norm(self.conv(pixels))
        return values if self.linear else F.relu6(values)

    def fold(self) -> None:
        """Put the normalisation, a fixed scale and shift outside training, into the convolution's weights."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()

    def _padding(self, length: int) -> tuple[int, int]:
        # TensorFlow's "same": the odd pixel goes after, not before, which torch's padding cannot say.
        outputs = -(-length // self.stride)
        missing = max((outputs - 1) * self.stride + self.kernel - length, 0)
        return missing // 2, missing - missing // 2


class Bottleneck(nn.Module):
    """Widen by 1 × 1, filter each channel alone, narrow linearly; added to its input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = Convolution(inputs, inner, 1) if expansion > 1 else None
        self.depthwise = Convolution(inner, inner, kernel, stride=stride, groups=inner)
        self.project = Convolution(inner, outputs, 1, linear=True)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, values: Tensor) -> Tensor:
        """batch × inputs × height × width → batch × outputs × ⌈height / stride⌉ × ⌈width / stride⌉."""
        inner = values if self.expand is None else self.expand(values)
        result = self.project(self.depthwise(inner))
        return result + values if self.residual else result


class EfficientNetLite0(nn.Module):
    """The network; `forward` gives the pooled features, `classify` the scores of ImageNet's classes from them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, STEM, 3, stride=2)
        blocks: list[Bottleneck] = []
        inputs = STEM
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for repeat in range(repeats):
                blocks.append(Bottleneck(inputs, outputs, kernel, stride if repeat == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = Convolution(inputs, WIDTH, 1)
        self.classifier = nn.Linear(WIDTH, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        """batch × 3 × 224 × 224 (see `scale_pixels`) → batch × 1280, none negative."""
        return self.head(self.blocks(self.stem(pixels))).mean(dim=(2, 3))

    def classify(self, features: Tensor) -> Tensor:
        """batch × 1280 → batch × 1000 scores before the softmax."""
        return self.classifier(features)

    def fold(self) -> EfficientNetLite0:
        """The same function with fewer operations; only for inference."""
        self.eval()
        for module in list(self.modules()):
            if isinstance(module, Convolution):
                module.fold()
        return self


def scale_pixels(pixels: Tensor) -> Tensor:
    """uint8 batch × height × width × 3 → float32 batch × 3 × height × width, (x - 127) / 128."""
    return pixels.permute(0, 3, 1, 2).float().sub_(127.0).div_(128.0)


def load_efficientnet(path: Path) -> EfficientNetLite0:
    """The network with stored weights, for inference.

    Args:
        path: a torch file of tensors by name; it is read without running any code that it may hold.

    Raises:
        ArtefactError: when it cannot be read, or its names or shapes are not those of this network.
    """
    try:
        stored = cast("dict[str, Tensor]", torch.load(path, map_location="cpu", weights_only=True))
        weights = {_name(key): value for key, value in stored.items()}
        network = EfficientNetLite0()
        network.load_state_dict(weights, strict=True)
    except (OSError, EOFError, RuntimeError, AttributeError, ValueError, UnpicklingError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ArtefactError(
            f"these are no weights of EfficientNet-Lite0: {first}", where=str(path), do="install the package again"
        ) from None
    network.fold()
    # The faster order of memory for such filters on a processor.
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _name(stored: str) -> str:
    """The package's names, "_blocks.3._bn1.weight", as this module's, "blocks.3.depthwise.norm.weight"."""
    *place, layer, tensor = stored.split(".")
    in_block = {
        "_expand_conv": "expand.conv",
        "_bn0": "expand.norm",
        "_depthwise_conv": "depthwise.conv",
        "_bn1": "depthwise.norm",
        "_project_conv": "project.conv",
        "_bn2": "project.norm",
    }
    outside = {
        "_conv_stem": "stem.conv",
        "_bn0": "stem.norm",
        "_conv_head": "head.conv",
        "_bn1": "head.norm",
        "_fc": "classifier",
    }
    if not place:
        return f"{outside.get(layer, layer)}.{tensor}"
    return f"blocks.{'.'.join(place[1:])}.{in_block.get(layer, layer)}.{tensor}"
