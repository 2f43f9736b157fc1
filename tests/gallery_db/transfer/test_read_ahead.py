"""Pictures are read ahead of their use, in order, and no further than there is room."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support.gallery import save_picture

from gallery_db.transfer.folder_scan import ImageFile
from gallery_db.transfer.read_ahead import PictureReader, ReadPicture, read_ahead


def _files(count: int) -> list[ImageFile]:
    return [ImageFile(f"{number}.png", "x", 1, 1) for number in range(count)]


def _reading() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gtrack-read-ahead"]


def test_order_and_room() -> None:
    files = _files(30)
    read: list[str] = []
    waiting = threading.Event()

    def make(file: ImageFile) -> ReadPicture:
        read.append(file.path)
        if len(read) == 3:
            waiting.set()
        return ReadPicture(file, "h", np.zeros((10, 10, 3), np.uint8))

    found = []
    for number, picture in enumerate(read_ahead(files, make, most_bytes=700)):
        if number == 0:
            assert waiting.wait(10), "others are read while the first is used"
        assert len(read) <= number + 1 + 3, "three pictures are more than 700 bytes"
        found.append(picture.file)
    assert found == files
    assert _reading() == []


def test_an_error_comes_in_its_place() -> None:
    def fail(file: ImageFile) -> ReadPicture:
        if file.path == "2.png":
            raise RuntimeError("the gallery is closed")
        return ReadPicture(file)

    pictures = read_ahead(_files(5), fail)
    assert [next(pictures).file.path, next(pictures).file.path] == ["0.png", "1.png"]
    with pytest.raises(RuntimeError, match="closed"):
        next(pictures)
    assert _reading() == []


def test_who_stops_early_leaves_nobody_reading() -> None:
    with closing(read_ahead(_files(1000), ReadPicture)) as pictures:
        next(pictures)
        assert len(_reading()) == 1
    assert _reading() == []


def test_known_and_repeated_pictures_are_not_decoded(tmp_path: Path) -> None:
    paths = [save_picture(tmp_path / f"{number}.png", number % 2) for number in range(3)]
    files = [ImageFile(str(path), "x", 1, 1) for path in paths]
    reader = PictureReader(lambda content_hash: False, None)
    first, second, third = (reader.read(file) for file in files)
    assert first.crop is not None
    assert second.crop is not None
    assert (third.crop, third.problem, third.content_hash) == (None, None, first.content_hash)
    assert reader.read(files[2], always=True).crop is not None
    assert PictureReader(lambda content_hash: True, None).read(files[0]).crop is None
