"""Read video through OpenCV. A frame is converted to pixels only when its image is asked for."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gallery_db.limits import MAX_FPS, MIN_FPS
from gallery_db.logs import get_logger
from tracking.errors import VideoError

__all__ = ["FrameReader", "VideoReader", "load_cv2"]

_log = get_logger("video")
_is_quiet = False


def load_cv2() -> Any:
    """Import OpenCV for reading and writing video, with its own log off.

    OpenCV and its FFmpeg report every damaged packet on stderr; what matters to the user becomes a VideoError. Their
    log has one level for the whole process: it is set once, and not at all where ``OPENCV_LOG_LEVEL`` and
    ``OPENCV_FFMPEG_LOGLEVEL`` say how much to log, or where gtrack logs details.
    """
    global _is_quiet
    if _is_quiet or _log.isEnabledFor(logging.DEBUG):
        import cv2

        return cv2
    _is_quiet = True
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


class FrameReader(Protocol):
    """Reads the frames of a source in order. `VideoReader` does so for a file, `LiveReader` for a live source.

    Attributes:
        width, height: Pixels of a frame.
        fps: Frames per second as the source states, or None.
        frame_count: Number of frames as the source states; None where it does not, and for live sources.
        frame: Number of the current frame; -1 before the first `advance`.
        timestamp: Time of arrival of the current frame, in seconds since 1970 (UTC); None for files.
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
        """Go to the next frame. Return False at the end."""
        ...

    def image(self) -> NDArray[np.uint8]:
        """Return the current frame, (H, W, 3) uint8 BGR; valid until the next `advance`."""
        ...

    def close(self) -> None:
        """Release the source."""
        ...


class VideoReader:
    """Reads the frames of a video file in order, numbered from 0.

    `advance` only decodes. The conversion to BGR, about half of the cost of a frame, happens in `image`, once a frame.

    Args:
        path: A video file that OpenCV can open.
        capture: OpenCV's capture of a camera or a stream, in place of a file; `path` is then its name for messages.

    Raises:
        VideoError: The file does not exist, or is not a video.

    Attributes:
        width, height: Pixels of a frame as `image` returns it.
        fps: Frames per second as the file states, or None.
        frame_count: Number of frames as the file states, or None; containers can be wrong about it.
        frame: Number of the current frame; -1 before the first `advance`.
    """

    timestamp: float | None = None
    """Time of arrival of the current frame; None for files."""

    def __init__(self, path: str | Path, *, capture: Any = None) -> None:
        self.path = Path(path)
        # A Path would take one of the slashes of an address.
        self._name = str(path)
        cv2 = load_cv2()
        if capture is None:
            if not self.path.is_file():
                what = "is a folder" if self.path.is_dir() else "does not exist"
                raise VideoError(f"video {self.path} {what}; expected a video file.")
            capture = cv2.VideoCapture(str(self.path))
            problem = "it is not a video, or OpenCV does not know its codec"
            hint = "Re-encode it, for example with: ffmpeg -i IN -c:v libx264 OUT.mp4"
        else:
            problem = "nothing answers there, or OpenCV does not know the video that it sends"
            hint = "Check the address, and that no other program uses the camera."
        self._capture = capture
        if not self._capture.isOpened():
            raise VideoError(f"video {self._name} cannot be opened: {problem}.", hint=hint)
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps: float | None = fps if MIN_FPS <= fps <= MAX_FPS else None
        count = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frame_count: int | None = int(count) if np.isfinite(count) and 0 < count < 1e9 else None
        self.frame = -1
        self._image: NDArray[np.uint8] | None = None
        self._grabbed = bool(self._capture.grab())
        ok, first = self._capture.retrieve() if self._grabbed else (False, None)
        if not ok or first is None:
            self._capture.release()
            raise VideoError(f"video {self._name} has no frame that can be decoded.")
        self.height, self.width = int(first.shape[0]), int(first.shape[1])
        self._first: NDArray[np.uint8] | None = first

    def advance(self) -> bool:
        """Go to the next frame. Return False at the end of the video."""
        if self.frame < 0:
            self.frame = 0
            self._image, self._first = self._first, None
            return True
        self._image = None
        if not self._capture.grab():
            return False
        self.frame += 1
        return True

    def image(self) -> NDArray[np.uint8]:
        """Return the current frame, (H, W, 3) uint8 BGR; valid until the next `advance`.

        Raises:
            VideoError: The frame is damaged.
        """
        if self._image is None:
            ok, image = self._capture.retrieve()
            if not ok or image is None:
                raise VideoError(f"video {self._name}: frame {self.frame} cannot be decoded.")
            self._image = image
        return self._image

    def close(self) -> None:
        """Release the video."""
        self._capture.release()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
