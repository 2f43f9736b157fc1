"""`gtrack eval` and `gtrack import` as a user meets them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.evaluation import make_track_v1, write_gt, write_people
from support.gallery import save_picture
from support.tracks import write_json
from typer.testing import CliRunner

from cli.main import app
from gallery_db.errors import GtrackError
from tracking.errors import OptionError
from tracking.synthetic.rendering import Scene


def gtrack(*words: Any) -> tuple[str, str]:
    """Run a command; return its stdout and stderr. Errors are raised unchanged."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None:
        raise done.exception
    return done.stdout, done.stderr


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """ann and an unknown person for ten frames; ann has her name after two, the other gets an unknown identity."""
    frames = range(10)
    write_gt(tmp_path / "gt.txt", [(f, 1, 100.0) for f in frames] + [(f, 2, 300.0) for f in frames])
    write_people(tmp_path / "people.csv", {1: "ann", 2: "sam"})
    rows = [(f, "1", 100.0, "ann" if f > 1 else None) for f in frames]
    rows += [(f, "2", 300.0, "unknown-0001" if f > 4 else None) for f in frames]
    document = make_track_v1(rows)
    document["frames"][0]["detections"].append({"bbox": [0, 0, 9, 9], "class_name": "car", "track_id": "9"})
    write_json(tmp_path / "tracked.json", document)
    return tmp_path


def test_tracks(place: Path) -> None:
    words = ("eval", "tracks", place / "tracked.json", "--truth", place / "gt.txt")
    out, err = gtrack(*words)
    assert "By track_id: HOTA 100.0, MOTA 100.0, IDF1 100.0: of 20 true boxes 100.0% are found" in out
    assert "an object changes its id 2 times." in out.partition("By gallery_id: ")[2]
    assert re.search(r"HOTA +HOTA +100\.00 +\d\d\.\d\d$", out, re.MULTILINE), "all with as many decimals"
    assert "1 of class car" in err
    rows = [json.loads(line) for line in gtrack(*words, "--json")[0].splitlines()]
    assert [(row["by"], row["truth_by"], row["IDF1"]) for row in rows] == [
        ("track_id", "id", 1.0),
        # 8 of ann's 10 boxes have her name; the stranger's five nameless and five named ones are two objects.
        ("gallery_id", "id", (8 + 5) / 20),
    ]
    assert (rows[1]["unnamed"], rows[1]["IDTP"]) == (7, 13)
    (row,) = gtrack(*words, "--json", "--by", "gallery_id", "--range", "5:", "--people", place / "people.csv")[
        0
    ].splitlines()
    assert (json.loads(row)["truth_by"], json.loads(row)["IDF1"]) == ("person", 1.0)
    with pytest.raises(GtrackError, match=r"no tracked box of class 'dog', but 1 of class car, 20 of class person"):
        gtrack(*words, "--class-name", "dog")


def test_identity(place: Path) -> None:
    words = ["eval", "identity", place / "tracked.json", "--truth", place / "gt.txt", "--people", place / "people.csv"]
    with pytest.raises(OptionError, match="the people that the gallery had are not given"):
        gtrack(*words)
    with pytest.raises(OptionError, match=r"does not name the person of each id\..*--people"):
        gtrack(*words[:-2], "--known", "ann")
    out, err = gtrack(*words, "--known", "ann", "--plot", place / "names.png")
    assert (
        "In the frames in which a track covers them, known people have the right name in 80.0% and a wrong name in "
        "0.0%, and strangers have the name of a known person in 0.0%.\n" in out
    )
    assert "strangers named by mistake: 0 of 10" in out
    assert "unknown-0001 = sam" in out
    assert "after 2 frames (0.2 s)" in out
    assert re.search(r"1% +0\.100 +0 +0\.0% \(0\.0 to 79\.3\) +0 +0\.0% \(0\.0 to 79\.3\)", out)
    assert (place / "names.png").stat().st_size > 5000
    assert "names.png" in err
    found = json.loads(gtrack(*words, "--known", "ann", "--json")[0])
    assert found["known"]["of_covered"] == {"right": 0.8, "wrong": 0.0, "unnamed": 0.2, "by_name": 0.0}
    assert (found["strangers"]["right"], found["strangers"]["unnamed"], found["strangers"]["wrong"]) == (5, 5, 0)
    assert found["appearances"][0]["wait_seconds"] == 0.2
    assert found["lasting_ids"] == {"unknown-0001": "sam"}
    assert found["curve"][-1] == {
        "threshold": 0.1,
        "named": 8,
        "right": 8,
        "precision": 1.0,
        "recall": 0.8,
        "strangers_named": 0,
    }
    first = found["open_set"][0]
    assert (first["wanted_fpir"], first["strangers_named"], first["stranger_tracks"], first["fpir"]) == (0.01, 0, 1, 0)
    assert (first["known_missed"], first["known_tracks"], first["fnir"]) == (0, 1, 0)
    assert first["fnir_interval"] == pytest.approx([0.0, 0.793], abs=1e-3)
    assert first["is_limit"] is True
    assert "the intervals hold for independent tracks" in found["open_set_note"]
    nobody = json.loads(gtrack(*words, "--known", "", "--json")[0])
    assert (nobody["known"]["people"], nobody["strangers"]["by_name"]) == (0, 8), "a name that no gallery gave"
    with pytest.raises(OptionError, match="--known eve: not among"):
        gtrack(*words, "--known", "eve")
    with pytest.raises(OptionError, match="expected --range A:B with 0 <= A < B"):
        gtrack(*words, "--known", "ann", "--range", "5:5")
    _, err = gtrack(*words, "--known", "ann", "--range", ":20")
    assert "covers frames" not in err


