"""The writer lock: one writer at a time in a gallery's folder, with a note of who holds it."""

from __future__ import annotations

import getpass
import json
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from gallery_db.errors import GalleryError, GalleryLockedError, GalleryReadOnlyError
from gallery_db.masking import mask_addresses
from gallery_db.times import utc_now

__all__ = ["DEFAULT_LOCK_TIMEOUT", "LOCK_NAME", "WriterLock", "user_at_host"]

LOCK_NAME = "gallery.lock"
_HOLDER_NAME = "gallery.lock.json"

DEFAULT_LOCK_TIMEOUT = 5.0
"""Seconds that a writer waits for another writer before it gives up."""


def user_at_host() -> str:
    """Return the user and the host of this process, as ``user@host``."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a line in passwd
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{user}@{socket.gethostname()}"


class WriterLock:
    """The exclusive lock of the gallery in `folder`.

    The operating system keeps it, so that it is free after its holder was killed. Chroma must not be opened without
    it: two embedded clients that write lose entries silently, and even a client that only reads may write.

    Args:
        folder: The gallery's folder, which must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._holder = folder / _HOLDER_NAME
        from filelock import FileLock

        self._lock = FileLock(str(folder / LOCK_NAME))

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return bool(self._lock.is_locked)

    def acquire(self, timeout: float = DEFAULT_LOCK_TIMEOUT) -> None:
        """Take the lock.

        Args:
            timeout: Seconds to wait for another holder, at least 0.

        Raises:
            GalleryLockedError: Another process or object holds it; the message names it.
            GalleryReadOnlyError: The folder cannot be written, so that no lock can be taken in it.
        """
        import filelock

        try:
            self._lock.acquire(timeout=max(0.0, timeout), poll_interval=0.05)
        except filelock.Timeout:
            address = self._read_holder().get("served_at")
            if isinstance(address, str):
                raise GalleryLockedError(
                    f"The gallery {self._folder} is being served at {address}.",
                    hint=f"Use the address {address} instead of the folder.",
                ) from None
            raise GalleryLockedError(
                f"The gallery {self._folder} is in use by {self._describe_holder()} (waited {timeout:g} s).",
                hint="Wait until it is done, or stop it, and try again.",
            ) from None
        except NotImplementedError:
            raise GalleryError(
                f"The file system of {self._folder} cannot lock files.",
                hint="Keep the gallery on a local disk.",
            ) from None
        except OSError as error:
            raise GalleryReadOnlyError(
                f"Cannot lock the gallery {self._folder} for writing: {error.strerror or error}.",
                hint="Check the folder's permissions, or open the gallery for reading.",
            ) from error
        self._write_holder()

    def announce(self, address: str) -> None:
        """Note where the gallery is served, so that other processes can use the address instead of waiting."""
        self._write_holder(address)

    def share(self) -> int | None:
        """Return the file descriptor of the lock, for a child process that holds it as well; None if there is none."""
        descriptor = getattr(getattr(self._lock, "_context", None), "lock_file_fd", None)
        return descriptor if isinstance(descriptor, int) else None

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._lock.is_locked:
            with suppress(OSError):
                self._holder.unlink()
            self._lock.release()

    def __enter__(self) -> WriterLock:
        if not self._lock.is_locked:
            self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _write_holder(self, address: str | None = None) -> None:
        holder = {
            "pid": os.getpid(),
            "user": user_at_host(),
            "command": mask_addresses(" ".join(sys.argv))[:300] or sys.executable,
            "since": utc_now(),
            **({"served_at": address} if address else {}),
        }
        # The file only improves a message; a full disk must not stop a writer that holds the lock.
        with suppress(OSError):
            # For its owner alone: a command line says more than other users need to know.
            self._holder.unlink(missing_ok=True)
            descriptor = os.open(self._holder, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(json.dumps(holder))

    def _describe_holder(self) -> str:
        holder = self._read_holder()
        try:
            return f"process {holder['pid']} of {holder['user']} ({holder['command']}, since {holder['since']})"
        except KeyError:
            return "another process"

    def _read_holder(self) -> dict[str, Any]:
        try:
            holder = json.loads(self._holder.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # just released, or half written
            return {}
        return holder if isinstance(holder, dict) else {}
