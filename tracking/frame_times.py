"""Presentation times of frames."""

from __future__ import annotations

from array import array
from bisect import bisect_left

__all__ = ["FrameTimes"]

_FALLBACK_FPS = 25.0


class FrameTimes:
    """Presentation times of the frames of a video, in seconds; that of frame 0 is 0.

    A frame is at ``frame / fps``, unless it has a time of its own, as in videos with a variable frame rate. The memory
    is 16 bytes for each time of its own.

    Args:
        fps: Frames per second; None where unknown.
    """

    def __init__(self, fps: float | None) -> None:
        self.fps = fps
        self._frames = array("q")
        self._seconds = array("d")

    @property
    def are_known(self) -> bool:
        """Whether frames have times."""
        return bool(self.fps or self._frames)

    def add(self, frame: int, seconds: float) -> None:
        """Give a frame a time of its own; frames are given in ascending order."""
        self._frames.append(frame)
        self._seconds.append(max(seconds, self._seconds[-1] if self._seconds else 0.0))

    def _own(self, frame: float) -> float | None:
        place = bisect_left(self._frames, frame)
        return self._seconds[place] if place < len(self._frames) and self._frames[place] == frame else None

    def at(self, frame: float) -> float | None:
        """Return the time of a frame; None where unknown."""
        own = self._own(frame)
        return own if own is not None or not self.fps else frame / self.fps

    def end(self, frame: int) -> float | None:
        """Return the time at which a frame ends and the next one begins; None where unknown."""
        own, following = self._own(frame), self._own(frame + 1)
        if own is not None and following is None:
            return own + 1 / (self.fps or _FALLBACK_FPS)
        return self.at(frame + 1)

    def duration(self, first: int, last: int, frames: int) -> float | None:
        """Return the seconds of a number of the frames from one to another, both included; None where unknown."""
        if bisect_left(self._frames, first) == bisect_left(self._frames, last + 2):
            return frames / self.fps if self.fps else None
        start, end = self.at(first), self.end(last)
        return None if start is None or end is None else max(0.0, end - start) * frames / (last - first + 1)

    def position(self, frame: int) -> float:
        """Return the place of a frame on an axis: its time, or its number where no times are known."""
        seconds = self.at(frame) if self.are_known else float(frame)
        return float(frame) if seconds is None else seconds

    def end_position(self, frame: int) -> float:
        """Return the place at which a frame ends on that axis."""
        seconds = self.end(frame) if self.are_known else None
        return float(frame + 1) if seconds is None else seconds
