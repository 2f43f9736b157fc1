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


def to_supervision(source: Source, frame: int, *, classes: Collection[int | str] | None = None) -> sv.Detections:
    """Return the tracked boxes of one frame. For many frames, `iter_supervision` is faster.

    Args:
        source: A track-v1 file or document, or the result of `tracking.track_video`.
        frame: The frame's number, from 0.
        classes: Only detections of these classes, by id or name; None for all.

    Returns:
        The detections, as `iter_supervision` yields them; empty for a frame without an entry.

    Raises:
        TracksError: See `tracking.read_tracks`; or supervision is not installed.
        OptionError: `frame` is negative.
    """
    if frame < 0:
        raise OptionError(f"frames count from 0, found {frame}.")
    library = _supervision()
    for found in read_tracks(source, classes=classes):
        if found.frame == frame:
            return _convert(library, found)
        if found.frame > frame:
            break
    return _convert(library, _EMPTY_FRAME)


def iter_supervision(
    source: Source, *, classes: Collection[int | str] | None = None
) -> Iterator[tuple[int, sv.Detections]]:
    """Yield each frame's number and its tracked boxes, in memory that does not grow with the video.

    ``tracker_id`` is the track id as a number; a track id that is not a whole number becomes a hash, the same in every
    frame. ``data`` has, for each row, ``track_id``, ``gallery_id`` (None without a name), ``gallery_distance`` (NaN
    where unknown), ``class_name`` (empty where unknown) and ``det_ind``; in a frame without tracks, they are empty.
    ``confidence`` is None if a box of the frame has no score.

    Args:
        source: A track-v1 file or document, or the result of `tracking.track_video`.
        classes: Only detections of these classes, by id or name; None for all.

    Raises:
        TracksError: See `tracking.read_tracks`; or supervision is not installed.
    """
    library = _supervision()
    for frame in read_tracks(source, classes=classes):
        yield frame.frame, _convert(library, frame)


_EMPTY_FRAME = TrackFrame(
    frame=0,
    time=None,
    file=None,
    boxes=np.empty((0, 4)),
    scores=np.empty(0),
    class_ids=np.empty(0, np.int64),
    class_names=(),
    det_inds=np.empty(0, np.int64),
    track_ids=(),
    gallery_ids=(),
    distances=np.empty(0),
)


def _supervision() -> Any:
    try:
        import supervision
    except ImportError as error:
        raise TracksError(
            f"supervision cannot be imported, and its Detections need it: {error}.",
            hint="Run: pip install supervision",
        ) from error
    return supervision


def _convert(library: Any, frame: TrackFrame) -> sv.Detections:
    rows = frame.tracked
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
            "track_id": np.array(tracks, str),
            "gallery_id": names,
            "gallery_distance": frame.distances[rows],
            "class_name": np.array([frame.class_names[row] or "" for row in rows], str),
            "det_ind": frame.det_inds[rows],
        },
    )
    return detections


def _number(track: str) -> int:
    if track.isdecimal() and len(track) < 18:
        return int(track)
    # Larger than any number that a tracker counts to, and the same for the same id in every frame.
    return 1 << 62 | int.from_bytes(hashlib.blake2b(track.encode(), digest_size=7).digest(), "big")
