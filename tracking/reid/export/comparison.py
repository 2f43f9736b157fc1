"""Compare an exported ReID model with its source: cosine similarities, nearest neighbours, and speed on crops."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from gallery_db.media.images import IMAGE_SUFFIXES, read_image
from gallery_db.model import Embedder
from tracking.errors import ExportError
from tracking.reid.drawn_crops import drawn_crops

__all__ = ["BATCHES", "MAX_CROPS", "Comparison", "compare", "crops_per_second", "drawn_crops", "read_crops"]

BATCHES = (1, 8, 32)
"""Batch sizes that are timed."""
MAX_CROPS = 1000
"""Maximum number of crops that are compared."""

# Float32 cosines of two identical crops differ in their last digit.
_TIE = 1e-6


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of an exported model's embeddings with its source's.

    Attributes:
        crops: Number of crops compared.
        cosine_min: Smallest cosine similarity between both models' embeddings of one crop.
        cosine_mean: Mean of these cosine similarities.
        neighbours: Share of crops, 0 to 1, whose nearest other crop among the source's embeddings is the same for both
            models' embeddings of the crop: how often a gallery made with the source would give the same answer.
    """

    crops: int
    cosine_min: float
    cosine_mean: float
    neighbours: float


def read_crops(folder: Path, limit: int = MAX_CROPS) -> list[NDArray[np.uint8]]:
    """Read the images in a folder and its sub-folders, (H, W, 3) uint8 BGR; at most `limit`, evenly spaced.

    Raises:
        ExportError: The folder does not exist, or has fewer than two images.
        ImageError: An image cannot be read.
    """
    if not folder.is_dir():
        raise ExportError(f"{folder}: expected a folder of crops, found none there.", hint="Check `crops`.")
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()
    )
    if len(files) < 2:
        raise ExportError(
            f"{folder}: expected at least two images of people, found {len(files)}.",
            hint="Leave `crops` out to compare on crops that gtrack draws.",
        )
    if len(files) > limit:
        files = [files[index] for index in np.linspace(0, len(files) - 1, limit).round().astype(int)]
    return [read_image(file) for file in files]


def compare(expected: NDArray[np.float32], found: NDArray[np.float32]) -> Comparison:
    """Compare embeddings with those of the source.

    Args:
        expected: (N, D) float32 unit rows of the source, N at least 2.
        found: (N, D) unit rows for the same crops.

    Raises:
        ExportError: The shapes differ.
    """
    if found.shape != expected.shape:
        raise ExportError(f"it returns embeddings of shape {found.shape}, its source {expected.shape}.")
    source, other = expected.astype(np.float64), found.astype(np.float64)
    cosines = np.clip((source * other).sum(axis=1), -1.0, 1.0)
    source_similarity, other_similarity = source @ source.T, other @ source.T
    np.fill_diagonal(source_similarity, -np.inf)
    np.fill_diagonal(other_similarity, -np.inf)
    rows = np.arange(len(source_similarity))
    same = source_similarity[rows, other_similarity.argmax(axis=1)] >= source_similarity.max(axis=1) - _TIE
    return Comparison(len(cosines), float(cosines.min()), float(cosines.mean()), float(same.mean()))


def crops_per_second(
    embedders: Mapping[str, Embedder],
    crops: Sequence[NDArray[np.uint8]],
    *,
    batches: Sequence[int] = BATCHES,
    seconds: float = 0.3,
    rounds: int = 3,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, dict[int, float]]:
    """Measure the speed of embedders side by side, from the crop to the unit vector.

    Args:
        embedders: The embedders, by name.
        crops: (H, W, 3) uint8 BGR; repeated if a batch needs more.
        batches: Batch sizes.
        seconds: Minimum duration of each measurement.
        rounds: Number of measurements of each embedder, taken in turn; the median counts.
        clock: ``time.process_time`` for CPU seconds, ``time.perf_counter`` for wall-clock seconds.

    Returns:
        Crops per second, by name and batch size.
    """
    rates: dict[str, dict[int, list[float]]] = {name: {batch: [] for batch in batches} for name in embedders}
    for batch in batches:
        images = [crops[index % len(crops)] for index in range(batch)]
        for embedder in embedders.values():
            for _ in range(3):  # Runtimes select their kernels for a new shape in the first calls.
                embedder.embed(images)
        for _ in range(rounds):
            for name, embedder in embedders.items():
                count, start = 0, clock()
                while (spent := clock() - start) < seconds:
                    embedder.embed(images)
                    count += batch
                rates[name][batch].append(count / spent)
    return {name: {batch: median(found) for batch, found in of.items()} for name, of in rates.items()}
