"""The seam between a run and its tracker: what a tracker gets and what it returns, frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracking.detections.base import FrameDetections
from tracking.identification.named_tracklets import Named
from tracking.identification.track_evidence import Status

__all__ = ["FrameTracks", "Pixels", "Tracker"]


class Pixels(Protocol):
    """The current frame of a video, decoded only when a tracker asks for it.

    Attributes:
        width, height: Size of a frame in pixels.
    """

    width: int
    height: int

    def image(self) -> NDArray[np.uint8]:
        """Return the frame, (H, W, 3) uint8 BGR."""
        ...


@dataclass(frozen=True, slots=True)
class FrameTracks:
    """The tracks of one frame, with their identities.

    Attributes:
        indices: (M,) int64, the rows of the detections that got a track.
        track_ids: Their M track ids.
        boxes: (M, 4) smoothed boxes, xyxy in pixels; None where the detections' own boxes stand.
        named: Their M identities, None where unknown or undecided.
        crops: Number of crops embedded in this frame.
        statuses: The M decisions (known, unknown or undecided); None without a gallery.
        reserved: For each track that is unknown to the gallery, the name under which it will be enrolled, else None;
            None as a whole where the run does not enrol.
    """

    indices: NDArray[np.int64]
    track_ids: list[str]
    boxes: NDArray[np.float64] | None
    named: list[Named | None]
    crops: int = 0
    statuses: list[Status] | None = None
    reserved: list[str | None] | None = None


class Tracker(Protocol):
    """Turns the detections of each frame into tracks with identities."""

    def update(
        self, frame: int, detections: FrameDetections, class_names: Sequence[str | None], pixels: Pixels
    ) -> FrameTracks:
        """Advance by one frame; called for every frame in order, also for one without detections.

        Args:
            frame: Number of the frame in the video.
            detections: N detections.
            class_names: Their N class names, None where unknown.
            pixels: The frame's pixels.
        """
        ...

    def gallery_changed(self, before: Sequence[str], renamed: Mapping[str, str]) -> None:
        """Continue with the gallery's new identities after another process changed them.

        Args:
            before: The gallery's identities before the change.
            renamed: The renamed ones: old name to new name.
        """
        ...
