"""Patches of pictures, and the codebook: planted groups are found, and the same seed gives the same bits."""

from __future__ import annotations

import torch

from encode.joint.small import small_config, small_content
from palate.encode.joint.patches import (
    channel_statistics,
    fit_codebook,
    nearest_codes,
    normalise,
    to_patches,
    to_pixels,
)


def test_a_patch_is_the_square_of_pixels_at_its_place() -> None:
    pixels = torch.arange(2 * 6 * 6 * 3).reshape(2, 6, 6, 3)
    patches = to_patches(pixels, 2)
    assert patches.shape == (2, 9, 12)
    for row in range(3):
        for column in range(3):
            square = pixels[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.equal(patches[:, 3 * row + column], square.reshape(2, -1))
    assert torch.equal(to_pixels(patches, 2), pixels)


def test_normalised_pixels_have_mean_zero_and_deviation_one_by_channel() -> None:
    pixels = small_content()[0].pixels
    mean, deviation = channel_statistics(pixels)
    numbers = normalise(pixels, mean, deviation, 8).reshape(-1, 3).double()
    torch.testing.assert_close(numbers.mean(0), torch.zeros(3).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(numbers.std(0), torch.ones(3).double(), atol=1e-4, rtol=0)


def test_the_codebook_finds_planted_colours() -> None:
    config = small_config(codes=4, side=32, patch=8)
    generator = torch.Generator().manual_seed(0)
    colours = torch.tensor([[250, 10, 10], [10, 250, 10], [10, 10, 250], [245, 245, 245]])
    kind = torch.randint(4, (60, 4, 4), generator=generator)
    pixels = colours[kind].repeat_interleave(8, 1).repeat_interleave(8, 2)
    pixels = (pixels + torch.randint(-5, 6, pixels.shape, generator=generator)).to(torch.uint8)
    mean, deviation = channel_statistics(pixels)
    centres = fit_codebook(pixels, mean, deviation, config, seed=0)
    codes = nearest_codes(normalise(pixels, mean, deviation, 8), centres).flatten()
    # Which code a colour got does not matter, but each has one of its own.
    pairs = {(a, b) for a, b in zip(kind.flatten().tolist(), codes.tolist(), strict=True)}
    assert len(pairs) == 4
    assert len({code for _, code in pairs}) == 4


def test_the_codebook_is_a_function_of_its_seed() -> None:
    pixels = small_content()[0].pixels
    mean, deviation = channel_statistics(pixels)
    first, again, other = (fit_codebook(pixels, mean, deviation, small_config(), seed) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    codes = nearest_codes(normalise(pixels, mean, deviation, 8), first)
    assert len(codes.unique()) > 8


def test_the_codebook_fits_better_than_as_many_patches_by_chance() -> None:
    pixels = small_content()[0].pixels
    mean, deviation = channel_statistics(pixels)
    patches = normalise(pixels, mean, deviation, 8).flatten(0, 1)

    def error(centres: torch.Tensor) -> float:
        return float((patches - centres[nearest_codes(patches, centres)]).square().mean())

    fitted = error(fit_codebook(pixels, mean, deviation, small_config(), 0))
    generator = torch.Generator().manual_seed(0)
    chance = [error(patches[torch.randperm(len(patches), generator=generator)[:16]]) for _ in range(10)]
    assert fitted < 0.9 * min(chance)


def test_the_nearest_code_is_the_nearest() -> None:
    generator = torch.Generator().manual_seed(1)
    patches, centres = torch.randn(3, 5, 6, generator=generator), torch.randn(7, 6, generator=generator)
    assert torch.equal(nearest_codes(patches, centres), torch.cdist(patches, centres.expand(3, -1, -1)).argmin(-1))


def test_no_picture_gives_an_empty_codebook() -> None:
    none = torch.zeros(0, 32, 32, 3, dtype=torch.uint8)
    assert not fit_codebook(none, *channel_statistics(none), small_config(), 0).any()
