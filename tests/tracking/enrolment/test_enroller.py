"""Enrolment: traces with injected embeddings for what is decided, and real runs for what is stored."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gallery_db import (
    ContactRow,
    Curator,
    EmbeddingModel,
    Entry,
    Gallery,
    GalleryLockedError,
    GalleryView,
    GtrackError,
    ingest_folder,
    write_contact_sheet,
)
from tracking import TrackingRun, TrackResult, load_embedder, track_video
from tracking.enrolment.base import EnrolmentCounts, EnrolmentObservation, EnrolmentSettings
from tracking.enrolment.enroller import Enroller
from tracking.enrolment.enrolment_gallery import mislabelled_warnings
from tracking.enrolment.gallery_writer import CROPS, GalleryWriter, _Put, _Rename
from tracking.enrolment.shared_gallery import MAX_PROTOTYPES, SharedGallery
from tracking.errors import OptionError
from tracking.identification.gallery_source import EmbedderOptions
from tracking.identification.quality import max_overlap, observation_quality, sharpness
from tracking.options import RunOptions
from tracking.synthetic.config import SceneConfig
from tracking.synthetic.rendering import Scene, render_scene

Vector = NDArray[np.float32]
SIZE = 8


def axis(number: int) -> Vector:
    return np.eye(SIZE, dtype=np.float32)[number]


def mix(first: Vector, second: Vector, distance: float) -> Vector:
    """A unit vector at that cosine distance from the first of two orthogonal ones."""
    cosine = 1 - distance
    return (first * cosine + second * np.sqrt(1 - cosine**2)).astype(np.float32)


A, B, C, D = (axis(number) for number in range(4))


@dataclass
class Life:
    """A track on a trace: when it is seen, what an observation of it shows, and what the run calls it."""

    track: int
    frames: Iterable[int]
    vector: Vector
    name: str | None = None
    quality: float = 0.5
    kind: str | None = "person"
    every: int = 3
    qualities: Sequence[float] = ()
    vectors: Sequence[Vector] = ()


@dataclass
class Shelf:
    """A sink in memory."""

    entries: dict[str, tuple[Entry, Vector]] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    crops: dict[str, NDArray[np.uint8] | None] = field(default_factory=dict)

    def put(self, entry: Entry, embedding: Vector, crop: NDArray[np.uint8] | None) -> None:
        self.entries[entry.id] = (entry, embedding)
        self.crops[entry.id] = crop

    def remove(self, ids: Sequence[str]) -> None:
        self.removed += ids
        for id_ in ids:
            self.entries.pop(id_, None)

    def rename(self, id_: str, identity: str, *, enrolled_as: str | None = None) -> None:
        entry, embedding = self.entries[id_]
        extra = {**entry.extra, "enrolled_as": enrolled_as or identity}
        self.entries[id_] = (replace(entry, identity=identity, extra=extra), embedding)

    def stored(self) -> list[tuple[str, int, int]]:
        return [(e.identity, e.extra["first_frame"], e.extra["last_frame"]) for e, _ in self.entries.values()]


def camera_enroller(
    sink: Any, view: GalleryView, *, source_id: str = "cam", run_key: str = "run-", **options: Any
) -> Enroller:
    """An enroller for one camera; settings and other options are given alike."""
    settings = {name: options.pop(name) for name in EnrolmentSettings.__slots__ if name in options}
    return Enroller(sink, view, EnrolmentSettings(source_id=source_id, run_key=run_key, **settings), **options)


def known(**people: Vector) -> GalleryView:
    if not people:
        return GalleryView.from_arrays([], np.empty((0, SIZE), np.float32))
    return GalleryView.from_arrays(list(people), np.stack(list(people.values())))


def replay(
    lives: Sequence[Life], view: GalleryView | None = None, *, frames: int = 200, **options: Any
) -> tuple[Shelf, EnrolmentCounts]:
    """Every life is observed when it is first seen and then every `every` frames that it is seen in."""
    shelf = Shelf()
    view = known() if view is None else view
    enroller = camera_enroller(shelf, view, fps=10.0, **options)
    times = {id(life): list(life.frames) for life in lives}
    taken = {id(life): 0 for life in lives}
    for frame in range(frames):
        here = [life for life in lives if frame in times[id(life)]]
        for life in here:
            if times[id(life)].index(frame) % life.every:
                continue
            number = taken[id(life)]
            taken[id(life)] += 1
            quality = life.qualities[number] if life.qualities else life.quality
            vector = life.vectors[number] if life.vectors else life.vector
            picture = np.full((20 + number, 10, 3), life.track, np.uint8)
            box = (number, 0.0, number + 10.0, 20.0)
            distance = None if life.name is None else 0.1
            enroller.observe(
                EnrolmentObservation(
                    frame, life.track, vector, quality, 0.9, box, life.kind, life.name, distance, picture
                )
            )
        enroller.note_seen(frame, [life.track for life in here])
    return shelf, enroller.finish()


@pytest.mark.parametrize(
    ("lives", "grace", "expected"),
    [
        pytest.param([Life(1, range(20), A)], 30, [("unknown-0001", 0, 19)], id="one track is one entry"),
        pytest.param(
            [Life(1, [*range(10), *range(40, 50)], A)], 30, [("unknown-0001", 0, 49)], id="back within the grace period"
        ),
        pytest.param(
            [Life(1, [*range(10), *range(41, 51)], A)],
            30,
            [("unknown-0001", 0, 9), ("unknown-0001", 41, 50)],
            id="back after it: another track, and the same stranger",
        ),
        pytest.param(
            [Life(1, [*range(10), *range(11, 20)], A)], 0, [("unknown-0001", 0, 9), ("unknown-0001", 11, 19)], id="none"
        ),
        pytest.param([Life(1, range(190, 200), A)], 30, [("unknown-0001", 190, 199)], id="open at the end"),
        pytest.param(
            [Life(2, range(20), A), Life(1, range(5, 20), B)],
            30,
            [("unknown-0001", 0, 19), ("unknown-0002", 5, 19)],
            id="two strangers",
        ),
        pytest.param(
            [Life(1, range(20), A), Life(1, range(100, 120), C)],
            30,
            [("unknown-0001", 0, 19), ("unknown-0002", 100, 119)],
            id="an id used again for another person",
        ),
    ],
)
def test_when_a_track_ends(lives: list[Life], grace: int, expected: list[tuple[str, int, int]]) -> None:
    shelf, counts = replay(lives, grace_frames=grace)
    assert shelf.stored() == expected
    assert counts.enrolled == len(expected)
    assert len(set(shelf.entries)) == len(expected)


@pytest.mark.parametrize(
    ("life", "expected"),
    [
        pytest.param(Life(1, range(4), A, every=1), EnrolmentCounts(too_short=1), id="four frames"),
        pytest.param(Life(1, range(5), A, every=1), EnrolmentCounts(enrolled=1, identities=1), id="five frames"),
        pytest.param(Life(1, range(9), A, every=10), EnrolmentCounts(too_short=1), id="one observation"),
        pytest.param(
            Life(1, range(9), A, every=10, quality=0.7), EnrolmentCounts(enrolled=1, identities=1), id="a very good one"
        ),
        pytest.param(Life(1, range(30), A, quality=0.05), EnrolmentCounts(too_poor=1), id="poor"),
        pytest.param(Life(1, range(30), A, quality=0.0), EnrolmentCounts(too_poor=1), id="worth nothing"),
        pytest.param(
            Life(1, range(6), A, qualities=[0.5, 0.0]),
            EnrolmentCounts(enrolled=1, identities=1),
            id="one good observation",
        ),
        pytest.param(Life(1, range(6), A, vectors=[A, -A]), EnrolmentCounts(too_poor=1), id="opposite observations"),
        pytest.param(Life(1, range(30), A, name="ann"), EnrolmentCounts(named=1), id="a named person"),
    ],
)
def test_which_tracks_are_stored(life: Life, expected: EnrolmentCounts) -> None:
    shelf, counts = replay([life], known(ann=A) if life.name else None)
    assert counts == expected
    assert len(shelf.entries) == expected.enrolled


def test_what_is_stored() -> None:
    life = Life(7, range(10, 20), A, vectors=[A, B, A, C], qualities=[0.2, 0.6, 0.4, 0.1], kind="Person")
    shelf, _ = replay([life], source="/v.mp4", run_id="r1")
    ((entry, embedding),) = shelf.entries.values()
    mean = 0.6 * A + 0.6 * B + 0.1 * C
    np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean), atol=1e-6)
    assert (entry.id, entry.origin, entry.source, entry.class_name) == (
        "run-person-000000",
        "track",
        "/v.mp4",
        "Person",
    )
    assert (entry.frame, entry.box) == (13, (1.0, 0.0, 11.0, 20.0)), "those of the best observation"
    assert shelf.crops[entry.id].shape == (21, 10, 3)  # type: ignore[union-attr]
    extra = dict(entry.extra)
    assert extra.pop("timestamp") == entry.created_at
    assert extra == {
        "track_id": "7",
        "source_id": "cam",
        "num_frames": 10,
        "num_looks": 4,
        "first_frame": 10,
        "last_frame": 19,
        "first_time": 1.0,
        "last_time": 1.9,
        "score": 0.9,
        "quality": round((0.04 + 0.36 + 0.16 + 0.01) / 1.3, 4),
        "run_id": "r1",
        "run_key": "run-",
        "enrolled_as": "unknown-0001",
    }


ANN_AND_BOB = {"ann": A, "bob": B}


@pytest.mark.parametrize(
    ("life", "mode", "stored"),
    [
        pytest.param(Life(1, range(30), mix(A, C, 0.1), "ann"), "all", ["ann"], id="sure"),
        pytest.param(Life(1, range(30), mix(A, C, 0.1), "ann"), "unknown", [], id="named people only with all"),
        pytest.param(Life(1, range(30), mix(A, C, 0.2), "ann"), "all", [], id="too far to be sure"),
        pytest.param(Life(1, range(30), mix(A, C, 0.1), "bob"), "all", [], id="nearer to somebody else"),
        pytest.param(Life(1, range(30), mix(A, C, 0.2)), "unknown", [], id="unnamed, but like a known person"),
        pytest.param(Life(1, range(30), mix(A, C, 0.1)), "all", ["ann"], id="known since, sure"),
        pytest.param(Life(1, range(30), mix(A, C, 0.5)), "all", ["unknown-0001"], id="a stranger"),
        pytest.param(Life(1, range(30), mix(A, C, 0.1), kind="dog"), "all", ["unknown-0001"], id="another class"),
    ],
)
def test_only_what_is_sure(life: Life, mode: str, stored: list[str]) -> None:
    shelf, counts = replay([life], known(**ANN_AND_BOB), mode=mode)
    assert [entry.identity for entry, _ in shelf.entries.values()] == stored
    assert counts.enrolled + counts.unsure + counts.named == 1


def test_a_runner_up_makes_unsure() -> None:
    twins = known(ann=A, amy=mix(A, B, 0.04))
    shelf, counts = replay([Life(1, range(30), A, "ann")], twins, mode="all")
    assert not shelf.entries
    assert counts.unsure == 1


@pytest.mark.parametrize(
    ("distance", "frames", "stored"),
    [
        pytest.param(0.2, range(60), ["unknown-0001", "unknown-0002"], id="alike, and there at once: two people"),
        pytest.param(0.05, range(60), ["unknown-0001"], id="two boxes of one person"),
        pytest.param(0.2, range(25, 60), ["unknown-0001"], id="for too short a time"),
    ],
)
def test_one_person_is_not_in_two_places(distance: float, frames: range, stored: list[str]) -> None:
    shelf, _ = replay([Life(1, range(30), A), Life(2, frames, mix(A, B, distance))])
    assert [entry.identity for entry, _ in shelf.entries.values()] == stored


@pytest.mark.parametrize(
    ("vector", "later", "reserved", "stored"),
    [
        pytest.param(mix(A, B, 0.1), mix(A, B, 0.1), [1, 1], [1, 1], id="the same stranger"),
        pytest.param(mix(A, B, 0.2), mix(A, B, 0.2), [1, 2], [1], id="alike, and not surely the same: not stored"),
        pytest.param(A, D, [1, 1], [1, 2], id="the same at first, and then clearly not"),
        pytest.param(B, B, [1, 2], [1, 2], id="two strangers"),
    ],
)
def test_a_stranger_in_sight_of_two_cameras(
    vector: Vector, later: Vector, reserved: list[int], stored: list[int]
) -> None:
    """While nobody of them is stored, and each camera's enroller knows only of the other's open tracks."""
    shelf, view, shared, numbers = Shelf(), known(), SharedGallery(), itertools.count(1)
    door, yard = (
        camera_enroller(shelf, view, source_id=cam, run_key=f"{cam}-", numbers=numbers, shared=shared)
        for cam in ("door", "yard")
    )

    def observe(enroller: Enroller, frame: int, shown: Vector, quality: float = 0.5) -> None:
        enroller.observe(
            EnrolmentObservation(frame, 7, shown, quality, 0.9, (0, 0, 10, 20), "person", None, None, None)
        )
        enroller.note_seen(frame, [7])

    for frame in range(6):
        observe(door, frame, A)
        observe(yard, frame, vector, 0.2)
    assert [door.reserve(7), yard.reserve(7)] == [f"unknown-000{number}" for number in reserved]
    for frame in range(6, 12):
        observe(yard, frame, later, 1.0)
    door.finish()
    yard.finish()
    assert not shared.open_tracks
    assert [entry.identity for entry, _ in shelf.entries.values()] == [f"unknown-000{number}" for number in stored]


def test_numbers_go_on_from_those_of_the_gallery() -> None:
    shelf, _ = replay([Life(1, range(9), A)], names=["ann", "unknown-0041", "unknown-7"])
    assert [entry.identity for entry, _ in shelf.entries.values()] == ["unknown-0042"]


def test_a_run_again_gives_the_same_names_and_keeps_corrections() -> None:
    lives = [Life(1, range(9), A), Life(2, range(9), B), Life(3, range(100, 120), A, "unknown-0001")]
    first, _ = replay(lives)
    names = [entry.identity for entry, _ in first.entries.values()]
    assert names == ["unknown-0001", "unknown-0002", "unknown-0001"]
    again, counts = replay(lives, earlier=first.entries, names=[*names, "unknown-0009"])
    assert [e.identity for e, _ in again.entries.values()] == names
    assert (list(again.entries), counts.identities) == (list(first.entries), 2)
    # Somebody says who unknown-0002 is.
    id_ = list(first.entries)[1]
    entry, vector = first.entries[id_]
    corrected = {**first.entries, id_: (Entry(**{**_fields(entry), "identity": "zoe"}), vector)}
    third, _ = replay(lives, earlier=corrected, names=names)
    assert third.entries[id_][0].identity == "zoe"
    assert third.entries[id_][0].extra["enrolled_as"] == "unknown-0002"
    # Other settings made another track of that id: it has nothing to do with zoe.
    other, _ = replay([lives[0], Life(2, range(9), D)], earlier=corrected, names=names)
    assert other.entries[id_][0].identity == "unknown-0003"


def _fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in Entry.__dataclass_fields__}


def test_prototypes_are_capped() -> None:
    """The one most like another goes; reviewed images do not count."""
    spread = [mix(A, axis(1 + n % 7), 0.002 * (n + 1)) for n in range(MAX_PROTOTYPES)]
    twin = mix(A, axis(1), 0.0021)
    vectors = [*spread, twin]
    lives = [Life(n, range(40 * n, 40 * n + 9), v, "unknown-0001" if n else None) for n, v in enumerate(vectors)]
    shelf, counts = replay(lives, frames=500, grace_frames=10)
    assert len(shelf.entries) == MAX_PROTOTYPES
    assert {entry.identity for entry, _ in shelf.entries.values()} == {"unknown-0001"}
    assert (counts.enrolled, counts.redundant) == (MAX_PROTOTYPES, 1)
    kept = [vector for _, vector in shelf.entries.values()]
    assert sum(any(np.allclose(v, k, atol=1e-5) for k in kept) for v in (spread[0], twin)) == 1


def test_no_entry_goes_for_one_of_this_run() -> None:
    """The next run over the same video would start without either of them."""
    there = [mix(A, axis(1 + n % 7), 0.002 * (n + 1)) for n in range(MAX_PROTOTYPES)]
    view = GalleryView.from_arrays(
        ["unknown-0001"] * len(there), np.stack(there), origins=["track"] * len(there), ids=[f"o{n}" for n in range(10)]
    )
    shelf, counts = replay([Life(1, range(9), there[3], "unknown-0001")], view)
    assert (shelf.entries, shelf.removed, counts.redundant) == ({}, [], 1)


# -- what others do meanwhile --------------------------------------------------------------------------------


class Late:
    """A sink over an open gallery, which stores when asked to, as a thread does."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._jobs: list[Callable[[], Any]] = []

    def put(self, entry: Entry, embedding: Vector, crop: NDArray[np.uint8] | None) -> None:
        self._jobs.append(lambda: self._gallery.add([entry], embedding[None]))

    def remove(self, ids: Sequence[str]) -> None:
        self._jobs.append(lambda: self._gallery.remove(list(ids)))

    def rename(self, id_: str, identity: str, *, enrolled_as: str | None = None) -> None:
        def write() -> None:
            entry = self._gallery.get(id_)[0]
            extra = {**entry.extra, "enrolled_as": enrolled_as or identity}
            self._gallery.update([replace(entry, identity=identity, extra=extra)])

        self._jobs.append(write)

    def write(self) -> None:
        while self._jobs:
            self._jobs.pop(0)()


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Gallery]:
    gallery = Gallery.create(tmp_path / "shared", EmbeddingModel("m", "0" * 64, SIZE, "none"))
    yield gallery
    gallery.close(sync=False)


