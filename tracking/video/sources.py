"""Where frames come from: a file, a camera, a stream, or a file played as though it were a camera.

A live source does not wait. A thread reads it and keeps the newest frames in a small queue; what the run has no
time for is dropped and counted, never queued without bound. A stream that is lost is opened again, with growing
pauses. Frames are numbered as they are processed, from 0 without gaps; each carries the time at which it came.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from tracking.errors import OptionError, VideoError
from tracking.video.files import VideoReader, open_cv2
from tracking.video.stream_check import Problem, stream_problem

__all__ = ["FrameReader", "LiveOptions", "LiveReader", "is_stream", "open_video", "public_name", "short_name"]

_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "udp", "tcp", "http", "https"})
_OPEN_TIMEOUT_MS = 10_000
_QUEUE = 2
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
_FALLBACK_FPS = 25.0
_LOOK = 0.2
"""Seconds between two looks at the clock while there is no frame; Ctrl-C is noticed at once all the same."""


class FrameReader(Protocol):
    """Frames in their order, as `tracking.video.files.VideoReader` has them from a file.

    Attributes:
        width, height: Pixels of a frame.
        fps: Frames per second as the source states, or None.
        frame_count: Frames in all as the source states; None where it does not, and for live sources.
        frame: Number of the current frame; -1 before the first `advance`.
        timestamp: When the current frame came, in seconds since 1970 (UTC); None for files.
    """

    width: int
    height: int
    fps: float | None
    frame_count: int | None

    @property
    def frame(self) -> int: ...  # noqa: D102

    @property
    def timestamp(self) -> float | None: ...  # noqa: D102

    def advance(self) -> bool:
        """Go to the next frame; False at the end."""
        ...

    def image(self) -> NDArray[np.uint8]:
        """The current frame, (H, W, 3) uint8 BGR; valid until the next `advance`."""
        ...

    def close(self) -> None:
        """Release the source."""
        ...


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How a live source is read.

    Attributes:
        reconnect_seconds: How long a lost stream is tried again before the run gives up; 0: not at all.
        duration: Seconds after which the run ends; None for no limit.
        max_frames: Processed frames after which it ends; None for no limit.
        loop: Play a video file as though it were a camera: at its own speed, from its beginning again at its end.
    """

    reconnect_seconds: float = 30.0
    duration: float | None = None
    max_frames: int | None = None
    loop: bool = False

    def validate(self, source: str | Path) -> None:
        """Check values against each other and against the source, before it is opened.

        Raises:
            OptionError: A value that makes no sense, or a limit of live sources for a file.
        """
        if not 0 <= self.reconnect_seconds < 1e9:
            raise OptionError(f"--reconnect-seconds must be at least 0, got {self.reconnect_seconds}.")
        if self.duration is not None and not 0 < self.duration < 1e9:
            raise OptionError(f"--duration must be above 0 seconds, got {self.duration}.")
        if self.max_frames is not None and self.max_frames < 1:
            raise OptionError(f"--max-frames must be at least 1, got {self.max_frames}.")
        if is_stream(source):
            if self.loop:
                raise OptionError("--loop plays a video file; a camera or a stream goes on by itself.")
        elif not self.loop and (self.duration is not None or self.max_frames is not None):
            raise OptionError(
                "--duration and --max-frames limit live sources.",
                hint="Use --range for a video file, or --loop to play it like a camera.",
            )

    def live(self, source: str | Path) -> bool:
        """Whether the source is read as a live one: no frame has a fixed number."""
        return self.loop or is_stream(source)


def is_stream(source: str | Path) -> bool:
    """Whether a source is a camera's index or an address; a file of that name goes before."""
    text = str(source)
    if not (text.isdecimal() or _scheme(text) in _SCHEMES):
        return False
    return not (text.isdecimal() and Path(text).exists())


