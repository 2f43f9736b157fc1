"""Write video through OpenCV. A video is complete under its name, or not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_db.atomic_files import Part
from tracking.errors import OutputError
from tracking.video.capture import load_cv2
from tracking.video.h264 import H264_SUFFIXES, H264Writer, disk_is_full, full_disk_error

__all__ = ["VideoWriter", "open_video_writer"]

_FALLBACK_CODEC = "mp4v"
_FRAMES_BETWEEN_CHECKS = 64


def open_video_writer(
    path: Path, *, width: int, height: int, fps: float, fourcc: str | None = None
) -> VideoWriter | H264Writer:
    """Open a video for writing.

    Args:
        path: The final file; its suffix selects the container.
        width, height: Pixels of every frame.
        fps: Frames per second.
        fourcc: The four-character code of a codec of OpenCV. None for H.264 where the container holds it (see
            `H264_SUFFIXES`), else for ``mp4v``.

    Raises:
        OutputError: The file cannot be written, or not with that codec.
    """
    if fourcc is None and path.suffix.lower() in H264_SUFFIXES:
        return H264Writer(path, width=width, height=height, fps=fps)
    return VideoWriter(path, width=width, height=height, fps=fps, fourcc=fourcc or _FALLBACK_CODEC)


class VideoWriter:
    """Writes a video under a temporary name, and renames it when it is complete.

    Args:
        path: The final file; its suffix selects the container.
        width, height: Pixels of every frame.
        fps: Frames per second.
        fourcc: The four-character code of the codec, such as ``mp4v``.

    Raises:
        OutputError: OpenCV cannot write that codec into that container.

    Attributes:
        frames: Number of frames written.
        completed: Whether the video is complete and has its final name.
    """

    def __init__(self, path: Path, *, width: int, height: int, fps: float, fourcc: str = _FALLBACK_CODEC) -> None:
        cv2 = load_cv2()
        self.path = path
        self._size = (width, height)
        self.completed = False
        try:
            self._part = Part(path)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}.") from error
        self._writer = cv2.VideoWriter(str(self._part.path), cv2.VideoWriter.fourcc(*fourcc), fps, self._size)
        if not self._writer.isOpened():
            self._writer.release()
            self._part.discard()
            raise OutputError(
                f"cannot write {path}: OpenCV has no codec {fourcc!r} for {path.suffix or 'a file without suffix'}.",
                hint='Leave `fourcc` out for H.264 in .mp4, or use `fourcc="MJPG"` with .avi.',
            )
        self.frames = 0

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append a frame, (H, W, 3) uint8 BGR of the stated size.

        Raises:
            OutputError: The disk is full.
        """
        self._writer.write(image)
        self.frames += 1
        # OpenCV does not report a failed write. A long run must not go on for a file that cannot be finished.
        if self.frames % _FRAMES_BETWEEN_CHECKS == 0 and disk_is_full(self.path.parent):
            raise full_disk_error(self.path)

    def close(self) -> None:
        """Finish the file and rename it. A video without frames leaves no file.

        Raises:
            OutputError: The file lacks frames that were written; it is removed.
        """
        if not self._writer.isOpened():
            return
        self._writer.release()
        try:
            if not self.frames:
                return
            readable = self._readable_frames()
            if readable < self.frames:
                raise OutputError(
                    f"cannot write {self.path}: {readable} of {self.frames} frames reached the file; is the disk full?",
                    hint="Free some space and run again.",
                )
            self._part.finish()
            self.completed = True
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}.") from error
        finally:
            self._part.discard()

    def _readable_frames(self) -> int:
        """Return the number of frames in the finished file, counted up to those that were written."""
        capture = load_cv2().VideoCapture(str(self._part.path))
        try:
            if not capture.isOpened() or not capture.grab():
                return 0
            count = float(capture.get(load_cv2().CAP_PROP_FRAME_COUNT))
            if np.isfinite(count) and 0 < count < 1e9:
                return int(count)
            frames = 1  # The index is missing, or the container has none: frames must be counted.
            while frames < self.frames and capture.grab():
                frames += 1
            return frames
        finally:
            capture.release()