class Camera:
    """A run that enrols into a gallery which others change."""

    def __init__(self, gallery: Gallery, **options: Any) -> None:
        self.sink, self.view = Late(gallery), gallery.view(without=options.get("earlier", ()))
        numbers = options.pop("numbers", count(1))
        self.enroller = camera_enroller(self.sink, self.view, numbers=numbers, **options)
        self._frame = 0

    def sees(self, track: int, vector: Vector, name: str | None = None, frames: int = 9) -> None:
        for frame in range(self._frame, self._frame + frames):
            self.enroller.observe(
                EnrolmentObservation(frame, track, vector, 0.5, 0.9, (0, 0, 9, 20), "person", name, 0.1, None)
            )
            self.enroller.note_seen(frame, [track])
        self._frame += frames

    def goes_on(self) -> None:
        """All people have left, and their tracks are stored."""
        self._frame += 50
        self.enroller.note_seen(self._frame, [])
        self.sink.write()

    def follows(self) -> None:
        change = self.view.refresh()
        assert change is not None
        self.enroller.gallery_changed(change)


def held(gallery: Gallery) -> list[str]:
    return sorted(entry.identity for entry in gallery.entries())


@pytest.mark.parametrize(("mode", "expected"), [("unknown", ["ann"]), ("all", ["ann", "ann"])])
def test_nothing_comes_under_a_name_that_was_changed(shared: Gallery, mode: Any, expected: list[str]) -> None:
    camera = Camera(shared, mode=mode)
    camera.sees(1, A)
    camera.goes_on()
    camera.sees(2, mix(A, B, 0.05), "unknown-0001")
    Curator(shared).rename("unknown-0001", "ann")
    camera.follows()
    camera.goes_on()  # without another observation of the track
    assert held(shared) == expected


