"""The enroller for pipelines of one's own: what a run does, several cameras at once, and what is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.own_pipeline import SIZE, TOY, OwnFrame, axis, own_frames
from support.reid import DIMENSION, make_onnx, write_sidecar

from gallery_db import (
    Curator,
    EmbeddingModel,
    Entry,
    Gallery,
    GalleryError,
    GalleryLockedError,
    ModelMismatchError,
    ingest_folder,
)
from tracking import (
    TrackEnroller,
    TrackName,
    TrackObservation,
    embedding_model,
    load_embedder,
    track_video,
)
from tracking.enrolment import track_enroller
from tracking.enrolment.gallery_writer import CROPS, GalleryWriter
from tracking.errors import ObservationError, OptionError, WeightsError
from tracking.reid.input_spec import Preprocessing
from tracking.synthetic.config import SceneConfig
from tracking.synthetic.rendering import Scene, render_scene

A, B, C, D = (axis(number) for number in range(4))


def toy(place: Path | str, **options: Any) -> TrackEnroller:
    return TrackEnroller(place, model=options.pop("model", TOY), **options)


def walk(
    enroller: TrackEnroller, source: str, frames: Iterable[int], tracks: dict[int, Any], **more: Any
) -> list[TrackName]:
    """Tracks that are in all of the frames, with an embedding in each; who they are in the last."""
    names: list[TrackName | None] = []
    for frame in frames:
        names = enroller.observe(source, frame, [TrackObservation(t, v, **more) for t, v in tracks.items()])
    return [name for name in names if name is not None]


def enrol_and_fail(enroller: TrackEnroller, error: type[BaseException], **people: Any) -> None:
    """One person at each source, and then an error."""
    with enroller:
        for source, vector in people.items():
            walk(enroller, source, range(10), {1: vector})
        raise error


def entries_of(place: Path | str) -> list[Entry]:
    with Gallery.open(place) as gallery:
        return sorted(gallery.entries(), key=lambda e: (e.extra.get("source_id", ""), e.extra.get("first_frame", 0)))


def stored(place: Path | str) -> list[tuple[str, str, int, int]]:
    return [
        (e.identity, e.extra["source_id"], e.extra["first_frame"], e.extra["last_frame"]) for e in entries_of(place)
    ]


# -- the same as a run ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def door(scene: Scene) -> list[OwnFrame]:
    """The demo clip through a pipeline of one's own."""
    return list(own_frames(scene.video, scene.detections, load_embedder("builtin")))


@pytest.mark.parametrize("enroll", ["off", "unknown", "all"])
def test_stores_the_same_entries_as_a_run(scene: Scene, door: list[OwnFrame], tmp_path: Path, enroll: Any) -> None:
    """Given the same tracks and embeddings: the same names in every frame, and the same entries, vector by vector."""
    embedder = load_embedder("builtin")
    for name in ("run", "own"):
        with Gallery.create(tmp_path / name, embedder.model) as gallery:
            if enroll != "unknown":
                ingest_folder(gallery, scene.gallery, embedder)
    result = track_video(
        video=scene.video,
        dets_json=scene.detections,
        gallery=tmp_path / "run",
        reid_weights="builtin",
        classes=[0],
        enroll=enroll,
        backfill=False,
        source_id="door",
        no_progress=True,
    )
    named = 0
    with TrackEnroller(tmp_path / "own", model=embedder.model, enroll=enroll, fps=scene.config.fps) as own:
        for seen, document in zip(door, result.payload["frames"], strict=True):
            answers = own.observe("door", seen.frame, seen.observations, frame_size=seen.size)
            assert [a is None for a in answers] == [s.track_id is None for s in seen.observations]
            got = {a.track_id: (a.identity, a.status, a.distance) for a in answers if a is not None}
            expected = {
                int(d["track_id"]): (d.get("gallery_id"), d["identity_status"], d.get("gallery_distance"))
                for d in document["detections"]
                if "track_id" in d
            }
            assert {t: (name, status) for t, (name, status, _) in got.items()} == {
                t: (name, status) for t, (name, status, _) in expected.items()
            }
            for track_id, (_, _, distance) in expected.items():
                assert got[track_id][2] == (None if distance is None else pytest.approx(distance, abs=1e-6))
            named += sum(name is not None for name, _, _ in got.values())
    assert named > 100
    assert own.counts == (result.enrolment or own.counts)

    def content(place: Path) -> list[Any]:
        with Gallery.open(place) as gallery:
            found = [gallery.get(entry.id) for entry in gallery.entries() if entry.origin == "track"]
        facts = ("num_frames", "num_looks", "first_frame", "last_frame", "first_time", "score", "quality", "distance")
        return sorted(
            (e.identity, e.frame, e.box, [e.extra.get(fact) for fact in facts], "crop" in e.extra, v.tolist())
            for e, v in found
        )

    assert content(tmp_path / "own") == content(tmp_path / "run")
    assert bool(content(tmp_path / "own")) == (enroll != "off")


