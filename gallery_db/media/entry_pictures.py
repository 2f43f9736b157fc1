"""Find and read the picture of an entry: its stored crop, its source image, or a frame of its video."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Box, Entry
from gallery_db.errors import ImageError
from gallery_db.limits import IMAGE_BYTES
from gallery_db.media.images import IMAGE_SUFFIXES, read_image_bytes
from gallery_db.regular_files import open_regular
from gallery_db.store.folder import holds_gallery
from gallery_db.store.picture_sources import is_own_source
from gallery_db.store.record import Record
from gallery_db.store.schema import RECORD_NAME

__all__ = [
    "PICTURES_FOLDER",
    "EntryPicture",
    "ReadFrame",
    "crop_box",
    "crop_path",
    "detect_image_suffix",
    "find_picture",
    "has_picture",
    "imported_picture_path",
    "is_hashed_image",
    "needs_video_frame",
    "read_entry_picture",
    "sha256_hex",
]

PICTURES_FOLDER = "pictures"
"""Folder in a gallery for the pictures that were imported with entries."""

ReadFrame = Callable[[str, int], NDArray[np.uint8]]
"""Return a frame, (H, W, 3) uint8 BGR, of a video by its path and 0-based number, or raise a `GtrackError`."""

_MIN_CROP_SIDE = 2  # pixels, as for the box of a detection

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
class EntryPicture:
    """The picture of an entry as an image file.

    Attributes:
        data: The bytes of the image file.
        suffix: The suffix of its format, such as ``".jpg"``.
        box: The part of the image that shows the entry, (x1, y1, x2, y2) in pixels; None for the whole image.
    """

    data: bytes
    suffix: str
    box: Box | None


def detect_image_suffix(data: bytes) -> str | None:
    """Return the suffix of an image file's format by its first bytes; None where it is not an image."""
    for magic, suffix in _MAGIC:
        if data.startswith(magic):
            return suffix
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    return ".avif" if data[4:12] in (b"ftypavif", b"ftypavis") else None


def crop_path(folder: Path, entry: Entry) -> Path | None:
    """Return the path of an entry's crop in a gallery's folder, from ``extra["crop"]``.

    Returns:
        None where there is no crop, or where its path must not be written to: outside the folder, a file of the
        gallery itself, or not an image.
    """
    crop = entry.extra.get("crop")
    if not isinstance(crop, str) or not crop or "\0" in crop:
        return None
    path = PurePath(crop)
    is_gallery_file = path.parts[0].split(".")[0] in ("chroma", "gallery") if path.parts else True
    if path.is_absolute() or ".." in path.parts or is_gallery_file or path.suffix.lower() not in IMAGE_SUFFIXES:
        return None
    root = Path(os.path.realpath(folder))
    target = Path(os.path.realpath(root / path))
    return target if root in target.parents else None


def is_hashed_image(entry: Entry) -> bool:
    """Return whether the ``content_hash`` of an entry is the hash of its imported picture."""
    return entry.origin == "image" and bool(entry.content_hash) and not entry.extra.get("crop")


def imported_picture_path(folder: Path, entry: Entry, suffix: str) -> Path:
    """Return where an imported picture without a crop path is stored in a gallery's folder.

    Its name is the hash of the image file, so that all entries of one image share it, or made from the entry's id.
    """
    key = entry.content_hash if is_hashed_image(entry) else None
    # A content hash from outside could be any text, a path too; a hash of the id is always a safe name.
    stem = key if key and key.isalnum() else f"id-{sha256_hex(entry.id)[:40]}"
    return folder / PICTURES_FOLDER / f"{stem}{suffix}"


def needs_video_frame(entry: Entry) -> bool:
    """Return whether an entry shows a box in a frame of a video and has no stored crop."""
    return entry.frame is not None and not entry.extra.get("crop")


def find_picture(folder: Path, entry: Entry, record: Record | None = None) -> EntryPicture:
    """Return the stored crop of an entry, else its source image, else the picture that was imported with it.

    Crops and imported pictures are read inside the gallery's folder only, and source images only where
    `gallery_db.store.picture_sources` allows it: entries may come from strangers, who could name any file.

    Args:
        folder: The gallery's folder. If it holds no gallery, the paths are the caller's own, and are read as they are.
        entry: The entry.
        record: The gallery's record; None to open it for each entry.

    Raises:
        ImageError: There is no picture; the message says why.
    """
    crop = entry.extra.get("crop")
    reason = "it has no stored crop"
    if isinstance(crop, str) and crop:
        found = _crop_bytes(folder, entry, crop)
        if not isinstance(found, str):
            return EntryPicture(*found, None)
        reason = f"its crop {crop} {found}"
    elif entry.origin == "image" and entry.frame is None:
        reason = "it has no source"
        if entry.source:
            found = _source_bytes(folder, entry, record)
            if isinstance(found, str):
                reason = f"its source {entry.source} {found}"
            elif entry.content_hash not in (None, sha256_hex(found[0])):
                reason = f"its source {entry.source} is a different image now"
            else:
                return EntryPicture(*found, entry.box)
    for suffix in (".jpg", ".png", *sorted({suffix for _, suffix in _MAGIC} | {".webp", ".avif"})):
        path = imported_picture_path(folder, entry, suffix)
        if path.is_file() and _is_inside(folder, path):
            found = _image_bytes(path)
            if isinstance(found, str):
                continue
            if is_hashed_image(entry) and entry.content_hash != sha256_hex(found[0]):
                continue
            whole = entry.origin == "image" and not crop
            return EntryPicture(*found, entry.box if whole else None)
    raise ImageError(f"{reason[0].upper()}{reason[1:]}.", hint="Put the file back where it was.")


