"""The space of a collection, as the gallery's record keeps it."""

from __future__ import annotations

import base64
import binascii
import functools

import numpy as np

from gallery_db.errors import GalleryError
from gallery_db.model import EmbeddingModel
from gallery_db.spaces.learning import learn_space
from gallery_db.spaces.prior import prior_of
from gallery_db.spaces.space import EmbeddingSpace, SpaceFormatError
from gallery_db.store.record import Record

__all__ = ["PLAIN", "load_space", "save_space", "stored_space"]

PLAIN = "plain"
"""Stored where a user wants embeddings compared as they are."""

_SETTING = "space"


def load_space(record: Record, collection: int, model: EmbeddingModel) -> EmbeddingSpace | None:
    """Return the space of a collection: the stored one, else what is known of the model; None for plain embeddings.

    Raises:
        GalleryError: What is stored cannot be read.
    """
    stored = stored_space(record, collection, model)
    if stored is None:
        return _space_of_model(model)
    return None if isinstance(stored, str) else stored


def stored_space(record: Record, collection: int, model: EmbeddingModel) -> EmbeddingSpace | str | None:
    """Return what is stored: a space, `PLAIN`, or None for nothing.

    Raises:
        GalleryError: What is stored cannot be read.
    """
    text = record.setting(collection, _SETTING)
    if not text:
        return None
    if text == PLAIN:
        return PLAIN
    try:
        return _decoded(text, model.dimension)
    except (SpaceFormatError, binascii.Error) as error:
        raise GalleryError(
            f"The embedding space stored in {record.place} cannot be read: {error}.",
            hint="Learn it again with: gtrack gallery adapt --gallery GALLERY",
        ) from error


def save_space(record: Record, collection: int, space: EmbeddingSpace | str) -> None:
    """Store the space of a collection.

    Args:
        record: Open for writing.
        collection: The collection.
        space: A space; `PLAIN`; or ``""`` for what is known of the model.
    """
    text = space if isinstance(space, str) else base64.b64encode(space.to_bytes()).decode("ascii")
    with record.transaction():
        record.set_meta(f"{_SETTING}:{collection}", text)


@functools.lru_cache(maxsize=4)
def _decoded(text: str, dimension: int) -> EmbeddingSpace:
    return EmbeddingSpace.from_bytes(base64.b64decode(text, validate=True), dimension)


@functools.lru_cache(maxsize=8)
def _space_of_model(model: EmbeddingModel) -> EmbeddingSpace | None:
    prior = prior_of(model)
    if prior is None:
        return None
    return learn_space(np.empty((0, model.dimension), np.float32), np.empty(0, np.intp), prior)
