"""The writer lock: one writer at a time in a gallery's folder, with a note of who holds it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from gallery_db.errors import GalleryError, GalleryLockedError, GalleryReadOnlyError
from gallery_db.noted_lock import NotedLock

__all__ = ["DEFAULT_LOCK_TIMEOUT", "LOCK_NAME", "WriterLock"]

LOCK_NAME = "gallery.lock"

DEFAULT_LOCK_TIMEOUT = 5.0
"""Seconds that a writer waits for another writer before it gives up."""


class WriterLock:
    """The exclusive lock of the gallery in `folder`.

    Chroma must not be opened without it: two embedded clients that write lose entries silently, and even a client that
    only reads may write.

    Args:
        folder: The gallery's folder, which must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = NotedLock(folder / LOCK_NAME)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock.held

    def acquire(self, timeout: float = DEFAULT_LOCK_TIMEOUT) -> None:
        """Take the lock.

        Args:
            timeout: Seconds to wait for another holder, at least 0.

        Raises:
            GalleryLockedError: Another process or object holds it; the message names it.
            GalleryReadOnlyError: The folder cannot be written, so that no lock can be taken in it.
        """
        try:
            taken = self._lock.acquire(timeout)
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
        if taken:
            return
        address = self._lock.read_note().get("served_at")
        if isinstance(address, str):
            raise GalleryLockedError(
                f"The gallery {self._folder} is being served at {address}.",
                hint=f"Use the address {address} instead of the folder.",
            )
        raise GalleryLockedError(
            f"The gallery {self._folder} is in use by {self._lock.describe_holder()} (waited {timeout:g} s).",
            hint="Wait until it is done, or stop it, and try again.",
        )

    def announce(self, address: str) -> None:
        """Note where the gallery is served, so that other processes can use the address instead of waiting."""
        self._lock.write_note(served_at=address)

    def share(self) -> int | None:
        """Return the file descriptor of the lock, for a child process that holds it as well; None if there is none."""
        return self._lock.share()

    def release(self) -> None:
        """Release the lock, if it is held."""
        self._lock.release()

    def __enter__(self) -> WriterLock:
        if not self.held:
            self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
