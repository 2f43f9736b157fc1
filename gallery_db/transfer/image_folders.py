"""A gallery to a tree of image folders, one an identity: what `ingest_folder` reads."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gallery_db.entry import Entry
from gallery_db.errors import GalleryError, ImageError
from gallery_db.media.entry_pictures import crop_box, find_picture
from gallery_db.media.images import read_image_bytes

if TYPE_CHECKING:
    from gallery_db.gallery import Gallery

__all__ = ["FoldersReport", "export_folders"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FoldersReport:
    """What an export to image folders wrote.

    Attributes:
        folder: The folder.
        written: Number of images.
        identities: Number of folders with images.
        missing: (id, reason) of each entry that could not be written.
    """

    folder: Path
    written: int
    identities: int
    missing: tuple[tuple[str, str], ...]


_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{n}" for n in range(1, 10)), *(f"lpt{n}" for n in range(1, 10))]
)
_MOST_BYTES = 120  # of a name; 255 is what file systems take


@dataclass(slots=True)
class _Names:
    """Names that were given, so that no two things share one, in upper or lower case."""

    given: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def name(self, key: str, wanted: str, suffix: str = "") -> str:
        if key in self.given:
            return self.given[key]
        name, number = wanted + suffix, 2
        while _folded(name) in self.taken:
            name, number = f"{wanted}-{number}{suffix}", number + 1
        self.taken.add(_folded(name))
        self.given[key] = name
        return name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _safe_name(text: str) -> str:
    """A name for a file or folder that stays where it is put, on any system, and that an ingest looks at."""
    good = "".join("_" if c in '<>:"/\\|?*' or not c.isprintable() else c for c in text).strip()
    good = good.rstrip(". ")
    if good.startswith("."):
        good = "_" + good[1:]
    if good.partition(".")[0].lower() in _RESERVED:
        good = f"_{good}"
    data = good.encode("utf-8", "replace")
    if len(data) > _MOST_BYTES:
        good = data[:_MOST_BYTES].decode("utf-8", "ignore").rstrip(". ")
    return good or "_"


def export_folders(
    gallery: Gallery,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FoldersReport:
    """Write a gallery's pictures as a tree of image folders, FOLDER/IDENTITY/NAME.jpg, to be ingested again.

    Whole images and kept crops are copied byte for byte; a box on an image is cut out and saved as PNG. Names
    are made harmless, so that nothing leaves the folder. An identity of two classes has one folder.

    Args:
        gallery: Open, with the collection selected.
        folder: Where to; absent or empty.
        overwrite: It may hold something; files of the same names are replaced, others stay.
        progress: Called with (entries done, entries in all).

    Raises:
        GalleryError: The folder is not empty, is a gallery, or cannot be written.
    """
    root = Path(folder)
    if root.exists() and not root.is_dir():
        raise GalleryError(f"{root} is a file; expected a folder to write to.", hint="Choose another path.")
    from gallery_db.opening import is_gallery

    if is_gallery(root):
        raise GalleryError(f"{root} is a gallery; image folders do not go into it.", hint="Choose another path.")
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not overwrite and any(root.iterdir()):
            raise GalleryError(f"{root} is not empty.", hint="Choose another folder, or give --overwrite.")
        return _write_folders(gallery, root, progress)
    except OSError as error:
        raise GalleryError(
            f"{error.filename or root} cannot be written: {error.strerror or error}.",
            hint="Check the folder's permissions and the space on the disk.",
        ) from error


def _write_folders(gallery: Gallery, root: Path, progress: Progress | None) -> FoldersReport:
    real = Path(os.path.realpath(root))
    folders = _Names()
    files: dict[str, _Names] = {}
    missing: list[tuple[str, str]] = []
    written = 0
    used: set[str] = set()
    total = len(gallery)
    for done, entry in enumerate(gallery.entries(), 1):
        name = folders.name(entry.identity, _safe_name(entry.identity))
        place = root / name
        try:
            data, suffix = _picture_file(gallery.path, entry)
        except ImageError as error:
            missing.append((entry.id, error.message))
        else:
            if os.path.realpath(place) != str(real / name):
                missing.append((entry.id, f"{place} is a link that leads elsewhere"))
            else:
                stem = _safe_name(Path(str(entry.extra.get("crop") or entry.source or entry.id)).stem)
                place.mkdir(exist_ok=True)
                target = place / files.setdefault(name, _Names()).name(entry.id, stem, suffix)
                beside = target.with_name(f".{target.stem}.part{suffix}")
                try:
                    beside.write_bytes(data)
                    beside.replace(target)
                except BaseException:
                    beside.unlink(missing_ok=True)
                    raise
                written += 1
                used.add(name)
        if progress is not None:
            progress(done, max(total, done))
    return FoldersReport(root, written, len(used), tuple(missing))


def _picture_file(folder: Path, entry: Entry) -> tuple[bytes, str]:
    found = find_picture(folder, entry)
    if found.box is None:
        return found.data, found.suffix
    import io

    from PIL import Image

    part = crop_box(read_image_bytes(found.data, name="its picture", smallest_side=2), found.box)
    with io.BytesIO() as file:
        Image.fromarray(np.ascontiguousarray(part[:, :, ::-1])).save(file, format="PNG")
        return file.getvalue(), ".png"