def has_picture(folder: Path, entry: Entry) -> bool:
    """Return whether the file is there that `find_picture`, or a reader of videos, would read; it is not opened.

    Args:
        folder: The gallery's folder.
        entry: The entry.
    """
    crop = entry.extra.get("crop")
    paths = [folder / crop if isinstance(crop, str) and crop else Path(entry.source)]
    suffixes = dict.fromkeys([".jpg", ".png", *(suffix for _, suffix in _MAGIC), ".webp", ".avif"])
    paths += [imported_picture_path(folder, entry, suffix) for suffix in suffixes]
    return any("\0" not in str(path) and path.is_file() for path in paths)


def read_entry_picture(
    folder: Path, entry: Entry, frames: ReadFrame | None = None, record: Record | None = None
) -> NDArray[np.uint8]:
    """Read the picture of an entry.

    Args:
        folder: The gallery's folder.
        entry: The entry.
        frames: Reads frames of videos, for entries without a stored crop.
        record: See `find_picture`.

    Returns:
        (H, W, 3) uint8 BGR, the entry's box only.

    Raises:
        GtrackError: There is no picture, or it cannot be read; the message says why.
    """
    try:
        found = find_picture(folder, entry, record)
    except ImageError as error:
        if not needs_video_frame(entry):
            raise
        if entry.box is None:
            raise ImageError("It has no stored crop, and no box in its frame.") from None
        if frames is None:
            raise ImageError(f"{error.message[:-1]}, and its video is not read here.") from None
        assert entry.frame is not None
        # Copied, because the reader writes the next frame into the same memory.
        return crop_box(frames(entry.source, entry.frame), entry.box).copy()
    image = read_image_bytes(found.data, name="its picture", smallest_side=_MIN_CROP_SIDE)
    return image if found.box is None else crop_box(image, found.box)


def crop_box(image: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Return the part of an image in a box, rounded to whole pixels and clipped like the box of a detection.

    Args:
        image: (H, W, 3) uint8.
        box: (x1, y1, x2, y2) in pixels.

    Returns:
        A view of the image, not a copy.

    Raises:
        ImageError: The part is smaller than 2 pixels in a direction.
    """
    height, width = image.shape[:2]
    limits = (width, height, width, height)
    x1, y1, x2, y2 = (
        round(min(max(value, 0.0), float(most))) if np.isfinite(value) else 0
        for value, most in zip(box, limits, strict=True)
    )
    if x2 - x1 < _MIN_CROP_SIDE or y2 - y1 < _MIN_CROP_SIDE:
        corners = ", ".join(f"{value:g}" for value in box)
        raise ImageError(f"Its box {corners} covers less than 2 x 2 pixels of the {width} x {height} picture.")
    return image[y1:y2, x1:x2]


def _is_inside(folder: Path, path: Path) -> bool:
    """Return whether a path, links resolved, is inside a folder."""
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents


def _crop_bytes(folder: Path, entry: Entry, crop: str) -> tuple[bytes, str] | str:
    """Return what `_image_bytes` does, for the crop of an entry."""
    if not holds_gallery(folder):
        return _image_bytes(folder / crop)
    path = crop_path(folder, entry)
    if path is None and "\0" not in crop and Path(crop).is_absolute() and _is_inside(folder, Path(crop)):
        inside = os.path.relpath(os.path.realpath(crop), os.path.realpath(folder))
        path = crop_path(folder, replace(entry, extra={"crop": inside}))
    return "is not an image in the gallery's folder" if path is None else _image_bytes(path)


def _source_bytes(folder: Path, entry: Entry, record: Record | None) -> tuple[bytes, str] | str:
    """Return what `_image_bytes` does, for the source of an entry."""
    if record is None and holds_gallery(folder):
        record = Record.open(folder / RECORD_NAME, write=False)
        try:
            return _source_bytes(folder, entry, record)
        finally:
            record.close()
    if record is not None and not _is_inside(folder, Path(entry.source)) and not is_own_source(record, entry):
        return "was not ingested on this machine"
    return _image_bytes(Path(entry.source))


def _image_bytes(path: Path) -> tuple[bytes, str] | str:
    """Return an image file's bytes and suffix, or the reason why there are none, such as ``"is gone"``.

    The first bytes are checked before the rest is read, so that a long video is not read as a whole.
    """
    try:
        with open_regular(path) as file:
            start = file.read(32)
            suffix = detect_image_suffix(start)
            if suffix is None:
                return "is not an image"
            size = os.fstat(file.fileno()).st_size
            if size > IMAGE_BYTES.value:
                return f"has {size:,} bytes; {IMAGE_BYTES.describe()}"
            return start + file.read(IMAGE_BYTES.value), suffix
    except FileNotFoundError:
        return "is gone"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def sha256_hex(data: bytes | str) -> str:
    """Return the SHA-256 of bytes, or of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