def _scheme(text: str) -> str:
    """The scheme of an address, in lower case; empty for a path."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    return match[1].lower() if match else ""


def public_name(source: str | Path) -> str:
    """A source as it may be shown and stored: without user, password and query, which can be secrets."""
    text = str(source)
    if not _scheme(text):
        return f"camera {text}" if is_stream(text) else text
    scheme, _, rest = text.partition("//")
    address, asks, query = rest.partition("?")
    # A password may hold an @, a / or a ? that nobody escaped: what could be a part of one is not shown either.
    if "@" in address:
        address = f"***@{address.rpartition('@')[2]}"
    elif "@" in query and "/" not in address:
        address = "***@"
    return f"{scheme}//{address}?..." if asks else f"{scheme}//{address}"


def short_name(source: str | Path) -> str:
    """A plain name for a live source, such as ``camera-0`` or ``10-0-0-5-stream1``; a file's own name else."""
    text = str(source)
    if not is_stream(text):
        return Path(text).name
    if text.isdecimal():
        return f"camera-{text}"
    parts = urlsplit(public_name(text))
    return re.sub(r"[^A-Za-z0-9_]+", "-", f"{parts.hostname or ''}{parts.path}").strip("-")[:60] or "stream"


def open_video(
    source: str | Path, options: LiveOptions | None = None, *, notify: Callable[[str], None] | None = None
) -> VideoReader | LiveReader:
    """Open a source.

    An ``http`` address that states its number of frames is a file that lies elsewhere: it is read like one, frame by
    frame, and nothing is dropped.

    Args:
        source: Path of a video file, index of a camera, or address of a stream.
        options: How a live source is read.
        notify: Takes one-line messages about lost streams.

    Raises:
        OptionError: See `LiveOptions.validate`.
        VideoError: It cannot be opened, or has no frame.
    """
    options = options or LiveOptions()
    options.validate(source)
    if not options.live(source):
        return VideoReader(source)
    if _scheme(str(source)) in ("http", "https") and options == LiveOptions(options.reconnect_seconds):
        reader = _open_reader(source)
        if reader.frame_count is not None:
            return reader
        return LiveReader(source, options, notify=notify, opened=reader)
    return LiveReader(source, options, notify=notify)


def _open_reader(source: str | Path) -> VideoReader:
    """A camera or a stream; one that cannot be opened is asked why."""
    capture = _open_stream(str(source))
    if not capture.isOpened() and (problem := _problem(source)):
        raise VideoError(f"video {public_name(source)} cannot be opened: {problem.what}.", hint=problem.hint)
    return VideoReader(public_name(source), capture=capture)


def _problem(source: str | Path) -> Problem | None:
    return stream_problem(str(source)) if _scheme(str(source)) else None


def _open_stream(text: str) -> Any:
    cv2 = open_cv2()
    if text.isdecimal():
        return cv2.VideoCapture(int(text))
    return cv2.VideoCapture(
        text,
        cv2.CAP_FFMPEG,
        [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS],
    )


