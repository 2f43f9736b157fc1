"""Hashes of weights files, which are computed once, and where weights were used before."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

import orjson

from gallery_db.atomic_files import atomic_path
from gallery_db.regular_files import feed_digest
from tracking.cache_folder import cache_dir
from tracking.errors import WeightsError

__all__ = ["cache_dir", "openvino_xml", "remembered_weights", "weights_sha256"]


def openvino_xml(path: Path) -> Path:
    """Return the ``.xml`` of an OpenVINO model, given the file or its ``*_openvino_model`` folder.

    Raises:
        WeightsError: The folder has no ``.xml``, or more than one.
    """
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.xml"))
    if len(found) != 1:
        raise WeightsError(f"{path}: expected one OpenVINO .xml file in the folder, found {len(found)}.")
    return found[0]


def _files_of_model(path: Path) -> list[Path]:
    """Return the files that make up a model: one, or the two of OpenVINO."""
    path = openvino_xml(path)
    binary = path.with_suffix(".bin")
    return [path, binary] if path.suffix.lower() == ".xml" and binary.is_file() else [path]


def _read_index(index: Path) -> dict[str, list[object]]:
    try:
        content = orjson.loads(index.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _index_path() -> Path:
    return cache_dir() / "hashes.json"


def remembered_weights(sha256: str) -> list[Path]:
    """Return the paths from which this machine used weights with that hash. The files may be gone or changed."""
    return [
        Path(path) for path, entry in _read_index(_index_path()).items() if isinstance(entry, list) and sha256 in entry
    ]


def weights_sha256(path: Path) -> str:
    """Return the SHA-256 of a weights file as 64 hex digits; of an OpenVINO model, over its ``.xml`` then its ``.bin``.

    Hashes are stored in the cache folder by path, size and modification time, so that each is computed once. A cache
    that cannot be written is not an error.

    Raises:
        WeightsError: The file cannot be read.
    """
    try:
        parts = [part.resolve() for part in _files_of_model(path)]
        stamp: list[object] = []
        for part in parts:
            status = part.stat()
            stamp += [status.st_size, status.st_mtime_ns]
        index = _index_path()
        key = str(parts[0])
        known = _read_index(index).get(key)
        if isinstance(known, list) and known[:-1] == stamp and isinstance(known[-1], str) and len(known[-1]) == 64:
            return known[-1]
        digest = hashlib.sha256()
        for part in parts:
            feed_digest(digest, part)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}.") from error
    with contextlib.suppress(OSError):
        index.parent.mkdir(parents=True, exist_ok=True)
        # Read again: another process may have added an entry in the meantime.
        entries = {name: entry for name, entry in _read_index(index).items() if Path(name).exists()}
        entries[key] = [*stamp, digest.hexdigest()]
        with atomic_path(index) as part:
            part.write_text(json.dumps(entries), encoding="utf-8")
    return digest.hexdigest()
