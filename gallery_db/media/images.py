"""Read image files: completely and the right way up, or not at all."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gallery_db.errors import ImageError
from gallery_db.limits import IMAGE_BYTES, IMAGE_PIXELS
from gallery_db.regular_files import read_regular

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["IMAGE_SUFFIXES", "SMALLEST_SIDE", "load_formats", "read_image", "read_image_bytes", "read_image_file"]

_JPEG_AND_PNG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng")
_OTHER_SUFFIXES = (
    ".bmp",
    ".dib",
    ".webp",
    ".tif",
    ".tiff",
    ".gif",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".jp2",
    ".j2k",
    ".jpx",
    ".avif",
)

IMAGE_SUFFIXES = frozenset((*_JPEG_AND_PNG_SUFFIXES, *_OTHER_SUFFIXES))
"""Suffixes, in lower case, of the files that count as images."""

SMALLEST_SIDE = 10
"""Pixels; an image that is smaller in either direction is too small to show a person."""

_EXIF_ORIENTATION = 0x0112
_DIRECTIONS = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}
"""Directions of the rows and columns of an upright image in the stored one, by EXIF orientation."""
_BAND_PIXELS = 1 << 20

# Not all formats of Pillow: some of its readers start other programs, or read only a preview.
_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")
_READERS = ("Jpeg", "Mpo", "Png", "Bmp", "WebP", "Tiff", "Gif", "Ppm", "Jpeg2K", "Avif")
"""Pillow's modules for them."""


def read_image(path: str | os.PathLike[str], *, smallest_side: int = SMALLEST_SIDE) -> NDArray[np.uint8]:
    """Read an image file.

    Args:
        path: The file. Its content decides the format, not its suffix.
        smallest_side: Least width and height in pixels.

    Returns:
        (H, W, 3) uint8 in BGR order, C-contiguous, turned by its EXIF orientation. Of an animation, the first frame;
        transparent parts are grey.

    Raises:
        ImageError: The file cannot be read, is not an image, or is truncated, too large or too small. The message
            names the file.
    """
    file = Path(path)
    try:
        data = read_image_file(file)
    except OSError as error:
        raise ImageError(
            f"{file} cannot be read: {error.strerror or error}.", hint="Check the path and its permissions."
        ) from error
    return read_image_bytes(data, name=str(file), smallest_side=smallest_side)


