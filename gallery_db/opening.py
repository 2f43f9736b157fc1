"""Opening and creating galleries: the only module that maps a location, a folder or an address, to a backend."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gallery_db.address import parse_address
from gallery_db.atomic_files import check_writable
from gallery_db.backend import MADE_FOLDER, MADE_RECORD, Backend, FolderBackend
from gallery_db.errors import (
    EmbeddingError,
    GalleryError,
    GalleryFormatError,
    GalleryReadOnlyError,
    ModelMismatchError,
)
from gallery_db.media.staged_pictures import STAGED_KEY
from gallery_db.store.folder import check_holds_gallery, check_is_empty, holds_gallery
from gallery_db.store.lock import DEFAULT_LOCK_TIMEOUT, WriterLock
from gallery_db.store.picture_sources import mark_made_here
from gallery_db.store.record import CollectionRow, Record
from gallery_db.store.schema import RECORD_NAME
from gallery_db.suggestions import close_names, did_you_mean

if TYPE_CHECKING:
    from gallery_db.model import EmbeddingModel

__all__ = [
    "DEFAULT_COLLECTION",
    "create_backend",
    "galleries_like",
    "is_gallery",
    "is_new_gallery",
    "open_backend",
    "open_or_create_backend",
]

DEFAULT_COLLECTION = "person_embeddings"


def is_gallery(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a gallery, intact or damaged, or whether one is served at an address.

    Raises:
        GalleryServerError: The path is an address, and the server does not answer.
    """
    address = parse_address(path)
    if address is not None:
        from gallery_db.served.gallery import is_served

        return is_served(address)
    return holds_gallery(path)


def is_new_gallery(location: Path | str) -> bool:
    """Return whether what is opened for writing at a location will be a new gallery.

    Args:
        location: A folder, or the address of a served gallery.

    Raises:
        GalleryFormatError: No gallery can be made there: it is a file, or a folder that holds something else.
        GalleryServerError: The server does not answer.
    """
    if is_gallery(location):
        return False
    if isinstance(location, Path):
        _check_is_free(location)
    return True


def galleries_like(folder: Path) -> list[str]:
    """Return the names of the galleries beside a folder that are most like its own, the nearest first."""
    try:
        beside = [item.name for item in folder.absolute().parent.iterdir() if holds_gallery(item)]
    except OSError:
        return []
    return close_names(folder.name, beside)


