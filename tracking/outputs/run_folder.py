"""The run folder: made for a run, and locked as long as the run writes into it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from gallery_db.atomic_files import remove_stale_parts
from gallery_db.noted_lock import NotedLock
from tracking.errors import OutputError

__all__ = ["locked_folder", "new_run_folder"]

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
        _release(lock, folder if is_new else None)


@contextmanager
def new_run_folder(folder: Path, notify: Callable[[str], None]) -> Iterator[Path]:
    """Make the folder of a run, and keep other runs out of it; where it is taken, its name gets a number: ``clip-2``.

    A folder is taken if it has files in it, or if another run writes into it: no run adds to another's files, or
    replaces them.

    Args:
        folder: The folder.
        notify: Takes a line for the user where another one is used.

    Raises:
        OutputError: It cannot be made or written.
    """
    for number in count(1):
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        if _is_taken(candidate):
            continue
        is_new = not candidate.exists()
        try:
            lock = _lock(candidate, "run folder", "`out_dir` or `run_name`")
        except _FolderInUseError:
            continue
        try:
            if _is_taken(candidate):  # a run that has just ended
                continue
            if number > 1:
                notify(f"{folder} is there already; this run is saved in {candidate}.")
            yield candidate
        finally:
            _release(lock, candidate if is_new else None)
        return


def _is_taken(folder: Path) -> bool:
    """Return whether there is something else than an empty folder, after what killed runs left unfinished is gone."""
    if not folder.is_dir():
        return os.path.lexists(folder)
    remove_stale_parts(folder)
    try:
        return any(not item.name.startswith(_LOCK_NAME) for item in folder.iterdir())
    except OSError:
        return True


def _release(lock: NotedLock, made: Path | None) -> None:
    """Release the lock of a folder; remove the folder if it was made, and nothing is in it."""
    lock.release()
    if made is not None:
        with suppress(OSError):
            made.rmdir()


class _FolderInUseError(OutputError):
    """Another run writes into the folder."""


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
        raise _FolderInUseError(
            f"the {what} {folder} is in use by another run: {lock.describe_holder()}.",
            hint=f"Wait until it is done, or choose another folder with {option}.",
        )
    raise OutputError(f"the {what} {folder} cannot be locked: it is removed again and again.", hint=hint)
