"""`tracking.evaluation.tracks`: figures computed by hand, and the same as TrackEval's own on the same files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.evaluation import make_track_v1, run_trackeval, write_gt, write_people

from tracking import track_video
from tracking.detections.mot_import import mot_detections
from tracking.errors import EvaluationError
from tracking.evaluation import TrackScores, evaluate_tracks, read_track_table, read_truth, tracks
from tracking.synthetic.rendering import Scene

# Two objects for four frames, far apart. The first is tracked as A and then as B, the second as C.
GT = [(frame, number, 100.0 * number) for frame in range(4) for number in (1, 2)]
A_B_C = [(0, "A", 100.0), (1, "A", 100.0), (2, "B", 100.0), (3, "B", 100.0), *[(f, "C", 200.0) for f in range(4)]]


def named(names: dict[str, str | None]) -> list[Any]:
    return [(frame, track, left, names.get(track)) for frame, track, left in A_B_C]


def same(score: TrackScores, figures: dict[str, Any]) -> None:
    """Every figure of TrackEval's summary is exactly ours."""
    for metric, ours in score.metrics.items():
        assert ours
        for name, value in ours.items():
            assert value == float(np.mean(figures[metric][name])), (metric, name)


@pytest.mark.parametrize(
    ("names", "by", "hota", "idf1", "idsw"),
    [
        # AssA is 1/2 for the four boxes of the first object (2 of 4 with either track) and 1 for the other four: 3/4.
        # IDF1: A and C are matched, 6 boxes of 8 on either side.
        pytest.param({}, "track_id", math.sqrt(0.75), 0.75, 1, id="by track"),
        pytest.param({"A": "ann", "B": "ann", "C": "cy"}, "gallery_id", 1.0, 1.0, 0, id="one name for two tracks"),
        pytest.param({"A": "ann", "C": "cy"}, "gallery_id", math.sqrt(0.75), 0.75, 1, id="nameless is a track"),
        # Of the two cy in frames 2 and 3 the first, B, keeps the name, and C is itself there. Each object is then two
        # hypotheses of two boxes: ann 2/4, cy (four boxes) 2/6 with either object, C 2/4.
        pytest.param(
            {"A": "ann", "B": "cy", "C": "cy"}, "gallery_id", math.sqrt((1 / 2 + 1 / 3) / 2), 0.5, 2, id="a name twice"
        ),
    ],
)
def test_metrics_equal_those_by_hand(
    tmp_path: Path, names: dict[str, str], by: Any, hota: float, idf1: float, idsw: int
) -> None:
    truth = read_truth(write_gt(tmp_path / "gt.txt", GT))
    score = evaluate_tracks(read_track_table(make_track_v1(named(names))), truth, by)
    assert score.metrics["HOTA"]["HOTA"] == pytest.approx(hota)
    assert score.metrics["HOTA"]["DetA"] == 1.0
    assert score.metrics["Identity"]["IDF1"] == pytest.approx(idf1)
    assert score.metrics["CLEAR"]["IDSW"] == idsw
    assert score.metrics["CLEAR"]["MOTA"] == pytest.approx((8 - idsw) / 8)
    assert score.benchmark == "MOT15"
    assert score.counts["GT_Dets"] == score.counts["Dets"] == 8


def test_the_smaller_distance_keeps_a_duplicate_name(tmp_path: Path) -> None:
    truth = read_truth(write_gt(tmp_path / "gt.txt", GT))
    rows = [(f, "A", 100.0, "ann", 0.2) for f in range(4)] + [(f, "C", 200.0, "ann", 0.1) for f in range(4)]
    score = evaluate_tracks(read_track_table(make_track_v1(rows)), truth, "gallery_id")
    assert (score.duplicates, score.counts["IDs"], score.metrics["Identity"]["IDF1"]) == (4, 2, 1.0)


def test_people_over_the_whole_video(tmp_path: Path) -> None:
    """A perfect tracker gives each sighting an id; a second sighting of the same person lowers its IDF1."""
    gt = [(f, 1 if f < 4 else 2, 50.0) for f in range(8)]
    people = write_people(tmp_path / "people.csv", {1: "ann", 2: "ann"})
    table = read_track_table(make_track_v1([(f, str(number), x, "ann") for f, number, x in gt]))
    by_id = evaluate_tracks(table, read_truth(write_gt(tmp_path / "gt.txt", gt)))
    truth = read_truth(tmp_path / "gt.txt", people)
    assert by_id.metrics["Identity"]["IDF1"] == 1.0
    assert evaluate_tracks(table, truth, "track_id").metrics["Identity"]["IDF1"] == 0.5
    assert evaluate_tracks(table, truth, "gallery_id").metrics["Identity"]["IDF1"] == 1.0
    part = evaluate_tracks(table, truth, "track_id", frame_range=(2, 5))
    assert part.metrics["Identity"]["IDF1"] == pytest.approx(2 / 3)
    assert part.counts["GT_Dets"] == 3


