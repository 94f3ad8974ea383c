"""A warm start for the joint encoder: MiniLM's vectors of single words, and EfficientNet-Lite0's map of a picture.

Takes the settings and the vocabulary; gives tensors that are stored with the encoder, so that using it needs neither
package. Both stay frozen: what is trained is the linear map from each to the width of the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from palate.encode.efficientnet import EfficientNetLite0, load_efficientnet, scale_pixels
from palate.encode.image import EfficientNetConfig, EfficientNetEncoder
from palate.encode.joint.patches import to_pixels
from palate.encode.joint.settings import JointConfig
from palate.encode.joint.tokens import SPECIAL, Vocabulary
from palate.encode.text import TextEncoder, TextEncoderConfig

WORD_WIDTH = 384
"""Numbers of a word's vector by MiniLM."""
MAP_WIDTH = 112
"""Channels of the map where a place is 16 × 16 pixels, the size of a patch."""
PLACE = 16
_BLOCKS = 11
_WORDS_AT_ONCE = 64


@dataclass(frozen=True)
class WarmStart:
    """What a joint encoder starts from.

    Attributes:
        words: float32, vocabulary × 384, of length 1; zeros for special words. None when words start cold.
        picture: the weights of `PictureMap` by name; empty when patches start cold.
        identity: where they came from, with hashes of the files; empty for a cold start.
    """

    words: Tensor | None = None
    picture: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    identity: str = ""

    @classmethod
    def read(cls, config: JointConfig, vocabulary: Vocabulary) -> WarmStart:
        """What the settings ask for, from the installed packages.

        Raises:
            MissingDependency: without the `text` extra for words, or the `image` extra for patches.
            ArtefactError: when a package is damaged.
        """
        words, picture, sources = None, dict[str, Tensor](), list[str]()
        if config.warm_words:
            minilm = TextEncoder(TextEncoderConfig())
            words = word_vectors(vocabulary, minilm)
            sources.append(minilm.identity)
        if config.warm_patches:
            efficientnet = EfficientNetEncoder(EfficientNetConfig())
            picture = PictureMap(load_efficientnet(efficientnet.weights)).state_dict()
            sources.append(efficientnet.identity)
        return cls(words, picture, "|".join(sources))


def need_sources(config: JointConfig) -> None:
    """Make sure that the packages of a warm start are there, without loading them.

    Raises:
        MissingDependency: when they are not; it names the extra.
    """
    if config.warm_words:
        TextEncoder(TextEncoderConfig())
    if config.warm_patches:
        EfficientNetEncoder(EfficientNetConfig())


def word_vectors(vocabulary: Vocabulary, minilm: TextEncoder) -> Tensor:
    """MiniLM's vector of each word as a text of its own: vocabulary × 384; zeros for the special words."""
    found = np.zeros((len(vocabulary), WORD_WIDTH), dtype=np.float32)
    # Words of one length share a batch, which spares padding.
    order = sorted(range(len(SPECIAL), len(vocabulary)), key=lambda number: (len(vocabulary.words[number]), number))
    for start in range(0, len(order), _WORDS_AT_ONCE):
        chosen = order[start : start + _WORDS_AT_ONCE]
        rows: NDArray[np.float32] = minilm.encode_batch([vocabulary.words[number] for number in chosen])
        found[chosen] = rows
    return torch.from_numpy(found)


class PictureMap(nn.Module):
    """The lower part of EfficientNet-Lite0, up to its map of one place for 16 × 16 pixels; frozen.

    Args:
        network: whose weights to take; None for weights that are loaded later.
    """

    def __init__(self, network: EfficientNetLite0 | None = None) -> None:
        super().__init__()
        network = network if network is not None else EfficientNetLite0().fold()
        self.stem = network.stem
        self.blocks = network.blocks[:_BLOCKS]
        self.requires_grad_(False)
        # The faster order of memory for such filters on a processor.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    @torch.no_grad()
    def forward(self, patches: Tensor, patch: int, masked: Tensor | None = None) -> Tensor:
        """What the network sees at each patch, of mean 0 and variance 1 over its channels: B × P × 112.

        A place looks far beyond its own pixels, so masked patches are made grey before anything is seen: what is to be
        restored must not shine through its neighbours.

        Args:
            patches: pixels in [0, 255] as float, B × P × 3p².
            patch: p, pixels of a patch's side.
            masked: bool, B × P; None for none.
        """
        grey = patches.new_full((), 127.0)
        shown = patches if masked is None else torch.where(masked.unsqueeze(-1), grey, patches)
        pixels = scale_pixels(to_pixels(shown, patch))
        if patch != PLACE:
            side = pixels.shape[-1] // patch * PLACE
            pixels = F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
        seen = self.blocks(self.stem(pixels.contiguous(memory_format=torch.channels_last)))
        return F.layer_norm(seen.flatten(2).transpose(1, 2), (MAP_WIDTH,))
