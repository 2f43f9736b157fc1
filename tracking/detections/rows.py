"""The rows of det-v1: what makes a frame and a detection usable, what lenient reading repairs, and their columns.

It takes entries one by one, from wherever they come, and knows nothing of files.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracking.errors import DetectionsError
from tracking.json_stream import Problem, show

__all__ = ["MAX_COORDINATE", "MIN_BOX_SIDE", "Collector", "Columns", "Fix", "check_version", "finite"]

MAX_COORDINATE = 100_000.0
"""Largest absolute box coordinate, in pixels."""

# Trackers compute in float32, which is spaced by 0.0078 just below 100 000: within these two limits
# a box that has an area here still has one there.
MIN_BOX_SIDE = 0.01
"""Smallest width and height of a box that has an area, in pixels."""

_MAX_INTEGER = 2**31 - 1
_CLIP_TOLERANCE = 0.01
_LENIENT_HINT = "Correct the detector's export, or pass --lenient (lenient=True) to leave {what} out."
_LENIENT_VALUE_HINT = "Correct the detector's export, or pass --lenient (lenient=True) to have it repaired."
_NUMBERS = (int, float)


class _Row(NamedTuple):
    """One checked detection; `repairs` are the keys that lenient reading changed in the raw one."""

    box: tuple[float, float, float, float]
    score: float
    class_id: int
    det_ind: int
    class_name: str | None
    repairs: dict[str, Any]


class Fix(NamedTuple):
    """What lenient reading did to one frame's raw detections, by their index in the file."""

    dropped: frozenset[int]
    repairs: dict[int, dict[str, Any]]


class _FaultError(Exception):
    """A detection cannot be used. Never leaves this module."""

    def __init__(self, reason: str, message: str, hint: str = _LENIENT_HINT.format(what="such detections")) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint


# --- one detection ---------------------------------------------------------------------------------


def finite(value: object) -> float | None:
    """A JSON number as a float; None for anything else. A bool is no number."""
    if type(value) not in _NUMBERS:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _integer(value: object) -> int | None:
    """A JSON integer (2.0 is one, as in JSON Schema); None for anything else."""
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    return None


def _either(item: Mapping[str, Any], key: str, alias: str) -> tuple[str, Any, bool]:
    """The key that holds a value, the value, and whether either key is there. `key` goes before `alias`."""
    if key in item:
        return key, item[key], True
    if alias in item:
        return alias, item[alias], True
    return key, None, False


def _examine(item: object, index: int, lenient: bool) -> _Row:
    """Check one detection, and say what is wrong with it.

    Raises:
        _FaultError: It cannot be used.
    """
    if not isinstance(item, Mapping):
        raise _FaultError("detection is not an object", f"expected an object, found {show(item)}")
    repairs: dict[str, Any] = {}

    key, value, present = _either(item, "bbox", "xyxy")
    if not present:
        raise _FaultError("bbox missing", "bbox is missing; expected [x1, y1, x2, y2] in pixels")
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        raise _FaultError("bbox is not 4 numbers", f"expected {key} as 4 numbers [x1, y1, x2, y2], found {show(value)}")
    for number in value:
        if type(number) not in _NUMBERS:
            raise _FaultError(
                "bbox is not 4 numbers", f"expected {key} as 4 numbers [x1, y1, x2, y2], found {show(value)}"
            )
        if abs(number) > MAX_COORDINATE:
            raise _FaultError(
                "bbox out of range",
                f"expected {key} within {MAX_COORDINATE:g} pixels of the origin, found {show(value)}",
            )
    x1, y1, x2, y2 = (float(number) for number in value)
    if x2 - x1 < MIN_BOX_SIDE or y2 - y1 < MIN_BOX_SIDE:
        raise _FaultError(
            "bbox without area",
            f"expected {key} [x1, y1, x2, y2] with x1 < x2 and y1 < y2, found {show(value)}: "
            + ("a reversed box" if x2 < x1 or y2 < y1 else "a box of no area"),
        )

    key, value, present = _either(item, "score", "conf")
    if not present:
        raise _FaultError("score missing", "score is missing; expected a number in [0, 1]")
    if type(value) not in _NUMBERS:
        raise _FaultError("score is not a number", f"expected {key} as a number in [0, 1], found {show(value)}")
    if not 0.0 <= value <= 1.0:
        if not -_CLIP_TOLERANCE <= value <= 1.0 + _CLIP_TOLERANCE:
            raise _FaultError("score outside [0, 1]", f"expected {key} in [0, 1], found {show(value)}")
        if not lenient:
            raise _FaultError(
                "score clipped to [0, 1]", f"expected {key} in [0, 1], found {show(value)}", _LENIENT_VALUE_HINT
            )
        value = repairs[key] = 0.0 if value < 0.0 else 1.0
    score = float(value)

    key, value, present = _either(item, "class_id", "class")
    class_id = _integer(value)
    if value is None:
        if not lenient:
            found = f"{key} is null" if present else "class_id is missing"
            raise _FaultError(
                "class_id null or missing, taken as -1", f"{found}; expected an integer", _LENIENT_VALUE_HINT
            )
        class_id = repairs[key] = -1
    elif class_id is None or abs(class_id) > _MAX_INTEGER:
        raise _FaultError("class_id is not an integer", f"expected {key} as a 32-bit integer, found {show(value)}")

    value = item.get("det_ind", index)
    det_ind = _integer(value)
    if det_ind is None or not 0 <= det_ind <= _MAX_INTEGER:
        raise _FaultError(
            "det_ind is not an index", f"expected det_ind as an integer of 0 or more, found {show(value)}"
        )

    class_name = item.get("class_name")
    if class_name is not None and not isinstance(class_name, str):
        if not lenient:
            raise _FaultError(
                "class_name is not a string",
                f"expected class_name as a string, found {show(class_name)}",
                _LENIENT_VALUE_HINT,
            )
        class_name = repairs["class_name"] = None
    return _Row((x1, y1, x2, y2), score, class_id, det_ind, class_name, repairs)


