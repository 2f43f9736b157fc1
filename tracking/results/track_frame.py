"""One frame of track-v1: its detections as parallel arrays, checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from gallery_db.errors import GalleryError
from gallery_db.names import validate_identity_name
from tracking.geometry import LARGEST_NUMBER
from tracking.json_stream import show
from tracking.results.header import is_finite_number

__all__ = ["FrameParser", "TrackFrame"]

_MAX_FRAME = 2**31 - 1
_MAX_SECONDS = 1e9
_LARGEST_DISTANCE = 10.0
"""Cosine distances are 0 to 2; other programs may write others, but no curve is drawn over thousands of them."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackFrame:
    """One frame of track-v1 as parallel arrays, in the order of the file.

    Attributes:
        frame: 0-based frame number.
        time: Its presentation time in seconds, where it is not ``frame / fps``; None elsewhere.
        file: File name of the frame's image, if the detector gave one.
        boxes: (N, 4) float64, xyxy in pixels, finite, x2 >= x1, y2 >= y1.
        scores: (N,) float64; NaN where the document has none.
        class_ids: (N,) int64; -1 where the document has none.
        class_names: N names; None where the document has none.
        det_inds: (N,) int64; the position in the list where the document has none.
        track_ids: N ids; None for a detection without a track.
        gallery_ids: N identities; None for a detection without a name.
        distances: (N,) float64 cosine distance to the identity; NaN where the document has none.
    """

    frame: int
    time: float | None
    file: str | None
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    class_names: tuple[str | None, ...]
    det_inds: NDArray[np.int64]
    track_ids: tuple[str | None, ...]
    gallery_ids: tuple[str | None, ...]
    distances: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.track_ids)

    @property
    def tracked(self) -> list[int]:
        """Rows of the detections that belong to a track."""
        return [row for row, track_id in enumerate(self.track_ids) if track_id is not None]


def _class_key(one: int | str | None) -> int | str | None:
    """Return a class as it is compared."""
    return one.casefold() if isinstance(one, str) else one