def sequence(folder: Path, seed: int, length: int = 30) -> tuple[Path, Path]:
    """A MOT17-like sequence with distractors, rows marked 0 and a tracker that drifts, and its result."""
    random = np.random.default_rng(seed)
    gt: list[str] = []
    result: list[str] = []
    for number in range(1, 11):
        class_id = (1, 1, 1, 1, 1, 8, 7, 3, 6, 1)[number - 1]
        left, top = random.uniform(0, 400), random.uniform(0, 300)
        step = random.uniform(-6, 6, 2)
        for frame in range(1, length + 1):
            left, top = left + step[0], top + step[1]
            mark = 0 if number == 10 and frame < 12 else 1
            visible = f"{random.uniform():.3f}"
            if random.random() < 0.95:
                gt.append(f"{frame},{number},{left:.3f},{top:.3f},40.5,91.25,{mark},{class_id},{visible}")
            if random.random() < 0.85:
                shift = random.normal(0, 5, 2)
                track = number + 20 * (frame // (8 + number))
                box = f"{left + shift[0]:.4f},{top + shift[1]:.4f},{40.5 + shift[0]:.2f},91.25"
                result.append(f"{frame},{track},{box},{random.uniform():.4f},-1,-1,-1")
    place = folder / "TRAIN-01"
    (place / "gt").mkdir(parents=True)
    (place / "seqinfo.ini").write_text(f"[Sequence]\nname=TRAIN-01\nframeRate=25\nseqLength={length}\n")
    (place / "gt" / "gt.txt").write_text("\n".join(gt) + "\n")
    (folder / "result.txt").write_text("\n".join(sorted(result, key=lambda line: int(line.split(",")[0]))) + "\n")
    return place, folder / "result.txt"


@pytest.mark.parametrize("benchmark", ["MOT15", "MOT17", "MOT20"])
def test_metrics_equal_those_of_trackeval_on_the_same_files(tmp_path: Path, benchmark: str) -> None:
    place, result = sequence(tmp_path, seed=3)
    figures = run_trackeval(tmp_path, "TRAIN-01", result, tmp_path, benchmark)
    score = evaluate_tracks(read_track_table(result), read_truth(place), benchmark=benchmark)
    same(score, figures)
    assert 0.2 < score.metrics["HOTA"]["HOTA"] < 0.9
    if benchmark == "MOT17":
        assert evaluate_tracks(read_track_table(result), read_truth(place)).benchmark == "MOT17"


def write_mot(table: Any, path: Path) -> Path:
    """A track-v1 result as MOTChallenge text, in full precision."""
    with path.open("w") as stream:
        for frame, track, box in zip(table.frames.tolist(), table.tracks.tolist(), table.xyxy.tolist(), strict=True):
            x1, y1, x2, y2 = box
            stream.write(f"{frame + 1},{table.track_ids[track]},{x1!r},{y1!r},{x2 - x1!r},{y2 - y1!r},1,-1,-1,-1\n")
    return path


def test_times_use_the_frame_rate_of_the_video() -> None:
    """As exports count them; the detections may be of another rendering."""
    document = make_track_v1([(0, "1", 100.0, None)])
    assert read_track_table(document).fps == 10.0, "that of the detections, where the run has none"
    document["tracker"]["config"]["video_fps"] = 25.0
    assert read_track_table(document).fps == 25.0
    document["video"]["fps"] = float("nan")
    document["tracker"]["config"]["video_fps"] = None
    assert read_track_table(document).fps is None


@pytest.mark.data
def test_bytetrack_on_pets_has_the_metrics_of_trackeval(data: Path, tmp_path: Path) -> None:
    place = data / "mot" / "PETS09-S2L1"
    video = data / "video" / "pets09-s2l1.avi"
    detections = mot_detections(place, video=video)
    result = track_video(dets_json=detections, video=video, temporal="bytetrack", track_thresh=0.45, no_progress=True)
    table = read_track_table(result.payload)
    text = write_mot(table, tmp_path / "result.txt")
    figures = run_trackeval(place.parent, "PETS09-S2L1", text, tmp_path, "MOT15")
    for source in (table, read_track_table(text)):
        same(evaluate_tracks(source, read_truth(place)), figures)
    # What docs/benchmarks.md says; BoxMOT's ByteTrack with gtrack's thresholds.
    assert 100 * figures["HOTA"]["HOTA"].mean() == pytest.approx(35.7, abs=0.5)
    assert 100 * figures["CLEAR"]["MOTA"] == pytest.approx(62.8, abs=0.5)
    assert 100 * figures["Identity"]["IDF1"] == pytest.approx(44.5, abs=0.5)


@pytest.mark.data
def test_perfect_tracks_and_perfect_names_on_pets(data: Path) -> None:
    """Without a gallery, perfect tracks reach an IDF1 of 0.611 (0.615 with the 174 rows that do not count)."""
    place = data / "mot" / "PETS09-S2L1"
    truth = read_truth(place, place / "people.csv")
    assert truth.persons is not None
    rows = np.flatnonzero(truth.counts)
    payload = make_track_v1([])
    frames: dict[int, list[dict[str, Any]]] = {}
    for row in rows.tolist():
        box = {"bbox": truth.xyxy[row].tolist(), "track_id": str(truth.ids[row])}
        box["gallery_id"] = truth.people[truth.persons[row]]
        frames.setdefault(int(truth.frames[row]), []).append(box)
    payload["frames"] = [{"frame": frame, "detections": found} for frame, found in frames.items()]
    table = read_track_table(payload)
    by_track = evaluate_tracks(table, truth, "track_id").metrics["Identity"]["IDF1"]
    assert by_track == pytest.approx(0.6106, abs=1e-4)
    assert evaluate_tracks(table, truth, "gallery_id").metrics["Identity"]["IDF1"] == 1.0
    assert evaluate_tracks(table, read_truth(place)).metrics["HOTA"]["HOTA"] == pytest.approx(1.0)


def test_the_ground_truth_of_a_scene(scene: Scene) -> None:
    """The demo's own truth names the person of each id; everything it lists is a target, unless it is all hidden."""
    truth = read_truth(scene.truth)
    rows = [
        {"frame": int(f), "detections": [{"bbox": b.tolist(), "track_id": f"{i}"}]}
        for f, b, i, c in zip(truth.frames, truth.xyxy, truth.ids, truth.counts, strict=True)
        if c
    ]
    merged: dict[int, list[Any]] = {}
    for row in rows:
        merged.setdefault(row["frame"], []).extend(row["detections"])
    payload = make_track_v1([])
    payload["frames"] = [{"frame": f, "detections": d} for f, d in merged.items()]
    score = evaluate_tracks(read_track_table(payload), truth)
    assert score.truth == "person"
    assert score.metrics["HOTA"]["DetA"] == pytest.approx(1.0)
    assert score.metrics["Identity"]["IDF1"] < 1, "some come back as another track"


def test_empty_results_and_empty_ground_truth(tmp_path: Path) -> None:
    truth = read_truth(write_gt(tmp_path / "gt.txt", GT))
    score = evaluate_tracks(read_track_table(make_track_v1([], frames=range(4))), truth)
    assert score.metrics["HOTA"]["HOTA"] == 0
    assert score.metrics["CLEAR"]["CLR_FN"] == 8
    with pytest.raises(EvaluationError, match="no person in the given frames"):
        evaluate_tracks(read_track_table(make_track_v1(named({}))), truth, frame_range=(100, None))


def test_rejects_invalid_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, result = sequence(tmp_path, seed=1)
    truth = read_truth(place)
    table = read_track_table(make_track_v1([(30, "1", 0.0, None)]))
    with pytest.raises(EvaluationError, match="frame 30, and TRAIN-01 has 30 frames"):
        evaluate_tracks(table, truth)
    plain = read_truth(write_gt(tmp_path / "gt.txt", GT))
    with pytest.raises(EvaluationError, match=r"no classes .* MOT17"):
        evaluate_tracks(read_track_table(result), plain, benchmark="MOT17")
    with pytest.raises(EvaluationError, match="expected a benchmark of"):
        evaluate_tracks(read_track_table(result), plain, benchmark="MOT99")
    only = read_track_table(make_track_v1(named({"A": "ann"}), tracker="gallery_only"))
    with pytest.raises(EvaluationError, match="no tracks"):
        evaluate_tracks(only, plain, "track_id")
    # Nameless boxes of gallery_only are joined by nothing: each is an object, and ann's two another.
    assert evaluate_tracks(only, plain, "gallery_id").counts["IDs"] == 7
    monkeypatch.setattr(tracks, "find_spec", lambda name: None)
    with pytest.raises(EvaluationError, match=r"Run: pip install 'trackeval>=1\.3'"):
        evaluate_tracks(table, truth)
