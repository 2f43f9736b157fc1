"""Whole numbers for tracks and identities, for formats that know no names."""

from __future__ import annotations

import math
from typing import Any, Literal

from tracking.errors import OptionError
from tracking.results.presence import natural
from tracking.results.timelines import Timeline
from tracking.results.track_frame import TrackFrame

__all__ = ["By", "Numbering"]

By = Literal["track_id", "gallery_id"]


class Numbering:
    """Numbers the objects of a document from 1.

    By ``track_id``, tracks are numbered in their natural order. By ``gallery_id``, identities come first, by
    name; a box without a name keeps its track's number, which follows. Of two boxes with one name in a frame, the
    one nearer to the identity keeps it, the other counts as one without. Where there are no tracks
    (`gallery_only`), each box without a name is an object of its own.

    Args:
        timeline: Of the same document.
        by: What one object is; by default tracks, or identities where there are no tracks.

    Raises:
        OptionError: By tracks, where there are none.

    Attributes:
        by: What one object is.
        nameless: Boxes of `gallery_only` that got a number of their own so far.
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
        names = [] if by == "track_id" else [p.identity for p in timeline.presences if p.identity is not None]
        self._names = {name: number for number, name in enumerate(sorted(names), 1)}
        self._tracks = {track: number for number, track in enumerate(timeline.track_names, len(self._names) + 1)}
        self._last = len(self._names) + len(self._tracks)

    def objects(self) -> list[dict[str, Any]]:
        """Each object as a dict: ``id``, and ``gallery_id``, or ``track_id`` with the ``gallery_ids`` it carried."""
        tracks: dict[str, list[str]] = {}
        for presence in self._timeline.presences:
            if presence.identity in self._names:
                tracks[presence.identity] = sorted(presence.track_ids, key=natural)
        return [{"id": n, "gallery_id": name, "track_ids": tracks[name]} for name, n in self._names.items()] + [
            {"id": n, "track_id": track, "gallery_ids": list(self._timeline.track_names[track])}
            for track, n in self._tracks.items()
        ]

    def number(self, frame: TrackFrame) -> list[tuple[int, int]]:
        """(row, number) of each tracked detection of a frame; no number occurs twice."""
        rows = frame.tracked
        holders: dict[str, tuple[float, int]] = {}
        if self._names:
            for row in rows:
                name = frame.gallery_ids[row]
                if name is None:
                    continue
                distance = float(frame.distances[row])
                rank = (math.inf if math.isnan(distance) else distance, row)
                holders[name] = min(holders.get(name, rank), rank)
        numbered = []
        for row in rows:
            name, track = frame.gallery_ids[row], frame.track_ids[row]
            if name is not None and name in holders and holders[name][1] == row:
                numbered.append((row, self._names[name]))
            elif track in self._tracks:
                numbered.append((row, self._tracks[track]))
            else:
                self.nameless += 1
                numbered.append((row, self._last + self.nameless))
        return numbered
