"""Read frames of a video ahead, for detectors that take several frames at once."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from tracking.video.reader import FrameReader

__all__ = ["LookaheadReader"]


class LookaheadReader:
    """A `FrameReader` that reads frames ahead, so that a detector gets several frames as one batch.

    Args:
        reader: Source of the frames: a file, because to wait for a live source would drop its frames.
        size: Maximum number of frames in a batch.
        stop: Number of the frame before which reading ends; None for the end of the video.
    """

    def __init__(self, reader: FrameReader, size: int, stop: int | None) -> None:
        self._reader = reader
        self._size = size
        self._stop = stop
        self._ahead: deque[tuple[int, NDArray[np.uint8]]] = deque()
        self._current: tuple[int, NDArray[np.uint8]] | None = None
        self.width, self.height = reader.width, reader.height
        self.fps, self.frame_count = reader.fps, reader.frame_count

    @property
    def frame(self) -> int:
        """See `FrameReader`."""
        return self._reader.frame if self._current is None else self._current[0]

    @property
    def timestamp(self) -> float | None:
        """See `FrameReader`."""
        return None

    def advance(self) -> bool:
        """See `FrameReader`."""
        if self._ahead:
            self._current = self._ahead.popleft()
            return True
        if self._reader.advance():
            self._current = None
            return True
        return False

    def image(self) -> NDArray[np.uint8]:
        """See `FrameReader`."""
        return self._reader.image() if self._current is None else self._current[1]

    def batch(self) -> list[tuple[int, NDArray[np.uint8]]]:
        """Return the current frame and the next ones, each with its number. Each frame is decoded once."""
        if self._current is None:
            self._current = self._reader.frame, self._reader.image()
        frames = [self._current, *self._ahead]
        while (
            len(frames) < self._size
            and (self._stop is None or self._reader.frame + 1 < self._stop)
            and self._reader.advance()
        ):
            frames.append((self._reader.frame, self._reader.image()))
            self._ahead.append(frames[-1])
        return frames

    def close(self) -> None:
        """See `FrameReader`."""
        self._reader.close()
