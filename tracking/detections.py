"""Reading det-v1, the detections that a detector wrote beside a video.

A file is read as a stream: one frame's JSON at a time is parsed, checked and appended to numeric
columns, and the frame's place in the file is kept, so that `DetectionSource.raw` can read it again
with every key that the detector wrote. A million detections take some tens of megabytes.
"""

from __future__ import annotations

import json
import math
import os
import stat
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
import orjson
from numpy.typing import NDArray

from tracking.errors import DetectionsError

__all__ = [
    "MAX_COORDINATE",
    "MIN_BOX_SIDE",
    "DetectionSource",
    "FrameDetections",
    "check_against_video",
    "open_detections",
]

MAX_COORDINATE = 100_000.0
"""Largest absolute box coordinate, in pixels."""

# Trackers compute in float32, which is spaced by 0.0078 just below 100 000: within these two limits
# a box that has an area here still has one there.
MIN_BOX_SIDE = 0.01
"""Smallest width and height of a box that has an area, in pixels."""

_MAX_INTEGER = 2**31 - 1
_CLIP_TOLERANCE = 0.01
_CHUNK_BYTES = 1 << 20
_LENIENT_HINT = "Correct the detector's export, or pass --lenient (lenient=True) to leave {what} out."
_LENIENT_VALUE_HINT = "Correct the detector's export, or pass --lenient (lenient=True) to have it repaired."
_EXPORT_HINT = "Correct the detector's export; --lenient does not help here."
_NUMBERS = (int, float)


@dataclass(frozen=True, slots=True, eq=False)
class FrameDetections:
    """The detections of one frame as parallel arrays, in the order of the file.

    Attributes:
        frame: 0-based frame number.
        boxes: (N, 4) float64, xyxy in pixels, finite, of positive area.
        scores: (N,) float64 in [0, 1].
        class_ids: (N,) int64; -1 where the detector knows no class.
        det_inds: (N,) int64, unique in the frame, not negative.
        class_names: N names; None where the detector gave none.
    """

    frame: int
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    det_inds: NDArray[np.int64]
    class_names: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.scores)


class _Row(NamedTuple):
    """One checked detection; `repairs` are the keys that lenient reading changed in the raw one."""

    box: tuple[float, float, float, float]
    score: float
    class_id: int
    det_ind: int
    class_name: str | None
    repairs: dict[str, Any]


class _Fix(NamedTuple):
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