class FrameParser:
    """Turns entries of the document's ``frames`` into `TrackFrame`s.

    Args:
        fail: Raises an error with the document's name, from a problem.
        classes: Only detections of these classes, by id or name; None for all.

    Attributes:
        class_names: The names of classes so far, by id.
    """

    def __init__(self, fail: Callable[[str], NoReturn], classes: Collection[int | str] | None) -> None:
        self._fail = fail
        self._classes = None if classes is None else frozenset(map(_class_key, classes))
        self.class_names: dict[int, str] = {}

    def parse(self, entry: Any, place: str) -> TrackFrame:
        """Check one entry and convert it.

        Args:
            entry: The entry as JSON types.
            place: Where it is in the document, for messages about an entry without a frame number.
        """
        number, detections = self._frame_members(entry, place)
        boxes: list[Sequence[float]] = []
        scores: list[float] = []
        class_ids: list[int] = []
        det_inds: list[int] = []
        distances: list[float] = []
        class_names: list[str | None] = []
        track_ids: list[str | None] = []
        gallery_ids: list[str | None] = []
        used_track_ids: set[str] = set()
        for index, item in enumerate(detections):
            if not isinstance(item, Mapping):
                self._fail(f"frame {number}, detection {index}: expected an object, found {show(item)}")
            class_id = item.get("class_id", item.get("class", -1))
            if type(class_id) is not int or abs(class_id) > _MAX_FRAME:
                self._reject(number, index, "class_id as a whole number", class_id)
            class_name = item.get("class_name")
            if class_name is not None:
                class_name = self._text(number, index, "class_name", class_name)
                self.class_names.setdefault(class_id, class_name)
            if self._classes is not None and not {class_id, _class_key(class_name)} & self._classes:
                continue
            box = item.get("bbox", item.get("xyxy"))
            if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(map(is_finite_number, box)):
                self._reject(number, index, "bbox as four finite numbers [x1, y1, x2, y2]", box)
            if max(map(abs, box)) > LARGEST_NUMBER:
                self._reject(number, index, "bbox near the video's pixels", box)
            if box[2] < box[0] or box[3] < box[1]:
                self._reject(number, index, "bbox with x2 >= x1 and y2 >= y1", box)
            track_id, gallery_id = item.get("track_id"), item.get("gallery_id")
            if track_id is not None:
                track_id = self._text(number, index, "track_id", str(track_id) if type(track_id) is int else track_id)
                if track_id in used_track_ids:
                    self._fail(
                        f"frame {number}, detection {index}: expected each track once in a frame, "
                        f"found track {show(track_id)} again"
                    )
                used_track_ids.add(track_id)
            if gallery_id is not None:
                gallery_id = self._name(number, index, self._text(number, index, "gallery_id", gallery_id))
                if track_id is None:
                    self._reject(number, index, f"a track_id beside gallery_id {show(gallery_id)}", None)
            boxes.append(box)
            scores.append(self._number(number, index, "score", item.get("score", item.get("conf"))))
            class_ids.append(class_id)
            class_names.append(class_name)
            det_ind = item.get("det_ind", index)
            if type(det_ind) is int and abs(det_ind) > _MAX_FRAME:
                self._reject(number, index, f"det_ind up to {_MAX_FRAME}", det_ind)
            det_inds.append(det_ind if type(det_ind) is int else index)
            track_ids.append(track_id)
            gallery_ids.append(gallery_id)
            distances.append(
                self._number(number, index, "gallery_distance", item.get("gallery_distance"), _LARGEST_DISTANCE)
            )
        file = entry.get("file")
        return TrackFrame(
            frame=number,
            time=self._time(number, entry.get("time_s")),
            file=file if isinstance(file, str) and file else None,
            boxes=np.array(boxes, np.float64).reshape(-1, 4),
            scores=np.array(scores, np.float64),
            class_ids=np.array(class_ids, np.int64),
            class_names=tuple(class_names),
            det_inds=np.array(det_inds, np.int64),
            track_ids=tuple(track_ids),
            gallery_ids=tuple(gallery_ids),
            distances=np.array(distances, np.float64),
        )

    def _frame_members(self, entry: Any, place: str) -> tuple[int, Sequence[Any]]:
        """Return the frame number and the list of detections of an entry."""
        if not isinstance(entry, Mapping):
            self._fail(f"{place}: expected a frame (an object), found {show(entry)}")
        number = entry.get("frame", entry.get("frame_index"))
        if type(number) is not int or not 0 <= number <= _MAX_FRAME:
            self._fail(f"{place}: expected a frame number from 0 on, found {show(number)}")
        detections = entry.get("detections")
        if not isinstance(detections, (list, tuple)):
            self._fail(f"frame {number}: expected detections as a list, found {show(detections)}")
        return number, detections

    def _time(self, frame: int, value: Any) -> float | None:
        if value is None:
            return None
        if not is_finite_number(value) or not 0 <= value <= _MAX_SECONDS:
            self._fail(f"frame {frame}: expected time_s as seconds from 0 on, found {show(value)}")
        return float(value)

    def _reject(self, frame: int, index: int, expected: str, found: Any) -> NoReturn:
        self._fail(f"frame {frame}, detection {index}: expected {expected}, found {show(found)}")

    def _number(self, frame: int, index: int, key: str, value: Any, largest: float = LARGEST_NUMBER) -> float:
        if value is None:
            return math.nan
        if not is_finite_number(value) or abs(value) > largest:
            self._reject(frame, index, f"{key} as a number", value)
        return float(value)

    def _text(self, frame: int, index: int, key: str, value: Any) -> str:
        if not isinstance(value, str) or not value:
            self._reject(frame, index, f"{key} as text that is not empty", value)
        return value

    def _name(self, frame: int, index: int, name: str) -> str:
        try:
            return validate_identity_name(name)
        except GalleryError as error:
            self._fail(f"frame {frame}, detection {index}: gallery_id: {error.message.rstrip('.')}")
