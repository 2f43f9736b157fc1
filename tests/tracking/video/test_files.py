"""Video files: written, read back, and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tracking.errors import OutputError, VideoError
from tracking.video.reader import VideoReader
from tracking.video.writer import VideoWriter


def test_video_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    writer = VideoWriter(path, width=64, height=48, fps=12.5)
    for level in (20, 120, 220):
        assert not path.exists()
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.close()
    with VideoReader(path) as reader:
        assert (reader.width, reader.height, reader.frame_count) == (64, 48, 3)
        assert reader.fps == pytest.approx(12.5)
        levels = []
        while reader.advance():
            assert reader.image() is reader.image(), "converted once"
            levels.append(float(reader.image().mean()))
    assert levels == pytest.approx([20, 120, 220], abs=6)


def test_video_frames_can_be_skipped(tmp_path: Path) -> None:
    """`image` gives the current frame, whether or not the earlier ones were looked at."""
    path = tmp_path / "clip.avi"
    writer = VideoWriter(path, width=64, height=48, fps=10, fourcc="MJPG")
    for level in range(0, 250, 25):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.close()
    with VideoReader(path) as reader:
        while reader.advance():
            if reader.frame in {0, 3, 7}:
                assert float(reader.image().mean()) == pytest.approx(reader.frame * 25, abs=6)


def test_a_video_without_frames_leaves_no_file(tmp_path: Path) -> None:
    VideoWriter(tmp_path / "clip.mp4", width=64, height=48, fps=10).close()
    assert list(tmp_path.iterdir()) == []


def test_rejects_an_unsupported_codec(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no codec"):
        VideoWriter(tmp_path / "clip.txt", width=64, height=48, fps=10, fourcc="ABCD")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        pytest.param("none.mp4", None, "does not exist", id="absent"),
        pytest.param("text.mp4", b"no video at all" * 50, "cannot be opened", id="not a video"),
        pytest.param("empty.mp4", b"", "cannot be opened", id="empty"),
    ],
)
def test_rejects_invalid_videos(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=words):
        VideoReader(tmp_path / name)


def test_rejects_a_folder(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="is a folder"):
        VideoReader(tmp_path)