def test_what_was_on_its_way_under_the_old_name_follows(shared: Gallery) -> None:
    camera = Camera(shared, keep_candidates=True)
    camera.sees(1, A)
    camera.goes_on()
    camera.sees(2, mix(A, B, 0.05), "unknown-0001")
    camera.enroller.finish()  # decided, and not stored
    Curator(shared).rename("unknown-0001", "ann")
    camera.follows()
    camera.sink.write()
    assert held(shared) == ["ann", "ann"]
    named = {entry.extra["enrolled_as"] for entry in shared.entries()}
    assert named == {"unknown-0001"}, "a run again knows that it was somebody else who said ann"
    camera.follows()
    assert camera.view.identities == ("ann",)
    camera.enroller.reassign(lambda track, frame: "unknown-0007")
    camera.sink.write()
    assert held(shared) == ["ann", "ann"], "and no second thought takes it back"


def test_what_somebody_took_out_stays_out(shared: Gallery) -> None:
    camera = Camera(shared, keep_candidates=True)
    camera.sees(1, A)
    camera.sees(2, B)
    camera.goes_on()
    Curator(shared).remove_identity("unknown-0001")
    camera.follows()
    assert camera.view.identities == ("unknown-0002",)
    camera.enroller.reassign(lambda track, frame: "unknown-0002" if track == 1 else None)
    camera.sink.write()
    assert held(shared) == ["unknown-0002"]
    camera.sees(3, A)
    camera.goes_on()
    assert held(shared) == ["unknown-0002", "unknown-0003"], "a person who comes again is a new one"


