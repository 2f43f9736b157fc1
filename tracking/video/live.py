"""Read live sources: a camera, a stream, or a video file that is played like a camera.

A live source does not wait. A thread reads it and keeps the newest frames in a small queue. Frames that the run has no
time for are dropped and counted; the queue never grows. A lost stream is opened again, with growing pauses. Frames are
numbered as they are processed, from 0 without gaps; each has the time at which it arrived.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.errors import OptionError, VideoError
from tracking.video.addresses import is_stream, public_name, scheme_of
from tracking.video.capture import CaptureReader, load_cv2
from tracking.video.reader import VideoReader
from tracking.video.stream_diagnosis import StreamProblem, diagnose_stream

__all__ = ["LiveOptions", "LiveReader", "open_stream"]

_OPEN_TIMEOUT_MS = 10_000
_MAX_CAMERA_DIGITS = 4
_QUEUE_SIZE = 2
_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.5, 10.0
_FALLBACK_FPS = 25.0
_POLL_SECONDS = 0.2
"""Time between two checks of the clock while no frame arrives. Ctrl-C is noticed at once nevertheless."""


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How to read a live source.

    Attributes:
        reconnect_seconds: How long to try to reopen a lost stream, in seconds, before the run ends; 0: do not try.
        duration: Seconds after which the run ends; None for no limit.
        max_frames: Number of processed frames after which the run ends; None for no limit.
        loop: Play a video file like a camera: at its own frame rate, and again from its beginning when it ends.
    """

    reconnect_seconds: float = 30.0
    duration: float | None = None
    max_frames: int | None = None
    loop: bool = False

    def validate(self, source: str | Path) -> None:
        """Check the options against each other and against the source, before it is opened.

        Raises:
            OptionError: A value is out of its range, or a limit of live sources is given for a file.
        """
        if not 0 <= self.reconnect_seconds < 1e9:
            raise OptionError(
                f"`reconnect_seconds` must be at least 0, found {self.reconnect_seconds}.", field="reconnect_seconds"
            )
        if self.duration is not None and not 0 < self.duration < 1e9:
            raise OptionError(f"`duration` must be above 0 seconds, found {self.duration}.", field="duration")
        if self.max_frames is not None and self.max_frames < 1:
            raise OptionError(f"`max_frames` must be at least 1, found {self.max_frames}.", field="max_frames")
        if is_stream(source):
            if self.loop:
                raise OptionError("`loop=True` is for a video file; a camera or a stream does not end.", field="loop")
        elif not self.loop and (self.duration is not None or self.max_frames is not None):
            raise OptionError(
                "`duration` and `max_frames` limit live sources.",
                field="max_frames" if self.duration is None else "duration",
                hint="Use `frame_range` for a video file, or `loop=True` to play it like a camera.",
            )

    def live(self, source: str | Path) -> bool:
        """Whether the source is read as a live one, so that frames have no fixed numbers."""
        return self.loop or is_stream(source)


def open_stream(source: str | Path) -> CaptureReader:
    """Open a camera or a stream.

    Raises:
        VideoError: It cannot be opened; says why, where its server answers.
    """
    if str(source).isdecimal() and len(str(source)) > _MAX_CAMERA_DIGITS:
        raise VideoError(
            f"expected the index of a camera, such as 0, found {len(str(source))} digits.",
            hint="Give an index of at most 4 digits, an address, or a file.",
        )
    capture = _open_capture(str(source))
    if not capture.isOpened() and (problem := _diagnose(source)):
        raise VideoError(f"video {public_name(source)} cannot be opened: {problem.description}.", hint=problem.hint)
    return CaptureReader(public_name(source), capture)


def _diagnose(source: str | Path) -> StreamProblem | None:
    return diagnose_stream(str(source)) if scheme_of(str(source)) else None


def _open_capture(source: str) -> Any:
    cv2 = load_cv2()
    if source.isdecimal():
        return cv2.VideoCapture(int(source))
    return cv2.VideoCapture(
        source,
        cv2.CAP_FFMPEG,
        [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS],
    )


