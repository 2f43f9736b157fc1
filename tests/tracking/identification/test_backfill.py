"""Names written on earlier frames: by hand, and through the whole run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.traces import A, B, D, Known, mix, observe

from gallery_db import ingest_folder
from gallery_db.gallery import Gallery
from tracking import load_embedder, track_video
from tracking.demo.run import compare_with_truth
from tracking.errors import OptionError
from tracking.identification.backfill import Backfill
from tracking.identification.identifier import TrackIdentifier
from tracking.identification.named_tracklets import Named, NamedTracklet
from tracking.identification.track_evidence import TrackEvidence
from tracking.options import RunOptions
from tracking.outputs.track_file import TrackFile
from tracking.synthetic.rendering import Scene
from tracking.video.reader import VideoReader


def tracklet(
    track: int,
    first: int,
    last: int,
    name: str | None,
    *,
    certain_from: int = 0,
    known_from: int = 0,
    spreads: float = 1.2,
) -> NamedTracklet:
    named = None if name is None else Named(name, 0.01 * (track + 1))
    return NamedTracklet(track, first, max(first, certain_from), max(first, known_from), last, named, spreads=spreads)


def corrected(tracklets: list[NamedTracklet], ran: dict[int, str], frame: int = 10) -> tuple[dict[int, str], int]:
    """The names of tracks 0 to 2 in one frame, and how many changed; `ran` has the names of the run."""
    detections: list[dict[str, Any]] = [{"bbox": [0, 0, 1, 1], "class_id": 0}]
    for track in range(3):
        detection = {"bbox": [0, 0, 1, 1], "class_id": 0, "track_id": str(track), "identity_status": "undecided"}
        if track in ran:
            detection |= {"gallery_id": ran[track], "gallery_distance": 0.2, "identity_status": "known"}
        detections.append(detection)
    changed = Backfill(tracklets).correct({"frame": frame, "detections": detections})
    assert detections[0] == {"bbox": [0, 0, 1, 1], "class_id": 0}
    for detection in detections[1:]:
        assert (
            ("gallery_id" in detection)
            == (detection["identity_status"] == "known")
            == ("gallery_distance" in detection)
        )
    return {int(d["track_id"]): d["gallery_id"] for d in detections[1:] if "gallery_id" in d}, changed


def test_a_reserved_name_that_the_whole_run_does_not_give_is_removed() -> None:
    for tracklets in ([tracklet(0, 5, 40, None)], [tracklet(0, 5, 40, "ann", spreads=9.0)], []):
        detection = {"bbox": [0, 0, 1, 1], "class_id": 0, "track_id": "0", "gallery_id": "unknown-0004"}
        Backfill(tracklets).correct({"frame": 10, "detections": [detection]})
        assert "gallery_id" not in detection
        assert detection["identity_status"] == "undecided"
    kept = {"bbox": [0, 0, 1, 1], "class_id": 0, "track_id": "0", "gallery_id": "unknown-0004"}
    Backfill([tracklet(0, 5, 40, "unknown-0004")]).correct({"frame": 10, "detections": [kept]})
    assert kept["gallery_id"] == "unknown-0004"


@pytest.mark.parametrize(
    ("tracklets", "ran", "expected"),
    [
        pytest.param([tracklet(0, 5, 40, "ann")], {}, {0: "ann"}, id="a name decided later"),
        pytest.param([tracklet(0, 5, 40, "ann")], {0: "ann"}, {0: "ann"}, id="named as it ran"),
        pytest.param([tracklet(0, 5, 40, None)], {}, {}, id="never named"),
        pytest.param([tracklet(0, 11, 40, "ann")], {}, {}, id="the track was not there yet"),
        pytest.param([tracklet(0, 0, 9, "ann"), tracklet(0, 11, 40, "ann")], {}, {}, id="between two tracklets"),
        pytest.param(
            [tracklet(0, 0, 7, "ann"), tracklet(0, 8, 40, "bob", known_from=14)],
            {0: "ann"},
            {0: "bob"},
            id="after a swap that was seen later",
        ),
        pytest.param(
            [tracklet(0, 0, 7, "ann"), tracklet(0, 8, 40, None, known_from=14)],
            {0: "ann"},
            {},
            id="after a swap to an unknown person",
        ),
        pytest.param(
            [tracklet(0, 0, 12, "ann"), tracklet(0, 13, 40, "bob")], {0: "ann"}, {0: "ann"}, id="before a swap"
        ),
        pytest.param(
            [tracklet(0, 0, 40, None, known_from=5)], {0: "ann"}, {0: "ann"}, id="a name lost in the end stays"
        ),
        pytest.param(
            [tracklet(0, 0, 40, "ann"), tracklet(1, 0, 40, "ann")], {1: "ann"}, {1: "ann"}, id="who had it keeps it"
        ),
        pytest.param(
            [tracklet(0, 0, 40, "ann"), tracklet(1, 0, 40, "ann")],
            {},
            {0: "ann"},
            id="else the one that it fits better",
        ),
        pytest.param(
            [tracklet(0, 0, 40, "bob"), tracklet(1, 0, 40, "ann")],
            {0: "ann", 1: "bob"},
            {0: "bob", 1: "ann"},
            id="two that were mixed up",
        ),
        pytest.param([tracklet(0, 0, 40, "ann", certain_from=11)], {}, {}, id="not certain of the person yet"),
        pytest.param([tracklet(0, 0, 40, "ann", spreads=2)], {}, {}, id="too little evidence to write it back"),
        pytest.param(
            [tracklet(0, 0, 40, "ann", spreads=2)], {0: "ann"}, {0: "ann"}, id="too little, but named as it ran"
        ),
        pytest.param(
            [tracklet(0, 0, 40, "ann", spreads=2)], {0: "bob"}, {0: "bob"}, id="too little to replace a name of the run"
        ),
        pytest.param(
            [tracklet(0, 0, 40, "ann", spreads=2, known_from=14)], {0: "bob"}, {}, id="too little, but no longer bob"
        ),
        pytest.param(
            [tracklet(0, 0, 40, "ann", spreads=2), tracklet(1, 50, 90, "ann", spreads=0.9)],
            {0: "ann"},
            {},
            id="another track shows ann as she is",
        ),
        pytest.param(
            [tracklet(0, 0, 40, "ann", spreads=2), tracklet(1, 50, 90, "bob", spreads=0.9)],
            {0: "ann"},
            {0: "ann"},
            id="another track shows bob as he is",
        ),
        pytest.param(
            [tracklet(0, 0, 40, "ann", spreads=2), tracklet(1, 50, 90, "ann", spreads=0.9)],
            {0: "bob"},
            {0: "bob"},
            id="no ann, and bob when it ran",
        ),
    ],
)
def test_corrects_names_of_earlier_frames(
    tracklets: list[NamedTracklet], ran: dict[int, str], expected: dict[int, str]
) -> None:
    found, changed = corrected(tracklets, ran)
    assert found == expected
    assert changed == sum(ran.get(t) != expected.get(t) for t in range(3))


def test_boxes_of_another_class_get_no_name() -> None:
    person = NamedTracklet(1, 0, 0, 0, 40, Named("ann", 0.1), "person")
    boxes = [
        {"class_id": 2, "class_name": "car"},
        {"class_id": 2},
        {"class_id": 0, "class_name": "Person"},
        {"class_id": 0},
        {"class_id": 7},
    ]
    detections = [{"bbox": [0, 0, 1, 1], "track_id": "1", "identity_status": "undecided", **box} for box in boxes]
    for detection in detections:
        Backfill([person], {0: "person", 2: "car"}).correct({"frame": 10, "detections": [detection]})
    assert [d.get("gallery_id") for d in detections] == [None, None, "ann", "ann", "ann"]


def test_tracklets_of_a_swap() -> None:
    """Ann's track moves to bob at frame 5, which is noticed at frame 8."""
    identities = TrackIdentifier(Known(), threshold=0.25, every=1, keep_tracklets=True)
    for frame in range(12):
        identities.due(frame, [3], [1.0], [0.6 if frame == 5 else 0.0])
        if frame not in (5, 6):
            observe(identities, frame, {3: A if frame < 5 else B})
        identities.names(frame, [3])
    first, second = identities.tracklets()
    assert (first.first, first.last) == (0, 4)
    assert (second.first, second.known_from, second.last) == (5, 8, 11)
    assert first.named is not None
    assert first.named.identity == "ann"
    assert second.named is not None
    assert second.named.identity == "bob"