def test_an_earlier_runs_entries_are_as_somebody_says_now(shared: Gallery) -> None:
    first = Camera(shared)
    first.sees(1, A)
    first.sees(2, B)
    first.sees(3, C)
    first.goes_on()
    earlier = {id_: shared.get(id_) for id_ in [entry.id for entry in shared.entries()]}
    camera = Camera(shared, earlier=earlier, numbers=count(9))
    assert len(camera.view) == 0
    ids = list(earlier)
    Curator(shared).move([ids[0]], "ann", new=True)
    Curator(shared).remove([ids[1]])
    camera.follows()
    shelf = camera.enroller._sink = Shelf()
    camera.sees(1, A)
    camera.sees(2, B)
    camera.sees(3, C)
    counts = camera.enroller.finish()
    assert {i: (e.identity, e.extra["enrolled_as"]) for i, (e, _) in shelf.entries.items()} == {
        ids[0]: ("ann", "unknown-0001"),
        ids[2]: ("unknown-0003", "unknown-0003"),
    }
    assert (counts.enrolled, counts.redundant) == (2, 1)


def test_a_track_takes_the_name_that_another_camera_gave(shared: Gallery) -> None:
    """Its own one, given just before, then never appears."""
    camera = Camera(shared, numbers=count(1001))
    camera.sees(1, A)
    assert camera.enroller.reserve(1) == "unknown-1001"
    shared.add([Entry("theirs", "unknown-0001", origin="track")], mix(A, B, 0.05)[None])
    camera.follows()
    camera.sees(1, A, "unknown-0001")
    camera.goes_on()
    assert held(shared) == ["unknown-0001", "unknown-0001"]
    assert camera.enroller.book.others_names == {"unknown-0001"}


