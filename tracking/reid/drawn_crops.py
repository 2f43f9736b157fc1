"""Crops of people that gtrack draws itself, on which two models are compared on any machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["drawn_crops"]


def drawn_crops() -> list[NDArray[np.uint8]]:
    """Return 144 drawn crops of 24 people, (H, W, 3) uint8 BGR; always the same ones."""
    from tracking.synthetic.config import SceneConfig
    from tracking.synthetic.gallery_crops import gallery_crops

    return [image for seed in (7, 8) for _, image in gallery_crops(SceneConfig(people=12, seed=seed))]