class LiveReader:
    """Reads the newest frames of a camera, a stream, or a looped file; a `FrameReader`.

    Args:
        source: Index of a camera, address of a stream, or path of a file to loop.
        options: How to read it.
        notify: Called with one-line messages, from `advance`, in the caller's thread.
        opened: The source, if it is open already.

    Raises:
        VideoError: The source cannot be opened, or has no frame.

    Attributes:
        dropped: Number of frames since the first `advance` that were dropped because newer ones had arrived.
        reconnects: Number of times that the stream was lost and opened again.
    """

    def __init__(
        self,
        source: str | Path,
        options: LiveOptions,
        *,
        notify: Callable[[str], None] | None = None,
        opened: CaptureReader | None = None,
    ) -> None:
        self._source = source
        self._name = public_name(source)
        self._options = options
        self._notify = notify or (lambda message: None)
        self._loops = options.loop
        reader = VideoReader(source) if self._loops else opened or open_stream(source)
        reader.advance()
        self.width, self.height = reader.width, reader.height
        self.fps: float | None = reader.fps
        self.frame_count: int | None = None
        self.frame = -1
        self.timestamp: float | None = None
        self.time: float | None = None
        self.dropped = self.reconnects = 0
        self._image: NDArray[np.uint8] | None = None
        self._queue: deque[tuple[NDArray[np.uint8], float]] = deque([(reader.image(), time.time())])
        self._messages: deque[str] = deque()
        self._failure: VideoError | None = None
        self._started: float | None = None
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(reader,), name="gtrack-live", daemon=True)
        self._thread.start()

    # --- the reading thread ------------------------------------------------------------------------

    def _read(self, reader: VideoReader | CaptureReader) -> None:
        """Read until the run ends or the stream cannot be opened again."""
        current: VideoReader | CaptureReader | None = reader
        try:
            while current is not None and not self._stop.is_set():
                self._read_until_end(current)
                current.close()
                current = None if self._stop.is_set() else self._reopen()
        except Exception as error:  # noqa: BLE001  any error of a decoder must end the run, not hang it
            self._fail(f"{self._name}: reading it failed: {error}")
        finally:
            if current is not None:
                current.close()

    def _read_until_end(self, reader: VideoReader | CaptureReader) -> None:
        """Read an open video until it ends."""
        period = 1.0 / (reader.fps or _FALLBACK_FPS)
        due = time.monotonic()
        while not self._stop.is_set() and reader.advance():
            if self._loops:
                due = max(due + period, time.monotonic() - 10 * period)
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    return
            try:
                image = reader.image()
            except VideoError:
                continue  # A damaged frame of a stream: take the next one.
            if (reader.width, reader.height) != (self.width, self.height):
                self._fail(
                    f"{self._name}: the frame size changed from {self.width} x {self.height} to "
                    f"{reader.width} x {reader.height} pixels",
                    "start another run: a run and its saved video have one frame size.",
                )
                return
            self._enqueue(image)

    def _enqueue(self, image: NDArray[np.uint8]) -> None:
        with self._changed:
            if len(self._queue) >= _QUEUE_SIZE:
                self._queue.popleft()
                if self._started is not None:
                    self.dropped += 1
            self._queue.append((image, time.time()))
            self._changed.notify_all()

    def _reopen(self) -> VideoReader | CaptureReader | None:
        """Open the source again. Return None if that fails for too long, or the run is over."""
        if self._loops:
            return VideoReader(self._source)
        patience = self._options.reconnect_seconds
        if self._failure is not None:
            return None
        lost_at = time.monotonic()
        if patience > 0:
            self._report(f"{self._name} was lost; trying to open it again for {patience:g} s.")
        pause = _FIRST_PAUSE_SECONDS
        while (left := lost_at + patience - time.monotonic()) > 0:
            if self._stop.wait(min(pause, left)):
                return None
            pause = min(2 * pause, _MAX_PAUSE_SECONDS)
            try:
                reader = CaptureReader(self._name, _open_capture(str(self._source)))
            except VideoError:
                continue
            with self._changed:
                self.reconnects += 1
            self._report(f"{self._name} was opened again after {time.monotonic() - lost_at:.1f} s.")
            return reader
        if patience == 0:
            self._fail(f"{self._name} was lost")
            return None
        problem = _diagnose(self._source)
        reason = f": {problem.description}" if problem else ""
        self._fail(f"{self._name} was lost and could not be opened again within {patience:g} s{reason}")
        return None

    def _report(self, message: str) -> None:
        with self._changed:
            self._messages.append(message)
            self._changed.notify_all()

    def _fail(self, message: str, hint: str = "see `reconnect_seconds`.") -> None:
        with self._changed:
            self._failure = VideoError(f"{message}.", hint=f"The frames processed so far are complete; {hint}")
            self._changed.notify_all()

    # --- the run's thread --------------------------------------------------------------------------

    def advance(self) -> bool:
        """Wait for the next frame. Return False when the limit of time or frames is reached.

        Raises:
            VideoError: The stream was lost and could not be opened again, or its frame size changed.
        """
        options = self._options
        if self._started is None:
            self._started = time.monotonic()
            with self._changed:
                self.dropped = 0
        if options.max_frames is not None and self.frame + 1 >= options.max_frames:
            return False
        while True:
            if options.duration is not None and time.monotonic() - self._started >= options.duration:
                return False
            with self._changed:
                if not self._queue and self._failure is None and not self._messages:
                    self._changed.wait(_POLL_SECONDS)
                messages = list(self._messages)
                self._messages.clear()
                newest = self._queue.popleft() if self._queue else None
                failure = self._failure if newest is None else None
            for message in messages:
                self._notify(message)
            if newest is not None:
                self._image, self.timestamp = newest
                self.frame += 1
                return True
            if failure is not None:
                raise failure

    def image(self) -> NDArray[np.uint8]:
        """See `FrameReader`."""
        assert self._image is not None, "call advance first"
        return self._image

    def close(self) -> None:
        """Stop reading. A read that hangs ends by its own timeout."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def __enter__(self) -> LiveReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
