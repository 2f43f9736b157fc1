"""The track-v1 file of a run: written frame by frame, corrected, and read back."""

from __future__ import annotations

import errno
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import orjson

from gallery_db.atomic_files import Part, atomic_path
from tracking.errors import OutputError

__all__ = ["TrackFile"]

_SPOOLED_BYTES = 4 * 1024 * 1024
"""Bytes of an unsaved document that are held in memory before it goes to a temporary file."""
_WRITE_BYTES = 64 * 1024
"""Bytes of frames that are collected before they are written."""


class TrackFile:
    """Writes track-v1 frame by frame, in bounded memory, and reads it back.

    Args:
        header: Every top-level key but ``frames``, in order.
        path: Where the file goes; None for a document that is not saved, but kept for `payload`.

    Attributes:
        completed: Whether the file is complete under its name.
    """

    def __init__(self, header: Mapping[str, Any], path: Path | None) -> None:
        self.path = path
        self._part: Part | None = None
        self._file: IO[bytes]
        # Whole frames are collected here, and the file itself has no buffer: after a failed write, the file is cut
        # back to whole frames and completed.
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._written = 0
        self._frames = 0
        self._closed = False
        self.completed = False
        self.extra: dict[str, Any] = {}
        """Further top-level keys, known only after the last frame; they follow the frames."""
        try:
            if path is None:
                self._file = tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES)  # noqa: SIM115
            else:
                self._part = Part(path)
                self._file = self._part.path.open("w+b", buffering=0)
        except OSError as error:
            if self._part is not None:
                self._part.discard()
            raise self._write_error(error) from error
        # A payload that is never read must not leave its temporary file open.
        weakref.finalize(self, _close_quietly, self._file)
        try:
            self._write(self._json(dict(header), "the header")[:-1] + b', "frames": [')
        except OSError as error:
            self._discard()
            raise self._write_error(error) from error
        except OutputError:
            self._discard()
            raise

    def _write_error(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {self.path or 'the temporary results'}: {error.strerror or error}.")

    def write(self, frame: Mapping[str, Any]) -> None:
        """Append a frame.

        Raises:
            OutputError: The disk is full or gone.
        """
        text = (b",\n" if self._frames else b"\n") + self._json(frame, f"frame {frame.get('frame')}")
        self._frames += 1
        self._pending.append(text)
        self._pending_bytes += len(text)
        if self._pending_bytes >= _WRITE_BYTES:
            try:
                self._flush()
            except OSError as error:
                raise self._write_error(error) from error

    def _json(self, value: Mapping[str, Any], what: str) -> bytes:
        try:
            return orjson.dumps(value)
        except TypeError as error:  # orjson reads values that are nested more deeply than it writes
            raise OutputError(
                f"cannot write {self.path or 'the temporary results'}: {what} has a value of the detections file that "
                f"cannot be written as JSON: {error}.",
                hint="Detections may hold further values, but not nested by hundreds of levels; remove them.",
            ) from error

    def _flush(self) -> None:
        """Write the pending frames, as many whole ones as there is room for."""
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        try:
            self._write(b"".join(pending))
        except OSError:
            self._truncate()
            for text in pending:
                try:
                    self._write(text)
                except OSError:
                    self._truncate()
                    raise

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = self._file.write(rest)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            rest = rest[written:]
        self._written += len(data)

    def _truncate(self) -> None:
        self._file.seek(self._written)
        self._file.truncate()

    def _discard(self) -> None:
        _close_quietly(self._file)
        if self._part is not None:
            self._part.discard()

    def close(self) -> None:
        """Complete the file up to the last frame written, and give it its name.

        Raises:
            OutputError: There is no room for the last frames. The file is then complete up to the frames before them,
                or removed where there is no room for its end either.
        """
        if self._closed:
            return
        self._closed = True
        failure: OSError | None = None
        try:
            try:
                self._flush()
            except OSError as error:
                failure = error
            self._write(_end(self.extra))
            if self._part is not None:
                self._file.close()
                self._part.finish()
                self.completed = True
        except OSError as error:
            self._discard()
            raise self._write_error(error) from error
        if failure is not None:
            raise self._write_error(failure) from failure

    def documents(self) -> Iterator[dict[str, Any]]:
        """Yield the frames of the completed file in their order.

        Raises:
            OutputError: The file cannot be read.
        """
        self.close()
        try:
            if self.path is not None:
                with self.path.open("rb") as stream:
                    yield from _frames_of(stream)
            else:
                self._file.seek(0)
                yield from _frames_of(self._file)
        except OSError as error:
            raise OutputError(f"cannot read {self.path or 'the temporary results'} back: {error.strerror}.") from error

    def rewrite(self, correct: Callable[[dict[str, Any]], None]) -> None:
        """Correct every frame of the completed file, in bounded memory.

        A new file is written beside the old one, and replaces it when it is complete.

        Args:
            correct: Changes a frame's document in place.

        Raises:
            OutputError: The disk is full or gone.
        """
        self.close()
        try:
            if self.path is not None:
                with atomic_path(self.path) as part, self.path.open("rb") as old, part.open("wb") as new:
                    _rewrite(old, new, correct, self.extra)
            else:
                file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES)  # noqa: SIM115
                self._file.seek(0)
                try:
                    _rewrite(self._file, file, correct, self.extra)
                except BaseException:
                    file.close()
                    raise
                weakref.finalize(self, file.close)
                self._file.close()
                self._file = file
        except OSError as error:
            raise self._write_error(error) from error

    @cached_property
    def payload(self) -> dict[str, Any]:
        """The whole track-v1 document; read when first used, so that a run needs no memory for it.

        Raises:
            OutputError: The saved file cannot be read any more.
        """
        self.close()
        try:
            if self.path is not None:
                data = self.path.read_bytes()
            else:
                self._file.seek(0)
                data = self._file.read()
                self._file.close()
        except OSError as error:
            raise OutputError(f"cannot read {self.path} back: {error.strerror}.") from error
        payload: dict[str, Any] = orjson.loads(data)
        return payload


def _frames_of(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the frames of a file of `TrackFile`: a line for the header, one for each frame, and one for the end."""
    stream.readline()
    for line in stream:
        if not line.startswith(b"]"):
            frame: dict[str, Any] = orjson.loads(line.rstrip().rstrip(b","))
            yield frame


def _rewrite(
    old: IO[bytes], new: IO[bytes], correct: Callable[[dict[str, Any]], None], extra: Mapping[str, Any]
) -> None:
    new.write(old.readline().rstrip(b"\n"))
    separator = b"\n"
    old.seek(0)
    for frame in _frames_of(old):
        correct(frame)
        new.write(separator + orjson.dumps(frame))
        separator = b",\n"
    new.write(_end(extra))
    new.flush()


def _end(extra: Mapping[str, Any]) -> bytes:
    """Return the last line of the file: the end of the frames, further top-level keys, and the end of the document."""
    return b"\n]" + (b", " + orjson.dumps(dict(extra))[1:] if extra else b"}") + b"\n"


def _close_quietly(file: IO[bytes]) -> None:
    with suppress(OSError):
        file.close()
