"""Write files and folders so that each is complete or absent, also after a kill.

What is being written is a *part*: hidden, beside its final name, under a name that no other writer has. Its writer
holds a lock on it, which the operating system takes away with the process. So the next writer in the folder sees which
parts nobody will finish, and removes them.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gallery_db.errors import GalleryReadOnlyError

try:
    import fcntl
except ImportError:  # Windows: parts carry no lock, and stay after a kill
    fcntl = None  # type: ignore[assignment]

__all__ = ["Part", "atomic_path", "check_writable", "fsync_folder", "remove_stale_parts"]

_MARK = "gtrack-"
_PART_NAME = re.compile(r"\..*\.gtrack-[0-9a-f]{8}\.part(\.[^.]*?)?(?P<beside>-journal|-wal|-shm)?")
_TRIES = 20
_swept: set[str] = set()
"""Folders from which this process has removed stale parts: a folder of many files is not searched at every file."""


class Part:
    """A file or folder in the making, beside the name that it gets when it is complete.

    Args:
        target: The final path; its folder must exist.
        folder: Make a folder instead of an empty file.
        keep_suffix: Whether the part has the suffix of `target`, by which libraries choose a format.

    Attributes:
        path: Where to write.

    Raises:
        OSError: It cannot be made; or `target` is a folder, a device or a pipe, and the part a file.
    """

    def __init__(self, target: str | os.PathLike[str], *, folder: bool = False, keep_suffix: bool = True) -> None:
        self.target = Path(target)
        if not folder:
            _check_is_for_a_file(self.target)
        self._is_folder = folder
        self._lock: int | None = None
        parent = self.target.parent
        if (key := os.path.realpath(parent)) not in _swept:
            _swept.add(key)
            remove_stale_parts(parent)
        suffix = self.target.suffix if keep_suffix else ""
        # A name has at most 255 bytes.
        stem = self.target.stem.encode(errors="surrogateescape")[:80].decode(errors="ignore")
        for _ in range(_TRIES):
            self.path = self.target.with_name(f".{stem}.{_MARK}{secrets.token_hex(4)}.part{suffix}")
            if self._make():
                return
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(self.path))

    def _make(self) -> bool:
        """Make and lock the part; return False if another process has removed it before it was locked."""
        if self._is_folder:
            self.path.mkdir()
            flags = os.O_RDONLY
        else:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        if self._is_folder and fcntl is None:
            return True
        descriptor = os.open(self.path, flags, 0o666)
        if fcntl is None:
            os.close(descriptor)
        else:
            taken = _try_lock(descriptor)
            if taken is False or not _is_at(descriptor, self.path):
                os.close(descriptor)
                return False
            self._lock = descriptor
        if not self._is_folder:
            with suppress(OSError):
                os.utime(self.path, ns=(0, 0))  # any write gives it the present time: see `finish`
        return True

    def finish(self, *, flush: bool = True) -> None:
        """Give the part its final name, in place of an earlier file.

        A folder replaces an earlier one in two steps, because no system call replaces a folder that is not empty.

        Args:
            flush: First flush a file to the disk: without that, a power cut may leave the final name on an empty file.

        Raises:
            FileNotFoundError: Nothing was written.
            OSError: It cannot be renamed.
        """
        if self._is_folder:
            earlier = None
            if self.target.exists():
                earlier = Part(self.target, folder=True)
                self.target.replace(earlier.path)
            self.path.replace(self.target)
            if earlier is not None:
                earlier.discard()
        else:
            if self.path.stat().st_mtime_ns == 0:
                raise FileNotFoundError(errno.ENOENT, "nothing was written to it", str(self.path))
            if flush:
                descriptor = os.open(self.path, os.O_RDWR)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            self.path.replace(self.target)
        self._unlock()
        if flush:
            fsync_folder(self.target.parent)

    def discard(self) -> None:
        """Remove the part; after `finish`, do nothing."""
        with suppress(OSError):
            _remove(self.path)
        self._unlock()

    def _unlock(self) -> None:
        # Only now: a part without a lock may be removed at any time.
        if self._lock is not None:
            with suppress(OSError):
                os.close(self._lock)
            self._lock = None


@contextmanager
def atomic_path(path: str | os.PathLike[str], *, keep_suffix: bool = True, flush: bool = True) -> Iterator[Path]:
    """Write a file under a temporary name, and rename it when it is complete.

    Args:
        path: Path of the file. Its folder must exist.
        keep_suffix: Whether the temporary name has the suffix of `path`.
        flush: Flush the file to the disk before it is renamed; not needed where many files can be written again.

    Yields:
        A path in the same folder, of an empty file, to write to and to close.

    On success, the file is renamed to `path`, in place of an earlier file. After an exception,
    Ctrl-C included, it is removed, and `path` is unchanged. After a kill, the next writer in the folder removes it.

    Raises:
        FileExistsError: There is a device or a pipe of that name.
        IsADirectoryError: There is a folder of that name.
        FileNotFoundError: The block wrote no file.
    """
    part = Part(path, keep_suffix=keep_suffix)
    try:
        yield part.path
        part.finish(flush=flush)
    except BaseException:
        part.discard()
        raise


def remove_stale_parts(folder: Path) -> int:
    """Remove the parts in a folder whose writers are gone, and return their number."""
    if fcntl is None:
        return 0
    removed = 0
    with suppress(OSError), os.scandir(folder) as items:
        for name in [item.name for item in items if _MARK in item.name]:
            found = _PART_NAME.fullmatch(name)
            if found is None:
                continue
            if found["beside"]:  # SQLite's, which belongs to a part as long as that is there
                if not (folder / name.removesuffix(found["beside"])).exists():
                    with suppress(OSError):
                        (folder / name).unlink()
                continue
            with suppress(OSError):
                removed += _remove_if_stale(folder / name)
    return removed


def _check_is_for_a_file(target: Path) -> None:
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder; a file was expected", str(target))
    if target.exists() and not target.is_file():
        # To rename a file over /dev/null would take it away from all other programs.
        raise FileExistsError(errno.EEXIST, "it is a device or a pipe; a file was expected", str(target))


def _remove_if_stale(path: Path) -> bool:
    if path.is_symlink():  # gtrack makes none
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not _try_lock(descriptor) or not _is_at(descriptor, path):
            return False
        _remove(path)
        return True
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool | None:
    """Lock an open file; return False if another process has it, and None if the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    for beside in ("-journal", "-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


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
