"""What a run leaves on disk, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracking.errors import DisplayError, OptionError, OutputError, VideoError
from tracking.outputs.display import Display
from tracking.outputs.frame_folder import FrameFolder
from tracking.outputs.options import OutputOptions
from tracking.outputs.track_file import TrackFile
from tracking.video.reader import VideoReader
from tracking.video.writer import VideoWriter

IMAGE = np.full((48, 64, 3), 90, np.uint8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"run_name": "../x"}, "run_name", id="run name leaves the root"),
        pytest.param({"run_name": "a/b"}, "run_name", id="run name with a folder"),
        pytest.param({"run_name": ".."}, "run_name", id="run name is the parent"),
        pytest.param({"run_name": ""}, "run_name", id="empty run name"),
        pytest.param({"save_video": "/tmp/x.mp4"}, "save_video", id="absolute video"),
        pytest.param({"save_video": "a\\b.mp4"}, "save_video", id="video with a backslash"),
        pytest.param({"save_video": "video"}, "suffix", id="video without a suffix"),
        pytest.param({"fourcc": "mp4"}, "fourcc", id="three characters"),
        pytest.param({"save_fps": 0.0}, "save_fps", id="no frames per second"),
    ],
)
def test_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        OutputOptions(**options).validate()


def test_display_is_refused_without_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(DisplayError, match="needs a screen"):
        OutputOptions(display=True).validate()
    with pytest.raises(DisplayError):
        Display("clip")


def test_nothing_is_written_unless_asked(tmp_path: Path) -> None:
    paths = OutputOptions(out_dir=tmp_path / "out").paths(Path("clip.mp4"))
    assert paths.run_dir is None
    assert not (tmp_path / "out").exists()


def test_run_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "clip").write_text("in the way")
    with pytest.raises(OutputError, match="out_dir"):
        OutputOptions(save_json=True, out_dir=tmp_path).paths(Path("clip.mp4"))


def test_the_input_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="overwrite"):
        OutputOptions(save_video="clip.mp4", out_dir=tmp_path.parent, run_name=tmp_path.name).paths(
            tmp_path / "clip.mp4"
        )


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_track_file(tmp_path: Path, saved: bool, count: int) -> None:
    path = tmp_path / "tracked.json" if saved else None
    file = TrackFile({"schema_version": "track-v1", "tracker": {"name": "x"}}, path)
    for frame in range(count):
        file.write({"frame": frame, "detections": []})
        assert path is None or not path.exists(), "not under its name before it is complete"
    file.close()
    expected = {
        "schema_version": "track-v1",
        "tracker": {"name": "x"},
        "frames": [{"frame": f, "detections": []} for f in range(count)],
    }
    assert file.payload == expected
    if path is not None:
        assert json.loads(path.read_text()) == expected
        assert [p.name for p in tmp_path.iterdir()] == ["tracked.json"]


def test_a_frame_folder_replaces_stale_frames(tmp_path: Path) -> None:
    for count in (3, 1):
        folder = FrameFolder(tmp_path / "frames")
        for frame in range(count):
            folder.write(frame, IMAGE)
        folder.close()
    assert sorted(p.name for p in tmp_path.rglob("*.jpg")) == ["000000.jpg"]
    assert [p.name for p in tmp_path.iterdir()] == ["frames"]


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


def test_a_video_without_frames_leaves_nothing(tmp_path: Path) -> None:
    VideoWriter(tmp_path / "clip.mp4", width=64, height=48, fps=10).close()
    assert list(tmp_path.iterdir()) == []


def test_an_impossible_codec(tmp_path: Path) -> None:
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
def test_bad_videos(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=words):
        VideoReader(tmp_path / name)


def test_a_folder_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="is a folder"):
        VideoReader(tmp_path)