def _check_is_free(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise GalleryFormatError(f"{folder} is a file; a gallery is a folder.", hint="Choose another path.")
    if folder.exists():
        check_is_empty(folder)


def create_backend(
    path: str | os.PathLike[str],
    model: EmbeddingModel,
    collection: str | None = None,
    *,
    lock_timeout: float = DEFAULT_LOCK_TIMEOUT,
    provisional: bool = False,
) -> Backend:
    """Make a gallery with an empty collection, and open it for writing; see `gallery_db.gallery.Gallery.create`.

    A provisional one, in a folder, is removed when it is closed with nothing stored in it.
    """
    _check_model(model)
    address = parse_address(path)
    if address is not None:
        from gallery_db.served.gallery import create_served

        name = _check_collection_name(collection or address.collection or DEFAULT_COLLECTION)
        return create_served(address.of(name), model)
    folder = Path(path)
    name = _check_collection_name(collection or DEFAULT_COLLECTION)
    if not holds_gallery(folder):
        _check_is_free(folder)
    made = MADE_RECORD if folder.exists() else MADE_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GalleryReadOnlyError(
            f"The gallery {folder} cannot be made: {error.strerror or error}.", hint="Choose another path."
        ) from error
    check_writable(folder, folder / RECORD_NAME)
    lock = WriterLock(folder)
    lock.acquire(lock_timeout)
    try:
        if holds_gallery(folder):
            raise GalleryError(f"{folder} holds a gallery already.", hint="Open it instead.")
        record = Record.create(folder / RECORD_NAME, name, model)
        mark_made_here(record)
        if provisional:
            record.note_provisional(made)
        return _folder_backend(folder, record, record.collections()[0], lock)
    except BaseException:
        lock.release()
        raise


def open_backend(
    path: str | os.PathLike[str],
    *,
    model: EmbeddingModel | None = None,
    collection: str | None = None,
    write: bool = False,
    lock_timeout: float = DEFAULT_LOCK_TIMEOUT,
) -> Backend:
    """Open a gallery; see `gallery_db.gallery.Gallery.open`."""
    address = parse_address(path)
    if address is not None:
        from gallery_db.served.gallery import open_served

        return open_served(address.of(collection or address.collection), model=model, write=write)
    folder = Path(path)
    check_holds_gallery(folder)
    lock = None
    if write:
        check_writable(folder, folder / RECORD_NAME)
        lock = WriterLock(folder)
        lock.acquire(lock_timeout)
    try:
        record = Record.open(folder / RECORD_NAME, write=write)
        try:
            if not write and record.meta(STAGED_KEY):
                # An import was killed before its pictures were in place, or another process is about to place them.
                with suppress(GalleryError):
                    open_backend(folder, write=True, lock_timeout=0.0).close()
            row = _select(folder, record.collections(), model, collection)
            if write and model is not None and model.path is not None and model.path != row.model.path:
                record.note_weights_path(row.id, model.path)
                row = _select(folder, record.collections(), model, collection)
            return _folder_backend(folder, record, row, lock)
        except BaseException:
            record.close()
            raise
    except BaseException:
        if lock is not None:
            lock.release()
        raise


def open_or_create_backend(
    path: str | os.PathLike[str],
    model: EmbeddingModel,
    *,
    new_collection: bool = False,
    lock_timeout: float = DEFAULT_LOCK_TIMEOUT,
) -> Backend:
    """Open the gallery at `path` for writing, or make it; see `gallery_db.gallery.Gallery.open_or_create`."""
    if not is_gallery(path):
        try:
            return create_backend(path, model, lock_timeout=lock_timeout, provisional=True)
        except GalleryError:
            if not is_gallery(path):  # otherwise another process has just made it
                raise
    try:
        return open_backend(path, model=model, write=True, lock_timeout=lock_timeout)
    except ModelMismatchError:
        backend = open_backend(path, write=True, lock_timeout=lock_timeout)
        if backend.record.provisional is not None:
            backend.close()  # removes the gallery that a killed writer has left
            return create_backend(path, model, lock_timeout=lock_timeout, provisional=True)
        if not new_collection:
            backend.close()
            raise
    try:
        _check_model(model)
        name = _free_collection_name({info.name for info in backend.collections()}, model)
        address = parse_address(path)
        if address is not None:
            return create_backend(address.server, model, name)
        backend.record.add_collection(_check_collection_name(name), model)
    finally:
        backend.close()
    return open_backend(path, model=model, collection=name, write=True, lock_timeout=lock_timeout)


def _folder_backend(folder: Path, record: Record, row: CollectionRow, lock: WriterLock | None) -> FolderBackend:
    from gallery_db.served.absorb import index_maintenance

    notices: list[str] = []
    return FolderBackend(folder, record, row, lock, index_maintenance(folder, notices), notices)


def _check_collection_name(name: str) -> str:
    good = 3 <= len(name) <= 512 and all(c.isascii() and (c.isalnum() or c in "._-") for c in name)
    if not good or not name[0].isalnum() or not name[-1].isalnum():
        raise GalleryError(
            f"{name!r} cannot be a collection's name.",
            hint="Use 3 to 512 of a-z, A-Z, 0-9, '.', '_' and '-', with a letter or digit at both ends.",
        )
    return name


def _free_collection_name(used: set[str], model: EmbeddingModel) -> str:
    name = base = f"{DEFAULT_COLLECTION}-{model.sha256[:8]}"
    number = 2
    while name in used:
        name, number = f"{base}-{number}", number + 1
    return name


def _check_model(model: EmbeddingModel) -> None:
    if model.dimension < 1 or model.metric != "cosine":
        raise EmbeddingError(f"Expected a model of dimension >= 1 and cosine metric, found {model!r}.")


def _select(
    folder: Path, rows: Sequence[CollectionRow], model: EmbeddingModel | None, collection: str | None
) -> CollectionRow:
    """Return the collection of a name, or of a model, or the oldest."""
    candidates = list(rows)
    if collection is not None:
        candidates = [row for row in rows if row.name == collection]
        if not candidates:
            names = [row.name for row in rows]
            raise GalleryError(
                f"The gallery {folder} has no collection {collection!r}.",
                hint=did_you_mean(collection, names, f"It has {', '.join(names)}."),
            )
    if model is None:
        return candidates[0]
    for row in candidates:
        if row.model.same_space(model):
            return row
    lines = [f"{row.model} in the collection {row.name!r}" for row in candidates]
    message = f"The gallery {folder} holds embeddings of {'; '.join(lines)}, and the model given is {model}."
    for row in candidates:
        if row.model.sha256 == model.sha256:
            message += f" Their preprocessing differs: {row.model.preprocessing!r} and {model.preprocessing!r}."
    raise ModelMismatchError(
        message,
        hint="Use the gallery's own weights, or start a second collection for this model with "
        "`gtrack gallery ingest ... --new-collection`.",
    )
