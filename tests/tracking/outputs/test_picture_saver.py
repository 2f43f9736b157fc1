"""The thread that draws and saves: everything in order, errors once, and no thread left."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tracking.errors import OutputError
from tracking.outputs.crop_folder import CropFolder
from tracking.outputs.drawing import FramePainter
from tracking.outputs.frame_folder import FrameFolder
from tracking.outputs.picture_saver import PictureSaver

IMAGE = np.full((48, 64, 3), 90, np.uint8)


def document(frame: int) -> dict[str, Any]:
    return {"frame": frame, "detections": [{"bbox": [8, 8, 30, 40], "track_id": "1", "class_id": 0}]}


class Video:
    """A video in memory whose disk is full at a frame."""

    def __init__(self, full_at: int | None = None) -> None:
        self.images: list[Any] = []
        self.full_at = full_at

    def write(self, image: Any) -> None:
        if len(self.images) == self.full_at:
            raise OutputError("the disk is full")
        self.images.append(image)


def test_every_frame_is_drawn_and_saved(tmp_path: Path) -> None:
    video: Any = Video()
    frames = FrameFolder(tmp_path / "frames")
    saver = PictureSaver(video, frames, None, FramePainter())
    for frame in range(20):
        saver.save(document(frame), IMAGE, None if frame else np.zeros_like(IMAGE))
    saver.finish()
    saver.finish()
    frames.close()
    assert [path.stem for path in sorted((tmp_path / "frames").iterdir())] == [f"{n:06d}" for n in range(20)]
    assert not video.images[0].any(), "drawn already"
    assert all((image != IMAGE).any() for image in video.images[1:])
    assert (IMAGE == 90).all(), "drawn on a copy"
    assert "gtrack-pictures" not in {thread.name for thread in threading.enumerate()}


def test_crops_show_nothing_that_is_drawn_or_blurred(tmp_path: Path) -> None:
    crops = CropFolder(tmp_path / "crops", fps=10, blur="unknown")
    saver = PictureSaver(None, None, crops, FramePainter(blur="unknown"))
    named = {"bbox": [8, 8, 30, 40], "track_id": "1", "class_id": 0, "gallery_id": "ann", "identity_status": "known"}
    other = {"bbox": [24, 8, 60, 40], "track_id": "2", "class_id": 0, "identity_status": "undecided"}
    blocks = np.random.default_rng(0).integers(0, 256, (6, 8, 1), dtype=np.uint8)
    noise = np.kron(blocks, np.ones((8, 8, 3), np.uint8))
    saver.save({"frame": 0, "detections": [named, other]}, noise)
    saver.finish()
    crops.close()
    (path,) = (tmp_path / "crops").rglob("*.jpg")
    crop = cv2.imread(str(path))
    assert crop is not None
    assert np.abs(crop[:, :12].astype(int) - noise[8:40, 8:20]).mean() < 5, "ann, with nothing drawn over her"
    assert crop[:, 17:].std() < 40, "the other one stays blurred"


def test_an_error_is_raised_once_in_the_thread_of_the_run(tmp_path: Path) -> None:
    video: Any = Video(full_at=3)
    saver = PictureSaver(video, None, None, FramePainter())

    def save_all() -> None:
        for frame in range(100):
            saver.save(document(frame), IMAGE)
        saver.finish()

    with pytest.raises(OutputError, match="the disk is full"):
        save_all()
    saver.finish()
    assert len(video.images) == 3
    assert "gtrack-pictures" not in {thread.name for thread in threading.enumerate()}


def test_an_error_of_the_last_frame_is_raised_at_the_end() -> None:
    video: Any = Video(full_at=0)
    saver = PictureSaver(video, None, None, FramePainter())
    saver.save(document(0), IMAGE)
    with pytest.raises(OutputError, match="the disk is full"):
        saver.finish()
    assert "gtrack-pictures" not in {thread.name for thread in threading.enumerate()}
