"""Embedding models: the identity by which a gallery knows one, and the protocol of an embedder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Embedder", "EmbeddingModel", "model_problem"]

_MAX_DIMENSION = 65_536


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """The identity of an embedding model. Only vectors of one identity can be compared.

    Attributes:
        name: A name to show: the weights' file name, or ``"builtin"``.
        sha256: SHA-256 (64 hex digits) of the weights file that the user gave.
        dimension: D, the length of its vectors.
        preprocessing: Canonical description of how an image becomes the network's input.
        metric: ``"cosine"``: distance is ``1 - cosine similarity``, in [0, 2].
        path: Where the weights were last found; not part of the identity.
    """

    name: str
    sha256: str
    dimension: int
    preprocessing: str
    metric: str = "cosine"
    path: str | None = field(default=None, compare=False)

    def same_space(self, other: EmbeddingModel) -> bool:
        """Return whether vectors of both models can be compared; the file's name does not matter."""
        return (self.sha256, self.dimension, self.preprocessing, self.metric) == (
            other.sha256,
            other.dimension,
            other.preprocessing,
            other.metric,
        )

    def __str__(self) -> str:
        return f"{self.name} (sha256 {self.sha256[:12]}, {self.dimension}-d)"


def model_problem(model: EmbeddingModel) -> str | None:
    """Return why a model, as a file describes it, is none that a gallery can have; None if it is one."""
    texts = (model.name, model.sha256, model.preprocessing, model.metric, model.path or "")
    if not all(isinstance(text, str) for text in texts):
        return "expected text as its name, sha256, preprocessing, metric and path"
    if type(model.dimension) is not int or not 1 <= model.dimension <= _MAX_DIMENSION:
        return f"expected a dimension >= 1 and at most {_MAX_DIMENSION}, found {str(model.dimension)[:60]}"
    return None if model.metric == "cosine" else f"expected the metric cosine, found {model.metric[:60]!r}"


@runtime_checkable
class Embedder(Protocol):
    """An object that computes ReID embeddings of image crops.

    Galleries and trackers need no more of a model than this. `tracking.load_embedder` returns one; any other class
    with these two members can be used as well. One that scales crops to a fixed size may also have ``input_size``,
    (height, width) in pixels: an ingest then decodes JPEG files that are much larger at a fraction of their size.
    """

    @property
    def model(self) -> EmbeddingModel:
        """The identity under which its vectors are stored."""
        ...

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the embeddings of image crops.

        Args:
            crops: N images, each (H, W, 3) uint8 in BGR order, at least 1 x 1; views are fine.

        Returns:
            (N, D) float32, each row of unit L2 norm; (0, D) for no crops.
        """
        ...
