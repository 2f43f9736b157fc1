"""Surfaces of a synthetic scene."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from tracking.synthetic.elements import Image

__all__ = ["ground_texture", "import_cv2", "street_color"]


def import_cv2() -> Any:
    """Import OpenCV. It is loaded with the first drawing."""
    return import_module("cv2")


def ground_texture(rng: np.random.Generator, height: int, width: int, color: tuple[int, ...]) -> Image:
    """Return an uneven surface of about one colour, (height, width, 3)."""
    cv2 = import_cv2()
    grain = np.zeros((height, width), np.float32)
    for size, weight in ((4, 5.0), (16, 7.0), (64, 9.0)):
        coarse = rng.normal(0, 1, (height // size + 2, width // size + 2)).astype(np.float32)
        grain += weight * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    texture: Image = np.clip(np.array(color, np.float32) + grain[..., None], 0, 255).astype(np.uint8)
    return texture


def street_color(rng: np.random.Generator) -> tuple[int, ...]:
    """Return a street's grey, a little warmer or colder."""
    return tuple((rng.integers(100, 170) + rng.integers(-14, 15, 3)).tolist())
