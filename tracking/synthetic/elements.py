"""The elements of a synthetic scene: boxes, poses, cars, occluders, and random streams."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "Car", "Color", "Image", "Occluder", "Pose", "RandomStream"]

Image = NDArray[np.uint8]
"""(H, W, 3) BGR, or (H, W, 4) with premultiplied BGR and coverage."""
Box = tuple[float, float, float, float]
"""xyxy in pixels."""
Color = tuple[int, int, int]
"""BGR, 0 to 255."""


class RandomStream(IntEnum):
    """Number of a random stream.

    Each use has its own stream, so that the motion and the detections are the same whether or not images are drawn.
    """

    CAST = 0
    MOTION = 1
    DETECTOR = 2
    CAMERA = 3
    NOISE = 4
    GALLERY = 5
    CAR = 6


class Pose(NamedTuple):
    """Position of a figure (x of its middle and y of its feet, in pixels), its height in pixels, and its posture."""

    x: float
    feet: float
    height: float
    phase: float
    facing: int
    walking: bool


class Car(NamedTuple):
    """A passing car: its box in pixels, its direction (1 is to the right), and its number."""

    box: Box
    direction: int
    number: int


class Occluder(NamedTuple):
    """An object that people walk behind: its box in pixels (it stands at y2), and ``"pillar"`` or ``"planter"``."""

    box: Box
    kind: str
