"""Video files as cameras and phones write them, made by PyAV. Each frame shows its number."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

__all__ = ["numbered_picture", "read_number", "turn_clip", "write_clip"]

_BITS = 10
_SIDE = 16


def numbered_picture(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an (H, W, 3) uint8 picture with a number, as black and white squares in its first row; grey below it."""
    image = np.full((size[1], size[0], 3), 128, np.uint8)
    for bit in range(_BITS):
        image[:_SIDE, bit * _SIDE : (bit + 1) * _SIDE] = 255 * (number >> bit & 1)
    return image


def read_number(image: NDArray[np.uint8]) -> int:
    """Return the number that a picture shows."""
    middle = image[_SIDE // 2, _SIDE // 2 : _BITS * _SIDE : _SIDE, 1]
    return sum(1 << bit for bit, value in enumerate(middle) if value > 127)


def write_clip(
    path: Path,
    frames: int,
    *,
    size: tuple[int, int] = (192, 64),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rate: int = 25,
    times_ms: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video whose frames show their numbers.

    Args:
        path: The file; its suffix selects the container.
        frames: Number of frames, at most 1024.
        size: Width and height.
        codec, pixels, options: The encoder, its format of pixels, and its options.
        rate: Frames per second.
        times_ms: Presentation times; None for a constant rate.
    """
    unit = Fraction(1, rate) if times_ms is None else Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.time_base = stream.codec_context.time_base = unit
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number, size), format="bgr24").reformat(format=pixels)
            frame.pts = number if times_ms is None else times_ms[number]
            frame.time_base = unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn_clip(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write a display matrix into an ``.mp4``, as phones do: the ``a, b, c, d`` of its track header."""
    data = bytearray(path.read_bytes())
    # Box type, version and flags, five times and ids, 8 bytes reserved, layer to reserved (ISO 14496-12, 8.3.2).
    start = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
