"""Write files so that each is complete or absent."""

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
    """Write a file under a temporary name, and rename it when it is complete.

    Args:
        path: Path of the file. Its folder must exist.

    Yields:
        A path in the same folder, with the same suffix, to write to and to close.

    On success, the file is flushed to the disk and renamed to `path`, in place of an earlier file. After an exception,
    Ctrl-C included, it is removed, and `path` is unchanged.

    Raises:
        FileNotFoundError: The block wrote no file.
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
    """Refuse existing paths that cannot be written.

    Raises:
        GalleryReadOnlyError: The message names the first of them.
    """
    for path in paths:
        if path.exists() and not os.access(path, os.W_OK):
            raise GalleryReadOnlyError(
                f"{path} cannot be written.", hint="Check its permissions, or open the gallery for reading."
            )


def fsync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, if the system supports it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
