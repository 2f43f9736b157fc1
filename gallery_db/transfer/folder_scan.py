"""Find the image files in a folder that has a sub-folder for each identity."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gallery_db.errors import GalleryFormatError
from gallery_db.media.images import IMAGE_SUFFIXES
from gallery_db.names import name_problem, normal_name
from gallery_db.store.folder import holds_chroma_files, holds_gallery

__all__ = ["FolderScan", "ImageFile", "check_image_tree", "is_image_tree", "scan_folder"]

_HINT = "Expected one sub-folder of images for each identity, such as people/alice/1.jpg."


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file of an identity.

    Attributes:
        path: The file.
        identity: Name of the sub-folder that it is in, in its normal form.
        size: Size in bytes.
        mtime_ns: Time of the last modification, in nanoseconds.
    """

    path: str
    identity: str
    size: int
    mtime_ns: int


@dataclass(slots=True)
class FolderScan:
    """The files that a scan found.

    Attributes:
        files: Image files, sorted by identity.
        skipped: (path, reason) of each file or folder that was left out.
    """

    files: list[ImageFile] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def scan_folder(root: str) -> FolderScan:
    """Find all image files in the sub-folders of a folder, at any depth.

    Symbolic links are followed, but not into a folder that is being scanned already; hidden files are ignored.
    """
    scan = FolderScan()
    parents = set()
    for folder in (Path(root), *Path(root).parents):
        facts = folder.stat()
        parents.add((facts.st_dev, facts.st_ino))
    for item in _list_folder(root, scan):
        if _is_folder(item):
            problem = name_problem(item.name)
            if problem is not None:
                scan.skipped.append((item.path, f"cannot be an identity's name: {problem}"))
                continue
            # Each identity has its own set of visited folders: two may link to the same one.
            _scan_identity(item, normal_name(item.name), set(parents), scan)
        elif _is_image_name(item.name):
            scan.skipped.append((item.path, "is not in an identity's folder"))
    return scan


def is_image_tree(path: Path) -> bool:
    """Return whether a folder has a sub-folder of images for each identity; see `check_image_tree`."""
    try:
        check_image_tree(path)
    except GalleryFormatError:
        return False
    return True


def check_image_tree(path: Path) -> None:
    """Refuse what is no folder with a sub-folder of images for each identity.

    Raises:
        GalleryFormatError: The path is no folder, holds a gallery or no images, or has images in less than a quarter
            of its sub-folders, as a home folder or a checkout of source code may.
    """
    if not path.is_dir():
        raise GalleryFormatError(f"{path} is not a folder of images.", hint=_HINT)
    if holds_gallery(path) or holds_chroma_files(path):
        raise GalleryFormatError(f"{path} holds a database, and not folders of images.", hint=_HINT)
    folders = [item.path for item in _list_folder(str(path), FolderScan()) if _is_folder(item)]
    # With the folders in it: people/alice/door/1.jpg.
    with_images = sum(_has_image(folder, depth=1) for folder in folders)
    if not with_images:
        raise GalleryFormatError(f"{path} has no sub-folder with images in it.", hint=_HINT)
    if 4 * with_images < len(folders):
        raise GalleryFormatError(
            f"{path} is not a folder of images: only {with_images} of its {len(folders)} sub-folders hold images.",
            hint=_HINT,
        )


def _has_image(folder: str, depth: int) -> bool:
    """Return whether a folder has an image in it, or in the folders `depth` levels below."""
    items = list(_list_folder(folder, FolderScan()))
    return any(_is_image_name(item.name) for item in items) or (
        depth > 0 and any(_has_image(item.path, depth - 1) for item in items if _is_folder(item))
    )


def _scan_identity(folder: os.DirEntry[str], identity: str, visited: set[tuple[int, int]], scan: FolderScan) -> None:
    """Add the image files of a folder and of those in it; `visited` are (device, inode) of folders to leave out."""
    try:
        facts = folder.stat()
    except OSError as error:
        scan.skipped.append((folder.path, f"cannot be read: {error.strerror or error}"))
        return
    if (facts.st_dev, facts.st_ino) in visited:
        return
    visited.add((facts.st_dev, facts.st_ino))
    for item in _list_folder(folder.path, scan):
        if _is_folder(item):
            _scan_identity(item, identity, visited, scan)
        elif _is_image_name(item.name):
            try:
                facts = item.stat()
            except OSError as error:  # for example a link whose target is gone
                scan.skipped.append((item.path, f"cannot be read: {error.strerror or error}"))
                continue
            if not item.is_file():
                scan.skipped.append((item.path, "is no regular file"))
                continue
            scan.files.append(ImageFile(item.path, identity, facts.st_size, facts.st_mtime_ns))


def _list_folder(folder: str, scan: FolderScan) -> Iterator[os.DirEntry[str]]:
    """Yield the visible files and folders in a folder, sorted by name."""
    try:
        with os.scandir(folder) as items:
            listed = sorted(items, key=lambda item: item.name)
    except OSError as error:
        scan.skipped.append((folder, f"cannot be read: {error.strerror or error}"))
        return
    for item in listed:
        if item.name.startswith("."):
            continue
        try:
            item.name.encode("utf-8")
        except UnicodeEncodeError:
            scan.skipped.append((item.path.encode("utf-8", "replace").decode(), "has a name that is no Unicode text"))
            continue
        yield item


def _is_folder(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_dir()
    except OSError:
        return False


def _is_image_name(name: str) -> bool:
    return ("." + name.lower().rpartition(".")[2]) in IMAGE_SUFFIXES
