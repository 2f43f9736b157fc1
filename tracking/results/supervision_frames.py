"""Tracks as Roboflow supervision's ``Detections``, for its annotators, zones and sinks."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tracking.errors import OptionError, TracksError
from tracking.results.reading import Source, read_tracks
from tracking.results.track_frame import TrackFrame

if TYPE_CHECKING:
    import supervision as sv

__all__ = ["iter_supervision", "to_supervision"]


def to_supervision(source: Source, frame: int, *, classes: Collection[int] | None = None) -> sv.Detections:
    """The tracked boxes of one frame, as `iter_supervision` yields them. For many frames, that is quicker.

    Args:
        source: A track-v1 file or document, or what `tracking.track_video` returned.
        frame: Its number, from 0.
        classes: Only detections of these class ids; None for all.

    Returns:
        Empty for a frame without an entry.

    Raises:
        TracksError: See `tracking.read_tracks`; or supervision is not installed.
        OptionError: `frame` is negative.
    """
    if frame < 0:
        raise OptionError(f"frames count from 0, got {frame}.")
    library = _supervision()
    for found in read_tracks(source, classes=classes):
        if found.frame == frame:
            return _convert(library, found)
        if found.frame > frame:
            break
    empty: sv.Detections = library.Detections.empty()
    return empty


def iter_supervision(source: Source, *, classes: Collection[int] | None = None) -> Iterator[tuple[int, sv.Detections]]:
    """Each frame's number and its tracked boxes, in memory that does not grow with the video.

    ``tracker_id`` is the track's number (of a track id that is no whole number, a number made of its letters, always
    the same); ``data`` has, row by row, ``track_id``, ``gallery_id`` (None where nobody is known),
    ``gallery_distance`` (NaN where there is none), ``class_name`` (empty where there is none) and ``det_ind``.
    ``confidence`` is None where a frame has a box without a score.

    Args:
        source: A track-v1 file or document, or what `tracking.track_video` returned.
        classes: Only detections of these class ids; None for all.

    Raises:
        TracksError: See `tracking.read_tracks`; or supervision is not installed.
    """
    library = _supervision()
    for frame in read_tracks(source, classes=classes):
        yield frame.frame, _convert(library, frame)


def _supervision() -> Any:
    try:
        import supervision
    except ImportError as error:
        raise TracksError(
            f"supervision's Detections need supervision, which cannot be imported: {error}.",
            hint="Run: pip install supervision",
        ) from error
    return supervision


def _convert(library: Any, frame: TrackFrame) -> sv.Detections:
    rows = frame.tracked
    if not rows:
        empty: sv.Detections = library.Detections.empty()
        return empty
    scores = frame.scores[rows]
    tracks = [str(frame.track_ids[row]) for row in rows]
    names = np.empty(len(rows), object)
    names[:] = [frame.gallery_ids[row] for row in rows]
    detections: sv.Detections = library.Detections(
        xyxy=frame.boxes[rows].astype(np.float32),
        confidence=None if np.isnan(scores).any() else scores.astype(np.float32),
        class_id=frame.class_ids[rows],
        tracker_id=np.array([_number(track) for track in tracks], np.int64),
        data={
            "track_id": np.array(tracks),
            "gallery_id": names,
            "gallery_distance": frame.distances[rows],
            "class_name": np.array([frame.class_names[row] or "" for row in rows]),
            "det_ind": frame.det_inds[rows],
        },
    )
    return detections


def _number(track: str) -> int:
    if track.isdecimal() and len(track) < 18:
        return int(track)
    # Beyond what a counter reaches, and the same for the same id in every frame.
    return 1 << 62 | int.from_bytes(hashlib.blake2b(track.encode(), digest_size=7).digest(), "big")
