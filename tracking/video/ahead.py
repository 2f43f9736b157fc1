"""Read the frames of a file ahead, in a thread of its own: decoding overlaps with the work on earlier frames."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracking.errors import VideoError
from tracking.video.reader import FrameReader

__all__ = ["AheadFrame", "AheadReader"]

_SPARE_FRAMES = 3
"""Frames that may be ready beside those that are needed at once; decoding takes longer for some than for others."""


@dataclass(slots=True, eq=False)
class AheadFrame:
    """A frame that was read; unlike a reader's current frame it stays valid.

    Attributes:
        number: Its number.
        time: Its presentation time; see `FrameReader`.
        width, height: Its pixels.
    """

    number: int
    time: float | None
    width: int
    height: int
    _content: NDArray[np.uint8] | VideoError

    @property
    def is_damaged(self) -> bool:
        """Whether `image` raises an error."""
        return isinstance(self._content, VideoError)

    def image(self) -> NDArray[np.uint8]:
        """Return it, (H, W, 3) uint8 BGR.

        Raises:
            VideoError: It is damaged.
        """
        if isinstance(self._content, VideoError):
            raise self._content
        return self._content


class AheadReader:
    """A `FrameReader` whose frames are decoded and converted in a thread, a few ahead.

    Every frame is converted, so it is for runs that need the pixels of every frame. A frame that is damaged is an error
    when its image is asked for, and an error of reading when the run comes to it: the frames before it are complete.

    Args:
        reader: Source of the frames: a file, because to read ahead of a live source would delay its frames. It belongs
            to the thread until the end.
        start: Number of the first frame that is needed; earlier ones are passed over.
        stop: Number of the frame before which the thread stops; None for the end of the video.
        frames: Number of frames that `upcoming` may be asked for.

    Attributes:
        decode_seconds: CPU seconds of the thread so far.
    """

    timestamp: float | None = None

    def __init__(self, reader: FrameReader, *, start: int = 0, stop: int | None = None, frames: int = 1) -> None:
        self._reader = reader
        self._start = start
        self._stop = stop
        self._room = frames + _SPARE_FRAMES
        self._ready: deque[AheadFrame] = deque()
        self._current: AheadFrame | None = None
        self._changed = threading.Condition()
        self._is_over = False
        self._closed = False
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        self.decode_seconds = 0.0
        self.width, self.height = reader.width, reader.height
        self.fps, self.frame_count = reader.fps, reader.frame_count
        self.frame = -1

    # --- the reading thread ------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            while not self._closed and self._read_frame():
                pass
        except BaseException as error:  # noqa: BLE001  raised in the run's thread
            self._failure = error
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _read_frame(self) -> bool:
        """Read one frame, and wait for room for it. Return False at the end."""
        reader = self._reader
        if (self._stop is not None and reader.frame + 1 >= self._stop) or not reader.advance():
            return False
        if reader.frame < self._start:
            return True
        try:
            content: NDArray[np.uint8] | VideoError = reader.image()
        except VideoError as error:
            content = error
        frame = AheadFrame(reader.frame, reader.time, self.width, self.height, content)
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._ready) < self._room)
            self._ready.append(frame)
            self.decode_seconds = time.thread_time()
            self._changed.notify_all()
        return True

    # --- the run's thread --------------------------------------------------------------------------

    def _wait(self, count: int) -> None:
        """Wait until a number of frames are ready, or there are no more."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._read, name="gtrack-reader", daemon=True)
            self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or len(self._ready) >= min(count, self._room))

    def advance(self) -> bool:
        """See `FrameReader`. The frames before `start` are passed over.

        Raises:
            VideoError: The video cannot be read on.
        """
        self._wait(1)
        if self._ready:
            with self._changed:
                self._current = self._ready.popleft()
                self._changed.notify_all()
            self.frame = self._current.number
            return True
        if self._failure is not None:
            raise self._failure
        # The thread has ended: at the end of the video, or at `stop`, after which the video may go on.
        more = self._reader.advance()
        self._current = None
        self.frame = self._reader.frame
        return more

    def image(self) -> NDArray[np.uint8]:
        """See `FrameReader`."""
        return self._reader.image() if self._current is None else self._current.image()

    @property
    def time(self) -> float | None:
        """See `FrameReader`."""
        return self._reader.time if self._current is None else self._current.time

    def current(self) -> AheadFrame:
        """Return the current frame, to be kept beyond the next `advance`."""
        assert self._current is not None, "call advance first"
        return self._current

    def upcoming(self, count: int) -> list[tuple[int, NDArray[np.uint8]]]:
        """Return the current frame and the next ones, each with its number, up to a damaged one.

        Args:
            count: Their number, at most `frames`; there are fewer at the end of the video.

        Raises:
            VideoError: The current frame is damaged.
        """
        frames = [(self.frame, self.image())]
        self._wait(count - 1)
        with self._changed:
            for frame in list(self._ready)[: count - 1]:
                if frame.is_damaged:
                    break
                frames.append((frame.number, frame.image()))
        return frames

    def close(self) -> None:
        """End the thread and release the source."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._reader.close()
