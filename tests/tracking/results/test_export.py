"""Tracks in other formats: the files, and other programs that read them."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest
from support.tracks import make_detection, make_document, write_json

from tracking import export_tracks, iter_supervision, read_tracks, to_supervision, track_video
from tracking.errors import OptionError, OutputError, TracksError, VideoError
from tracking.schemas import load_schema
from tracking.synthetic.config import cast_names
from tracking.synthetic.rendering import Scene

ANN = (10.0, 20.0, 30.5, 60.125)
CAR = (100.0, 20.0, 150.0, 60.0)
SMALL = make_document(
    {
        0: [make_detection("10", "zoe", 0.2, box=CAR), make_detection("2", "ann", 0.1, box=ANN), make_detection(None)],
        1: [],
        4: [
            make_detection("2", box=ANN, score=None),
            make_detection("gate-7", "zoe", 0.15, box=CAR, class_id=2, class_name=None),
        ],
        # Twice ann: the nearer one keeps the name.
        5: [
            make_detection("2", "ann", 0.2, box=ANN),
            make_detection("10", "ann", 0.1, box=CAR, score=0.25, class_id=-1, class_name=None),
        ],
    }
)


@pytest.fixture(scope="module")
def tracked(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run: known and unknown people, cars, and detections without a track."""
    out = tmp_path_factory.mktemp("tracked")
    result = track_video(
        dets_json=scene.detections,
        video=scene.video,
        gallery=scene.gallery,
        reid_weights="builtin",
        save_json_flag=True,
        out_dir=out,
        no_progress=True,
    )
    assert result.paths.json_path is not None
    return result.paths.json_path


def boxes_of(source: Path) -> list[tuple[int, str, str | None, list[float]]]:
    return [
        (f.frame, str(f.track_ids[row]), f.gallery_ids[row], f.boxes[row].tolist())
        for f in read_tracks(source)
        for row in f.tracked
    ]


def mot_rows(path: Path) -> list[list[float]]:
    return [[float(word) for word in line.split(",")] for line in path.read_text().splitlines()]


def test_mot_by_track(tmp_path: Path) -> None:
    (done,) = export_tracks(SMALL, tmp_path / "a.txt")
    assert (done.format, done.rows, done.sidecars) == ("mot", 6, (tmp_path / "a.ids.json",))
    assert (tmp_path / "a.txt").read_text().splitlines() == [
        "1,1,10,20,20.5,40.125,0.5,-1,-1,-1",
        "1,2,100,20,50,40,0.5,-1,-1,-1",
        "5,1,10,20,20.5,40.125,1,-1,-1,-1",
        "5,3,100,20,50,40,0.5,-1,-1,-1",
        "6,1,10,20,20.5,40.125,0.5,-1,-1,-1",
        "6,2,100,20,50,40,0.25,-1,-1,-1",
    ]
    ids = json.loads((tmp_path / "a.ids.json").read_text())
    assert ids["by"] == "track_id"
    assert ids["ids"] == [
        {"id": 1, "track_id": "2", "gallery_ids": ["ann"]},
        {"id": 2, "track_id": "10", "gallery_ids": ["zoe", "ann"]},
        {"id": 3, "track_id": "gate-7", "gallery_ids": ["zoe"]},
    ]


def test_mot_by_identity(tmp_path: Path) -> None:
    export_tracks(SMALL, tmp_path / "a.txt", by="gallery_id")
    rows = [(int(row[0]), int(row[1]), row[2]) for row in mot_rows(tmp_path / "a.txt")]
    # 1 ann, 2 zoe; 3, 4, 5 the tracks 2, 10 and gate-7 where they have no name, or lost it to a nearer box.
    assert rows == [(1, 1, 10), (1, 2, 100), (5, 2, 100), (5, 3, 10), (6, 1, 100), (6, 3, 10)]
    ids = json.loads((tmp_path / "a.ids.json").read_text())["ids"]
    assert ids[:2] == [
        {"id": 1, "gallery_id": "ann", "track_ids": ["2", "10"]},
        {"id": 2, "gallery_id": "zoe", "track_ids": ["10", "gate-7"]},
    ]
    assert ids[2]["track_id"] == "2"


