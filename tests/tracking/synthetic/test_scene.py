from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

from tracking.detections.reader import open_detections
from tracking.detections.video_check import check_against_video
from tracking.errors import OptionError, OutputError
from tracking.schemas import load_schema
from tracking.synthetic.config import SceneConfig, cast_names
from tracking.synthetic.gallery_crops import gallery_crops
from tracking.synthetic.rendering import Scene, render_scene
from tracking.synthetic.scene import SceneFrame, iter_scene, make_detections

SHORT = SceneConfig(width=320, height=180, frames=40)


@pytest.fixture(scope="module")
def short_scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return render_scene(tmp_path_factory.mktemp("short"), SHORT)


@pytest.fixture(scope="module")
def default_frames() -> list[SceneFrame]:
    return list(iter_scene(SceneConfig(), images=False))


def test_files(short_scene: Scene) -> None:
    known, strangers = cast_names(SHORT)
    assert sorted(path.name for path in short_scene.folder.iterdir()) == [
        "detections.json",
        "gallery",
        "scene.mp4",
        "truth.json",
    ]
    assert sorted(path.name for path in short_scene.gallery.iterdir()) == sorted(known)
    for name in known:
        crops = [cv2.imread(str(path)) for path in (short_scene.gallery / name).iterdir()]
        assert len(crops) == 6
        for crop in crops:
            assert crop is not None
            assert crop.shape[0] > crop.shape[1] > 40
            assert crop.std() > 10
    truth = json.loads(short_scene.truth.read_bytes())
    assert (truth["known"], truth["strangers"]) == (list(known), list(strangers))
    assert [entry["frame"] for entry in truth["frames"]] == list(range(40))
    for expected, entry in zip(iter_scene(SHORT, images=False), truth["frames"], strict=True):
        people = [{"name": t.name, "box": list(t.box), "visible": t.visible} for t in expected.truth]
        assert entry["people"] == people


def test_detections_file(short_scene: Scene) -> None:
    document = json.loads(short_scene.detections.read_bytes())
    jsonschema.Draft202012Validator(load_schema("det-v1")).validate(document)
    assert document == make_detections(SHORT)
    assert document["detector"]["name"] == "gtrack-demo"
    source = open_detections(short_scene.detections)
    assert len(source.frame_numbers) == 40
    assert source.class_names[0] == "person"
    assert check_against_video(source, width=320, height=180, frame_count=40, path=str(short_scene.video)) == []


def test_video(short_scene: Scene) -> None:
    capture = cv2.VideoCapture(str(short_scene.video))
    try:
        assert capture.get(cv2.CAP_PROP_FPS) == 25
        count = 0
        for item in iter_scene(SHORT):
            ok, image = capture.read()
            assert ok
            assert item.image is not None
            assert item.image.dtype == np.uint8
            assert image.shape == item.image.shape == (180, 320, 3)
            # The codec loses a little; another frame would differ more.
            assert np.abs(image.astype(int) - item.image).mean() < 8
            count += 1
        assert not capture.read()[0]
        assert count == 40
    finally:
        capture.release()


def test_images_do_not_change_truth_and_detections() -> None:
    for drawn, computed in zip(iter_scene(SHORT), iter_scene(SHORT, images=False), strict=True):
        assert computed.image is None
        assert (drawn.frame, drawn.truth, drawn.detections) == (computed.frame, computed.truth, computed.detections)


