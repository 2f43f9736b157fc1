"""Which options the trackers by motion alone can follow."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tracking.errors import OptionError
from tracking.trackers.motion.settings import motion_settings
from tracking.trackers.temporal import TemporalOptions, TemporalTracker, available_temporal


@pytest.mark.parametrize("name", available_temporal())
def test_two_trackers_are_gtracks_own(name: str) -> None:
    options = TemporalOptions(name=name)
    is_own = motion_settings(options.tracker_name, options.constructor_arguments()) is not None
    assert is_own == (name in {"bytetrack", "botsort_motion"})


@pytest.mark.parametrize(
    ("name", "extra", "is_own"),
    [
        pytest.param("bytetrack", {"min_conf": 0.2}, True, id="a threshold"),
        pytest.param("bytetrack", {"asso_func": "giou"}, False, id="another matching"),
        pytest.param("botsort_motion", {"use_cmc": True}, False, id="camera motion"),
        pytest.param("botsort_motion", {"use_embeddings": True}, False, id="embeddings"),
        pytest.param("botsort", {"use_cmc": False}, False, id="BotSort with embeddings"),
        pytest.param("botsort", {"use_cmc": False, "use_embeddings": False}, True, id="BotSort by motion alone"),
    ],
)
def test_options_choose_the_tracker(name: str, extra: dict[str, Any], is_own: bool) -> None:
    options = TemporalOptions(name=name, extra=extra)
    found = motion_settings(options.tracker_name, options.constructor_arguments())
    assert (found is not None) == is_own


@pytest.mark.parametrize(("frame_rate", "frames"), [(None, 45), (30, 45), (10, 15), (60, 90), (1, 1)])
def test_the_buffer_is_in_frames_of_30_per_second(frame_rate: int | None, frames: int) -> None:
    for name in ("bytetrack", "botsort_motion"):
        options = TemporalOptions(name=name, frame_rate=frame_rate)
        found = motion_settings(options.tracker_name, options.constructor_arguments())
        assert found is not None
        assert found.max_lost == frames


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"track_low_thresh": "low"}, "a number from 0 to 1000000000 for track_low_thresh, found 'low'"),
        ({"track_low_thresh": True}, "a number from .* for track_low_thresh, found True"),
        ({"track_buffer": float("inf")}, "a number from .* for track_buffer, found inf"),
        ({"track_buffer": float("nan")}, "a number from .* for track_buffer, found nan"),
        ({"frame_rate": 10**400}, "a number from .* for frame_rate"),
        ({"second_match_thresh": -0.1}, "a number from .* for second_match_thresh, found -0.1"),
        ({"fuse_first_associate": 1}, "true or false for fuse_first_associate, found 1"),
    ],
    ids=str,
)
def test_rejects_unusable_values(extra: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        TemporalTracker(TemporalOptions(extra=extra), have_embeddings=False)


def test_neither_boxmot_nor_torch_is_loaded() -> None:
    """Nor anything else that is heavy, to check options and to track."""
    script = """
import sys
import numpy as np
from tracking.trackers.temporal import TemporalOptions, TemporalTracker
boxes = np.array([[10.0, 10, 40, 80], [20, 10, 50, 80], [28, 10, 60, 80]])
for name in ("bytetrack", "botsort_motion"):
    tracker = TemporalTracker(TemporalOptions(name=name), have_embeddings=True)
    for _ in range(3):
        tracker.update(boxes, np.array([0.9, 0.8, 0.9]), np.array([0, 0, 0]))
heavy = "torch boxmot scipy pandas cv2 matplotlib PIL onnxruntime pyarrow chromadb".split()
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
