"""The ground truth of a synthetic scene: true boxes, occluders, and how much of each person is visible."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tracking.synthetic.config import SceneConfig
from tracking.synthetic.elements import Box, Occluder, Pose, RandomStream
from tracking.synthetic.motion import figure_height

__all__ = ["Camera", "TruthBox", "figure_box", "true_boxes"]


class Camera(NamedTuple):
    """What does not move in a clip: its occluders, and the places of false detections."""

    occluders: tuple[Occluder, ...]
    ghosts: tuple[Box, ...]

    @classmethod
    def from_config(cls, config: SceneConfig) -> Camera:
        """Return the camera of a clip."""
        rng = np.random.default_rng([config.seed, config.clip, RandomStream.CAMERA])
        width, height = config.width, config.height
        pillar, planter = (0.34, 0.73) if config.clip % 2 == 0 else (0.66, 0.24)
        pillar = (pillar + rng.uniform(-0.03, 0.03)) * width
        planter = (planter + rng.uniform(-0.03, 0.03)) * width
        occluders = (
            Occluder((pillar - 0.024 * width, 0.06 * height, pillar + 0.024 * width, 0.76 * height), "pillar"),
            Occluder((planter - 0.07 * width, 0.69 * height, planter + 0.07 * width, 0.87 * height), "planter"),
        )
        ghosts = []
        for _ in range(4):
            x, feet = rng.uniform(0.08, 0.92) * width, rng.uniform(0.5, 0.8) * height
            tall = figure_height(config, feet) * rng.uniform(0.6, 1.0)
            ghosts.append((float(x - 0.2 * tall), float(feet - tall), float(x + 0.2 * tall), float(feet)))
        return cls(occluders, tuple(ghosts))


@dataclass(frozen=True, slots=True)
class TruthBox:
    """The true place of a person in a frame.

    Attributes:
        name: A known person's name, or ``"stranger-1"`` and so on.
        box: xyxy in pixels, clipped to the image.
        visible: Fraction of the person that is neither occluded nor out of the image, 0 to 1.
    """

    name: str
    box: Box
    visible: float


def figure_box(pose: Pose) -> Box:
    """Return the tight box of a figure, from the proportions of the drawing."""
    half = pose.height * (0.152 + (0.072 * abs(math.sin(pose.phase)) if pose.walking else 0.0))
    return pose.x - half, pose.feet - pose.height, pose.x + half, pose.feet


# Points on a body, as fractions of its box, that represent its area: narrow at the head and the feet.
_BODY_POINTS = np.array(
    [
        (0.5 + across * spread, down)
        for down, spread in zip(
            np.linspace(0.04, 0.96, 12),
            (0.1, 0.18, 0.28, 0.3, 0.3, 0.3, 0.28, 0.28, 0.28, 0.3, 0.32, 0.34),
            strict=True,
        )
        for across in (-0.9, -0.45, 0.0, 0.45, 0.9)
    ]
)


def true_boxes(
    config: SceneConfig, camera: Camera, names: list[str], poses: list[tuple[int, Pose]]
) -> tuple[TruthBox, ...]:
    """Return the true boxes of all figures in the image, and how much of each is visible."""
    whole = [figure_box(pose) for _, pose in poses]
    found = []
    for position, (index, pose) in enumerate(poses):
        x1, y1, x2, y2 = whole[position]
        clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(config.width)), min(y2, float(config.height)))
        if clipped[2] - clipped[0] < 2 or clipped[3] - clipped[1] < 2:
            continue
        hiding = [item.box for item in camera.occluders if item.box[3] > pose.feet]
        for other, (_, nearer) in enumerate(poses):
            # Of two figures at the same depth, the later one is drawn over the earlier one.
            if (nearer.feet, other) > (pose.feet, position):
                a, b, c, d = whole[other]
                inset = 0.16 * (c - a)
                hiding.append((a + inset, b, c - inset, d))
        points = _BODY_POINTS * (x2 - x1, y2 - y1) + (x1, y1)
        x, y = points[:, 0], points[:, 1]
        visible = (x >= 0) & (x < config.width) & (y >= 0) & (y < config.height)
        for a, b, c, d in hiding:
            if a < x2 and c > x1 and b < y2 and d > y1:
                visible &= ~((x >= a) & (x <= c) & (y >= b) & (y <= d))
        found.append(
            TruthBox(names[index], tuple(round(value, 2) for value in clipped), round(float(visible.mean()), 3))  # type: ignore[arg-type]
        )
    return tuple(found)
