"""Recognising what a location contains before it is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.gallery import model_named

from gallery_db import Gallery
from gallery_db.opening import is_gallery
from gallery_db.transfer.folder_scan import is_image_tree


def gallery(path: Path) -> None:
    Gallery.create(path, model_named()).close()


def image_tree(path: Path) -> None:
    (path / "alice" / "door").mkdir(parents=True)
    (path / "alice" / "door" / "1.jpg").touch()


def chroma_folder(path: Path) -> None:
    (path / "8d9f").mkdir(parents=True)
    (path / "chroma.sqlite3").touch()


def images_only(path: Path) -> None:
    path.mkdir()
    (path / "a.jpg").touch()


def checkout(path: Path) -> None:
    for name in ("docs/images", "src", "tests", "tools", "web"):
        (path / name).mkdir(parents=True)
    (path / "docs" / "images" / "logo.png").touch()


def text_folders(path: Path) -> None:
    (path / "network").mkdir(parents=True)
    (path / "network" / "hosts").touch()


def images_beside(path: Path) -> None:
    images_only(path)
    (path / "tracked.json").touch()


LOCATIONS: dict[str, tuple[Callable[[Path], None], bool, bool]] = {
    "a gallery": (gallery, True, False),
    "folders of images": (image_tree, False, True),
    "folders without images, such as /etc": (text_folders, False, False),
    "a checkout of source code": (checkout, False, False),
    "Chroma's files alone": (chroma_folder, False, False),
    "images alone": (images_only, False, True),
    "images beside another file": (images_beside, False, False),
    "an empty folder": (Path.mkdir, False, False),
    "a file": (Path.touch, False, False),
    "nothing": (lambda path: None, False, False),
}


@pytest.mark.parametrize("name", LOCATIONS)
def test_recognises_what_a_folder_contains(tmp_path: Path, name: str) -> None:
    make, holds_gallery, holds_tree = LOCATIONS[name]
    make(tmp_path / "place")
    assert is_gallery(tmp_path / "place") == holds_gallery
    assert is_image_tree(tmp_path / "place") == holds_tree


def test_a_folder_with_a_gallery_inside_is_no_image_folder(tmp_path: Path) -> None:
    gallery(tmp_path / "g")
    image_tree(tmp_path / "g")
    assert not is_image_tree(tmp_path / "g")
