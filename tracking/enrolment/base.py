"""Vocabulary of enrolment: its settings and counts, what it observes, what it reads, and where it puts entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.names import unknown_number
from tracking.frame_times import FrameTimes
from tracking.identification.gallery_comparison import EntrySource

__all__ = [
    "EnrolMode",
    "EnrolmentCounts",
    "EnrolmentObservation",
    "EnrolmentSettings",
    "EnrolmentSink",
    "KnownIdentities",
    "is_unknown",
]

EnrolMode = Literal["off", "unknown", "all"]
"""Which tracks become entries: none; those without a name in the gallery; those, and sure matches of named people."""


def is_unknown(identity: str) -> bool:
    """Return whether a name is one that enrolment gives to unknown identities, such as ``unknown-0007``."""
    return unknown_number(identity) is not None


@dataclass(frozen=True, slots=True)
class EnrolmentSettings:
    """Settings of the enrolment of one camera's tracks.

    Attributes:
        source_id: The camera.
        run_key: Prefix of the entries' ids; the same for the same input, so that a run again replaces its entries.
        mode: ``"unknown"`` or ``"all"``; see `EnrolMode`.
        threshold: Largest cosine distance at which a name is given, in [0, 2].
        grace_frames: Frames that a track may be out of sight before it has ended.
        source: The video, as the entries name it.
        times: Times of its frames.
        run_id: Unique id of this run.
    """

    source_id: str
    run_key: str
    mode: EnrolMode = "unknown"
    threshold: float = 0.25
    grace_frames: int = 30
    source: str = ""
    times: FrameTimes = field(default_factory=lambda: FrameTimes(None), compare=False)
    run_id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class EnrolmentObservation:
    """One observation of a track, as enrolment collects it.

    Attributes:
        frame: Frame number.
        track_id: The track.
        embedding: (D,) float32 of unit length.
        quality: Quality of the observation, in [0, 1]; see `observation_quality`.
        score: Score of the detection, in [0, 1].
        box: xyxy in pixels of the frame; NaN where unknown.
        class_name: Class of the box; None where unknown.
        identity: The name that the track has now, or None.
        distance: Cosine distance to that identity.
        crop: (H, W, 3) uint8 BGR, or None; may be a view, what is kept is copied.
        tracklet: First frame of the tracklet that it belongs to. Each tracklet is stored by itself, as each shows
            another person. None for the tracklet of the observation before.
        is_held: Whether it contradicts the evidence of the tracklet. It counts only if the next observation begins
            another tracklet.
    """

    frame: int
    track_id: int
    embedding: NDArray[np.float32]
    quality: float
    score: float
    box: Sequence[float] | NDArray[np.float64]
    class_name: str | None
    identity: str | None
    distance: float | None
    crop: NDArray[np.uint8] | None
    tracklet: int | None = None
    is_held: bool = False


class KnownIdentities(EntrySource, Protocol):
    """The known identities, as enrolment reads and extends them; `gallery_db.GalleryView` is one."""

    def enrolled(self, identity: str, class_name: str) -> tuple[Sequence[str], NDArray[np.float32]]:
        """Return the ids and vectors (N, D) of an identity's entries that were enrolled from videos."""
        ...

    def append(self, entries: Sequence[Entry], embeddings: NDArray[np.float32]) -> None:
        """Add entries with their vectors (N, D)."""
        ...


class EnrolmentSink(Protocol):
    """Receiver of enrolled entries. Its methods return at once; errors of writing are kept for later."""

    def put(self, entry: Entry, embedding: NDArray[np.float32], crop: NDArray[np.uint8] | None) -> None:
        """Store an entry with its embedding (D,) and its crop, in place of an earlier one of the same id."""
        ...

    def remove(self, ids: Sequence[str]) -> None:
        """Remove entries."""
        ...

    def rename(self, id_: str, identity: str, *, enrolled_as: str | None = None) -> None:
        """Move an entry that was put here before to another identity.

        Args:
            id_: The entry.
            identity: Its new identity.
            enrolled_as: The name given by the run itself, if another user has changed it; by default the identity.
        """
        ...


@dataclass(slots=True)
class EnrolmentCounts:
    """Numbers of ended tracks, by what became of them.

    Attributes:
        enrolled: Stored in the gallery.
        identities: New identities among them.
        too_short: Seen in too few frames, or observed too seldom.
        too_poor: Of too little quality.
        unsure: Near a known identity, but not surely that one or another.
        redundant: Not stored, or removed again, because their identity has enough entries like them, or because
            a user removed them from the gallery meanwhile.
        named: Named, where the mode stores nothing of named people.
    """

    enrolled: int = 0
    identities: int = 0
    too_short: int = 0
    too_poor: int = 0
    unsure: int = 0
    redundant: int = 0
    named: int = 0
