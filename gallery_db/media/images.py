"""Read image files: completely and the right way up, or not at all."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gallery_db.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["IMAGE_SUFFIXES", "SMALLEST_SIDE", "read_image", "read_image_bytes"]

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

# Not all formats of Pillow: some of its readers start other programs, or read only a preview.
_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")


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
        data = file.read_bytes()
    except OSError as error:
        raise ImageError(
            f"{file} cannot be read: {error.strerror or error}.", hint="Check the path and its permissions."
        ) from error
    return read_image_bytes(data, name=str(file), smallest_side=smallest_side)


def read_image_bytes(data: bytes, *, name: str = "the image", smallest_side: int = SMALLEST_SIDE) -> NDArray[np.uint8]:
    """Decode the bytes of an image file.

    Args:
        data: The bytes.
        name: Name of the image in messages.
        smallest_side: Least width and height in pixels.

    Returns:
        As `read_image`.

    Raises:
        ImageError: As `read_image`.
    """
    if not data:
        raise ImageError(f"{name} is empty.", hint="Copy the file again.")
    import io

    from PIL import Image, UnidentifiedImageError

    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]  # without those that this Pillow lacks, such as AVIF

    with warnings.catch_warnings():
        # Pillow warns about oddities that it reads correctly; only the warning about the size matters.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=formats) as image:
                width, height = image.size
                if min(width, height) < smallest_side:
                    raise ImageError(
                        f"{name} is {width} x {height} pixels; expected at least {smallest_side} in each direction.",
                        hint="Use a larger picture.",
                    )
                image.load()
                array = _to_rgb(image)
        except ImageError:
            raise
        except UnidentifiedImageError:
            raise ImageError(
                f"{name} is not an image that can be read.",
                hint="Use a JPEG, PNG, BMP, WebP, TIFF, GIF, PPM, JPEG 2000 or AVIF file.",
            ) from None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ImageError(f"{name} is too large to decode: {error}", hint="Scale it down.") from error
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ValueError, ...
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ImageError(
                f"{name} is damaged or truncated and cannot be decoded: {reason}.", hint="Copy or export it again."
            ) from error
    return np.ascontiguousarray(array[:, :, ::-1])


def _to_rgb(image: Image) -> NDArray[np.uint8]:
    from PIL import Image as PillowImage
    from PIL import ImageOps

    try:
        image = ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - damaged EXIF of any kind; the image itself can still be read
        image = image.copy()
    if image.mode.startswith(("I", "F")):
        return _grey_to_rgb(np.asarray(image))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        # The colour of transparent pixels is arbitrary, often black; grey is neutral.
        ground = PillowImage.new("RGBA", image.size, (128, 128, 128, 255))
        image = PillowImage.alpha_composite(ground, image)
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _grey_to_rgb(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale values of more than 8 bits to (H, W, 3) uint8; Pillow would clip them at 255."""
    grey = np.nan_to_num(values.astype(np.float64))
    top = grey.max(initial=0.0)
    if values.dtype.kind == "f" and top <= 1.0:
        grey = grey * 255.0
    elif values.dtype.itemsize == 2 or top > 255.0:
        grey = grey / (257.0 if top <= 65535.0 else top / 255.0)
    plane = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return np.repeat(plane[:, :, None], 3, axis=2)