def test_a_tracklet_that_starts_without_a_name() -> None:
    """A box around two people at first: the name begins with the first observation that shows the person."""
    identities = TrackIdentifier(Known(), threshold=0.25, every=1, keep_tracklets=True)
    for frame in range(14):
        identities.due(frame, [3])
        observe(identities, frame, {3: mix(A, D, 0.4) if frame < 4 else mix(A, D, 0.12)})
        identities.names(frame, [3])
    (only,) = identities.tracklets()
    assert only.named is not None
    assert (only.first, only.certain_from) == (0, 4)


def test_after_a_bad_start_the_name_begins_with_two_observations_that_fit() -> None:
    """The first box does not show ann; those that are hardly like her may not either."""
    identities = TrackIdentifier(Known(), threshold=0.25, every=1, keep_tracklets=True)
    for frame in range(14):
        identities.due(frame, [3])
        observe(identities, frame, {3: mix(A, D, 0.38 if frame == 0 else 0.3 if frame < 4 else 0.1)})
        identities.names(frame, [3])
    (only,) = identities.tracklets()
    assert only.named is not None
    assert (only.first, only.certain_from) == (0, 3)


def test_tracklets_are_kept_only_on_request() -> None:
    identities = TrackIdentifier(Known(), threshold=0.25, every=1)
    observe(identities, 0, {3: A})
    identities.names(0, [3])
    assert identities.tracklets() == []


