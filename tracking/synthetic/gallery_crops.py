"""Draw the gallery of a synthetic scene: crops of the known people."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tracking.synthetic.appearance import Appearance
from tracking.synthetic.config import SceneConfig, cast_appearances, cast_names
from tracking.synthetic.elements import Image, RandomStream
from tracking.synthetic.figures import PHASES, blend_figure, draw_figure
from tracking.synthetic.texture import ground_texture, import_cv2, street_color

__all__ = ["gallery_crops", "portrait"]

_CROPS_PER_PERSON = 6


def portrait(appearance: Appearance, shot: int, rng: np.random.Generator, noise: float) -> Image:
    """Draw a crop of one person on a street, (h, w, 3) uint8 BGR, in its own pose, place and light.

    Args:
        appearance: The person.
        shot: One of six views: walking, from the front, or from behind.
        rng: Source of all that is random.
        noise: Standard deviation of the sensor noise, in grey levels.
    """
    cv2 = import_cv2()
    height = int(rng.integers(120, 200))
    view = ("side", "front", "side", "back", "side", "side")[shot]
    phase = float(rng.uniform(0, 2 * math.pi))
    sprite = draw_figure(appearance, view, round(phase / (2 * math.pi) * PHASES) % PHASES)
    if rng.random() < 0.5:
        sprite = np.ascontiguousarray(sprite[:, ::-1])
    street = ground_texture(rng, height + 40, height, street_color(rng))
    center = height / 2 + rng.uniform(-3, 3)
    feet = height + 20 + rng.uniform(-3, 3)
    blend_figure(street, sprite, center, feet, height)
    half = height * rng.uniform(0.19, 0.24)
    left, right = int(center - half), int(center + half)
    crop = street[int(rng.integers(6, 16)) : height + 20 + int(rng.integers(4, 14)), left:right]
    light = rng.uniform(0.8, 1.2)
    lit_crop = crop * light + rng.uniform(-8, 8) + rng.normal(0, noise + 1, crop.shape)
    image: Image = np.clip(lit_crop, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (3, 3), 0.7)
    return image


def gallery_crops(config: SceneConfig) -> Iterator[tuple[str, Image]]:
    """Yield six crops of each known person, as (name, (h, w, 3) uint8 BGR).

    They show other poses, places and light than the clip, and depend on the seed, not on the clip.
    """
    rng = np.random.default_rng([config.seed, RandomStream.GALLERY])
    cast = cast_appearances(config)
    for index, name in enumerate(cast_names(config)[0]):
        for shot in range(_CROPS_PER_PERSON):
            yield name, portrait(cast[index], shot, rng, config.noise)
