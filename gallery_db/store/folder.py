"""What a folder holds: a gallery, Chroma's files alone, or something else."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from gallery_db.atomic_files import remove_stale_parts
from gallery_db.errors import GalleryFormatError, GalleryNotFoundError
from gallery_db.store.lock import LOCK_NAME
from gallery_db.store.schema import RECORD_NAME

__all__ = [
    "check_holds_gallery",
    "check_is_empty",
    "holds_chroma_files",
    "holds_gallery",
    "remove_gallery",
    "remove_leftovers",
]

_CHROMA_FILE = "chroma.sqlite3"
_OWN_FILES_WITHOUT_RECORD = (LOCK_NAME, LOCK_NAME + ".json", RECORD_NAME + ".new", RECORD_NAME + ".new-journal")


def holds_gallery(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a gallery, intact or damaged."""
    # os.path and not pathlib, which raises an error for a name that is too long.
    return os.path.isfile(Path(folder) / RECORD_NAME)  # noqa: PTH113


def holds_chroma_files(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds the files of a Chroma database, which alone are no gallery."""
    return os.path.exists(Path(folder) / _CHROMA_FILE)  # noqa: PTH110


def check_holds_gallery(folder: Path) -> None:
    """Refuse a folder that holds no gallery.

    Raises:
        GalleryNotFoundError: The folder does not exist.
        GalleryFormatError: It is a file, or holds something else.
    """
    if holds_gallery(folder):
        return
    if not os.path.exists(folder):  # noqa: PTH110
        raise GalleryNotFoundError(
            f"There is no gallery at {folder}.", hint="`gtrack gallery ingest` makes one from folders of images."
        )
    if not folder.is_dir():
        raise GalleryFormatError(f"{folder} is a file; a gallery is a folder.", hint="Give the gallery's folder.")
    if holds_chroma_files(folder):
        raise GalleryFormatError(
            f"{folder} is a bare Chroma folder without gtrack's record ({RECORD_NAME}).",
            hint="Ingest the images that it was made from into a new gallery.",
        )
    raise GalleryFormatError(
        f"{folder} holds no gallery: there is no {RECORD_NAME} in it.",
        hint="`gtrack gallery ingest` makes a gallery from folders of images.",
    )


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left in a gallery's folder and the folders in it; needs the writer lock."""
    for name in (RECORD_NAME + ".new", f".{RECORD_NAME}.restored"):
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):
                (folder / (name + suffix)).unlink(missing_ok=True)
    remove_stale_parts(folder)
    with suppress(OSError), os.scandir(folder) as items:
        for item in items:
            if item.is_dir(follow_symlinks=False):
                remove_stale_parts(folder / item.name)


def check_is_empty(folder: Path) -> None:
    """Refuse a folder for a new gallery that holds other files.

    Raises:
        GalleryFormatError: The message names one of them.
    """
    others = sorted(path.name for path in folder.iterdir() if path.name not in _OWN_FILES_WITHOUT_RECORD)
    if others:
        raise GalleryFormatError(
            f"{folder} is not empty and holds no gallery (there is {others[0]!r}).",
            hint="Choose an empty or absent folder for a new gallery.",
        )


def remove_gallery(folder: Path) -> None:
    """Remove the files of a gallery in which nothing is stored; needs the writer lock, whose file goes last."""
    items = sorted(folder.iterdir(), key=lambda item: item.name.startswith(LOCK_NAME))
    for item in items:
        if item.name in ("chroma", "pictures"):
            shutil.rmtree(item, ignore_errors=True)
        elif item.name.startswith("gallery."):
            with suppress(OSError):
                item.unlink()
