"""Where the picture of an entry is, and what it shows: a kept crop, the source image, a frame of a video."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Box, Entry
from gallery_db.errors import ImageError
from gallery_db.media.images import IMAGE_SUFFIXES, read_image_bytes

__all__ = [
    "PICTURES",
    "FrameReader",
    "Picture",
    "crop_place",
    "cut",
    "digest",
    "find_picture",
    "image_suffix",
    "is_by_hash",
    "is_of_frame",
    "picture_place",
    "pixels_of",
]

PICTURES = "pictures"
"""Folder in a gallery of the pictures that were imported with entries."""

FrameReader = Callable[[str, int], NDArray[np.uint8]]
"""Gives a frame, (H, W, 3) uint8 BGR, of a video by its path and 0-based number; raises a GtrackError."""

_SMALLEST_CROP = 2  # pixels a side, as for a detection's box

_MAGIC = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"BM", ".bmp"),
    (b"GIF8", ".gif"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"\0\0\0\x0cjP  ", ".jp2"),
    (b"\xff\x4f\xff\x51", ".j2k"),
    *((f"P{number}".encode(), ".ppm") for number in range(1, 7)),
)


@dataclass(frozen=True, slots=True)
class Picture:
    """An entry's picture as a file's bytes.

    Attributes:
        data: The image file.
        suffix: What it is, such as ``".jpg"``.
        box: What of it the entry is, in pixels; None for all of it.
    """

    data: bytes
    suffix: str
    box: Box | None


def image_suffix(data: bytes) -> str | None:
    """The suffix that belongs to an image file by its first bytes; None for what is no image."""
    for magic, suffix in _MAGIC:
        if data.startswith(magic):
            return suffix
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    return ".avif" if data[4:12] in (b"ftypavif", b"ftypavis") else None


def crop_place(folder: Path, entry: Entry) -> Path | None:
    """Where in a gallery's folder an entry's crop may be put: as ``extra["crop"]`` says, if that is harmless."""
    crop = entry.extra.get("crop")
    if not isinstance(crop, str) or not crop or "\0" in crop:
        return None
    path = PurePath(crop)
    ours = path.parts[0].split(".")[0] in ("chroma", "gallery") if path.parts else True
    if path.is_absolute() or ".." in path.parts or ours or path.suffix.lower() not in IMAGE_SUFFIXES:
        return None
    root = Path(os.path.realpath(folder))
    place = Path(os.path.realpath(root / path))
    return place if root in place.parents else None


def is_by_hash(entry: Entry) -> bool:
    """Whether an entry's imported picture is the image file that its ``content_hash`` is of."""
    return entry.origin == "image" and bool(entry.content_hash) and not entry.extra.get("crop")


def picture_place(folder: Path, entry: Entry, suffix: str) -> Path:
    """Where in a gallery's folder an imported picture is put that has no place of its own.

    Under the hash of the image file, so that all entries of one image share it; else under the entry's id.
    """
    key = entry.content_hash if is_by_hash(entry) else None
    # A hash that is none could be any name; the id always can.
    stem = key if key and key.isalnum() else f"id-{digest(entry.id)[:40]}"
    return folder / PICTURES / f"{stem}{suffix}"


def is_of_frame(entry: Entry) -> bool:
    """Whether an entry shows a box on a frame of a video, and has no crop of its own."""
    return entry.frame is not None and not entry.extra.get("crop")


def find_picture(folder: Path, entry: Entry) -> Picture:
    """The kept crop of an entry, else its source image, else the picture that was imported with it.

    Args:
        folder: The gallery's folder.
        entry: Whose picture.

    Raises:
        ImageError: There is none; says why.
    """
    crop = entry.extra.get("crop")
    reason = "no crop was kept of it"
    if isinstance(crop, str) and crop:
        found = _image_bytes(folder / crop)
        if not isinstance(found, str):
            return Picture(*found, None)
        reason = f"its crop {crop} {found}"
    elif entry.origin == "image" and entry.frame is None:
        reason = "no source is known of it"
        if entry.source:
            found = _image_bytes(Path(entry.source))
            if isinstance(found, str):
                reason = f"its source {entry.source} {found}"
            elif entry.content_hash not in (None, digest(found[0])):
                reason = f"its source {entry.source} holds another picture now"
            else:
                return Picture(*found, entry.box)
    for suffix in (".jpg", ".png", *sorted({suffix for _, suffix in _MAGIC} | {".webp", ".avif"})):
        place = picture_place(folder, entry, suffix)
        if place.is_file():
            found = _image_bytes(place)
            if isinstance(found, str):
                continue
            if is_by_hash(entry) and entry.content_hash != digest(found[0]):
                continue
            whole = entry.origin == "image" and not crop
            return Picture(*found, entry.box if whole else None)
    raise ImageError(f"{reason[0].upper()}{reason[1:]}.", hint="Put the file back where it was.")


def pixels_of(folder: Path, entry: Entry, frames: FrameReader | None = None) -> NDArray[np.uint8]:
    """What an entry shows, (H, W, 3) uint8 BGR.

    Args:
        folder: The gallery's folder.
        entry: Whose picture.
        frames: Reads frames of videos, for entries of which no crop was kept.

    Raises:
        GtrackError: There is no such picture, or it cannot be read; says why.
    """
    try:
        found = find_picture(folder, entry)
    except ImageError as error:
        if not is_of_frame(entry):
            raise
        if entry.box is None:
            raise ImageError("No crop was kept of it, and where it is on its frame is not known.") from None
        if frames is None:
            raise ImageError(f"{error.message[:-1]}, and videos are not read here.") from None
        assert entry.frame is not None
        # The frame's memory is the reader's own.
        return cut(frames(entry.source, entry.frame), entry.box).copy()
    image = read_image_bytes(found.data, name="its picture", smallest_side=_SMALLEST_CROP)
    return image if found.box is None else cut(image, found.box)


def cut(image: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """A box's part of an image, rounded to whole pixels and clipped as a detection's box is.

    Raises:
        ImageError: It shows less than 2 pixels in a direction.
    """
    height, width = image.shape[:2]
    limits = (width, height, width, height)
    x1, y1, x2, y2 = (
        round(min(max(value, 0.0), float(most))) if np.isfinite(value) else 0
        for value, most in zip(box, limits, strict=True)
    )
    if x2 - x1 < _SMALLEST_CROP or y2 - y1 < _SMALLEST_CROP:
        corners = ", ".join(f"{value:g}" for value in box)
        raise ImageError(f"Its box {corners} shows nothing of the {width} x {height} picture.")
    return image[y1:y2, x1:x2]


def _image_bytes(path: Path) -> tuple[bytes, str] | str:
    """An image file's bytes and suffix, or why there are none; a long video is not read for that."""
    try:
        with path.open("rb") as file:
            start = file.read(32)
            suffix = image_suffix(start)
            if suffix is None:
                return "is no image"
            return start + file.read(), suffix
    except FileNotFoundError:
        return "is gone"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def digest(data: bytes | str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
