"""Pictures of the synthetic world: a few equal shapes on a plain or striped ground, drawn with soft edges, as PNG.

Takes what a picture shows and how this one differs from others that show the same; gives pixels, and PNG files.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float64]
Pixels = NDArray[np.uint8]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40), "orange": (245, 130, 32), "yellow": (250, 208, 44), "green": (46, 150, 70),
    "blue": (38, 84, 200), "purple": (128, 56, 172), "brown": (124, 76, 42), "pink": (240, 120, 176),
}  # fmt: skip
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (250, 250, 248), "black": (40, 40, 46), "silver": (190, 194, 200), "mint": (178, 232, 206),
    "peach": (255, 216, 188), "turquoise": (92, 200, 206),
}  # fmt: skip
STRIPES = ("plain", "horizontal", "vertical", "diagonal")
COUNTS = ("one", "two", "three", "four", "five")

# Centres of the shapes, and the half width of each, as shares of the picture's side.
PLACES = (
    (((0.5, 0.5),), 0.34),
    (((0.29, 0.33), (0.71, 0.67)), 0.24),
    (((0.5, 0.27), (0.27, 0.71), (0.73, 0.71)), 0.205),
    (((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)), 0.195),
    (((0.22, 0.22), (0.78, 0.22), (0.5, 0.5), (0.22, 0.78), (0.78, 0.78)), 0.16),
)
STRIPES_ACROSS = 7
DEEPEST_TURN = 0.25
FINER = 4
"""Points a pixel's side: the share of them within a shape is how much of the pixel it covers."""


def _star(x: Grid, y: Grid) -> NDArray[np.bool_]:
    # Between a point and the notch beside it, the outline is a straight line.
    angle = np.abs((np.arctan2(x, -y) / (2 * np.pi) * 5 + 0.5) % 1 - 0.5) * (2 * np.pi / 5)
    radius = np.hypot(x, y)
    notch, corner = 0.42, np.pi / 5
    along, aside = radius * np.cos(angle), radius * np.sin(angle)
    notch_along, notch_aside = notch * np.cos(corner), notch * np.sin(corner)
    return (1 - notch_along) * aside <= notch_aside * (1 - along)


def _heart(x: Grid, y: Grid) -> NDArray[np.bool_]:
    across, up = 1.3 * x, 0.14 - 1.25 * y
    return (across**2 + up**2 - 1) ** 3 <= across**2 * up**3


# Each says which points belong to the shape; x runs to the right and y downwards, both from -1 to 1.
SHAPES: dict[str, Callable[[Grid, Grid], NDArray[np.bool_]]] = {
    "circle": lambda x, y: np.hypot(x, y) <= 0.92,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) <= 0.8,
    "triangle": lambda x, y: (y <= 0.75) & (1.9 * np.abs(x) <= y + 0.95),
    "star": _star,
    "heart": _heart,
    "moon": lambda x, y: (np.hypot(x, y) <= 0.95) & (np.hypot(x - 0.45, y + 0.1) > 0.72),
    "cross": lambda x, y: (np.minimum(np.abs(x), np.abs(y)) <= 0.28) & (np.maximum(np.abs(x), np.abs(y)) <= 0.92),
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.7) <= 0.24,
    "flower": lambda x, y: (
        (np.hypot(x, y) <= 0.7 + 0.26 * np.cos(6 * np.arctan2(y, x))) & (np.hypot(x, y) > 0.2)
    ),
    "drop": lambda x, y: (
        (np.hypot(x, y - 0.35) <= 0.6) | ((y <= 0.2) & (y >= -0.98) & (np.abs(x) <= 0.5 * (y + 0.98)))
    ),
}  # fmt: skip
_SHAPES = tuple(SHAPES.values())
_COLOURS = np.array(list(COLOURS.values()), dtype=np.float32)
_BACKGROUNDS = np.array(list(BACKGROUNDS.values()), dtype=np.float32)

JITTER = 5 + 2 * len(COUNTS)
"""Numbers in [0, 1) that tell one picture from another that shows the same: see `draw`."""


@dataclass(frozen=True)
class Scene:
    """What a picture shows, as places in `SHAPES`, `COLOURS`, `BACKGROUNDS`, `COUNTS` and `STRIPES`."""

    shape: int
    colour: int
    background: int
    count: int
    stripes: int


def draw(scene: Scene, jitter: NDArray[np.float64], size: int) -> Pixels:
    """The picture of a scene: size × size × 3, red, green, blue.

    Args:
        jitter: `JITTER` numbers in [0, 1): scale and turn of the shapes, shade, phase and width of the stripes, and
            the way each shape is off its place.
        size: width and height in pixels.
    """
    centres, half = PLACES[scene.count]
    # Few scales and turns, so that each shape is cut out once and used for thousands of pictures.
    half_pixels = max(2, round(half * size * (0.84 + 0.08 * int(3 * jitter[0]))))
    cover, edge = _stencil(scene.shape, half_pixels, int(3 * jitter[1]) - 1, max(1, size // 72))
    colour = _COLOURS[scene.colour] * np.float32(0.9 + 0.1 * jitter[2])
    paint = cover * colour + (edge - cover) * (colour * np.float32(0.35))
    canvas = _ground(scene.background, scene.stripes, int(4 * jitter[3]), int(2 * jitter[4]), size).copy()
    side = len(cover)
    room = size - side
    for place, (across, down) in enumerate(centres):
        off = (jitter[5 + 2 * place : 7 + 2 * place] - 0.5) * 0.07
        left = min(max(round((across + off[0]) * size - side / 2), 0), room)
        top = min(max(round((down + off[1]) * size - side / 2), 0), room)
        under = canvas[top : top + side, left : left + side]
        under *= 1 - edge
        under += paint
    return canvas.astype(np.uint8)


@lru_cache(maxsize=1024)
def _stencil(shape: int, half: int, turn: int, line: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How much of each pixel the shape covers, and how much it covers together with its outline: side × side × 1."""
    fine = (np.arange(2 * half * FINER) + 0.5) / (half * FINER) - 1
    angle = turn * DEEPEST_TURN
    x, y = np.meshgrid(fine, fine)
    inside = _SHAPES[shape](x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle))
    cover = inside.reshape(2 * half, FINER, 2 * half, FINER).mean(axis=(1, 3))
    padded = np.pad(cover, line)
    edge = np.zeros_like(padded)
    for down in range(2 * line + 1):
        for across in range(2 * line + 1):
            part = edge[down : down + 2 * half, across : across + 2 * half]
            np.maximum(part, cover, out=part)
    return padded[:, :, None].astype(np.float32), edge[:, :, None].astype(np.float32)


@lru_cache(maxsize=256)
def _ground(background: int, stripes: int, phase: int, width: int, size: int) -> NDArray[np.float32]:
    base = _BACKGROUNDS[background]
    darker = base * np.float32(0.86) if base.mean() > 100 else base + np.float32(46)
    across, down = np.meshgrid(np.arange(size), np.arange(size))
    along = {"plain": None, "horizontal": down, "vertical": across, "diagonal": across + down}[STRIPES[stripes]]
    if along is None:
        return np.broadcast_to(base, (size, size, 3)).astype(np.float32)
    waves = (along * (STRIPES_ACROSS + width) / size + phase / 4) % 1 < 0.5
    return np.where(waves[:, :, None], darker, base).astype(np.float32)


def png_bytes(pixels: Pixels) -> bytes:
    """A PNG file of height × width × 3 pixels (8 bits a channel, no interlace, no row filter)."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)
    rows[:, 1:] = pixels.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
