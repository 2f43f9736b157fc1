"""The detections of a det-v1 document, frame by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.detections.base import FrameDetections
from tracking.detections.columns import Columns, Fix

__all__ = ["DetectionSource"]


class DetectionSource:
    """The checked detections of one video; a `DetectionFeed`. `open_detections` returns it.

    Attributes:
        header: Every top-level key except ``frames``, in the order of the file.
        path: Path of the file; None for a document in memory.
        frame_numbers: Sorted (F,) int64, read-only: the frames that have an entry (which may be empty).
        count: Number of usable detections.
        last_frame: Highest frame number that has an entry; -1 if there is none.
        warnings: Number of items that lenient reading dropped or repaired, by reason; empty otherwise.
    """

    def __init__(
        self,
        *,
        header: Mapping[str, Any],
        path: str | None,
        columns: Columns,
        warnings: Counter[str],
        read_entry: Callable[[int], dict[str, Any]],
    ) -> None:
        self.header: Mapping[str, Any] = MappingProxyType(dict(header))
        self.path = path
        self.frame_numbers = columns.frame_numbers
        self.count = len(columns.scores)
        self.last_frame = int(self.frame_numbers[-1]) if len(self.frame_numbers) else -1
        self.warnings: Mapping[str, int] = MappingProxyType(warnings)
        self._columns = columns
        self._read_entry = read_entry

    def __repr__(self) -> str:
        where = self.path or "in memory"
        return f"<DetectionSource {where}: {len(self.frame_numbers)} frames, {self.count} detections>"

    @property
    def video(self) -> Mapping[str, Any]:
        """Facts about the video in det-v1: any of path, fps, frame_count, width, height; may be empty."""
        video = self.header.get("video")
        return video if isinstance(video, Mapping) else {}

    @cached_property
    def class_ids(self) -> tuple[int, ...]:
        """The class ids that occur, ascending."""
        return tuple(int(value) for value in np.unique(self._columns.class_ids))

    @cached_property
    def class_names(self) -> Mapping[int, str]:
        """Class id to its most frequent class name; ids without a name are left out."""
        columns = self._columns
        named = columns.name_codes >= 0
        pairs, counts = np.unique(
            np.stack([columns.class_ids[named], columns.name_codes[named].astype(np.int64)], axis=1),
            axis=0,
            return_counts=True,
        )
        best: dict[int, str] = {}
        # Ascending by count, so that the last name written for an id is the most frequent one.
        for row in np.argsort(counts, kind="stable"):
            class_id, code = pairs[row]
            best[int(class_id)] = columns.names[int(code)]
        return MappingProxyType(dict(sorted(best.items())))

    def scores(self, class_ids: Collection[int] | None = None) -> NDArray[np.float64]:
        """Return the scores of all detections, (N,) in [0, 1]; with `class_ids`, only of these classes."""
        columns = self._columns
        if class_ids is None:
            return columns.scores
        return np.asarray(columns.scores[np.isin(columns.class_ids, list(class_ids))])

    def at(self, frame: int) -> FrameDetections:
        """Return the detections of a frame; empty arrays if the frame has no entry."""
        columns = self._columns
        entry = self._entry_index(frame)
        start, stop = (0, 0) if entry is None else (int(columns.starts[entry]), int(columns.stops[entry]))
        return FrameDetections(
            frame=frame,
            boxes=columns.boxes[start:stop].copy(),
            scores=columns.scores[start:stop].copy(),
            class_ids=columns.class_ids[start:stop].copy(),
            det_inds=columns.det_inds[start:stop].copy(),
            class_names=tuple(
                columns.names[code] if code >= 0 else None for code in columns.name_codes[start:stop].tolist()
            ),
        )

    def raw(self, frame: int) -> dict[str, Any] | None:
        """Return a frame's entry with every key that the detector wrote, as a new dict of JSON types.

        Its ``detections`` are the rows of `at`: what lenient reading dropped is left out, and what it repaired is
        repaired.

        Returns:
            The entry; None if the frame has no entry.

        Raises:
            DetectionsError: The file has changed since it was opened.
        """
        entry = self._entry_index(frame)
        if entry is None:
            return None
        position = int(self._columns.positions[entry])
        raw = self._read_entry(position)
        fix = self._columns.fixes.get(position)
        detections = raw.get("detections")
        if fix is not None or not isinstance(detections, list):
            fix = fix or Fix(frozenset(), {})
            raw["detections"] = [
                {**item, **fix.repairs.get(index, {})}
                for index, item in enumerate(detections if isinstance(detections, list) else [])
                if index not in fix.dropped
            ]
        return raw

    def beyond(self, frame: int) -> NDArray[np.int64]:
        """Return the numbers of later frames that have an entry."""
        return self.frame_numbers[self.frame_numbers > frame]

    def close(self, note: str | None = None) -> None:
        """Do nothing: the file is opened only while an entry is read."""

    def _entry_index(self, frame: int) -> int | None:
        entry = int(np.searchsorted(self.frame_numbers, frame))
        if entry < len(self.frame_numbers) and int(self.frame_numbers[entry]) == frame:
            return entry
        return None
