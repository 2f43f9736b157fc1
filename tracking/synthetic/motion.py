"""Motion in a synthetic scene: where people walk and cars drive, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tracking.synthetic.config import SceneConfig, cast_appearances
from tracking.synthetic.elements import Box, Car, Pose, RandomStream

__all__ = ["drive", "figure_height", "walk"]


def figure_height(config: SceneConfig, feet: float) -> float:
    """Return the height in pixels of an average person whose feet are at y; lower in the image is nearer and larger."""
    return config.height * (0.22 + 0.30 * (feet / config.height - 0.5) / 0.5)


def walk(config: SceneConfig, index: int) -> Iterator[Pose | None]:
    """Yield the pose of one figure for each frame, without end; None while it is out of the scene."""
    rng = np.random.default_rng([config.seed, config.clip, RandomStream.MOTION, index])
    appearance = cast_appearances(config)[index]
    width, height = float(config.width), float(config.height)
    pace = 25.0 / config.fps
    order = np.random.default_rng([config.seed, config.clip, RandomStream.MOTION]).permutation(
        config.people + config.strangers
    )
    turn = int(order[index])
    # The first three are in the image when the clip begins; the others enter one after another.
    inside = turn < 3
    away = 0 if inside else int((turn - 2) * 22 / pace + rng.integers(0, 12))
    phase = float(rng.uniform(0, 2 * math.pi))
    while True:
        for _ in range(away):
            yield None
        direction = 1 if rng.random() < 0.5 else -1
        first, last = rng.uniform(0.58, 0.97, 2)
        last = first + np.clip(last - first, -0.16, 0.16)
        stride = rng.uniform(0.0062, 0.0088) * pace
        margin = 0.08 * width
        back_at = rng.uniform(0.4, 0.75) if rng.random() < 0.4 else 2.0
        pause_at = rng.uniform(0.2, 0.7) if rng.random() < 0.4 else 2.0
        pause = int(rng.integers(15, 45) / pace)
        x = -margin if direction > 0 else width + margin
        if inside:
            x = width * rng.uniform(0.15, 0.85)
            inside = False
            pause_at = back_at = 2.0
        while -margin <= x <= width + margin:
            done = x / width if direction > 0 else 1 - x / width
            feet = float(height * (first + (last - first) * min(max(done, 0.0), 1.0)))
            tall = figure_height(config, feet) * appearance.tall
            walking = True
            if done >= pause_at:
                pause -= 1
                walking = pause <= 0
                pause_at = pause_at if pause > 0 else 2.0
            if walking:
                step = stride * width * tall / (0.35 * height)
                x += direction * step
                phase = (phase + 2 * math.pi * step / (0.75 * tall)) % (2 * math.pi)
            yield Pose(float(x), feet, tall, phase, direction, walking)
            if done >= back_at:
                # Turn round, and go back the same way.
                direction, back_at = -direction, 2.0
                first, last = last, first
        away = int(rng.integers(65, 125) / pace)


def _car_box(config: SceneConfig, x: float) -> Box:
    """Return the box of a car whose middle is at x."""
    half, foot, tall = 0.085 * config.width, 0.5 * config.height, 0.13 * config.height
    return x - half, foot - tall, x + half, foot


def drive(config: SceneConfig) -> Iterator[Car | None]:
    """Yield the passing car for each frame, without end; None while there is none."""
    rng = np.random.default_rng([config.seed, config.clip, RandomStream.CAR])
    number = 0
    away = int(rng.integers(20, 60))
    while True:
        for _ in range(away):
            yield None
        direction = 1 if rng.random() < 0.5 else -1
        margin = 0.15 * config.width
        x = -margin if direction > 0 else config.width + margin
        speed = config.width * rng.uniform(0.009, 0.014) * 25.0 / config.fps
        while -margin <= x <= config.width + margin:
            yield Car(_car_box(config, float(x)), direction, number)
            x += direction * speed
        number += 1
        away = int(rng.integers(80, 200))
