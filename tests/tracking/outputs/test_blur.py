"""Blurred people: who is, and that nothing is left of them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tracking.outputs.blur import Blur, Blurring, is_blurred

BOX = [60, 20, 100, 110]
PEOPLE: dict[str, dict[str, Any]] = {
    "named": {"track_id": "1", "gallery_id": "ann", "identity_status": "known"},
    "named by a file without statuses": {"track_id": "1", "gallery_id": "ann"},
    "unknown": {"track_id": "1", "identity_status": "unknown"},
    "unknown, with an id": {"track_id": "1", "gallery_id": "unknown-0007", "identity_status": "known"},
    "undecided": {"track_id": "1", "identity_status": "undecided"},
    "without a track": {},
}


@pytest.mark.parametrize(
    ("mode", "visible"),
    [
        (None, set(PEOPLE)),
        ("all", set()),
        ("unknown", {"named", "named by a file without statuses"}),
        ("named", {"unknown", "unknown, with an id"}),
    ],
)
def test_what_is_not_decided_is_on_the_safe_side(mode: Blur | None, visible: set[str]) -> None:
    assert {who for who, keys in PEOPLE.items() if not is_blurred(mode, keys)} == visible


def noise(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def changed(blurring: Blurring, frame: int, *detections: dict[str, Any]) -> NDArray[np.bool_]:
    image = noise()
    found = blurring.apply(frame, detections, image)
    assert (image == noise()).all(), "the input is not touched"
    return np.asarray((found != image).any(axis=2))


def test_the_whole_box_is_blurred_and_no_more_than_a_margin() -> None:
    where = changed(Blurring("all", 10), 0, {"bbox": BOX})
    assert where[20:110, 60:100].mean() > 0.99
    assert not where[:13].any()
    assert not where[:, 108:].any()


@pytest.mark.parametrize("height", [12, 90, 300])
def test_nothing_is_left(height: int) -> None:
    """Two people with the same rough shape become the same picture, but for some grey levels."""
    fine = np.kron(np.indices((height // 2, height // 4)).sum(axis=0) % 2, np.ones((2, 2)))[:, :, None] * 255
    image = np.full((400, 400, 3), 128, np.uint8)
    h, w = fine.shape[:2]
    image[50 : 50 + h, 50 : 50 + w] = fine
    blurred = Blurring("all", 10).apply(0, [{"bbox": [50, 50, 50 + w, 50 + h]}], image)[50 : 50 + h, 50 : 50 + w]
    assert blurred.std() < 10
    assert (blurred == blurred[:, :, :1]).all(), "no colour"


@pytest.mark.parametrize("has_tracks", [True, False])
def test_a_missed_detection_shows_nobody(has_tracks: bool) -> None:
    """Without tracks, the id of another detection in the next frame means nothing."""
    blurring = Blurring("all", 10, has_tracks=has_tracks)
    tracked = {"bbox": BOX, "track_id": "1"}
    other = [] if has_tracks else [{"bbox": [0, 0, 9, 9], "track_id": "1"}]
    changed(blurring, 0, tracked)
    for frame in range(1, 6):
        where = changed(blurring, frame, *other)
        assert where[20:110, 60:100].mean() > 0.99, frame
    assert not changed(blurring, 6)[20:].any(), "after half a second, nobody is there"


def test_the_old_place_of_a_track_that_goes_on_is_clear() -> None:
    blurring = Blurring("all", 10)
    changed(blurring, 0, {"bbox": BOX, "track_id": "1"}, {"bbox": [0, 0, 20, 20]})
    where = changed(blurring, 1, {"bbox": [120, 20, 159, 110], "track_id": "1"}, {"bbox": [3, 0, 23, 20]})
    assert not where[:, 50:100].any()


def test_odd_boxes() -> None:
    odd = [[float("nan")] * 4, [-1e9, -1e9, 1e9, 1e9], [50, 50, 10, 10], [500, 500, 600, 600], [5, 5, 5.4, 5.4]]
    for box in odd:
        changed(Blurring("all", 10), 0, {"bbox": box})


def test_a_reduced_box_keeps_its_grey() -> None:
    """The blur is of the box itself: a dark person in a bright scene stays a dark shape."""
    image = np.full((120, 160, 3), 250, np.uint8)
    cv2.rectangle(image, (60, 20), (100, 110), (10, 10, 10), -1)
    blurred = Blurring("all", 10).apply(0, [{"bbox": BOX}], image)
    assert blurred[60, 80].max() < 100
