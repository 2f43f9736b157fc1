"""Detections that become known frame by frame, while a run goes on.

They pass the same checks as detections from a file: the detections of each frame are put into the form of det-v1 and
read by `tracking.detections.reader`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.detections.base import FrameDetections
from tracking.detections.reader import open_detections
from tracking.detections.source import DetectionSource

__all__ = ["FrameByFrameFeed"]


class FrameByFrameFeed:
    """Base of feeds that get the detections of a frame when the run reaches it.

    Args:
        header: Top-level keys of det-v1 without ``frames``.
        lenient: Leave unusable detections out and count them, instead of raising an error.
    """

    path: str | None = None
    last_frame = -1

    def __init__(self, header: Mapping[str, Any], *, lenient: bool) -> None:
        self.header: Mapping[str, Any] = MappingProxyType(dict(header))
        self._lenient = lenient
        self._counts: Counter[str] = Counter()
        self.warnings: Mapping[str, int] = self._counts
        self._checked: DetectionSource | None = None

    @property
    def video(self) -> Mapping[str, Any]:
        """Always empty: no facts about the video are known before it is opened."""
        return {}

    def _check_entry(self, entry: dict[str, Any]) -> FrameDetections:
        """Check a frame's entry like an entry of a file, and keep it for `raw`.

        Raises:
            DetectionsError: A detection cannot be used (unless lenient).
        """
        document = {"schema_version": "det-v1", "frames": [entry]}
        self._checked = open_detections(document, lenient=self._lenient)
        self._counts.update(self._checked.warnings)
        return self._checked.at(int(entry["frame"]))

    def raw(self, frame: int) -> dict[str, Any] | None:
        """See `DetectionFeed`."""
        return None if self._checked is None else self._checked.raw(frame)

    def beyond(self, frame: int) -> NDArray[np.int64]:
        """See `DetectionFeed`. Always empty: later frames are not known."""
        return np.empty(0, np.int64)

    def close(self, note: str | None = None) -> None:
        """See `DetectionFeed`."""