def test_mot_without_tracks(tmp_path: Path) -> None:
    frames = {
        n: [make_detection("0", "ann", 0.1), make_detection("1"), make_detection("2", "ann", 0.2)] for n in range(2)
    }
    content = make_document(frames, tracker="gallery_only")
    export_tracks(content, tmp_path / "a.txt")
    assert [row[1] for row in mot_rows(tmp_path / "a.txt")] == [1, 2, 3, 1, 4, 5]
    ids = json.loads((tmp_path / "a.ids.json").read_text())
    assert (ids["by"], ids["nameless_from"]) == ("gallery_id", 2)
    assert ids["ids"] == [{"id": 1, "gallery_id": "ann", "track_ids": []}]
    with pytest.raises(OptionError, match="gallery_only"):
        export_tracks(content, tmp_path / "b.txt", by="track_id")


@pytest.mark.parametrize("by", ["track_id", "gallery_id"])
def test_mot_text_is_read_back_unchanged(tracked: Path, tmp_path: Path, by: Any) -> None:
    export_tracks(tracked, tmp_path / "a.txt", by=by)
    ids = {row["id"]: row for row in json.loads((tmp_path / "a.ids.json").read_text())["ids"]}
    rows = mot_rows(tmp_path / "a.txt")
    back = []
    for frame, number, left, top, width, height, _score, *rest in rows:
        assert rest == [-1, -1, -1]
        who = ids[int(number)]
        box = [left, top, left + width, top + height]
        back.append((int(frame) - 1, who.get("gallery_id"), who.get("track_id"), box))
    assert len({(row[0], row[1]) for row in rows}) == len(rows), "no id twice in a frame"

    def key(row: Any) -> Any:
        return row[0], row[-1]

    expected = sorted(boxes_of(tracked), key=key)
    back.sort(key=key)
    assert len(expected) == len(back) > 500
    for (frame, track, name, box), other in zip(expected, back, strict=True):
        other_frame, other_name, other_track, other_box = other
        assert frame == other_frame
        assert box == pytest.approx(other_box, abs=0.0011)
        if by == "track_id":
            assert other_track == track
            assert name is None or name in ids[int(_number(ids, track))]["gallery_ids"]
        else:
            assert (other_name, other_track) == ((name, None) if name else (None, track))


def _number(ids: dict[int, Any], track: str) -> int:
    return next(number for number, row in ids.items() if row.get("track_id") == track)


def test_trackeval_reads_the_text(tracked: Path, tmp_path: Path) -> None:
    trackeval = pytest.importorskip("trackeval", reason="TrackEval is not installed")
    truth, result = tmp_path / "gt" / "clip" / "gt" / "gt.txt", tmp_path / "res" / "run" / "data" / "clip.txt"
    for path in (truth, result):
        path.parent.mkdir(parents=True)
        export_tracks(tracked, path)
    # The same boxes as truth: there the seventh column says whether a row counts.
    text = truth.read_text().splitlines()
    truth.write_text("".join(",".join([*line.split(",")[:6], "1", "-1", "-1", "-1"]) + "\n" for line in text))
    dataset = trackeval.datasets.MotChallenge2DBox(
        {
            "GT_FOLDER": str(tmp_path / "gt"),
            "TRACKERS_FOLDER": str(tmp_path / "res"),
            "TRACKERS_TO_EVAL": ["run"],
            "BENCHMARK": "MOT15",
            "SEQ_INFO": {"clip": 160},
            "SKIP_SPLIT_FOL": True,
            "PRINT_CONFIG": False,
        }
    )
    data = dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data("run", "clip"), "pedestrian")
    scores = trackeval.metrics.HOTA().eval_sequence(data)
    assert data["num_tracker_dets"] == len(text)
    assert np.mean(scores["HOTA"]) == pytest.approx(1.0)


