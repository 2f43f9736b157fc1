"""Names of people who look alike at two cameras, with and without what is known of the cameras."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.own_pipeline import TOY, axis

from gallery_db import Curator, Entry, Gallery
from tracking import CameraMap, TrackEnroller, TrackObservation
from tracking.enrolment import track_enroller
from tracking.errors import CamerasError, ObservationError

A, B = axis(0), axis(1)
FAR = "cameras: [door, yard]\npairs:\n- between: [door, yard]\n  travel_seconds: 20\n"
FPS = 10


def like(distance: float, direction: int = 2) -> NDArray[np.float32]:
    """A vector at that distance from A."""
    cosine = 1 - distance
    return (cosine * A + np.sqrt(1 - cosine**2) * axis(direction)).astype(np.float32)


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    with Gallery.create(tmp_path / "g", TOY) as gallery:
        gallery.add([Entry("alice-1", "alice"), Entry("bob-1", "bob")], np.stack([A, B]))
    return tmp_path / "g"


@pytest.fixture
def cameras(tmp_path: Path) -> Path:
    (tmp_path / "cameras.yaml").write_text(FAR)
    return tmp_path / "cameras.yaml"


def play(
    enroller: TrackEnroller, visits: dict[str, tuple[int, int, Any]], seconds: float, *, timed: bool = True
) -> dict[str, list[str | None]]:
    """One track a camera, from one second to another, with an embedding (or a function of the second); its names."""
    names: dict[str, list[str | None]] = {source: [] for source in visits}
    for frame in range(round(seconds * FPS)):
        now = frame / FPS
        for source, (first, last, vector) in visits.items():
            here = [TrackObservation(1, vector(now) if callable(vector) else vector)] if first <= now < last else []
            found = enroller.observe(source, frame, here, time=1e9 + now if timed else None)
            names[source] += [name.identity for name in found if name is not None]
    return names


def changes(names: Sequence[str | None]) -> list[str | None]:
    return [name for n, name in enumerate(names) if n == 0 or name != names[n - 1]]


BOTH = {"door": (0, 10, like(0.10)), "yard": (3, 40, like(0.12))}


@pytest.mark.parametrize(
    ("file", "timed", "expected"),
    [
        pytest.param(None, True, ["alice"], id="nothing known: on both at once"),
        pytest.param(FAR, True, [None], id="only on the first"),
        pytest.param(FAR, False, ["alice"], id="no common clock"),
        pytest.param("cameras: [door, yard]", True, ["alice"], id="no such pair"),
        pytest.param(FAR + "- {between: [door, yard], overlap: true}", True, ["alice"], id="they overlap"),
    ],
)
def test_one_person_is_not_on_two_cameras_at_once(
    gallery: Path, tmp_path: Path, file: str | None, timed: bool, expected: list[str | None]
) -> None:
    if file is not None:
        (tmp_path / "cameras.yaml").write_text(file)
    with TrackEnroller(gallery, enroll="off", cameras=None if file is None else tmp_path / "cameras.yaml") as enroller:
        names = play(enroller, BOTH, 40, timed=timed)
    assert changes(names["door"]) == ["alice"]
    assert changes(names["yard"]) == expected


@pytest.mark.parametrize(
    ("arrives", "expected"),
    [
        pytest.param(15, [None], id="before the travel time has passed: all the time"),
        pytest.param(29, [None, "alice"], id="a little early: when it has passed"),
        pytest.param(31, ["alice"], id="after it"),
    ],
)
def test_a_name_needs_the_travel_time(gallery: Path, cameras: Path, arrives: int, expected: list[str | None]) -> None:
    with TrackEnroller(gallery, enroll="off", cameras=cameras) as enroller:
        names = play(enroller, {"door": (0, 10, like(0.1)), "yard": (arrives, 45, like(0.1))}, 45)
    assert changes(names["door"]) == ["alice"]
    assert changes(names["yard"]) == expected


def test_the_better_claim_wins_and_the_first_camera_loses_the_name(gallery: Path, cameras: Path) -> None:
    with TrackEnroller(gallery, enroll="off", cameras=cameras) as enroller:
        names = play(enroller, {"door": (0, 20, like(0.15)), "yard": (5, 20, like(0.02))}, 20)
    assert changes(names["door"]) == ["alice", None]
    assert changes(names["yard"]) == ["alice"]


def test_a_name_that_turns_out_wrong_is_free_for_the_other_camera(gallery: Path, cameras: Path) -> None:
    """The one at the door looks like alice at first, and is bob."""
    turned = (0.8 * A + 0.6 * B).astype(np.float32)
    door = {"door": (0, 20, lambda now: turned if now < 6 else (0.6 * A + 0.8 * B).astype(np.float32))}
    with TrackEnroller(gallery, enroll="off", cameras=cameras) as enroller:
        names = play(enroller, {**door, "yard": (4, 20, like(0.2))}, 20)
    assert changes(names["door"])[0] == "alice"
    assert changes(names["door"])[-1] == "bob"
    assert changes(names["yard"]) == [None, "alice"]


@pytest.mark.parametrize("known", [True, False])
def test_unknown_people_who_are_alike_at_two_cameras_get_two_ids(tmp_path: Path, cameras: Path, known: bool) -> None:
    options: Any = {"model": TOY, "enroll": "unknown", "grace_frames": 3, "cameras": cameras if known else None}
    with TrackEnroller(tmp_path / "g", **options) as enroller:
        names = play(enroller, {"door": (0, 10, A), "yard": (3, 20, like(0.02))}, 21)
    assert changes(names["door"])[-1] == "unknown-0001"
    assert set(names["yard"]) - {None} == {"unknown-0002" if known else "unknown-0001"}
    with Gallery.open(tmp_path / "g") as gallery:
        enrolled = [(entry.identity, entry.extra["source_id"]) for entry in gallery.entries()]
    # So near to the one at the door that it is not stored as another one either.
    assert sorted(enrolled) == [("unknown-0001", "door"), *([] if known else [("unknown-0001", "yard")])]


def test_a_less_alike_person_at_the_other_camera_is_enrolled_as_another_one(tmp_path: Path, cameras: Path) -> None:
    for name, known in (("with", True), ("without", False)):
        with TrackEnroller(tmp_path / name, model=TOY, grace_frames=3, cameras=cameras if known else None) as enroller:
            play(enroller, {"door": (0, 10, A), "yard": (3, 20, like(0.2))}, 21)
        with Gallery.open(tmp_path / name) as gallery:
            assert len({entry.identity for entry in gallery.entries()}) == (2 if known else 1)


def test_a_corrected_entry_frees_its_name(cameras: Path, served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one at the door was stored as alice, and is bob."""
    monkeypatch.setattr(track_enroller, "_SYNC_SECONDS", 0.0)
    with Gallery.create(served, TOY) as gallery:
        gallery.add([Entry("alice-1", "alice"), Entry("bob-1", "bob")], np.stack([A, B]))
    with TrackEnroller(served, enroll="all", grace_frames=3, cameras=cameras) as enroller:
        names = play(enroller, {"door": (0, 3, like(0.08)), "yard": (1, 6, like(0.05, 3))}, 6)
        assert changes(names["door"]) == ["alice"]
        assert changes(names["yard"]) == [None]
        end, frame, name = time.monotonic() + 30, 60, None
        while name != "alice":
            assert time.monotonic() < end
            with Gallery.open(served, write=True) as gallery:
                stored = [entry.id for entry in gallery.entries(identity="alice") if entry.origin == "track"]
                if stored:
                    Curator(gallery).move(stored, "bob")
            (found,) = enroller.observe("yard", frame, [TrackObservation(1, like(0.05, 3))], time=1e9 + frame / FPS)
            name, frame = found.identity if found is not None else None, frame + 1
            time.sleep(0.05)