def read_image_file(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a regular file that is no larger than an image may be.

    Raises:
        OSError: There is none, it is larger, or it cannot be read.
    """
    return read_regular(path, IMAGE_BYTES.value, IMAGE_BYTES.describe())


def load_formats() -> list[str]:
    """Load the readers of the formats that can be read, which Pillow else does with all that it knows; return them."""
    from importlib import import_module

    from PIL import Image

    for reader in _READERS:
        with suppress(ImportError):
            import_module(f"PIL.{reader}ImagePlugin")
    return [name for name in _FORMATS if name in Image.OPEN]  # without those that this Pillow lacks, such as AVIF


def read_image_bytes(
    data: bytes,
    *,
    name: str = "the image",
    smallest_side: int = SMALLEST_SIDE,
    least: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """Decode the bytes of an image file.

    Args:
        data: The bytes.
        name: Name of the image in messages.
        smallest_side: Least width and height in pixels.
        least: (height, width) that is enough: a JPEG file that is at least twice as large in both directions is decoded
            at a half, a quarter or an eighth of its size, which is no less than this, in a fraction of the time.

    Returns:
        As `read_image`.

    Raises:
        ImageError: As `read_image`.
    """
    if not data:
        raise ImageError(f"{name} is empty.", hint="Copy the file again.")
    if len(data) > IMAGE_BYTES.value:
        raise ImageError(f"{name} has {len(data):,} bytes; {IMAGE_BYTES.describe()}.", hint="Scale it down.")
    most = IMAGE_PIXELS.value
    import io

    from PIL import Image, UnidentifiedImageError

    formats = load_formats()
    with warnings.catch_warnings():
        # Pillow warns about oddities that it reads correctly, and about sizes, which are checked below.
        warnings.simplefilter("ignore")
        if Image.MAX_IMAGE_PIXELS is not None and most > Image.MAX_IMAGE_PIXELS:
            Image.MAX_IMAGE_PIXELS = most
        try:
            with Image.open(io.BytesIO(data), formats=formats) as image:
                width, height = image.size
                if min(width, height) < smallest_side:
                    raise ImageError(
                        f"{name} is {width} x {height} pixels; expected at least {smallest_side} in each direction.",
                        hint="Use a larger picture.",
                    )
                if width * height > most:
                    raise ImageError(
                        f"{name} is too large to decode: it is {width} x {height} pixels; {IMAGE_PIXELS.describe()}.",
                        hint=f"Scale it down, or raise {IMAGE_PIXELS.variable}.",
                    )
                if least is not None and image.format == "JPEG":
                    tall, wide = least if _orientation(image) < 5 else least[::-1]
                    image.draft(image.mode, (wide, tall))
                image.load()
                turn = _orientation(image)
                array = _to_bgr(image)
        except ImageError:
            raise
        except UnidentifiedImageError:
            raise ImageError(
                f"{name} is not an image that can be read.",
                hint="Use a JPEG, PNG, BMP, WebP, TIFF, GIF, PPM, JPEG 2000 or AVIF file.",
            ) from None
        except Image.DecompressionBombError as error:
            raise ImageError(
                f"{name} is too large to decode: {error}",
                hint=f"Scale it down, or raise {IMAGE_PIXELS.variable}.",
            ) from error
        except MemoryError as error:
            raise ImageError(f"{name} needs more memory than there is.", hint="Scale it down.") from error
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ValueError, ...
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ImageError(
                f"{name} is damaged or truncated and cannot be decoded: {reason}.", hint="Copy or export it again."
            ) from error
    return _turned(array, turn)


def _orientation(image: Image) -> int:
    """Return the EXIF orientation of an image, 1 to 8; 1 where it has none."""
    try:
        turn = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - damaged EXIF of any kind; the image itself can still be read
        return 1
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def _turned(array: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """Return an image (H, W, 3), stored with an EXIF orientation, the right way up and C-contiguous."""
    if turn >= 5:
        array = array.transpose(1, 0, 2)
    # After it, the orientations 5 to 8 differ from 1 to 4 in the directions of the axes alone.
    down, right = _DIRECTIONS[turn]
    return np.ascontiguousarray(array[::down, ::right])


def _to_bgr(image: Image) -> NDArray[np.uint8]:
    """Return a decoded image as (H, W, 3) uint8 BGR, as it is stored.

    It is converted band by band, so that it takes no more memory than the image and the result.
    """
    array = np.empty((image.height, image.width, 3), np.uint8)
    if image.mode.startswith(("I", "F")):
        for band, grey in _to_grey(np.asarray(image)):
            array[band] = grey[:, :, None]
        return array
    rows = _band_rows(image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        array[top:bottom] = _band_to_rgb(image.crop((0, top, image.width, bottom)))[:, :, ::-1]
    return array


def _band_to_rgb(image: Image) -> NDArray[np.uint8]:
    from PIL import Image as PillowImage

    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        # The colour of transparent pixels is arbitrary, often black; grey is neutral.
        ground = PillowImage.new("RGBA", image.size, (128, 128, 128, 255))
        image = PillowImage.alpha_composite(ground, image)
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _to_grey(values: NDArray[np.generic]) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """Scale values (H, W) of more than 8 bits to uint8, band by band; Pillow would clip them at 255."""
    rows = _band_rows(values.shape[1])
    bands = [slice(start, start + rows) for start in range(0, len(values), rows)]
    most = max((np.nan_to_num(values[band].astype(np.float64)).max(initial=0.0) for band in bands), default=0.0)
    scale, divisor = 1.0, 1.0
    if values.dtype.kind == "f" and most <= 1.0:
        scale = 255.0
    elif values.dtype.itemsize == 2 or most > 255.0:
        divisor = 257.0 if most <= 65535.0 else most / 255.0
    for band in bands:
        grey = np.nan_to_num(values[band].astype(np.float64)) * scale / divisor
        yield band, np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _band_rows(width: int) -> int:
    return max(1, _BAND_PIXELS // width)
