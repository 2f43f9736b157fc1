"""Priors: statistics of a public set of people, for known models, from which a collection's space starts.

A prior is bound to its models by SHA-256 and preprocessing. ``tests/benchmarks/make_priors.py`` makes the files.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.model import EmbeddingModel

__all__ = ["Prior", "prior_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """The distribution of a model's embeddings over the people of a public set.

    Attributes:
        name: Name of the model and the set.
        people: Number of people in the set.
        mean: (D,) float32, the mean over people.
        directions: (D, R) float32, the directions of largest variance, orthonormal.
        variances: (R,) float32, the variance along each.
        rest: Mean variance along the other directions.
    """

    name: str
    people: int
    mean: NDArray[np.float32]
    directions: NDArray[np.float32]
    variances: NDArray[np.float32]
    rest: float

    def covariance(self) -> NDArray[np.float64]:
        """Return the covariance (D, D) about the mean."""
        directions = self.directions.astype(np.float64)
        found: NDArray[np.float64] = (directions * (self.variances - self.rest)) @ directions.T
        found[np.diag_indices_from(found)] += self.rest
        return found


def prior_of(model: EmbeddingModel) -> Prior | None:
    """Return the prior of a model; None for a model that gtrack does not know."""
    for file, entry in _catalogue().items():
        if model.sha256 in entry["sha256"] and model.preprocessing == entry["preprocessing"]:
            return _load(file, entry["name"], entry["people"])
    return None


@functools.cache
def _catalogue() -> dict[str, dict[str, Any]]:
    text = resources.files("gallery_db.spaces").joinpath("priors", "catalogue.json").read_text("utf-8")
    found: dict[str, dict[str, Any]] = json.loads(text)
    return found


@functools.cache
def _load(file: str, name: str, people: int) -> Prior:
    source = resources.files("gallery_db.spaces").joinpath("priors", file)
    with source.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return Prior(
            name,
            people,
            arrays["mean"].astype(np.float32),
            arrays["directions"].astype(np.float32),
            arrays["variances"].astype(np.float32),
            float(arrays["rest"]),
        )
