"""Places of labels: in the frame, none on another, steady from frame to frame."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tracking.outputs.labels import LabelPlacer


def crowd(count: int, width: int, height: int, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    corners = rng.uniform([-20, -20], [width, height], (count, 2))
    return np.concatenate([corners, corners + rng.uniform(5, height / 4, (count, 2))], axis=1)


@pytest.mark.parametrize(("count", "width", "height"), [(12, 768, 576), (60, 768, 576), (25, 320, 240), (8, 100, 60)])
def test_labels_never_cover_each_other_and_never_leave_the_frame(count: int, width: int, height: int) -> None:
    rng = np.random.default_rng(count)
    sizes = [(int(w), 15) for w in rng.integers(40, 160, count)]
    for seed in range(5):
        places = LabelPlacer().place(
            [str(n) for n in range(count)], crowd(count, width, height, seed), sizes, (width, height)
        )
        canvas = np.zeros((height, width), int)
        for place, (w, h) in zip(places, sizes, strict=True):
            if place is None:
                continue
            left, top = place
            assert 0 <= left <= width - w
            assert 0 <= top <= height - h
            canvas[top : top + h, left : left + w] += 1
        assert canvas.max() <= 1
        assert width < 768 or None not in places, "there is room for all"


def test_a_label_is_above_its_box_and_off_other_boxes() -> None:
    lower, upper = [100.0, 100, 140, 200], [90.0, 40, 150, 99]
    placer = LabelPlacer()
    assert placer.place(["1"], np.array([lower]), [(80, 15)], (400, 300)) == [(100, 85)]
    (first, second) = placer.place(["1", "2"], np.array([lower, upper]), [(80, 15)] * 2, (400, 300))
    assert second == (90, 25)
    assert first is not None
    assert first[1] >= 100, "above, it would cover the other person's feet"


def test_a_label_stays_where_it_was() -> None:
    """A neighbour comes and goes; the label that made room for it does not jump back and forth."""
    box, other = [100.0, 100, 140, 200], [100.0, 60, 140, 99]
    placer = LabelPlacer()
    places = [
        placer.place(["1", "2"][: len(boxes)], np.array(boxes), [(80, 15)] * len(boxes), (400, 300))[0]
        for boxes in ([box, other], [box], [box, other], [box])
    ]
    assert len(set(places)) == 1


def test_no_room() -> None:
    boxes = np.array([[0.0, 0, 9, 9]] * 3)
    assert LabelPlacer().place(["1", "2", "3"], boxes, [(30, 10), (40, 10), (30, 12)], (30, 19)) == [(0, 9), None, None]
    assert LabelPlacer().place([], np.zeros((0, 4)), [], (30, 19)) == []
