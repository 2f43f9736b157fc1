"""`gtrack export tracks` as a user meets it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.cli import gtrack
from support.tracks import make_detection, make_document, write_json


@pytest.fixture
def tracked(tmp_path: Path) -> Path:
    frames = {n: [make_detection("1", "ann [bold]", 0.1), make_detection("2")] for n in range(20)}
    frames[20] = [make_detection("2", "bob", 0.24)]
    return write_json(tmp_path / "tracked.json", make_document(frames))


def test_without_an_output_it_prints_the_timeline(tracked: Path) -> None:
    done = gtrack("export", "tracks", tracked)
    assert re.search(r"ann \[bold\] +0:00\.0 +0:02\.0 +2\.0 s +1 +0\.100 +0\.100 +20, 40", done.stdout)
    assert "Track 2 is named bob for only one frame, at 0:02.0." in done.stdout
    assert "21 frames, 41 detections; 41 of them in 2 tracks; 21 with a name" in done.stdout
    lines = [json.loads(line) for line in gtrack("export", "tracks", tracked, "--json").stdout.splitlines()]
    assert [(x["kind"], x["identity"]) for x in lines] == [
        ("known", "ann [bold]"), ("known", "bob"), ("doubt", "bob"), ("doubt", "bob")
    ]  # fmt: skip
    assert (lines[0]["first_s"], lines[0]["last_s"], lines[0]["stretches"][0]["track_id"]) == (0.0, 2.0, "1")


def test_several_outputs_at_once(tracked: Path, tmp_path: Path) -> None:
    names = ["a.txt", "a.json", "a.csv", "a.parquet", "a.png"]
    outputs = [word for name in names for word in ("-o", tmp_path / name)]
    done = gtrack("export", "tracks", tracked, *outputs, "--html", tmp_path / "a.html")
    assert f"mot: 41 boxes, written to {tmp_path / 'a.txt'}, with {tmp_path / 'a.ids.json'}" in done.stdout
    assert "html: 2 rows" in done.stdout
    assert "the report has no images: its video was not found" in done.stderr
    assert "give the video with --video" in done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {*names, "a.html", "a.ids.json", "tracked.json"}
    done = gtrack("export", "tracks", tracked, "-o", tmp_path / "t.json", "--format", "timeline", "--json")
    (line,) = map(json.loads, done.stdout.splitlines())
    assert (line["format"], line["rows"], line["bytes"]) == ("timeline", 2, (tmp_path / "t.json").stat().st_size)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(["none.json"], 1, "no such file", id="no file"),
        pytest.param(["text.txt"], 1, "not JSON at line 1", id="no JSON"),
        pytest.param(["tracked.json", "-o", "a.xyz"], 2, "selects no format", id="unknown suffix"),
        pytest.param(["tracked.json", "-o", "a.x", "--format", "kitti"], 2, "coco-vid", id="unknown format"),
        pytest.param(["tracked.json", "--format", "mot"], 2, "one output, found 0", id="a format without an output"),
        pytest.param(["tracked.json", "-o", "a.x", "-o", "b.x", "--format", "mot"], 2, "found 2", id="one for two"),
        pytest.param(["tracked.json", "--html", "a.txt"], 2, "ends in .html", id="no HTML name"),
        pytest.param(["tracked.json", "--video", "a.mp4"], 2, "need an output", id="a video for nothing"),
        pytest.param(["tracked.json", "-o", "a.html", "--video", "a.mp4"], 1, "a.mp4 does not exist", id="no video"),
        pytest.param(["tracked.json", "-o", "no/a.csv"], 1, "there is no folder no", id="no folder"),
        pytest.param(["tracked.json", "-o", "tracked.json"], 1, "the file of the tracks to read", id="over the input"),
        pytest.param(["tracked.json", "--classes", "x"], 2, "--classes", id="bad classes"),
        pytest.param([], 2, "TRACKED.json", id="nothing"),
    ],
)
def test_errors(words: Sequence[str], code: int, message: str, tracked: Path) -> None:
    (tracked.parent / "text.txt").write_text("1,1,2,3,4,5\n")
    before = {path: path.read_bytes() for path in tracked.parent.iterdir()}
    done = gtrack("export", "tracks", *words, code=code, folder=tracked.parent)
    assert message in re.sub(r"[\s│]+", " ", done.stderr)
    assert done.stdout == ""
    assert {path: path.read_bytes() for path in tracked.parent.iterdir()} == before