def test_exports_coco_vid(tmp_path: Path) -> None:
    (done,) = export_tracks(SMALL, tmp_path / "a.json")
    assert (done.format, done.rows) == ("coco-vid", 6)
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["videos"] == [{"id": 1, "name": "clip.mp4", "width": 200, "height": 100, "fps": 10.0}]
    assert content["categories"] == [
        {"id": 4, "name": "object", "class_id": -1},
        {"id": 1, "name": "person", "class_id": 0},
        {"id": 3, "name": "class 2", "class_id": 2},
    ]
    assert [(i["id"], i["video_id"], i["frame_id"], i["file_name"]) for i in content["images"]] == [
        (1, 1, 0, "000000.jpg"),
        (2, 1, 1, "000001.jpg"),
        (3, 1, 4, "000004.jpg"),
        (4, 1, 5, "000005.jpg"),
    ]
    assert content["annotations"][1] == {
        "id": 2,
        "image_id": 1,
        "video_id": 1,
        "category_id": 1,
        "track_id": 1,
        "instance_id": 1,
        "bbox": [10.0, 20.0, 20.5, 40.125],
        "area": 822.562,
        "iscrowd": 0,
        "score": 0.5,
        "attributes": {"track_id": "2", "gallery_id": "ann", "gallery_distance": 0.1},
    }
    assert "score" not in content["annotations"][2]
    assert [a["category_id"] for a in content["annotations"]] == [1, 1, 1, 3, 1, 4]
    assert [t["track_id"] for t in content["tracks"]] == ["2", "10", "gate-7"]
    export_tracks(SMALL, tmp_path / "b.json", by="gallery_id")
    content = json.loads((tmp_path / "b.json").read_text())
    assert content["info"]["track_id_by"] == "gallery_id"
    assert [a["instance_id"] for a in content["annotations"]] == [2, 1, 3, 2, 3, 1]


def test_titles_and_times_come_from_the_video_of_the_run(scene: Scene, tmp_path: Path) -> None:
    """Detections may come from a copy, or from another rendering, of another name."""
    detections = json.loads(scene.detections.read_text())
    detections["video"] |= {"path": "/elsewhere/before.mov", "fps": 1000.0}
    result = track_video(dets_json=detections, video=scene.video, frame_range=(0, 10), no_progress=True)
    assert result.payload["video"]["path"] == "/elsewhere/before.mov", "the detections' own video is not changed"
    assert result.payload["tracker"]["config"]["video"] == str(scene.video)
    jsonschema.validate(result.payload, load_schema("track-v1"))
    coco, report = tmp_path / "a.json", tmp_path / "a.html"
    export_tracks(result, [coco, report])
    (video,) = json.loads(coco.read_text())["videos"]
    assert (video["name"], video["fps"]) == (scene.video.name, pytest.approx(scene.config.fps))
    assert f"<title>{scene.video.name}: tracking report</title>" in report.read_text()


def test_pycocotools_loads_coco_vid(tracked: Path, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    export_tracks(tracked, tmp_path / "a.json")
    loaded = coco.COCO(str(tmp_path / "a.json"))
    for frame in read_tracks(tracked):
        (image,) = [i for i in loaded.dataset["images"] if i["frame_id"] == frame.frame]
        found = loaded.loadAnns(loaded.getAnnIds(imgIds=[image["id"]]))
        assert [a["attributes"]["track_id"] for a in found] == [frame.track_ids[row] for row in frame.tracked]
        corners = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in found)]
        assert np.allclose(np.reshape(corners, (-1, 4)), frame.boxes[frame.tracked], atol=0.0011)
    people = loaded.getCatIds(catNms=["person"])
    assert len(loaded.getAnnIds(catIds=people)) == sum(
        frame.class_names[row] == "person" for frame in read_tracks(tracked) for row in frame.tracked
    )


COLUMNS = ["frame", "time_s", "track_id", "gallery_id", "gallery_distance", "x1", "y1", "x2", "y2", "score"]
COLUMNS += ["class_id", "class_name", "det_ind"]


def test_exports_csv(tmp_path: Path) -> None:
    export_tracks(SMALL, tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].split(",") == COLUMNS
    assert lines[1] == "0,0.0,10,zoe,0.2,100.0,20.0,150.0,60.0,0.5,0,person,0"
    assert lines[3] == "4,0.4,2,,,10.0,20.0,30.5,60.125,,0,person,0"
    assert len(lines) == 7
    odd = make_document({0: [make_detection("1", 'a,"b"ü', 0.1, class_name='a,"b"\nü')]}, fps=None)
    export_tracks(odd, tmp_path / "b.csv")
    with (tmp_path / "b.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["gallery_id"], row["class_name"], row["time_s"]) == ('a,"b"ü', 'a,"b"\nü', "")


def test_csv_has_no_formulas(tmp_path: Path) -> None:
    document = make_document({0: [make_detection("-1", "=1+1", 0.1, class_name="@SUM(A1)")]})
    export_tracks(document, [tmp_path / "a.csv", tmp_path / "a.parquet"])
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["track_id"], row["gallery_id"], row["class_name"]) == ("-1", "'=1+1", "'@SUM(A1)")
    assert pq.read_table(tmp_path / "a.parquet").to_pylist()[0]["gallery_id"] == "=1+1"


