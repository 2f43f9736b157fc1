"""A full disk: a clear error, no stored data lost, no incomplete file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.gallery import model_named, unit_vectors

from gallery_db import Entry, Gallery
from gallery_db.errors import GalleryError
from tracking.errors import OutputError
from tracking.outputs.frame_folder import FrameFolder
from tracking.outputs.track_file import TrackFile
from tracking.video.reader import VideoReader
from tracking.video.writer import open_video_writer

MODEL = model_named()
NOISE = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A small disk of its own, made of memory; called with a size, such as ``"2m"``, it becomes that large."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        made = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no disk of its own can be made here: {error}")
    if sys.platform != "linux" or made.returncode:
        pytest.skip(f"no disk of its own can be mounted here: {made.stderr.strip()}")

    def sized(size: str) -> Path:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)
        return place

    yield sized
    subprocess.run(["umount", "-l", str(place)], check=True)


def write_all(write: Callable[[Any], None], frames: Iterable[Any]) -> None:
    for frame in frames:
        write(frame)


def entries(first: int, count: int) -> list[Entry]:
    return [
        Entry(id=f"img-{n:06d}", identity=f"person {n % 7}", source=f"{n}.jpg") for n in range(first, first + count)
    ]


def test_a_gallery_keeps_what_was_acknowledged_and_goes_on(disk: Callable[[str], Path]) -> None:
    path = disk("1m") / "gallery"
    vectors = unit_vectors(20_000)
    stored = 0
    with Gallery.create(path, MODEL) as gallery:

        def fill() -> None:
            nonlocal stored
            while stored < len(vectors):
                gallery.add(entries(stored, 100), vectors[stored : stored + 100])
                stored += 100

        with pytest.raises(GalleryError, match=r"The disk of .* is full; the last change was not made"):
            fill()
        assert len(gallery) == stored > 0
        with pytest.raises(GalleryError, match=r"full|cannot be"):
            gallery.sync_index()
        gallery.close(sync=False)
    with Gallery.open(path) as gallery:
        assert len(gallery) == stored
        assert gallery.record.check_integrity() == ()
        assert gallery.query(vectors[7][None], top_k=1)[0][0].entry.id == "img-000007"
    disk("64m")
    with Gallery.open(path, write=True) as gallery:
        gallery.add(entries(stored, 100), vectors[stored : stored + 100])
        gallery.sync_index()
        assert gallery.verify().ok
        found = gallery.query(vectors[: stored + 100 : 50], top_k=1, search="hnsw")
        assert [some[0].entry.id for some in found] == [f"img-{n:06d}" for n in range(0, stored + 100, 50)]


def test_a_disk_that_fills_while_the_index_is_written(disk: Callable[[str], Path]) -> None:
    """The record has room, Chroma has not: what it leaves broken is rebuilt from the record."""
    vectors = unit_vectors(3000)
    path = disk("64m") / "gallery"
    with Gallery.create(path, MODEL) as gallery:
        gallery.add(entries(0, 3000), vectors)
        used = sum(file.stat().st_size for file in path.rglob("*"))
        disk(str(used + 600_000))
        with pytest.raises(GalleryError):
            gallery.sync_index()
        gallery.close(sync=False)
    disk("64m")
    with Gallery.open(path, write=True) as gallery:
        gallery.sync_index()
        assert gallery.notices, "a notice reports the repair"
        assert gallery.verify().ok
        found = gallery.query(vectors[::100], top_k=1, search="hnsw")
        assert [some[0].entry.id for some in found] == [f"img-{n:06d}" for n in range(0, 3000, 100)]


def test_tracks_are_complete_up_to_the_frame_that_fitted(disk: Callable[[str], Path]) -> None:
    path = disk("300k") / "tracked.json"
    file = TrackFile({"schema_version": "track-v1"}, path)
    with pytest.raises(OutputError, match="No space left"):
        write_all(file.write, ({"frame": frame, "detections": [{"text": "x" * 200}]} for frame in range(10_000)))
    file.close()
    frames = json.loads(path.read_bytes())["frames"]
    assert [frame["frame"] for frame in frames] == list(range(len(frames)))
    assert len(frames) > 800, "all that there was room for"
    assert [p.name for p in path.parent.iterdir()] == ["tracked.json"]


def test_a_track_file_that_cannot_be_started(disk: Callable[[str], Path]) -> None:
    place = disk("300k")
    (place / "fill").write_bytes(bytes(300 * 1024 - 4096))
    (place / "more").write_bytes(bytes(0))
    with pytest.raises(OutputError, match="No space left"):
        TrackFile({"schema_version": "track-v1", "text": "x" * 20_000}, place / "tracked.json")
    assert sorted(p.name for p in place.iterdir()) == ["fill", "more"]


@pytest.mark.parametrize(("name", "fourcc"), [("clip.mp4", "mp4v"), ("clip.avi", "MJPG"), ("clip.mp4", None)])
def test_a_video_that_cannot_be_finished_is_an_error(
    disk: Callable[[str], Path], name: str, fourcc: str | None
) -> None:
    path = disk("2m") / name
    writer = open_video_writer(path, width=320, height=240, fps=10, fourcc=fourcc)

    def fill() -> None:
        try:
            # Another picture each time: H.264 stores nothing for one that stays the same.
            generator = np.random.default_rng(0)
            write_all(writer.write, (generator.integers(0, 255, NOISE.shape, np.uint8) for _ in range(400)))
        finally:
            writer.close()

    with pytest.raises(OutputError, match=rf"{name}: (the disk is full|.* of .* frames)"):
        fill()
    assert not writer.completed
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("fourcc", ["mp4v", None])
def test_an_earlier_video_stays(disk: Callable[[str], Path], fourcc: str | None) -> None:
    path = disk("8m") / "clip.mp4"
    for size in ("8m", "1m"):
        disk(size)
        writer = open_video_writer(path, width=320, height=240, fps=10, fourcc=fourcc)
        for number in range(10 if size == "8m" else 60):
            with nullcontext() if size == "8m" else suppress(OutputError):
                writer.write(np.roll(NOISE, number, axis=1))
        if size == "8m":
            writer.close()
        else:
            with pytest.raises(OutputError, match=r"frames reached the file|the disk is full"):
                writer.close()
    with VideoReader(path) as reader:
        assert reader.frame_count == 10
    assert [p.name for p in path.parent.iterdir()] == ["clip.mp4"]


def test_frames_written_before_are_complete(disk: Callable[[str], Path]) -> None:
    import cv2

    path = disk("1m") / "frames"
    folder = FrameFolder(path)
    with pytest.raises(OutputError, match="No space left"):
        write_all(lambda frame: folder.write(frame, NOISE), range(200))
    folder.close()
    images = sorted(path.iterdir())
    assert len(images) > 5
    assert all(cv2.imread(str(image)) is not None for image in images)
    assert len({image.stat().st_size for image in images}) == 1, "none is cut short"
