"""Writing det-v1, frame by frame, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import orjson

from gallery_db.atomic_files import atomic_path
from tracking.errors import OutputError

__all__ = ["DetectionFile"]


class _Discarded(Exception):  # noqa: N818  it never leaves this module
    pass


class DetectionFile:
    """A det-v1 file, written beside its name and renamed when it is closed.

    Args:
        path: The file; its folder must exist.
        header: Every top-level key but ``frames``, in order.

    Raises:
        OutputError: It cannot be written.

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
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot write {self.path}: {error.strerror or error}.", hint="Its folder must exist and be writable."
        )

    def write(self, frame: Mapping[str, Any]) -> None:
        """Append a frame.

        Raises:
            OutputError: The disk is full or gone.
        """
        try:
            self._file.write((b",\n" if self.frames else b"\n") + orjson.dumps(frame))
        except OSError as error:
            raise self._failed(error) from error
        self.frames += 1

    def close(self, note: str | None = None) -> None:
        """Complete the file and give it its name.

        Args:
            note: Why it holds fewer frames than it was to hold, kept in it as ``note``.

        Raises:
            OutputError: The disk is full or gone.
        """
        if self._closed:
            return
        self._closed = True
        try:
            with self._stack:
                self._file.write(b"\n]" + (b"" if note is None else b', "note": ' + orjson.dumps(note)) + b"}\n")
        except OSError as error:
            raise self._failed(error) from error

    def discard(self) -> None:
        """Leave what was there before, and nothing else."""
        if self._closed:
            return
        self._closed = True
        with suppress(_Discarded), self._stack:
            raise _Discarded
