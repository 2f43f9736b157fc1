"""Read and decode the images of an ingest in a thread, while those before them are embedded and stored."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gallery_db.errors import ImageError
from gallery_db.media.image_process import decode_apart
from gallery_db.media.images import read_image_file
from gallery_db.transfer.embedding import MAX_PICTURE_BYTES
from gallery_db.transfer.folder_scan import ImageFile

__all__ = ["PictureReader", "ReadPicture", "read_ahead"]

_MOST_AHEAD = 256
"""Files that are read ahead at most, whatever their size."""


@dataclass(frozen=True, slots=True)
class ReadPicture:
    """An image file that was read.

    Attributes:
        file: The file.
        content_hash: SHA-256 of its bytes, 64 hex digits; empty if they cannot be read.
        crop: Its picture, (H, W, 3) uint8 BGR; None where it was not decoded.
        problem: Why there is no picture; None if there is one, or it was not wanted.
    """

    file: ImageFile
    content_hash: str = ""
    crop: NDArray[np.uint8] | None = None
    problem: str | None = None


class PictureReader:
    """Reads image files, and decodes the pictures that are not known yet.

    Args:
        is_known: Returns, for a hash, whether that picture need not be decoded.
        least: (height, width) that is enough of a picture, see `read_image_bytes`; None for all of it.
    """

    def __init__(self, is_known: Callable[[str], bool], least: tuple[int, int] | None) -> None:
        self._is_known = is_known
        self._least = least
        self._seen: set[str] = set()

    def read(self, file: ImageFile, *, always: bool = False) -> ReadPicture:
        """Read a file; decode it if its picture is new, or `always`."""
        try:
            data = read_image_file(file.path)
        except OSError as error:
            return ReadPicture(file, problem=f"cannot be read: {error.strerror or error}")
        content_hash = hashlib.sha256(data).hexdigest()
        if not always and (content_hash in self._seen or self._is_known(content_hash)):
            return ReadPicture(file, content_hash)
        self._seen.add(content_hash)
        try:
            return ReadPicture(file, content_hash, decode_apart(data, name=file.path, least=self._least))
        except ImageError as error:
            reason = error.message.removeprefix(f"{file.path} ").rstrip(".")
            return ReadPicture(file, content_hash, problem=reason)


def read_ahead(
    files: Sequence[ImageFile], read: Callable[[ImageFile], ReadPicture], *, most_bytes: int = MAX_PICTURE_BYTES
) -> Generator[ReadPicture, None, None]:
    """Yield what `read` makes of each file, in order; a thread calls it ahead of time.

    Args:
        files: The files.
        read: Reads one; what it raises is raised here.
        most_bytes: Size of the pictures that wait at which the thread pauses.
    """
    ahead = _Ahead(most_bytes)
    thread = threading.Thread(target=ahead.fill, args=(files, read), name="gtrack-read-ahead", daemon=True)
    thread.start()
    try:
        for _ in files:
            yield ahead.take()
    finally:
        ahead.stop()
        thread.join()


class _Ahead:
    """The pictures that were read and not taken yet."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._changed = threading.Condition()
        self._ready: deque[ReadPicture | BaseException] = deque()
        self._bytes = 0
        self._stopped = False

    def fill(self, files: Sequence[ImageFile], read: Callable[[ImageFile], ReadPicture]) -> None:
        """Read all files, as far ahead as there is room; the thread's work."""
        for file in files:
            with self._changed:
                self._changed.wait_for(self._has_room)
                if self._stopped:
                    return
            try:
                made: ReadPicture | BaseException = read(file)
            except BaseException as error:  # noqa: BLE001 - raised again by `take`
                made = error
            with self._changed:
                self._ready.append(made)
                self._bytes += _size(made)
                self._changed.notify_all()
            if isinstance(made, BaseException):
                return

    def _has_room(self) -> bool:
        return self._stopped or (self._bytes < self._most_bytes and len(self._ready) < _MOST_AHEAD)

    def take(self) -> ReadPicture:
        """Return the next picture, once it is read."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready)
            made = self._ready.popleft()
            self._bytes -= _size(made)
            self._changed.notify_all()
        if isinstance(made, BaseException):
            raise made
        return made

    def stop(self) -> None:
        """Let the thread end after the file at hand."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


def _size(made: ReadPicture | BaseException) -> int:
    return made.crop.nbytes if isinstance(made, ReadPicture) and made.crop is not None else 0
