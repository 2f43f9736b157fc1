"""Whole numbers for tracks and identities, for formats without names."""

from __future__ import annotations

import math
from typing import Any, Literal

from tracking.errors import OptionError
from tracking.results.formatting import natural_key
from tracking.results.timeline import Timeline
from tracking.results.track_frame import TrackFrame

__all__ = ["By", "Numbering"]

By = Literal["track_id", "gallery_id"]


class Numbering:
    """Numbers the objects of a document from 1.

    By ``track_id``, tracks are numbered in their natural order. By ``gallery_id``, identities are numbered by name, and
    then tracks: a box without a name has the number of its track. If two boxes of a frame have the same name, the box
    with the smaller distance keeps it, and the other one counts as a box without a name. Where there are no tracks
    (`gallery_only`), each box without a name is an object of its own.

    Args:
        timeline: The timeline of the same document.
        by: The objects to number; None for tracks, or for identities where there are no tracks.

    Raises:
        OptionError: `by` is ``track_id``, and there are no tracks.

    Attributes:
        by: The objects that are numbered.
        nameless: Number of boxes of `gallery_only` without a name so far.
    """

    def __init__(self, timeline: Timeline, by: By | None) -> None:
        if by is None:
            by = "track_id" if timeline.has_tracks else "gallery_id"
        if by == "track_id" and not timeline.has_tracks:
            raise OptionError(
                f"{timeline.name} has no tracks over time (tracker gallery_only).",
                hint="Number by gallery_id.",
            )
        self.by: By = by
        self.nameless = 0
        self._timeline = timeline
        names = [] if by == "track_id" else [row.identity for row in timeline.rows if row.identity is not None]
        self._names = {name: number for number, name in enumerate(sorted(names), 1)}
        self._tracks = {track: number for number, track in enumerate(timeline.track_names, len(self._names) + 1)}
        self._last = len(self._names) + len(self._tracks)

    def objects(self) -> list[dict[str, Any]]:
        """Return each object: ``id`` with ``gallery_id`` and ``track_ids``, or ``track_id`` and ``gallery_ids``."""
        tracks: dict[str, list[str]] = {}
        for row in self._timeline.rows:
            if row.identity in self._names:
                tracks[row.identity] = sorted(row.track_ids, key=natural_key)
        return [{"id": n, "gallery_id": name, "track_ids": tracks[name]} for name, n in self._names.items()] + [
            {"id": n, "track_id": track, "gallery_ids": list(self._timeline.track_names[track])}
            for track, n in self._tracks.items()
        ]

    def number(self, frame: TrackFrame) -> list[tuple[int, int]]:
        """Return (row, number) of each tracked detection of a frame; no number occurs twice."""
        rows = frame.tracked
        best: dict[str, tuple[float, int]] = {}
        if self._names:
            for row in rows:
                name = frame.gallery_ids[row]
                if name is None:
                    continue
                distance = float(frame.distances[row])
                rank = (math.inf if math.isnan(distance) else distance, row)
                best[name] = min(best.get(name, rank), rank)
        numbered = []
        for row in rows:
            name, track = frame.gallery_ids[row], frame.track_ids[row]
            if name is not None and name in best and best[name][1] == row:
                numbered.append((row, self._names[name]))
            elif track in self._tracks:
                numbered.append((row, self._tracks[track]))
            else:
                self.nameless += 1
                numbered.append((row, self._last + self.nameless))
        return numbered
