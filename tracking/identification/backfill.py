"""Backfill: names known at the end of a run, written on earlier frames (``--backfill``)."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tracking.identification.named_tracklets import NamedTracklet
from tracking.identification.track_evidence import are_different_classes

__all__ = ["Backfill"]


class Backfill:
    """Corrects the frames of track-v1 with names that were decided later.

    A tracklet that has a name in the end has it from its first frame on, and the frames between a swap and its
    detection no longer carry the name of the person before. If several tracks claim a name in one frame, it goes to
    the track that had it during the run, else to the one that it fits best; the others have none there. A box of
    another class than the tracklet has none either.

    A tracklet that is not sure of its name (`NamedTracklet.is_sure`) keeps it where it had it during the run. It loses
    it there, too, where another tracklet of the run shows the person well, within one spread of their entries: so
    they look at this camera.

    Args:
        tracklets: The tracklets of all tracks; see `TrackIdentifier.tracklets`.
        class_names: Names of class ids, for detections that do not name their class.
    """

    def __init__(self, tracklets: Sequence[NamedTracklet], class_names: Mapping[int, str] | None = None) -> None:
        self._class_names = class_names or {}
        self._confirmed = {
            one.named.identity for one in tracklets if one.named is not None and not one.final and one.spreads <= 1.0
        }
        self._tracklets: dict[str, list[NamedTracklet]] = defaultdict(list)
        for tracklet in sorted(tracklets, key=lambda one: one.first):
            self._tracklets[str(tracklet.track_id)].append(tracklet)
        self._starts = {track: [one.first for one in parts] for track, parts in self._tracklets.items()}

    def correct(self, document: dict[str, Any]) -> int:
        """Correct one frame, in place.

        Args:
            document: A frame of track-v1, as it was written during the run.

        Returns:
            Number of its detections whose name has changed.
        """
        tracked = [d for d in document["detections"] if "track_id" in d]
        names = self._names(int(document["frame"]), tracked)
        changed = 0
        for row, detection in enumerate(tracked):
            name = names.get(row)
            if (name[0] if name else None) == detection.get("gallery_id"):
                if name is not None and "gallery_distance" not in detection:  # a reserved name of an unknown identity
                    detection["gallery_distance"] = round(name[1], 6)
                    detection["identity_status"] = "known"
                continue
            changed += 1
            for key in ("gallery_id", "gallery_distance", "identity_status"):
                detection.pop(key, None)
            if name is not None:
                detection["gallery_id"], distance = name
                detection["gallery_distance"] = round(distance, 6)
            detection["identity_status"] = "undecided" if name is None else "known"
            detection["identity_backfilled"] = True
        return changed

    def _names(self, frame: int, tracked: Sequence[Mapping[str, Any]]) -> dict[int, tuple[str, float]]:
        """Return the names in a frame, (identity, distance) by the detections' positions, no name twice."""
        claims: list[tuple[bool, float, int, str]] = []
        for row, detection in enumerate(tracked):
            during_run = detection.get("gallery_id")
            tracklet = self._tracklet_at(detection["track_id"], frame)
            if tracklet is not None and are_different_classes(self._class_of(detection), tracklet.class_name):
                continue
            named = None if tracklet is None else tracklet.named
            # The name reserved for an unknown person lasts only where the whole run gives it, too.
            lasting = during_run if "gallery_distance" in detection else None
            if tracklet is not None and named is not None and self._is_refuted(tracklet):
                if lasting is not None and lasting != named.identity and frame >= tracklet.known_from:
                    claims.append((False, float(detection["gallery_distance"]), row, lasting))
            elif tracklet is not None and tracklet.final:
                if named is not None:
                    claims.append((during_run != named.identity, named.distance, row, named.identity))
            elif tracklet is None or ((named is None or not tracklet.is_sure) and frame >= tracklet.known_from):
                if lasting is not None:
                    claims.append((False, float(detection["gallery_distance"]), row, lasting))
            elif named is not None and (
                (tracklet.is_sure and frame >= tracklet.certain_from) or during_run == named.identity
            ):
                claims.append((during_run != named.identity, named.distance, row, named.identity))
        names: dict[int, tuple[str, float]] = {}
        taken: set[str] = set()
        for _, distance, row, identity in sorted(claims):
            if identity not in taken:
                taken.add(identity)
                names[row] = (identity, distance)
        return names

    def _is_refuted(self, tracklet: NamedTracklet) -> bool:
        """Return whether another tracklet shows that this one is not of the person of its name."""
        assert tracklet.named is not None
        return not tracklet.is_sure and not tracklet.final and tracklet.named.identity in self._confirmed

    def _class_of(self, detection: Mapping[str, Any]) -> str | None:
        return detection.get("class_name") or self._class_names.get(int(detection.get("class_id", -1)))

    def _tracklet_at(self, track_id: str, frame: int) -> NamedTracklet | None:
        index = bisect_right(self._starts.get(track_id, []), frame) - 1
        if index < 0:
            return None
        tracklet = self._tracklets[track_id][index]
        return tracklet if frame <= tracklet.last else None
