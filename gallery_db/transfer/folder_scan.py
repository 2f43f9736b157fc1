"""Find the image files in a folder and their identities, by one of three layouts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gallery_db.errors import GalleryFormatError
from gallery_db.media.images import IMAGE_SUFFIXES
from gallery_db.media.market_names import DISTRACTOR, JUNK, parse_market_name
from gallery_db.names import name_problem, normal_name
from gallery_db.store.folder import holds_chroma_files, holds_gallery

__all__ = ["LAYOUTS", "FolderScan", "ImageFile", "Layout", "check_image_tree", "is_image_tree", "scan_folder"]

Layout = Literal["folders", "market", "files"]
"""Where the identity of an image is: ``"folders"``, the sub-folder that it is in; ``"market"``, the file's name, as in
Market-1501; ``"files"``, the file's name as a whole, one image a person."""

LAYOUTS: tuple[Layout, ...] = ("folders", "market", "files")

_HINT = "Expected a sub-folder of images for each identity, such as people/alice/1.jpg."


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file of an identity.

    Attributes:
        path: The file.
        identity: The identity that it shows; the name is in its normal form.
        size: Size in bytes.
        mtime_ns: Time of the last modification, in nanoseconds.
        camera: The camera that its name says, such as ``"c1"``; None if it says none.
    """

    path: str
    identity: str
    size: int
    mtime_ns: int
    camera: str | None = None


@dataclass(slots=True)
class FolderScan:
    """The files that a scan found.

    Attributes:
        files: Image files, sorted by identity.
        skipped: (path, reason) of each file or folder that was left out.
        layout: How the folder was read.
        junk: Number of junk images of Market-1501 (person -1), which are left out.
        distractors: Number of distractors of Market-1501 (person 0000), which are left out.
    """

    files: list[ImageFile] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    layout: Layout = "folders"
    junk: int = 0
    distractors: int = 0


def scan_folder(root: str, layout: Layout | None = None) -> FolderScan:
    """Find all image files of a folder; hidden files are ignored.

    Args:
        root: The folder.
        layout: How to read it. None recognizes it: a folder without sub-folders is of the layout ``"market"`` if all
            its image names are as in Market-1501, and of ``"files"`` if none is and none has a digit in it.

    Raises:
        GalleryFormatError: The layout cannot be recognized.
    """
    scan = FolderScan()
    items = list(_list_folder(root, scan))
    scan.layout = _recognize(root, items) if layout is None else layout
    if scan.layout == "folders":
        _scan_folders(root, items, scan)
    else:
        _scan_names(items, scan)
    return scan


def _recognize(root: str, items: list[os.DirEntry[str]]) -> Layout:
    names = [item.name for item in items if _is_image_name(item.name) and not _is_folder(item)]
    if not names or any(_is_folder(item) for item in items):
        return "folders"
    named = [name for name in names if parse_market_name(name) is not None]
    if len(named) == len(names):
        return "market"
    numbered = [name for name in names if any(char.isdigit() for char in Path(name).stem)]
    if not numbered:
        return "files"
    other = next((name for name in names if name not in set(named)), numbered[0])
    found = (
        f"images named as in Market-1501, such as {named[0]!r}, beside others, such as {other!r}"
        if named
        else f"images without sub-folders, such as {numbered[0]!r}, whose names may be numbers of images or of people"
    )
    raise GalleryFormatError(
        f"{root}: expected a sub-folder for each identity, found {found}.",
        hint='Make a sub-folder for each identity. Or ingest with `layout="files"` (one image a person, named as the '
        'person is), or with `layout="market"` (names such as 0001_c1s1_001051_03.jpg).',
    )


def _check_one_person_each(scan: FolderScan) -> None:
    """Refuse a folder of folders like those of Market-1501 itself, each with many people."""
    persons: dict[str, set[str]] = {}
    for file in scan.files:
        name = parse_market_name(file.path)
        persons.setdefault(file.identity, set()).add("" if name is None else name.person)
    for identity, found in persons.items():
        if len(found) > 1 and "" not in found:
            raise GalleryFormatError(
                f"The images in the sub-folder {identity!r} are named as in Market-1501, and show {len(found)} people; "
                "expected one identity in each sub-folder.",
                hint='Ingest that sub-folder itself. Or ingest with `layout="folders"`, if it shows one identity.',
            )


def _scan_folders(root: str, items: list[os.DirEntry[str]], scan: FolderScan) -> None:
    """Find the images in the sub-folders of a folder, at any depth.

    Symbolic links are followed, but not into a folder that is being scanned already.
    """
    parents = set()
    for folder in (Path(root), *Path(root).parents):
        facts = folder.stat()
        parents.add((facts.st_dev, facts.st_ino))
    for item in items:
        if _is_folder(item):
            problem = name_problem(item.name)
            if problem is not None:
                scan.skipped.append((item.path, f"cannot be an identity's name: {problem}"))
                continue
            # Each identity has its own set of visited folders: two may link to the same one.
            _scan_identity(item, normal_name(item.name), set(parents), scan)
        elif _is_image_name(item.name):
            scan.skipped.append((item.path, "is not in an identity's folder"))


def _scan_names(items: list[os.DirEntry[str]], scan: FolderScan) -> None:
    """Find the images of a folder itself, whose names say their identities."""
    for item in items:
        if _is_folder(item):
            scan.skipped.append((item.path, f"is a folder, which the layout {scan.layout!r} does not read"))
            continue
        if not _is_image_name(item.name):
            continue
        identity, camera = Path(item.name).stem, None
        if scan.layout == "market":
            name = parse_market_name(item.name)
            if name is None:
                scan.skipped.append((item.path, "is not named as in Market-1501, such as 0001_c1s1_001051_03.jpg"))
                continue
            if name.person in (JUNK, DISTRACTOR):
                scan.junk += name.person == JUNK
                scan.distractors += name.person == DISTRACTOR
                continue
            identity, camera = name.person, f"c{name.camera}"
        problem = name_problem(identity)
        if problem is not None:
            scan.skipped.append((item.path, f"cannot be an identity's name: {problem}"))
            continue
        _add_file(item, normal_name(identity), camera, scan)


def is_image_tree(path: Path) -> bool:
    """Return whether a folder is one of images and of nothing else, whose layout is recognized."""
    try:
        if check_image_tree(path) == "folders":
            return True
    except GalleryFormatError:
        return False
    return all(_is_image_name(item.name) for item in _list_folder(str(path), FolderScan()))


def check_image_tree(path: Path, layout: Layout | None = None) -> Layout:
    """Refuse what is no folder of images; return its layout.

    Args:
        path: The folder.
        layout: Its layout; None recognizes it, see `scan_folder`.

    Raises:
        GalleryFormatError: The path is no folder, holds a gallery, or its layout cannot be recognized. If that is
            ``"folders"``: it has no images in its sub-folders, or in less than a quarter of them, as a home folder or
            a checkout of source code may.
    """
    if not path.is_dir():
        raise GalleryFormatError(f"{path} is not a folder of images.", hint=_HINT)
    if holds_gallery(path) or holds_chroma_files(path):
        raise GalleryFormatError(f"{path} holds a database, and not folders of images.", hint=_HINT)
    items = list(_list_folder(str(path), FolderScan()))
    found = _recognize(str(path), items) if layout is None else layout
    if found != "folders":
        return found
    folders = [item.path for item in items if _is_folder(item)]
    # With the folders in it: people/alice/door/1.jpg.
    with_images = sum(_has_image(folder, depth=1) for folder in folders)
    if not with_images:
        raise GalleryFormatError(f"{path} has no sub-folder with images in it.", hint=_HINT)
    if 4 * with_images < len(folders):
        raise GalleryFormatError(
            f"{path} is not a folder of images: only {with_images} of its {len(folders)} sub-folders hold images.",
            hint=_HINT,
        )
    if layout is None:
        _check_one_person_each(scan_folder(str(path), "folders"))
    return found


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
            _add_file(item, identity, None, scan)


def _add_file(item: os.DirEntry[str], identity: str, camera: str | None, scan: FolderScan) -> None:
    try:
        facts = item.stat()
    except OSError as error:  # for example a link whose target is gone
        scan.skipped.append((item.path, f"cannot be read: {error.strerror or error}"))
        return
    if not item.is_file():
        scan.skipped.append((item.path, "is no regular file"))
        return
    scan.files.append(ImageFile(item.path, identity, facts.st_size, facts.st_mtime_ns, camera))


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