def test_names_that_others_use_too_are_known(shared: Gallery) -> None:
    camera = Camera(shared)
    camera.sees(1, A)
    camera.goes_on()
    camera.follows()
    book = camera.enroller.book
    assert (book.others_names, book.shared_names) == (set(), set()), "its own doing is no news"
    shared.add([Entry("theirs", "unknown-0001", origin="track"), Entry("b", "bob")], np.stack([A, B]))
    camera.follows()
    assert (book.others_names, book.shared_names) == ({"bob"}, {"unknown-0001"})
    Curator(shared).rename("bob", "robert")
    Curator(shared).rename("unknown-0001", "ann")
    camera.follows()
    assert (book.others_names, book.shared_names) == ({"robert", "ann"}, set())


def test_a_number_that_somebody_gave_by_hand_is_left_out() -> None:
    shelf, _ = replay([Life(1, range(9), A)], known(**{"unknown-0005": B, "unknown-0006": C}), numbers=count(5))
    assert [entry.identity for entry, _ in shelf.entries.values()] == ["unknown-0007"]


def _write(writer: GalleryWriter, *jobs: Any) -> None:
    """As its thread does, but now."""
    writer._write(jobs)


def test_the_writer_leaves_what_others_have_said(shared: Gallery) -> None:
    """Whatever the run has heard of it: it asks the gallery itself, in the same transaction."""
    entries = [
        Entry(f"t{n}", f"unknown-{n:04d}", origin="track", extra={"enrolled_as": f"unknown-{n:04d}"}) for n in range(7)
    ]
    vectors = np.eye(SIZE, dtype=np.float32)
    shared.add(entries[:5], vectors[:5])
    writer = GalleryWriter(shared, entries[:5])
    picture = np.zeros((9, 9, 3), np.uint8)
    _write(writer, _Put(entries[5], vectors[5], picture), _Put(entries[6], vectors[6], None))
    people = Curator(shared)
    people.rename("unknown-0000", "ann")
    people.remove(["t1", "t5"])
    people.rename("unknown-0002", "bob")
    people.rename("unknown-0006", "zoe")
    _write(
        writer,
        *(
            _Put(replace(entries[n], extra={**entries[n].extra, "quality": 0.5}), vectors[n], picture)
            for n in (0, 1, 3)
        ),
        _Rename("t6", "unknown-0003", "unknown-0003"),
        _Rename("t5", "unknown-0003", "unknown-0003"),
        _Rename("t3", "unknown-0008", "unknown-0008"),
    )
    _write(writer, _Rename("t0", "unknown-0009", "unknown-0009"))  # what was said once stays said
    assert writer.finish(sync=False) is None
    with Gallery.open(shared.path) as gallery:
        after = {entry.id: entry for entry in gallery.entries()}
        pictures = {path.stem for path in (gallery.path / CROPS).iterdir()}
    assert {id_: entry.identity for id_, entry in after.items()} == {
        "t0": "ann", "t2": "bob", "t3": "unknown-0008", "t6": "zoe",
    }, "t4 alone was outdated, and nobody had said anything of it"  # fmt: skip
    assert (after["t0"].extra["reviewed"], after["t0"].extra["quality"]) == (True, 0.5)
    assert after["t3"].extra["enrolled_as"] == "unknown-0008"
    assert {"t0", "t3"} <= pictures
    assert "t1" not in pictures


