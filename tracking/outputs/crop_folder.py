"""The folder of crops that a run saves: a folder for each identity, with one for each of its tracks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.atomic_files import Part
from gallery_db.safe_names import UniqueNames, safe_name
from tracking.errors import OutputError
from tracking.outputs.blur import Blur, is_blurred
from tracking.video.crops import crop

__all__ = ["CropFolder", "check_crop_folder"]

_SECONDS_BETWEEN = 0.5
"""Seconds from one crop of a track to its next: neighbouring frames show the same."""
_JPEG_QUALITY = 95


def check_crop_folder(path: Path) -> None:
    """Check that a folder for crops is absent or empty.

    Raises:
        OutputError: It is not, or there is a file of that name.
    """
    try:
        is_free = not path.exists() or (path.is_dir() and next(path.iterdir(), None) is None)
    except OSError as error:
        raise OutputError(f"cannot use the folder {path} for crops: {error.strerror or error}.") from error
    if not is_free:
        raise OutputError(
            f"cannot write crops to {path}: expected an empty folder or a new one, found "
            f"{'files in it' if path.is_dir() else 'a file'}.",
            hint="Choose another folder with `save_crops`.",
        )


class CropFolder:
    """Saves crops of tracks as ``IDENTITY/track-12/000345.jpg``, by track and frame.

    A track without a name has a folder of its own, ``track-12/000345.jpg``, so that all of it is one person's and can
    be renamed to a name: `ingest_folder` then reads the whole folder as it is. The folder is complete or not there.

    Args:
        path: The folder; absent or empty.
        fps: Frames per second of the video. A track has at most two crops a second under each name.
        blur: Whose boxes are blurred, and so not saved.

    Raises:
        OutputError: It cannot be made; see also `check_crop_folder`.

    Attributes:
        completed: Whether the crops are at `path`.
    """

    def __init__(self, path: Path, *, fps: float, blur: Blur | None = None) -> None:
        self.path = path
        self.completed = False
        self._blur = blur
        self._between = max(1, round(_SECONDS_BETWEEN * fps))
        self._last: dict[str, int] = {}
        self._names = UniqueNames()
        self._closed = False
        check_crop_folder(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._part = Part(path, folder=True)
        except OSError as error:
            raise OutputError(f"cannot create the folder {path}: {error.strerror or error}.") from error

    def write(self, document: Mapping[str, Any], image: NDArray[np.uint8]) -> None:
        """Save the crops that are due in a frame.

        Args:
            document: The frame's track-v1.
            image: (H, W, 3) uint8 BGR, blurred already, with nothing drawn in it.

        Raises:
            OutputError: The disk is full or gone.
        """
        frame = int(document["frame"])
        for detection in document["detections"]:
            if "track_id" not in detection or is_blurred(self._blur, detection):
                continue
            folder = self._folder(detection)
            if frame - self._last.get(folder, frame - self._between) < self._between:
                continue
            for part in crop(image, [detection["bbox"]])[0]:
                self._last[folder] = frame
                self._save(self._part.path / folder / f"{frame:06d}.jpg", part)

    def _folder(self, detection: Mapping[str, Any]) -> str:
        track, identity = str(detection["track_id"]), detection.get("gallery_id")
        of_track = safe_name(f"track-{track}")
        if identity is None:
            return self._names.name_for(f"track {track}", of_track)
        return f"{self._names.name_for(f'identity {identity}', safe_name(str(identity)))}/{of_track}"

    def _save(self, path: Path, part: NDArray[np.uint8]) -> None:
        import cv2

        ok, data = cv2.imencode(".jpg", part, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        try:
            if not ok:
                raise OSError(None, "OpenCV cannot encode it as JPEG")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.tobytes())
        except OSError as error:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            raise OutputError(
                f"cannot write the crop {path.name} to {self.path}: {error.strerror or error}."
            ) from error

    def discard(self) -> None:
        """Remove the crops of this run."""
        self._closed = True
        self._part.discard()

    def close(self) -> None:
        """Give the folder its name.

        Raises:
            OutputError: It cannot get its name, or files have come to be there meanwhile; the crops are removed.
        """
        if self._closed:
            return
        self._closed = True
        try:
            check_crop_folder(self.path)
            self._part.finish()
        except (OSError, OutputError) as error:
            self._part.discard()
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}.") from error
        self.completed = True
