"""roboflow's trackers behind their adapter, run for real."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import supervision

from tracking.errors import OptionError, TrackerError
from tracking.roboflow_adapter import RoboflowTracker, roboflow_parameters, roboflow_trackers
from tracking.trackers.temporal import TemporalOptions, TemporalTracker

NAMES = roboflow_trackers()
CLASSES = {
    "rf_bytetrack": "ByteTrackTracker",
    "rf_botsort": "BoTSORTTracker",
    "rf_ocsort": "OCSORTTracker",
    "rf_cbiou": "CBIoUTracker",
    "rf_sort": "SORTTracker",
}


def shaken_walkers(frames: int) -> list[tuple[Any, Any, Any]]:
    """Boxes of four people that walk to the right; some are missed, the others in another order in each frame."""
    generator = np.random.default_rng(4)
    lanes = np.arange(4)
    found = []
    for frame in range(frames):
        x, y = 20.0 + 3 * frame + 5 * lanes, 10.0 + 90 * lanes
        boxes = np.stack([x, y, x + 30, y + 70], axis=1) + generator.normal(0, 1, (4, 4))
        order = generator.permutation(4)[generator.random(4) > 0.1]
        found.append((boxes[order], generator.uniform(0.5, 0.95, 4)[order], lanes[order] * 0))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_those_of_the_package(name: str) -> None:
    import trackers

    extra = {"enable_cmc": False} if name == "rf_botsort" else {}
    theirs = getattr(trackers, CLASSES[name])(**extra)
    ours = RoboflowTracker(name, extra)
    assert not ours.uses_frame
    assert not ours.uses_embeddings
    tracked = 0
    for boxes, scores, classes in [*shaken_walkers(40), (np.empty((0, 4)), np.empty(0), np.empty(0, int))]:
        given = boxes.astype(np.float32), scores.astype(np.float32)
        ids, rows, smoothed = ours.update(*given, classes.astype(np.int64))
        found = theirs.update(supervision.Detections(xyxy=given[0], confidence=given[1], class_id=classes))
        expected = {tuple(box): int(t) for box, t in zip(found.xyxy, found.tracker_id, strict=True) if t >= 0}
        assert {tuple(given[0][row]): int(t) for row, t in zip(rows, ids, strict=True)} == expected
        assert smoothed.shape == (len(ids), 4)
        if len(ids):
            assert np.abs(smoothed - given[0][rows]).max() < 15, "each box stays with its own detection"
        tracked += len(ids)
    assert tracked > 40


def test_camera_motion_needs_frames() -> None:
    tracker = RoboflowTracker("rf_botsort", {})
    assert tracker.uses_frame
    image = np.random.default_rng(0).integers(0, 255, (400, 300, 3), np.uint8)
    for boxes, scores, classes in shaken_walkers(4):
        tracker.update(boxes.astype(np.float32), scores.astype(np.float32), classes.astype(np.int64), image)


def test_options_and_thresholds_have_the_package_s_names() -> None:
    options = TemporalOptions(name="rf_bytetrack", frame_rate=10, extra={"minimum_iou_threshold": 0.2})
    assert options.constructor_arguments(0.8) == {
        "high_conf_det_threshold": 0.4,
        "track_activation_threshold": 0.68,
        "lost_track_buffer": 45,
        "frame_rate": 10,
        "minimum_iou_threshold": 0.2,
    }
    for name in NAMES:
        plain = TemporalOptions(name=name)
        assert set(plain.constructor_arguments()) <= set(roboflow_parameters(name))
        assert not plain.takes_embeddings
    with pytest.raises(OptionError, match="minimum_iou_treshold") as raised:
        TemporalTracker(TemporalOptions(name="rf_sort", extra={"minimum_iou_treshold": 0.2}), have_embeddings=False)
    assert "minimum_iou_threshold" in str(raised.value.hint)
    with pytest.raises(TrackerError, match="refuses"):
        TemporalTracker(TemporalOptions(name="rf_sort", extra={"lost_track_buffer": -1}), have_embeddings=False)


def test_without_the_package_the_message_says_what_to_install() -> None:
    script = """
import importlib.util as util
found = util.find_spec
util.find_spec = lambda name, package=None: None if name == "trackers" else found(name, package)
from tracking.trackers.temporal import TemporalOptions, TemporalTracker
from gallery_db.errors import MissingPackageError
try:
    TemporalTracker(TemporalOptions(name="rf_bytetrack"), have_embeddings=False)
except MissingPackageError as error:
    print(error.message, error.hint)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert "rf_bytetrack needs roboflow's package trackers" in done.stdout
    assert "pip install 'gtrack-reid[trackers]'" in done.stdout


def test_neither_torch_nor_boxmot_is_loaded() -> None:
    script = """
import sys
import numpy as np
from tracking.roboflow_adapter import RoboflowTracker
tracker = RoboflowTracker("rf_bytetrack", {})
tracker.update(np.array([[1, 2, 30, 40]], np.float32), np.array([0.9], np.float32), np.array([0]))
print([name for name in ("torch", "boxmot") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
