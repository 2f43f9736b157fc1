"""H.264: what a browser asks of a file, sizes, rates, and files that cannot be finished."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tracking.errors import OutputError
from tracking.video.h264 import H264Writer
from tracking.video.reader import VideoReader
from tracking.video.writer import VideoWriter, open_video_writer


def write_clip(path: Path, *, size: tuple[int, int] = (64, 48), fps: float = 12.5, frames: int = 5) -> None:
    writer = H264Writer(path, width=size[0], height=size[1], fps=fps)
    for number in range(frames):
        assert not path.exists()
        image = np.full((size[1], size[0], 3), 20 + 30 * number, np.uint8)
        image[:, : size[0] // 2, 2] = 200
        writer.write(image)
    writer.close()
    assert (writer.frames, writer.completed) == (frames, True)


def boxes(path: Path) -> list[str]:
    """Return the types of the top-level boxes of an MP4 file."""
    content, position, found = path.read_bytes(), 0, []
    while position < len(content):
        size, kind = struct.unpack_from(">I4s", content, position)
        found.append(kind.decode())
        position += size
    return found


def test_a_browser_can_play_it(tmp_path: Path) -> None:
    """What Chromium asks for: H.264 named ``avc1``, 8 bits, 4:2:0; and the index first, to begin at once."""
    path = tmp_path / "clip.mp4"
    write_clip(path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.codec_tag == "avc1"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (6, 1)
        assert (stream.width, stream.height, stream.frames) == (64, 48, 5)
        assert stream.average_rate == Fraction(25, 2)
        assert not container.streams.audio
    order = boxes(path)
    assert order.index("moov") < order.index("mdat")
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "clip.mkv"])
def test_round_trip(tmp_path: Path, name: str) -> None:
    write_clip(tmp_path / name)
    with VideoReader(tmp_path / name) as reader:
        assert reader.fps == pytest.approx(12.5)
        seen = []
        while reader.advance():
            seen.append(reader.image()[24, [8, 56]].tolist())
    for number, (left, right) in enumerate(seen):
        level = 20 + 30 * number
        assert right == pytest.approx([level] * 3, abs=6)
        assert left == pytest.approx([level, level, 200], abs=12)
    assert len(seen) == 5


def test_odd_sides_get_one_more_row_and_column(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", size=(65, 47))
    with VideoReader(tmp_path / "clip.mp4") as reader:
        assert (reader.width, reader.height) == (66, 48)
        assert reader.advance()
        edge = reader.image()[46:48, 60:66].reshape(-1, 3)
    assert np.ptp(edge, axis=0).max() < 8


@pytest.mark.parametrize(
    ("fps", "rate"), [(29.97002997, Fraction(30000, 1001)), (0.5, Fraction(1, 2)), (240, Fraction(240))]
)
def test_rates(tmp_path: Path, fps: float, rate: Fraction) -> None:
    write_clip(tmp_path / "clip.mp4", fps=fps)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.streams.video[0].average_rate == rate
        assert float(container.streams.video[0].duration * container.streams.video[0].time_base) == pytest.approx(
            5 / fps
        )


def test_without_frames_there_is_no_file(tmp_path: Path) -> None:
    H264Writer(tmp_path / "clip.mp4", width=64, height=48, fps=10).close()
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(OutputError, match=r"no H.264 encoder") as caught:
        H264Writer(tmp_path / "clip.mp4", width=64, height=48, fps=10)
    assert 'fourcc="mp4v"' in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"):
        H264Writer(tmp_path / "gone" / "clip.mp4", width=64, height=48, fps=10)


@pytest.mark.parametrize(
    ("name", "fourcc", "kind"),
    [
        ("clip.mp4", None, H264Writer),
        ("clip.MOV", None, H264Writer),
        ("clip.mp4", "mp4v", VideoWriter),
        ("clip.avi", None, VideoWriter),
        ("clip.avi", "MJPG", VideoWriter),
    ],
)
def test_the_suffix_and_the_codec_choose_the_writer(tmp_path: Path, name: str, fourcc: str | None, kind: type) -> None:
    writer = open_video_writer(tmp_path / name, width=64, height=48, fps=10, fourcc=fourcc)
    assert type(writer) is kind
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.close()
    assert cv2.VideoCapture(str(tmp_path / name)).read()[0]
