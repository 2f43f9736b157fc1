"""Export a gallery as image folders, one for each identity, which `ingest_folder` can read."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gallery_db.atomic_files import atomic_path
from gallery_db.entry import Entry
from gallery_db.errors import GalleryError, ImageError
from gallery_db.media.entry_pictures import crop_box, find_picture
from gallery_db.media.images import read_image_bytes
from gallery_db.safe_names import UniqueNames, safe_name

if TYPE_CHECKING:
    from gallery_db.gallery import Gallery

__all__ = ["FoldersReport", "export_folders"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FoldersReport:
    """The result of an export to image folders.

    Attributes:
        folder: The folder.
        written: Number of images.
        identities: Number of sub-folders with images.
        missing: (id, reason) of each entry that could not be written.
    """

    folder: Path
    written: int
    identities: int
    missing: tuple[tuple[str, str], ...]


def export_folders(
    gallery: Gallery,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FoldersReport:
    """Write a gallery's pictures as image folders, FOLDER/IDENTITY/NAME.jpg, which can be ingested again.

    Whole images and stored crops are copied byte for byte; a box on an image is cropped and saved as PNG. Names are
    changed where needed, so that no file is written outside the folder. An identity of two classes has one sub-folder.

    Args:
        gallery: Open, with the collection selected.
        folder: The folder to write to; absent or empty.
        overwrite: Allow a folder that is not empty; files with the same names are replaced, others stay.
        progress: Called with (entries done, all entries).

    Raises:
        GalleryError: The folder is not empty, is a gallery, or cannot be written.
    """
    root = Path(folder)
    if root.exists() and not root.is_dir():
        raise GalleryError(f"{root} is a file; expected a folder to write to.", hint="Choose another path.")
    from gallery_db.opening import is_gallery

    if is_gallery(root):
        raise GalleryError(
            f"{root} is a gallery; image folders cannot be written into a gallery.", hint="Choose another path."
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not overwrite and any(root.iterdir()):
            raise GalleryError(f"{root} is not empty.", hint="Choose another folder, or use `overwrite=True`.")
        return _write_folders(gallery, root, progress)
    except OSError as error:
        raise GalleryError(
            f"{error.filename or root} cannot be written: {error.strerror or error}.",
            hint="Check the folder's permissions and the free space on the disk.",
        ) from error


def _write_folders(gallery: Gallery, root: Path, progress: Progress | None) -> FoldersReport:
    real_root = Path(os.path.realpath(root))
    folder_names = UniqueNames()
    file_names: dict[str, UniqueNames] = {}  # of each sub-folder
    missing: list[tuple[str, str]] = []
    written = 0
    used: set[str] = set()
    total = len(gallery)
    for done, entry in enumerate(gallery.entries(), 1):
        name = folder_names.name_for(entry.identity, safe_name(entry.identity))
        identity_folder = root / name
        try:
            data, suffix = _picture_file(gallery, entry)
        except ImageError as error:
            missing.append((entry.id, error.message))
        else:
            if os.path.realpath(identity_folder) != str(real_root / name):
                missing.append((entry.id, f"{identity_folder} is a link to another place"))
            else:
                stem = safe_name(Path(str(entry.extra.get("crop") or entry.source or entry.id)).stem)
                identity_folder.mkdir(exist_ok=True)
                names = file_names.setdefault(name, UniqueNames())
                _write_file(identity_folder / names.name_for(entry.id, stem, suffix), data)
                written += 1
                used.add(name)
        if progress is not None:
            progress(done, max(total, done))
    return FoldersReport(root, written, len(used), tuple(missing))


def _write_file(target: Path, data: bytes) -> None:
    """Write a file under another name and rename it, so that it is never incomplete."""
    with atomic_path(target, flush=False) as temporary:
        temporary.write_bytes(data)


def _picture_file(gallery: Gallery, entry: Entry) -> tuple[bytes, str]:
    """Return the image file of an entry's picture, and its suffix; a part of an image becomes a PNG."""
    found = find_picture(gallery.path, entry, gallery.record)
    if found.box is None:
        return found.data, found.suffix
    import io

    from PIL import Image

    part = crop_box(read_image_bytes(found.data, name="its picture", smallest_side=2), found.box)
    with io.BytesIO() as file:
        Image.fromarray(np.ascontiguousarray(part[:, :, ::-1])).save(file, format="PNG")
        return file.getvalue(), ".png"
