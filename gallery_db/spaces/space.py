"""The space in which the embeddings of a collection are compared: centred, whitened, scaled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.embeddings import unit_rows

__all__ = ["EmbeddingSpace", "SpaceFormatError"]

_BLOCK = 8192
_FORMAT = 1
_TINY = 1e-9
_LARGEST = 1e6
"""Largest number of a space; greater ones, of a damaged file, would overflow."""


class SpaceFormatError(ValueError):
    """The bytes are no stored space."""


@dataclass(frozen=True, eq=False)
class EmbeddingSpace:
    """Maps embeddings of a model to the vectors that are compared.

    An embedding x becomes ``u = (x - m) W``, of unit length: m is the mean over people, or that of x's camera where it
    is known, and W whitens with shrinkage (ZCA-like, Kessy et al., 2018; a camera's own mean: "camera bias" in ReID,
    Song et al., 2025). All that embeddings have in common is gone then, and different people are at a cosine distance
    of about 1 from each other, whatever the model. The vector is ``[sqrt(a) u, sqrt(1 - a)]``, so that its cosine
    distance is ``a`` times that of u: a is chosen such that different people are at a distance of 0.45 on average.

    Attributes:
        mean: (D,) float32, subtracted from embeddings of no known camera.
        whitening: (D, K) float32.
        scale: a, in (0, 1].
        camera_means: (D,) float32 each, by camera.
        facts: What it was learned from, for people: numbers of people and entries, the prior, the time.
    """

    mean: NDArray[np.float32]
    whitening: NDArray[np.float32]
    scale: float
    camera_means: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _offset(self) -> NDArray[np.float32]:
        """(K,) what the mean becomes."""
        found: NDArray[np.float32] = self.mean @ self.whitening
        return found

    @cached_property
    def _camera_offsets(self) -> Mapping[str, NDArray[np.float32]]:
        """(K,) what the mean of each camera becomes."""
        return {camera: mean @ self.whitening for camera, mean in self.camera_means.items()}

    @property
    def input_dimension(self) -> int:
        """D, the length of the embeddings."""
        return int(self.whitening.shape[0])

    @property
    def dimension(self) -> int:
        """K + 1, the length of the vectors."""
        return int(self.whitening.shape[1]) + 1

    @property
    def constant(self) -> float:
        """sqrt(1 - a), the last number of each vector; see `gallery_db.embeddings.unit_mean`."""
        return float(np.sqrt(np.float32(1.0 - self.scale)))

    def apply(self, embeddings: Any, cameras: Sequence[str | None] | None = None) -> NDArray[np.float32]:
        """Return the vectors of embeddings.

        Args:
            embeddings: (N, D) float, rows of unit length.
            cameras: The N cameras, None where unknown; all unknown by default.

        Returns:
            (N, K + 1) float32, rows of unit length.

        Raises:
            EmbeddingError: The embeddings are not (N, D), not finite, or not of unit length.
        """
        array = unit_rows(embeddings, self.input_dimension, what="embeddings")
        result = np.empty((len(array), self.dimension), np.float32)
        result[:, -1] = self.constant
        for start in range(0, len(array), _BLOCK):
            part = slice(start, start + _BLOCK)
            result[part, :-1] = self._directions(array[part], None if cameras is None else cameras[part])
        result[:, :-1] *= np.sqrt(np.float32(self.scale))
        # What is left of rounding, so that `unit_rows` keeps the rows as they are.
        result /= np.sqrt(np.einsum("ij,ij->i", result, result))[:, None]
        return result

    def _directions(self, array: NDArray[np.float32], cameras: Sequence[str | None] | None) -> NDArray[np.float32]:
        """Return u (N, K) of embeddings."""
        directions = array @ self.whitening
        offset, of = self._offset, self._camera_offsets
        if of and cameras is not None and any(camera in of for camera in set(cameras)):
            directions -= np.stack([of.get(camera, offset) if camera else offset for camera in cameras])
        else:
            directions -= offset
        lengths = np.sqrt(np.einsum("ij,ij->i", directions, directions))
        # An embedding that is the mean itself has no direction: it is put where nobody is nearer than others.
        directions[lengths < _TINY, 0] = 1.0
        directions /= np.where(lengths < _TINY, np.float32(1.0), lengths)[:, None]
        result: NDArray[np.float32] = directions
        return result

    @cached_property
    def version(self) -> str:
        """A short name of exactly this space; distances of two versions are not compared."""
        digest = hashlib.sha256(self.mean.tobytes() + self.whitening.tobytes() + np.float64(self.scale).tobytes())
        for camera, mean in sorted(self.camera_means.items()):
            digest.update(camera.encode() + b"\0" + mean.tobytes())
        return digest.hexdigest()[:12]

    def with_more_people(self, mean: NDArray[np.floating], people: int, weight: int) -> EmbeddingSpace:
        """Return the space with a mean that takes in more people; its whitening and scale stay.

        Args:
            mean: (D,) the mean of their embeddings.
            people: How many they are.
            weight: People that the present mean counts as.
        """
        moved = (weight * self.mean + people * mean) / (weight + people)
        return EmbeddingSpace(moved.astype(np.float32), self.whitening, self.scale, self.camera_means, self.facts)

    # -- stored ----------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Return it as bytes: a line of JSON, then the numbers as 32-bit floats, little-endian."""
        header = {
            "format": _FORMAT,
            "scale": self.scale,
            "directions": self.whitening.shape[1],
            "cameras": list(self.camera_means),
            **self.facts,
        }
        arrays = [self.mean, self.whitening, *self.camera_means.values()]
        numbers = b"".join(np.ascontiguousarray(array, "<f4").tobytes() for array in arrays)
        return json.dumps(header, allow_nan=False).encode() + b"\n" + numbers

    @classmethod
    def from_bytes(cls, data: bytes, dimension: int) -> EmbeddingSpace:
        """Return the space that `to_bytes` stored.

        Args:
            data: The bytes, from a file that is not trusted.
            dimension: D, the length of the model's embeddings.

        Raises:
            SpaceFormatError: They are no space for embeddings of this length.
        """
        line, _, numbers = data.partition(b"\n")
        try:
            facts = json.loads(line)
            cameras, scale = facts.pop("cameras"), float(facts.pop("scale"))
            columns = int(facts.pop("directions"))
            if facts.pop("format") != _FORMAT:
                raise SpaceFormatError("it was stored by a newer gtrack")
            counts = [facts.get(name, 0) for name in ("people", "entries")]
            if not isinstance(cameras, list) or not all(isinstance(camera, str) for camera in cameras):
                raise SpaceFormatError("its cameras are no list of names")
            if not 0.0 < scale <= 1.0 or not all(type(count) is int for count in counts):
                raise SpaceFormatError(f"its scale is {scale}, and it counts {counts}")
        except SpaceFormatError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise SpaceFormatError(f"{type(error).__name__}: {str(error)[:200]}") from error
        expected = dimension * (1 + columns + len(cameras))
        if columns < 1 or len(numbers) != 4 * expected:
            raise SpaceFormatError(
                f"it has {len(numbers)} bytes of numbers, and {4 * expected} are expected for embeddings of "
                f"{dimension} numbers"
            )
        values = np.frombuffer(numbers, "<f4").astype(np.float32)
        if not np.isfinite(values).all() or np.abs(values).max() > _LARGEST:
            raise SpaceFormatError("its numbers are not finite, or too large")
        mean, rest = values[:dimension], values[dimension:]
        whitening = rest[: dimension * columns].reshape(dimension, columns)
        means = rest[dimension * columns :].reshape(len(cameras), dimension)
        return cls(mean, whitening, scale, dict(zip(cameras, means, strict=True)), facts)
