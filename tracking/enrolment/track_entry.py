"""Entries made of tracks."""

from __future__ import annotations

import re
from typing import Any

from gallery_db.entry import Entry
from gallery_db.times import utc_now
from tracking.enrolment.base import EnrolmentSettings
from tracking.enrolment.open_tracks import OpenTrack

__all__ = ["entry_id", "entry_of"]


def entry_id(track: OpenTrack, settings: EnrolmentSettings) -> str:
    """Return the id of a track's entry: unique, repeatable, and fit to be a file's name."""
    class_name = track.class_name.casefold()
    plain = re.sub(r"[^a-z0-9]+", "_", class_name)[:40]
    if plain != class_name:
        plain += "_" + class_name.encode("utf-8", "replace").hex()[:24]
    split = f"-{track.split + 1}" if track.split else ""
    return f"{settings.run_key}{plain}-{track.ordinal:06d}{split}"


def entry_of(
    track: OpenTrack, settings: EnrolmentSettings, id_: str, identity: str, enrolled_as: str | None = None
) -> Entry:
    """Make the entry of a track.

    Args:
        track: A track with an observation.
        settings: The settings of the enrolment.
        id_: See `entry_id`.
        identity: The identity that it belongs to.
        enrolled_as: The name given by the run itself, if another user has changed it; by default the identity.
    """
    now = utc_now()
    extra: dict[str, Any] = {
        "track_id": str(track.track_id),
        "source_id": settings.source_id,
        "num_frames": track.num_frames,
        "num_looks": track.num_observations,
        "first_frame": track.first,
        "last_frame": track.last,
    }
    first_time, last_time = settings.times.at(track.first), settings.times.at(track.last)
    if first_time is not None and last_time is not None:
        extra |= {"first_time": round(first_time, 3), "last_time": round(last_time, 3)}
    extra |= {
        "score": round(track.score_sum / track.num_observations, 4),
        "quality": round(track.quality, 4),
        "run_id": settings.run_id,
        "run_key": settings.run_key,
        "timestamp": now,
        "enrolled_as": identity if enrolled_as is None else enrolled_as,
    }
    if track.distance is not None and track.identity == identity:
        extra["distance"] = round(track.distance, 6)
    return Entry(
        id=id_,
        identity=identity,
        class_name=track.class_name,
        origin="track",
        source=settings.source,
        frame=track.best_frame,
        box=track.best_box,
        created_at=now,
        extra=extra,
    )
