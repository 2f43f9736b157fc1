"""Video files as they are met: variable frame rates, turned pictures, ten bits, frames that refer to later ones."""

from __future__ import annotations

import random
from itertools import accumulate
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from support.clips import numbered_picture, read_number, turn_clip, write_clip

from tracking.errors import VideoError
from tracking.video import reader as reader_module
from tracking.video.crops import video_crops
from tracking.video.frames import VideoFrames
from tracking.video.reader import VideoReader

B_FRAMES = {"bf": "3", "b-pyramid": "normal", "g": "40", "sc_threshold": "0"}
"""Frames that refer to later ones, and a key frame every 40 frames."""

CLIPS: dict[str, dict[str, Any]] = {
    "h264.mp4": {"options": B_FRAMES},
    "open.mkv": {"options": B_FRAMES | {"x264-params": "open-gop=1"}},
    "h265.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=40:log-level=error"}},
    "h265-10.mkv": {"codec": "libx265", "pixels": "yuv420p10le", "options": {"x265-params": "log-level=error"}},
    "h264-10.mp4": {"pixels": "yuv420p10le", "options": B_FRAMES},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "prores.mov": {"codec": "prores_ks", "pixels": "yuv422p10le"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "stream.ts": {"options": B_FRAMES},
    "odd.mkv": {"codec": "ffv1", "size": (193, 65)},
    "grey.mkv": {"codec": "ffv1", "pixels": "gray"},
}


def variable_times(frames: int) -> list[int]:
    """Return the times in ms of frames as a phone takes them: more light, more frames."""
    steps = random.Random(3).choices([33, 34, 50, 100, 200], k=frames - 1)
    return list(accumulate([0, *steps]))


def opencv_frames(path: Path) -> list[NDArray[np.uint8]]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


@pytest.mark.parametrize("name", CLIPS)
def test_frames_are_those_of_opencv(name: str, tmp_path: Path) -> None:
    """Names must not depend on the library: the pixels are equal bit by bit."""
    path = write_clip(tmp_path / name, 50, **CLIPS[name])
    expected = opencv_frames(path)
    with VideoReader(path) as reader:
        for number in range(50):
            assert reader.advance()
            assert read_number(reader.image()) == number
            np.testing.assert_array_equal(reader.image(), expected[number])
            assert reader.time is None, "a constant frame rate"
        assert not reader.advance()
        assert (reader.frame, reader.fps) == (49, 25)


@pytest.mark.data
def test_frames_of_a_real_video_are_those_of_opencv(data: Path) -> None:
    path = data / "video" / "pets09-s2l1.avi"
    capture = cv2.VideoCapture(str(path))
    with VideoReader(path) as reader:
        while reader.advance():
            np.testing.assert_array_equal(reader.image(), capture.read()[1])
        assert (reader.frame, reader.frame_count, reader.fps) == (794, 795, 10)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_times_of_a_variable_frame_rate(name: str, tmp_path: Path) -> None:
    times = variable_times(60)
    # Streams that are cut out of others do not begin at 0.
    path = write_clip(tmp_path / name, 60, times_ms=[time + 480 for time in times], options=B_FRAMES)
    with VideoReader(path) as reader:
        found = []
        while reader.advance():
            found.append(reader.frame / (reader.fps or 0) if reader.time is None else reader.time)
        assert found == pytest.approx([time / 1000 for time in times], abs=1e-3)
        assert found == sorted(found)
        reader.seek(31)
        assert reader.time == pytest.approx(times[31] / 1000)


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, 1), np.fliplr),
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    ],
    ids=["right", "upside down", "left", "mirrored", "mirrored and turned"],
)
def test_turned_videos_are_upright(matrix: tuple[int, int, int, int], upright: Any, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "phone.mp4", 5)
    turn_clip(path, matrix)
    expected = upright(numbered_picture(4, (192, 64)))
    with VideoReader(path) as reader:
        assert reader.seek(4)
        image = reader.image()
        assert (reader.height, reader.width) == image.shape[:2] == expected.shape[:2]
        assert image.flags.c_contiguous
        assert np.abs(image.astype(int) - expected).mean() < 12, "but for the edges, which the codec blurs"


@pytest.mark.parametrize("name", CLIPS)
def test_any_frame_in_any_order(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "_FAR_FRAMES", 5)
    path = write_clip(tmp_path / name, 130, **CLIPS[name])
    with VideoReader(path) as reader:
        expected = []
        while reader.advance():
            expected.append(reader.image().copy())
        for frame in random.Random(5).sample(range(130), 30):
            assert reader.seek(frame)
            assert reader.frame == frame
            np.testing.assert_array_equal(reader.image(), expected[frame])
            if frame < 129:
                assert reader.advance()
                np.testing.assert_array_equal(reader.image(), expected[frame + 1])
        assert not reader.seek(130)
        assert reader.seek(0)


def test_any_frame_of_a_variable_frame_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "_FAR_FRAMES", 5)
    path = write_clip(tmp_path / "clip.mp4", 300, times_ms=variable_times(300), options=B_FRAMES)
    wanted = [290, 3, 41, 39, 40, 299, 150]
    with VideoFrames() as frames:
        assert [read_number(frames(str(path), frame)) for frame in wanted] == wanted
    boxes = [(frame, frame, (0, 0, 192, 64)) for frame in [*wanted, 300]]
    assert [(key, read_number(crop)) for key, crop in video_crops(path, boxes)] == [(f, f) for f in sorted(wanted)]


def test_a_far_frame_is_decoded_from_the_key_frame_before_it(tmp_path: Path) -> None:
    decoded = []

    class Counting(VideoReader):
        def _decode(self) -> Any:
            for frame in super()._decode():
                decoded.append(frame.pts)
                yield frame

    path = write_clip(tmp_path / "clip.mp4", 1000, options={"g": "40"})
    with Counting(path) as reader:
        assert reader.seek(999)
        assert read_number(reader.image()) == 999
    assert len(decoded) <= 50


def test_a_video_that_begins_between_key_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first packets give no frame, so that a frame's number is not that of its packet."""
    monkeypatch.setattr(reader_module, "_FAR_FRAMES", 5)
    import av

    whole = write_clip(tmp_path / "whole.mp4", 130, options={"g": "40", "bf": "0"})
    cut = tmp_path / "cut.mkv"
    with av.open(str(whole)) as old, av.open(str(cut), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.pts is not None and packet.pts * packet.time_base >= 1:
                packet.stream = stream
                new.mux(packet)
    with VideoReader(cut) as reader:
        numbers = []
        while reader.advance():
            numbers.append(read_number(reader.image()))
        for frame in (60, 2, 70):
            assert reader.seek(frame)
            assert read_number(reader.image()) == numbers[frame]


def test_a_file_with_a_colon_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "file.mp4", 3).rename("cam:1.mp4")
    with VideoReader("cam:1.mp4") as reader:
        assert reader.frame_count == 3


def test_frames_after_a_damaged_place(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.avi", 100, codec="mjpeg", pixels="yuvj420p")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)
    with VideoReader(path) as reader:
        while reader.advance():
            last = read_number(reader.image())
        assert last == 99


def test_a_file_without_video(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match=r"sound.wav cannot be opened: it is not a video"):
        VideoReader(tmp_path / "sound.wav")
