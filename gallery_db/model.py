"""What binds a gallery to its embeddings: the model's identity, and the seam to whatever computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Embedder", "EmbeddingModel"]


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """The identity of an embedding model. Vectors compare only within one identity.

    Attributes:
        name: For people: the weights' file name, or ``"builtin"``.
        sha256: SHA-256 (64 hex digits) of the weights file as the user gave it.
        dimension: Length D of its vectors.
        preprocessing: Canonical text of what turns an image into the network's input.
        metric: ``"cosine"``: distance is ``1 - cosine similarity``, in [0, 2].
        path: Where the weights were last seen; a help to find them again, no part of the identity.
    """

    name: str
    sha256: str
    dimension: int
    preprocessing: str
    metric: str = "cosine"
    path: str | None = field(default=None, compare=False)

    def same_space(self, other: EmbeddingModel) -> bool:
        """Whether vectors of both models may be compared. A file's name is no part of that."""
        return (self.sha256, self.dimension, self.preprocessing, self.metric) == (
            other.sha256,
            other.dimension,
            other.preprocessing,
            other.metric,
        )

    def __str__(self) -> str:
        return f"{self.name} (sha256 {self.sha256[:12]}, {self.dimension}-d)"


@runtime_checkable
class Embedder(Protocol):
    """Anything that turns image crops into ReID embeddings.

    A gallery and a tracker ask no more of a model than this; `tracking.load_embedder` returns one,
    and a user's own class with these two members serves as well.
    """

    @property
    def model(self) -> EmbeddingModel:
        """The identity under which its vectors are stored."""
        ...

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed image crops.

        Args:
            crops: N images, each (H, W, 3) uint8 in BGR order, at least 1 x 1; views are fine.

        Returns:
            (N, D) float32, each row of unit L2 norm; (0, D) for no crops.
        """
        ...