# -- quality -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({}, 0.8, id="the score alone"),
        pytest.param({"box": (100, 50, 120, 75)}, 0.4, id="half the size"),
        pytest.param({"box": (0, 50, 30, 100)}, 0.4, id="cut by an edge"),
        pytest.param({"box": (0, 150, 30, 200)}, 0.2, id="by two"),
        pytest.param({"overlap": 0.75}, 0.2, id="hidden"),
        pytest.param({"sharp": 0.25}, 0.2, id="blurred"),
        pytest.param({"sharp": 0.0}, 0.0, id="nothing to be seen"),
        pytest.param({"score": 1.7}, 1.0, id="never above one"),
        pytest.param({"score": float("nan")}, 0.0, id="not a number"),
        pytest.param({"overlap": 1.2}, 0.0, id="never below zero"),
    ],
)
def test_quality(changed: dict[str, Any], expected: float) -> None:
    arguments = {"score": 0.8, "box": (100, 50, 130, 110), "overlap": 0.0, "sharp": 1.0, **changed}
    found = observation_quality(arguments.pop("score"), arguments.pop("box"), (400, 200), **arguments)
    assert found == pytest.approx(expected)


def test_sharpness_and_overlap() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 64, 3), dtype=np.uint8)
    assert sharpness(np.full((40, 20, 3), 90, np.uint8)) == 0.0
    assert 0.9 < sharpness(noise) < 1.0
    assert 0.0 <= sharpness(noise[:1, :1]) <= 1.0
    assert max_overlap((0, 0, 10, 10), np.empty((0, 4))) == 0.0
    assert max_overlap((0, 0, 10, 10), np.array([[5, 0, 15, 10], [90, 90, 99, 99.0]])) == pytest.approx(1 / 3)


# -- real runs -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def other_scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The same cast on another camera."""
    return render_scene(tmp_path_factory.mktemp("other"), SceneConfig(frames=160, clip=1))


def enrol(scene: Scene, gallery: Path, **arguments: Any) -> TrackResult:
    options = {"enroll": "unknown", "classes": [0], "reid_weights": "builtin", "no_progress": True, **arguments}
    return track_video(dets_json=scene.detections, video=scene.video, gallery=gallery, **options)


def content(gallery: Path) -> dict[str, tuple[str, str]]:
    with Gallery.open(gallery) as opened:
        return {e.id: (e.identity, e.origin) for e in opened.entries()}


@pytest.fixture(scope="module")
def enrolled(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrackResult]:
    path = tmp_path_factory.mktemp("enrolled") / "gallery"
    result = enrol(scene, path, source_id="door")
    return path, result


@pytest.fixture
def copied(enrolled: tuple[Path, TrackResult], tmp_path: Path) -> Path:
    shutil.copytree(enrolled[0], tmp_path / "gallery")
    return tmp_path / "gallery"


def test_an_absent_gallery_is_made(enrolled: tuple[Path, TrackResult], scene: Scene) -> None:
    path, result = enrolled
    counts = result.enrolment
    assert counts is not None
    assert counts.enrolled == result.stats["enrolled"] > 2
    with Gallery.open(path) as gallery:
        entries = list(gallery.entries())
        assert len(entries) == counts.enrolled
        assert len(gallery.identities()) == counts.identities
        assert gallery.stats().index_current
        assert gallery.verify().ok
    assert max(entry.extra["last_frame"] for entry in entries) == scene.config.frames - 1, "open at the end"
    ended = counts.enrolled + counts.too_short + counts.too_poor + counts.unsure + counts.redundant + counts.named
    assert ended >= result.stats["tracks"]
    for entry in entries:
        assert entry.origin == "track"
        assert entry.identity.startswith("unknown-")
        assert entry.extra["source_id"] == "door"
        assert entry.source == str(scene.video.absolute())
        assert entry.extra["crop"] == f"{CROPS}/{entry.id}.jpg"
        with Image.open(path / entry.extra["crop"]) as picture:
            assert picture.format == "JPEG"
            assert picture.height <= 256
    assert len(list((path / CROPS).iterdir())) == len(entries)
    config = result.payload["tracker"]["config"]
    assert list(config.items())[-3:] == [("enroll", "unknown"), ("source_id", "door"), ("grace_frames", 30)]