def test_reads_the_known_names_from_the_gallery(place: Path) -> None:
    save_picture(place / "people" / "ann" / "1.png", 1)
    save_picture(place / "people" / "eve" / "1.png", 2)
    words = ["eval", "identity", place / "tracked.json", "--truth", place / "gt.txt", "--people", place / "people.csv"]
    images = json.loads(gtrack(*words, "--gallery", place / "people", "--json")[0])
    gtrack("gallery", "ingest", place / "people", "--gallery", place / "g", "--reid-weights", "builtin")
    gallery = json.loads(gtrack(*words, "--gallery", place / "g", "--json")[0])
    assert images == gallery
    assert gallery["known"]["right"] == 8
    write_people(place / "people.csv", {1: "Ann", 2: "sam"})
    out, err = gtrack(*words, "--gallery", place / "g", "--json")
    assert "has none of the people of the ground truth (Ann, sam), but ann, eve" in err
    assert json.loads(out)["known"]["people"] == 0
    with pytest.raises(OptionError, match="both given"):
        gtrack(*words, "--gallery", place / "g", "--known", "ann")


def test_reid(tmp_path: Path) -> None:
    for person in (1, 2):
        for camera in (1, 2):
            save_picture(tmp_path / f"{person:04d}_c{camera}s1_00_00.png", person)
    out, _ = gtrack("eval", "reid", tmp_path, "--reid-weights", "builtin")
    assert re.search(r"hnsw +100\.0", out)
    assert "The index (HNSW) finds 100.0% of the nearest 20 entries." in out
    assert "4 queries" in out
    rows = [
        json.loads(line)
        for line in gtrack("eval", "reid", tmp_path, "--reid-weights", "builtin", "--json", "--rerank")[0].splitlines()
    ]
    assert [(row["search"], row["rank-1"], row["mAP"], row["mINP"]) for row in rows] == [
        ("hnsw", 1.0, 1.0, 1.0),
        ("exact", 1.0, 1.0, 1.0),
        ("reranked", 1.0, 1.0, 1.0),
    ]
    assert [row.get("recall") for row in rows] == [1.0, None, None]


def test_imports_detections_and_uses_the_truth_of_the_demo(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "det.txt").write_text("".join(f"{f},-1,{50 + f},90,30,80,0.9\n" for f in range(1, 31)))
    out, _ = gtrack("import", "mot", tmp_path / "det.txt", "-o", tmp_path / "d.json", "--video", scene.video)
    assert "30 detections in 30 frames" in out
    words = [
        "run",
        scene.video,
        "--dets-json",
        tmp_path / "d.json",
        "--save-json",
        "--range",
        ":40",
        "--out-dir",
        tmp_path,
    ]
    gtrack(*words, "--no-progress")
    tracked = tmp_path / scene.video.stem / "tracked.json"
    out, err = gtrack("eval", "tracks", tracked, "--truth", scene.truth, "--json")
    assert json.loads(out)["truth_by"] == "person"
    assert "covers frames 0 to 39, and the ground truth 0 to 159" in err
    out, _ = gtrack("eval", "identity", tracked, "--truth", scene.truth, "--range", ":40")
    assert "the run gave no name from the gallery" in out
    with pytest.raises(GtrackError, match="cannot write"):
        gtrack("import", "mot", tmp_path / "det.txt", "-o", tmp_path / "none" / "d.json")


@pytest.mark.data
def test_identity_on_pets(data: Path, tmp_path: Path) -> None:
    """Ground-truth boxes of the second half, with the right names or an unknown identity."""
    place = data / "mot" / "PETS09-S2L1"
    words = ["--truth", place, "--people", place / "people.csv", "--range", "400:"]
    words += ["--gallery", data / "galleries" / "pets09-first-half", "--json"]
    from tracking.evaluation import read_truth

    truth = read_truth(place, place / "people.csv")
    assert truth.persons is not None
    frames: dict[int, list[dict[str, Any]]] = {}
    for frame, number, box, person in zip(truth.frames, truth.ids, truth.xyxy, truth.persons, strict=True):
        if frame >= 400:
            name = truth.people[person]
            name = "unknown-0001" if name == "red_jacket" else name
            frames.setdefault(int(frame), []).append(
                {"bbox": box.tolist(), "track_id": str(number), "gallery_id": name, "gallery_distance": 0.1}
            )
    document = make_track_v1([])
    document["frames"] = [{"frame": frame, "detections": found} for frame, found in frames.items()]
    found = json.loads(gtrack("eval", "identity", write_json(tmp_path / "t.json", document), *words)[0])
    assert (found["known"]["in_sight"], found["known"]["of_in_sight"]["right"]) == (1831, 1.0)
    assert (found["strangers"]["in_sight"], found["strangers"]["right"], found["strangers"]["by_name"]) == (
        423,
        340,
        83,
    )
    assert found["lasting_ids"] == {"unknown-0001": "red_jacket"}
    assert found["name_changes"] == found["duplicates"] == found["named_elsewhere"] == 0
    assert sum(a["known"] for a in found["appearances"]) == 9
