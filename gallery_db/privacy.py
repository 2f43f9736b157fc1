"""Usage reports of the libraries below gtrack, all switched off: gtrack contacts nobody unless it is asked to.

Some libraries report their use over the network, or look for updates, unless an environment variable forbids it. They
read it when they are imported or when they first work, so it is set when `gallery_db` is imported, which every module
of gtrack does. A variable that is already set stays as it is, so that a user can allow the reports of a library.

OpenVINO has no such variable, and reports each import; `import_openvino` is how gtrack imports it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

__all__ = ["NO_REPORTS", "ULTRALYTICS_OFFLINE", "import_openvino", "set_defaults"]

NO_REPORTS: Mapping[str, str] = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime: reports, a device id and a database in the user's cache
    "ANONYMIZED_TELEMETRY": "False",  # Chroma, which reported through PostHog
    "HF_HUB_DISABLE_TELEMETRY": "1",  # Hugging Face, below Chroma and timm
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
}
"""Environment variables that switch reports off."""

ULTRALYTICS_OFFLINE: Mapping[str, str] = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}
"""Those of Ultralytics. They would change other programs, so they are set only before gtrack itself imports it."""


def set_defaults(variables: Mapping[str, str] = NO_REPORTS) -> None:
    """Set environment variables that are not set yet."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, and return the module.

    OpenVINO takes its own stub in place of `openvino_telemetry` where that package is missing, so it is hidden during
    the import. Where the program has imported OpenVINO before, nothing changes.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    name = "openvino_telemetry"
    modules: dict[str, Any] = sys.modules
    missing = object()
    before = modules.get(name, missing)
    modules[name] = None  # Python then raises ImportError for the name.
    try:
        return import_module("openvino")
    finally:
        if before is missing:
            del modules[name]
        else:
            modules[name] = before