def test_names_without_boxes_crops_or_sizes(tmp_path: Path) -> None:
    with toy(tmp_path / "g") as enroller:
        (first,) = walk(enroller, "door", range(20), {1: A})
        enroller.end("door")
        (again,) = walk(enroller, "door", range(20), {9: A})
    assert (first.identity, first.status, first.distance) == ("unknown-0001", "unknown", None)
    assert again == TrackName(9, "unknown-0001", "known", pytest.approx(0.0, abs=1e-6))
    assert [e.box for e in entries_of(tmp_path / "g")] == [None, None]


# -- several cameras -----------------------------------------------------------------------------------------


def test_an_unknown_person_of_one_camera_is_known_at_the_next_at_once(place: Path | str) -> None:
    with toy(place, grace_frames=3) as enroller:
        walk(enroller, "door", range(10), {1: A})
        (before,) = walk(enroller, "yard", range(100, 110), {1: B})
        for frame in range(10, 20):
            enroller.observe("door", frame, [])  # has gone, and is stored
        (after,) = walk(enroller, "yard", range(110, 120), {2: A})
        assert enroller.sources == ("door", "yard")
        assert enroller.counts.enrolled == 2, "and the yard's own first visitor has gone, too"
    assert before.identity == "unknown-0002", "the first number is kept for the one at the door"
    assert (after.identity, after.status) == ("unknown-0001", "known")
    assert stored(place) == [
        ("unknown-0001", "door", 0, 9),
        ("unknown-0002", "yard", 100, 109),
        ("unknown-0001", "yard", 110, 119),
    ]


