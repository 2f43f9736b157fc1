"""Read single frames of videos by number, for example the frames that entries were enrolled from."""

from __future__ import annotations

from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from tracking.errors import VideoError
from tracking.video.reader import VideoReader

__all__ = ["VideoFrames"]


class VideoFrames:
    """Reads frames by path and number; see `VideoReader.seek`. One video is open at a time."""

    def __init__(self) -> None:
        self._reader: VideoReader | None = None
        self._source = ""
        self._failed: dict[str, VideoError] = {}
        self._lengths: dict[str, int] = {}

    def __call__(self, source: str, frame: int) -> NDArray[np.uint8]:
        """Return one frame.

        Args:
            source: Path of the video.
            frame: Number of the frame, from 0.

        Returns:
            (H, W, 3) uint8 BGR, valid until the next call.

        Raises:
            VideoError: The video cannot be opened, or has no such frame.
        """
        if source in self._failed:
            raise self._failed[source]
        if not 0 <= frame < self._lengths.get(source, frame + 1):
            raise VideoError(f"video {source} has no frame {frame}.")
        if self._reader is None or self._source != source:
            self.close()
            try:
                self._reader, self._source = VideoReader(source), source
            except VideoError as error:
                self._failed[source] = error
                raise
        if not self._reader.seek(frame):
            self._lengths[source] = self._reader.frame + 1
            raise VideoError(f"video {source} ends before frame {frame}.")
        return self._reader.image()

    def close(self) -> None:
        """Release the video."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def __enter__(self) -> VideoFrames:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
