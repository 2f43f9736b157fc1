"""The folder of annotated frames that a run saves."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
        self._unfinished = path.with_name(f".{path.name}.part")
        shutil.rmtree(self._unfinished, ignore_errors=True)
        try:
            self._unfinished.mkdir()
        except OSError as error:
            raise OutputError(f"cannot create {self._unfinished}: {error.strerror}.") from error

    def write(self, frame: int, image: NDArray[np.uint8]) -> None:
        """Save one frame, (H, W, 3) uint8 BGR.

        Raises:
            OutputError: The disk is full or gone.
        """
        import cv2

        path = self._unfinished / f"{frame:06d}.jpg"
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
        shutil.rmtree(self._unfinished, ignore_errors=True)

    def close(self) -> None:
        """Replace the frames of an earlier run by those of this run."""
        if not self._unfinished.exists():
            return
        shutil.rmtree(self.path, ignore_errors=True)
        self._unfinished.replace(self.path)
        self.completed = True
