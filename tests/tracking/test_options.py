"""The options of a run: one definition, from which `track_video` and `gtrack run` build them."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest

from tracking import DetectorOptions, LiveOptions, track_video
from tracking.errors import OptionError
from tracking.identification.gallery_source import EmbedderOptions
from tracking.options import RunOptions, detector_options, flat_arguments, parse_range
from tracking.outputs.options import OutputOptions
from tracking.trackers.temporal import TemporalOptions

INPUTS = {"dets_json", "detect", "video", "no_progress", "notify"}


def test_every_flat_argument_arrives_in_its_field() -> None:
    found = RunOptions.from_arguments(
        {
            "tracker": "gallery_only",
            "temporal": "bytetrack",
            "temporal_options": {"min_conf": 0.2},
            "track_thresh": 0.3,
            "reid_weights": "builtin",
            "threads": 2,
            "save_json": True,
            "save_video": "a.mp4",
            "out_dir": "runs",
            "class_names": ["person", "", "car"],
            "save_detections": "d.json",
            "max_frames": 7,
            "score_threshold": 0.5,
        }
    )
    assert found == RunOptions(
        tracker="gallery_only",
        temporal=TemporalOptions(name="bytetrack", extra={"min_conf": 0.2}, track_thresh=0.3),
        embedder=EmbedderOptions(weights="builtin", threads=2),
        output=OutputOptions(save_json=True, save_video="a.mp4", out_dir=Path("runs")),
        class_names={0: "person", 2: "car"},
        save_detections=Path("d.json"),
        live=LiveOptions(max_frames=7),
    )


def test_without_arguments_all_are_the_defaults() -> None:
    assert RunOptions.from_arguments({}) == RunOptions()


def test_an_unknown_argument() -> None:
    with pytest.raises(TypeError, match="no argument 'trakcer'"):
        RunOptions.from_arguments({"trakcer": "gallery_only"})


def test_no_two_parts_share_the_name_of_a_field() -> None:
    """A flat argument belongs to one part alone."""
    parts = (TemporalOptions, EmbedderOptions, OutputOptions, LiveOptions)
    names = [f.name for part in parts for f in dataclasses.fields(part)]
    assert len(names) == len(set(names))


def test_track_video_has_every_option_with_its_default() -> None:
    parameters = inspect.signature(track_video).parameters
    arguments = {name: p.default for name, p in parameters.items() if name not in INPUTS}
    arguments["save_json"] = arguments.pop("save_json_flag")
    assert (arguments.pop("temporal_options"), arguments.pop("live")) == (None, None)
    assert RunOptions.from_arguments(arguments) == RunOptions()
    of_live = {f.name for f in dataclasses.fields(LiveOptions)}
    of_detector = {f.name for f in dataclasses.fields(DetectorOptions)}
    missing = flat_arguments() - set(arguments) - INPUTS - of_live - of_detector - {"temporal_options", "live"}
    assert not missing, "each field of a run is an argument"


def test_the_detector_has_its_share_of_the_flat_arguments() -> None:
    arguments = {
        "classes": [0],
        "device": "cpu",
        "models_dir": "m",
        "nms_iou": 0.4,
        "class_names": ["a"],
        "gallery": "g",
    }
    assert detector_options("x.onnx", {**arguments, "gallery": "g"}) == DetectorOptions(
        weights="x.onnx", classes=[0], device="cpu", models_dir="m", nms_iou=0.4, class_names={0: "a"}
    )


@pytest.mark.parametrize(
    ("options", "field"),
    [
        pytest.param({"tracker": "hybrid"}, "tracker", id="tracker"),
        pytest.param({"backfill": True}, "backfill", id="backfill without names"),
        pytest.param({"explain": True, "gallery": "g"}, "explain", id="explain without a run folder"),
        pytest.param({"filter_gallery": True}, "filter_gallery", id="filter without a gallery"),
        pytest.param({"reid_frequency": 0}, "reid_frequency", id="frequency"),
        pytest.param({"gallery_match_threshold": 2.5}, "gallery_match_threshold", id="threshold"),
        pytest.param({"search": "fast"}, "search", id="search"),
        pytest.param({"frame_range": (3, 3)}, "frame_range", id="range"),
        pytest.param({"enroll": "named"}, "enroll", id="enroll"),
        pytest.param({"enroll": "all"}, "gallery", id="enroll without a gallery"),
        pytest.param({"grace_frames": -1}, "grace_frames", id="grace"),
        pytest.param({"source_id": "\n"}, "source_id", id="source"),
        pytest.param({"temporal": "sort"}, "temporal", id="temporal tracker"),
        pytest.param({"match_thresh": -0.1}, "match_thresh", id="match_thresh"),
        pytest.param({"max_obs": 0}, "max_obs", id="max_obs"),
        pytest.param({"run_name": "a/b"}, "run_name", id="run name"),
        pytest.param({"save_video": "clip"}, "save_video", id="video without a suffix"),
        pytest.param({"save_fps": 0}, "save_fps", id="fps"),
        pytest.param({"fourcc": "x"}, "fourcc", id="fourcc"),
        pytest.param({"trails": -1.0}, "trails", id="trails"),
        pytest.param({"trails": float("nan")}, "trails", id="trails without a number"),
        pytest.param({"line_width": 0}, "line_width", id="line width"),
        pytest.param({"blur": "faces"}, "blur", id="blur"),
        pytest.param({"blur": "unknown"}, "blur", id="blur by name without names"),
        pytest.param({"blur": "all", "gallery": "g", "filter_gallery": True}, "blur", id="boxes that blur needs"),
        pytest.param({"blur": "all", "save_crops": "c"}, "save_crops", id="crops of nobody"),
        pytest.param(
            {"blur": "all", "gallery": "g", "explain": True, "save_frames": True}, "explain", id="nothing explained"
        ),
        pytest.param({"tracker": "gallery_only", "gallery": "g", "trails": 1.0}, "trails", id="trails without tracks"),
        pytest.param({"tracker": "gallery_only", "gallery": "g", "blur": "named"}, "blur", id="blur without decisions"),
        pytest.param(
            {"tracker": "gallery_only", "gallery": "g", "save_crops": "c"}, "save_crops", id="crops without tracks"
        ),
    ],
)
def test_an_error_names_the_field_and_speaks_python(options: dict[str, Any], field: str) -> None:
    with pytest.raises(OptionError) as caught:
        RunOptions.from_arguments(options).validate()
    assert caught.value.field == field
    assert "--" not in str(caught.value)


@pytest.mark.parametrize("text", [":" + "9" * 30, "9" * 5000 + ":", "9" * 5000, "a:b"], ids=len)
def test_odd_ranges(text: str) -> None:
    with pytest.raises(OptionError, match="must be A:B") as caught:
        parse_range(text)
    assert len(caught.value.message) < 300
