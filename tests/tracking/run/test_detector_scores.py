"""Thresholds of a run that follow from the scores of its detections."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tracking import track_video
from tracking.run.detector_scores import sampled_level
from tracking.synthetic.config import SceneConfig
from tracking.synthetic.rendering import Scene, render_scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    config = SceneConfig(width=320, height=240, frames=40, people=3, strangers=1, false_positives=0.5)
    return render_scene(tmp_path_factory.mktemp("scene"), config)


def scaled(scene: Scene, factor: float) -> dict[str, Any]:
    """The scene's detections by a detector with scores on another scale."""
    document: dict[str, Any] = json.loads(scene.detections.read_bytes())
    for frame in document["frames"]:
        for one in frame["detections"]:
            one["score"] = round(one["score"] * factor, 6)
    return document


def run(scene: Scene, detections: Any, **options: Any) -> tuple[dict[str, Any], list[str], int]:
    """The configuration of a run, what it said, and the number of tracked boxes."""
    said: list[str] = []
    payload = track_video(
        dets_json=detections, video=scene.video, no_progress=True, notify=said.append, **options
    ).payload
    tracked = sum("track_id" in one for frame in payload["frames"] for one in frame["detections"])
    return payload["tracker"]["config"], said, tracked


def test_thresholds_follow_from_the_scores_of_a_file(scene: Scene) -> None:
    config, said, tracked = run(scene, scaled(scene, 1.0))
    level = round(config["track_thresh"] / 0.85, 1)
    assert config["track_thresh_from"] == "scores"
    assert 0.8 <= level <= 0.95
    assert config["first_thresh"] == pytest.approx(level / 2, abs=0.03)
    start, first = config["track_thresh"], config["first_thresh"]
    assert said == [
        f"a track starts at a score of {start:g}, and detections from {first:g} on are matched first: from the scores "
        "of all detections; `track_thresh` sets both."
    ]
    weak, _, weak_tracked = run(scene, scaled(scene, 0.45))
    assert weak["track_thresh"] == pytest.approx(config["track_thresh"] * 0.45, abs=0.02)
    assert weak_tracked > 0.7 * tracked > 0, "a detector with low scores is tracked as well"
    assert run(scene, scaled(scene, 0.45), track_thresh=0.45)[2] == 0


def test_explicit_thresholds_stay(scene: Scene) -> None:
    config, said, _ = run(scene, scaled(scene, 1.0), track_thresh=0.6)
    assert (config["track_thresh"], config["first_thresh"], config["track_thresh_from"], said) == (
        0.6,
        0.6,
        "option",
        [],
    )


def test_the_level_in_a_file_comes_first(scene: Scene) -> None:
    document = scaled(scene, 1.0)
    document["detector"]["score_level"] = 0.5
    config, said, _ = run(scene, document)
    assert (config["track_thresh"], config["first_thresh"]) == (0.42, 0.25)
    assert config["track_thresh_from"] == "detector"
    assert "this detector's scores" in said[0]


def test_nothing_is_known_of_detections_from_python(scene: Scene) -> None:
    boxes = [[10.0, 10, 60, 120, 0.9, 0]]
    config, said, _ = run(scene, [boxes] * 40)
    assert (config["track_thresh"], config["first_thresh"], config["track_thresh_from"]) == (0.45, 0.45, "default")
    assert said == ["a track starts at a score of 0.45: nothing is known of the scores; `track_thresh` changes it."]


def test_a_tracker_with_one_threshold(scene: Scene) -> None:
    config, said, _ = run(scene, scaled(scene, 1.0), temporal="bytetrack")
    assert config["track_thresh"] == config["first_thresh"]
    assert "matched first" not in said[0]


class Seer:
    """A detector that gives one box the score of its frame's number."""

    class_names: Mapping[int, str] = {0: "person"}

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts = facts
        self.frames = 0

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        self.frames += len(frames)
        return [np.array([[0, 0, 10, 10, 0.6, 0]], np.float32) for _ in frames]


def test_some_frames_say_the_level_of_an_unknown_detector(scene: Scene) -> None:
    unknown, known = Seer({"name": "mine"}), Seer({"score_level": 0.7})
    assert sampled_level(unknown, scene.video, 40, (None, None)) == 0.6
    assert unknown.frames == 16
    assert sampled_level(unknown, scene.video, 40, (38, None)) == 0.6
    assert unknown.frames == 18
    assert sampled_level(known, scene.video, 40, (None, None)) is None
    assert sampled_level(unknown, scene.video, None, (None, None)) is None
    assert (known.frames, unknown.frames) == (0, 18)


def test_saved_detections_have_the_thresholds_of_their_run(scene: Scene, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    options: dict[str, Any] = {"video": scene.video, "frame_range": (0, 2), "no_progress": True}
    first = track_video(detect="builtin", save_detections=saved, **options).payload
    again = track_video(dets_json=saved, **options).payload
    assert first["detector"]["score_level"] == again["detector"]["score_level"]
    keys = ("track_thresh", "first_thresh", "track_thresh_from")
    assert [first["tracker"]["config"][key] for key in keys] == [again["tracker"]["config"][key] for key in keys]
    assert first["tracker"]["config"]["track_thresh_from"] == "detector"