def test_contact_sheets_show_the_crops(enrolled: tuple[Path, TrackResult], tmp_path: Path) -> None:
    path, _ = enrolled
    with Gallery.open(path) as gallery:
        entry = next(gallery.entries())
        matches = gallery.query(gallery.get(entry.id)[1], top_k=1, search="exact")[0]
    sheets = []
    for name, where in (("with.png", path), ("without.png", None)):
        write_contact_sheet(tmp_path / name, [ContactRow(None, "x", matches)], gallery=where)
        with Image.open(tmp_path / name) as sheet:
            sheets.append(np.asarray(sheet)[12:204, 164:292].astype(float))
    assert sheets[0].std() > 2 * sheets[1].std(), "a picture, and a grey tile that says that it is gone"


@pytest.mark.parametrize("mode", ["unknown", "all"])
def test_runs_again_change_nothing(scene: Scene, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "gallery"
    if mode == "all":
        embedder = load_embedder("builtin")
        with Gallery.open_or_create(path, embedder.model) as gallery:
            ingest_folder(gallery, scene.gallery, embedder)
    first = enrol(scene, path, enroll=mode)
    there = content(path)
    assert "track" in {origin for _, origin in there.values()}
    for _ in range(2):
        again = enrol(scene, path, enroll=mode)
        assert content(path) == there
        assert again.payload["frames"] == first.payload["frames"]
        assert again.enrolment == first.enrolment
    with Gallery.open(path) as gallery:
        assert gallery.verify().ok
    assert len(list((path / CROPS).iterdir())) == sum(origin == "track" for _, origin in there.values())


def test_a_run_is_one_operation_and_can_be_taken_back(scene: Scene, other_scene: Scene, copied: Path) -> None:
    before = content(copied)
    with Gallery.open(copied) as gallery:
        before_run = len(gallery.operations())
    enrol(other_scene, copied, source_id="yard")
    assert content(copied) != before
    with Gallery.open(copied, write=True) as gallery:
        operations = gallery.operations()
        assert len(operations) == before_run + 1
        assert operations[0].action == "enrol"
        assert "yard" in operations[0].words
        Curator(gallery).undo()
    assert content(copied) == before


def test_fewer_tracks_leave_nothing_behind(scene: Scene, copied: Path) -> None:
    before = content(copied)
    result = enrol(scene, copied, source_id="door", track_thresh=0.88)
    assert result.enrolment is not None
    assert len(content(copied)) == result.enrolment.enrolled < len(before)
    assert len(list((copied / CROPS).iterdir())) == result.enrolment.enrolled
    # Another camera's entries, and other frames', are not its own.
    enrol(scene, copied, source_id="yard")
    assert len(content(copied)) >= result.enrolment.enrolled


def test_a_stranger_keeps_the_name_on_another_camera(scene: Scene, other_scene: Scene, copied: Path) -> None:
    before = {identity for identity, _ in content(copied).values()}
    result = enrol(other_scene, copied, source_id="yard")
    seen = {s.identity for s in result.sightings}
    assert len(seen & before) >= 2, "people of the first clip are recognised in the second"
    after = content(copied)
    assert {identity for identity, _ in after.values()} >= before
    # The first video again: the same names, though the gallery holds the second now.
    enrol(scene, copied, source_id="door")
    again = content(copied)
    assert {i: again[i] for i in after if i in again} == {i: after[i] for i in after if i in again}
    assert {name for name, _ in again.values()} == {name for name, _ in after.values()}


def test_all_adds_prototypes_to_named_people(scene: Scene, tmp_path: Path) -> None:
    embedder = load_embedder("builtin")
    path = tmp_path / "gallery"
    with Gallery.open_or_create(path, embedder.model) as gallery:
        ingest_folder(gallery, scene.gallery, embedder)
    enrol(scene, path, enroll="all", gallery_match_threshold=0.4)
    added = [identity for identity, origin in content(path).values() if origin == "track"]
    assert any(not name.startswith("unknown-") for name in added)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError], ids=["Ctrl-C", "an error"])
def test_a_stopped_run_stores_its_tracks(
    scene: Scene, enrolled: tuple[Path, TrackResult], tmp_path: Path, stop: type[BaseException]
) -> None:
    def progress(done: int, total: int | None) -> None:
        if done == 60:
            raise stop

    def run(path: Path) -> TrackingRun:
        options = RunOptions(
            gallery=path,
            embedder=EmbedderOptions(weights="builtin"),
            classes=[0],
            enroll="unknown",
            source_id="door",
        )
        job = TrackingRun(scene.detections, scene.video, options)
        with pytest.raises(stop):
            job.execute(progress=progress)
        return job

    job = run(tmp_path / "new")
    assert job.result is not None
    assert job.result.enrolment is not None
    assert 0 < job.result.enrolment.enrolled == len(content(tmp_path / "new"))
    assert 59 in {entry.extra["last_frame"] for entry in _entries(tmp_path / "new").values()}
    # Cut short over a gallery that holds the whole: what was not seen again stays.
    shutil.copytree(enrolled[0], tmp_path / "whole")
    run(tmp_path / "whole")
    later = {i for i, e in _entries(enrolled[0]).items() if e.extra["last_frame"] >= 60}
    assert later
    assert later <= set(content(tmp_path / "whole"))
    assert enrol(scene, tmp_path / "whole", source_id="door").enrolment == enrolled[1].enrolment
    assert content(tmp_path / "whole") == content(enrolled[0])


