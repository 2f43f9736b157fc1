"""Temporal association over every BoxMOT tracker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tracking.boxmot_adapter import BoxmotTracker
from tracking.detections.reader import open_detections
from tracking.errors import OptionError, TrackerError
from tracking.trackers.temporal import DEFAULT_TEMPORAL, TemporalOptions, TemporalTracker, available_temporal

Frame = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]


def walkers(frames: int, *, count: int = 4, score: float = 0.9, classes: tuple[int, ...] = (0,)) -> list[Frame]:
    """Boxes that walk to the right on lanes of their own."""
    lanes = np.arange(count)
    found = []
    for frame in range(frames):
        x, y = 20.0 + 3 * frame + 5 * lanes, 10.0 + 90 * lanes
        boxes = np.stack([x, y, x + 30, y + 70], axis=1)
        found.append((boxes, np.full(count, score), np.array([classes[i % len(classes)] for i in lanes])))
    return found


def run(tracker: TemporalTracker, frames: list[Frame], **extra: Any) -> list[dict[int, int]]:
    """Detection index to track id, frame by frame."""
    answer = []
    for boxes, scores, classes in frames:
        ids, indices, smoothed = tracker.update(boxes, scores, classes, **extra)
        assert np.isfinite(smoothed).all()
        assert smoothed.shape == (len(ids), 4)
        assert len(set(ids.tolist())) == len(ids)
        answer.append(dict(zip(indices.tolist(), ids.tolist(), strict=True)))
    return answer


def reference(frames: list[Frame], **options: Any) -> list[dict[int, int]]:
    """BoxMOT's own ByteTrack, asked in its own way."""
    from boxmot import ByteTrack

    tracker = ByteTrack(**options)
    answer = []
    for boxes, scores, classes in frames:
        rows = np.concatenate([boxes, scores[:, None], classes[:, None]], axis=1).astype(np.float32)
        out = tracker.update(rows.reshape(-1, 6), None)
        answer.append({int(row[7]): int(row[4]) for row in out})
    return answer


def test_ids_are_those_of_bytetrack() -> None:
    generator = np.random.default_rng(1)
    frames = []
    for boxes, _, classes in walkers(120, count=6):
        kept = generator.random(6) > 0.15
        jitter = generator.normal(0, 2, (6, 4))
        frames.append(((boxes + jitter)[kept], generator.uniform(0.15, 0.95, 6)[kept], classes[kept]))
    options = TemporalOptions(name="bytetrack")
    assert run(TemporalTracker(options, have_embeddings=False), frames) == reference(frames)


@pytest.mark.data
def test_ids_are_those_of_bytetrack_on_pets(data: Path) -> None:
    source = open_detections(data / "video" / "pets09-s2l1.detections.json")
    frames = []
    for number in range(795):
        detections = source.at(number)
        frames.append((detections.boxes, detections.scores, detections.class_ids))
    options = {"track_thresh": 0.45, "match_thresh": 0.8, "track_buffer": 45, "frame_rate": 10}
    tracker = TemporalTracker(TemporalOptions(name="bytetrack").for_video(10.0), have_embeddings=False)
    assert run(tracker, frames) == reference(frames, **options)


def test_the_default_is_botsort_by_motion_alone() -> None:
    """The same ids as BoxMOT's own, with the score in the first matching; neither frames nor embeddings are needed."""
    from boxmot import BotSort

    generator = np.random.default_rng(3)
    theirs = BotSort(
        track_high_thresh=0.45,
        new_track_thresh=0.45,
        track_buffer=45,
        use_embeddings=False,
        use_cmc=False,
        fuse_first_associate=True,
    )
    tracker = TemporalTracker(TemporalOptions(), have_embeddings=True)
    assert (DEFAULT_TEMPORAL, tracker.uses_embeddings, tracker.uses_frame) == (available_temporal()[0], False, False)
    for boxes, _, classes in walkers(120, count=6):
        kept = generator.random(6) > 0.15
        shaken, scores = (boxes + generator.normal(0, 2, (6, 4)))[kept], generator.uniform(0.15, 0.95, 6)[kept]
        ids, indices, _ = tracker.update(shaken, scores, classes[kept].astype(np.int64))
        rows = np.concatenate([shaken, scores[:, None], classes[kept][:, None]], axis=1).astype(np.float32)
        out = theirs.update(rows, np.zeros((400, 400, 3), np.uint8))
        assert dict(zip(indices.tolist(), ids.tolist(), strict=True)) == {int(r[7]): int(r[4]) for r in out}


def test_an_option_overrides_a_preset() -> None:
    options = TemporalOptions(extra={"use_embeddings": True})
    assert options.takes_embeddings
    assert TemporalTracker(options, have_embeddings=True).uses_embeddings
    with pytest.raises(TrackerError, match="botsort_motion"):
        TemporalTracker(options, have_embeddings=False)
    assert not TemporalOptions(name="botsort", extra={"use_embeddings": False}).takes_embeddings


@pytest.mark.parametrize("name", available_temporal())
def test_every_tracker_follows_walkers(name: str) -> None:
    tracker = TemporalTracker(TemporalOptions(name=name), have_embeddings=True)
    generator = np.random.default_rng(2)
    image = generator.integers(0, 255, (400, 400, 3), np.uint8)
    embeddings = np.eye(4, 16, dtype=np.float32)
    answers = run(tracker, walkers(30), image=image, embeddings=embeddings)
    assert answers[-1].keys() == {0, 1, 2, 3}
    assert answers[-1] == answers[-10], "ids hold"


