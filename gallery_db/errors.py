"""The errors of gtrack, as one tree: a caller can catch any part of it.

::

    GtrackError
    ├── GalleryError                 a gallery, or a request to it, is not valid
    │   ├── GalleryNotFoundError     no gallery at that path
    │   ├── GalleryFormatError       no gallery, a damaged one, or one of a newer gtrack
    │   ├── GalleryLockedError       another process is writing to it
    │   ├── GalleryReadOnlyError     its folder, or this handle, cannot be written
    │   ├── ModelMismatchError       the gallery belongs to another embedding model
    │   ├── EmbeddingError           vectors of the wrong shape, not finite, not of unit length
    │   ├── EntryNotFoundError       no such entry
    │   ├── EntryExistsError         an entry of that id exists already
    │   ├── IdentityNotFoundError    no such identity
    │   ├── IdentityExistsError      an identity of that name exists already
    │   ├── UndoError                operations cannot be undone exactly
    │   ├── SnapshotError            no such snapshot, or a damaged one
    │   ├── GalleryServerError       the server of a gallery does not answer, or fails
    │   └── GalleryIndexError        the derived Chroma index cannot be used (the record is intact)
    ├── ImageError                   an image file that cannot be used
    ├── MissingPackageError          an optional package is not installed; the hint says how to install it
    └── (tracking.errors)            DetectionsError, VideoError, WeightsError, EmbedderError, ...

Every message says what was expected and what was found, and its ``hint`` says what to do next.
"""

from __future__ import annotations

from gallery_db.masking import mask_addresses

__all__ = [
    "EmbeddingError",
    "EntryExistsError",
    "EntryNotFoundError",
    "GalleryError",
    "GalleryFormatError",
    "GalleryIndexError",
    "GalleryLockedError",
    "GalleryNotFoundError",
    "GalleryReadOnlyError",
    "GalleryServerError",
    "GtrackError",
    "IdentityExistsError",
    "IdentityNotFoundError",
    "ImageError",
    "MissingPackageError",
    "ModelMismatchError",
    "SnapshotError",
    "UndoError",
]


class GtrackError(Exception):
    """Base of every error that gtrack raises on purpose.

    Args:
        message: What was expected and what was found, and where (file, frame, entry).
        hint: What the user can do, as a full sentence. Optional.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        # A message may name the address of a stream, with its password.
        self.message = mask_addresses(message)
        self.hint = None if hint is None else mask_addresses(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class GalleryError(GtrackError):
    """A gallery, or a request to it, is not valid."""


class GalleryNotFoundError(GalleryError):
    """There is no gallery at the given path."""


class GalleryFormatError(GalleryError):
    """The path holds no gallery, a damaged one, or one written by a newer gtrack."""


class GalleryLockedError(GalleryError):
    """Another process is writing to the gallery."""


class GalleryReadOnlyError(GalleryError):
    """The gallery's folder cannot be written, or the gallery is open for reading only."""


class ModelMismatchError(GalleryError):
    """The gallery (or its collection) belongs to another embedding model."""


class EmbeddingError(GalleryError):
    """Embeddings of the wrong shape, not finite, or not of unit length."""


class EntryNotFoundError(GalleryError):
    """The gallery holds no such entry."""


class EntryExistsError(GalleryError):
    """The gallery already holds an entry of that id."""


class IdentityNotFoundError(GalleryError):
    """The gallery holds no identity of that name."""


class IdentityExistsError(GalleryError):
    """The gallery already holds an identity of that name."""


class UndoError(GalleryError):
    """Operations cannot be undone exactly; nothing was changed."""


class SnapshotError(GalleryError):
    """There is no such snapshot, there is one of that name already, or it is damaged."""


class GalleryIndexError(GalleryError):
    """The derived Chroma index is damaged, missing, or cannot be opened; the record is intact."""


class GalleryServerError(GalleryError):
    """The server of a gallery does not answer, fails, or is not a gallery server."""


class ImageError(GtrackError):
    """An image file cannot be used: unreadable, truncated, or too small."""


class MissingPackageError(GtrackError):
    """An optional package that was needed is not installed."""
