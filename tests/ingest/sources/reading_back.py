"""Reading back what the synthetic world wrote: pictures and sounds, by the rules of their formats."""

from __future__ import annotations

import io
import struct
import wave
import zlib

import numpy as np
from numpy.typing import NDArray

from palate.ingest.sources import sounds


def decode(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a PNG file, by the letter of the format."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: list[tuple[bytes, bytes]] = []
    place = 8
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", data, place + 8 + length)[0] == zlib.crc32(kind + body)
        chunks.append((kind, body))
        place += 12 + length
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour, compression, filters, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, colour, compression, filters, interlace) == (8, 2, 0, 0, 0)
    rows = np.frombuffer(zlib.decompress(chunks[1][1]), np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def hear(data: bytes) -> NDArray[np.int16]:
    with wave.open(io.BytesIO(data)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, sounds.SAMPLE_RATE)
        return np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
