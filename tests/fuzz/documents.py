"""Fuzzed documents about a video: det-v1, track-v1, MOTChallenge text, ground truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hypothesis import strategies as st
from support.tracks import make_detection, make_document

from fuzz.mutation import HOSTILE_NUMBERS, changed_json, changed_lines
from fuzz.watch import Target
from tracking import CameraMap, track_video
from tracking.detections.mot_import import mot_detections
from tracking.detections.reader import open_detections
from tracking.evaluation import evaluate_identity, read_track_table, read_truth
from tracking.evaluation.truth import read_people
from tracking.results.exporting import export_tracks
from tracking.results.reading import read_tracks
from tracking.results.supervision_frames import iter_supervision
from tracking.results.timeline_builder import build_timeline

_FRAMES, _SIZE = 4, (96, 64)


def _detection(number: int) -> dict[str, Any]:
    return {
        "det_ind": number,
        "bbox": [4.0 + 40 * number, 4.5, 30.0 + 40 * number, 60],
        "score": 0.9,
        "class_id": 0,
        "class_name": "person",
    }


DETECTIONS = {
    "schema_version": "det-v1",
    "video": {"path": "clip.mp4", "fps": 10.0, "frame_count": _FRAMES, "width": _SIZE[0], "height": _SIZE[1]},
    "detector": {"name": "made here", "classes": [0], "conf_thresh": 0.25},
    "note": "none",
    "frames": [{"frame": n, "file": f"{n}.jpg", "detections": [_detection(0), _detection(1)]} for n in range(_FRAMES)],
}
OTHER_KEYS = {
    "schema_version": "det-v1",
    "frames": [{"frame_index": 1, "detections": [{"xyxy": [1, 2, 30, 40], "conf": 1, "class": 0}]}],
}
TRACKS = make_document(
    {
        n: [
            make_detection("1", "alice", 0.1, det_ind=0),
            make_detection("2", "unknown-0001", 0.3, box=(60, 20, 90, 60)),
        ]
        for n in range(3)
    },
    created_at_utc="2026-01-02T03:04:05+00:00",
    explanations=[{"track_id": "1", "reason": "none"}],
)
TRACKS["tracker"]["config"] |= {"video": "clip.avi", "video_fps": 10.0, "source_id": "clip"}
FRAME_BY_FRAME = make_document({5: [make_detection("1"), make_detection(None)]}, tracker="gallery_only")
SCENE = {
    "known": ["alice"],
    "strangers": ["bob"],
    "frames": [{"frame": n, "people": [{"name": "alice", "box": [10, 20, 30, 60], "visible": 1.0}]} for n in range(3)],
}
CAMERAS = {
    "cameras": ["door", "yard", "hall"],
    "pairs": [
        {"between": ["door", "yard", "hall"], "travel_seconds": 20},
        {"between": ["yard", "hall"], "overlap": True},
    ],
}
_CAMERAS = "cameras: [door, yard]\npairs:\n- between: [door, yard]\n  travel_seconds: 20  # s\n"
_MOT = "1,1,10,20,30,40,1,1,0.5\n1,2,50,20,30,40,0.9,1,1\n2,1,11,20,30,40,1,1,0.5\n"
_SEQUENCE = "[Sequence]\nname=clip\nimDir=img1\nframeRate=10\nseqLength=4\nimWidth=96\nimHeight=64\nimExt=.jpg\n"
_PEOPLE = "gt_id,person\n1,alice\n2,bob\n"


def make_clip(path: Path) -> Path:
    """Write a clip of a few small frames, unless it is there."""
    if not path.exists():
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, _SIZE)
        for number in range(_FRAMES):
            writer.write(np.full((_SIZE[1], _SIZE[0], 3), 40 * number, np.uint8))
        writer.release()
    return path


def _check_detections(case: tuple[bytes, bool], folder: Path) -> None:
    content, lenient = case
    file = folder / "detections.json"
    file.write_bytes(content)
    source = open_detections(file, lenient=lenient)
    for frame in source.frame_numbers.tolist():
        assert len(source.at(frame).boxes) == len(source.at(frame).class_names)
        json.dumps(source.raw(frame), allow_nan=False).encode()
    # What can be read must go through a run, or be refused by it.
    track_video(
        dets_json=file,
        video=make_clip(folder.parent / "clip.avi"),
        reid_weights="builtin",
        save_json_flag=True,
        out_dir=folder,
        lenient=lenient,
        no_progress=True,
    )


def _check_tracks(case: tuple[bytes, str], folder: Path) -> None:
    content, use = case
    file = folder / "tracked.json"
    file.write_bytes(content)
    if use == "memory":
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            return
        if isinstance(document, dict):
            build_timeline(read_tracks(document))
    elif use == "supervision":
        for _ in iter_supervision(file):
            pass
    elif use == "eval":
        truth = folder.parent / "truth.json"
        truth.write_text(json.dumps(SCENE))
        evaluate_identity(read_track_table(file), read_truth(truth))
    else:
        out = folder / f"out{use}"
        export_tracks(file, out, video=make_clip(folder.parent / "clip.avi") if use == ".html" else None)
        assert out.exists()


def _check_truth(content: bytes, folder: Path) -> None:
    file = folder / "truth.json"
    file.write_bytes(content)
    tracks = folder.parent / "tracked.json"
    tracks.write_text(json.dumps(TRACKS))
    evaluate_identity(read_track_table(tracks), read_truth(file), ["alice"])


def _check_mot(case: tuple[bytes, bytes, bytes, str], folder: Path) -> None:
    rows, facts, people, use = case
    file = folder / "gt" / "gt.txt"
    file.parent.mkdir()
    for path, content in ((file, rows), (folder / "seqinfo.ini", facts), (folder / "people.csv", people)):
        path.write_bytes(content)
    if use == "detections":
        json.dumps(mot_detections(file), allow_nan=False)
    elif use == "people":
        read_people(folder / "people.csv")
    else:
        evaluate_identity(read_track_table(file), read_truth(folder, folder / "people.csv"), ["alice"])


def _check_cameras(content: bytes, folder: Path) -> None:
    file = folder / "cameras.yaml"
    file.write_bytes(content)
    cameras = CameraMap.read(file)
    for one in cameras.cameras:
        assert (cameras.travel_seconds(one, "door") or 0) >= 0


_WORDS = (*HOSTILE_NUMBERS, "", "a", " ", "\ud800", "1,1", "\n", "\0", "é", "=", "[x]", "%(a)s", '"')

_YAML = ("&a", "*a", "<<:", "!!python/object:os.system", "|", ">", "?", "{", "---", "%YAML", '"\\Uffffffff"')

TARGETS = (
    Target(
        "det-v1",
        st.tuples(changed_json([DETECTIONS, DETECTIONS, OTHER_KEYS]), st.booleans()),
        _check_detections,
        portion=40,
    ),
    Target(
        "track-v1",
        st.tuples(
            changed_json([TRACKS, TRACKS, FRAME_BY_FRAME]),
            st.sampled_from([".csv", ".txt", ".json", ".parquet", ".html", ".png", "memory", "supervision", "eval"]),
        ),
        _check_tracks,
        portion=60,
    ),
    Target("ground truth", changed_json([SCENE]), _check_truth, "truth.json"),
    Target(
        "cameras",
        changed_json([CAMERAS]) | changed_lines([_CAMERAS], (*_WORDS, *_YAML), " \n"),
        _check_cameras,
        "cameras.yaml",
    ),
    Target(
        "mot-text",
        st.tuples(
            changed_lines([_MOT], _WORDS, ",\n"),
            changed_lines([_SEQUENCE], _WORDS, "=\n") | st.just(_SEQUENCE.encode()),
            changed_lines([_PEOPLE], _WORDS, ",\n") | st.just(_PEOPLE.encode()),
            st.sampled_from(["detections", "people", "truth", "truth"]),
        ),
        _check_mot,
    ),
)