_REPAIR_REASONS = {
    "score": "score clipped to [0, 1]",
    "conf": "score clipped to [0, 1]",
    "class_id": "class_id null or missing, taken as -1",
    "class": "class_id null or missing, taken as -1",
    "class_name": "class_name is not a string",
}


# --- columns ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """What `DetectionSource` holds; entries are sorted by frame number, rows stand in file order.

    `positions` are the entries' places in the file's list of frames, `starts` and `stops` their rows.
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


class Collector:
    """Takes frame entries one by one, checks them, and gathers their columns."""

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
        """Check and append the next entry of the list of frames; `where` is its place in the file."""
        position = self._entries
        self._entries += 1
        place = f'entry {position} of "frames"{where}'
        if not isinstance(entry, Mapping):
            self._refuse_frame("frame entry is not an object", f"{place}: expected an object, found {show(entry)}")
            return
        key, value, present = _either(entry, "frame", "frame_index")
        frame = _integer(value)
        if problems:
            self._note_problems(problems, place if frame is None else f"frame {frame} ({place})")
        if frame is None or not 0 <= frame <= _MAX_INTEGER:
            found = f"found {show(value)}" if present else "it is missing"
            self._refuse_frame(
                "frame number unusable", f"{place}: expected {key} as a 0-based integer frame number, but {found}"
            )
            return
        place = f"frame {frame} ({place})"
        detections = entry.get("detections")
        if not isinstance(detections, (list, tuple)):
            found = f"found {show(detections)}" if "detections" in entry else "it is missing"
            message = f"{place}: expected detections as a list, but {found}"
            self._refuse_frame("detections of a frame is not a list", message, dropped=False)
            detections = ()
        self._frames.append(frame)
        self._positions.append(position)
        self._lengths.append(self._add_detections(detections, place, position))

    def _add_detections(self, detections: Sequence[Any], place: str, position: int) -> int:
        low, high, side = -MAX_COORDINATE, MAX_COORDINATE, MIN_BOX_SIDE
        names = self._names
        taken: set[int] = set()
        dropped: set[int] = set()
        repairs: dict[int, dict[str, Any]] = {}
        for index, item in enumerate(detections):
            # The usual form, decided without a function call; `_examine` decides and explains the rest.
            usual = False
            try:
                x1, y1, x2, y2 = item["bbox"]
                score, class_id = item["score"], item["class_id"]
                det_ind, class_name = item.get("det_ind", index), item.get("class_name")
                usual = (
                    type(x1) in _NUMBERS
                    and type(y1) in _NUMBERS
                    and type(x2) in _NUMBERS
                    and type(y2) in _NUMBERS
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
                    and -1 <= class_id <= _MAX_INTEGER
                    and 0 <= det_ind <= _MAX_INTEGER
                    and type(item["bbox"]) is list
                )
            except (KeyError, TypeError, ValueError, AttributeError):
                pass
            if usual:
                box = (x1, y1, x2, y2)
            else:
                try:
                    row = _examine(item, index, self.lenient)
                except _FaultError as fault:
                    self._refuse(fault, place, index)
                    dropped.add(index)
                    continue
                box, score, class_id, det_ind, class_name, changed = row
                if changed:
                    repairs[index] = changed
                    self.warnings.update(_REPAIR_REASONS[key] for key in changed)
            if det_ind in taken:
                repairs.pop(index, None)
                self._refuse(
                    _FaultError("duplicate det_ind", f"det_ind {det_ind} is already that of another detection"),
                    place,
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

    def _refuse(self, fault: _FaultError, place: str, index: int) -> None:
        if not self.lenient:
            raise DetectionsError(f"{self.name}: {place}, detection {index}: {fault.message}.", hint=fault.hint)
        self.warnings[fault.reason] += 1

    def _refuse_frame(self, reason: str, message: str, dropped: bool = True) -> None:
        if not self.lenient:
            hint = _LENIENT_HINT.format(what="such frames") if dropped else _LENIENT_VALUE_HINT
            raise DetectionsError(f"{self.name}: {message}.", hint=hint)
        self.warnings[reason] += 1

    def _note_problems(self, problems: Sequence[Problem], place: str) -> None:
        if not self.lenient:
            _, path, found = problems[0]
            raise DetectionsError(
                f"{self.name}: {place}: expected plain JSON values, found {found}" + (f" in {path}." if path else "."),
                hint=_LENIENT_VALUE_HINT,
            )
        self.warnings.update(reason for reason, _, _ in problems)

    def header(self, header: dict[str, Any], problems: Sequence[Problem]) -> dict[str, Any]:
        """Check everything but the frames, and return it as it is to be kept."""
        check_version(header, self.name)
        if problems:
            self._note_problems(problems, "the header")
        if header.get("video") is None:
            return header
        video = header["video"]
        wrong: dict[str, object] = {}
        if isinstance(video, Mapping):
            wrong = {
                key: video[key]
                for key in ("fps", "frame_count", "width", "height")
                if video.get(key) is not None and finite(video[key]) is None
            }
        if not isinstance(video, Mapping) or wrong:
            key, value = next(iter(wrong.items()), ("", video))
            expected = f"video.{key} as a number" if wrong else "video as an object"
            self._refuse_frame(
                "unusable facts about the video", f"expected {expected}, found {show(value)}", dropped=False
            )
            header["video"] = {k: v for k, v in video.items() if k not in wrong} if wrong else {}
        return header

    def columns(self) -> Columns:
        """Everything gathered, sorted by frame number, each frame once."""
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
                # The one that comes first in the file, not the one of the lowest number.
                repeat = min(repeats.tolist(), key=lambda place: int(positions[order[place]]))
                frame = int(frames[order[repeat]])
                first = int(positions[order[np.searchsorted(frames[order], frame)]])
                again = int(positions[order[repeat]])
                raise DetectionsError(
                    f'{self.name}: frame {frame} (entry {again} of "frames") is there already, as entry {first}; '
                    "expected each frame once.",
                    hint="Correct the detector's export, or pass --lenient (lenient=True) to keep the first of them.",
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


def check_version(header: Mapping[str, Any], name: str) -> None:
    """Refuse a document that does not say that it is det-v1."""
    version = header.get("schema_version")
    if version == "det-v1":
        return
    if version == "track-v1":
        raise DetectionsError(
            f'{name}: expected detections (schema_version "det-v1"), found "track-v1": this is an output of tracking.',
            hint="Give the det-v1 file that it was made from.",
        )
    found = f"found {show(version)}" if "schema_version" in header else "it is missing"
    raise DetectionsError(
        f'{name}: expected schema_version "det-v1", but {found}.',
        hint="Give a det-v1 file, as detect-lib writes it.",
    )
