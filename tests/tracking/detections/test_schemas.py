from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tracking.detections.reader import open_detections
from tracking.errors import DetectionsError, OptionError
from tracking.schemas import load_schema, schema_names


def valid(name: str, document: object) -> bool:
    return jsonschema.Draft202012Validator(load_schema(name)).is_valid(document)


def det(**changes: Any) -> dict[str, Any]:
    """A document of one detection; a change of `...` takes the key away."""
    detection = {"bbox": [1, 2, 30.5, 40], "score": 0.5, "class_id": 0, "det_ind": 0, **changes}
    return document(frame(detections=[{key: value for key, value in detection.items() if value is not ...}]))


def frame(**changes: Any) -> dict[str, Any]:
    entry = {"frame": 0, "detections": [], **changes}
    return {key: value for key, value in entry.items() if value is not ...}


def document(*frames: Any, **changes: Any) -> dict[str, Any]:
    whole = {"schema_version": "det-v1", "frames": list(frames), **changes}
    return {key: value for key, value in whole.items() if value is not ...}


# name: (document, is good). The schema and the reader must both say so.
DOCUMENTS: dict[str, tuple[Any, bool]] = {
    "one detection": (det(), True),
    "no frames": (document(), True),
    "an empty frame": (document(frame()), True),
    "sparse and unordered frames": (document(frame(frame=9), frame(frame=2)), True),
    "aliases": (
        document(frame(frame=..., frame_index=3, detections=[{"xyxy": [0, 0, 9, 9], "conf": 1, "class": 2}])),
        True,
    ),
    "an alias beside its key": (det(xyxy=None, conf="?", **{"class": None}), True),
    "extra keys": (det(probs=[0.1, 0.9], text_prompt="a dog", keypoints=[[1, 2, 0.3]]), True),
    "no det_ind": (det(det_ind=...), True),
    "class -1": (det(class_id=-1), True),
    "class 80 and more": (det(class_id=364), True),
    "integral floats": (det(class_id=2.0, det_ind=0.0), True),
    "score 0": (det(score=0), True),
    "score 1": (det(score=1), True),
    "box reaching out of the image": (det(bbox=[-20, -5, 30, 9000]), True),
    "class_name": (det(class_name="person"), True),
    "class_name null": (det(class_name=None), True),
    "video facts": (document(video={"path": "a.mp4", "fps": 25, "width": 640, "height": None}), True),
    "video null": (document(video=None), True),
    "detector": (document(detector={"name": "x"}, frames_dir=None), True),
    "not an object": ([], False),
    "no version": (document(schema_version=...), False),
    "version null": (document(schema_version=None), False),
    "another version": (document(schema_version="det-v2"), False),
    "a track-v1 document": (document(schema_version="track-v1"), False),
    "no list of frames": (document(frames=...), False),
    "frames is an object": (document(frames={"0": []}), False),
    "frames null": (document(frames=None), False),
    "frame entry is a list": (document([]), False),
    "frame number missing": (document(frame(frame=...)), False),
    "frame number negative": (document(frame(frame=-1)), False),
    "frame number a bool": (document(frame(frame=True)), False),
    "frame number a string": (document(frame(frame="7")), False),
    "frame number a fraction": (document(frame(frame=1.5)), False),
    "frame number null beside a good alias": (document(frame(frame=None, frame_index=1)), False),
    "frame number out of range": (document(frame(frame=2**31)), False),
    "detections missing": (document(frame(detections=...)), False),
    "detections null": (document(frame(detections=None)), False),
    "detection is a list": (document(frame(detections=[[1, 2, 3, 4]])), False),
    "bbox missing": (det(bbox=...), False),
    "bbox null": (det(bbox=None), False),
    "bbox of 3": (det(bbox=[1, 2, 3]), False),
    "bbox of 5": (det(bbox=[1, 2, 3, 4, 5]), False),
    "bbox of strings": (det(bbox=["1", "2", "3", "4"]), False),
    "bbox a string": (det(bbox="1234"), False),
    "bbox with a bool": (det(bbox=[False, 2, 3, 4]), False),
    "bbox with null": (det(bbox=[1, 2, None, 4]), False),
    "bbox out of range": (det(bbox=[1, 2, 1e6, 4]), False),
    "score missing": (det(score=...), False),
    "score null": (det(score=None), False),
    "score a string": (det(score="0.5"), False),
    "score a bool": (det(score=True), False),
    "score above 1": (det(score=1.001), False),
    "score below 0": (det(score=-0.1), False),
    "class missing": (det(class_id=...), False),
    "class null": (det(class_id=None), False),
    "class a bool": (det(class_id=True), False),
    "class a string": (det(class_id="person"), False),
    "class a fraction": (det(class_id=0.5), False),
    "class out of range": (det(class_id=2**40), False),
    "det_ind negative": (det(det_ind=-1), False),
    "det_ind null": (det(det_ind=None), False),
    "class_name a number": (det(class_name=7), False),
    "video a string": (document(video="a.mp4"), False),
    "video width a string": (document(video={"width": "640"}), False),
    "video fps a bool": (document(video={"fps": True}), False),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_reader_and_schema_agree(name: str, tmp_path: Path) -> None:
    content, good = DOCUMENTS[name]
    assert valid("det-v1", content) is good
    path = tmp_path / "detections.json"
    path.write_text(json.dumps(content))
    for source in (path, content):
        if source is content and not isinstance(content, dict):
            continue
        if good:
            open_detections(source)
        else:
            with pytest.raises(DetectionsError):
                open_detections(source)


TRACKED: dict[str, Any] = {
    "schema_version": "track-v1",
    "parent_schema_version": "det-v1",
    "video": {"path": "a.mp4", "fps": 25.0, "frame_count": 2, "width": 640, "height": 360},
    "detector": {"name": "x"},
    "created_at_utc": "2026-01-02T03:04:05+00:00",
    "tracker": {
        "name": "gallery_hybrid",
        "class_filter": {"track_classes": None, "filter_gallery_for_tracked_classes": False},
        "config": {"track_thresh": 0.45},
    },
    "frames": [
        {
            "frame": 0,
            "file": "000000.jpg",
            "detections": [
                {"bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5, "class_id": 0, "det_ind": 0, "track_id": "1"},
                {"bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.1, "class_id": 2, "det_ind": 1, "probs": [0.5]},
            ],
        }
    ],
}


def tracked(key: str, value: Any, at: str = "detection") -> dict[str, Any]:
    result = copy.deepcopy(TRACKED)
    place = {"top": result, "tracker": result["tracker"], "detection": result["frames"][0]["detections"][0]}[at]
    if value is ...:
        del place[key]
    else:
        place[key] = value
    return result


TRACK_DOCUMENTS: dict[str, tuple[dict[str, Any], bool]] = {
    "as the predecessor writes it": (TRACKED, True),
    "an identity": (tracked("gallery_id", "anna"), True),
    "track classes as ids": (
        tracked("class_filter", {"track_classes": [0], "filter_gallery_for_tracked_classes": True}, "tracker"),
        True,
    ),
    "no frames": (tracked("frames", [], "top"), True),
    "further keys": (tracked("gallery", {"path": "x"}, "top"), True),
    "track_id a number": (tracked("track_id", 1), False),
    "gallery_id null": (tracked("gallery_id", None), False),
    "gallery_distance without gallery_id": (tracked("gallery_distance", 0.1), False),
    "no created_at_utc": (tracked("created_at_utc", ..., "top"), False),
    "local time": (tracked("created_at_utc", "2026-01-02T03:04:05+02:00", "top"), False),
    "no tracker config": (tracked("config", ..., "tracker"), False),
    "det-v1": (tracked("schema_version", "det-v1", "top"), False),
    "no bbox": (tracked("bbox", ...), False),
}


@pytest.mark.parametrize("name", TRACK_DOCUMENTS)
def test_track_v1(name: str) -> None:
    content, good = TRACK_DOCUMENTS[name]
    assert valid("track-v1", content) is good


@pytest.mark.parametrize(
    ("distance", "good"), [(0, True), (0.25, True), (2, True), (-0.1, False), (2.1, False), ("0.2", False)]
)
def test_gallery_distance_range(distance: object, good: bool) -> None:
    content = tracked("gallery_id", "anna")
    content["frames"][0]["detections"][0]["gallery_distance"] = distance
    assert valid("track-v1", content) is good


def test_schemas_are_schemas() -> None:
    assert schema_names() == ("det-v1", "track-v1")
    for name in schema_names():
        jsonschema.Draft202012Validator.check_schema(load_schema(name))


def test_load_schema_gives_a_new_dict() -> None:
    load_schema("det-v1").clear()
    assert load_schema("det-v1")


def test_unknown_schema() -> None:
    with pytest.raises(OptionError, match="det-v1, track-v1"):
        load_schema("../det-v1")


@pytest.mark.data
def test_real_detections(data: Path) -> None:
    path = data / "video" / "pets09-s2l1.detections.json"
    assert valid("det-v1", json.loads(path.read_bytes()))
