"""Simulate a detector on a synthetic scene, with its usual errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.synthetic.config import SceneConfig
from tracking.synthetic.elements import Box, Car
from tracking.synthetic.truth import Camera

__all__ = ["CAR_CLASS", "MIN_SCORE", "PERSON_CLASS", "simulate_detector"]

PERSON_CLASS = 0
CAR_CLASS = 2
MIN_SCORE = 0.1
"""Detections of a lower score are not reported."""
_MIN_VISIBLE = 0.25


def simulate_detector(
    config: SceneConfig,
    camera: Camera,
    rng: np.random.Generator,
    boxes: list[Box],
    visible: list[float],
    car: Car | None,
) -> list[dict[str, Any]]:
    """Return the det-v1 detections of one frame, best scores first: jittered, with misses and false detections."""
    found: list[tuple[float, Box, int]] = []
    # The same number of random draws for each person, so that one person's miss does not shift another's jitter.
    for box, visibility in zip(boxes, visible, strict=True):
        draw, noise = rng.random(), rng.normal(size=5)
        missed = config.miss_rate + 0.6 * (1.0 - visibility) ** 1.5
        if visibility < _MIN_VISIBLE or draw < missed:
            continue
        score = 0.91 - 0.62 * (1.0 - visibility) + 0.03 * float(noise[4])
        found.append((score, _jittered(box, noise[:4] * config.jitter), PERSON_CLASS))
    if car is not None:
        noise = rng.normal(size=5)
        found.append((0.85 + 0.03 * float(noise[4]), _jittered(car.box, noise[:4] * 0.01), CAR_CLASS))
    for _ in range(int(rng.poisson(config.false_positives))):
        box = camera.ghosts[int(rng.integers(len(camera.ghosts)))]
        score = rng.uniform(0.12, 0.4) if rng.random() < 0.85 else rng.uniform(0.45, 0.7)
        found.append((float(score), _jittered(box, rng.normal(size=4) * 0.03), PERSON_CLASS))
    detections: list[dict[str, Any]] = []
    for score, (x1, y1, x2, y2), class_id in sorted(found, key=lambda item: -item[0]):
        x1, x2 = (min(max(value, 0.0), float(config.width)) for value in (x1, x2))
        y1, y2 = (min(max(value, 0.0), float(config.height)) for value in (y1, y2))
        score = round(min(score, 0.99), 4)
        if x2 - x1 < 4 or y2 - y1 < 8 or score < MIN_SCORE:
            continue
        detections.append(
            {
                "bbox": [round(value, 2) for value in (x1, y1, x2, y2)],
                "score": score,
                "class_id": class_id,
                "class_name": "person" if class_id == PERSON_CLASS else "car",
                "det_ind": len(detections),
            }
        )
    return detections


def _jittered(box: Box, shifts: NDArray[np.float64]) -> Box:
    """Return a box whose edges are moved by fractions of its width or height."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    return (
        x1 + width * float(shifts[0]),
        y1 + height * float(shifts[1]),
        x2 + width * float(shifts[2]),
        y2 + height * float(shifts[3]),
    )
