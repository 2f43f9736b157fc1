"""Annotated frames."""

from __future__ import annotations

import numpy as np
import pytest

from tracking.outputs.drawing import annotate


def test_annotation() -> None:
    image = np.full((120, 160, 3), 128, np.uint8)
    detections = [
        {"bbox": [10, 40, 50, 110], "class_id": 0, "track_id": "1", "gallery_id": "Zoë 東", "gallery_distance": 0.1},
        {"bbox": [-20, -20, 500, 500], "class_id": 0, "track_id": "2"},
        {"bbox": [150, 100, 400, 300], "class_id": 0, "class_name": "dog", "track_id": "x" * 60},
        {"bbox": [60, 40, 90, 110], "class_id": 0},
    ]
    drawn = annotate(image, detections, {0: "person"})
    assert drawn.shape == image.shape
    assert (image == 128).all(), "the input is not touched"
    assert (drawn != image).any(axis=2).sum() > 500


@pytest.mark.parametrize("name", ["A" * 10**6, "a\x1b[31m\u202eb\n\x00", "\ud800"], ids=["long", "acting", "no text"])
def test_any_name_can_be_drawn(name: str) -> None:
    image = np.full((120, 160, 3), 128, np.uint8)
    box = [10, 40, 50, 110]
    drawn = annotate(
        image,
        [
            {"bbox": box, "class_id": 0, "track_id": "1", "class_name": name},
            {"bbox": box, "class_id": 0, "track_id": name, "gallery_id": name},
        ],
    )
    assert (drawn != image).any()
