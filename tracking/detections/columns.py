"""Build the numeric columns of a det-v1 document from its frame entries, wherever they come from."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracking.detections.validation import (
    DROP_HINT,
    MAX_COORDINATE,
    MAX_INTEGER,
    MIN_BOX_SIDE,
    NUMBER_TYPES,
    REPAIR_HINT,
    REPAIR_REASONS,
    UnusableDetectionError,
    as_finite,
    as_integer,
    check_detection,
    check_version,
    lookup,
)
from tracking.errors import DetectionsError
from tracking.json_stream import Problem, is_nested_deeply, show

__all__ = ["ColumnBuilder", "Columns", "Fix"]


class Fix(NamedTuple):
    """Changes that lenient reading made to the raw detections of one frame, by their index in the file."""

    dropped: frozenset[int]
    repairs: dict[int, dict[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The columns of a `DetectionSource`. Entries are sorted by frame number; rows are in file order.

    `positions` are the indices of the entries in the file's list of frames, `starts` and `stops` their ranges of rows.
    """

    frame_numbers: NDArray[np.int64]
    positions: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    det_inds: NDArray[np.int64]
    name_codes: NDArray[np.int32]
    names: tuple[str, ...]
    fixes: dict[int, Fix]


class ColumnBuilder:
    """Checks frame entries one by one, and builds their columns."""

    def __init__(self, name: str, lenient: bool) -> None:
        self.name = name
        self.lenient = lenient
        self.warnings: Counter[str] = Counter()
        self._entries = 0
        self._frames = array("q")
        self._positions = array("q")
        self._lengths = array("q")
        self._boxes = array("d")
        self._scores = array("d")
        self._class_ids = array("q")
        self._det_inds = array("q")
        self._name_codes = array("i")
        self._names: dict[str, int] = {}
        self._fixes: dict[int, Fix] = {}

    def add(self, entry: object, problems: Sequence[Problem] = (), where: str = "") -> None:
        """Check and append the next entry of the list of frames. `where` states its byte in the file, for messages."""
        position = self._entries
        self._entries += 1
        location = f'entry {position} of "frames"{where}'
        if not isinstance(entry, Mapping):
            self._reject_frame("frame entry is not an object", f"{location}: expected an object, found {show(entry)}")
            return
        key, value, present = lookup(entry, "frame", "frame_index")
        frame = as_integer(value)
        if problems:
            self._reject_problems(problems, location if frame is None else f"frame {frame} ({location})")
        if frame is None or not 0 <= frame <= MAX_INTEGER:
            found = f"found {show(value)}" if present else "it is missing"
            self._reject_frame(
                "frame number unusable", f"{location}: expected {key} as a 0-based integer frame number, but {found}"
            )
            return
        location = f"frame {frame} ({location})"
        detections = entry.get("detections")
        if not isinstance(detections, (list, tuple)):
            found = f"found {show(detections)}" if "detections" in entry else "it is missing"
            message = f"{location}: expected detections as a list, but {found}"
            self._reject_frame("detections of a frame is not a list", message, dropped=False)
            detections = ()
        self._frames.append(frame)
        self._positions.append(position)
        self._lengths.append(self._add_detections(detections, location, position))

    def _add_detections(self, detections: Sequence[Any], location: str, position: int) -> int:
        """Append the detections of one frame. Return the number of usable ones."""
        low, high, side = -MAX_COORDINATE, MAX_COORDINATE, MIN_BOX_SIDE
        names = self._names
        taken: set[int] = set()
        dropped: set[int] = set()
        repairs: dict[int, dict[str, Any]] = {}
        for index, item in enumerate(detections):
            # The usual form is checked without a function call. `check_detection` checks and explains all others.
            usual = False
            try:
                x1, y1, x2, y2 = item["bbox"]
                score, class_id = item["score"], item["class_id"]
                det_ind, class_name = item.get("det_ind", index), item.get("class_name")
                usual = (
                    type(x1) in NUMBER_TYPES
                    and type(y1) in NUMBER_TYPES
                    and type(x2) in NUMBER_TYPES
                    and type(y2) in NUMBER_TYPES
                    and type(score) is float
                    and type(class_id) is int
                    and type(det_ind) is int
                    and (class_name is None or type(class_name) is str)
                    and low <= x1
                    and x2 <= high
                    and low <= y1
                    and y2 <= high
                    and x2 - x1 >= side
                    and y2 - y1 >= side
                    and 0.0 <= score <= 1.0
                    and -1 <= class_id <= MAX_INTEGER
                    and 0 <= det_ind <= MAX_INTEGER
                    and type(item["bbox"]) is list
                )
            except (KeyError, TypeError, ValueError, AttributeError):
                pass
            if usual:
                box = (x1, y1, x2, y2)
            else:
                try:
                    row = check_detection(item, index, self.lenient)
                except UnusableDetectionError as fault:
                    self._reject(fault, location, index)
                    dropped.add(index)
                    continue
                box, score, class_id, det_ind, class_name, changed = row
                if changed:
                    repairs[index] = changed
                    self.warnings.update(REPAIR_REASONS[key] for key in changed)
            if det_ind in taken:
                repairs.pop(index, None)
                self._reject(
                    UnusableDetectionError(
                        "duplicate det_ind", f"det_ind {det_ind} is already used by another detection"
                    ),
                    location,
                    index,
                )
                dropped.add(index)
                continue
            taken.add(det_ind)
            self._boxes.extend(box)
            self._scores.append(score)
            self._class_ids.append(class_id)
            self._det_inds.append(det_ind)
            self._name_codes.append(-1 if class_name is None else names.setdefault(class_name, len(names)))
        if dropped or repairs:
            self._fixes[position] = Fix(frozenset(dropped), repairs)
        return len(detections) - len(dropped)

    def _reject(self, fault: UnusableDetectionError, location: str, index: int) -> None:
        """Raise an error for an unusable detection, or count it if reading is lenient."""
        if not self.lenient:
            raise DetectionsError(f"{self.name}: {location}, detection {index}: {fault.message}.", hint=fault.hint)
        self.warnings[fault.reason] += 1

    def _reject_frame(self, reason: str, message: str, dropped: bool = True) -> None:
        """Raise an error for an unusable frame or value, or count it if reading is lenient."""
        if not self.lenient:
            hint = DROP_HINT.format(what="such frames") if dropped else REPAIR_HINT
            raise DetectionsError(f"{self.name}: {message}.", hint=hint)
        self.warnings[reason] += 1

    def _reject_problems(self, problems: Sequence[Problem], location: str) -> None:
        """Raise an error for the first value that is not plain JSON, or count all if reading is lenient."""
        if not self.lenient:
            _, path, found = problems[0]
            raise DetectionsError(
                f"{self.name}: {location}: expected plain JSON values, found {found}"
                + (f" in {path[:100]}." if path else "."),
                hint=REPAIR_HINT,
            )
        self.warnings.update(reason for reason, _, _ in problems)

    def check_header(self, header: dict[str, Any], problems: Sequence[Problem]) -> dict[str, Any]:
        """Check the top-level keys without ``frames``. Return them, repaired where needed."""
        check_version(header, self.name)
        deep = next((key for key, value in header.items() if is_nested_deeply(value)), None)
        if deep is not None:
            raise DetectionsError(
                f"{self.name}: expected {show(deep)} to be nested by at most a hundred levels.",
                hint="Remove it; gtrack needs schema_version and frames only.",
            )
        if problems:
            self._reject_problems(problems, "the header")
        if header.get("video") is None:
            return header
        video = header["video"]
        wrong: dict[str, object] = {}
        if isinstance(video, Mapping):
            wrong = {
                key: video[key]
                for key in ("fps", "frame_count", "width", "height")
                if video.get(key) is not None and as_finite(video[key]) is None
            }
        if not isinstance(video, Mapping) or wrong:
            key, value = next(iter(wrong.items()), ("", video))
            expected = f"video.{key} as a number" if wrong else "video as an object"
            self._reject_frame(
                "unusable facts about the video", f"expected {expected}, found {show(value)}", dropped=False
            )
            header["video"] = {k: v for k, v in video.items() if k not in wrong} if wrong else {}
        return header

    def build(self) -> Columns:
        """Return the columns of all entries, sorted by frame number, each frame once.

        Raises:
            DetectionsError: A frame has two entries (unless lenient).
        """
        frames = np.frombuffer(self._frames, np.int64)
        positions = np.frombuffer(self._positions, np.int64)
        lengths = np.frombuffer(self._lengths, np.int64)
        boxes = np.frombuffer(self._boxes, np.float64).reshape(-1, 4)
        scores = np.frombuffer(self._scores, np.float64)
        class_ids = np.frombuffer(self._class_ids, np.int64)
        det_inds = np.frombuffer(self._det_inds, np.int64)
        name_codes = np.frombuffer(self._name_codes, np.int32)

        order = np.argsort(frames, kind="stable")
        repeats = np.flatnonzero(np.diff(frames[order]) == 0) + 1
        if len(repeats):
            if not self.lenient:
                # Report the repeated entry that comes first in the file, not the one with the lowest frame number.
                repeat = min(repeats.tolist(), key=lambda index: int(positions[order[index]]))
                frame = int(frames[order[repeat]])
                first = int(positions[order[np.searchsorted(frames[order], frame)]])
                again = int(positions[order[repeat]])
                raise DetectionsError(
                    f'{self.name}: frame {frame} (entry {again} of "frames") occurs already, as entry {first}; '
                    "expected each frame once.",
                    hint="Correct the detector's export, or pass `lenient=True` to keep the first entry.",
                )
            self.warnings["duplicate frame"] += len(repeats)
            kept = np.ones(len(frames), bool)
            kept[order[repeats]] = False
            rows = np.repeat(kept, lengths)
            boxes, scores, class_ids = boxes[rows], scores[rows], class_ids[rows]
            det_inds, name_codes = det_inds[rows], name_codes[rows]
            frames, positions, lengths = frames[kept], positions[kept], lengths[kept]
            order = np.argsort(frames, kind="stable")
        stops = np.cumsum(lengths)
        frame_numbers = frames[order]
        frame_numbers.flags.writeable = False
        return Columns(
            frame_numbers=frame_numbers,
            positions=positions[order],
            starts=(stops - lengths)[order],
            stops=stops[order],
            boxes=boxes,
            scores=scores,
            class_ids=class_ids,
            det_inds=det_inds,
            name_codes=name_codes,
            names=tuple(self._names),
            fixes=self._fixes,
        )
