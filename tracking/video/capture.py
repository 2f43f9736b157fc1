"""Read cameras and streams through OpenCV."""

from __future__ import annotations

import logging
import os
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.limits import MAX_FPS, MIN_FPS
from gallery_db.logs import get_logger
from tracking.errors import VideoError

__all__ = ["CaptureReader", "load_cv2"]

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


class CaptureReader:
    """Reads the frames of a camera or a stream in order, numbered from 0; a `FrameReader`.

    Args:
        name: Its name in messages.
        capture: OpenCV's capture of it.

    Raises:
        VideoError: It is not open, or has no frame.
    """

    timestamp: float | None = None
    time: float | None = None

    def __init__(self, name: str, capture: Any) -> None:
        cv2 = load_cv2()
        self._name = name
        self._capture = capture
        if not capture.isOpened():
            raise VideoError(
                f"video {name} cannot be opened: nothing answers there, or OpenCV does not know the video that it "
                f"sends.",
                hint="Check the address, and that no other program uses the camera.",
            )
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        self.fps: float | None = fps if MIN_FPS <= fps <= MAX_FPS else None
        count = float(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frame_count: int | None = int(count) if np.isfinite(count) and 0 < count < 1e9 else None
        self.frame = -1
        ok, first = capture.read()
        if not ok or first is None:
            capture.release()
            raise VideoError(f"video {name} has no frame that can be decoded.")
        self.height, self.width = int(first.shape[0]), int(first.shape[1])
        self._image: NDArray[np.uint8] | None = first

    def advance(self) -> bool:
        """See `FrameReader`."""
        if self.frame >= 0:
            self._image = None
            if not self._capture.grab():
                return False
        self.frame += 1
        return True

    def image(self) -> NDArray[np.uint8]:
        """See `FrameReader`.

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
        """Release the source."""
        self._capture.release()

    def __enter__(self) -> CaptureReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
