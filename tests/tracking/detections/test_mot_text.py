"""MOTChallenge text, files that map its ids to identities, and its detections as det-v1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from support.evaluation import make_track_v1
from support.tracks import write_json

from tracking import open_detections, track_video
from tracking.detections.mot_import import mot_detections
from tracking.detections.mot_text import find_mot_sequence, read_mot
from tracking.detections.writer import write_detections
from tracking.errors import EvaluationError, MotTextError, TracksError
from tracking.evaluation import read_people, read_track_table, read_truth
from tracking.schemas import load_schema
from tracking.synthetic.rendering import Scene


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_reads_rows(tmp_path: Path) -> None:
    rows = read_mot(write(tmp_path / "gt.txt", "# a comment\n2,7,1.5,2,3,4,0,1,0.25\n\n1, 7, -1, 2, 3, 4, 1, 8, 1,\n"))
    assert rows.lines.tolist() == [2, 4]
    assert rows.frames.tolist() == [1, 0], "frames count from 0 here"
    assert rows.ids.tolist() == [7, 7]
    assert rows.ltwh.tolist() == [[1.5, 2, 3, 4], [-1, 2, 3, 4]]
    assert rows.xyxy.tolist() == [[1.5, 2, 4.5, 6], [-1, 2, 2, 6]]
    assert rows.confidences.tolist() == [0, 1]
    assert rows.classes.tolist() == [1, 8]
    assert rows.visibility.tolist() == [0.25, 1]
    assert rows.classed


@pytest.mark.parametrize(
    ("text", "classed"),
    [
        ("1,1,0,0,5,5,1,-4.1554,-7.3591,0\n", False),
        ("1,1,0,0,5,5,1,-1,-1,-1\n", False),
        ("1,1,0,0,5,5,1,1,0.5\n1,2,0,0,5,5,1,14,0.5\n", False),
        ("1 1 0 0 5 5\n", False),
        ("1,1,0,0,5,5,1,13,0.5\n", True),
        ("", False),
    ],
)
def test_mot15_has_no_classes(tmp_path: Path, text: str, classed: bool) -> None:
    rows = read_mot(write(tmp_path / "gt.txt", text))
    assert rows.classed is classed
    assert (rows.visibility == 1).all() or classed


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("1,1,0,0,5,5\n0,1,0,0,5,5\n", r"line 2: .*of at least 1, found 0.*add 1", id="frame 0"),
        pytest.param("1.5,1,0,0,5,5\n", "line 1: expected an integer frame", id="half a frame"),
        pytest.param("1,a,0,0,5,5\n", "line 1: expected a number as id, found 'a'", id="a word"),
        pytest.param("1,1,0,0,,5,1\n", "expected a number as width, found ''", id="a gap"),
        pytest.param("1,1,0,nan,5,5\n", "expected a finite number as top", id="nan"),
        pytest.param("1,1,0,0,5\n", "at least 6 numbers .*found 5", id="short"),
        pytest.param("1,1,0,0,-5,5\n", "at least 0, found -5", id="negative width"),
        pytest.param(
            "1,1,0,0,5,5\n2,1,0,0,5,5\n1,1,9,9,5,5\n", r"line 3: frame 1 has id 1 already, in line 1", id="twice"
        ),
    ],
)
def test_an_invalid_line_is_reported_with_its_number(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(MotTextError, match=problem):
        read_mot(write(tmp_path / "gt.txt", text))


def test_reports_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MotTextError, match="cannot be read"):
        read_mot(tmp_path / "none.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(MotTextError, match="binary data"):
        read_mot(tmp_path / "binary.txt")
    with pytest.raises(MotTextError, match=r"with gt/gt\.txt in it"):
        find_mot_sequence(tmp_path, "gt")


def test_reads_sequence_folders(tmp_path: Path) -> None:
    place = tmp_path / "MOT-01"
    write(place / "gt" / "gt.txt", "1,1,0,0,5,5\n")
    ini = "[Sequence]\nname=MOT-01\nframeRate=30\nseqLength=12\nimWidth=640\nimHeight=480\n"
    write(place / "seqinfo.ini", ini)
    for path in (place, place / "gt" / "gt.txt"):
        found = find_mot_sequence(path, "gt")
        assert (found.name, found.frame_count, found.fps, found.width, found.height) == ("MOT-01", 12, 30, 640, 480)
    write(place / "seqinfo.ini", ini.replace("12", "none"))
    with pytest.raises(MotTextError, match="expected seqlength above 0, found 'none'"):
        find_mot_sequence(place, "gt")
    write(place / "seqinfo.ini", "no ini")
    with pytest.raises(MotTextError, match=r"seqinfo\.ini: cannot be read"):
        find_mot_sequence(place, "gt")
    write(place / "seqinfo.ini", ini)
    write(place / "gt" / "gt.txt", "13,1,0,0,5,5\n")
    with pytest.raises(EvaluationError, match="line 1: frame 13 of a sequence of 12 frames"):
        read_truth(place)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("id,name\n1,ann\n", "line 1: expected the columns gt_id and person, found id, name", id="columns"),
        pytest.param("gt_id,person\n1,ann\nx,bob\n", "line 3: expected a whole number as gt_id, found 'x'", id="id"),
        pytest.param("gt_id,person\n1,\n", "line 2: expected a person for gt_id 1", id="nobody"),
        pytest.param("gt_id,person\n1,ann\n1,bob\n", "line 3: gt_id 1 is 'ann' already, found 'bob'", id="two"),
        pytest.param("gt_id,person\n1,ann\n", "no person for 1 of the ids .*: 2", id="an id without a person"),
        pytest.param("gt_id,person\n1,ann\n2,ann\n", "'ann' is in frame 3 2 times, as ids 1, 2", id="twice in a frame"),
    ],
)
def test_rejects_invalid_names_of_people(tmp_path: Path, text: str, problem: str) -> None:
    gt = write(tmp_path / "gt.txt", "1,1,0,0,5,5\n4,1,0,0,5,5\n4,2,9,9,5,5\n")
    with pytest.raises(EvaluationError, match=problem):
        read_truth(gt, write(tmp_path / "people.csv", text))
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_people(tmp_path / "none.csv")


def test_ignored_rows_need_no_person(tmp_path: Path) -> None:
    gt = write(tmp_path / "gt.txt", "1,1,0,0,5,5,1,1,1\n1,2,9,9,5,5,0,1,1\n1,3,9,9,5,5,1,8,1\n")
    truth = read_truth(gt, write(tmp_path / "people.csv", "\ufeffgt_id , person, note\n1, ann, x\n"))
    assert truth.persons is not None
    assert (truth.persons.tolist(), truth.people) == ([0, -1, -1], ("ann",))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param(
            {"schema_version": "det-v1"}, r"these are detections \(det-v1\), not tracks.*gtrack run", id="det-v1"
        ),
        pytest.param({"frames": {}}, "expected frames as a list", id="frames"),
        pytest.param({"frames": [{"detections": []}]}, "expected a frame number from 0 on, found None", id="no number"),
        pytest.param(
            {"frames": [{"frame": 1, "detections": []}] * 2},
            "frame 1: expected frames in ascending order, found a second entry for it",
            id="twice",
        ),
        pytest.param({"frames": [{"frame": 1}]}, "frame 1: expected detections as a list", id="no detections"),
        pytest.param(
            {"frames": [{"frame": 1, "detections": [{"bbox": [1, 2, 3, 4]}, {"track_id": "1", "bbox": [1, 2, 3]}]}]},
            r"frame 1, detection 1: expected bbox as four finite numbers \[x1, y1, x2, y2\], found \[1, 2, 3\]",
            id="box",
        ),
        pytest.param(
            {"frames": [{"frame": 1, "detections": [{"track_id": "1", "bbox": [1, 2, 3, 4]}] * 2}]},
            "frame 1, detection 1: expected each track once in a frame, found track '1' again",
            id="track twice",
        ),
    ],
)
def test_rejects_invalid_track_tables(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    document = {**make_track_v1([(0, "1", 0.0, None)]), **change}
    with pytest.raises(TracksError, match=problem):
        read_track_table(write_json(tmp_path / "tracked.json", document))
    with pytest.raises(TracksError, match=problem):
        read_track_table(document)


def test_reads_track_tables(tmp_path: Path) -> None:
    document = make_track_v1([(3, "x", 5.0, "zoe", 0.2), (1, "y", 6.0, None), (1, "x", 7.0, "ann", 0.3)])
    document["frames"][0]["detections"].append({"bbox": [0, 0, 1, 1], "class_name": "person"})
    car = {"bbox": [0, 0, 1, 1], "class_name": "Car", "track_id": "c"}
    document["frames"][0]["detections"].append(car)
    for source in (document, write_json(tmp_path / "tracked.json", document)):
        table = read_track_table(source)
        assert table.frames.tolist() == [1, 1, 3]
        assert [table.name_of(row) for row in range(3)] == [None, "ann", "zoe"]
        assert table.gallery_ids == ("ann", "zoe")
        assert table.distances[1:].tolist() == [0.3, 0.2]
        assert table.other_classes == {"Car": 1}
        assert (table.covered, table.fps, table.has_tracks) == ((1, 3), 10.0, True)
        assert len(read_track_table(source, class_name=None)) == 4
        assert len(read_track_table(source, class_name="car")) == 1
        assert read_track_table(table) is table
        assert read_track_table(source).between((2, None)).frames.tolist() == [3]
    text = read_track_table(write(tmp_path / "result.txt", "4,12,5,0,10,20,0.9,-1,-1,-1\n2,3,6,0,10,20,0.8,-1,-1,-1\n"))
    assert (text.frames.tolist(), text.track_ids, text.has_names) == ([3, 1], ("3", "12"), False)
    assert [text.track_ids[track] for track in text.tracks] == ["12", "3"]
    with pytest.raises(EvaluationError, match=r"line 1: expected class 1 .* found 3"):
        read_track_table(write(tmp_path / "cars.txt", "4,12,5,0,10,20,0.9,3,1\n"))
    with pytest.raises(EvaluationError, match="there is no such file"):
        read_track_table(tmp_path / "none.json")
    with pytest.raises(EvaluationError, match="expected a file, found a folder"):
        read_track_table(tmp_path)
    with pytest.raises(TracksError, match="cut short"):
        read_track_table(write(tmp_path / "cut.json", (tmp_path / "tracked.json").read_text()[:-30]))


def test_detections_become_det_v1_and_run(scene: Scene, tmp_path: Path) -> None:
    """The scene's detections as MOTChallenge text and back: the same, and they run with the video."""
    source = open_detections(scene.detections)
    lines = []
    for frame in source.frame_numbers.tolist():
        found = source.at(frame)
        for (x1, y1, x2, y2), score in zip(found.boxes.tolist(), found.scores.tolist(), strict=True):
            lines.append(f"{frame + 1},-1,{x1!r},{y1!r},{x2 - x1!r},{y2 - y1!r},{score!r},-1,-1,-1")
    document = mot_detections(write(tmp_path / "det.txt", "\n".join(reversed(lines))), video=scene.video)
    jsonschema.validate(document, load_schema("det-v1"))
    write_detections(document, tmp_path / "detections.json")
    again = open_detections(tmp_path / "detections.json")
    assert again.count == source.count
    assert again.video["frame_count"] == scene.config.frames
    for frame in source.frame_numbers.tolist():
        np.testing.assert_allclose(again.at(frame).boxes[::-1], source.at(frame).boxes, atol=2e-6)
        np.testing.assert_allclose(again.at(frame).scores[::-1], source.at(frame).scores)
    result = track_video(
        dets_json=tmp_path / "detections.json", video=scene.video, frame_range=(0, 20), no_progress=True
    )
    assert result.stats["tracked"] > 20