def test_exports_parquet(tracked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracking.results.tables._ROW_GROUP", 100)
    done = export_tracks(tracked, [tmp_path / "a.parquet", tmp_path / "a.csv"])
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names == COLUMNS
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == -(-len(table) // 100)
    assert done[0].rows == done[1].rows == len(table)
    keys = ("frame", "track_id", "gallery_id")
    rows = [(*map(row.get, keys), [row[k] for k in ("x1", "y1", "x2", "y2")]) for row in table.to_pylist()]
    assert rows == boxes_of(tracked)
    about = json.loads(table.schema.metadata[b"gtrack"])
    assert (about["format"], about["version"], about["tracker"]["name"]) == ("gtrack-tracks", 1, "gallery_hybrid")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        for line, row in zip(csv.DictReader(file), table.to_pylist(), strict=True):
            assert {k: "" if v is None else str(v) for k, v in row.items()} == line


def test_tables_with_detections_without_a_track(tracked: Path, tmp_path: Path) -> None:
    (all_of_them,) = export_tracks(tracked, tmp_path / "a.parquet", untracked=True)
    assert all_of_them.rows == sum(len(frame) for frame in read_tracks(tracked))
    assert pq.read_table(tmp_path / "a.parquet")["track_id"].null_count > 0


def test_exports_only_selected_classes(tracked: Path, tmp_path: Path) -> None:
    export_tracks(tracked, [tmp_path / "a.parquet", tmp_path / "a.txt"], classes=[0])
    assert set(pq.read_table(tmp_path / "a.parquet")["class_id"].to_pylist()) == {0}
    assert len(mot_rows(tmp_path / "a.txt")) == len(pq.read_table(tmp_path / "a.parquet"))


def test_timeline_as_json(tmp_path: Path) -> None:
    export_tracks(SMALL, tmp_path / "a.json", format="timeline")
    content = json.loads((tmp_path / "a.json").read_text())
    assert (content["format"], content["frames"], content["tracked"]) == ("gtrack-timeline", 4, 6)
    assert [p["identity"] for p in content["presences"]] == ["zoe", "ann"]
    assert {d["doubt"] for d in content["doubts"]} == {"changed", "short", "twice"}


@pytest.mark.parametrize("name", ["a.txt", "a.json", "a.csv", "a.parquet", "a.png", "a.html"])
def test_a_document_without_tracks(name: str, tmp_path: Path) -> None:
    for frames in ({}, {0: [], 3: [make_detection(None)]}):
        (done,) = export_tracks(make_document(frames), tmp_path / name)
        assert done.rows == 0
        assert done.path.exists()


Case = tuple[Callable[[Path], Any], type[Exception], str]
ERRORS: dict[str, Case] = {
    "unknown suffix": (lambda p: export_tracks(SMALL, p / "a.xyz"), OptionError, "selects no format"),
    "unknown format": (lambda p: export_tracks(SMALL, p / "a.x", format="kitti"), OptionError, "format 'kitti'"),
    "a timeline as text": (lambda p: export_tracks(SMALL, p / "a.txt", format="timeline"), OptionError, "is written"),
    "unknown by": (lambda p: export_tracks(SMALL, p / "a.txt", by="name"), OptionError, "by must be"),  # type: ignore[arg-type]
    "no output": (lambda p: export_tracks(SMALL, []), OptionError, "no output was given"),
    "twice the same": (lambda p: export_tracks(SMALL, [p / "a.csv", p / "." / "a.csv"]), OptionError, "written twice"),
    "over the sidecar": (
        lambda p: export_tracks(SMALL, [p / "a.txt", p / "a.ids.json"]), OptionError, "written twice"
    ),
    "no folder": (lambda p: export_tracks(SMALL, p / "none" / "a.csv"), OutputError, "there is no folder"),
    "a folder": (lambda p: export_tracks(SMALL, p.parent / f"{p.name}.csv"), OutputError, "it is a folder"),
    "over the input": (
        lambda p: export_tracks(write_json(p.parent / "in.json", SMALL), p.parent / "in.json"),
        OutputError,
        "the file of the tracks to read",
    ),
    "no video": (lambda p: export_tracks(SMALL, p / "a.html", video=p / "none.mp4"), VideoError, "does not exist"),
    "thumbnails below 0": (lambda p: export_tracks(SMALL, p / "a.html", thumbnails=-1), OptionError, "thumbnails"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_leaves_no_file(name: str, tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.mkdir()
    (tmp_path / "out.csv").mkdir()
    call, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        call(place)
    assert list(place.iterdir()) == []


ALL = ["a.txt", "a.json", "a.csv", "a.parquet", "a.png", "a.html"]


@pytest.mark.parametrize("where", ["timeline", "writing"])
def test_ctrl_c_keeps_the_old_file(where: str, tmp_path: Path) -> None:
    for name in ALL:
        (tmp_path / name).write_text("before")

    def stop(done: int, total: int | None) -> None:
        if done == (2 if where == "timeline" else 7):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_tracks(SMALL, [tmp_path / name for name in ALL], progress=stop)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(ALL, "before")


def test_a_damaged_input_keeps_the_old_file(tmp_path: Path) -> None:
    damaged = write_json(tmp_path / "damaged.json", SMALL)
    damaged.write_bytes(damaged.read_bytes()[:-30])
    (tmp_path / "out").mkdir()
    with pytest.raises(TracksError, match="cut short"):
        export_tracks(damaged, [tmp_path / "out" / name for name in ALL])
    assert list((tmp_path / "out").iterdir()) == []


def test_one_progress_over_both_passes(tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    export_tracks(SMALL, tmp_path / "a.csv", progress=lambda done, total: calls.append((done, total)))
    assert [done for done, _ in calls] == list(range(1, 9))
    assert calls[-1] == (8, 8)
    assert all(total is None or done < total for done, total in calls[:-1]), "full only at the end"


def test_converts_to_supervision() -> None:
    sv = pytest.importorskip("supervision", reason="supervision is not installed")
    frames = dict(iter_supervision(SMALL))
    assert list(frames) == [0, 1, 4, 5]
    first = frames[0]
    assert isinstance(first, sv.Detections)
    assert first.xyxy.tolist() == [list(CAR), list(ANN)]
    assert first.tracker_id is not None
    assert first.tracker_id.tolist() == [10, 2]
    assert first.data["gallery_id"].tolist() == ["zoe", "ann"]
    assert first.confidence is not None
    assert len(frames[1]) == 0
    later = frames[4]
    assert later.confidence is None
    assert later.data["gallery_id"].tolist() == [None, "zoe"]
    assert later.data["class_name"].tolist() == ["person", ""]
    ann = later[later.data["track_id"] == "2"]
    assert len(ann) == 1
    assert np.isnan(ann.data["gallery_distance"][0])
    gate = int(later.tracker_id[1])
    assert gate > 1 << 61
    assert to_supervision(SMALL, 4).tracker_id.tolist() == [2, gate]
    for empty in (frames[1], to_supervision(SMALL, 3), to_supervision(SMALL, 99)):
        assert len(empty) == 0
        assert {name: len(values) for name, values in empty.data.items()} == dict.fromkeys(frames[4].data, 0)
        assert empty.tracker_id.tolist() == []
    with pytest.raises(OptionError, match="count from 0"):
        to_supervision(SMALL, -1)


def test_supervision_annotates_a_run(tracked: Path, scene: Scene) -> None:
    sv = pytest.importorskip("supervision", reason="supervision is not installed")
    merged = sv.Detections.merge([detections for _, detections in iter_supervision(tracked, classes=[0])])
    assert len(merged) == sum(len(frame.tracked) for frame in read_tracks(tracked, classes=[0]))
    assert set(merged.data["gallery_id"]) - {None} <= set(cast_names(scene.config)[0])
    image = np.zeros((scene.config.height, scene.config.width, 3), np.uint8)
    detections = to_supervision(tracked, 40)
    labels = [str(name) for name in detections.data["gallery_id"]]
    drawn = sv.LabelAnnotator().annotate(sv.BoxAnnotator().annotate(image, detections), detections, labels)
    assert drawn.any()


def test_reports_that_supervision_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(TracksError, match="supervision cannot be imported") as caught:
        to_supervision(SMALL, 0)
    assert caught.value.hint == "Run: pip install supervision"
