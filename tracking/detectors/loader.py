"""A detector from a file or a name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from tracking.detectors.base import Detector, DetectorOptions
from tracking.errors import DetectorError

__all__ = ["available_detectors", "load_detector"]

_SUFFIXES = (".onnx", ".pt")


def available_detectors() -> list[tuple[str, str]]:
    """What ``--detect`` and ``--weights`` take, each with what it is."""
    installed = "" if find_spec("ultralytics") else "; needs: pip install ultralytics"
    return [
        ("builtin", "OpenCV's people detector (HOG), needs no file"),
        ("FILE.onnx", "YOLO (v5, v8 to v12, end to end) or YOLOX, run by ONNX Runtime"),
        ("FILE.pt", f"Ultralytics weights{installed}"),
    ]


def load_detector(options: DetectorOptions, *, notify: Callable[[str], None] | None = None) -> Detector:
    """Load a detector.

    Args:
        options: Which one, and how to run it.
        notify: Takes one-line messages for the user.

    Raises:
        OptionError: Options that make no sense, or classes that the model does not know.
        DetectorError: The file is not there, is no detector, or cannot run here.
    """
    options.validate()
    if str(options.weights) == "builtin":
        from tracking.detectors.opencv_people import OpenCvPeople

        return OpenCvPeople(options)
    path = _find(options)
    if path.suffix.lower() == ".onnx":
        from tracking.detectors.onnx_detector import OnnxDetector

        onnx = OnnxDetector(path, options)
        _tell(onnx.notices, notify)
        return onnx
    from tracking.detectors.ultralytics_detector import UltralyticsDetector

    ultralytics = UltralyticsDetector(path, options)
    _tell(ultralytics.notices, notify)
    return ultralytics


def _tell(notices: list[str], notify: Callable[[str], None] | None) -> None:
    for notice in notices:
        if notify is not None:
            notify(notice)


def _find(options: DetectorOptions) -> Path:
    """The file that a path or a bare name means."""
    path, models_dir = Path(options.weights).expanduser(), Path(options.models_dir)
    candidates = [path]
    if path.parent == Path():
        candidates += [models_dir / name for name in (path.name, *(path.name + suffix for suffix in _SUFFIXES))]
    for candidate in candidates:
        if candidate.is_file():
            if candidate.suffix.lower() not in _SUFFIXES:
                raise DetectorError(
                    f"detector {candidate}: expected a file that ends in {' or '.join(_SUFFIXES)}.",
                    hint="See: gtrack list detectors",
                )
            return candidate
    near = [p.name for folder in {path.parent, models_dir} if folder.is_dir() for p in folder.iterdir()]
    close = difflib.get_close_matches(path.name, ["builtin", *(n for n in near if n.endswith(_SUFFIXES))], n=3)
    raise DetectorError(
        f"detector {options.weights}: there is no such file"
        + (f", and none of that name in {models_dir}." if path.parent == Path() else "."),
        hint=f"Did you mean {', '.join(close)}?" if close else "Give a .onnx or .pt file, or builtin.",
    )
