"""Write H.264 video through PyAV, as browsers and phones play it. A video is complete under its name, or not there."""

from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.atomic_files import Part
from tracking.errors import OutputError, error_line

__all__ = ["H264_SUFFIXES", "H264Writer", "disk_is_full", "full_disk_error"]

H264_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
"""Suffixes of the containers that hold H.264."""

# Measured on PETS with boxes, CPU ms a frame and KiB for 200 frames: ultrafast 2.8 and 2,860, superfast 5.2 and 1,880,
# veryfast 6.5 and 1,100 (at crf 26), OpenCV's mp4v 2.8 to 3.2 and 5,020. A run needs its cores for other things.
_OPTIONS = {"preset": "ultrafast", "crf": "25"}
_THREADS = 2
_KEY_FRAME_SECONDS = 5
"""Longest way from one picture that can be jumped to to the next."""

_MIN_FREE_BYTES = 256 * 1024
"""Free disk space below which a video cannot be finished."""

_BT601 = 6
"""SMPTE 170M, the colours of `COLOR_BGR2YUV_I420`. Where a file names none, players take BT.709 for large frames."""
_LIMITED_RANGE = 1


def disk_is_full(folder: Path) -> bool:
    """Whether the disk of a folder has too little space left to finish a video; False if that is not known."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free < _MIN_FREE_BYTES
    return False


def full_disk_error(path: Path) -> OutputError:
    """Return the error of a video that a full disk cuts short."""
    return OutputError(f"cannot write {path}: the disk is full.", hint="Free some space and run again.")


class H264Writer:
    """Writes a video under a temporary name, and renames it when it is complete.

    The pictures have the format ``yuv420p``, which every player knows. It needs even sides: a picture of odd ones gets
    one more column or row, a copy of its last. The index of an ``.mp4`` stands before the pictures, so that a browser
    begins before it has the whole file.

    Args:
        path: The final file; its suffix, one of `H264_SUFFIXES`, selects the container.
        width, height: Pixels of every frame.
        fps: Frames per second.

    Raises:
        OutputError: The file cannot be written, or this PyAV has no H.264 encoder.

    Attributes:
        frames: Number of frames written.
        completed: Whether the video is complete and has its final name.
    """

    def __init__(self, path: Path, *, width: int, height: int, fps: float) -> None:
        import av

        self.path = path
        self.frames = 0
        self.completed = False
        self._padding = height % 2, width % 2
        if "libx264" not in av.codecs_available:
            raise OutputError(
                f"cannot write {path}: the installed PyAV has no H.264 encoder (libx264).",
                hint='Install the wheel of the package av, or write MPEG-4 with OpenCV: `fourcc="mp4v"`.',
            )
        # 1001 is the denominator of television's rates; a rate of 0 is none.
        rate = max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001))
        try:
            self._part = Part(path)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}.") from error
        self._container: Any = None
        try:
            options = {} if path.suffix.lower() == ".mkv" else {"movflags": "+faststart"}
            self._container = av.open(str(self._part.path), "w", options=options)
            self._stream = self._container.add_stream("libx264", rate=rate, options=_OPTIONS)
            self._stream.width, self._stream.height = width + width % 2, height + height % 2
            self._stream.pix_fmt = "yuv420p"
            codec = self._stream.codec_context
            codec.thread_count = _THREADS
            codec.gop_size = max(1, round(rate * _KEY_FRAME_SECONDS))
            codec.colorspace = codec.color_primaries = codec.color_trc = _BT601
            codec.color_range = _LIMITED_RANGE
        except (av.FFmpegError, ValueError) as error:
            self._abandon()
            raise self._error(error) from error

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append a frame, (H, W, 3) uint8 BGR of the stated size.

        Raises:
            OutputError: The disk is full.
        """
        import av
        import cv2

        bottom, right = self._padding
        if bottom or right:
            image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
        planes: Any = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = self.frames
        try:
            self._container.mux(self._stream.encode(frame))
        except av.FFmpegError as error:
            raise self._error(error) from error
        self.frames += 1

    def close(self) -> None:
        """Finish the file and rename it. A video without frames leaves no file.

        Raises:
            OutputError: The file cannot be finished; it is removed.
        """
        import av

        if self._container is None:
            return
        try:
            if self.frames:
                self._container.mux(self._stream.encode())
                self._container.close()
                self._part.finish()
                self.completed = True
        except (av.FFmpegError, OSError) as error:
            raise self._error(error) from error
        finally:
            self._abandon()

    def _abandon(self) -> None:
        """Release the encoder, and remove the part unless it has its final name."""
        import av

        container, self._container = self._container, None
        try:
            if container is not None:
                container.close()
        except (av.FFmpegError, OSError):
            pass  # What it could not write is removed.
        finally:
            self._part.discard()

    def _error(self, error: Exception) -> OutputError:
        # After FFmpeg has met a full disk once, it says "invalid argument" when the file is closed.
        if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or disk_is_full(self.path.parent):
            return full_disk_error(self.path)
        return OutputError(f"cannot write {self.path}: {error_line(error)}.")
