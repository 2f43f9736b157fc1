"""The run folder: made for a run, and locked as long as the run writes into it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gallery_db.atomic_files import remove_stale_parts
from gallery_db.noted_lock import NotedLock
from tracking.errors import OutputError

__all__ = ["locked_folder"]

_LOCK_NAME = ".gtrack-run.lock"
_TRIES = 100
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def locked_folder(folder: Path, what: str = "run folder", option: str = "`out_dir` or `run_name`") -> Iterator[Path]:
    """Make a folder for outputs, and keep other runs out of it.

    What a killed run has left unfinished in it is removed. At the end, the lock leaves no file; a folder that was
    made and has nothing in it is removed.

    Args:
        folder: The folder.
        what: What it is called in messages.
        option: What chooses another one.

    Raises:
        OutputError: Another run writes into it, and the message names that run; or it cannot be made or written.
    """
    is_new = not folder.exists()
    lock = _lock(folder, what, option)
    try:
        remove_stale_parts(folder)
        yield folder
    finally:
        lock.release()
        if is_new:
            with suppress(OSError):
                folder.rmdir()


def _lock(folder: Path, what: str, option: str) -> NotedLock:
    hint = f"Choose another one with {option}."
    for _ in range(_TRIES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot create the {what} {folder}: {error.strerror}.", hint=hint) from error
        lock = NotedLock(folder / _LOCK_NAME, removed=True)
        try:
            if lock.acquire(0):
                return lock
        except FileNotFoundError:  # another run has just removed the folder that it made
            continue
        except NotImplementedError:
            return lock  # not held: on a file system without locks, runs have to keep apart by themselves
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return lock
            raise OutputError(
                f"the {what} {folder} cannot be written: {error.strerror or error}.", hint=hint
            ) from error
        raise OutputError(
            f"the {what} {folder} is in use by another run: {lock.describe_holder()}.",
            hint=f"Wait until it is done, or choose another folder with {option}.",
        )
    raise OutputError(f"the {what} {folder} cannot be locked: it is removed again and again.", hint=hint)
