from __future__ import annotations

import numpy as np
import pytest
from support.reid import make_crops

from gallery_db.model import Embedder
from tracking.errors import EmbedderError
from tracking.reid.builtin import BUILTIN_SHA256, BuiltinEmbedder


def _person(top: tuple[int, int, int], legs: tuple[int, int, int], gain: float = 1.0) -> np.ndarray:
    y, x = np.mgrid[:128, :64]
    image = 90.0 + 30 * np.sin(x / 5.0)[..., None] * np.ones(3)
    body = abs(x - 32) < 16
    image[body & (y < 70) & (y > 20)] = top
    image[body & (y >= 70)] = legs
    image[body & (y <= 20)] = (120, 150, 200)
    image += (8 * np.sin(y / 3.0) * np.cos(x / 4.0))[..., None]
    return np.clip(image * gain, 0, 255).astype(np.uint8)


def test_satisfies_the_protocol() -> None:
    embedder = BuiltinEmbedder()
    assert isinstance(embedder, Embedder)
    assert embedder.model.name == "builtin"
    assert embedder.model.sha256 == BUILTIN_SHA256
    assert embedder.model.dimension <= 1024
    assert (embedder.device, embedder.runtime, embedder.half) == ("cpu", "builtin", False)


def test_embeddings_equal_the_golden_values() -> None:
    # If this fails, the output changed: change _VERSION in builtin.py, then these numbers.
    assert BUILTIN_SHA256 == "1c9912d214d8c231da409a8b623484b38ae16e384fb7b13771dc95565fb6fb25"
    vector = BuiltinEmbedder().embed([_person((40, 40, 180), (120, 60, 30))])[0]
    probes = np.cos(np.arange(6)[:, None] * np.arange(1024)[None] * 0.37) @ vector
    np.testing.assert_allclose(probes, [-9.2540, -0.1259, -0.2374, 0.0004, -0.8665, -0.1622], atol=2e-3)


def test_every_crop_gets_a_unit_vector() -> None:
    odd = [
        np.zeros((1, 1, 3), np.uint8),
        np.full((3, 500, 3), 255, np.uint8),
        np.zeros((200, 100, 3), np.uint8)[::2, ::3],
    ]
    embedder = BuiltinEmbedder()
    vectors = embedder.embed([*make_crops(5), *odd])
    assert vectors.shape == (8, embedder.model.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert embedder.embed([]).shape == (0, embedder.model.dimension)


def test_same_clothes_are_near_and_others_far() -> None:
    red, dark, blue = BuiltinEmbedder().embed(
        [
            _person((40, 40, 180), (120, 60, 30)),
            _person((40, 40, 180), (120, 60, 30), gain=0.7),
            _person((170, 60, 40), (40, 40, 40)),
        ]
    )
    assert 1 - red @ dark < 0.35
    assert 1 - red @ blue > 0.5


def test_does_not_depend_on_the_batch() -> None:
    embedder, images = BuiltinEmbedder(), make_crops(4)
    assert np.array_equal(embedder.embed(images), np.concatenate([embedder.embed([image]) for image in images]))


def test_reports_the_index_of_an_invalid_crop() -> None:
    with pytest.raises(EmbedderError, match="crop 1"):
        BuiltinEmbedder().embed([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)])
