"""Read video files through PyAV. A frame is converted to pixels only when its image is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gallery_db.limits import MAX_FPS, MIN_FPS
from tracking.errors import VideoError, error_line
from tracking.video.frame_index import FrameIndex, read_frame_index

__all__ = ["FrameReader", "VideoReader"]

_FAR_FRAMES = 250
"""Frames that are decoded on the way to a frame before the file is searched for a key frame nearer to it."""

_MAX_DAMAGED_READS = 100
"""Damaged places in a container that are passed over."""

_FALLBACK_FPS = 25.0


class FrameReader(Protocol):
    """Reads the frames of a source in order. `VideoReader` does so for a file, `LiveReader` for a live source.

    Attributes:
        width, height: Pixels of a frame.
        fps: Frames per second as the source states, or None.
        frame_count: Number of frames as the source states; None where it does not, and for live sources.
        frame: Number of the current frame; -1 before the first `advance`.
        time: Presentation time of the current frame in seconds, that of frame 0 being 0. None where it is
            ``frame / fps``, as in videos with a constant frame rate; and for live sources.
        timestamp: Time of arrival of the current frame, in seconds since 1970 (UTC); None for files.
    """

    width: int
    height: int
    fps: float | None
    frame_count: int | None

    @property
    def frame(self) -> int: ...  # noqa: D102

    @property
    def time(self) -> float | None: ...  # noqa: D102

    @property
    def timestamp(self) -> float | None: ...  # noqa: D102

    def advance(self) -> bool:
        """Go to the next frame. Return False at the end."""
        ...

    def image(self) -> NDArray[np.uint8]:
        """Return the current frame, (H, W, 3) uint8 BGR; valid until the next `advance`."""
        ...

    def close(self) -> None:
        """Release the source."""
        ...


class VideoReader:
    """Reads the frames of a video file in order, numbered from 0; a `FrameReader`.

    `advance` only decodes. The conversion to BGR, about half of the cost of a frame, happens in `image`, once a frame.
    Frames are upright: a file that asks players to turn or to mirror them, as those of phones do, is obeyed.

    Args:
        path: A video file that FFmpeg can read.

    Raises:
        VideoError: The file does not exist, or is not a video.

    Attributes:
        width, height: Pixels of a frame as `image` returns it.
        fps: Frames per second as the file states, or None.
        frame_count: Number of frames as the file states, or None; containers can be wrong about it.
        frame: Number of the current frame; -1 before the first `advance`.
        time: See `FrameReader`.
    """

    timestamp: float | None = None
    """Time of arrival of the current frame; None for files."""

    def __init__(self, path: str | Path) -> None:
        from av.video.reformatter import VideoReformatter

        self.path = Path(path)
        if not self.path.is_file():
            what = "is a folder" if self.path.is_dir() else "does not exist"
            raise VideoError(f"video {self.path} {what}; expected a video file.")
        self._container: Any = None
        self._open()
        rate = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        self.fps: float | None = rate if MIN_FPS <= rate <= MAX_FPS else None
        self.frame_count = self._stated_frames()
        self._reformatter = VideoReformatter()
        self._index: FrameIndex | None = None
        self._has_index = True
        self.frame = -1
        self.time: float | None = None
        self._seconds = -1.0
        first = next(self._decoded, None)
        if first is None:
            self.close()
            raise VideoError(f"video {self.path} has no frame that can be decoded.")
        self._ahead: Any = first  # The frame that the next `advance` takes.
        self._current: Any = None
        self._image: NDArray[np.uint8] | None = None
        self._start: int | None = first.pts
        self._tick = float(first.time_base or 0)
        self._size = first.width, first.height
        self._turn, is_transposed = _orientation(first)
        self.width, self.height = self._size[::-1] if is_transposed else self._size

    def _open(self) -> None:
        """Open the file, also for another time, before its first frame."""
        import av

        self.close()
        try:
            # Absolute: FFmpeg takes the part of a name before a colon for a protocol.
            self._container = av.open(str(self.path.absolute()), metadata_errors="replace")
            self._stream: Any = self._container.streams.best("video")
            if self._stream is None or self._stream.codec_context is None:
                raise ValueError("it has no video")
        except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
            self.close()
            raise VideoError(
                f"video {self.path} cannot be opened: it is not a video, or FFmpeg does not know its codec "
                f"({error_line(error)}).",
                hint="Re-encode it, for example with: ffmpeg -i IN -c:v libx264 OUT.mp4",
            ) from error
        self._stream.thread_type = "AUTO"
        self._decoded = self._decode()

    def _stated_frames(self) -> int | None:
        """Return the number of frames that the file states, or that follows from its duration; None without either."""
        import av

        count = self._stream.frames
        if not count and self._container.duration and self.fps:
            count = int(self._container.duration / av.time_base * self.fps + 0.5)
        return int(count) if 0 < count < 1e9 else None

    def _decode(self) -> Iterator[Any]:
        """Yield the frames from where the container stands; damaged packets are passed over."""
        import av

        for _ in range(_MAX_DAMAGED_READS):
            try:
                for packet in self._container.demux(self._stream):
                    try:
                        frames = packet.decode()
                    except av.FFmpegError:
                        continue
                    yield from frames
                return
            except av.InvalidDataError:
                continue
            except av.FFmpegError as error:
                raise VideoError(f"video {self.path}: reading it failed: {error_line(error)}.") from error

    def advance(self) -> bool:
        """Go to the next frame. Return False at the end of the video.

        Raises:
            VideoError: The file cannot be read on.
        """
        following = next(self._decoded, None) if self._ahead is None else self._ahead
        self._ahead = None
        if following is None:
            # The last frame stays the current one, as its number does.
            return False
        self.frame += 1
        self._take(following)
        return True

    def _take(self, decoded: Any) -> None:
        """Make a decoded frame the current one; its number is set."""
        self._current, self._image = decoded, None
        by_rate = None if self.fps is None else self.frame / self.fps
        seconds = None if decoded.pts is None or self._start is None else (decoded.pts - self._start) * self._tick
        if seconds is None or seconds <= self._seconds:
            # Without a usable time, a frame follows the one before it at the frame rate.
            seconds = self._seconds + 1 / (self.fps or _FALLBACK_FPS) if self.frame else 0.0
        self._seconds = seconds
        # A container rounds times to its unit.
        tolerance = min(self._tick, 0.5 / (self.fps or _FALLBACK_FPS)) * 1.001
        self.time = None if by_rate is not None and abs(seconds - by_rate) <= tolerance else seconds

    def seek(self, frame: int) -> bool:
        """Go to a frame, forward or back; a frame far away is decoded from the key frame before it.

        Args:
            frame: Number of the frame, from 0.

        Returns:
            Whether the video has that frame. If not, the reader is at its end.

        Raises:
            VideoError: The file cannot be read on.
        """
        if not (self.frame <= frame <= self.frame + _FAR_FRAMES) and not self._jump(frame) and frame < self.frame:
            self._restart()
        while self.frame < frame:
            if not self.advance():
                return False
        return True

    def _jump(self, frame: int) -> bool:
        """Go to a frame from the key frame before it, where that is nearer; return whether it was found."""
        import av

        index = self._frame_index()
        if index is None or not 0 <= frame < len(index.times):
            return False
        key_frame = index.key_frame_before(frame)
        if key_frame <= self.frame <= frame:
            return False
        wanted = index.times[frame]
        try:
            self._container.seek(index.times[key_frame], stream=self._stream)
        except av.FFmpegError:
            self._has_index = False
            self._restart()
            return False
        self._decoded = self._decode()
        for decoded in self._decoded:
            if decoded.pts == wanted:
                self._ahead = None
                self.frame, self._seconds = frame, -1.0
                self._take(decoded)
                return True
            if decoded.pts is None or decoded.pts > wanted:
                break
        # The file is not as its index says.
        self._has_index = False
        self._restart()
        return False

    def _frame_index(self) -> FrameIndex | None:
        """Return the index of the file, which is read when it is first needed; None without one that can be used."""
        import av

        if self._index is None and self._has_index:
            try:
                with av.open(str(self.path.absolute()), metadata_errors="replace") as container:
                    self._index = read_frame_index(container, container.streams[self._stream.index])
            except (av.FFmpegError, OSError):
                self._index = None
            # A video that does not begin with a key frame has packets before its first frame.
            self._has_index = self._index is not None and self._index.times[0] == self._start
        return self._index if self._has_index else None

    def _restart(self) -> None:
        """Go before the first frame."""
        self._open()
        self._ahead = self._current = self._image = self.time = None
        self.frame, self._seconds = -1, -1.0

    def image(self) -> NDArray[np.uint8]:
        """Return the current frame, (H, W, 3) uint8 BGR; valid until the next `advance`.

        Raises:
            VideoError: The frame is damaged.
        """
        if self._image is None:
            import av

            assert self._current is not None, "call advance first"
            width, height = self._size
            try:
                # BICUBIC, as OpenCV converts; more threads cost more here than they save.
                converted = self._reformatter.reformat(
                    self._current, width, height, format="bgr24", interpolation="BICUBIC", threads=1
                )
                pixels: Any = converted.to_ndarray()
                self._image = self._turn(pixels)
            except (av.FFmpegError, ValueError, MemoryError) as error:
                raise VideoError(f"video {self.path}: frame {self.frame} cannot be decoded.") from error
        return self._image

    def close(self) -> None:
        """Release the video."""
        if self._container is not None:
            self._container.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _orientation(frame: Any) -> tuple[Callable[[NDArray[np.uint8]], NDArray[np.uint8]], bool]:
    """Return the function that makes the pictures of a video upright, and whether it exchanges width and height.

    The display matrix of a frame is nine int32 (ISO 14496-12, 8.3.2). Its first two rows of two have the direction in
    which the columns and the rows of the picture go.
    """
    from av.sidedata.sidedata import Type

    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None or len(bytes(data)) < 36:
        return (lambda image: image), False
    a, b, _, c, d = np.frombuffer(bytes(data), "=i4", 5).tolist()
    is_transposed = abs(b) + abs(c) > abs(a) + abs(d)
    mirrors_x, mirrors_y = (c < 0, b < 0) if is_transposed else (a < 0, d < 0)
    if not (is_transposed or mirrors_x or mirrors_y):
        return (lambda image: image), False

    def turn(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        import cv2

        turned: Any = cv2.transpose(image) if is_transposed else image
        if mirrors_x or mirrors_y:
            turned = cv2.flip(turned, -1 if mirrors_x and mirrors_y else 1 if mirrors_x else 0)
        return turned  # type: ignore[no-any-return]

    return turn, is_transposed
