"""Limits on what is read: large, endless and special files are refused before any work."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from gallery_db import GalleryError, ImageError, read_image
from gallery_db.limits import IMAGE_BYTES, IMAGE_PIXELS, MAX_DRAWN_CHARACTERS, shorten_drawn
from gallery_db.regular_files import describe_bytes, open_regular, read_regular, read_regular_text


@pytest.fixture
def special_files(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """A named pipe without a writer, a socket, a device, and links to them."""
    pipe, endpoint = tmp_path / "pipe.jpg", tmp_path / "s.jpg"
    os.mkfifo(pipe)
    (tmp_path / "link.jpg").symlink_to(pipe)
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(tmp_path)  # the path of a socket may have 108 bytes
        try:
            listener.bind(endpoint.name)
        finally:
            os.chdir(here)
        yield {
            "a named pipe": pipe,
            "found a named pipe": tmp_path / "link.jpg",
            "a socket": endpoint,
            "a device": Path("/dev/zero"),
        }


def test_special_files_are_not_opened(special_files: dict[str, Path]) -> None:
    for words, path in special_files.items():
        with pytest.raises(OSError, match=words):
            open_regular(path)
        with pytest.raises(ImageError, match=words) as caught:
            read_image(path)
        assert str(path) in caught.value.message


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    os.truncate(path, 30_000_000_000)
    with pytest.raises(ImageError, match=r"30,000,000,000 bytes; the limit is 134,217,728 bytes \(GTRACK_MAX_IMAGE_BY"):
        read_image(path)
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="it has 5 bytes; the limit is 4 bytes"):
        read_regular(path, 4)
    path.write_bytes(b"a\r\nb\rc\n")
    assert read_regular_text(path, 9) == "a\nb\nc\n"


def test_pixels_are_limited_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.png"
    Image.new("1", (8000, 7000)).save(path)  # 7 KB that say 56 million pixels
    with pytest.raises(ImageError, match=r"8000 x 7000 pixels; the limit is 50,000,000 pixels") as caught:
        read_image(path)
    assert "GTRACK_MAX_IMAGE_PIXELS" in (caught.value.hint or "")
    Image.new("1", (80, 70)).save(path)
    monkeypatch.setenv(IMAGE_PIXELS.variable, "5600")
    assert read_image(path).shape == (70, 80, 3)
    monkeypatch.setenv(IMAGE_PIXELS.variable, "5599")
    with pytest.raises(ImageError, match="the limit is 5,599 pixels"):
        read_image(path)
    monkeypatch.setenv(IMAGE_PIXELS.variable, "5600")
    monkeypatch.setenv(IMAGE_BYTES.variable, "20")
    with pytest.raises(ImageError, match=r"the limit is 20 bytes \(GTRACK_MAX_IMAGE_BYTES\)"):
        read_image(path)


@pytest.mark.parametrize("value", ["0", "-1", "many", "1e9", "9" * 30])
def test_a_limit_is_a_whole_number(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(IMAGE_BYTES.variable, value)
    with pytest.raises(GalleryError, match=IMAGE_BYTES.variable):
        _ = IMAGE_BYTES.value


def test_drawn_text_keeps_both_ends() -> None:
    assert shorten_drawn("x" * MAX_DRAWN_CHARACTERS) == "x" * MAX_DRAWN_CHARACTERS
    short = shorten_drawn("begin" + "x" * 100_000 + "end")
    assert len(short) == MAX_DRAWN_CHARACTERS
    assert short.startswith("begin")
    assert short.endswith("end")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (491_520, "480.0 KiB"),
        (3 << 20, "3.0 MiB"),
        (5 << 30, "5.0 GiB"),
    ],
)
def test_sizes_are_shown_in_binary_units(size: int, words: str) -> None:
    assert describe_bytes(size) == words
