"""Whether a weights file may be loaded: files that can run code need the consent of a person.

A TorchScript archive is a program: its code runs when it is loaded and when it is used, and can create or overwrite
files. A TensorRT engine can hold compiled plugins, and an Ultralytics ``.pt`` file is a pickle, which can run anything.
Such a file is loaded in two cases only:

- A person names that very file and says so: ``trust_weights=True``, `gtrack run --trust-weights`. gtrack then
  remembers the SHA-256 of the file on this machine.
- Its SHA-256 was remembered before, so or because `gtrack export reid` made the file here.

A file that a folder scan finds, or to which a gallery points, is therefore never reason enough: a person who can put a
file into ``models``, or pass on a gallery, could otherwise run code. The hash is that of the file's own bytes, computed
at each load. The stamp of an export does not count, because every person can write one. ``.onnx``, OpenVINO, TFLite,
and checkpoints that hold nothing but tensors are data, and need no trust.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import orjson

from gallery_db.address import state_dir
from gallery_db.atomic_files import atomic_path
from gallery_db.logs import get_logger
from gallery_db.regular_files import feed_digest
from gallery_db.times import utc_now
from tracking.errors import WeightsError
from tracking.reid.checkpoint import is_torchscript

__all__ = ["check_trust", "executable_format", "is_trusted", "names_file", "remember_trust", "trust_list_path"]

_log = get_logger("reid")

TORCHSCRIPT_SUFFIXES = (".torchscript", ".ts")
CHECKPOINT_SUFFIXES = (".pt", ".pth")


def executable_format(weights: Path) -> str | None:
    """Return the format of ReID weights that can run code, with its article; None if the format is data."""
    suffix = weights.suffix.lower()
    if weights.is_dir():
        return None
    if suffix == ".engine":
        return "a TensorRT engine"
    if suffix in TORCHSCRIPT_SUFFIXES or (suffix in CHECKPOINT_SUFFIXES and is_torchscript(weights)):
        return "a TorchScript program"
    return None


def names_file(given: str | Path | None, path: Path) -> bool:
    """Whether the user's words for the weights name this very file, and not only a part of its name."""
    return given is not None and Path(given).name == path.name


def trust_list_path() -> Path:
    """Return the path of the list of trusted files, in the state folder."""
    return state_dir() / "trusted-weights.json"


def _read_list() -> dict[str, Any]:
    """Return the trusted files by SHA-256; none if the list cannot be read, or if other users may write to it."""
    try:
        with trust_list_path().open("rb") as stream:
            status = os.fstat(stream.fileno())
            if os.name == "posix" and (status.st_mode & 0o022 or status.st_uid not in (0, os.geteuid())):
                _log.warning("%s is ignored: other users may write to it", trust_list_path())
                return {}
            content = orjson.loads(stream.read())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _sha256(path: Path) -> str:
    # Not `weights_sha256`, which recognises a file by its size and time: both can be forged.
    digest = hashlib.sha256()
    try:
        feed_digest(digest, path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()


def is_trusted(path: Path) -> bool:
    """Whether a file with these bytes was trusted on this machine before.

    Raises:
        WeightsError: The file cannot be read.
    """
    trusted = _read_list()
    return bool(trusted) and _sha256(path) in trusted


def remember_trust(path: Path) -> None:
    """Add a file to the list of trusted files. If the list cannot be written, the file is asked for again next time.

    Raises:
        WeightsError: The file cannot be read.
    """
    digest = _sha256(path)
    trusted = _read_list()
    if digest in trusted:
        return
    target = trust_list_path()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as part:
            part.chmod(0o600)
            trusted[digest] = {"path": str(path.resolve()), "trusted_at": utc_now()}
            part.write_text(json.dumps(trusted, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        _log.warning("%s cannot be written: %s", target, error.strerror or error)


def check_trust(path: Path, executable: str | None, *, consent: bool) -> None:
    """Check that a weights file may be loaded, and remember a person's consent.

    Args:
        path: The file.
        executable: Its format if that can run code, with its article, such as ``"a TensorRT engine"``; else None.
        consent: Whether a person named this very file and said that it is to be trusted.

    Raises:
        WeightsError: The file can run code, and is not trusted.
    """
    if executable is None:
        return
    if consent:
        remember_trust(path)
    elif not is_trusted(path):
        raise WeightsError(
            f"{path}: expected weights that are data, found {executable}, which can run any code on this machine.",
            hint="If you trust its author, give this file's path as the weights, with `trust_weights=True`: once, "
            "gtrack then remembers its SHA-256. Otherwise use an .onnx file, or a checkpoint of tensors.",
        )
