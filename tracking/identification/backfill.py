"""What is known in the end, written on earlier frames: ``--backfill``."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tracking.identification.identifier import NamedTracklet
from tracking.identification.track_evidence import are_different_classes

__all__ = ["Backfill"]


class Backfill:
    """Corrects track-v1 frames with what was decided later.

    A tracklet of a track that has a name in the end has it from its first frame on, and the frames between a
    swap and its discovery no longer carry the name of the person before. In a frame, a name goes to whoever
    had it as the run went, else to whoever it fits best; the others have none there. A box of another class than
    the tracklet has none either.

    Args:
        tracklets: Of all tracks; see `TrackIdentifier.tracklets`.
        class_names: Of class ids, for detections that do not name their class.
    """

    def __init__(self, tracklets: Sequence[NamedTracklet], class_names: Mapping[int, str] | None = None) -> None:
        self._class_names = class_names or {}
        self._stretches: dict[str, list[NamedTracklet]] = defaultdict(list)
        for tracklet in sorted(tracklets, key=lambda s: s.first):
            self._stretches[str(tracklet.track_id)].append(tracklet)
        self._starts = {track: [s.first for s in parts] for track, parts in self._stretches.items()}

    def correct(self, document: dict[str, Any]) -> int:
        """Correct one frame, in place.

        Args:
            document: A frame of track-v1, as the run wrote it.

        Returns:
            How many of its detections are named otherwise than before.
        """
        frame = int(document["frame"])
        claims: list[tuple[bool, float, int, str]] = []
        tracked = [d for d in document["detections"] if "track_id" in d]
        for row, detection in enumerate(tracked):
            ran = detection.get("gallery_id")
            tracklet = self._at(detection["track_id"], frame)
            if tracklet is not None and are_different_classes(self._class_of(detection), tracklet.class_name):
                continue
            if tracklet is not None and tracklet.final:
                if tracklet.named is not None:
                    identity = tracklet.named.identity
                    claims.append((ran != identity, tracklet.named.distance, row, identity))
            elif tracklet is None or (tracklet.named is None and frame >= tracklet.known_from):
                if ran is not None:
                    claims.append((False, float(detection.get("gallery_distance", 0.0)), row, ran))
            elif tracklet.named is not None and (frame >= tracklet.certain_from or ran == tracklet.named.identity):
                identity = tracklet.named.identity
                claims.append((ran != identity, tracklet.named.distance, row, identity))
        given: dict[int, tuple[str, float]] = {}
        taken: set[str] = set()
        for _, distance, row, identity in sorted(claims):
            if identity not in taken:
                taken.add(identity)
                given[row] = (identity, distance)
        changed = 0
        for row, detection in enumerate(tracked):
            name = given.get(row)
            if (name[0] if name else None) == detection.get("gallery_id"):
                if name is not None and "gallery_distance" not in detection:  # a stranger's own name
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

    def _class_of(self, detection: Mapping[str, Any]) -> str | None:
        return detection.get("class_name") or self._class_names.get(int(detection.get("class_id", -1)))

    def _at(self, track_id: str, frame: int) -> NamedTracklet | None:
        place = bisect_right(self._starts.get(track_id, []), frame) - 1
        if place < 0:
            return None
        tracklet = self._stretches[track_id][place]
        return tracklet if frame <= tracklet.last else None
