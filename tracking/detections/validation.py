"""Check single detections of det-v1: which are usable, and which values lenient reading repairs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from tracking.errors import DetectionsError
from tracking.json_stream import show

__all__ = [
    "DROP_HINT",
    "MAX_COORDINATE",
    "MAX_INTEGER",
    "MIN_BOX_SIDE",
    "NUMBER_TYPES",
    "REPAIR_HINT",
    "REPAIR_REASONS",
    "CheckedDetection",
    "UnusableDetectionError",
    "as_finite",
    "as_integer",
    "check_detection",
    "check_version",
    "lookup",
]

MAX_COORDINATE = 100_000.0
"""Largest absolute box coordinate, in pixels."""
# Trackers compute in float32, whose values are 0.0078 apart just below 100 000. Within these two limits, a box that has
# an area in float64 has one in float32 as well.
MIN_BOX_SIDE = 0.01
"""Smallest width and height of a box, in pixels."""
MAX_INTEGER = 2**31 - 1
_CLIP_TOLERANCE = 0.01
DROP_HINT = "Correct the detector's export, or pass `lenient=True` to ignore {what}."
REPAIR_HINT = "Correct the detector's export, or pass `lenient=True` to have it repaired."
NUMBER_TYPES = (int, float)


class CheckedDetection(NamedTuple):
    """A checked detection. `repairs` holds the keys that lenient reading changed, with their new values."""

    box: tuple[float, float, float, float]
    score: float
    class_id: int
    det_ind: int
    class_name: str | None
    repairs: dict[str, Any]


class UnusableDetectionError(Exception):
    """A detection cannot be used. It is caught in this package, and becomes a `DetectionsError` or a count."""

    def __init__(self, reason: str, message: str, hint: str = DROP_HINT.format(what="such detections")) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint


def as_finite(value: object) -> float | None:
    """Return a finite JSON number as a float; None for anything else. A bool is not a number."""
    if type(value) not in NUMBER_TYPES:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_integer(value: object) -> int | None:
    """Return a JSON integer (2.0 is one, as in JSON Schema); None for anything else."""
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    return None


def lookup(item: Mapping[str, Any], key: str, alias: str) -> tuple[str, Any, bool]:
    """Return the key that is present (`key` is preferred to `alias`), its value, and whether one is present."""
    if key in item:
        return key, item[key], True
    if alias in item:
        return alias, item[alias], True
    return key, None, False


def check_detection(item: object, index: int, lenient: bool) -> CheckedDetection:
    """Check one detection of a frame.

    Args:
        item: The detection.
        index: Its index in the frame, which a missing ``det_ind`` defaults to.
        lenient: Repair what can be repaired.

    Raises:
        UnusableDetectionError: The detection cannot be used.
    """
    if not isinstance(item, Mapping):
        raise UnusableDetectionError("detection is not an object", f"expected an object, found {show(item)}")
    repairs: dict[str, Any] = {}

    key, value, present = lookup(item, "bbox", "xyxy")
    if not present:
        raise UnusableDetectionError("bbox missing", "bbox is missing; expected [x1, y1, x2, y2] in pixels")
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        raise UnusableDetectionError(
            "bbox is not 4 numbers", f"expected {key} as 4 numbers [x1, y1, x2, y2], found {show(value)}"
        )
    for number in value:
        if type(number) not in NUMBER_TYPES:
            raise UnusableDetectionError(
                "bbox is not 4 numbers", f"expected {key} as 4 numbers [x1, y1, x2, y2], found {show(value)}"
            )
        if abs(number) > MAX_COORDINATE:
            raise UnusableDetectionError(
                "bbox out of range",
                f"expected {key} within {MAX_COORDINATE:g} pixels of the origin, found {show(value)}",
            )
    x1, y1, x2, y2 = (float(number) for number in value)
    if x2 - x1 < MIN_BOX_SIDE or y2 - y1 < MIN_BOX_SIDE:
        raise UnusableDetectionError(
            "bbox without area",
            f"expected {key} [x1, y1, x2, y2] with x1 < x2 and y1 < y2, found {show(value)}: "
            + ("a reversed box" if x2 < x1 or y2 < y1 else "a box of no area"),
        )

    key, value, present = lookup(item, "score", "conf")
    if not present:
        raise UnusableDetectionError("score missing", "score is missing; expected a number in [0, 1]")
    if type(value) not in NUMBER_TYPES:
        raise UnusableDetectionError(
            "score is not a number", f"expected {key} as a number in [0, 1], found {show(value)}"
        )
    if not 0.0 <= value <= 1.0:
        if not -_CLIP_TOLERANCE <= value <= 1.0 + _CLIP_TOLERANCE:
            raise UnusableDetectionError("score outside [0, 1]", f"expected {key} in [0, 1], found {show(value)}")
        if not lenient:
            raise UnusableDetectionError(
                "score clipped to [0, 1]", f"expected {key} in [0, 1], found {show(value)}", REPAIR_HINT
            )
        value = repairs[key] = 0.0 if value < 0.0 else 1.0
    score = float(value)

    key, value, present = lookup(item, "class_id", "class")
    class_id = as_integer(value)
    if value is None:
        if not lenient:
            found = f"{key} is null" if present else "class_id is missing"
            raise UnusableDetectionError(
                "class_id null or missing, taken as -1", f"{found}; expected an integer", REPAIR_HINT
            )
        class_id = repairs[key] = -1
    elif class_id is None or abs(class_id) > MAX_INTEGER:
        raise UnusableDetectionError(
            "class_id is not an integer", f"expected {key} as a 32-bit integer, found {show(value)}"
        )

    value = item.get("det_ind", index)
    det_ind = as_integer(value)
    if det_ind is None or not 0 <= det_ind <= MAX_INTEGER:
        raise UnusableDetectionError(
            "det_ind is not an index", f"expected det_ind as an integer of 0 or more, found {show(value)}"
        )

    class_name = item.get("class_name")
    if class_name is not None and not isinstance(class_name, str):
        if not lenient:
            raise UnusableDetectionError(
                "class_name is not a string",
                f"expected class_name as a string, found {show(class_name)}",
                REPAIR_HINT,
            )
        class_name = repairs["class_name"] = None
    return CheckedDetection((x1, y1, x2, y2), score, class_id, det_ind, class_name, repairs)


REPAIR_REASONS = {
    "score": "score clipped to [0, 1]",
    "conf": "score clipped to [0, 1]",
    "class_id": "class_id null or missing, taken as -1",
    "class": "class_id null or missing, taken as -1",
    "class_name": "class_name is not a string",
}


def check_version(header: Mapping[str, Any], name: str) -> None:
    """Check that a document states that it is det-v1.

    Raises:
        DetectionsError: It states another version, or none.
    """
    version = header.get("schema_version")
    if version == "det-v1":
        return
    if version == "track-v1":
        raise DetectionsError(
            f'{name}: expected detections (schema_version "det-v1"), found "track-v1", the result of a tracking run.',
            hint="Give the det-v1 file that the run used.",
        )
    found = f"found {show(version)}" if "schema_version" in header else "it is missing"
    raise DetectionsError(
        f'{name}: expected schema_version "det-v1", but {found}.',
        hint="Give a det-v1 file: `gtrack schema det-v1` describes it, `gtrack detect` writes one.",
    )
