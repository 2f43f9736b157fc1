"""Files that are either whole or not there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gallery_db.errors import GalleryReadOnlyError

__all__ = ["atomic_path", "check_writable", "fsync_folder"]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file beside its place and move it there when it is whole.

    Args:
        path: Where the file shall be. Its folder must exist.

    Yields:
        A path in the same folder, with the same suffix, to write to (and to close).

    On success the file is flushed to the disk and renamed to `path`, replacing what was there; on any
    exception, Ctrl-C included, it is removed and `path` keeps what it held. A body that wrote nothing
    raises FileNotFoundError.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem[:80]}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        yield temporary
        # Without the fsync a power cut may leave the new name on an empty file.
        descriptor = os.open(temporary, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    fsync_folder(target.parent)


def check_writable(*paths: Path) -> None:
    """Refuse paths that are there and cannot be written.

    Raises:
        GalleryReadOnlyError: Naming the first of them.
    """
    for path in paths:
        if path.exists() and not os.access(path, os.W_OK):
            raise GalleryReadOnlyError(
                f"{path} cannot be written.", hint="Check its permissions, or open the gallery for reading."
            )


def fsync_folder(folder: Path) -> None:
    """Flush a folder's names to the disk, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
