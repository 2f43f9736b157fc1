"""The interface of all sources of detections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["DetectionFeed", "FrameDetections"]


@dataclass(frozen=True, slots=True, eq=False)
class FrameDetections:
    """The detections of one frame as parallel arrays, in the order of the source.

    Attributes:
        frame: 0-based frame number.
        boxes: (N, 4) float64, xyxy in pixels, finite, with positive area.
        scores: (N,) float64 in [0, 1].
        class_ids: (N,) int64; -1 where the detector gave no class.
        det_inds: (N,) int64, unique in the frame, not negative.
        class_names: N names; None where the detector gave no name.
    """

    frame: int
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    det_inds: NDArray[np.int64]
    class_names: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.scores)


class DetectionFeed(Protocol):
    """The detections of a video, frame by frame.

    Attributes:
        header: Top-level keys of det-v1 without ``frames``.
        path: Path of the file; None if there is no file.
        last_frame: Highest frame number that is known to have an entry; -1 if none is known.
        class_ids: Class ids that may occur; empty if they are not known.
        class_names: Class id to name.
        warnings: Number of detections and values left out or repaired, by reason.
        video: Facts about the video in det-v1; may be empty.
    """

    header: Mapping[str, Any]
    path: str | None
    last_frame: int
    warnings: Mapping[str, int]

    @property
    def video(self) -> Mapping[str, Any]: ...  # noqa: D102

    @property
    def class_ids(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def class_names(self) -> Mapping[int, str]: ...  # noqa: D102

    def at(self, frame: int) -> FrameDetections:
        """Return the detections of the current frame. Frames must be asked for in order."""
        ...

    def raw(self, frame: int) -> dict[str, Any] | None:
        """Return the det-v1 entry of that frame, with the same rows as `at`; None if it has none."""
        ...

    def beyond(self, frame: int) -> NDArray[np.int64]:
        """Return the numbers of later frames that have an entry, as far as they are known."""
        ...

    def close(self, note: str | None = None) -> None:
        """Complete the file that the feed writes, if any. `note` states why it ends early."""
        ...
