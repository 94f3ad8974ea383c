"""Pictures to patches, and patches to the discrete codes that masked ones are predicted as.

The codebook is k-means over the patches of the catalogue's own pictures. BEiT-3 takes the codes of a large picture
tokenizer (BEiT v2) that was trained on ImageNet; a few hundred centres of raw patches need no such model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palate.core.seeds import torch_generator
from palate.encode.pictures import read_picture

if TYPE_CHECKING:
    from palate.encode.joint.settings import JointConfig

ROUNDS = 40
BATCH = 4096
MOST_PATCHES = 60_000
_AT_ONCE = 4096


def read_pixels(data: bytes, side: int, most_pixels: int) -> NDArray[np.uint8]:
    """A picture file as side × side × 3; the whole picture, squeezed.

    Raises:
        DataError: when it is no picture, too large or damaged.
    """
    from PIL.Image import Resampling

    picture = read_picture(data, most_pixels=most_pixels)
    if picture.size != (side, side):
        picture = picture.resize((side, side), Resampling.BICUBIC)
    return np.asarray(picture, dtype=np.uint8)


def to_patches(pixels: Tensor, patch: int) -> Tensor:
    """Pixels cut into squares, row by row: N × S × S × 3 → N × (S/p)² × 3p²."""
    count, side = pixels.shape[0], pixels.shape[1]
    grid = side // patch
    cut = pixels.reshape(count, grid, patch, grid, patch, 3).permute(0, 1, 3, 2, 4, 5)
    return cut.reshape(count, grid * grid, 3 * patch * patch)


def to_pixels(patches: Tensor, patch: int) -> Tensor:
    """Squares put together again, the inverse of `to_patches`: N × G² × 3p² → N × Gp × Gp × 3."""
    count, grid = patches.shape[0], math.isqrt(patches.shape[1])
    cut = patches.reshape(count, grid, grid, patch, patch, 3).permute(0, 1, 3, 2, 4, 5)
    return cut.reshape(count, grid * patch, grid * patch, 3)


def channel_statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of red, green and blue over uint8 pictures (N × S × S × 3), in [0, 255]; neutral for none."""
    if len(pixels) == 0:
        return torch.full((3,), 127.5), torch.full((3,), 64.0)
    total, squares = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for start in range(0, len(pixels), _AT_ONCE):
        block = pixels[start : start + _AT_ONCE].reshape(-1, 3).double()
        total += block.sum(0)
        squares += block.square().sum(0)
    count = pixels.shape[0] * pixels.shape[1] * pixels.shape[2]
    mean = total / count
    deviation = (squares / count - mean.square()).clamp_min(0).sqrt().clamp_min(1.0)
    return mean.float(), deviation.float()


def nearest_codes(patches: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of each patch: … × D, K × D → int64 …; the first one of equals."""
    flat = patches.reshape(-1, patches.shape[-1])
    offset = centres.square().sum(1)
    found = [
        (offset - 2.0 * (flat[start : start + _AT_ONCE] @ centres.T)).argmin(1)
        for start in range(0, len(flat), _AT_ONCE)
    ]
    return torch.cat(found).reshape(patches.shape[:-1]) if found else flat.new_zeros(patches.shape[:-1]).long()


def fit_codebook(pixels: Tensor, mean: Tensor, deviation: Tensor, config: JointConfig, seed: int) -> Tensor:
    """Centres of the patches of some pictures by mini-batch k-means (Sculley, WWW 2010), seeded.

    Each round assigns a batch to its nearest centres and moves a centre towards the mean of what it got, by the share
    of those in all that it ever got. A centre that nothing was ever nearest to goes where the batch's worst fit is.

    Args:
        pixels: uint8, pictures × side × side × 3.
        mean, deviation: of the channels.
        config: codes, patch.
        seed: of the choice of patches.

    Returns:
        float32, codes × 3p²; zeros when there is no picture.
    """
    centres = torch.zeros(config.codes, config.patch_width)
    if len(pixels) == 0:
        return centres
    generator = torch_generator(seed, "joint", "codebook")
    pictures = max(1, MOST_PATCHES // config.patches)
    chosen = torch.randperm(len(pixels), generator=generator)[:pictures]
    patches = normalise(pixels.index_select(0, chosen), mean, deviation, config.patch).flatten(0, 1)
    first = torch.randperm(len(patches), generator=generator)[: config.codes]
    centres[: len(first)] = patches.index_select(0, first)
    met = torch.zeros(config.codes)
    for _ in range(ROUNDS):
        rows = torch.randint(len(patches), (min(BATCH, len(patches)),), generator=generator)
        batch = patches.index_select(0, rows)
        distance = centres.square().sum(1) - 2.0 * (batch @ centres.T)
        least, codes = distance.min(1)
        members = torch.nn.functional.one_hot(codes, config.codes).float()
        got = members.sum(0)
        met += got
        moved = (members.T @ batch - got.unsqueeze(1) * centres) / met.clamp_min(1.0).unsqueeze(1)
        centres += moved
        lost = torch.nonzero(met == 0).flatten()
        worst = (least + batch.square().sum(1)).argsort(descending=True, stable=True)[: len(lost)]
        centres[lost[: len(worst)]] = batch.index_select(0, worst)
    return centres


def normalise(pixels: Tensor, mean: Tensor, deviation: Tensor, patch: int) -> Tensor:
    """uint8 pictures (N × S × S × 3) as patches of numbers around zero, N × (S/p)² × 3p²."""
    return to_patches((pixels.float() - mean) / deviation, patch)
