"""Reading track-v1: its content, the errors, and the memory."""

from __future__ import annotations

import json
import math
import os
import tracemalloc
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from support.tracks import make_detection, make_document, write_json

from tracking import read_tracks, track_video
from tracking.errors import TracksError
from tracking.results.header import run_video, video_name
from tracking.schemas import load_schema
from tracking.synthetic.rendering import Scene

GOOD = make_document(
    {
        3: [
            make_detection("7", "ann", 0.125, box=(1, 2, 30.5, 40)),
            make_detection(None, score=0.25, class_id=2, class_name=None),
        ],
        5: [],
        9: [make_detection("8", det_ind=4, score=None, class_id=-1)],
    }
)


def test_frames_are_arrays(tmp_path: Path) -> None:
    jsonschema.validate(GOOD, load_schema("track-v1"))
    for source in (write_json(tmp_path / "t.json", GOOD), GOOD, read_tracks(GOOD)):
        reader = read_tracks(source)
        assert (reader.fps, reader.size, reader.frame_count, reader.has_tracks) == (10.0, (200, 100), 100, True)
        assert {key: value for key, value in GOOD.items() if key != "frames"} == reader.header
        first, second, third = list(reader)
        assert [f.frame for f in reader] == [3, 5, 9], "a reader can be gone through again"
        assert (len(first), first.file, first.tracked) == (2, "000003.jpg", [0])
        assert first.boxes.dtype == np.float64
        assert first.boxes.tolist() == [[1, 2, 30.5, 40], [10, 20, 30, 60]]
        assert first.track_ids == ("7", None)
        assert first.gallery_ids == ("ann", None)
        assert first.distances[0] == 0.125
        assert math.isnan(first.distances[1])
        assert first.class_ids.tolist() == [0, 2]
        assert first.class_names == ("person", None)
        assert second.boxes.shape == (0, 4)
        assert math.isnan(third.scores[0])
        assert (third.det_inds.tolist(), third.class_ids.tolist()) == ([4], [-1])


def test_reads_only_selected_classes() -> None:
    assert [len(f) for f in read_tracks(GOOD, classes=[2])] == [1, 0, 0]
    assert [len(f) for f in read_tracks(read_tracks(GOOD), classes=[0, -1])] == [1, 0, 1]
    assert [len(f) for f in read_tracks(GOOD, classes=["Person"])] == [1, 0, 1]


def test_accepts_aliases_and_integers_as_track_ids() -> None:
    odd = {"xyxy": [0, 0, 5, 5], "conf": 1, "class": 3, "track_id": 6}
    content = make_document([{"frame_index": 4, "detections": [odd]}])
    (frame,) = read_tracks(content)
    assert (frame.frame, frame.track_ids, frame.scores.tolist(), frame.class_ids.tolist()) == (4, ("6",), [1.0], [3])
    assert frame.boxes.tolist() == [[0, 0, 5, 5]]


def test_a_header_behind_the_frames_is_found(tmp_path: Path) -> None:
    turned = {"schema_version": "track-v1", "frames": GOOD["frames"]} | {k: v for k, v in GOOD.items() if k != "frames"}
    turned = {key: turned[key] for key in ("frames", "video", "tracker", "schema_version")}
    reader = read_tracks(write_json(tmp_path / "t.json", turned))
    assert (reader.fps, reader.tracker["name"]) == (10.0, "gallery_hybrid")
    assert [f.frame for f in reader] == [3, 5, 9]


def test_reads_the_payload_of_a_run(scene: Scene, tmp_path: Path) -> None:
    saved: dict[str, Any] = {"save_json_flag": True, "out_dir": tmp_path}
    for more in ({}, saved):
        result = track_video(
            dets_json=scene.detections, video=scene.video, frame_range=(0, 20), no_progress=True, **more
        )
        frames = list(read_tracks(result))
        assert [f.frame for f in frames] == list(range(20))
        assert sum(len(f.tracked) for f in frames) == result.stats["tracked"] > 20


def noted(video: Any, config: Any) -> dict[str, Any]:
    return {"video": video, "tracker": {"name": "gallery_hybrid", "config": config}}


@pytest.mark.parametrize(
    ("header", "path", "name"),
    [
        pytest.param(noted({"path": "a/dets.mp4"}, {"video": "b/run.mp4"}), "b/run.mp4", "run.mp4", id="the run's own"),
        pytest.param(noted({"path": "a/dets.mp4"}, {}), "a/dets.mp4", "dets.mp4", id="the detections'"),
        pytest.param(noted(None, {"video": "b/run.mp4"}), "b/run.mp4", "run.mp4", id="the run's alone"),
        pytest.param(noted({}, {"video": "rtsp://***@x/y?..."}), "rtsp://***@x/y?...", "rtsp://***@x/y?...", id="live"),
        pytest.param(noted({"path": None}, None), None, None, id="neither"),
        pytest.param({}, None, None, id="an empty header"),
    ],
)
def test_finds_the_video_of_a_run(header: dict[str, Any], path: str | None, name: str | None) -> None:
    assert (run_video(header), video_name(header)) == (path, name)


def detection(**changes: Any) -> Any:
    return make_document(
        {0: [make_detection("1", "ann", 0.1)], 2: [make_detection("3"), make_detection("1", "ann", 0.1) | changes]}
    )


