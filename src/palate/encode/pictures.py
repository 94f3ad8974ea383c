"""Bytes of a picture file to plain RGB pixels, whatever the file holds; bytes that are no picture are a `DataError`.

The declared size is looked at before anything is decoded, so that a small file cannot ask for gigabytes.
"""

from __future__ import annotations

import importlib
import io
import struct
import zlib
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from palate.core.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

# Readers are chosen by a file's first bytes, not by its name; `Image.open` would also try readers that start programs.
_READERS: tuple[tuple[bytes, str, str], ...] = (
    (b"\xff\xd8\xff", "Jpeg", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "Png", "PNG"),
    (b"GIF87a", "Gif", "GIF"),
    (b"GIF89a", "Gif", "GIF"),
    (b"RIFF", "WebP", "WebP"),
    (b"BM", "Bmp", "BMP"),
    (b"II*\0", "Tiff", "TIFF"),
    (b"MM\0*", "Tiff", "TIFF"),
)
# What Pillow's readers raise over damaged files.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_ORIENTATION = 0x0112


class PictureTooLarge(DataError):
    """A picture of more pixels than are decoded.

    Args:
        width, height: of the picture.
        most: pixels of the largest picture that is decoded.
    """

    def __init__(self, width: int, height: int, most: int) -> None:
        self.width, self.height, self.most = width, height, most
        super().__init__(
            f"the picture is {width:,} × {height:,} pixels, the limit is {most:,} in all; "
            "the setting max_pixels allows more"
        )


def read_picture(data: bytes, *, most_pixels: int) -> Image:
    """The picture in `data`: RGB, upright, its first frame, transparent parts over white.

    Args:
        data: a whole file.
        most_pixels: width times height of the largest picture that is decoded.

    Raises:
        DataError: when it is no picture of a known kind, too large, or damaged.
    """
    from PIL.Image import DecompressionBombError, DecompressionBombWarning

    kind, reader = _reader(data)
    try:
        # The format's own reader, not `Image.open`: that one warns about sizes, and by a limit of its own.
        picture = cast("Image", reader(io.BytesIO(data)))
        width, height = picture.size
        if width * height > most_pixels:
            raise PictureTooLarge(width, height, most_pixels)
        picture.load()
        return _upright(_plain(picture), picture)
    except (DecompressionBombError, DecompressionBombWarning) as error:  # some readers ask Pillow's own limit
        raise DataError(f"the picture is too large: {error}") from None
    except _DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"the {kind} picture is damaged: {reason}") from None


def picture_kind(data: bytes) -> str | None:
    """The kind of picture ("JPEG", "WebP", …) that starts with these bytes, 12 at least; None for anything else."""
    found = _known(data)
    return None if found is None else found[1]


def _known(data: bytes) -> tuple[str, str] | None:
    for start, name, kind in _READERS:
        if data.startswith(start) and (kind != "WebP" or data[8:12] == b"WEBP"):
            return name, kind
    return None


def _reader(data: bytes) -> tuple[str, Any]:
    found = _known(data)
    if found is not None:
        name, kind = found
        module = importlib.import_module(f"PIL.{name}ImagePlugin")
        return kind, getattr(module, f"{name}ImageFile")
    known = ", ".join(dict.fromkeys(kind for _, _, kind in _READERS))
    head = data[:256].lstrip(b"\xef\xbb\xbf")
    looks = "looks like text" if not any(byte < 9 for byte in head) and _is_text(head) else "is of another kind"
    raise DataError(f"the file is no picture that can be read ({known}); it {looks}")


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4  # a letter that was cut in two
    return True


def _plain(picture: Image) -> Image:
    from PIL import Image

    mode = picture.mode
    if mode.startswith("I"):
        # Pillow would clip sixteen bits at 255 instead of scaling them.
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise DataError("the picture has more than 16 bits a channel")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if mode == "F":
        raise DataError("the picture's values are fractions of no known scale")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        seen = picture.convert("RGBA")
        ground = Image.new("RGB", seen.size, (255, 255, 255))
        ground.paste(seen, mask=seen.getchannel("A"))
        return ground
    return picture.convert("RGB")


def _upright(plain: Image, source: Image) -> Image:
    from PIL.Image import Transpose

    try:
        orientation: object = source.getexif().get(_ORIENTATION)
    except _DAMAGED:  # the pixels are sound all the same
        orientation = None
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(orientation) if isinstance(orientation, int) else None
    return plain if turn is None else plain.transpose(turn)