def test_one_person_may_be_on_two_cameras_with_one_name_a_frame(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", TOY) as gallery:
        gallery.add([Entry("alice-1", "alice")], A[None])
    with toy(tmp_path / "g", enroll="off") as enroller:
        for frame in range(20):
            door = enroller.observe("door", frame, [TrackObservation(1, A), TrackObservation(2, A)])
            yard = enroller.observe("yard", frame, [TrackObservation(1, A)])
    assert [name.identity if name else None for name in door] == ["alice", None]
    assert [name.identity if name else None for name in yard] == ["alice"]


@pytest.mark.parametrize("first_to_go", ["door", "yard"])
def test_an_unknown_person_on_two_cameras_has_one_name_from_the_start(tmp_path: Path, first_to_go: str) -> None:
    names: dict[str, set[str | None]] = {"door": set(), "yard": set()}
    with toy(tmp_path / "g", grace_frames=3) as enroller:
        for frame in range(60):
            for source in names:
                here = [TrackObservation(1, A)] if frame < 20 or source != first_to_go else []
                others = [TrackObservation(2, A), TrackObservation(3, B)] if source == "yard" and frame < 20 else []
                found = enroller.observe(source, frame, [*here, *others])
                names[source] |= {name.identity for name in found if name is not None and name.track_id == 1}
                names_of_frame = [name.identity for name in found if name is not None and name.identity is not None]
                assert len(names_of_frame) == len(set(names_of_frame)), "a person beside them has another name"
    assert names == {"door": {None, "unknown-0001"}, "yard": {None, "unknown-0001"}}
    stays = {(identity, source) for identity, source, *_ in stored(tmp_path / "g")}
    assert {("unknown-0001", "door"), ("unknown-0001", "yard")} <= stays


def test_tracks_at_the_same_time_are_two_people_on_one_camera_only(tmp_path: Path) -> None:
    alike = (0.8 * A + 0.6 * B).astype(np.float32)  # within the threshold of A, and not surely the same
    for name, sources in (("one", ("door", "door")), ("two", ("door", "yard"))):
        with toy(tmp_path / name) as enroller:
            for frame in range(40):
                observations: dict[str, list[TrackObservation]] = {source: [] for source in sources}
                for number, (source, vector) in enumerate(zip(sources, (A, alike), strict=True)):
                    if frame < 30 or number:
                        observations[source].append(TrackObservation(number, vector))
                for source, found in observations.items():
                    enroller.observe(source, frame, found)
            enroller.end("door")
    assert len({identity for identity, *_ in stored(tmp_path / "one")}) == 2
    assert len({identity for identity, *_ in stored(tmp_path / "two")}) == 1


def test_prototypes_are_capped_over_all_cameras(tmp_path: Path) -> None:
    with toy(tmp_path / "g", grace_frames=0) as enroller:
        for visit in range(24):
            turned = A + 0.05 * axis(1 + visit % 7)  # a little other each time
            walk(enroller, f"camera-{visit % 3}", range(10 * visit, 10 * visit + 8), {visit: turned})
    counts = enroller.counts
    assert len(stored(tmp_path / "g")) == 10 == counts.enrolled
    assert counts.enrolled + counts.redundant == 24


# -- tracks --------------------------------------------------------------------------------------------------


def test_tracks_with_few_or_no_embeddings(tmp_path: Path) -> None:
    with toy(tmp_path / "g") as enroller:
        for frame in range(50):
            embedding = A if frame % 10 == 0 else None
            (name,) = enroller.observe(
                "door", frame, [TrackObservation(1, embedding, (10, 10, 30, 60))], frame_size=(100, 90)
            )
            enroller.observe("yard", frame, [TrackObservation(1)])
    assert name is not None
    assert name.identity == "unknown-0001"
    (entry,) = entries_of(tmp_path / "g")
    assert (entry.extra["num_frames"], entry.extra["num_looks"], entry.box) == (50, 4, (10, 10, 30, 60))
    assert enroller.counts.too_short == 1, "nobody observed the yard's"


def test_every_limits_the_embeddings_that_are_used(tmp_path: Path) -> None:
    counts = {}
    for every in (1, 10):
        with toy(tmp_path / str(every), every=every) as enroller:
            walk(enroller, "door", range(100), {1: A})
        counts[every] = entries_of(tmp_path / str(every))[0].extra["num_looks"]
    assert counts[1] == 100
    assert 5 <= counts[10] <= 20


def test_embeddings_of_any_length_count_the_same(tmp_path: Path) -> None:
    vectors = []
    for name, factor in (("unit", 1.0), ("long", 37.5), ("short", 1e-6)):
        with toy(tmp_path / name) as enroller:
            walk(enroller, "door", range(10), {1: (factor * (A + B)).tolist()})
        with Gallery.open(tmp_path / name) as gallery:
            vectors.append(gallery.get(next(gallery.entries()).id)[1])
    assert np.allclose(vectors, (A + B) / np.sqrt(2), atol=1e-6)


def test_quality_and_boxes_weigh(tmp_path: Path) -> None:
    crop = np.random.default_rng(0).integers(0, 255, (40, 20, 3), np.uint8)
    with toy(tmp_path / "g", every=1) as enroller:
        for frame in range(10):
            high, low = (A, B) if frame % 2 else (A + 0.3 * C, B)
            boxes = ((10, 10, 40, 80), (12, 10, 42, 80))
            enroller.observe(
                "door",
                frame,
                [
                    TrackObservation(1, high, quality=1.0 if frame % 2 else 0.0),
                    TrackObservation(2, low, (60, 10, 90, 80), crop=crop),
                    TrackObservation(3, D, boxes[0]),
                    TrackObservation(None, None, boxes[1]),  # hides 3
                ],
                frame_size=(100, 100),
            )
    found = {e.extra["track_id"]: e for e in entries_of(tmp_path / "g")}
    with Gallery.open(tmp_path / "g") as gallery:
        mean = gallery.get(found["1"].id)[1]
    assert mean @ A == pytest.approx(1.0, abs=1e-4), "observations that are worth nothing weigh nothing"
    assert 0.5 < found["2"].extra["quality"] < 1.0, "sharp, and in the clear"
    assert "3" not in found or found["3"].extra["quality"] < 0.2
    assert found["2"].extra["crop"] == f"{CROPS}/{found['2'].id}.jpg"
    assert (tmp_path / "g" / CROPS / f"{found['2'].id}.jpg").is_file()
    assert "crop" not in found["1"].extra


def test_crops_are_requested_only_when_needed(tmp_path: Path) -> None:
    crop = np.random.default_rng(0).integers(0, 255, (40, 20, 3), np.uint8)
    asked: list[int] = []
    with toy(tmp_path / "g") as enroller:
        for frame in range(40):

            def give(frame: int = frame) -> Any:
                asked.append(frame)
                return crop

            enroller.observe("door", frame, [TrackObservation(1, A, crop=give), TrackObservation(2, None, crop=give)])
        with pytest.raises(ObservationError, match="track 3: expected a crop"):
            enroller.observe("door", 99, [TrackObservation(3, A, crop=lambda: crop[0])])
    (entry,) = entries_of(tmp_path / "g")
    assert len(asked) == entry.extra["num_looks"] < 20
    assert (tmp_path / "g" / entry.extra["crop"]).is_file()


def test_a_restarted_source_is_another_session(tmp_path: Path) -> None:
    with toy(tmp_path / "g") as enroller:
        for vector in (A, B):
            walk(enroller, "door", range(10), {1: vector})
            enroller.end("door")
        enroller.end("door")  # nothing to end
        enroller.end("never seen")
    assert sorted(stored(tmp_path / "g")) == [("unknown-0001", "door", 0, 9), ("unknown-0002", "door", 0, 9)]


# -- sessions ------------------------------------------------------------------------------------------------


def test_a_repeated_session_replaces_its_entries(place: Path | str) -> None:
    def run(**tracks: Any) -> None:
        with toy(place, session="monday") as enroller:
            for source, vector in tracks.items():
                walk(enroller, source, range(10), {1: vector})

    run(door=A, yard=B)
    first = {e.id: e.identity for e in entries_of(place)}
    run(door=A, yard=B)
    assert {e.id: e.identity for e in entries_of(place)} == first
    with Gallery.open(place, write=True) as gallery:
        Curator(gallery).rename("unknown-0001", "alice")
    run(door=A)
    assert stored(place) == [("alice", "door", 0, 9)], "a name that a person gave stays; the yard was not there again"


def test_an_interrupted_session_removes_nothing(tmp_path: Path) -> None:
    with toy(tmp_path / "g", session="monday") as enroller:
        walk(enroller, "door", range(10), {1: A})
        walk(enroller, "yard", range(10), {1: B})
    before = stored(tmp_path / "g")
    with pytest.raises(KeyboardInterrupt):
        enrol_and_fail(toy(tmp_path / "g", session="monday"), KeyboardInterrupt, door=A)
    assert stored(tmp_path / "g") == before


def test_without_a_session_each_run_is_its_own(tmp_path: Path) -> None:
    for _ in range(2):
        with toy(tmp_path / "g") as enroller:
            walk(enroller, "door", range(10), {1: A})
    assert stored(tmp_path / "g") == [("unknown-0001", "door", 0, 9)] * 2
    with Gallery.open(tmp_path / "g") as gallery:
        assert [operation.action for operation in gallery.operations()] == ["enrol", "enrol"]


# -- what is refused -----------------------------------------------------------------------------------------

BOX = (10.0, 10.0, 30.0, 60.0)


@pytest.mark.parametrize(
    ("observations", "words"),
    [
        pytest.param(
            [TrackObservation(7, [0.1] * (SIZE - 1))], r"track 7: .* shape \(8,\), found \(7,\)", id="too short"
        ),
        pytest.param([TrackObservation(7, A[None])], r"shape \(8,\), found \(1, 8\)", id="a batch"),
        pytest.param(
            [TrackObservation(7, np.full(SIZE, np.nan))], "track 7: the embedding has values that are not", id="NaN"
        ),
        pytest.param([TrackObservation(7, np.zeros(SIZE))], "track 7: the embedding is a zero vector", id="zero"),
        pytest.param([TrackObservation(7, "a text")], "expected an embedding of 8 numbers, found str", id="a text"),
        pytest.param([TrackObservation(7, A, (10, 10, 10, 60))], "track 7: expected a box", id="no area"),
        pytest.param(
            [TrackObservation(None, None, (0, 0, np.inf, 9))], "track None: expected a box", id="infinite box"
        ),
        pytest.param([TrackObservation(7, A, (1, 2, 3))], "expected a box", id="three numbers"),
        pytest.param([TrackObservation(7, A, "box")], "expected a box", id="no numbers"),
        pytest.param([TrackObservation(7, A), TrackObservation(7, B)], "track 7: is in the frame twice", id="twice"),
        pytest.param([TrackObservation("x", A)], "whole number as track_id", id="a text for a track"),  # type: ignore[arg-type]
        pytest.param([TrackObservation(7, A, score=-0.1)], "a score from 0 to 1, found -0.1", id="score"),
        pytest.param([TrackObservation(7, A, score=float("nan"))], "a score from 0 to 1", id="score NaN"),
        pytest.param([TrackObservation(7, A, quality=1.5)], "a quality from 0 to 1", id="quality"),
        pytest.param(
            [TrackObservation(7, A, crop=np.zeros((9, 9), np.uint8))], r"expected a crop \(H, W, 3\)", id="a grey crop"
        ),
    ],
)
def test_invalid_observations_are_reported_and_nothing_is_used(
    tmp_path: Path, observations: list[TrackObservation], words: str
) -> None:
    with toy(tmp_path / "g", every=1) as enroller:
        walk(enroller, "door", range(9), {1: A})
        with pytest.raises(ObservationError, match=words) as raised:
            enroller.observe("door", 9, [TrackObservation(1, A, BOX), *observations], frame_size=(100, 100))
        assert str(raised.value).startswith("source door, frame 9, track ")
        enroller.observe("door", 9, [TrackObservation(1, A)])
    (entry,) = entries_of(tmp_path / "g")
    assert (entry.extra["num_frames"], entry.extra["num_looks"]) == (10, 10)


@pytest.mark.parametrize(
    ("source", "frame", "size", "words"),
    [
        pytest.param("door", 4, None, "source door: frame 4 came after frame 4", id="a frame twice"),
        pytest.param("door", 3, None, "frame 3 came after frame 4.*end", id="backwards"),
        pytest.param("door", -1, None, "expected a frame number", id="negative"),
        pytest.param("door", 5.5, None, "expected a frame number", id="a fraction"),
        pytest.param(" ", 5, None, "expected a camera's name", id="no name"),
        pytest.param(0, 5, None, "expected a camera's name, found 0", id="a number"),
        pytest.param("door", 5, (0, 100), "frame_size in pixels", id="no size"),
    ],
)
def test_rejects_invalid_frames(tmp_path: Path, source: Any, frame: Any, size: Any, words: str) -> None:
    with toy(tmp_path / "g") as enroller:
        walk(enroller, "door", range(5), {1: A})
        with pytest.raises(ObservationError, match=words):
            enroller.observe(source, frame, [], frame_size=size)
        assert enroller.sources == ("door",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"enroll": "some"}, "enroll: expected one of off, unknown, all"),
        ({"session": " "}, "session"),
        ({"gallery_match_threshold": 2.5}, "cosine distance"),
        ({"grace_frames": -1}, "grace_frames"),
        ({"every": 0}, "every"),
        ({"fps": 0.0}, "fps"),
        ({"model": None}, "no model to make one for"),
    ],
)
def test_rejects_invalid_options(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        toy(tmp_path / "g", **options)
    assert not (tmp_path / "g").exists()


def test_rejects_a_gallery_that_does_not_fit(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="image folders"):
        toy(scene.gallery)
    with toy(tmp_path / "g") as enroller:
        walk(enroller, "door", range(10), {1: A})
        with pytest.raises(GalleryLockedError):
            Gallery.open(tmp_path / "g", write=True, lock_timeout=0.0)
    other = EmbeddingModel("other", "1" * 64, SIZE, "none")
    for enroll in ("off", "unknown"):
        with pytest.raises(ModelMismatchError):
            toy(tmp_path / "g", model=other, enroll=enroll)
    with toy(tmp_path / "g", model=None) as enroller:
        assert enroller.model == TOY
        assert enroller.threshold.value == 0.25
    with toy(tmp_path / "g", model=other, new_collection=True) as enroller:
        walk(enroller, "door", range(10), {1: A})
    with Gallery.open(tmp_path / "g") as gallery:
        assert [info.entries for info in gallery.collections()] == [1, 1]


# -- its end -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError], ids=["Ctrl-C", "an error"])
def test_observed_tracks_are_stored_however_the_run_ends(tmp_path: Path, stop: type[BaseException]) -> None:
    enroller = toy(tmp_path / "g")
    with pytest.raises(stop):
        enrol_and_fail(enroller, stop, door=A, yard=B)
    assert [identity for identity, *_ in stored(tmp_path / "g")] == ["unknown-0001", "unknown-0002"]
    with pytest.raises(GalleryError, match="was closed"):
        enroller.observe("door", 10, [])
    with pytest.raises(GalleryError, match="was closed"):
        enroller.end("door")
    assert enroller.close() == enroller.counts
    assert enroller.counts.enrolled == 2


def test_a_gallery_that_cannot_be_written_is_reported_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: GalleryWriter, batch: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(GalleryWriter, "_write", full)
    enroller = toy(tmp_path / "g")
    (name,) = walk(enroller, "door", range(10), {1: A})
    assert name.identity == "unknown-0001"
    with pytest.raises(GalleryError, match="No space left"):
        enroller.close()
    messages: list[str] = []
    with pytest.raises(ZeroDivisionError):
        enrol_and_fail(toy(tmp_path / "g", notify=messages.append), ZeroDivisionError, door=A)
    assert any("No space left" in line for line in messages), "reported beside the error that is raised"


def test_a_second_ctrl_c_releases_the_gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Any) -> Any:
        raise KeyboardInterrupt

    enroller = toy(tmp_path / "g")
    walk(enroller, "door", range(10), {1: A})
    monkeypatch.setattr("tracking.enrolment.enroller.Enroller.finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        enroller.close()
    Gallery.open_or_create(tmp_path / "g", TOY, lock_timeout=0.0).close()


def test_observe_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    write = GalleryWriter._write

    def slow(self: GalleryWriter, batch: Any) -> None:
        assert go.wait(60)
        write(self, batch)

    monkeypatch.setattr(GalleryWriter, "_write", slow)
    with toy(tmp_path / "g", grace_frames=0) as enroller:
        for visit in range(20):  # each ends when the next begins, and none is written before all have gone
            walk(enroller, "door", range(10 * visit, 10 * visit + 8), {visit: A + 0.1 * axis(1 + visit % 7)})
        assert entries_of(tmp_path / "g") == []
        go.set()
    assert len(entries_of(tmp_path / "g")) == 10


def test_sources_may_come_from_threads(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def camera(number: int) -> None:
        try:
            for visit in range(4):
                frames = range(100 * visit, 100 * visit + 12)
                walk(enroller, f"camera-{number}", frames, {visit: axis(number), 100 + visit: axis(4 + number)})
        except BaseException as error:  # noqa: BLE001 - asserted below
            failures.append(error)

    with toy(tmp_path / "g") as enroller:
        threads = [threading.Thread(target=camera, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    counts: dict[str, set[str]] = {}
    for entry in entries_of(tmp_path / "g"):
        counts.setdefault(entry.identity, set()).add(entry.extra["source_id"])
    assert len(counts) == 8, "eight people, each on a camera of their own"
    assert all(len(cameras) == 1 for cameras in counts.values())


# -- only naming ---------------------------------------------------------------------------------------------


def until(met: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for what another process or thread brings about."""
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_corrections_are_followed(place: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track_enroller, "_SYNC_SECONDS", 0.0)
    with Gallery.create(place, TOY) as gallery:
        gallery.add([Entry("a", "alice"), Entry("b", "bob")], np.stack([A, B]))
    with toy(place, enroll="off") as enroller:
        (name,) = walk(enroller, "door", range(10), {1: A})
        assert name.identity == "alice"
        with Gallery.open(place, write=True) as gallery:
            Curator(gallery).rename("alice", "carol")
            gallery.add([Entry("d", "dave")], D[None])
        frames = iter(range(10, 10_000))

        def carol() -> bool:
            (name,) = walk(enroller, "door", [next(frames)], {1: A})
            return name.identity == "carol"

        until(carol)
        (name,) = walk(enroller, "yard", range(10), {1: D})
        assert name.identity == "dave"
    assert enroller.counts.enrolled == 0


def test_an_empty_gallery_is_reported_and_a_missing_one_rejected(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="There is no gallery"):
        toy(tmp_path / "absent", enroll="off")
    Gallery.create(tmp_path / "g", TOY).close()
    messages: list[str] = []
    with toy(tmp_path / "g", enroll="off", notify=messages.append) as enroller:
        (name,) = walk(enroller, "door", range(10), {1: A})
    assert (name.identity, name.status) == (None, "unknown")
    assert any("is empty" in line for line in messages)


# -- the model -----------------------------------------------------------------------------------------------


def test_embedding_model_is_gtracks_own_unless_the_preprocessing_differs(tmp_path: Path) -> None:
    weights = make_onnx(tmp_path / "tiny.onnx")
    with load_embedder(weights) as embedder:
        own = embedder.model
    assert embedding_model(weights) == own
    assert embedding_model(weights, dimension=DIMENSION).same_space(own)
    given = embedding_model(weights, preprocessing=own.preprocessing, dimension=DIMENSION)
    assert given == own
    other = embedding_model(weights, preprocessing=Preprocessing(64, 32, color="bgr"), dimension=DIMENSION)
    assert not other.same_space(own)
    assert other.sha256 == own.sha256
    assert embedding_model("builtin") == load_embedder("builtin").model
    write_sidecar(weights, color="bgr")
    assert embedding_model(weights).same_space(other), "a sidecar says how crops are prepared"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"dimension": 3}, OptionError, "embeddings of 8 values, found 3"),
        ({"preprocessing": "mine"}, OptionError, "dimension: expected the length"),
        ({"preprocessing": " ", "dimension": 8}, OptionError, "found an empty one"),
        ({"weights": "absent.onnx"}, WeightsError, "absent.onnx"),
        ({"weights": "absent.onnx", "preprocessing": "mine", "dimension": 8}, WeightsError, "absent.onnx"),
        ({"weights": "builtin", "preprocessing": "mine", "dimension": 8}, WeightsError, "fixed preprocessing"),
    ],
)
def test_rejects_invalid_models(tmp_path: Path, arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    weights = arguments.pop("weights", None) or make_onnx(tmp_path / "tiny.onnx")
    with pytest.raises(error, match=words):
        embedding_model(weights, models_dir=tmp_path / "none", **arguments)


# -- real people ---------------------------------------------------------------------------------------------


def test_two_clips_side_by_side(scene: Scene, door: list[OwnFrame], tmp_path: Path) -> None:
    """The same people on two cameras that run at once, nobody known beforehand."""
    embedder = load_embedder("builtin")
    other = render_scene(tmp_path / "yard", SceneConfig(frames=scene.config.frames, clip=1))
    clips = [door, list(own_frames(other.video, other.detections, embedder))]
    with TrackEnroller(tmp_path / "g", model=embedder.model) as enroller:
        for pair in zip(*clips, strict=True):
            for source, frame in zip(("door", "yard"), pair, strict=True):
                names = enroller.observe(source, frame.frame, frame.observations, frame_size=frame.size)
                names_of_frame = [name.identity for name in names if name is not None and name.identity is not None]
                assert len(names_of_frame) == len(set(names_of_frame)), "no name twice in a frame"
    identities: dict[str, set[str]] = {}
    for entry in entries_of(tmp_path / "g"):
        identities.setdefault(entry.identity, set()).add(entry.extra["source_id"])
    assert sum(len(sources) == 2 for sources in identities.values()) >= 3, "people of both cameras"


def wait_for_identity(enroller: TrackEnroller, source: str, name: str) -> None:
    """Observe empty frames until the gallery has an identity."""
    numbers = count(enroller._cameras[source].last_frame + 1)

    def is_in_the_view() -> bool:
        enroller.observe(source, next(numbers), [])
        return name in enroller._gallery.view.identities

    until(is_in_the_view)


def meets(enroller: TrackEnroller, source: str, track: int, vector: Any) -> str | None:
    """Return the name of a new track."""
    first = enroller._cameras[source].last_frame + 1
    (answer,) = walk(enroller, source, range(first, first + 5), {track: vector})
    return answer.identity


def test_pipelines_on_a_served_gallery_see_new_people_of_one_another(served: str) -> None:
    with toy(served, grace_frames=5) as one, toy(served, grace_frames=5) as other:
        walk(other, "yard", range(10), {1: B})
        walk(one, "door", range(10), {1: A})
        (name,) = walk(one, "door", range(10, 30), {2: C})  # so that the first track has ended
        stranger = meets(one, "door", 3, A)
        assert stranger is not None
        assert stranger != name.identity
        wait_for_identity(other, "yard", stranger)
        assert meets(other, "yard", 2, A) == stranger, "enrolled by the other pipeline"
        with Gallery.open(served, write=True) as gallery:
            Curator(gallery).rename(stranger, "ann")
        # What each has stored under the old name, not having is_in_the_view of the new one yet, follows.
        tracks = count(10)
        until(lambda: meets(other, "yard", next(tracks), A) == "ann")
        until(lambda: meets(one, "door", next(tracks), A) == "ann")
        (again,) = walk(one, "gate", range(10), {1: A})
        assert again.identity == "ann", "known on its other cameras as well"
    assert {entry.identity for entry in entries_of(served) if entry.extra["source_id"] == "door"} >= {"ann"}
    assert stranger not in {entry.identity for entry in entries_of(served)}, "nobody named it back"
