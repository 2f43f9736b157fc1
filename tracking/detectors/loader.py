"""Load a detector from a file or by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from gallery_db.suggestions import did_you_mean
from tracking.detectors.base import Detector, DetectorOptions
from tracking.errors import DetectorError, WeightsError
from tracking.reid.trust import check_trust, names_file

__all__ = ["available_detectors", "load_detector"]

_SUFFIXES = (".onnx", ".pt")
_TRUST_HINT = (
    "If you trust its author, give this file's path as the detector, with `trust_weights=True`: once, gtrack then "
    "remembers its SHA-256. Otherwise use an .onnx export."
)


def available_detectors() -> list[tuple[str, str]]:
    """Return the values for ``--detect`` and ``--weights``, each with a description."""
    installed = "" if find_spec("ultralytics") else "; needs: pip install ultralytics"
    return [
        ("builtin", "OpenCV's people detector (HOG), needs no file"),
        ("FILE.onnx", "YOLO (v5, v8 to v12, end-to-end) or YOLOX, run by ONNX Runtime"),
        ("FILE.pt", f"Ultralytics weights, with --trust-weights{installed}"),
    ]


def load_detector(
    options: DetectorOptions, *, notify: Callable[[str], None] | None = None, concurrent: bool = False
) -> Detector:
    """Load a detector.

    Args:
        options: The detector and its options.
        notify: Called with one-line messages for the user.
        concurrent: Whether several threads may call `detect` at the same time. A detector that gains from it then has
            an attribute `workers`: the number of threads.

    Raises:
        OptionError: An option is out of its range, or the model does not have a class that was asked for.
        DetectorError: The file does not exist, is not a detector, cannot run on this machine, or can run code and is
            not trusted.
    """
    options.validate()
    if str(options.weights) == "builtin":
        from tracking.detectors.opencv_people import OpenCvPeople

        return OpenCvPeople(options)
    path = _find_weights(options)
    if path.suffix.lower() == ".onnx":
        from tracking.detectors.onnx_detector import OnnxDetector

        onnx = OnnxDetector(path, options, concurrent=concurrent)
        _forward(onnx.notices, notify)
        return onnx
    try:
        check_trust(
            path,
            "a pickle of Ultralytics",
            consent=options.trust_weights and names_file(options.weights, path),
        )
    except WeightsError as error:
        raise DetectorError(error.message, hint=_TRUST_HINT) from error
    from tracking.detectors.ultralytics_detector import UltralyticsDetector

    ultralytics = UltralyticsDetector(path, options)
    _forward(ultralytics.notices, notify)
    return ultralytics


def _forward(notices: list[str], notify: Callable[[str], None] | None) -> None:
    """Pass a detector's notices on to the user."""
    for notice in notices:
        if notify is not None:
            notify(notice)


def _find_weights(options: DetectorOptions) -> Path:
    """Return the file for a path or a bare name.

    Raises:
        DetectorError: There is no such file, or it is not of a known format.
    """
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
    known = ["builtin", *(n for n in near if n.endswith(_SUFFIXES))]
    raise DetectorError(
        f"detector {options.weights}: there is no such file"
        + (f", and none of that name in {models_dir}." if path.parent == Path() else "."),
        hint=did_you_mean(path.name, known, "Give a .onnx or .pt file, or builtin."),
    )
