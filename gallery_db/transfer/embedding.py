"""Embed the pictures of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gallery_db.errors import EmbeddingError
from gallery_db.model import Embedder

__all__ = ["MAX_PICTURE_BYTES", "embed_crops", "enough_of_pictures"]

MAX_PICTURE_BYTES = 64 * 1024 * 1024
"""Size of the decoded pictures at which a batch is full, to bound memory."""


_SHRUNK_SIDES = 2
"""Times a model's input to which a much larger JPEG file is decoded at least; measured in `docs/benchmarks.md`."""


def enough_of_pictures(embedder: Embedder) -> tuple[int, int] | None:
    """Return the (height, width) that is enough of a picture for a model; None for all of it."""
    size = getattr(embedder, "input_size", None)
    return None if size is None else (_SHRUNK_SIDES * size[0], _SHRUNK_SIDES * size[1])


def embed_crops(embedder: Embedder, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the (N, D) embeddings of N pictures, (H, W, 3) uint8 BGR.

    Raises:
        EmbeddingError: The embedder returned another number of embeddings.
    """
    vectors = embedder.embed(crops)
    if np.shape(vectors)[:1] != (len(crops),):
        raise EmbeddingError(
            f"The embedder {embedder.model} was given {len(crops)} images and returned an array of shape "
            f"{np.shape(vectors)}."
        )
    return vectors
