"""Open and read files whose paths come from elsewhere: regular files only, and no more of them than a limit.

Opening a named pipe means to wait for its writer, for ever if there is none; a device or a socket may never end. The
errors are `OSError`s, so that callers report them as they report a file that cannot be read.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Protocol

__all__ = ["check_regular", "describe_bytes", "feed_digest", "open_regular", "read_regular", "read_regular_text"]

_BLOCK_BYTES = 1 << 20


def describe_bytes(size: int) -> str:
    """Return a number of bytes for people, such as ``480.0 KiB`` or ``3.5 MiB``."""
    if size < 1024:
        return f"{size} B"
    power = 1 if size < 1024**2 else 2 if size < 1024**3 else 3
    return f"{size / 1024**power:.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"


class Digest(Protocol):
    """A hash of `hashlib`."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""
        ...


_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def check_regular(path: str | os.PathLike[str], status: os.stat_result | None = None) -> os.stat_result:
    """Check that a path leads to a regular file, without opening it; return its status.

    Raises:
        OSError: It leads to something else, or to nothing; `IsADirectoryError` for a folder.
    """
    status = Path(path).stat() if status is None else status
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for test, name in _KINDS if test(status.st_mode)), "something else")
        raise OSError(errno.EINVAL, f"expected a regular file, found {kind}", os.fspath(path))
    return status


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        OSError: See `check_regular`; or the file cannot be opened.
    """
    check_regular(path)  # before it is opened: opening alone can wait, or start something
    # Without waiting, should the path lead to a pipe by now.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        check_regular(path, os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def feed_digest(digest: Digest, path: str | os.PathLike[str], size: int | None = None) -> None:
    """Add a regular file, or its first `size` bytes, to a hash.

    Raises:
        OSError: See `open_regular`; or the file cannot be read.
    """
    with open_regular(path) as file:
        left = os.fstat(file.fileno()).st_size if size is None else size
        while left > 0 and (block := file.read(min(_BLOCK_BYTES, left))):
            digest.update(block)
            left -= len(block)


def read_regular(path: str | os.PathLike[str], most: int, limit: str | None = None) -> bytes:
    """Read a regular file of at most `most` bytes.

    Args:
        path: The file.
        most: Bytes that it may have.
        limit: Words for the limit in the message; see `gallery_db.limits.Limit.describe`.

    Raises:
        OSError: See `open_regular`; or the file is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        # A file that grows meanwhile is not read further either.
        data = b"" if size > most else file.read(most + 1)
        if size > most or len(data) > most:
            limit = limit or f"the limit is {most:,} bytes"
            raise OSError(errno.EFBIG, f"it has {max(size, len(data)):,} bytes; {limit}", os.fspath(path))
        return data


def read_regular_text(
    path: str | os.PathLike[str], most: int, encoding: str = "utf-8", limit: str | None = None
) -> str:
    """Read a regular file of at most `most` bytes as text, with any line ends as newlines.

    Raises:
        OSError: See `read_regular`.
        UnicodeDecodeError: It is not text in that encoding.
    """
    text = read_regular(path, most, limit).decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")