def test_a_source_that_the_file_does_not_name_and_frames_without_time_are_reported_once(
    gallery: Path, cameras: Path
) -> None:
    lines: list[str] = []
    with TrackEnroller(gallery, enroll="off", cameras=cameras, notify=lines.append) as enroller:
        for frame in range(3):
            enroller.observe("dor", frame, [], time=frame)
            enroller.observe("yard", frame, [])
    assert lines == [
        "warning: source dor is not in `cameras`: it is not compared with others. Did you mean 'door'?",
        "warning: source yard has frames without `time`: those are not compared with other sources.",
    ]


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), "noon", 10**400])
def test_a_time_that_is_no_number_is_refused(gallery: Path, seconds: Any) -> None:
    with (
        TrackEnroller(gallery, enroll="off") as enroller,
        pytest.raises(ObservationError, match="source door, frame 0: expected a time in seconds"),
    ):
        enroller.observe("door", 0, [], time=seconds)


def test_a_wrong_file_is_refused_before_a_gallery_is_made(tmp_path: Path) -> None:
    with pytest.raises(CamerasError, match=r"none\.yaml: cannot be read"):
        TrackEnroller(tmp_path / "g", model=TOY, cameras=tmp_path / "none.yaml")
    assert not (tmp_path / "g").exists()
    with TrackEnroller(tmp_path / "g", model=TOY, cameras=CameraMap(["door"])) as enroller:
        assert enroller.sources == ()
