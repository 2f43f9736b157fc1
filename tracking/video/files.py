"""Reading and writing video through OpenCV. A frame is converted to pixels only where somebody looks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.errors import OutputError, VideoError

__all__ = ["VideoReader", "VideoWriter", "open_cv2"]

_FRAMES_A_CHECK = 64
_LEAST_FREE = 256 * 1024
"""Bytes of free space below which a video cannot be finished."""


def open_cv2() -> Any:
    """OpenCV, kept from writing to stderr."""
    # FFmpeg reports every damaged packet on stderr; what matters of it becomes a VideoError here.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


class VideoReader:
    """Frames of a video in their order, numbered from 0.

    `advance` only decodes; the conversion to BGR (about half of the cost of a frame) happens in
    `image`, once, for those who ask.

    Args:
        path: A video file that OpenCV can open.
        capture: OpenCV's capture of a camera or a stream, where there is no file; `path` is then its name.

    Raises:
        VideoError: There is no such file, or it is no video.

    Attributes:
        width, height: Pixels of a frame as `image` returns it.
        fps: Frames per second as the file states, or None.
        frame_count: Number of frames as the file states, or None; containers can be wrong about it.
        frame: Number of the current frame; -1 before the first `advance`.
    """

    timestamp: float | None = None
    """When the current frame came; files do not say."""

    def __init__(self, path: str | Path, *, capture: Any = None) -> None:
        self.path = Path(path)
        # A Path would take one of the slashes of an address.
        self._name = str(path)
        cv2 = open_cv2()
        if capture is None:
            if not self.path.is_file():
                what = "is a folder" if self.path.is_dir() else "does not exist"
                raise VideoError(f"video {self.path} {what}; expected a video file.")
            capture = cv2.VideoCapture(str(self.path))
            problem = "it is no video, or its codec is not known here"
            hint = "Re-encode it, for example with: ffmpeg -i IN -c:v libx264 OUT.mp4"
        else:
            problem = "nothing answers there, or it sends no video that is known here"
            hint = "Check the address, and that no other program holds the camera."
        self._capture = capture
        if not self._capture.isOpened():
            raise VideoError(f"video {self._name} cannot be opened: {problem}.", hint=hint)
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps: float | None = fps if np.isfinite(fps) and 0 < fps < 1e4 else None
        count = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frame_count: int | None = int(count) if np.isfinite(count) and 0 < count < 1e9 else None
        self.frame = -1
        self._image: NDArray[np.uint8] | None = None
        self._grabbed = bool(self._capture.grab())
        ok, first = self._capture.retrieve() if self._grabbed else (False, None)
        if not ok or first is None:
            self._capture.release()
            raise VideoError(f"video {self._name} holds no frame that can be decoded.")
        self.height, self.width = int(first.shape[0]), int(first.shape[1])
        self._first: NDArray[np.uint8] | None = first

    def advance(self) -> bool:
        """Go to the next frame; False at the end of the video."""
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
        """The current frame, (H, W, 3) uint8 BGR; valid until the next `advance`.

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
        """Release the file."""
        self._capture.release()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class VideoWriter:
    """Writes a video beside its final name and renames it when it is complete.

    Args:
        path: The final file; its suffix chooses the container.
        width, height: Pixels of every frame.
        fps: Frames per second.
        fourcc: Four characters that name the codec, such as ``mp4v``.

    Raises:
        OutputError: OpenCV cannot write that codec into that container.

    Attributes:
        frames: How many were written.
        completed: Whether the video stands under its name.
    """

    def __init__(self, path: Path, *, width: int, height: int, fps: float, fourcc: str = "mp4v") -> None:
        cv2 = open_cv2()
        self.path = path
        self._size = (width, height)
        self._part = path.with_name(f".{path.stem}.part{path.suffix}")
        self.completed = False
        self._writer = cv2.VideoWriter(str(self._part), cv2.VideoWriter.fourcc(*fourcc), fps, self._size)
        if not self._writer.isOpened():
            self._writer.release()
            self._part.unlink(missing_ok=True)
            raise OutputError(
                f"cannot write {path}: OpenCV has no codec {fourcc!r} for {path.suffix or 'a file without suffix'}.",
                hint="Use --fourcc mp4v with .mp4, or --fourcc MJPG with .avi.",
            )
        self.frames = 0

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append a frame, (H, W, 3) uint8 BGR of the stated size.

        Raises:
            OutputError: The disk is full.
        """
        self._writer.write(image)
        self.frames += 1
        # OpenCV never says that a write failed; hours of work must not go into a file that cannot be finished.
        if self.frames % _FRAMES_A_CHECK == 0 and self._free() < _LEAST_FREE:
            raise OutputError(f"cannot write {self.path}: the disk is full.", hint="Free some space and run again.")

    def _free(self) -> int:
        try:
            return shutil.disk_usage(self._part.parent).free
        except OSError:
            return _LEAST_FREE

    def close(self) -> None:
        """Finish the file and give it its name; a video without a frame leaves nothing behind.

        Raises:
            OutputError: The file does not hold the frames that were written; then it is removed.
        """
        if not self._writer.isOpened():
            return
        self._writer.release()
        try:
            if not self.frames:
                return
            there = self._frames_there()
            if there < self.frames:
                raise OutputError(
                    f"cannot write {self.path}: {there} of {self.frames} frames reached the file; is the disk full?",
                    hint="Free some space and run again.",
                )
            self._part.replace(self.path)
            self.completed = True
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}.") from error
        finally:
            self._part.unlink(missing_ok=True)

    def _frames_there(self) -> int:
        """How many frames the finished file holds."""
        capture = open_cv2().VideoCapture(str(self._part))
        try:
            if not capture.isOpened() or not capture.grab():
                return 0
            count = float(capture.get(open_cv2().CAP_PROP_FRAME_COUNT))
            if np.isfinite(count) and 0 < count < 1e9:
                return int(count)
            frames = 1  # an index was never written, or the container has none: they can only be counted
            while frames < self.frames and capture.grab():
                frames += 1
            return frames
        finally:
            capture.release()
