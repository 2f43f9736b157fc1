"""Reading ahead in a thread: the same frames, errors at their frame, and no thread left."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracking.errors import VideoError
from tracking.video.ahead import AheadReader
from tracking.video.reader import VideoReader
from tracking.video.writer import VideoWriter

FRAMES = 40


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = VideoWriter(path, width=64, height=48, fps=25, fourcc="MJPG")
    for frame in range(FRAMES):
        writer.write(np.full((48, 64, 3), 6 * frame, np.uint8))
    writer.close()
    return path


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "gtrack-reader"]


class Broken(VideoReader):
    """A video with a damaged frame, and one at which reading fails."""

    damaged, fails_at = 10, 20

    def advance(self) -> bool:
        if self.frame + 1 == self.fails_at:
            raise VideoError("the disk is gone")
        return super().advance()

    def image(self) -> Any:
        if self.frame == self.damaged:
            raise VideoError("frame 10 is damaged")
        return super().image()


@pytest.mark.parametrize(("start", "stop"), [(0, None), (6, 30)])
def test_the_same_frames(clip: Path, start: int, stop: int | None) -> None:
    with VideoReader(clip) as plain:
        ahead = AheadReader(VideoReader(clip), start=start, stop=stop, frames=4)
        while plain.advance():
            if plain.frame < start or (stop is not None and plain.frame >= stop):
                continue
            assert ahead.advance()
            assert ahead.frame == plain.frame == ahead.current().number
            numbers, images = zip(*ahead.upcoming(4), strict=True)
            assert list(numbers) == list(range(plain.frame, min(plain.frame + 4, stop or FRAMES)))
            assert images[0] is ahead.image()
            np.testing.assert_array_equal(ahead.image(), plain.image())
        # After the range, it says whether the video goes on.
        assert ahead.advance() == (stop is not None)
        assert ahead.frame == (FRAMES - 1 if stop is None else stop)
        ahead.close()
    assert reading_threads() == []


def test_errors_come_at_their_frame(clip: Path) -> None:
    ahead = AheadReader(Broken(clip), frames=8)
    for frame in range(Broken.fails_at):
        assert ahead.advance()
        if frame == Broken.damaged:
            with pytest.raises(VideoError, match="damaged"):
                ahead.image()
        else:
            last = frame + 8 if frame > Broken.damaged else Broken.damaged
            numbers = [number for number, _ in ahead.upcoming(8)]
            assert numbers == list(range(frame, min(frame + 8, last, Broken.fails_at)))
    with pytest.raises(VideoError, match="the disk is gone"):
        ahead.advance()
    ahead.close()
    assert reading_threads() == []


def test_it_reads_no_further_than_there_is_room_and_ends_when_it_is_closed(clip: Path) -> None:
    ahead = AheadReader(VideoReader(clip), frames=2)
    assert ahead.advance()
    assert len(ahead.upcoming(FRAMES)) < 10
    assert reading_threads() == ["gtrack-reader"]
    ahead.close()
    assert reading_threads() == []


def test_closing_before_the_first_frame(clip: Path) -> None:
    AheadReader(VideoReader(clip)).close()
    assert reading_threads() == []
