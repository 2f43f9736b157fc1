"""Times in results are presentation times, in a video with a variable frame rate."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.clips import write_clip

from gallery_db import Gallery
from tracking import track_video
from tracking.results.exporting import export_tracks
from tracking.results.timeline_builder import build_timeline
from tracking.schemas import load_schema

FRAMES = 30
# The first second has 20 frames, every further one has one.
TIMES_MS = [50 * n for n in range(20)] + [1000 * n for n in range(1, 11)]


def detections(frames: range) -> dict[str, Any]:
    box = {"bbox": [40.0, 4.0, 80.0, 60.0], "score": 0.9, "class_id": 0, "class_name": "person"}
    return {"schema_version": "det-v1", "frames": [{"frame": n, "time_s": 9, "detections": [box]} for n in frames]}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("variable")
    clip = write_clip(folder / "clip.mkv", FRAMES, times_ms=TIMES_MS)
    return track_video(
        dets_json=detections(range(5, FRAMES)),
        video=clip,
        gallery=folder / "seen",
        enroll="unknown",
        reid_weights="builtin",
        save_json_flag=True,
        out_dir=folder,
        no_progress=True,
    )


def test_frames_have_their_times(result: Any) -> None:
    document = json.loads(result.paths.json_path.read_text())
    jsonschema.validate(document, load_schema("track-v1"))
    fps = document["tracker"]["config"]["video_fps"]
    found = [frame.get("time_s", frame["frame"] / fps) for frame in document["frames"]]
    assert found == pytest.approx([time / 1000 for time in TIMES_MS])


def test_results_use_them(result: Any, tmp_path: Path) -> None:
    timeline = build_timeline(result)
    [row] = timeline.rows
    assert (row.first, row.last, row.frames) == (row.first, FRAMES - 1, FRAMES - row.first)
    facts = row.as_dict(timeline.times)
    assert facts["first_s"] == TIMES_MS[row.first] / 1000
    assert facts["last_s"] == pytest.approx(10, abs=0.1), "the last frame is at 10 s"
    assert facts["seconds"] == pytest.approx(facts["last_s"] - facts["first_s"], abs=1e-3)
    export_tracks(result, tmp_path / "tracks.csv")
    with (tmp_path / "tracks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(line["time_s"]) for line in rows] == [TIMES_MS[int(line["frame"])] / 1000 for line in rows]
    assert result.times.at(FRAMES - 1) == 10
    pytest.importorskip("pandas", reason="to_pandas needs pandas")
    table = result.to_pandas()
    assert table["time_s"].tolist() == [TIMES_MS[frame] / 1000 for frame in table["frame"]]


def test_entries_have_them(result: Any) -> None:
    with Gallery.open(result.paths.json_path.parent.parent / "seen") as gallery:
        [entry] = gallery.entries()
    assert entry.extra["first_time"] == TIMES_MS[entry.extra["first_frame"]] / 1000
    assert entry.extra["last_time"] == 10


def test_a_constant_rate_has_no_times_of_its_own(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", FRAMES, options={"bf": "3"})
    result = track_video(dets_json=detections(range(FRAMES)), video=clip, no_progress=True)
    assert not [frame for frame in result.payload["frames"] if "time_s" in frame]


@pytest.mark.parametrize("time", [-1, "3", float("nan"), True, 1e300])
def test_refuses_times_that_are_none(time: Any) -> None:
    from tracking.errors import TracksError

    document = {
        "schema_version": "track-v1",
        "frames": [{"frame": 0, "time_s": time, "detections": []}],
    }
    with pytest.raises(TracksError, match="frame 0: expected time_s as seconds from 0 on, found"):
        build_timeline(document)


def test_a_range_begins_at_its_time(result: Any, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", FRAMES, times_ms=TIMES_MS)
    part = track_video(dets_json=detections(range(FRAMES)), video=clip, frame_range=(25, None), no_progress=True)
    whole = json.loads(result.paths.json_path.read_text())["frames"][25:]
    assert [frame["time_s"] for frame in part.payload["frames"]] == [frame["time_s"] for frame in whole]
    assert [frame["frame"] for frame in part.payload["frames"]] == list(range(25, FRAMES))
