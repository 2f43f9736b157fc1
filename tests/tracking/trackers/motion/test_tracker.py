"""The trackers by motion alone against those of BoxMOT: the same ids, detections and boxes, frame by frame."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tracking.boxmot_adapter import BoxmotTracker
from tracking.detections.reader import open_detections
from tracking.errors import TrackerError
from tracking.synthetic.config import SceneConfig
from tracking.synthetic.scene import iter_scene
from tracking.trackers.motion.settings import motion_settings
from tracking.trackers.motion.tracker import MotionTracker
from tracking.trackers.temporal import TemporalOptions, TemporalTracker

Frame = tuple[NDArray[np.float32], NDArray[np.float32]]

# gtrack's two: the BoxMOT tracker, and the options that gtrack gives it.
TRACKERS = {
    name: (options.tracker_name, options.constructor_arguments())
    for name in ("bytetrack", "botsort_motion")
    for options in [TemporalOptions(name=name)]
}


@dataclass(frozen=True)
class Crowd:
    """Boxes of people who walk at random, turn round at the edges, leave and come back."""

    people: int
    frames: int
    size: tuple[int, int] = (800, 600)
    jitter: float = 2.0
    missed: float = 0.1
    false: float = 0.1
    doubled: float = 0.0
    speed: float = 5.0
    grid: int = 0

    def generate(self, seed: int) -> list[Frame]:
        generator = np.random.default_rng(seed)
        count, size = self.people, np.array(self.size)
        place, speed = generator.uniform(0, size, (count, 2)), generator.normal(0, self.speed, (count, 2))
        height = generator.uniform(60, 160, count)
        half = np.stack([height / 5, height / 2], axis=1)
        frames = []
        for _ in range(self.frames):
            place = place + speed
            speed = np.where((place < 0) | (place > size), -speed, speed)
            moved = generator.random(count) < 0.005
            place[moved] = generator.uniform(0, size, (moved.sum(), 2))
            boxes = np.concatenate([place - half, place + half], axis=1) + generator.normal(0, self.jitter, (count, 4))
            low, high = generator.uniform(0.05, 0.5, count), generator.uniform(0.4, 1, count)
            scores = np.where(generator.random(count) < 0.3, low, high)
            kept = generator.random(count) > self.missed
            more = generator.poisson(self.false * count)
            corners = generator.uniform(0, size, (more, 2))
            boxes = np.concatenate(
                [boxes[kept], np.concatenate([corners, corners + generator.uniform(20, 150, (more, 2))], axis=1)]
            )
            scores = np.concatenate([scores[kept], generator.uniform(0.05, 0.95, more)])
            twice = generator.random(len(boxes)) < self.doubled
            boxes, scores = np.concatenate([boxes, boxes[twice]]), np.concatenate([scores, scores[twice]])
            if self.grid:
                boxes, scores = np.round(boxes / self.grid) * self.grid, np.round(scores, 1)
            order = generator.permutation(len(boxes))[: 0 if generator.random() < 0.03 else None]
            frames.append((boxes[order].astype(np.float32), scores[order].astype(np.float32)))
        return frames


CROWDS = {
    "few": Crowd(8, 100, size=(400, 300)),
    "dense": Crowd(25, 50, size=(400, 300)),
    "wide": Crowd(60, 20, size=(1920, 1080)),
    "150": Crowd(150, 8, size=(1920, 1080)),
    "fast": Crowd(20, 50, speed=25),
    "half missed": Crowd(30, 50, missed=0.5),
    # Equal costs: which of the best answers is taken must be the same as well.
    "doubled": Crowd(20, 40, doubled=0.3),
    "on a grid": Crowd(20, 50, size=(500, 400), grid=8, jitter=4),
    "standing doubles": Crowd(15, 40, size=(500, 400), grid=8, jitter=0, speed=0, doubled=0.2),
}


def assert_same(frames: Iterable[Frame], name: str, **options: Any) -> int:
    """Compare both trackers; returns the number of boxes with a track."""
    tracker_name, arguments = TRACKERS[name]
    arguments = {**arguments, **options}
    settings = motion_settings(tracker_name, arguments)
    assert settings is not None
    ours, theirs = MotionTracker(settings), BoxmotTracker(tracker_name, arguments)
    count = 0
    for number, (boxes, scores) in enumerate(frames):
        expected = theirs.update(boxes, scores, np.zeros(len(scores), np.int64))
        found = ours.update(boxes, scores)
        assert [part.tolist() for part in found[:2]] == [part.tolist() for part in expected[:2]], f"frame {number}"
        np.testing.assert_allclose(found[2], expected[2], atol=1e-3, rtol=0, err_msg=f"frame {number}")
        assert [part.dtype for part in found] == [np.int64, np.int64, np.float32]
        count += len(found[0])
    return count


@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.parametrize("crowd", CROWDS.values(), ids=CROWDS)
def test_crowds(crowd: Crowd, name: str) -> None:
    assert assert_same(crowd.generate(1), name) > 100


@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.parametrize(
    "options",
    [
        {"track_buffer": 1, "frame_rate": 10},
        {"track_buffer": 3},
        {"track_buffer": 50, "frame_rate": 25},
        {"match_thresh": 0.5},
        {"match_thresh": 1.0},
    ],
    ids=str,
)
def test_options(options: dict[str, Any], name: str) -> None:
    assert_same(Crowd(20, 40, size=(500, 400), missed=0.3).generate(2), name, **options)


def test_options_of_each() -> None:
    frames = Crowd(20, 40, size=(500, 400), missed=0.3).generate(3)
    assert_same(frames, "bytetrack", min_conf=0.3, track_thresh=0.6)
    assert_same(
        frames,
        "botsort_motion",
        track_low_thresh=0.2,
        new_track_thresh=0.7,
        second_match_thresh=0.7,
        unconfirmed_match_thresh=0.9,
        fuse_first_associate=False,
    )


@pytest.mark.parametrize("name", TRACKERS)
def test_removed_tracks(name: str) -> None:
    """Many short tracks, some of which come back in the frame of their removal and are lost again."""
    generator = np.random.default_rng(4)
    frames = []
    for _ in range(150):
        lanes = np.flatnonzero(generator.random(40) < 0.35)
        left = 100.0 * lanes + generator.normal(0, 2, len(lanes))
        boxes = np.stack([left, 0 * left, left + 40, 0 * left + 90], axis=1)
        frames.append((boxes.astype(np.float32), generator.uniform(0.5, 1, len(lanes)).astype(np.float32)))
    assert_same(frames, name, track_buffer=2)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_scene(name: str) -> None:
    frames = []
    for item in iter_scene(SceneConfig(seed=11, frames=250, people=10, strangers=6), images=False):
        boxes = np.array([d["bbox"] for d in item.detections], np.float32).reshape(-1, 4)
        frames.append((boxes, np.array([d["score"] for d in item.detections], np.float32)))
    assert assert_same(frames, name) > 1000


@pytest.mark.data
@pytest.mark.parametrize("name", TRACKERS)
def test_real_detections(data: Path, name: str) -> None:
    """PETS and whatever other det-v1 there is; with the default, their mirror images as well."""
    files = sorted((data / "video").glob("*.detections.json"))
    assert files
    for path in files:
        source = open_detections(path)
        every = [source.at(number) for number in range(int(source.video["frame_count"]))]
        frames = [(found.boxes.astype(np.float32), found.scores.astype(np.float32)) for found in every]
        assert assert_same(frames, name) > 1000
        if name == "bytetrack":
            continue
        mirrored = [(np.stack([768 - b[:, 2], b[:, 1], 768 - b[:, 0], b[:, 3]], axis=1), s) for b, s in frames]
        assert assert_same(mirrored, name) > 1000


@pytest.mark.parametrize("per_class", [False, True])
def test_classes(per_class: bool) -> None:
    """gtrack's tracker gives the same as BoxMOT's, which it uses where an option asks for it."""
    options = TemporalOptions(per_class=per_class)
    ours = TemporalTracker(options, have_embeddings=False)
    theirs = TemporalTracker(replace(options, extra={"asso_func": "iou"}), have_embeddings=False)
    generator = np.random.default_rng(5)
    for boxes, scores in Crowd(20, 40, size=(500, 400)).generate(5):
        classes = generator.choice([-1, 0, 2, 95], len(boxes))
        found, expected = (
            tracker.update(boxes.astype(np.float64), scores.astype(np.float64), classes) for tracker in (ours, theirs)
        )
        assert [part.tolist() for part in found[:2]] == [part.tolist() for part in expected[:2]]
        np.testing.assert_allclose(found[2], expected[2], atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", TRACKERS)
def test_its_memory_does_not_grow(name: str) -> None:
    """Short tracks at ever new places: after hundreds of removed ones, the tracker is as large as before."""
    settings = motion_settings(*TRACKERS[name])
    assert settings is not None
    tracker = MotionTracker(settings)
    sizes, last_id = [], -1
    for frame in range(900):
        left = frame // 3 % 60 * 120.0
        boxes = np.array([[left, 10, left + 30, 80], [left, 200, left + 30, 270]], np.float32)
        ids, _, _ = tracker.update(boxes, np.array([0.9, 0.8], np.float32))
        last_id = max([last_id, *ids.tolist()])
        if frame % 180 == 179:
            sizes.append(len(pickle.dumps(tracker)))
    assert last_id > 500
    assert max(sizes) < 1.1 * sizes[0]


@pytest.mark.parametrize("box", [[5, 5, 5, 9], [5, 5, 9, 4], [0, 0, np.nan, 9], [0, 0, np.inf, 9]], ids=str)
def test_rejects_boxes_without_area(box: list[float]) -> None:
    settings = motion_settings(*TRACKERS["bytetrack"])
    assert settings is not None
    with pytest.raises(TrackerError, match="x1 < x2"):
        MotionTracker(settings).update(np.array([box], np.float32), np.ones(1, np.float32))
