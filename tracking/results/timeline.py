"""The timeline of a run: its identities and unnamed tracks over time, and the issues among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gallery_db.distribution import require_package
from tracking.frame_times import FrameTimes
from tracking.results.formatting import without_none
from tracking.results.issues import Issue
from tracking.results.sightings import Kind, TimelineRow

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Timeline"]


@dataclass(frozen=True, slots=True, repr=False)
class Timeline:
    """The timeline of a run. Made by `build_timeline`.

    Attributes:
        name: The document's name in messages.
        header: The document's header: every top-level key of track-v1 but ``frames``.
        times: Times of its frames.
        threshold: Largest distance at which the run gave a name; None where unknown.
        has_tracks: False where track ids have no meaning from frame to frame (`gallery_only`).
        first_frame, last_frame: The first and last frame with an entry; None where there is none.
        frames: Number of frames with an entry.
        detections, tracked, named: Number of detections, of those with a track, and of those with a name.
        tracks: Number of tracks.
        max_gap: Frames without a detection that do not end a sighting.
        rows: Known identities first, then unknown identities, then tracks without a name; each by first appearance.
        issues: In order of their frames.
        class_names: Class id to the detector's latest name for it (None where it gave none), of tracked detections.
        track_names: Track id to the names that it had, in order; every track has an item.
    """

    name: str
    header: Mapping[str, Any]
    times: FrameTimes = field(compare=False)
    threshold: float | None
    has_tracks: bool
    first_frame: int | None
    last_frame: int | None
    frames: int
    detections: int
    tracked: int
    named: int
    tracks: int
    max_gap: int
    rows: tuple[TimelineRow, ...]
    issues: tuple[Issue, ...]
    class_names: Mapping[int, str | None]
    track_names: Mapping[str, tuple[str, ...]]

    @property
    def fps(self) -> float | None:
        """Frames per second of the video; None where unknown."""
        return self.times.fps

    def of_kind(self, *kinds: Kind) -> tuple[TimelineRow, ...]:
        """Return the rows of these kinds."""
        return tuple(row for row in self.rows if row.kind in kinds)

    def __repr__(self) -> str:
        of = {kind: len(self.of_kind(kind)) for kind in ("known", "unknown", "unnamed")}
        return (
            f"Timeline({self.name!r}: {self.frames} frames, {self.tracks} tracks, {of['known']} known and "
            f"{of['unknown']} unknown identities, {of['unnamed']} unnamed tracks, {len(self.issues)} issues)"
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a table: an identity, or a track without a name, in each.

        The columns are ``kind``, ``identity``, ``class_name``, ``first``, ``last``, ``frames``, ``tracks`` and
        ``sightings`` (their numbers), ``mean_distance``, ``worst_distance`` and ``mean_score``, see `TimelineRow`;
        unknown values are missing.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        require_package("pandas", "pandas", "A table of a result")
        import pandas as pd

        same = ("kind", "identity", "class_name", "first", "last", "frames")
        figures = ("mean_distance", "worst_distance", "mean_score")
        return pd.DataFrame(
            [
                (
                    *(getattr(row, name) for name in same),
                    len(row.track_ids),
                    len(row.sightings),
                    *(getattr(row, name) for name in figures),
                )
                for row in self.rows
            ],
            columns=[*same, "tracks", "sightings", *figures],
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the timeline as JSON types; docs/reference/tracks-formats.md explains the keys."""
        return without_none(
            format="gtrack-timeline",
            version=1,
            video=self.header.get("video"),
            tracker=self.header.get("tracker"),
            created_at_utc=self.header.get("created_at_utc"),
            first_frame=self.first_frame,
            last_frame=self.last_frame,
            frames=self.frames,
            detections=self.detections,
            tracked=self.tracked,
            named=self.named,
            tracks=self.tracks,
            max_gap=self.max_gap,
            presences=[row.as_dict(self.times) for row in self.rows],
            doubts=[issue.as_dict() for issue in self.issues],
        )
