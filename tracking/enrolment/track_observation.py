"""Observations as a pipeline with its own tracker reports them, and the checks they must pass."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tracking.enrolment.camera_tracks import Observation, TracksInFrame
from tracking.errors import ObservationError
from tracking.identification.quality import crowding

if TYPE_CHECKING:
    from gallery_db.model import EmbeddingModel

__all__ = ["ObservedFrame", "TrackObservation", "check_frame", "check_time"]

_TINY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class TrackObservation:
    """One box in one frame, as a tracker reports it.

    Attributes:
        track_id: The track, a whole number, unique within its source. None for a box without a track, which
            counts only because it may hide others.
        embedding: (D,) floats of any length but 0, of the enroller's model; None where none was computed in this frame.
        box: xyxy in pixels of the frame; None where unknown.
        score: Score of the detection, in [0, 1]; 1 by default.
        class_name: Such as ``"person"``: identities of one class never match tracks of another. None matches all, and
            is stored as ``"person"``.
        crop: (H, W, 3) uint8 BGR, the picture in the box, or a function that returns it (or None), which is called
            only where the embedding is used. It gives the observation's sharpness, and is stored with the entry.
        quality: Quality of the observation, in [0, 1]. By default it is computed from score, box, frame size, overlap
            and crop, as in `gtrack run`; without a box, from the score and the crop.
    """

    track_id: int | None
    embedding: Any = None
    box: Sequence[float] | NDArray[Any] | None = None
    score: float = 1.0
    class_name: str | None = None
    crop: NDArray[np.uint8] | Callable[[], NDArray[np.uint8] | None] | None = None
    quality: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ObservedFrame:
    """The observations of one frame, checked.

    Attributes:
        where: Source and frame, for messages.
        num_boxes: Number of boxes.
        rows: Which of them have a track.
        present: The tracks of those.
        embeddings: Embeddings (D,) of unit length, by position among the tracks, where there is one.
        observations: The observations, by position among the tracks.
    """

    where: str
    num_boxes: int
    rows: list[int]
    present: TracksInFrame
    embeddings: dict[int, NDArray[np.float32]]
    observations: list[TrackObservation]

    @classmethod
    def check(
        cls,
        source: str,
        frame: int,
        observations: Sequence[TrackObservation],
        size: tuple[int, int] | None,
        model: EmbeddingModel,
    ) -> ObservedFrame:
        """Check the observations of a frame.

        Args:
            source: The camera.
            frame: Number of the frame.
            observations: All boxes of the frame.
            size: Width and height of the frame in pixels; None where unknown.
            model: The model of the embeddings.

        Raises:
            ObservationError: One of them cannot be used; the message names source, frame and track.
        """
        start = f"source {source}, frame {frame}"
        boxes = np.full((len(observations), 4), np.nan)
        rows: list[int] = []
        track_ids: list[int] = []
        for row, observation in enumerate(observations):
            where = f"{start}, track {observation.track_id}"
            boxes[row] = _checked_box(where, observation.box)
            _check_unit_interval(where, "score", observation.score)
            if observation.track_id is None:
                continue
            rows.append(row)
            track_ids.append(_checked_track(where, observation.track_id))
            if track_ids[-1] in track_ids[:-1]:
                raise ObservationError(f"{where}: is in the frame twice; expected each track once.")
        overlaps = np.zeros(len(observations))
        known = np.flatnonzero(~np.isnan(boxes[:, 0]))
        overlaps[known] = crowding(boxes[known])
        present = TracksInFrame(
            frame,
            track_ids,
            boxes[rows],
            [float(observations[row].score) for row in rows],
            [observations[row].class_name for row in rows],
            overlaps[rows].tolist(),
            size,
        )
        embeddings = {}
        for position, row in enumerate(rows):
            observation = observations[row]
            if observation.embedding is None:
                continue
            where = f"{start}, track {observation.track_id}"
            embeddings[position] = _checked_embedding(where, observation.embedding, model)
            if observation.quality is not None:
                _check_unit_interval(where, "quality", observation.quality)
            if not callable(observation.crop):
                _checked_crop(where, observation.crop)
        return cls(start, len(observations), rows, present, embeddings, [observations[row] for row in rows])

    def observation(self, position: int) -> Observation:
        """Return the observation of a track that has an embedding; asks for its crop where that is a function."""
        reported = self.observations[position]
        crop = reported.crop
        if callable(crop):
            crop = _checked_crop(f"{self.where}, track {reported.track_id}", crop())
        quality = self.present.quality(position, crop) if reported.quality is None else float(reported.quality)
        return Observation(position, self.embeddings[position], quality, crop)


def check_frame(source: str, frame: int, frame_size: tuple[int, int] | None) -> tuple[int, tuple[int, int] | None]:
    """Check a frame's source, number and size, and return number and size as whole numbers.

    Raises:
        ObservationError: One of them cannot be used.
    """
    if not isinstance(source, str) or not source.strip():
        raise ObservationError(f"source: expected a camera's name, found {source!r}.")
    try:
        number = operator.index(frame)
    except TypeError:
        number = -1
    if number < 0:
        raise ObservationError(f"source {source}: expected a frame number, 0 or more, found {frame!r}.")
    if frame_size is None:
        return number, None
    width, height = frame_size
    if not (width >= 1 and height >= 1):
        raise ObservationError(
            f"source {source}, frame {number}: expected a frame_size in pixels, found {frame_size!r}."
        )
    return number, (int(width), int(height))


def check_time(source: str, frame: int, time: Any) -> float | None:
    """Check the time of a frame, and return it in seconds.

    Raises:
        ObservationError: It is not a finite number.
    """
    try:
        seconds = None if time is None else float(time)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if seconds is not None and not math.isfinite(seconds):
        raise ObservationError(f"source {source}, frame {frame}: expected a time in seconds, found {time!r}.")
    return seconds


def _checked_track(where: str, track_id: Any) -> int:
    try:
        return operator.index(track_id)
    except TypeError:
        raise ObservationError(
            f"{where}: expected a whole number as track_id, found {track_id!r}.",
            hint="Number the tracks of each source, or pass None for a box without a track.",
        ) from None


def _checked_box(where: str, box: Any) -> NDArray[np.float64]:
    if box is None:
        return np.full(4, np.nan)
    try:
        array = np.asarray(box, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.shape != (4,) or not np.isfinite(array).all() or array[2] <= array[0] or array[3] <= array[1]:
        raise ObservationError(
            f"{where}: expected a box x1, y1, x2, y2 in pixels with x1 < x2 and y1 < y2, found {box!r}."
        )
    return array


def _check_unit_interval(where: str, name: str, value: Any) -> None:
    try:
        valid = 0.0 <= float(value) <= 1.0
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ObservationError(f"{where}: expected a {name} from 0 to 1, found {value!r}.")


def _checked_embedding(where: str, embedding: Any, model: EmbeddingModel) -> NDArray[np.float32]:
    """Return an embedding as (D,) float32 of unit length."""
    try:
        vector = np.asarray(embedding, np.float64)
    except (TypeError, ValueError):
        raise ObservationError(
            f"{where}: expected an embedding of {model.dimension} numbers, found {type(embedding).__name__}."
        ) from None
    if vector.shape != (model.dimension,):
        raise ObservationError(
            f"{where}: expected an embedding of shape ({model.dimension},), found {vector.shape}.",
            hint=f"The gallery has embeddings of {model}.",
        )
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm) or norm < _TINY:
        fault = "is a zero vector" if np.isfinite(norm) else "has values that are not finite"
        raise ObservationError(
            f"{where}: the embedding {fault}; expected finite numbers, not all of them 0.",
            hint="Pass embedding=None where the network gives no useful result.",
        )
    return (vector / norm).astype(np.float32)


def _checked_crop(where: str, crop: Any) -> NDArray[np.uint8] | None:
    if crop is None:
        return None
    array: NDArray[np.uint8] = np.asarray(crop)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
        raise ObservationError(f"{where}: expected a crop (H, W, 3) uint8 BGR, found {array.shape} {array.dtype}.")
    return array