@pytest.mark.parametrize("classes", [(-1,), (80,), (0, 1), (-1, 95)], ids=str)
@pytest.mark.parametrize("per_class", [False, True])
def test_any_class_id(classes: tuple[int, ...], per_class: bool) -> None:
    tracker = TemporalTracker(TemporalOptions(per_class=per_class), have_embeddings=False)
    answers = run(tracker, walkers(10, classes=classes))
    assert len(set(answers[-1].values())) == 4
    assert answers[-1] == answers[2]


def test_per_class_keeps_classes_apart() -> None:
    """Two objects of different classes at one place: each keeps its own id and box."""
    tracker = TemporalTracker(TemporalOptions(per_class=True), have_embeddings=False)
    frames = []
    for frame in range(12):
        person = [100.0 + 4 * frame, 100, 130 + 4 * frame, 180]
        dog = [240.0 - 4 * frame, 110, 270 - 4 * frame, 180]
        order = [person, dog] if frame % 2 else [dog, person]
        kinds = [0, 16] if frame % 2 else [16, 0]
        frames.append((np.array(order, np.float64), np.array([0.9, 0.9]), np.array(kinds)))
    by_class: dict[int, set[int]] = {0: set(), 16: set()}
    for boxes, scores, kinds in frames:
        ids, indices, smoothed = tracker.update(boxes, scores, kinds)
        for track, index, box in zip(ids, indices, smoothed, strict=True):
            by_class[int(kinds[index])].add(int(track))
            assert np.abs(box - boxes[index]).max() < 15, "the box stays with its own detection"
    assert all(len(ids) == 1 for ids in by_class.values())
    assert by_class[0] != by_class[16]


def test_score_equal_to_the_threshold_is_tracked() -> None:
    tracker = TemporalTracker(TemporalOptions(track_thresh=0.45), have_embeddings=False)
    assert len(run(tracker, walkers(5, score=0.45))[-1]) == 4


def test_match_thresh_accepts_more_when_higher() -> None:
    generator = np.random.default_rng(3)
    frames = [(b + np.tile(generator.normal(0, 14, (4, 2)), 2), s, c) for b, s, c in walkers(80)]
    counts = {}
    for threshold in (0.3, 0.8):
        answers = run(TemporalTracker(TemporalOptions(match_thresh=threshold), have_embeddings=False), frames)
        counts[threshold] = len({t for answer in answers for t in answer.values()})
    assert counts[0.3] > counts[0.8]


def test_empty_frames_age_tracks() -> None:
    nobody: Frame = (np.empty((0, 4)), np.empty(0), np.empty(0, np.int64))
    for per_class in (False, True):
        tracker = TemporalTracker(TemporalOptions(track_buffer=5, per_class=per_class), have_embeddings=False)
        frames = [nobody, *walkers(5), *[nobody] * 30, *walkers(5)]
        answers = run(tracker, frames)
        assert not set(answers[5].values()) & set(answers[-1].values())


def test_instances_are_independent() -> None:
    first = run(TemporalTracker(TemporalOptions(), have_embeddings=False), walkers(6))
    assert run(TemporalTracker(TemporalOptions(), have_embeddings=False), walkers(6)) == first


def test_forgetting_removed_tracks_changes_no_result() -> None:
    """Thousands of short tracks: the trimmed tracker gives the ids of the untrimmed one."""
    frames = []
    for frame in range(900):
        x = (frame // 3) % 12 * 120.0
        frames.append((np.array([[x, 10, x + 30, 80], [x, 200, x + 30, 270]]), np.array([0.9, 0.8]), np.array([0, 0])))
    tracker = TemporalTracker(TemporalOptions(track_buffer=2), have_embeddings=False)
    found = run(tracker, frames)
    options = {"track_thresh": 0.45, "match_thresh": 0.8, "track_buffer": 2, "frame_rate": 30}
    assert found == reference(frames, **options)
    assert max(t for answer in found for t in answer.values()) > 500


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(TemporalOptions(name="bytetrak"), "bytetrack", id="unknown tracker"),
        pytest.param(TemporalOptions(track_thresh=1.5), "track_thresh", id="threshold out of range"),
        pytest.param(TemporalOptions(track_buffer=0), "track_buffer", id="no buffer"),
        pytest.param(TemporalOptions(extra={"colour": 1}), "colour", id="an option that the tracker has not"),
    ],
)
def test_rejects_invalid_options(options: TemporalOptions, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        TemporalTracker(options, have_embeddings=False)


def test_a_tracker_without_its_embeddings_is_rejected() -> None:
    with pytest.raises(TrackerError, match="needs ReID embeddings") as raised:
        TemporalTracker(TemporalOptions(name="strongsort"), have_embeddings=False)
    assert f'`temporal="{DEFAULT_TEMPORAL}"`.' in str(raised.value.hint)


def test_accepts_the_options_of_each_tracker() -> None:
    with pytest.raises(TrackerError, match="refuses"):
        BoxmotTracker("bytetrack", {"per_class": True, "class_ids": "many"})
    TemporalTracker(TemporalOptions(name="botsort", extra={"cmc_method": "sof"}), have_embeddings=False)
