"""A small network and small content that all tests of the joint encoder share."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from palate.encode.joint.content import ContentBatch, read_content
from palate.encode.joint.model import JointNetwork, Sight
from palate.encode.joint.settings import JointConfig
from palate.encode.joint.tokens import Vocabulary
from palate.encode.joint.warm import WarmStart
from palate.ingest.catalogue import Catalogue
from palate.ingest.sources.synthetic import SyntheticConfig, make_synthetic

SMALL: dict[str, Any] = {
    "layers": 3,
    "fusion_layers": 1,
    "width": 24,
    "heads": 2,
    "side": 32,
    "patch": 8,
    "tokens": 48,
    "codes": 16,
    "epochs": 2,
    "batch_size": 8,
    "device": "cpu",
    "probe_partners": 4,
}


def small_config(**changes: Any) -> JointConfig:
    return JointConfig.parse({**SMALL, **changes})


def small_network(**changes: Any) -> JointNetwork:
    return JointNetwork(small_config(**changes), 20, seed=3).eval()


def random_sight(network: JointNetwork, picture: list[bool], text: list[bool], seed: int = 0) -> Sight:
    """Random patches and words, of which those of absent modalities are random too."""
    generator = torch.Generator().manual_seed(seed)
    config = network.config
    patches = torch.randn(len(picture), config.patches, config.patch_width, generator=generator)
    words = torch.randint(3, 20, (len(picture), 7), generator=generator)
    return Sight(patches, words, torch.tensor(picture), torch.tensor(text))


def small_world(folder: Path, **changes: Any) -> Path:
    """A synthetic catalogue of 40 records with pictures, stored in `folder`."""
    settings: dict[str, Any] = {
        "users": 5,
        "items": 40,
        "interactions": 2,
        "media": ("image",),
        "picture_size": 32,
        "seed": 4,
    }
    make_synthetic(folder, SyntheticConfig.parse({**settings, **changes}), quiet=True)
    return folder


@functools.cache
def small_content() -> tuple[ContentBatch, Vocabulary]:
    """The content of a small world as `SMALL` reads it."""
    with tempfile.TemporaryDirectory() as place:
        folder = small_world(Path(place) / "world")
        content, vocabulary, failed = read_content(Catalogue.load(folder), small_config(), 0, quiet=True)
    assert not failed
    return content, vocabulary


@functools.cache
def small_warm_start() -> WarmStart:
    """What the words and patches of the small content start from, with `warm_start="both"`."""
    return WarmStart.read(small_config(warm_start="both"), small_content()[1])


def gradient_sizes(network: JointNetwork) -> dict[str, Tensor]:
    """The size of each parameter's gradient, zero where there is none."""
    return {
        name: torch.zeros(()) if value.grad is None else value.grad.abs().max()
        for name, value in network.named_parameters()
    }
