"""The live window of a run."""

from __future__ import annotations

import os
import sys

import numpy as np
from numpy.typing import NDArray

from tracking.errors import DisplayError

__all__ = ["Display"]


class Display:
    """A live window; ``q`` or Escape closes it and ends the run.

    Args:
        title: Title of the window.

    Raises:
        DisplayError: See `check`.
    """

    def __init__(self, title: str) -> None:
        self.check()
        self._title = title

    @staticmethod
    def check() -> None:
        """Check for a screen first: without one, OpenCV would abort the process.

        Raises:
            DisplayError: There is no screen, or this OpenCV has no windows.
        """
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise DisplayError(
                "`display` needs a screen, and there is none (neither DISPLAY nor WAYLAND_DISPLAY is set).",
                hint="Save an annotated video instead, with `save_video`.",
            )
        import cv2

        gui = next((line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")), "")
        if gui.split(":")[-1].strip() in {"", "NONE"}:
            raise DisplayError(
                "`display` needs an OpenCV with windows, and this one is a headless build.",
                hint="Install opencv-python in place of opencv-python-headless, or use `save_video`.",
            )

    def show(self, image: NDArray[np.uint8]) -> bool:
        """Show a frame, (H, W, 3) uint8 BGR; returns False when the user asked to stop."""
        import cv2

        cv2.imshow(self._title, image)
        return (cv2.waitKey(1) & 0xFF) not in (ord("q"), 27)

    def close(self) -> None:
        """Close the window."""
        import cv2

        cv2.destroyAllWindows()
