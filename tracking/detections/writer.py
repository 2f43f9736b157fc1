"""Write det-v1: a document at once, or frame by frame in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import orjson

from gallery_db.atomic_files import atomic_path
from tracking.errors import OutputError

__all__ = ["DetectionFile", "write_detections"]


class _DiscardError(Exception):
    """Makes `atomic_path` remove the incomplete file. It does not leave this module."""


class DetectionFile:
    """A det-v1 file, written under a temporary name and renamed when it is closed.

    Args:
        path: The file; its folder must exist.
        header: Every top-level key except ``frames``, in order.

    Raises:
        OutputError: The file cannot be written.

    Attributes:
        frames: Number of frames written.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.frames = 0
        self._stack = ExitStack()
        self._closed = False
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder.", hint="Give the name of a .json file.")
        try:
            part = self._stack.enter_context(atomic_path(path))
            self._file = self._stack.enter_context(part.open("wb"))
            self._file.write(orjson.dumps(dict(header))[:-1] + b', "frames": [')
        except OSError as error:
            self.discard()
            raise self._error(error) from error

    def _error(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot write {self.path}: {error.strerror or error}.", hint="Its folder must exist and be writable."
        )

    def write(self, frame: Mapping[str, Any]) -> None:
        """Append a frame.

        Raises:
            OutputError: The file cannot be written, for example because the disk is full.
        """
        try:
            self._file.write((b",\n" if self.frames else b"\n") + orjson.dumps(frame))
        except OSError as error:
            raise self._error(error) from error
        self.frames += 1

    def close(self, note: str | None = None) -> None:
        """Complete the file and rename it.

        Args:
            note: Why the file has fewer frames than planned; written to it as ``note``.

        Raises:
            OutputError: The file cannot be written, for example because the disk is full.
        """
        if self._closed:
            return
        self._closed = True
        try:
            with self._stack:
                self._file.write(b"\n]" + (b"" if note is None else b', "note": ' + orjson.dumps(note)) + b"}\n")
        except OSError as error:
            raise self._error(error) from error

    def discard(self) -> None:
        """Remove the incomplete file. A file that existed before is unchanged."""
        if self._closed:
            return
        self._closed = True
        with suppress(_DiscardError), self._stack:
            raise _DiscardError


def write_detections(document: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a det-v1 document to a file. The file is complete or not there.

    Raises:
        OutputError: The file cannot be written.
    """
    target = Path(path)
    try:
        with atomic_path(target) as part:
            part.write_bytes(orjson.dumps(document) + b"\n")
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}.") from error
