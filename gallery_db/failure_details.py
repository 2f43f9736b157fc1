"""Keep the details of an unexpected error in a file of the user's, for a report to gtrack's developers."""

from __future__ import annotations

import os
import platform
import secrets
import shlex
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gallery_db.address import state_dir
from gallery_db.distribution import DISTRIBUTION
from gallery_db.masking import mask_addresses
from gallery_db.visible_text import visible

__all__ = ["failure_details", "write_failure_details"]

_KEPT = 10  # files; older ones are removed
_PACKAGES = (
    DISTRIBUTION, "numpy", "chromadb", "boxmot", "torch", "onnxruntime", "openvino", "ultralytics", "opencv-python",
    "opencv-python-headless", "pillow", "pyarrow", "matplotlib", "orjson", "scipy", "typer", "rich",
)  # fmt: skip


def failure_details(error: BaseException, command: Sequence[str]) -> str:
    """Return what a developer needs to know: the command, versions and the traceback, without passwords.

    No values of variables are in it: they may be of people.

    Args:
        error: The error.
        command: The program and its arguments.
    """
    lines = [
        f"time: {time.strftime('%Y-%m-%dT%H:%M:%S%z')}",
        f"command: {shlex.join(command)}",
        f"system: {platform.platform()}, Python {platform.python_version()}",
        f"packages: {', '.join(_versions())}",
        "",
        "".join(traceback.format_exception(type(error), error, error.__traceback__)),
    ]
    return visible(mask_addresses("\n".join(lines)), keep="\n")


def write_failure_details(error: BaseException, command: Sequence[str]) -> Path | None:
    """Write `failure_details` to a file in ``failures`` of the state folder, which only the user can read.

    The last ten files stay.

    Returns:
        The file; None where it cannot be written.
    """
    folder = state_dir() / "failures"
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = failure_details(error, command)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except (OSError, MemoryError, RecursionError, ValueError):
        return None
    with suppress(OSError):
        for old in sorted(folder.glob("*.txt"))[:-_KEPT]:
            old.unlink(missing_ok=True)
    return path


def _versions() -> list[str]:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return found