# name: (document, what the message says)
BAD: dict[str, tuple[Any, str]] = {
    "detections": (make_document({}, schema_version="det-v1"), "det-v1.*gtrack run"),
    "another version": (
        make_document({}, schema_version="track-v2"),
        "expected schema_version 'track-v1', found 'track-v2'",
    ),
    "no version": (make_document({}, schema_version=...), "found none"),
    "frames is an object": (make_document({}) | {"frames": {"0": []}}, "expected frames as a list"),
    "frame is a list": (make_document([[]]), r"expected a frame \(an object\), found \[\]"),
    "no number": (make_document([{"detections": []}]), "expected a frame number from 0 on, found None"),
    "a number below 0": (make_document([{"frame": -1, "detections": []}]), "found -1"),
    "a bool for a number": (make_document([{"frame": True, "detections": []}]), "found True"),
    "twice a frame": (make_document([{"frame": 4, "detections": []}] * 2), "frame 4: .* found a second entry"),
    "frames backwards": (
        make_document([{"frame": 4, "detections": []}, {"frame": 2, "detections": []}]),
        "frame 2: expected frames in ascending order, found it after frame 4",
    ),
    "no detections": (make_document([{"frame": 4}]), "frame 4: expected detections as a list, found None"),
    "detection is a string": (
        make_document([{"frame": 4, "detections": ["x"]}]),
        "frame 4, detection 0: expected an object",
    ),
    "box of three": (detection(bbox=[1, 2, 3]), r"frame 2, detection 1: expected bbox .*found \[1, 2, 3\]"),
    "box of text": (detection(bbox=["1", 2, 3, 4]), "frame 2, detection 1: expected bbox"),
    "box turned around": (detection(bbox=[9, 2, 3, 4]), "x2 >= x1"),
    "header nested deeply": (
        make_document({}, more=json.loads("[" * 300 + "]" * 300)),
        "expected 'more' to be nested by at most a hundred levels",
    ),
    "score is text": (detection(score="high"), "score as a number, found 'high'"),
    "score beyond meaning": (detection(score=1e308), "score as a number, found 1e\\+308"),
    "box beyond meaning": (detection(bbox=[0, 0, 1e300, 1e300]), "bbox near the video's pixels"),
    "box of huge integers": (detection(bbox=[0, 0, 2**63, 2**63]), "frame 2, detection 1: expected bbox"),
    "det_ind beyond 64 bits": (detection(det_ind=2**63), "frame 2, detection 1: expected det_ind up to 2147483647"),
    "class is a fraction": (detection(class_id=0.5), "class_id as a whole number"),
    "empty track": (detection(track_id=""), "track_id as text that is not empty, found ''"),
    "name is a number": (detection(gallery_id=7), "gallery_id as text that is not empty, found 7"),
    "name without a track": (detection(track_id=None), "a track_id beside gallery_id 'ann'"),
    "distance beyond meaning": (detection(gallery_distance=1e9), "gallery_distance as a number"),
    "distance is text": (detection(gallery_distance="near"), "gallery_distance as a number"),
    "twice a track": (
        detection(track_id="3"),
        "frame 2, detection 1: expected each track once in a frame, found track '3' again",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_reports_invalid_track_v1_with_its_position(name: str, tmp_path: Path) -> None:
    content, message = BAD[name]
    path = write_json(tmp_path / "tracked.json", content)
    for source, called in ((path, str(path)), (content, "the tracks in memory")):
        with pytest.raises(TracksError, match=message) as caught:
            list(read_tracks(source))
        assert str(caught.value).startswith(called)
        assert caught.value.hint or "version" in name or "frame" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "found an empty file", id="empty"),
        pytest.param(b'{"schema_version": "track-v1", "frames": [{"frame": 0, "detec', "cut short", id="cut"),
        pytest.param(b"\x1f\x8b\x08\x00", "gzip", id="gzip"),
        pytest.param(b"1,1,2,3,4,5\n", "not JSON", id="text"),
        pytest.param(b'{"schema_version": "track-v1", "video": {}, "tracker": {}}', "found none", id="no frames"),
        pytest.param(json.dumps(GOOD).replace("30.5", "NaN").encode(), r"bbox\[2\].*NaN", id="NaN"),
    ],
)
def test_reports_invalid_json(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "tracked.json"
    path.write_bytes(content)
    with pytest.raises(TracksError, match=message):
        list(read_tracks(path))


def test_reports_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TracksError, match="no such file"):
        read_tracks(tmp_path / "none.json")
    with pytest.raises(TracksError, match="found a folder"):
        read_tracks(tmp_path)
    with pytest.raises(TracksError, match="expected a track-v1 file"):
        read_tracks(7)  # type: ignore[arg-type]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(TracksError, match="regular file"):
            read_tracks(tmp_path / "pipe")


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracking.results.track_document._CHUNK_BYTES", 1 << 14)

    def peak(frames: int) -> tuple[int, int]:
        people = [make_detection(str(track), f"person {track}", 0.1) for track in range(5)]
        path = write_json(tmp_path / f"{frames}.json", make_document(dict.fromkeys(range(frames), people)))
        reader = read_tracks(path)
        tracemalloc.start()
        count = sum(len(frame) for frame in reader)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 5 * frames
        return most, path.stat().st_size

    short, long = peak(100), peak(800)
    assert long[1] > short[1] + 500_000
    assert long[0] < short[0] + 50_000
