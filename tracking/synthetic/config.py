"""Options and cast of a synthetic scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracking.errors import OptionError
from tracking.synthetic.appearance import WARDROBE, Appearance, mix_uniform
from tracking.synthetic.elements import RandomStream

__all__ = ["SceneConfig", "cast_appearances", "cast_names"]

_NAMES = ("amber", "blake", "casey", "devon", "ellis", "frankie", "gray", "harper", "indigo", "jules", "kit", "logan")
_MAX_STRANGERS = 6


@dataclass(frozen=True, slots=True)
class SceneConfig:
    """Options of a synthetic scene.

    Attributes:
        width: Pixels, even, 160 or more.
        height: Pixels, even, 120 or more.
        fps: Frames per second.
        frames: Length of the clip; people return again and again until it ends.
        people: Number of known people, who have crops in the gallery; 1 to 12.
        strangers: Number of people who are not in the gallery; 0 to 6.
        seed: Seed of all that is random. The same seed gives the same cast.
        clip: Number of the camera that sees this cast: each has its own background, light and entry times.
        similar_clothes: From 0 (clothes differ clearly) to 1 (all wear the same clothes).
        jitter: Standard deviation of a detection's edges, as a fraction of the box's size.
        miss_rate: Probability that a fully visible person is not detected; it is higher for people partly hidden.
        false_positives: Mean number of detections per frame that show no person.
        noise: Standard deviation of the sensor noise, in grey levels.

    Raises:
        OptionError: A value is out of its range.
    """

    width: int = 640
    height: int = 360
    fps: float = 25.0
    frames: int = 600
    people: int = 6
    strangers: int = 3
    seed: int = 7
    clip: int = 0
    similar_clothes: float = 0.0
    jitter: float = 0.015
    miss_rate: float = 0.02
    false_positives: float = 0.08
    noise: float = 4.0

    def __post_init__(self) -> None:
        limits: dict[str, tuple[float, float]] = {
            "width": (160, 7680),
            "height": (120, 4320),
            "fps": (1, 240),
            "frames": (1, 10_000_000),
            "people": (1, len(_NAMES)),
            "strangers": (0, _MAX_STRANGERS),
            "seed": (0, 2**32 - 1),
            "clip": (0, 2**16),
            "similar_clothes": (0, 1),
            "jitter": (0, 0.2),
            "miss_rate": (0, 1),
            "false_positives": (0, 5),
            "noise": (0, 50),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise OptionError(f"scene option {name}: expected {low:g} to {high:g}, found {value!r}.")
        if self.width % 2 or self.height % 2:
            raise OptionError(f"scene size: expected an even width and height, found {self.width} x {self.height}.")


def cast_names(config: SceneConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the known people, and of the strangers."""
    return _NAMES[: config.people], tuple(f"stranger-{index + 1}" for index in range(config.strangers))


def cast_appearances(config: SceneConfig) -> list[Appearance]:
    """Return the appearances of the known people, then of the strangers. They depend on the seed, not on the clip."""
    order = np.random.default_rng([config.seed, RandomStream.CAST]).permutation(len(WARDROBE))
    # A stranger's appearance does not depend on the number of known people.
    chosen = [*order[: config.people], *order[len(_NAMES) : len(_NAMES) + config.strangers]]
    appearances = [WARDROBE[int(index)] for index in chosen]
    share = config.similar_clothes
    return appearances if share == 0 else [mix_uniform(appearance, share) for appearance in appearances]
