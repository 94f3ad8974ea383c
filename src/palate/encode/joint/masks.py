"""What a step hides: blocks of patches and single words, drawn per item, whatever batch it is in."""

from __future__ import annotations

import torch
from torch import Tensor

from palate.core.seeds import Draws
from palate.encode.joint.tokens import PAD, UNKNOWN

BLOCKS = 12
SMALLEST_BLOCK = 0.1
LARGEST_BLOCK = 0.35
LONGEST_BLOCK = 3.0
"""Areas of the blocks as shares of the picture, and the most that one side is longer than the other."""


def masked_count(count: int, share: float) -> int:
    """How many of `count` are masked: the nearest whole number to the share, at least one and never all of several."""
    return min(max(1, round(share * count)), max(1, count - 1))


def block_mask(draws: Draws, items: Tensor, grid: int, share: float) -> Tensor:
    """Block-wise masks of patches (BEiT, Bao et al., ICLR 2022, Algorithm 1), exactly the same number in each picture.

    Rectangles are laid one after the other until the share is reached; the last one is cut off where it is. Unlike
    BEiT's they may stick out of the picture, without which its corners would be masked far less than its middle.

    Args:
        draws: of the step.
        items: int64, B.
        grid: patches along a side.
        share: of patches.

    Returns:
        bool, B × grid².
    """
    drawn = draws.uniform("joint blocks", items, 4 * BLOCKS + 2)
    numbers = drawn[:, 2:].reshape(len(items), BLOCKS, 4)
    area = (SMALLEST_BLOCK + (LARGEST_BLOCK - SMALLEST_BLOCK) * numbers[..., 0]) * grid**2
    aspect = LONGEST_BLOCK ** (2.0 * numbers[..., 1] - 1.0)
    height = (area * aspect).sqrt().round().clamp(1, grid)
    breadth = (area / aspect).sqrt().round().clamp(1, grid)
    top = (numbers[..., 2] * (grid + height - 1)).floor() - height + 1
    left = (numbers[..., 3] * (grid + breadth - 1)).floor() - breadth + 1
    place = torch.arange(grid, device=items.device)
    rows = (place >= top.unsqueeze(-1)) & (place < (top + height).unsqueeze(-1))
    columns = (place >= left.unsqueeze(-1)) & (place < (left + breadth).unsqueeze(-1))
    covered = (rows.unsqueeze(-1) & columns.unsqueeze(-2)).flatten(2)
    # The number of the first block over each patch; patches under none come last.
    first = torch.where(covered.any(1), covered.int().argmax(1), BLOCKS)
    order = first.argsort(dim=1, stable=True)[:, : masked_count(grid**2, share)]
    mask = torch.zeros_like(first, dtype=torch.bool).scatter_(1, order, True).reshape(-1, grid, grid)
    # The block that is cut off keeps its upper patches: turned over at random, no side is preferred.
    for axis in (1, 2):
        mask = torch.where(drawn[:, axis - 1, None, None] < 0.5, mask.flip(axis), mask)
    return mask.flatten(1)


def word_mask(draws: Draws, items: Tensor, words: Tensor, share: float) -> Tensor:
    """Masks over words: `share` of each text's known words; unknown words are nothing that could be predicted.

    Args:
        draws: of the step.
        items: int64, B.
        words: int64 ids, B × T.
        share: of known words.

    Returns:
        bool, B × T.
    """
    known = (words != PAD) & (words != UNKNOWN)
    numbers = draws.uniform("joint words", items, words.shape[1]).masked_fill(~known, 2.0)
    count = known.sum(1)
    wanted = torch.minimum((share * count).round().clamp_min(1), (count - 1).clamp_min(1)).minimum(count)
    rank = numbers.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    return (rank < wanted.unsqueeze(1)) & known


def alone(draws: Draws, name: str, items: Tensor, share: float) -> Tensor:
    """The items of which this step sees one modality alone: bool, B."""
    return draws.uniform(f"joint alone {name}", items, 1).squeeze(1) < share