def test_same_config_same_images() -> None:
    for one, two in zip(iter_scene(SHORT), iter_scene(SHORT), strict=True):
        assert np.array_equal(one.image, two.image)  # type: ignore[arg-type]
    for (name, one_crop), (other, two_crop) in zip(gallery_crops(SHORT), gallery_crops(SHORT), strict=True):
        assert name == other
        assert np.array_equal(one_crop, two_crop)


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_independent_of_the_hash_seed(hash_seed: str) -> None:
    code = (
        "import json, sys\n"
        "from tracking.synthetic.config import SceneConfig\n"
        "from tracking.synthetic.scene import make_detections\n"
        "text = json.dumps(make_detections(SceneConfig(frames=50)))\n"
        "assert 'cv2' not in sys.modules\nprint(text)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert json.loads(done.stdout) == make_detections(SceneConfig(frames=50))


def test_people_come_back_after_an_absence(default_frames: list[SceneFrame]) -> None:
    seen: dict[str, list[int]] = defaultdict(list)
    for item in default_frames:
        for person in item.truth:
            seen[person.name].append(item.frame)
    known, strangers = cast_names(SceneConfig())
    assert set(seen) == {*known, *strangers}
    back = {name for name, frames in seen.items() if any(b - a > 60 for a, b in pairwise(frames))}
    assert len(back & set(known)) >= 4
    assert back & set(strangers)


def test_people_hide_one_another(default_frames: list[SceneFrame]) -> None:
    visible = [person.visible for item in default_frames for person in item.truth]
    assert sum(value < 0.25 for value in visible) > 50
    assert sum(0.25 <= value < 0.75 for value in visible) > 150
    assert sum(value > 0.95 for value in visible) > len(visible) / 2
    assert max(len(item.truth) for item in default_frames) >= 6


def overlap(a: Any, b: Any) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def test_detections_resemble_those_of_a_detector(default_frames: list[SceneFrame]) -> None:
    scores: dict[str, list[float]] = defaultdict(list)
    missed = seen = 0
    for item in default_frames:
        assert [d["det_ind"] for d in item.detections] == list(range(len(item.detections)))
        people = [d for d in item.detections if d["class_id"] == 0]
        for person in item.truth:
            if person.visible > 0.95:
                seen += 1
                missed += not any(overlap(person.box, d["bbox"]) > 0.7 for d in people)
        for found in item.detections:
            assert 0 <= found["bbox"][0] < found["bbox"][2] <= 640
            assert 0 <= found["bbox"][1] < found["bbox"][3] <= 360
            matches = [person for person in item.truth if overlap(person.box, found["bbox"]) > 0.6]
            if found["class_id"] == 2:
                assert found["class_name"] == "car"
                scores["car"].append(found["score"])
            elif not matches:
                scores["false"].append(found["score"])
            elif len(matches) == 1:
                scores["hidden" if matches[0].visible < 0.5 else "plain"].append(found["score"])
    assert 0.005 < missed / seen < 0.06
    assert len(scores["car"]) > 50
    assert len(scores["false"]) > 20
    assert min(scores["false"]) < 0.3
    assert max(scores["false"]) > 0.45
    assert np.median(scores["hidden"]) < 0.65 < 0.85 < np.median(scores["plain"])


def test_hidden_people_are_not_detected(default_frames: list[SceneFrame]) -> None:
    config = SceneConfig(jitter=0, miss_rate=0, false_positives=0)
    for item in iter_scene(config, images=False):
        visible = [person for person in item.truth if person.visible >= 0.25]
        assert sum(d["class_id"] == 0 for d in item.detections) <= len(visible)


def test_figures_are_drawn_in_their_true_boxes() -> None:
    config = SceneConfig(people=1, strangers=0, frames=100, noise=0)
    frames = [item for item in iter_scene(config) if not any(d["class_id"] == 2 for d in item.detections)]
    images = [item.image for item in frames if item.image is not None]
    background = np.median(np.stack(images), axis=0)
    overlaps = []
    for item, image in zip(frames, images, strict=True):
        if not item.truth or item.truth[0].visible < 0.99:
            continue
        light = np.median(image / np.maximum(background, 1))
        changed = np.abs(image - background * light).max(axis=2) > 40
        _, top, _, feet = item.truth[0].box
        # The shadow at the feet is no part of the person.
        changed[round(feet - 0.08 * (feet - top)) :] = False
        columns, rows = np.flatnonzero(changed.any(axis=0)), np.flatnonzero(changed.any(axis=1))
        overlaps.append(overlap(item.truth[0].box, (columns[0], rows[0], columns[-1] + 1, feet)))
    assert len(overlaps) > 20
    assert np.median(overlaps) > 0.8


def test_two_clips_of_the_same_cast() -> None:
    one, two = SceneConfig(frames=3), SceneConfig(frames=3, clip=1)
    assert cast_names(one) == cast_names(two)
    for (name, first), (other, second) in zip(gallery_crops(one), gallery_crops(two), strict=True):
        assert name == other
        assert np.array_equal(first, second)
    images = [next(iter_scene(config)).image for config in (one, two)]
    assert np.abs(images[0].astype(int) - images[1]).mean() > 15  # type: ignore[union-attr, operator]
    assert make_detections(one)["frames"] != make_detections(two)["frames"]


def hue_histogram(crop: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Colours of the upper and the lower half of a crop's middle, as a unit vector."""
    height, width = crop.shape[:2]
    middle = crop[height // 8 :, int(0.3 * width) : int(0.7 * width)]
    parts = []
    for half in np.array_split(middle, 2):
        hsv = cv2.cvtColor(half, cv2.COLOR_BGR2HSV)
        counts = cv2.calcHist([hsv], [0, 1, 2], None, [12, 4, 4], [0, 180, 0, 256, 0, 256]).ravel()
        parts.append(np.sqrt(counts / counts.sum()))
    vector = np.concatenate(parts)
    return np.asarray(vector / np.linalg.norm(vector))


@pytest.mark.parametrize(
    ("similar_clothes", "least", "most"),
    [pytest.param(0.0, 0.75, 1.0, id="distinct"), pytest.param(1.0, 0.0, 0.7, id="all the same")],
)
def test_clothes_distinguish_people(similar_clothes: float, least: float, most: float) -> None:
    config = SceneConfig(frames=300, strangers=0, similar_clothes=similar_clothes)
    gallery = [(name, hue_histogram(crop)) for name, crop in gallery_crops(config)]
    right = total = 0
    for item in iter_scene(config):
        if item.frame % 12 or item.image is None:
            continue
        for person in item.truth:
            if person.visible < 0.95:
                continue
            x1, y1, x2, y2 = (int(value) for value in person.box)
            probe = hue_histogram(item.image[y1:y2, x1:x2])
            right += max(gallery, key=lambda entry: float(entry[1] @ probe))[0] == person.name
            total += 1
    assert total > 40
    assert least <= right / total <= most


def test_a_long_scene() -> None:
    last: SceneFrame | None = None
    people = 0
    for item in iter_scene(SceneConfig(frames=20_000), images=False):
        last = item
        people += len(item.truth)
    assert last is not None
    assert last.frame == 19_999
    assert people > 3 * 20_000


CONFIGS: dict[str, dict[str, Any]] = {
    "one frame": {"frames": 1},
    "smallest": {"width": 160, "height": 120, "frames": 30},
    "upright": {"width": 240, "height": 426, "frames": 30},
    "all people": {"people": 12, "strangers": 6, "frames": 60},
    "one person": {"people": 1, "strangers": 0, "frames": 30},
    "fast camera": {"fps": 100.0, "frames": 30},
    "many false positives": {"false_positives": 5.0, "jitter": 0.2, "noise": 50, "frames": 20},
    "all missed": {"miss_rate": 1.0, "frames": 20},
    "other seed and clip": {"seed": 123_456, "clip": 9, "frames": 20},
    "half similar": {"similar_clothes": 0.5, "frames": 10},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_unusual_configurations_are_rendered(name: str) -> None:
    config = SceneConfig(**CONFIGS[name])
    assert sum(1 for item in iter_scene(config) if item.image is not None) == config.frames
    open_detections(make_detections(config))


WRONG: dict[str, dict[str, Any]] = {
    "no frames": {"frames": 0},
    "odd width": {"width": 641},
    "too small": {"height": 20},
    "no people": {"people": 0},
    "too many people": {"people": 13},
    "too many strangers": {"strangers": 7},
    "rate above 1": {"miss_rate": 1.5},
    "negative noise": {"noise": -1},
    "not a number": {"jitter": float("nan")},
    "no fps": {"fps": 0},
}


@pytest.mark.parametrize("name", WRONG)
def test_rejects_invalid_configurations(name: str) -> None:
    with pytest.raises(OptionError, match="expected"):
        SceneConfig(**WRONG[name])


def test_progress_and_rendering_again(tmp_path: Path) -> None:
    config = SceneConfig(width=160, height=120, frames=3, people=1)
    calls: list[tuple[int, int]] = []
    for _ in range(2):
        render_scene(tmp_path / "new" / "scene", config, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)] * 2


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written there"):
        render_scene(tmp_path / "file" / "scene", SHORT)
