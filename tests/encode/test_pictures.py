"""Picture files of every kind become the same plain pixels, and what is no sound picture says why."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from palate.core.errors import DataError
from palate.encode.pictures import read_picture

LEFT, RIGHT = (200, 40, 20), (20, 60, 220)


def halves(mode: str = "RGB") -> Image.Image:
    """A red and a blue half, 40 × 20."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20], pixels[:, 20:] = LEFT, RIGHT
    return Image.fromarray(pixels).convert(mode)


def stored(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def read(data: bytes, most_pixels: int = 1_000_000) -> NDArray[np.uint8]:
    picture = read_picture(data, most_pixels=most_pixels)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def assert_halves(pixels: NDArray[np.uint8]) -> None:
    assert pixels.shape == (20, 40, 3)
    assert np.abs(pixels[:, 3:17].astype(float) - LEFT).max() <= 12
    assert np.abs(pixels[:, 23:37].astype(float) - RIGHT).max() <= 12


@pytest.mark.parametrize(
    "data",
    [
        stored(halves(), "JPEG", quality=95),
        stored(halves(), "JPEG", quality=95, progressive=True),
        stored(halves("CMYK"), "JPEG", quality=95),
        stored(halves(), "PNG"),
        stored(halves().quantize(4), "PNG"),
        stored(halves("RGBA"), "PNG"),
        stored(halves().quantize(4), "GIF"),
        stored(halves(), "WEBP", quality=95),
        stored(halves(), "WEBP", lossless=True),
        stored(halves(), "BMP"),
        stored(halves(), "TIFF"),
        stored(halves("CMYK"), "TIFF"),
    ],
    ids=[
        "jpeg",
        "progressive",
        "cmyk",
        "png",
        "palette",
        "rgba",
        "gif",
        "webp",
        "lossless",
        "bmp",
        "tiff",
        "cmyk-tiff",
    ],
)
def test_every_kind_gives_the_same_pixels(data: bytes) -> None:
    assert_halves(read(data))


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_pictures_become_three_equal_channels(mode: str) -> None:
    pixels = read(stored(Image.new("L", (8, 8), 255).convert(mode), "PNG"))
    assert (pixels == 255).all()


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    pixels = read(stored(Image.fromarray(values), "PNG"))
    assert np.array_equal(pixels[..., 0], (values >> 8).astype(np.uint8))


def test_transparent_parts_are_white() -> None:
    picture = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    picture.putpixel((0, 0), (255, 0, 0, 255))
    pixels = read(stored(picture, "PNG"))
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert (pixels[1:] == 255).all()
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.putdata([0, 1])
    assert read(stored(palette, "PNG", transparency=0))[0].tolist() == [[255, 255, 255], [9, 9, 9]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photographs_are_set_upright(orientation: int) -> None:
    turn = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = halves()
    assert_halves(read(stored(source if turn is None else source.transpose(turn), "JPEG", quality=95, exif=exif)))


def test_an_animation_gives_its_first_frame() -> None:
    frames = [halves(), Image.new("RGB", (40, 20), "green")]
    assert_halves(read(stored(frames[0], "WEBP", lossless=True, save_all=True, append_images=frames[1:])))


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims a size; a few bytes long."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + stored(halves(), "PNG")[33:]


def test_a_picture_that_claims_to_be_huge_is_not_decoded() -> None:
    with pytest.raises(
        DataError, match="30,000 × 30,000 pixels, the limit is 50,000,000 in all; the setting max_pixels"
    ):
        read(bomb(30_000, 30_000), 50_000_000)
    # Pillow itself would only warn about this one, and warnings are errors here.
    with pytest.raises(DataError, match="10,000 × 10,000"):
        read(bomb(10_000, 10_000), 50_000_000)
    read(stored(halves(), "PNG"), 800)
    with pytest.raises(DataError, match="40 × 20 pixels, the limit is 799"):
        read(stored(halves(), "PNG"), 799)


def test_other_files_are_named_for_what_they_are() -> None:
    with pytest.raises(DataError, match=r"no picture that can be read .*; it looks like text"):
        read("Straße, <html>".encode() * 40)
    with pytest.raises(DataError, match=r"no picture that can be read .*; it is of another kind"):
        read(b"RIFF\x10\0\0\0WAVEfmt ")
    with pytest.raises(DataError, match="no picture"):
        read(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_picture_is_damaged(kind: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = stored(noise, kind)
    with pytest.raises(DataError, match=r"picture is damaged: |no picture"):
        read(data[: int(share * len(data))])


SAMPLES = [stored(halves(), kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")]


@given(st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=12))
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_any_damage_ends_in_pixels_or_in_a_reason(data: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    with suppress(DataError):
        assert read(bytes(damaged), 100_000).ndim == 3