def _entries(path: Path) -> dict[str, Entry]:
    with Gallery.open(path) as gallery:
        return {entry.id: entry for entry in gallery.entries()}


def test_a_second_writer_is_refused(scene: Scene, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gallery.open_or_create.__func__, "__kwdefaults__", {"new_collection": False, "lock_timeout": 0})
    with Gallery.open(copied, write=True), pytest.raises(GalleryLockedError, match="in use"):
        enrol(scene, copied)


def test_nobody_else_writes_meanwhile(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = []
    monkeypatch.setattr(GalleryView, "refresh", None)  # any refresh would fail

    def progress(done: int, total: int | None) -> None:
        if done == 10:
            with pytest.raises(GalleryLockedError):
                Gallery.open(tmp_path / "g", write=True, lock_timeout=0.0)
            refused.append(done)

    options = RunOptions(
        gallery=tmp_path / "g", embedder=EmbedderOptions(weights="builtin"), classes=[0], enroll="unknown"
    )
    TrackingRun(scene.detections, scene.video, options).execute(progress=progress)
    assert refused == [10]
    Gallery.open(tmp_path / "g", write=True, lock_timeout=0.0).close()


def test_pictures_that_cannot_be_written(scene: Scene, tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", load_embedder("builtin").model):
        pass
    (tmp_path / "g" / CROPS).write_text("a file in their place")
    with pytest.raises(GtrackError, match="picture"):
        enrol(scene, tmp_path / "g", save_json_flag=True, out_dir=tmp_path, run_name="run")
    assert len(json.loads((tmp_path / "run" / "tracked.json").read_text())["frames"]) == scene.config.frames
    entries = _entries(tmp_path / "g").values()
    assert entries
    assert not any("crop" in entry.extra for entry in entries)


def test_a_record_that_cannot_be_written(scene: Scene, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(copied)

    def full(self: GalleryWriter, batch: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(GalleryWriter, "_write", full)
    options = RunOptions(
        gallery=copied, embedder=EmbedderOptions(weights="builtin"), classes=[0], enroll="unknown", source_id="door"
    )
    job = TrackingRun(scene.detections, scene.video, options)
    with pytest.raises(GtrackError, match="No space left"):
        job.execute()
    assert job.result is not None
    assert len(job.result.payload["frames"]) == scene.config.frames
    assert content(copied) == before, "nothing is removed where nothing could be written"
    Gallery.open(copied, write=True, lock_timeout=0.0).close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param({"gallery": None}, "needs a gallery", id="no gallery"),
        pytest.param({"tracker": "gallery_only"}, "no tracks", id="gallery_only"),
        pytest.param({"enroll": "some"}, "unknown", id="another word"),
        pytest.param({"grace_frames": -1}, "grace_frames", id="negative grace"),
        pytest.param({"source_id": " "}, "source_id", id="an empty camera"),
        pytest.param({"gallery": "folders"}, "gtrack gallery ingest", id="image folders"),
    ],
)
def test_clear_errors(scene: Scene, tmp_path: Path, arguments: dict[str, Any], words: str) -> None:
    gallery = scene.gallery if arguments.get("gallery") == "folders" else tmp_path / "g"
    arguments = {"gallery": gallery, **arguments} if arguments.get("gallery") != "folders" else {"gallery": gallery}
    with pytest.raises(OptionError, match=words):
        enrol(scene, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_enrolled_unless_asked(scene: Scene, copied: Path) -> None:
    def files() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in copied.rglob("*") if p.is_file() and "chroma" not in p.parts}

    before = files()
    result = enrol(scene, copied, enroll="off")
    assert result.enrolment is None
    assert "enrolled" not in result.stats
    assert not {"enroll", "source_id", "grace_frames"} & set(result.payload["tracker"]["config"])
    assert files() == before


def test_an_enrolled_entry_that_looks_mislabelled_is_reported(tmp_path: Path) -> None:
    """Ten people of four entries each; one of them got an entry of somebody else's."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((10, 32))
    vectors = np.repeat(centres, 4, axis=0) + 0.3 * generator.standard_normal((40, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    names = [f"unknown-{number // 4:04d}" for number in range(40)]
    names[5] = "unknown-0007"
    entries = [Entry(id=f"track-{n:02d}", identity=name, origin="track") for n, name in enumerate(names)]
    with Gallery.create(tmp_path / "g", EmbeddingModel("m.pt", "0" * 64, 32, "none")) as gallery:
        gallery.add(entries, vectors)
        (line,) = mislabelled_warnings(gallery, ["track-05", "track-20"])
        assert line.startswith("warning: the enrolled entry track-05 of unknown-0007 is nearer to unknown-0001 (0.")
        assert mislabelled_warnings(gallery, ["track-20"]) == [], "what others stored is not checked"
        assert mislabelled_warnings(gallery, []) == []
