"""Times of frames: by the frame rate, and of their own."""

from __future__ import annotations

import pytest

from tracking.frame_times import FrameTimes


def test_a_constant_frame_rate() -> None:
    times = FrameTimes(30)
    assert [times.at(7), times.end(7), times.duration(3, 7, 4)] == [7 / 30, 8 / 30, 4 / 30]
    assert [times.position(7), times.end_position(7)] == [7 / 30, 8 / 30]
    assert times.are_known


def test_no_times() -> None:
    times = FrameTimes(None)
    assert [times.at(7), times.end(7), times.duration(3, 7, 4)] == [None, None, None]
    assert [times.position(7), times.end_position(7)] == [7, 8]
    assert not times.are_known


@pytest.mark.parametrize("fps", [10.0, None])
def test_times_of_their_own(fps: float | None) -> None:
    times = FrameTimes(fps)
    for frame, seconds in [(3, 1.0), (4, 1.5), (5, 3.0)]:
        times.add(frame, seconds)
    assert [times.at(frame) for frame in (3, 4, 5)] == [1.0, 1.5, 3.0]
    assert [times.end(frame) for frame in (3, 4)] == [1.5, 3.0]
    assert times.end(5) == pytest.approx(3.0 + 1 / (fps or 25))
    assert times.duration(3, 4, 2) == 2.0
    assert times.duration(3, 4, 1) == 1.0, "as much of the time as of the frames"
    assert times.at(2) == (0.2 if fps else None)


def test_times_never_go_back() -> None:
    times = FrameTimes(10)
    times.add(3, 2.0)
    times.add(4, 1.0)
    assert times.at(4) == 2.0
