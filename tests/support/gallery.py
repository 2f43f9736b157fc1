"""Helpers for tests of galleries: tiny embedders, random vectors, entries and pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gallery_db import EmbeddingModel, Entry

DIMENSION = 16


def model_named(name: str = "tiny.pt", dimension: int = DIMENSION) -> EmbeddingModel:
    """Return a model whose hash follows from its name."""
    return EmbeddingModel(name, hashlib.sha256(name.encode()).hexdigest(), dimension, "mean colour of four bands")


class ColourEmbedder:
    """A quick, deterministic embedder: the mean colours of four horizontal bands, of unit length.

    Attributes:
        images: Number of crops embedded so far.
    """

    def __init__(self, name: str = "tiny.pt") -> None:
        self._model = model_named(name)
        self.images = 0

    @property
    def model(self) -> EmbeddingModel:
        return self._model

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.images += len(crops)
        rows = np.zeros((len(crops), DIMENSION), np.float32)
        for row, crop in zip(rows, crops, strict=True):
            bands = np.array_split(crop.astype(np.float32) / 255.0, 4, axis=0)
            row[:12] = np.concatenate([band.mean(axis=(0, 1)) for band in bands])
            row[12] = 0.1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def unit_vectors(count: int, dimension: int = DIMENSION, seed: int = 0) -> NDArray[np.float32]:
    """Return random vectors of unit length, (count, dimension)."""
    array = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def entries_named(count: int, prefix: str = "e", per_identity: int = 5, class_name: str = "person") -> list[Entry]:
    """Return entries with consecutive ids, `per_identity` of them for each identity."""
    return [
        Entry(
            id=f"{prefix}{number:05d}",
            identity=f"who{number // per_identity:04d}",
            class_name=class_name,
            source=f"/pictures/{prefix}{number}.jpg",
        )
        for number in range(count)
    ]


def picture(seed: int, size: tuple[int, int] = (32, 64)) -> Image.Image:
    """Return a picture of four coloured bands that depends on the seed."""
    generator = np.random.default_rng(seed)
    bands = generator.integers(0, 256, (4, 1, 3), dtype=np.uint8)
    return Image.fromarray(np.repeat(bands, 8, axis=1)).resize(size, Image.Resampling.NEAREST)


def save_picture(path: Path, seed: int, size: tuple[int, int] = (32, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, size).save(path)
    return path


def make_people(root: Path, people: int = 3, each: int = 4, suffix: str = ".png") -> Path:
    """Write image folders of identities ``p0``, ``p1``, ... with pictures 0.png, 1.png, ..."""
    for person in range(people):
        for number in range(each):
            save_picture(root / f"p{person}" / f"{number}{suffix}", seed=100 * person + number)
    return root


class GreyEmbedder:
    """Another tiny embedder: the mean grey of eight bands; it keeps the crops that it gets."""

    def __init__(self, rows: int | None = None) -> None:
        self.model = EmbeddingModel("grey.onnx", hashlib.sha256(b"grey").hexdigest(), 8, "grey")
        self.batches: list[int] = []
        self.pictures: list[NDArray[np.uint8]] = []
        self._rows = rows

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.batches.append(len(crops))
        self.pictures += [np.array(image) for image in crops]
        rows = np.array([[band.mean() + 1 for band in np.array_split(c, 8)] for c in crops], np.float32)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True))[: self._rows]
