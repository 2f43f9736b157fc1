"""An exclusive lock on a folder that says who holds it."""

from __future__ import annotations

import getpass
import json
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from gallery_db.masking import mask_addresses
from gallery_db.times import utc_now

__all__ = ["NotedLock", "user_at_host"]

_MAX_COMMAND = 300
_POLL_SECONDS = 0.05


def user_at_host() -> str:
    """Return the user and the host of this process, as ``user@host``."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a line in passwd
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{user}@{socket.gethostname()}"


class NotedLock:
    """A lock file, and beside it a note of who holds the lock.

    The operating system keeps the lock, so that it is free after its holder was killed.

    Args:
        path: The lock file; its folder must exist. The note is the file of that name with ``.json`` at its end.
        removed: Whether the lock file is removed with the lock; after a kill, the next holder removes it.
    """

    def __init__(self, path: Path, *, removed: bool = False) -> None:
        from filelock import FileLock

        self._path = path
        self._note = path.with_name(path.name + ".json")
        self._removed = removed
        self._lock = FileLock(str(path))

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return bool(self._lock.is_locked)

    def acquire(self, timeout: float) -> bool:
        """Take the lock, and note its holder; return False if another process or object held it all the time.

        Args:
            timeout: Seconds to wait for another holder, at least 0.

        Raises:
            NotImplementedError: The file system cannot lock files.
            OSError: The lock file cannot be written.
        """
        import filelock

        deadline = time.monotonic() + max(0.0, timeout)
        while True:
            try:
                self._lock.acquire(timeout=max(0.0, deadline - time.monotonic()), poll_interval=_POLL_SECONDS)
            except filelock.Timeout:
                return False
            # Its last holder, or a person who tidies up, may have removed the file after it was opened here; the lock
            # on a removed file keeps nobody out.
            if self._is_at_its_path():
                break
            self._lock.release()
        self.write_note()
        return True

    def _is_at_its_path(self) -> bool:
        descriptor = self.share()
        if descriptor is None:
            return True
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        return False

    def share(self) -> int | None:
        """Return the file descriptor of the lock, for a child process that holds it as well; None if there is none."""
        descriptor = getattr(getattr(self._lock, "_context", None), "lock_file_fd", None)
        return descriptor if isinstance(descriptor, int) else None

    def release(self) -> None:
        """Release the lock, if it is held."""
        if not self._lock.is_locked:
            return
        with suppress(OSError):
            self._note.unlink()
        if self._removed:
            with suppress(OSError):  # before the release, while nobody else can hold it
                self._path.unlink()
        self._lock.release()

    def write_note(self, **facts: str) -> None:
        """Note who holds the lock, with further facts."""
        note = {
            "pid": os.getpid(),
            "user": user_at_host(),
            "command": mask_addresses(" ".join(sys.argv))[:_MAX_COMMAND] or sys.executable,
            "since": utc_now(),
            **facts,
        }
        # The file only improves a message; a full disk must not stop a writer that holds the lock.
        with suppress(OSError):
            # For its owner alone: a command line says more than other users need to know.
            self._note.unlink(missing_ok=True)
            descriptor = os.open(self._note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(json.dumps(note))

    def read_note(self) -> dict[str, Any]:
        """Return what is noted about the holder; empty if it cannot be read."""
        try:
            note = orjson.loads(self._note.read_bytes())
        except (OSError, ValueError):  # just released, half written, or another user's
            return {}
        return note if isinstance(note, dict) else {}

    def describe_holder(self) -> str:
        """Return the process, user and command of the holder, and since when, as far as they are known."""
        note = self.read_note()
        try:
            return f"process {note['pid']} of {note['user']} ({note['command']}, since {note['since']})"
        except KeyError:
            return "another process"
