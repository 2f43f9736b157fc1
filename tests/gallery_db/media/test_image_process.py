"""The process that decodes the images of an ingest: a crash in it costs one image."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.gallery import ColourEmbedder, save_picture

from gallery_db import Gallery, ImageError, ingest_folder
from gallery_db.media import image_process
from gallery_db.media.image_process import ImageProcess
from gallery_db.media.images import read_image_bytes


@pytest.fixture
def process() -> Iterator[ImageProcess]:
    one = ImageProcess()
    yield one
    one.close()


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    return save_picture(tmp_path / "1.png", 1).read_bytes()


def _child(process: ImageProcess) -> int:
    assert process._child is not None
    return process._child.pid


def test_it_answers_as_this_process_does(process: ImageProcess, data: bytes) -> None:
    np.testing.assert_array_equal(process.decode(data, name="x"), read_image_bytes(data))
    first = _child(process)
    for bad in (b"text", data[:-60], b""):
        with pytest.raises(ImageError) as expected:
            read_image_bytes(bad, name="näme")
        with pytest.raises(ImageError) as found:
            process.decode(bad, name="näme")
        assert (found.value.message, found.value.hint) == (expected.value.message, expected.value.hint)
    assert process.decode(data, name="x").shape == (64, 32, 3)
    assert _child(process) == first


def test_a_crash_costs_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child is killed while it decodes, as the operating system does after a fault in a decoder."""
    folder = tmp_path / "people"
    for number in range(4):
        save_picture(folder / "x" / f"{number}.png", number)
    shared = image_process._process
    ask = shared._ask

    def crash(child, data, request):  # type: ignore[no-untyped-def]
        if request["name"].endswith("2.png"):
            os.kill(child.pid, signal.SIGSEGV)
        return ask(child, data, request)

    monkeypatch.setattr(shared, "_ask", crash)
    with Gallery.create(tmp_path / "g", ColourEmbedder().model) as gallery:
        report = ingest_folder(gallery, folder, ColourEmbedder())
        assert report.added == 3
        assert [(Path(path).name, reason) for path, reason in report.skipped] == [
            ("2.png", "cannot be decoded: its decoder crashed (SIGSEGV)")
        ]
        monkeypatch.undo()
        assert ingest_folder(gallery, folder, ColourEmbedder()).added == 1


def test_an_endless_decoder_is_stopped(process: ImageProcess, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    process.decode(data, name="x")
    os.kill(_child(process), signal.SIGSTOP)
    monkeypatch.setattr(image_process, "MAX_DECODE_SECONDS", 0.2)
    with pytest.raises(ImageError, match=r"x takes longer than 0\.2 s to decode"):
        process.decode(data, name="x")
    monkeypatch.undo()
    assert process.decode(data, name="x").shape == (64, 32, 3)


def test_a_child_that_ended_by_itself_is_replaced(process: ImageProcess, data: bytes) -> None:
    process.decode(data, name="x")
    child = process._child
    assert child is not None
    assert child.stdin is not None
    child.stdin.close()  # as after a while without an image
    child.wait()
    assert child.returncode == 0
    assert process.decode(data, name="x").shape == (64, 32, 3)
    assert _child(process) != child.pid


def test_without_a_child_images_are_decoded_here(
    process: ImageProcess, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert process.decode(data, name="x").shape == (64, 32, 3)
    assert process._child is None
    monkeypatch.setattr("sys.executable", "/no/such/file")
    process._works = True
    assert process.decode(data, name="x").shape == (64, 32, 3)


def test_the_child_is_limited(process: ImageProcess, data: bytes) -> None:
    process.decode(data, name="x")
    limits = Path(f"/proc/{_child(process)}/limits")
    if not limits.exists():
        pytest.skip("needs /proc")
    lines = {line[:26].strip(): line[26:].split() for line in limits.read_text().splitlines()}
    assert lines["Max file size"][0] == lines["Max core file size"][0] == "0"
    assert int(lines["Max address space"][0]) < 4 * 1024**3


def test_the_child_runs_no_file_of_the_working_directory(
    process: ImageProcess, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(process.decode(data, name="x"), read_image_bytes(data))
    assert _child(process), "it was decoded in the child"
    assert not (tmp_path / "ran").exists()