class DetectionSource:
    """The detections of one video, checked. Made by `open_detections`.

    Attributes:
        header: Every top-level key but ``frames``, in the order of the file.
        path: Path of the file; None for a payload in memory.
        frame_numbers: Sorted (F,) int64, read-only: the frames that have an entry (which may be empty).
        count: Number of usable detections.
        last_frame: The highest frame number that has an entry; -1 where there is none.
        warnings: Reason to count, of what lenient reading dropped or repaired; empty otherwise.
    """

    def __init__(
        self,
        *,
        header: Mapping[str, Any],
        path: str | None,
        columns: _Columns,
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
        """What det-v1 says of its video: any of path, fps, frame_count, width, height; may be empty."""
        video = self.header.get("video")
        return video if isinstance(video, Mapping) else {}

    @cached_property
    def class_ids(self) -> tuple[int, ...]:
        """The class ids that occur, ascending."""
        return tuple(int(value) for value in np.unique(self._columns.class_ids))

    @cached_property
    def class_names(self) -> Mapping[int, str]:
        """Class id to the class name that it carries most often; ids that carry none are left out."""
        columns = self._columns
        named = columns.name_codes >= 0
        pairs, counts = np.unique(
            np.stack([columns.class_ids[named], columns.name_codes[named].astype(np.int64)], axis=1),
            axis=0,
            return_counts=True,
        )
        best: dict[int, str] = {}
        # Ascending by count, so that the last one written for an id is the most frequent.
        for row in np.argsort(counts, kind="stable"):
            class_id, code = pairs[row]
            best[int(class_id)] = columns.names[int(code)]
        return MappingProxyType(dict(sorted(best.items())))

    def at(self, frame: int) -> FrameDetections:
        """The detections of a frame; empty arrays where the frame has no entry."""
        columns = self._columns
        entry = self._entry_of(frame)
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
        """A frame's entry with every key that the detector wrote, as a new dict of JSON types.

        Its ``detections`` are those of `at`, row for row: what lenient reading dropped is left out,
        and what it repaired is repaired.

        Returns:
            None where the frame has no entry.

        Raises:
            DetectionsError: The file changed since it was opened.
        """
        entry = self._entry_of(frame)
        if entry is None:
            return None
        position = int(self._columns.positions[entry])
        raw = self._read_entry(position)
        fix = self._columns.fixes.get(position)
        detections = raw.get("detections")
        if fix is not None or not isinstance(detections, list):
            fix = fix or _Fix(frozenset(), {})
            raw["detections"] = [
                {**item, **fix.repairs.get(index, {})}
                for index, item in enumerate(detections if isinstance(detections, list) else [])
                if index not in fix.dropped
            ]
        return raw

    def _entry_of(self, frame: int) -> int | None:
        entry = int(np.searchsorted(self.frame_numbers, frame))
        if entry < len(self.frame_numbers) and int(self.frame_numbers[entry]) == frame:
            return entry
        return None


def open_detections(
    source: str | Path | Mapping[str, Any] | DetectionSource, *, lenient: bool = False
) -> DetectionSource:
    """Read and check detections.

    ``frame_index`` is taken for ``frame``, ``xyxy`` for ``bbox``, ``conf`` for ``score`` and
    ``class`` for ``class_id``. Frames may be missing and in any order. A missing ``det_ind`` is the
    detection's index in its frame.

    Args:
        source: Path of a det-v1 file (JSON in UTF-8), a det-v1 document in memory (its values are
            read again by `DetectionSource.raw`, so leave it unchanged), or a `DetectionSource`,
            which is returned as it is.
        lenient: Drop what cannot be used and repair what can, and count both by reason in
            `DetectionSource.warnings`: unusable detections and frames are dropped, of two entries
            for a frame the first is kept, NaN and infinity outside of the keys that are used become
            null, a score less than 0.01 outside of [0, 1] is clipped, a class of null becomes -1.

    Raises:
        DetectionsError: Not a readable det-v1 document, or (unless lenient) one frame or detection
            in it cannot be used; names the file, the frame, its place in the list and the detection.
    """
    if isinstance(source, DetectionSource):
        return source
    if isinstance(source, Mapping):
        return _from_payload(source, lenient)
    if not isinstance(source, (str, os.PathLike)):
        raise DetectionsError(
            f"expected the path of a det-v1 file or a det-v1 document (a dict), found {_show(source)}.",
            hint='A list of frames goes into {"schema_version": "det-v1", "frames": [...]}.',
        )
    return _from_file(Path(source), lenient)


def check_against_video(
    source: DetectionSource,
    *,
    width: int,
    height: int,
    frame_count: int | None,
    path: str,
    lenient: bool = False,
) -> list[str]:
    """Check that detections belong to a video, by what det-v1 says of it.

    What det-v1 does not say is not checked.

    Args:
        source: The detections.
        width: Width of the opened video's frames, in pixels.
        height: Height, in pixels.
        frame_count: Frames that the opened video has; None (or 0 and less, as OpenCV says for
            streams) where that is not known.
        path: The opened video's path, for the message.
        lenient: Return the disagreements as sentences in place of raising the first.

    Returns:
        Disagreements; always empty unless lenient.

    Raises:
        DetectionsError: Video and detections disagree in size, or the video is too short.
    """
    name = source.path or "the detections"
    found: list[str] = []
    expected_size = (_finite(source.video.get("width")), _finite(source.video.get("height")))
    if any(
        expected is not None and expected > 0 and expected != actual
        for expected, actual in zip(expected_size, (width, height), strict=True)
    ):
        text = " x ".join("?" if value is None else f"{value:g}" for value in expected_size)
        found.append(f"{name} was made from a video of {text} pixels, but {path} has {width} x {height}.")
    if frame_count is not None and frame_count > 0:
        expected_count = _finite(source.video.get("frame_count"))
        if source.last_frame >= frame_count:
            found.append(
                f"{name} has an entry for frame {source.last_frame}, but {path} has {frame_count} frames "
                f"(the last is {frame_count - 1})."
            )
        elif expected_count is not None and expected_count > frame_count:
            found.append(
                f"{name} was made from a video of {expected_count:g} frames, but {path} has {frame_count}: "
                f"it is another video, or it was cut short."
            )
    if found and not lenient:
        raise DetectionsError(
            found[0], hint="Give the video that the detector ran on, or pass --lenient to go on all the same."
        )
    return found


# --- one detection ---------------------------------------------------------------------------------


def _finite(value: object) -> float | None:
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


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


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
        raise _FaultError("detection is not an object", f"expected an object, found {_show(item)}")
    repairs: dict[str, Any] = {}

    key, value, present = _either(item, "bbox", "xyxy")
    if not present:
        raise _FaultError("bbox missing", "bbox is missing; expected [x1, y1, x2, y2] in pixels")
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        raise _FaultError(
            "bbox is not 4 numbers", f"expected {key} as 4 numbers [x1, y1, x2, y2], found {_show(value)}"
        )
    for number in value:
        if type(number) not in _NUMBERS:
            raise _FaultError(
                "bbox is not 4 numbers", f"expected {key} as 4 numbers [x1, y1, x2, y2], found {_show(value)}"
            )
        if abs(number) > MAX_COORDINATE:
            raise _FaultError(
                "bbox out of range",
                f"expected {key} within {MAX_COORDINATE:g} pixels of the origin, found {_show(value)}",
            )
    x1, y1, x2, y2 = (float(number) for number in value)
    if x2 - x1 < MIN_BOX_SIDE or y2 - y1 < MIN_BOX_SIDE:
        raise _FaultError(
            "bbox without area",
            f"expected {key} [x1, y1, x2, y2] with x1 < x2 and y1 < y2, found {_show(value)}: "
            + ("a reversed box" if x2 < x1 or y2 < y1 else "a box of no area"),
        )

    key, value, present = _either(item, "score", "conf")
    if not present:
        raise _FaultError("score missing", "score is missing; expected a number in [0, 1]")
    if type(value) not in _NUMBERS:
        raise _FaultError("score is not a number", f"expected {key} as a number in [0, 1], found {_show(value)}")
    if not 0.0 <= value <= 1.0:
        if not -_CLIP_TOLERANCE <= value <= 1.0 + _CLIP_TOLERANCE:
            raise _FaultError("score outside [0, 1]", f"expected {key} in [0, 1], found {_show(value)}")
        if not lenient:
            raise _FaultError(
                "score clipped to [0, 1]", f"expected {key} in [0, 1], found {_show(value)}", _LENIENT_VALUE_HINT
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
        raise _FaultError("class_id is not an integer", f"expected {key} as a 32-bit integer, found {_show(value)}")

    value = item.get("det_ind", index)
    det_ind = _integer(value)
    if det_ind is None or not 0 <= det_ind <= _MAX_INTEGER:
        raise _FaultError(
            "det_ind is not an index", f"expected det_ind as an integer of 0 or more, found {_show(value)}"
        )

    class_name = item.get("class_name")
    if class_name is not None and not isinstance(class_name, str):
        if not lenient:
            raise _FaultError(
                "class_name is not a string",
                f"expected class_name as a string, found {_show(class_name)}",
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


# --- values that JSON has no word for --------------------------------------------------------------

_NOT_FINITE = "NaN or infinity replaced by null"
_NOT_TEXT = "unpaired surrogate in a string replaced"


def _is_plain(value: Any) -> bool:
    """Whether a value is of JSON types throughout. False may also mean that only `_plain` can tell."""
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is int:
        return bool(-(2**63) <= value < 2**63)
    if kind is str:
        return bool(value.isascii())
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(_is_plain, value.values()))
    if kind is list:
        return all(map(_is_plain, value))
    return value is None or kind is bool


def _plain(value: Any, path: str, problems: list[tuple[str, str, str]]) -> Any:
    """Copy a value into JSON types, and note each part that JSON cannot say as (reason, path, found)."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            problems.append((_NOT_TEXT, path, _show(value)))
            return value.encode("utf-8", "replace").decode()
        return value
    if isinstance(value, int):
        if -(2**63) <= value < 2**64:
            return value
        # JSON writers stop at 64 bits; orjson reads such a number as a float, so it is one here too.
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if isinstance(value, float):
        if not math.isfinite(value):
            problems.append((_NOT_FINITE, path, {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")))
            return None
        return value
    if isinstance(value, Mapping):
        return {
            str(_plain(str(key), path, problems)): _plain(item, f"{path}.{key}" if path else str(key), problems)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{path}[{index}]", problems) for index, item in enumerate(value)]
    if value is None or isinstance(value, bool):
        return value
    problems.append(("value of no JSON type replaced by null", path, _show(value)))
    return None


def _parse(blob: bytes) -> tuple[Any, list[tuple[str, str, str]]]:
    """Parse JSON with what some writers add to it, as (value, problems).

    Raises:
        ValueError: Not JSON at all.
        RecursionError: Nested too deeply.
    """
    try:
        return orjson.loads(blob), []
    except orjson.JSONDecodeError as error:
        # What orjson refuses but json reads: NaN, infinity, 1e999, unpaired surrogates, bad UTF-8.
        problems: list[tuple[str, str, str]] = []
        try:
            text = blob.decode()
        except UnicodeDecodeError as decode_error:
            found = f"byte 0x{blob[decode_error.start]:02x} in {_show(blob[max(0, decode_error.start - 20) :][:40])}"
            problems.append(("invalid UTF-8 replaced", "", found))
            text = blob.decode(errors="replace")
        value = _plain(json.loads(text), "", problems)
        if not problems:
            raise ValueError(str(error)) from error
        return value, problems


# --- columns ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
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
    fixes: dict[int, _Fix]


class _Collector:
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
        self._fixes: dict[int, _Fix] = {}

    def add(self, entry: object, problems: Sequence[tuple[str, str, str]] = (), where: str = "") -> None:
        """Check and append the next entry of the list of frames; `where` is its place in the file."""
        position = self._entries
        self._entries += 1
        place = f'entry {position} of "frames"{where}'
        if not isinstance(entry, Mapping):
            self._refuse_frame("frame entry is not an object", f"{place}: expected an object, found {_show(entry)}")
            return
        key, value, present = _either(entry, "frame", "frame_index")
        frame = _integer(value)
        if problems:
            self._note_problems(problems, place if frame is None else f"frame {frame} ({place})")
        if frame is None or not 0 <= frame <= _MAX_INTEGER:
            found = f"found {_show(value)}" if present else "it is missing"
            self._refuse_frame(
                "frame number unusable", f"{place}: expected {key} as a 0-based integer frame number, but {found}"
            )
            return
        place = f"frame {frame} ({place})"
        detections = entry.get("detections")
        if not isinstance(detections, (list, tuple)):
            found = f"found {_show(detections)}" if "detections" in entry else "it is missing"
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
            self._fixes[position] = _Fix(frozenset(dropped), repairs)
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

    def _note_problems(self, problems: Sequence[tuple[str, str, str]], place: str) -> None:
        if not self.lenient:
            _, path, found = problems[0]
            raise DetectionsError(
                f"{self.name}: {place}: expected plain JSON values, found {found}" + (f" in {path}." if path else "."),
                hint=_LENIENT_VALUE_HINT,
            )
        self.warnings.update(reason for reason, _, _ in problems)

    def header(self, header: dict[str, Any], problems: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
        """Check everything but the frames, and return it as it is to be kept."""
        _check_version(header, self.name)
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
                if video.get(key) is not None and _finite(video[key]) is None
            }
        if not isinstance(video, Mapping) or wrong:
            key, value = next(iter(wrong.items()), ("", video))
            expected = f"video.{key} as a number" if wrong else "video as an object"
            self._refuse_frame(
                "unusable facts about the video", f"expected {expected}, found {_show(value)}", dropped=False
            )
            header["video"] = {k: v for k, v in video.items() if k not in wrong} if wrong else {}
        return header

    def columns(self) -> _Columns:
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
        return _Columns(
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


def _check_version(header: Mapping[str, Any], name: str) -> None:
    version = header.get("schema_version")
    if version == "det-v1":
        return
    if version == "track-v1":
        raise DetectionsError(
            f'{name}: expected detections (schema_version "det-v1"), found "track-v1": this is an output of tracking.',
            hint="Give the det-v1 file that it was made from.",
        )
    found = f"found {_show(version)}" if "schema_version" in header else "it is missing"
    raise DetectionsError(
        f'{name}: expected schema_version "det-v1", but {found}.',
        hint="Give a det-v1 file, as detect-lib writes it.",
    )


# --- sources ---------------------------------------------------------------------------------------


def _from_payload(payload: Mapping[str, Any], lenient: bool) -> DetectionSource:
    name = "detections in memory"
    collector = _Collector(name, lenient)
    problems: list[tuple[str, str, str]] = []
    try:
        header = _plain({key: value for key, value in payload.items() if key != "frames"}, "", problems)
        header = collector.header(header, problems)
        frames = payload.get("frames")
        if not isinstance(frames, (list, tuple)):
            _refuse_frames(name, "frames" in payload, frames)
        for entry in frames:
            problems = []
            # A look is several times faster than a copy, and nearly always enough.
            collector.add(entry if _is_plain(entry) else _plain(entry, "", problems), problems)
    except RecursionError as error:
        raise DetectionsError(f"{name}: nested too deeply, or a part of itself.", hint=_EXPORT_HINT) from error

    def read_entry(position: int) -> dict[str, Any]:
        copy: dict[str, Any] = _plain(frames[position], "", [])
        return copy

    columns = collector.columns()
    return DetectionSource(
        header=header, path=None, columns=columns, warnings=collector.warnings, read_entry=read_entry
    )


def _refuse_frames(name: str, present: bool, value: object) -> NoReturn:
    found = f"found {_show(value)}" if present else "it is missing"
    raise DetectionsError(f"{name}: expected frames as a list, but {found}.", hint=_EXPORT_HINT)


def _from_file(path: Path, lenient: bool) -> DetectionSource:
    if "\0" in str(path):
        raise DetectionsError(f"{_show(str(path))}: expected a path, found one with a NUL character in it.")
    collector = _Collector(str(path), lenient)
    offsets = array("q")
    lengths = array("q")
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise DetectionsError(
                f"{path}: expected a regular file, because frames are read from it again later.",
                hint="Write the detections to a file first.",
            )
        with path.open("rb") as file:
            reader = _JsonStream(file, str(path))
            header: dict[str, Any] = {}
            header_problems: list[tuple[str, str, str]] = []
            seen_frames = False
            for key in reader.members():
                if key != "frames":
                    header[key], problems = reader.parse(*reader.value(f"the value of {json.dumps(key)}"))
                    header_problems += [(why, f"{key}.{at}" if at else key, found) for why, at, found in problems]
                    if key == "schema_version":
                        # At once where it comes first, before anything else is complained about.
                        _check_version(header, str(path))
                    continue
                if seen_frames:
                    raise DetectionsError(f'{path}: expected "frames" once, found it twice.', hint=_EXPORT_HINT)
                seen_frames = True
                if not reader.at_list():
                    _refuse_frames(str(path), True, reader.parse(*reader.value("frames"))[0])
                for blob, offset in reader.items():
                    offsets.append(offset)
                    lengths.append(len(blob))
                    entry, problems = reader.parse(blob, offset)
                    collector.add(entry, problems, f", byte {offset}")
    except FileNotFoundError as error:
        raise DetectionsError(f"{path}: there is no such file.", hint="Check the path of the detections.") from error
    except IsADirectoryError as error:
        raise DetectionsError(f"{path}: expected a file, found a folder.", hint="Give a det-v1 .json file.") from error
    except OSError as error:
        raise DetectionsError(f"{path}: cannot be read: {error.strerror or error}.") from error

    header = collector.header(header, header_problems)
    if not seen_frames:
        _refuse_frames(str(path), False, None)

    def read_entry(position: int) -> dict[str, Any]:
        try:
            with path.open("rb") as file:
                now = os.fstat(file.fileno())
                file.seek(offsets[position])
                blob = file.read(lengths[position])
        except OSError as error:
            raise DetectionsError(f"{path}: cannot be read any more: {error.strerror or error}.") from error
        if (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            raise DetectionsError(
                f"{path}: the file changed while it was in use.", hint="Run again, with a file that stays as it is."
            )
        raw: dict[str, Any] = _parse(blob)[0]
        return raw

    columns = collector.columns()
    return DetectionSource(
        header=header, path=str(path), columns=columns, warnings=collector.warnings, read_entry=read_entry
    )


class _JsonStream:
    """Walks over one JSON object in a file, and over the items of one list in it, value by value.

    The text is decoded as latin-1: every byte is one character, so that places in the text are
    places in the file, and JSON's structure is ASCII in either encoding.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._buffer = ""
        self._at = 0
        self._start = 0
        self._line = 1
        self._ended = False
        self._decode = json.JSONDecoder(parse_constant=float).raw_decode
        self._fill()
        if self._buffer.startswith("\xef\xbb\xbf"):
            self._at = 3
        elif self._buffer.startswith("\x1f\x8b"):
            raise DetectionsError(f"{name}: expected JSON, found a gzip file.", hint="Decompress it first.")
        elif self._buffer.startswith(("\xff\xfe", "\xfe\xff")) or "\0" in self._buffer[:4]:
            raise DetectionsError(f"{name}: expected JSON in UTF-8, found UTF-16, UTF-32 or binary data.")

    def _fill(self) -> None:
        """Drop what was walked over and read on, as much again as is left over (a value too long for one chunk)."""
        self._line += self._buffer.count("\n", 0, self._at)
        self._start += self._at
        rest = self._buffer[self._at :]
        more = self._file.read(max(_CHUNK_BYTES, len(rest)))
        self._ended = not more
        self._buffer = rest + more.decode("latin-1")
        self._at = 0

    def _peek(self) -> str:
        """The next character that is not white space; empty at the end of the file."""
        while True:
            buffer, at = self._buffer, self._at
            end = len(buffer)
            while at < end and buffer[at] in " \t\r\n":
                at += 1
            self._at = at
            if at < end:
                return buffer[at]
            if self._ended:
                return ""
            self._fill()

    def _fail(self, expected: str, at: int | None = None, problem: str | None = None) -> NoReturn:
        at = self._at if at is None else at
        if self._ended and at >= len(self._buffer):
            if self._start + at == 0:
                raise DetectionsError(f"{self._name}: expected det-v1 JSON, found an empty file.")
            raise DetectionsError(
                f"{self._name}: the file is cut short: it ends at byte {self._start + at}, "
                f"where {expected} was expected.",
                hint="Run the detector again, or copy the file again.",
            )
        line = self._line + self._buffer.count("\n", 0, at)
        raise DetectionsError(
            f"{self._name}: not JSON at line {line}, byte {self._start + at}: {problem or 'expected ' + expected}, "
            f"found {_show(self._buffer[at : at + 20])}.",
            hint=_EXPORT_HINT,
        )

    def _take(self, characters: str, expected: str) -> str:
        character = self._peek()
        if not character or character not in characters:
            self._fail(expected)
        self._at += 1
        return character

    def value(self, what: str) -> tuple[bytes, int]:
        """Walk over one value of any type; its bytes, and where in the file it starts."""
        if not self._peek():
            self._fail(what)
        while True:
            try:
                _, end = self._decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                # A value that is only cut off by the end of the buffer fails near that end, or in a
                # string that does not end; any other failure is one of the file.
                cut = error.pos >= len(self._buffer) - 16 or error.msg.startswith("Unterminated string")
                if cut and not self._ended:
                    self._fill()
                    continue
                if cut and not {"]", "}"} & set(self._buffer[error.pos :]):
                    self._fail("the rest of a value", len(self._buffer))
                expecting = error.msg.startswith("Expecting ")
                problem = None if expecting else error.msg.lower().removesuffix(" at")
                self._fail(error.msg.removeprefix("Expecting "), error.pos, problem)
            except (RecursionError, ValueError) as error:
                self._refuse_value(what, self._start + self._at, error)
            # A number that touches the end of the buffer may go on ("1", "1.", "1e+").
            if end >= len(self._buffer) - 8 and not self._ended:
                self._fill()
                continue
            blob = self._buffer[self._at : end].encode("latin-1")
            offset = self._start + self._at
            self._at = end
            return blob, offset

    def parse(self, blob: bytes, offset: int) -> tuple[Any, list[tuple[str, str, str]]]:
        """`_parse` of a value that this walked over."""
        try:
            return _parse(blob)
        except (RecursionError, ValueError) as error:
            self._refuse_value("a value", offset, error)

    def _refuse_value(self, what: str, offset: int, error: RecursionError | ValueError) -> NoReturn:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DetectionsError(
            f"{self._name}: {what}, at byte {offset}, cannot be read: {reason}.", hint=_EXPORT_HINT
        ) from error

    def members(self) -> Iterator[str]:
        """The keys of the document's object; the caller walks over each value."""
        self._take("{", "an object ({)")
        if self._peek() == "}":
            self._at += 1
        else:
            while True:
                if self._peek() != '"':
                    self._fail("a key in double quotes")
                key, _ = self.parse(*self.value("a key"))
                self._take(":", "a colon after the key")
                yield str(key)
                if self._take(",}", "a comma or the end of the object (})") == "}":
                    break
        if self._peek():
            self._fail("nothing after the document")

    def at_list(self) -> bool:
        """Whether the next value is a list."""
        return self._peek() == "["

    def items(self) -> Iterator[tuple[bytes, int]]:
        """The items of the list that comes next, each as `value`."""
        self._take("[", "a list ([)")
        if self._peek() == "]":
            self._at += 1
            return
        while True:
            yield self.value("a frame")
            if self._take(",]", "a comma or the end of frames (])") == "]":
                return
