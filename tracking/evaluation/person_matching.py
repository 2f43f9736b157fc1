"""One-to-one matching of tracked boxes and people, as in CLEAR MOT (Bernardin and Stiefelhagen, 2008)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracking.evaluation.track_table import TrackTable, rows_by_frame
from tracking.evaluation.truth import Truth
from tracking.geometry import iou

__all__ = ["PersonMatches", "match_people"]


@dataclass(frozen=True, slots=True, eq=False)
class PersonMatches:
    """The boxes that cover people.

    Attributes:
        boxes: (M,) int64, for each person-frame the row of the tracked box that covers the person, -1 for none.
        shared: (M,) bool, whether a box that covers another person overlaps a person who is not covered.
        near_person: (N,) bool, for each tracked box whether it overlaps any person enough, hidden people included.
    """

    boxes: NDArray[np.int64]
    shared: NDArray[np.bool_]
    near_person: NDArray[np.bool_]


def match_people(tracks: TrackTable, truth: Truth, rows: NDArray[np.int64], min_overlap: float) -> PersonMatches:
    """Match the tracked boxes of each frame with its people.

    A track that covered a person in the frame before keeps them while the overlap is large enough. For the rest, the
    sum of the overlaps is maximal.

    Args:
        tracks: The tracked boxes.
        truth: The ground truth.
        rows: (M,) rows of the ground truth that are person-frames.
        min_overlap: Smallest IoU at which a box covers a person.
    """
    boxes = np.full(len(rows), -1, np.int64)
    shared = np.zeros(len(rows), np.bool_)
    near_person = np.zeros(len(tracks), np.bool_)
    boxes_by_frame = rows_by_frame(tracks.frames)
    index_of_row = {row: index for index, row in enumerate(rows.tolist())}
    track_of: dict[int, int] = {}
    last = -1
    for frame, people in rows_by_frame(truth.frames).items():
        found = boxes_by_frame.get(frame)
        previous_track_of, track_of = track_of if frame == last + 1 else {}, {}
        last = frame
        if found is None:
            continue
        overlap = np.stack([iou(truth.xyxy[row], tracks.xyxy[found]) for row in people])
        overlap[overlap < min_overlap] = 0.0
        near_person[found] |= overlap.any(axis=0)
        counted = [at for at, row in enumerate(people.tolist()) if row in index_of_row]
        ids = truth.ids[people[counted]].tolist()
        kept = [previous_track_of.get(id_, -1) for id_ in ids] if tracks.has_tracks else []
        columns = _match_one_to_one(overlap[counted], kept, tracks.tracks[found])
        for at, id_, column in zip(counted, ids, columns, strict=True):
            index = index_of_row[int(people[at])]
            if column >= 0:
                boxes[index] = found[column]
                track_of[id_] = int(tracks.tracks[found[column]])
            else:
                shared[index] = overlap[at].any()
    return PersonMatches(boxes, shared, near_person)


def _match_one_to_one(overlap: NDArray[np.float64], kept: Sequence[int], tracks: NDArray[np.int64]) -> list[int]:
    """Return the column of each row, -1 for none; no column is used twice (Kuhn, 1955).

    Args:
        overlap: (R, C), 0 where a pair is impossible.
        kept: R tracks, the previous one of each row, -1 for none; empty where tracks are ignored.
        tracks: (C,) tracks of the columns.
    """
    from scipy.optimize import linear_sum_assignment

    gain = overlap.copy()
    for row, track in enumerate(kept):
        # More than the sum of all overlaps of a frame.
        gain[row, (tracks == track) & (overlap[row] > 0.0)] += len(overlap) + 1.0
    result = [-1] * len(overlap)
    for row, column in zip(*linear_sum_assignment(-gain), strict=True):
        if overlap[row, column] > 0.0:
            result[int(row)] = int(column)
    return result
