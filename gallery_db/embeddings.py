"""Checks of arrays of embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.errors import EmbeddingError

__all__ = ["UNIT_TOLERANCE", "unit_mean", "unit_rows"]

UNIT_TOLERANCE = 1e-3
"""Largest allowed difference between the L2 norm of an embedding and 1."""

_ROUNDING = 2e-6
"""Largest difference between 1 and the norm of a row that was already normalised in float32."""


def unit_mean(total: NDArray[np.floating], constant: float = 0.0) -> NDArray[np.float32]:
    """Return the mean of vectors, of unit length, from their sum (D,).

    Args:
        total: (D,) sum of vectors of unit length, each with a weight.
        constant: The last number of each of the vectors, which their mean has, too: in a space where it is not 0, it
            scales distances (`gallery_db.spaces.space.EmbeddingSpace`). Several observations of one person, averaged,
            would else be nearer to all people than one of them.
    """
    if constant == 0.0:
        return np.asarray(total / np.float32(max(float(np.linalg.norm(total)), 1e-9)), np.float32)
    mean = np.empty(len(total), np.float32)
    length = max(float(np.linalg.norm(total[:-1])), 1e-9)
    mean[:-1] = total[:-1] * np.float32((1.0 - constant * constant) ** 0.5 / length)
    mean[-1] = constant
    return mean


def unit_rows(embeddings: Any, dimension: int, *, count: int | None = None, what: str) -> NDArray[np.float32]:
    """Check embeddings, convert them to float32, and normalise them to unit length.

    Args:
        embeddings: (N, D) floats; a single (D,) vector counts as N = 1.
        dimension: The expected D.
        count: The expected N; None for any.
        what: Their name in messages: ``"embeddings"`` or ``"probes"``.

    Returns:
        (N, D) float32, C-contiguous. Rows within `UNIT_TOLERANCE` of unit length are normalised, so that an inner
        product and Chroma, which normalises by itself, agree on the distance. A row that was normalised here
        before stays the same, bit for bit.

    Raises:
        EmbeddingError: The shape is wrong, or a row is not finite or not of unit length.
    """
    try:
        array = np.asarray(embeddings, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EmbeddingError(
            f"Expected {what} as an (N, {dimension}) array of floats, found {type(embeddings).__name__}.",
            hint="Pass the embedder's result unchanged.",
        ) from error
    if array.ndim == 1 and array.size == dimension:
        array = array.reshape(1, dimension)
    if array.ndim == 2 and array.shape[0] == 0:
        array = array.reshape(0, dimension)
    if array.ndim != 2 or array.shape[1] != dimension or (count is not None and array.shape[0] != count):
        raise EmbeddingError(
            f"Expected {what} of shape ({'N' if count is None else count}, {dimension}), found {array.shape}.",
            hint="They must come from the gallery's own model, one row each.",
        )
    norms = np.sqrt(np.einsum("ij,ij->i", array, array))
    wrong = ~(np.abs(norms - 1.0) <= UNIT_TOLERANCE)  # in this form, NaN counts as wrong
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        if not np.isfinite(array[row]).all():
            raise EmbeddingError(
                f"Row {row} of the {what} is not finite.", hint="Check the image and the model's output."
            )
        raise EmbeddingError(
            f"Row {row} of the {what} has length {norms[row]:.4g}; expected 1 within {UNIT_TOLERANCE}.",
            hint="Divide each embedding by its L2 norm.",
        )
    divisors = np.where(np.abs(norms - 1.0) <= _ROUNDING, np.float32(1.0), norms)
    result: NDArray[np.float32] = np.ascontiguousarray(array / divisors[:, None], dtype=np.float32)
    return result
