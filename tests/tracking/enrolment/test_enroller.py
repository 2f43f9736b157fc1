"""Enrolment on traces: injected embeddings in, expected entries out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_db import (
    Curator,
    EmbeddingModel,
    Entry,
    Gallery,
    GalleryView,
)
from tracking.enrolment.base import EnrolmentCounts, EnrolmentObservation, EnrolmentSettings
from tracking.enrolment.enroller import Enroller
from tracking.enrolment.shared_gallery import MAX_PROTOTYPES, SharedGallery
from tracking.frame_times import FrameTimes

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
    enroller = camera_enroller(shelf, view, times=FrameTimes(10.0), **options)
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
            id="back after it: another track, and the same unknown person",
        ),
        pytest.param(
            [Life(1, [*range(10), *range(11, 20)], A)], 0, [("unknown-0001", 0, 9), ("unknown-0001", 11, 19)], id="none"
        ),
        pytest.param([Life(1, range(190, 200), A)], 30, [("unknown-0001", 190, 199)], id="open at the end"),
        pytest.param(
            [Life(2, range(20), A), Life(1, range(5, 20), B)],
            30,
            [("unknown-0001", 0, 19), ("unknown-0002", 5, 19)],
            id="two unknown people",
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
def test_only_long_and_good_tracks_are_stored(life: Life, expected: EnrolmentCounts) -> None:
    shelf, counts = replay([life], known(ann=A) if life.name else None)
    assert counts == expected
    assert len(shelf.entries) == expected.enrolled


def test_stores_the_mean_and_its_metadata() -> None:
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
        pytest.param(Life(1, range(30), mix(A, C, 0.1), "bob"), "all", [], id="nearer to another identity"),
        pytest.param(Life(1, range(30), mix(A, C, 0.2)), "unknown", [], id="unnamed, but like a known person"),
        pytest.param(Life(1, range(30), mix(A, C, 0.1)), "all", ["ann"], id="known since, sure"),
        pytest.param(Life(1, range(30), mix(A, C, 0.5)), "all", ["unknown-0001"], id="an unknown person"),
        pytest.param(Life(1, range(30), mix(A, C, 0.1), kind="dog"), "all", ["unknown-0001"], id="another class"),
    ],
)
def test_only_certain_names_are_stored(life: Life, mode: str, stored: list[str]) -> None:
    shelf, counts = replay([life], known(**ANN_AND_BOB), mode=mode)
    assert [entry.identity for entry, _ in shelf.entries.values()] == stored
    assert counts.enrolled + counts.unsure + counts.named == 1


@pytest.mark.parametrize(("distance", "stored"), [(0.05, ["ann"]), (0.1, [])])
def test_a_track_near_to_one_picture_only_is_not_stored(distance: float, stored: list[str]) -> None:
    """Ann's pictures are 0.05 to 0.06 from the mean of the others; the track is near to the first."""
    pictures = [mix(A, axis(number), 0.04) for number in (1, 2, 3, 4)]
    view = GalleryView.from_arrays(["ann"] * 4, np.stack(pictures))
    shelf, counts = replay([Life(1, range(30), mix(pictures[0], axis(7), distance), "ann")], view, mode="all")
    assert [entry.identity for entry, _ in shelf.entries.values()] == stored
    assert counts.unsure == (not stored)


def test_a_near_second_identity_makes_a_name_uncertain() -> None:
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
def test_tracks_at_the_same_time_are_two_people(distance: float, frames: range, stored: list[str]) -> None:
    shelf, _ = replay([Life(1, range(30), A), Life(2, frames, mix(A, B, distance))])
    assert [entry.identity for entry, _ in shelf.entries.values()] == stored


@pytest.mark.parametrize(
    ("vector", "later", "reserved", "stored"),
    [
        pytest.param(mix(A, B, 0.1), mix(A, B, 0.1), [1, 1], [1, 1], id="the same unknown person"),
        pytest.param(mix(A, B, 0.2), mix(A, B, 0.2), [1, 2], [1], id="alike, and not surely the same: not stored"),
        pytest.param(A, D, [1, 1], [1, 2], id="the same at first, and then clearly not"),
        pytest.param(B, B, [1, 2], [1, 2], id="two unknown people"),
    ],
)
def test_an_unknown_person_on_two_cameras_at_once(
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


def test_numbers_continue_after_those_of_the_gallery() -> None:
    shelf, _ = replay([Life(1, range(9), A)], names=["ann", "unknown-0041", "unknown-7"])
    assert [entry.identity for entry, _ in shelf.entries.values()] == ["unknown-0042"]


def test_a_repeated_run_gives_the_same_names_and_keeps_corrections() -> None:
    lives = [Life(1, range(9), A), Life(2, range(9), B), Life(3, range(100, 120), A, "unknown-0001")]
    first, _ = replay(lives)
    names = [entry.identity for entry, _ in first.entries.values()]
    assert names == ["unknown-0001", "unknown-0002", "unknown-0001"]
    again, counts = replay(lives, earlier=first.entries, names=[*names, "unknown-0009"])
    assert [e.identity for e, _ in again.entries.values()] == names
    assert (list(again.entries), counts.identities) == (list(first.entries), 2)
    # A user renames unknown-0002.
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


def test_entries_of_the_same_run_are_not_replaced() -> None:
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
def test_no_entry_is_stored_under_an_old_name(shared: Gallery, mode: Any, expected: list[str]) -> None:
    camera = Camera(shared, mode=mode)
    camera.sees(1, A)
    camera.goes_on()
    camera.sees(2, mix(A, B, 0.05), "unknown-0001")
    Curator(shared).rename("unknown-0001", "ann")
    camera.follows()
    camera.goes_on()  # without another observation of the track
    assert held(shared) == expected


def test_pending_entries_follow_a_rename(shared: Gallery) -> None:
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
    assert named == {"unknown-0001"}, "a repeated run keeps the name that a user has given"
    camera.follows()
    assert camera.view.identities == ("ann",)
    camera.enroller.reassign(lambda track, frame: "unknown-0007")
    camera.sink.write()
    assert held(shared) == ["ann", "ann"], "and no later decision reverses it"


def test_removed_entries_stay_removed(shared: Gallery) -> None:
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


def test_entries_of_an_earlier_run_follow_corrections(shared: Gallery) -> None:
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


def test_a_number_that_a_user_has_given_is_skipped() -> None:
    shelf, _ = replay([Life(1, range(9), A)], known(**{"unknown-0005": B, "unknown-0006": C}), numbers=count(5))
    assert [entry.identity for entry, _ in shelf.entries.values()] == ["unknown-0007"]
