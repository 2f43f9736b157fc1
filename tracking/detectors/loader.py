"""Load a detector from a file or by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from gallery_db.suggestions import did_you_mean
from tracking.detectors.base import Detector, DetectorOptions
from tracking.errors import DetectorError, WeightsError
from tracking.models.catalogue import DEFAULT_DETECTOR, find_model, models
from tracking.models.hugging_face import is_hub_reference
from tracking.models.resolve import resolve_published
from tracking.progress import progress_bar
from tracking.reid.trust import check_trust, names_file

__all__ = ["available_detectors", "load_detector"]

_SUFFIXES = (".onnx", ".pt")
_LIST_HINT = "See: gtrack list detectors"
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
        ("NAME", f"a published model, such as {DEFAULT_DETECTOR}, with --download; see: gtrack models list"),
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
    """Return the file for a path or a name.

    Raises:
        DetectorError: There is no such file, it is not of a known format, or it cannot be downloaded.
    """
    if is_hub_reference(options.weights):
        return _published(options)
    path, models_dir = Path(options.weights).expanduser(), Path(options.models_dir)
    candidates = [path]
    if path.parent == Path():
        candidates += [models_dir / name for name in (path.name, *(path.name + suffix for suffix in _SUFFIXES))]
    for candidate in candidates:
        if candidate.is_file():
            if candidate.suffix.lower() not in _SUFFIXES:
                raise DetectorError(
                    f"detector {candidate}: expected a file that ends in {' or '.join(_SUFFIXES)}.",
                    hint=_LIST_HINT,
                )
            return candidate
    if find_model(str(options.weights), "detector"):
        return _published(options)
    if find_model(str(options.weights), "reid"):
        raise DetectorError(f"{options.weights} is a ReID model; expected a detector.", hint=_LIST_HINT)
    near = [p.name for folder in {path.parent, models_dir} if folder.is_dir() for p in folder.iterdir()]
    known = [*_names(), *(n for n in near if n.endswith(_SUFFIXES))]
    raise DetectorError(
        f"detector {options.weights}: there is no such file"
        + (f", and none of that name in {models_dir}." if path.parent == Path() else "."),
        hint=did_you_mean(
            path.name,
            known,
            f"Give a .onnx or .pt file, builtin, or a published model: {DEFAULT_DETECTOR}, with `download=True`.",
        ),
    )


def _names() -> list[str]:
    return ["builtin", *(model.name for model in models("detector"))]


def _published(options: DetectorOptions) -> Path:
    """Return the file of a published model, which is downloaded if that is allowed."""
    try:
        with progress_bar("downloading", "bytes", enabled=options.download) as progress:
            path = resolve_published(
                options.weights, "detector", options.models_dir, download=options.download, progress=progress
            )
    except WeightsError as error:
        raise DetectorError(error.message, hint=error.hint) from error
    assert path is not None
    if path.suffix.lower() not in _SUFFIXES:
        raise DetectorError(
            f"detector {options.weights}: expected a file that ends in {' or '.join(_SUFFIXES)}.", hint=_LIST_HINT
        )
    return path