def test_evidence_is_bounded() -> None:
    identities = TrackIdentifier(Known(), threshold=0.25, every=1)
    for frame in range(500):
        identities.due(frame, [3], [1.0], [0.6 * (frame % 3 == 0)])
        observe(identities, frame, {3: (A, B, D)[frame // 7 % 3]})
        identities.names(frame, [3])
    evidence = identities.evidence(3)
    assert evidence is not None
    assert len(evidence.records) <= 32
    assert len(evidence.held) <= TrackEvidence.CONTRARY_WITHOUT_RISK
    assert len(evidence.tracklet.early) <= evidence.tracklet.MAX_EARLY


# -- the run -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_of(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs the scene, with a gallery of its own."""
    place = tmp_path_factory.mktemp("backfill")
    embedder = load_embedder("builtin")
    with Gallery.open_or_create(place / "gallery", embedder.model) as gallery:
        ingest_folder(gallery, scene.gallery, embedder)

    def run(name: str, **arguments: Any) -> Any:
        defaults: dict[str, Any] = {
            "dets_json": scene.detections,
            "video": scene.video,
            "gallery": place / "gallery",
            "no_progress": True,
            "out_dir": place,
            "run_name": name,
            "frame_range": (0, 120),
        }
        return track_video(**{**defaults, **arguments})

    return run


def without_names(payload: dict[str, Any]) -> list[Any]:
    hidden = {"gallery_id", "gallery_distance", "identity_status", "identity_backfilled"}
    return [[{k: v for k, v in d.items() if k not in hidden} for d in f["detections"]] for f in payload["frames"]]


def test_backfill(run_of: Any, scene: Scene, tmp_path: Path) -> None:
    plain = run_of("plain", save_json_flag=True)
    filled = run_of(
        "filled",
        save_json_flag=True,
        save_video="named.mp4",
        save_frames=True,
        save_crops=tmp_path / "crops",
        backfill=True,
    )
    assert without_names(filled.payload) == without_names(plain.payload)
    assert filled.stats["crops"] == plain.stats["crops"]
    assert filled.stats["backfilled"] > 0
    assert "backfilled" not in plain.stats
    assert filled.payload["tracker"]["config"]["backfill"] is True
    truth = json.loads(scene.truth.read_text())
    truth["frames"] = truth["frames"][:120]
    before, after = (compare_with_truth(run.payload, truth) for run in (plain, filled))
    assert sum(p.right for p in after) > sum(p.right for p in before)
    assert sum(p.wrong for p in after) <= sum(p.wrong for p in before) + 2
    counts: Counter[str] = Counter()
    for frame in filled.payload["frames"]:
        names = [d["gallery_id"] for d in frame["detections"] if "gallery_id" in d]
        assert len(names) == len(set(names)), frame["frame"]
        counts.update(names)
        for detection in frame["detections"]:
            assert ("identity_status" in detection) == ("track_id" in detection)
    assert {s.identity: s.frames for s in filled.sightings} == dict(counts)
    assert filled.stats["named"] == sum(counts.values())
    with VideoReader(filled.paths.video_path) as reader:
        frames = 0
        while reader.advance():
            frames += 1
    assert frames == len(list(filled.paths.frames_dir.iterdir())) == 120
    final = {
        (d["track_id"], f["frame"]): d.get("gallery_id") for f in filled.payload["frames"] for d in f["detections"]
        if "track_id" in d
    }  # fmt: skip
    crops = [path.relative_to(tmp_path / "crops").parts for path in (tmp_path / "crops").rglob("*.jpg")]
    assert len(crops) > 20
    for *identity, track, file in crops:
        named = final[track.removeprefix("track-"), int(Path(file).stem)]
        assert identity == ([] if named is None else [named]), "the final name"


def test_backfill_without_files_is_the_same(run_of: Any) -> None:
    kept = run_of("kept", save_json_flag=True, backfill=True)
    unsaved = run_of("unsaved", backfill=True)
    assert unsaved.payload["frames"] == kept.payload["frames"]
    assert unsaved.paths.run_dir is None


def test_backfill_comes_before_the_filter(run_of: Any) -> None:
    filled = run_of("all", backfill=True, classes=[0]).payload["frames"]
    filtered = run_of("filtered", backfill=True, filter_gallery=True, classes=[0]).payload["frames"]
    named = [[d for d in f["detections"] if "gallery_id" in d and d["class_id"] == 0] for f in filled]
    assert [[d for d in f["detections"] if d["class_id"] == 0] for f in filtered] == named
    assert any(d["class_id"] != 0 for f in filtered for d in f["detections"]), "other classes pass through"


def test_a_stopped_second_pass_loses_nothing(run_of: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = run_of("ran", save_json_flag=True)
    correct, calls = Backfill.correct, []

    def stop(self: Backfill, document: dict[str, Any]) -> int:
        calls.append(document["frame"])
        if len(calls) > 50:
            raise KeyboardInterrupt
        return correct(self, document)

    monkeypatch.setattr(Backfill, "correct", stop)
    with pytest.raises(KeyboardInterrupt):
        run_of("stopped", save_json_flag=True, backfill=True, out_dir=tmp_path)
    found = json.loads((tmp_path / "stopped" / "tracked.json").read_text())
    assert found["frames"] == plain.payload["frames"], "as it ran, and whole"
    assert [p.name for p in (tmp_path / "stopped").iterdir()] == ["tracked.json"]


def test_a_run_that_fails_is_backfilled_too(run_of: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    full = run_of("full", backfill=True, frame_range=(0, 60)).payload["frames"]
    observe = TrackIdentifier.names

    def fail(self: TrackIdentifier, frame: int, *others: Any) -> Any:
        if frame == 60:
            raise KeyboardInterrupt
        return observe(self, frame, *others)

    monkeypatch.setattr(TrackIdentifier, "names", fail)
    with pytest.raises(KeyboardInterrupt):
        run_of("cut", save_json_flag=True, backfill=True, out_dir=tmp_path)
    found = json.loads((tmp_path / "cut" / "tracked.json").read_text())["frames"]
    assert [f["frame"] for f in found] == list(range(60))
    assert any("identity_backfilled" in d for f in found for d in f["detections"])
    assert without_names({"frames": found}) == without_names({"frames": full})


@pytest.mark.parametrize("options", [{"gallery": None}, {"gallery": "g", "tracker": "gallery_only"}])
def test_backfill_needs_tracks_and_names(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="`backfill=True` needs"):
        RunOptions(backfill=True, **options).validate()


@pytest.mark.parametrize("saved", [True, False])
def test_rewriting_keeps_the_header(tmp_path: Path, saved: bool) -> None:
    file = TrackFile({"a": "]}", "b": [1]}, tmp_path / "t.json" if saved else None)
    for number in range(3):
        file.write({"frame": number, "detections": [], "note": "],"})

    def edit(document: dict[str, Any]) -> None:
        document["note"] += str(document["frame"])

    file.rewrite(edit)
    assert [f["note"] for f in file.documents()] == ["],0", "],1", "],2"]
    assert file.payload["a"] == "]}"
    assert [f["note"] for f in file.payload["frames"]] == ["],0", "],1", "],2"]
    empty = TrackFile({"a": 1}, tmp_path / "e.json" if saved else None)
    empty.rewrite(edit)
    assert empty.payload == {"a": 1, "frames": []}
