"""Annotated frames."""

from __future__ import annotations

import numpy as np

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