def test_reports_why_detections_cannot_be_read(scene: Scene, tmp_path: Path) -> None:
    place = tmp_path / "SEQ"
    write(place / "seqinfo.ini", "[Sequence]\nframeRate=7\nseqLength=2\nimWidth=64\nimHeight=48\n")
    det = write(place / "det" / "det.txt", "1,-1,1,2,3,4,25.5\n2,-1,1,2,3,4,-0.5\n")
    with pytest.raises(
        MotTextError,
        match=r"line 1: expected a confidence in 0 to 1, found "
        r"25\.5.*`rescale_scores=True`",
    ):
        mot_detections(place)
    document = mot_detections(place, rescale_scores=True, class_name="dog", class_id=16)
    assert document["video"] == {"fps": 7.0, "frame_count": 2, "width": 64, "height": 48}
    assert [f["frame"] for f in document["frames"]] == [0, 1]
    assert document["frames"][1]["detections"] == [
        {"bbox": [1.0, 2.0, 4.0, 6.0], "score": 0.0, "class_id": 16, "class_name": "dog", "det_ind": 0}
    ]
    write(det, "3,-1,1,2,3,4,0.5\n")
    with pytest.raises(MotTextError, match=r"line 1: a detection in frame 3 .* seqinfo\.ini says 2 frames"):
        mot_detections(place)
    write(det, "1,-1,1,2,0,4,0.5\n")
    with pytest.raises(MotTextError, match="line 1: a box without area"):
        mot_detections(place)
    write(det, "1,-1,200000,2,3,4,0.5\n")
    with pytest.raises(MotTextError, match="line 1: a coordinate above 100000 pixels"):
        mot_detections(place)
    write(det, "161,-1,1,2,3,4,0.5\n")
    with pytest.raises(MotTextError, match=rf"frame 161 .*{scene.video.name} has 160 frames"):
        mot_detections(det, video=scene.video)
    write(det, "")
    assert mot_detections(place)["frames"] == []
