"""Results of an export, and export_meta.json, which keeps them."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from gallery_db.distribution import gtrack_version
from gallery_db.model import EmbeddingModel
from tracking.errors import WeightsError
from tracking.reid.cache import weights_sha256
from tracking.reid.devices import Device
from tracking.reid.export.comparison import Comparison
from tracking.reid.export.options import ExportOptions
from tracking.reid.input_spec import Preprocessing

__all__ = ["META", "ExportReport", "Exported", "earlier_exports", "export_fields", "meta_document"]

META = "export_meta.json"
"""Name of the file in an export folder that describes the exports."""
_PACKAGES = ("torch", "boxmot", "onnx", "onnxruntime", "openvino", "onnxslim", "onnxsim", "tensorrt")


@dataclass(frozen=True, slots=True)
class Exported:
    """Result of the export to one format.

    Attributes:
        format: Name of the format.
        path: The file, or OpenVINO's folder; None if the export failed.
        error: Why it failed; None if it did not.
        hint: What to do about that.
        sha256: Hash of the file; of an OpenVINO model, over its ``.xml`` then its ``.bin``.
        bytes: Size of the file or folder.
        precision: ``"fp32"`` or ``"fp16"``.
        same_space: Whether galleries accept it as its source.
        comparison: Comparison of its embeddings with the source's.
        seconds: Time to write, compare and load it.
        crops_per_second: Speed by batch size; None if it was not timed.
    """

    format: str
    path: Path | None = None
    error: str | None = None
    hint: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    precision: str = "fp32"
    same_space: bool = False
    comparison: Comparison | None = None
    seconds: float = 0.0
    crops_per_second: dict[int, float] | None = None

    @property
    def ok(self) -> bool:
        """Whether the export was made and passed the comparison."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class ExportReport:
    """Results of `export_reid`.

    Attributes:
        folder: The export folder.
        meta: Path of ``export_meta.json`` in it.
        source: The weights.
        source_runtime: Runtime of the weights in the comparison: ``"torch"`` or ``"onnx"``.
        source_crops_per_second: As in `Exported`.
        crops: Description of the crops compared.
        clock: ``"cpu"`` or ``"wall"``: the kind of seconds in crops per second.
        exports: One result for each format, in the order asked for.
    """

    folder: Path
    meta: Path
    source: Path
    source_runtime: str
    source_crops_per_second: dict[int, float] | None
    crops: str
    clock: str
    exports: tuple[Exported, ...]

    @property
    def ok(self) -> bool:
        """Whether the export to each format succeeded."""
        return all(item.ok for item in self.exports)


def _versions() -> dict[str, str]:
    """Return the versions of Python, the platform and the packages that take part in an export."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "gtrack": gtrack_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def meta_document(
    report: ExportReport,
    *,
    options: ExportOptions,
    device: Device,
    model: EmbeddingModel,
    preprocessing: Preprocessing,
    architecture: str | None,
    earlier: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the contents of ``export_meta.json``.

    Args:
        report: The results.
        options: The options of the export.
        device: The device that was used.
        model: The source as galleries know it.
        preprocessing: The source's preprocessing.
        architecture: The source's architecture; None for ONNX.
        earlier: See `earlier_exports`.
    """
    settings = asdict(options)
    settings["out_dir"], settings["formats"] = str(options.out_dir), list(options.formats)
    settings["crops"] = str(options.crops) if options.crops else None
    return {
        "created_at_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "settings": {**settings, "resolved_device": str(device)},
        "versions": _versions(),
        "source": {
            "path": str(report.source.resolve()),
            "sha256": weights_sha256(report.source),
            "identity_sha256": model.sha256,
            "architecture": architecture,
            "dimension": model.dimension,
            "preprocessing": asdict(preprocessing),
            "runtime": report.source_runtime,
            "crops_per_second": report.source_crops_per_second,
        },
        "compared_on": report.crops,
        "clock": report.clock,
        "exports": [export_fields(item) for item in report.exports] + earlier,
    }


def earlier_exports(folder: Path, source: Path, names: Iterable[str]) -> list[dict[str, Any]]:
    """Return the entries of an earlier export of the same source to other formats whose files are unchanged."""
    found = []
    with suppress(OSError, ValueError, KeyError, TypeError, WeightsError):
        content = orjson.loads((folder / META).read_bytes())
        if content["source"]["sha256"] == weights_sha256(source):
            for entry in content["exports"]:
                path = folder / Path(entry["path"]).name if entry["ok"] else None
                if path is not None and entry["format"] not in names and weights_sha256(path) == entry["sha256"]:
                    found.append({**entry, "path": str(path.resolve()), "earlier": True})
    return found


def export_fields(item: Exported) -> dict[str, Any]:
    """Return one result as JSON fields, as in ``export_meta.json``."""
    fields: dict[str, Any] = {"format": item.format, "ok": item.ok}
    if not item.ok:
        return {**fields, "error": item.error, "hint": item.hint}
    assert item.path is not None
    return {
        **fields,
        "path": str(item.path.resolve()),
        "sha256": item.sha256,
        "bytes": item.bytes,
        "precision": item.precision,
        "same_space": item.same_space,
        **(asdict(item.comparison) if item.comparison else {}),
        "seconds": round(item.seconds, 2),
        "crops_per_second": item.crops_per_second,
    }
