"""Detectors: what finds people (and whatever else) in a frame, so that a bare video is enough.

`load_detector` makes one of a file or a name; anything that has the methods of `Detector` is one. Importing
this package is cheap: OpenCV, ONNX Runtime and Ultralytics are loaded where they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracking.detectors.base import Detector as Detector
    from tracking.detectors.base import DetectorOptions as DetectorOptions
    from tracking.detectors.base import StageSeconds as StageSeconds
    from tracking.detectors.loader import available_detectors as available_detectors
    from tracking.detectors.loader import load_detector as load_detector

_HOMES = {
    "Detector": "tracking.detectors.base",
    "DetectorOptions": "tracking.detectors.base",
    "StageSeconds": "tracking.detectors.base",
    "available_detectors": "tracking.detectors.loader",
    "load_detector": "tracking.detectors.loader",
}

__all__ = ["Detector", "DetectorOptions", "StageSeconds", "available_detectors", "load_detector"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
