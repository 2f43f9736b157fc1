"""The sidecar of a weights file: preprocessing and architecture that the user states beside the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gallery_db.limits import MAX_SIDECAR_BYTES
from gallery_db.regular_files import read_regular
from tracking.errors import WeightsError
from tracking.json_stream import show
from tracking.reid.input_spec import Preprocessing

__all__ = ["PREPROCESSING_PARSERS", "Sidecar", "read_sidecar", "sidecar_path"]


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Contents of ``<weights>.gtrack.json``: preprocessing fields, and the architecture of a ``.pt`` checkpoint.

    Attributes:
        path: The sidecar file.
        fields: The `Preprocessing` fields that it sets.
        arch: Name of the architecture, if it gives one.
    """

    path: Path
    fields: Mapping[str, Any]
    arch: str | None = None


def sidecar_path(weights: Path) -> Path:
    """Return the path of the weights' sidecar: ``<weights>.gtrack.json`` beside them."""
    return weights.with_name(weights.name + ".gtrack.json")


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("expected an integer")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("expected a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("expected a number that fits into 64 bits") from None


def _three_numbers(value: Any) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("expected a list of three numbers")
    first, second, third = (_number(item) for item in value)
    return first, second, third


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("expected a string that is not empty")
    return value


PREPROCESSING_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "height": _integer,
    "width": _integer,
    "color": _text,
    "scale": _number,
    "mean": _three_numbers,
    "std": _three_numbers,
    "interpolation": _text,
    "resize": _text,
}
"""Functions that check the JSON values of the fields of `Preprocessing`, and raise ValueError."""
_PARSERS = {**PREPROCESSING_PARSERS, "arch": _text}


def read_sidecar(weights: Path) -> Sidecar | None:
    """Read ``<weights>.gtrack.json``. Return None if it does not exist.

    All keys are optional: ``height``, ``width`` (integers), ``color``, ``interpolation``, ``resize``, ``arch``
    (strings), ``scale`` (a number), ``mean``, ``std`` (lists of three numbers). See `Preprocessing` for their meaning.

    Raises:
        WeightsError: The file is not a JSON object, or has an unknown key or a value of a wrong type or range.
    """
    path = sidecar_path(weights)
    try:
        content = orjson.loads(read_regular(path, MAX_SIDECAR_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # orjson's errors say line and column; nested too deeply is one of them
        raise WeightsError(f"{path}: cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: expected a JSON object, found {type(content).__name__}.")
    fields: dict[str, Any] = {}
    for key, value in content.items():
        if key == "export":  # The export stamp, which `tracking.reid.stamp` reads.
            continue
        if key not in _PARSERS:
            raise WeightsError(f"{path}: unknown key {show(key)}.", hint=f"Known keys: {', '.join(_PARSERS)}.")
        try:
            fields[key] = _PARSERS[key](value)
        except ValueError as error:
            raise WeightsError(f"{path}: {key}: {error}, found {show(value)}.") from None
    arch = fields.pop("arch", None)
    try:
        Preprocessing(**fields)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}.") from None
    return Sidecar(path, fields, arch)
