"""Masks: their shares, their shape, and that they belong to the item and not to the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from palate.core.seeds import Draws
from palate.encode.joint.masks import alone, block_mask, masked_count, word_mask
from palate.encode.joint.tokens import PAD, UNKNOWN


@given(st.integers(2, 9), st.floats(0.05, 0.95), st.integers(0, 99))
def test_every_picture_has_the_same_share_of_patches_masked(grid: int, share: float, seed: int) -> None:
    mask = block_mask(Draws(seed), torch.arange(20), grid, share)
    assert mask.shape == (20, grid * grid)
    assert (mask.sum(1) == masked_count(grid * grid, share)).all()


def test_masked_patches_are_in_blocks_and_everywhere() -> None:
    mask = block_mask(Draws(0), torch.arange(4000), 6, 0.4)
    assert int(mask[0].sum()) == 14
    grid = mask.reshape(-1, 6, 6)
    beside = (grid[:, :, 1:] & grid[:, :, :-1]).float().mean() / grid.float().mean()
    # Of single patches drawn apart, 13/35 would have a masked neighbour to one side.
    assert beside > 0.6
    often = mask.float().mean(0)
    assert often.min() > 0.3
    assert often.max() < 0.5


@given(st.integers(0, 40), st.integers(0, 10), st.integers(0, 99))
def test_half_of_the_known_words_are_masked_and_nothing_else(known: int, unknown: int, seed: int) -> None:
    words = torch.tensor([[7] * known + [UNKNOWN] * unknown + [PAD] * 5])
    mask = word_mask(Draws(seed), torch.tensor([seed]), words, 0.5)
    assert not mask[0, known:].any()
    count = int(mask.sum())
    if known == 0:
        assert count == 0
    elif known == 1:
        assert count == 1
    else:
        assert abs(count - known / 2) <= 0.5


def test_a_mask_belongs_to_the_item_and_the_step() -> None:
    words = torch.randint(3, 9, (6, 12), generator=torch.Generator().manual_seed(0))
    items = torch.tensor([4, 1, 9, 0, 7, 3])
    some = torch.tensor([5, 2])
    kinds: tuple[Callable[[Draws, Tensor], Tensor], ...] = (
        lambda draws, rows: word_mask(draws, items[rows], words[rows], 0.5),
        lambda draws, rows: block_mask(draws, items[rows], 6, 0.4),
        lambda draws, rows: alone(draws, "text", items[rows], 0.5),
    )
    for draw in kinds:
        everything = draw(Draws(1, 8), torch.arange(6))
        assert torch.equal(draw(Draws(1, 8), some), everything[some])
        assert not torch.equal(draw(Draws(1, 9), torch.arange(6)), everything)


def test_the_share_of_items_that_are_seen_alone() -> None:
    items = torch.arange(5000)
    text, picture = (alone(Draws(2), name, items, 0.2) for name in ("text", "picture"))
    assert abs(float(text.float().mean()) - 0.2) < 0.03
    # Apart from each other: both for one item is no more frequent than chance has it.
    assert abs(float((text & picture).float().mean()) - 0.04) < 0.015
    assert not alone(Draws(2), "text", items, 0.0).any()
