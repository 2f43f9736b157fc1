"""Quality of boxes and observations: one definition, for identification and for enrolment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tracking.geometry import iou, pairwise_iou
from tracking.identification.quality import box_quality, crowding, max_overlap, observation_quality, sharpness


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({}, 0.8, id="the score alone"),
        pytest.param({"box": (100, 50, 120, 75)}, 0.4, id="half the size"),
        pytest.param({"box": (0, 50, 30, 100)}, 0.4, id="cut by an edge"),
        pytest.param({"box": (0, 150, 30, 200)}, 0.2, id="by two"),
        pytest.param({"overlap": 0.75}, 0.2, id="hidden"),
        pytest.param({"sharp": 0.25}, 0.2, id="blurred"),
        pytest.param({"sharp": 0.0}, 0.0, id="nothing to be seen"),
        pytest.param({"score": 1.7}, 1.0, id="never above one"),
        pytest.param({"score": float("nan")}, 0.0, id="not a number"),
        pytest.param({"overlap": 1.2}, 0.0, id="never below zero"),
    ],
)
def test_quality(changed: dict[str, Any], expected: float) -> None:
    arguments = {"score": 0.8, "box": (100, 50, 130, 110), "overlap": 0.0, "sharp": 1.0, **changed}
    found = observation_quality(arguments.pop("score"), arguments.pop("box"), (400, 200), **arguments)
    assert found == pytest.approx(expected)


def test_sharpness_and_overlap() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 64, 3), dtype=np.uint8)
    assert sharpness(np.full((40, 20, 3), 90, np.uint8)) == 0.0
    assert 0.9 < sharpness(noise) < 1.0
    assert 0.0 <= sharpness(noise[:1, :1]) <= 1.0
    assert max_overlap((0, 0, 10, 10), np.empty((0, 4))) == 0.0
    assert max_overlap((0, 0, 10, 10), np.array([[5, 0, 15, 10], [90, 90, 99, 99.0]])) == pytest.approx(1 / 3)


def test_crowding_is_the_largest_overlap() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [90, 90, 99, 99.0]])
    assert crowding(boxes).tolist() == pytest.approx(
        [max_overlap(b, np.delete(boxes, i, 0)) for i, b in enumerate(boxes)]
    )
    assert crowding(np.empty((0, 4))).tolist() == []
    assert crowding(boxes[:1]).tolist() == [0.0]
    np.testing.assert_allclose(pairwise_iou(boxes), np.stack([iou(box, boxes) for box in boxes]))


def test_score_and_size_of_the_box_are_part_of_the_quality() -> None:
    box = (10.0, 10.0, 30.0, 60.0)
    assert observation_quality(0.9, box, (200, 200), overlap=0.2, sharp=0.5) == pytest.approx(
        0.5 * box_quality(0.9, box, (200, 200), overlap=0.2)
    )
