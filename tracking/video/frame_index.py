"""The frames of a video file by number: their presentation times, and the key frames from which they are decoded."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

__all__ = ["FrameIndex", "read_frame_index"]

_INDEXED_FORMATS = frozenset({"avi", "matroska", "mov", "mp4", "webm"})
"""Containers in which a packet is a frame, and a jump to a time arrives at or before it."""


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """The frames of a video.

    Attributes:
        times: Presentation time of each frame, by its number, in units of the stream.
        key_frames: Numbers of the key frames, ascending.
    """

    times: list[int]
    key_frames: list[int]

    def key_frame_before(self, frame: int) -> int:
        """Return the number of the last key frame that is not after a frame."""
        return self.key_frames[bisect_right(self.key_frames, frame) - 1]


def read_frame_index(container: Any, stream: Any) -> FrameIndex | None:
    """Read the packets of a video, without decoding them.

    A frame's number is its rank by presentation time.

    Args:
        container: An open ``av.container.InputContainer``. It is read to its end.
        stream: Its video stream.

    Returns:
        The index; None where a packet need not be a frame: the container is of another kind, or packets lack times or
        share one.
    """
    import av

    if not _INDEXED_FORMATS.intersection(container.format.name.split(",")):
        return None
    times: list[int] = []
    key_times: list[int] = []
    try:
        for packet in container.demux(stream):
            # An edit list hides frames that others are decoded from; an empty packet repeats the frame before it.
            if not packet.size or packet.is_discard:
                continue
            if packet.pts is None:
                return None
            times.append(packet.pts)
            if packet.is_keyframe:
                key_times.append(packet.pts)
    except av.FFmpegError:
        return None
    times.sort()
    numbers = {time: number for number, time in enumerate(times)}
    if len(numbers) != len(times):
        return None
    key_frames = sorted(numbers[time] for time in key_times)
    return FrameIndex(times, key_frames) if key_frames and key_frames[0] == 0 else None
