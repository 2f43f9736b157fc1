"""ReID embedders: from image crops to unit vectors, whatever the network's format.

Nothing heavy is imported here: torch, ONNX Runtime, OpenCV and BoxMOT are loaded when an embedder is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracking.reid.base import NetworkEmbedder
    from tracking.reid.builtin import BUILTIN_NAME, BUILTIN_SHA256, BuiltinEmbedder
    from tracking.reid.cache import cache_dir, weights_sha256
    from tracking.reid.crops import CropBatch, clip_boxes, crop
    from tracking.reid.elsewhere import embedding_model
    from tracking.reid.export import ExportOptions, ExportReport, export_reid
    from tracking.reid.export_formats import FORMATS
    from tracking.reid.loader import RUNTIMES, load_embedder
    from tracking.reid.preprocessing import Preprocessing, default_preprocessing, read_sidecar
    from tracking.reid.resolve import (
        WEIGHTS_SUFFIXES,
        find_trained_weights,
        find_weights_by_hash,
        resolve_weights,
    )

__all__ = [
    "BUILTIN_NAME",
    "BUILTIN_SHA256",
    "FORMATS",
    "RUNTIMES",
    "WEIGHTS_SUFFIXES",
    "BuiltinEmbedder",
    "CropBatch",
    "ExportOptions",
    "ExportReport",
    "NetworkEmbedder",
    "Preprocessing",
    "cache_dir",
    "clip_boxes",
    "crop",
    "default_preprocessing",
    "embedding_model",
    "export_reid",
    "find_trained_weights",
    "find_weights_by_hash",
    "load_embedder",
    "read_sidecar",
    "resolve_weights",
    "weights_sha256",
]

_MODULES = {
    "BUILTIN_NAME": "builtin",
    "BUILTIN_SHA256": "builtin",
    "BuiltinEmbedder": "builtin",
    "CropBatch": "crops",
    "ExportOptions": "export",
    "ExportReport": "export",
    "FORMATS": "export_formats",
    "NetworkEmbedder": "base",
    "Preprocessing": "preprocessing",
    "RUNTIMES": "loader",
    "WEIGHTS_SUFFIXES": "resolve",
    "cache_dir": "cache",
    "clip_boxes": "crops",
    "crop": "crops",
    "default_preprocessing": "preprocessing",
    "embedding_model": "elsewhere",
    "export_reid": "export",
    "find_trained_weights": "resolve",
    "find_weights_by_hash": "resolve",
    "load_embedder": "loader",
    "read_sidecar": "preprocessing",
    "resolve_weights": "resolve",
    "weights_sha256": "cache",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"tracking.reid.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
