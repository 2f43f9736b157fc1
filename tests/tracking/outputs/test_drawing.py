"""Annotated frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tracking.outputs.drawing import FramePainter, colour_of

GREY = np.full((120, 160, 3), 128, np.uint8)


def document(*detections: dict[str, Any], frame: int = 0) -> dict[str, Any]:
    return {"frame": frame, "detections": list(detections)}


def pixels(image: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
    return int((image == colour).all(axis=2).sum())


def test_annotation() -> None:
    image = GREY.copy()
    detections = [
        {"bbox": [10, 40, 50, 110], "class_id": 0, "track_id": "1", "gallery_id": "Zoë 東", "gallery_distance": 0.1},
        {"bbox": [-20, -20, 500, 500], "class_id": 0, "track_id": "2"},
        {"bbox": [150, 100, 400, 300], "class_id": 0, "class_name": "dog", "track_id": "x" * 60},
        {"bbox": [60, 40, 90, 110], "class_id": 0},
    ]
    painter = FramePainter({0: "person"})
    drawn = painter.draw(document(*detections), image)
    assert drawn.shape == image.shape
    assert (image == 128).all(), "the input is not touched"
    assert (drawn != image).any(axis=2).sum() > 500
    assert painter.blur(document(*detections), image) is image


@pytest.mark.parametrize("name", ["A" * 10**6, "a\x1b[31m\u202eb\n\x00", "\ud800"], ids=["long", "acting", "no text"])
@pytest.mark.parametrize("size", [(120, 160), (9, 9)], ids=["small", "smaller than a label"])
def test_any_name_can_be_drawn(name: str, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 128, np.uint8)
    box = [3, 4, 50, 110]
    drawn = FramePainter().draw(
        document(
            {"bbox": box, "class_id": 0, "track_id": "1", "class_name": name},
            {"bbox": box, "class_id": 0, "track_id": name, "gallery_id": name},
        ),
        image,
    )
    assert (drawn != image).any()


def test_boxes_never_cross_labels() -> None:
    """Boxes of a later track are under the label of an earlier one."""
    named = {"bbox": [40, 60, 80, 110], "class_id": 0, "track_id": "1", "gallery_id": "ann"}
    alone = FramePainter().draw(document(named), GREY)
    other = {"bbox": [0, 52, 159, 119], "class_id": 0, "track_id": "2", "gallery_id": "bob"}
    both = FramePainter().draw(document(named, other), GREY)
    label = (alone == colour_of("id:ann")).all(axis=2)[:58]
    assert label.sum() > 100
    assert pixels(both, colour_of("id:ann")) >= label.sum()


@pytest.mark.parametrize(("line_width", "expected"), [(None, 1), (1, 1), (5, 5)])
def test_line_width(line_width: int | None, expected: int) -> None:
    track = {"bbox": [60, 20, 140, 100], "class_id": 0, "track_id": "1"}
    drawn = FramePainter(line_width=line_width).draw(document(track), GREY)
    row = (drawn[70, 40:80] == colour_of("track:1")).all(axis=1)
    assert row.sum() == expected


def test_the_default_line_width_grows_with_the_frame() -> None:
    track = {"bbox": [300, 300, 2000, 1500], "class_id": 0, "track_id": "1"}
    drawn = FramePainter().draw(document(track), np.zeros((2160, 3840, 3), np.uint8))
    assert (drawn[800, 200:400] == colour_of("track:1")).all(axis=1).sum() == 11


def test_trails_are_as_long_as_asked() -> None:
    painter = FramePainter(fps=10, trails=1.0, line_width=1)
    drawn = GREY
    for frame in range(30):
        x = 10 + 4 * frame
        drawn = painter.draw(
            document({"bbox": [x - 4, 60, x + 4, 100], "class_id": 0, "track_id": "1"}, frame=frame), GREY
        )
    on_trail = np.flatnonzero((drawn[100] != 128).any(axis=1))
    assert 126 - 40 - 1 <= on_trail.min() <= 126 - 40 + 1, "ten frames of four pixels"
    gone = painter.draw(document(frame=60), GREY)
    assert (gone == GREY).all(), "a track out of sight has none"


def test_a_blurred_person_has_no_name_in_the_picture() -> None:
    known = {"bbox": [40, 60, 80, 110], "class_id": 0, "track_id": "1", "gallery_id": "ann", "identity_status": "known"}
    unknown = {"bbox": [40, 60, 80, 110], "class_id": 0, "track_id": "1", "identity_status": "unknown"}
    named, unnamed = (FramePainter().draw(document(one), GREY) for one in (known, unknown))
    assert (FramePainter(blur="all").draw(document(known), GREY) == unnamed).all()
    assert (FramePainter(blur="unknown").draw(document(known), GREY) == named).all()
