"""The folder of annotated frames that a run saves."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_db.atomic_files import Part
from tracking.errors import OutputError

__all__ = ["FrameFolder"]


class FrameFolder:
    """Saves annotated frames as ``000000.jpg``; they replace those of an earlier run once they are complete.

    Args:
        path: The final folder.

    Attributes:
        completed: Whether the frames are at `path`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.completed = False
        self._closed = False
        try:
            self._part = Part(path, folder=True)
        except OSError as error:
            raise OutputError(f"cannot create the folder {path}: {error.strerror}.") from error

    def write(self, frame: int, image: NDArray[np.uint8]) -> None:
        """Save one frame, (H, W, 3) uint8 BGR.

        Raises:
            OutputError: The disk is full or gone.
        """
        import cv2

        path = self._part.path / f"{frame:06d}.jpg"
        ok, data = cv2.imencode(".jpg", image)
        try:
            if not ok:
                raise OSError(None, "OpenCV cannot encode it as JPEG")
            path.write_bytes(data.tobytes())
        except OSError as error:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            raise OutputError(f"cannot write frame {path}: {error.strerror or error}.") from error

    def discard(self) -> None:
        """Remove the frames of this run; those of an earlier run stay."""
        self._closed = True
        self._part.discard()

    def close(self) -> None:
        """Replace the frames of an earlier run by those of this run.

        Raises:
            OutputError: They cannot get their final name; they are removed.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._part.finish()
        except OSError as error:
            self._part.discard()
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}.") from error
        self.completed = True