class LiveReader:
    """Frames of a camera, a stream, or a looped file, the newest ones; see `FrameReader`.

    Args:
        source: Index of a camera, address of a stream, or path of a file to be looped.
        options: How it is read.
        notify: Takes one-line messages; called from `advance`, in the caller's thread.
        opened: The source where it is open already.

    Raises:
        VideoError: It cannot be opened, or has no frame.

    Attributes:
        dropped: Frames that came since the first `advance` and that nobody had time for.
        reconnects: How often the stream was lost and came back.
    """

    def __init__(
        self,
        source: str | Path,
        options: LiveOptions,
        *,
        notify: Callable[[str], None] | None = None,
        opened: VideoReader | None = None,
    ) -> None:
        self._source = source
        self._name = public_name(source)
        self._options = options
        self._notify = notify or (lambda message: None)
        self._looped = options.loop
        reader = opened or (VideoReader(source) if self._looped else _open_reader(source))
        reader.advance()
        self.width, self.height = reader.width, reader.height
        self.fps: float | None = reader.fps
        self.frame_count: int | None = None
        self.frame = -1
        self.timestamp: float | None = None
        self.dropped = self.reconnects = 0
        self._image: NDArray[np.uint8] | None = None
        self._waiting: deque[tuple[NDArray[np.uint8], float]] = deque([(reader.image(), time.time())])
        self._said: deque[str] = deque()
        self._failure: VideoError | None = None
        self._started: float | None = None
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(reader,), name="gtrack-live", daemon=True)
        self._thread.start()

    # --- the reading thread ------------------------------------------------------------------------

    def _read(self, reader: VideoReader) -> None:
        """Read until the run is over or the stream is lost for good."""
        current: VideoReader | None = reader
        try:
            while current is not None and not self._stop.is_set():
                self._read_open(current)
                current.close()
                current = None if self._stop.is_set() else self._again()
        except Exception as error:  # noqa: BLE001  whatever OpenCV throws must end the run and not hang it
            self._fail(f"{self._name}: reading it failed: {error}")
        finally:
            if current is not None:
                current.close()

    def _read_open(self, reader: VideoReader) -> None:
        """Read what is open until it ends."""
        period = 1.0 / (reader.fps or _FALLBACK_FPS)
        due = time.monotonic()
        while not self._stop.is_set() and reader.advance():
            if self._looped:
                due = max(due + period, time.monotonic() - 10 * period)
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    return
            try:
                image = reader.image()
            except VideoError:
                continue  # a damaged frame of a stream; the next one comes
            if (reader.width, reader.height) != (self.width, self.height):
                self._fail(
                    f"{self._name}: its frames were {self.width} x {self.height} pixels and are now "
                    f"{reader.width} x {reader.height}",
                    "start another run: the tracks and the saved video of one are of one size.",
                )
                return
            self._put(image)

    def _put(self, image: NDArray[np.uint8]) -> None:
        with self._changed:
            if len(self._waiting) >= _QUEUE:
                self._waiting.popleft()
                if self._started is not None:
                    self.dropped += 1
            self._waiting.append((image, time.time()))
            self._changed.notify_all()

    def _again(self) -> VideoReader | None:
        """The source, opened again; None where that failed for too long, or the run is over."""
        if self._looped:
            return VideoReader(self._source)
        patience = self._options.reconnect_seconds
        if self._failure is not None:
            return None
        lost = time.monotonic()
        if patience > 0:
            self._say(f"{self._name} was lost; trying to open it again for {patience:g} s.")
        pause = _FIRST_PAUSE
        while (left := lost + patience - time.monotonic()) > 0:
            if self._stop.wait(min(pause, left)):
                return None
            pause = min(2 * pause, _LONGEST_PAUSE)
            try:
                reader = VideoReader(self._name, capture=_open_stream(str(self._source)))
            except VideoError:
                continue
            with self._changed:
                self.reconnects += 1
            self._say(f"{self._name} is back after {time.monotonic() - lost:.1f} s.")
            return reader
        if patience == 0:
            self._fail(f"{self._name} was lost")
            return None
        problem = _problem(self._source)
        why = f": {problem.what}" if problem else ""
        self._fail(f"{self._name} was lost and did not come back within {patience:g} s{why}")
        return None

    def _say(self, message: str) -> None:
        with self._changed:
            self._said.append(message)
            self._changed.notify_all()

    def _fail(self, message: str, hint: str = "see --reconnect-seconds.") -> None:
        with self._changed:
            self._failure = VideoError(f"{message}.", hint=f"What was processed before is complete; {hint}")
            self._changed.notify_all()

    # --- the run's thread --------------------------------------------------------------------------

    def advance(self) -> bool:
        """Wait for the next frame; False once the run has reached its limit of time or frames.

        Raises:
            VideoError: The stream is lost for good, or its frames have another size now.
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
                if not self._waiting and self._failure is None and not self._said:
                    self._changed.wait(_LOOK)
                said = list(self._said)
                self._said.clear()
                taken = self._waiting.popleft() if self._waiting else None
                failure = self._failure if taken is None else None
            for message in said:
                self._notify(message)
            if taken is not None:
                self._image, self.timestamp = taken
                self.frame += 1
                return True
            if failure is not None:
                raise failure

    def image(self) -> NDArray[np.uint8]:
        """See `FrameReader`."""
        assert self._image is not None, "advance comes first"
        return self._image

    def close(self) -> None:
        """Stop reading. A read that hangs is left to its timeout."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def __enter__(self) -> LiveReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
