"""Sightings of several cameras: which names are impossible, which of two keeps a name, and how a mistake ends."""

from __future__ import annotations

import pytest

from tracking import CameraMap
from tracking.identification.sightings import FORGET_SECONDS, CameraSightings, Sightings

INF = float("inf")
MARGIN = 0.05
DOOR, YARD = (1, 0), (5, 0)
APART = CameraMap(["door", "yard", "hall"], {("door", "yard"): 0.0})
FAR = CameraMap(["door", "yard"], {("door", "yard"): 20.0})


def two(cameras: CameraMap, other: str = "yard") -> tuple[Sightings, CameraSightings, CameraSightings]:
    sightings = Sightings(cameras)
    return sightings, sightings.of_camera("door"), sightings.of_camera(other)


def see(camera: CameraSightings, tracklet: tuple[int, int], *seconds: float) -> None:
    for second in seconds:
        camera.begin_frame(second)
        camera.note_seen(tracklet, agrees=True)


def name(camera: CameraSightings, tracklet: tuple[int, int], distance: float = 0.1) -> None:
    camera.note_name(tracklet, "alice", distance, MARGIN)


@pytest.mark.parametrize(
    ("cameras", "other", "door", "yard", "excluded"),
    [
        pytest.param(APART, "yard", (0, 9), (5, 9), True, id="both at once"),
        pytest.param(APART, "yard", (0, 9), (9, 9), True, id="from the first frame"),
        pytest.param(APART, "hall", (0, 9), (5, 9), False, id="nothing known of the pair"),
        pytest.param(APART, "door", (0, 9), (5, 9), False, id="the camera itself"),
        pytest.param(APART, "yard", (0, 9), (9.5, 10), False, id="has gone over"),
        pytest.param(APART, "yard", (0, 9), (5, 60), True, id="was there beside it until it left"),
        pytest.param(APART, "yard", (0, 9), (8.5, 9.5), True, id="clocks differ, and it was just there"),
        pytest.param(APART, "yard", (0, 9), (8.5, 11), False, id="clocks differ, and it has gone"),
        pytest.param(FAR, "yard", (0, 9), (15, 16), True, id="too soon"),
        pytest.param(FAR, "yard", (0, 9), (15, 60), True, id="was there too soon"),
        pytest.param(FAR, "yard", (0, 9), (28.5, 29.2), True, id="a little too soon"),
        pytest.param(FAR, "yard", (0, 9), (28.5, 31), False, id="a little too soon, a while ago"),
        pytest.param(FAR, "yard", (0, 9), (29.5, 30), False, id="after the travel time"),
        pytest.param(FAR, "yard", (50, 60), (0, 29), False, id="recordings one after the other: before"),
        pytest.param(FAR, "yard", (50, 60), (0, 40), True, id="recordings one after the other: too late"),
    ],
)
def test_a_name_is_excluded_where_its_bearer_cannot_be(
    cameras: CameraMap, other: str, door: tuple[float, float], yard: tuple[float, float], excluded: bool
) -> None:
    _, first, second = two(cameras, other)
    see(first, DOOR, *door)
    name(first, DOOR)
    see(second, YARD, *yard)
    assert second.excludes(YARD, "alice", 0.1, MARGIN) == excluded
    assert not second.excludes(YARD, "bob", 0.1, MARGIN)


@pytest.mark.parametrize(
    ("distance", "excluded"),
    [
        pytest.param(0.3, True, id="worse"),
        pytest.param(0.08, True, id="hardly better: the first one keeps it"),
        pytest.param(0.02, False, id="clearly better"),
    ],
)
def test_the_later_and_less_sure_claim_loses(distance: float, excluded: bool) -> None:
    _, door, yard = two(APART)
    see(door, DOOR, 0, 9)
    name(door, DOOR, 0.1)
    see(yard, YARD, 8, 9)
    assert yard.excludes(YARD, "alice", distance, MARGIN) == excluded
    if not excluded:
        name(yard, YARD, distance)
        assert door.excludes(DOOR, "alice", 0.1, MARGIN), "the first one loses it"
        assert not yard.excludes(YARD, "alice", distance, MARGIN)
        door.note_name(DOOR, None, INF, MARGIN)
        assert door.excludes(DOOR, "alice", 0.05, MARGIN), "and does not get it back at once"


def test_of_two_that_have_a_name_one_loses_it() -> None:
    """Distances change while both are in sight; at no time do both keep the name, or both lose it."""
    _, door, yard = two(APART)
    see(door, DOOR, 0, 9)
    name(door, DOOR, 0.10)
    see(yard, YARD, 8, 9)
    name(yard, YARD, 0.01)
    name(door, DOOR, 0.10)
    for ours, theirs in ((0.1, 0.01), (0.1, 0.1), (0.1, 0.2), (INF, 0.1), (0.1, INF), (INF, INF)):
        name(door, DOOR, ours)
        name(yard, YARD, theirs)
        lost = [door.excludes(DOOR, "alice", ours, MARGIN), yard.excludes(YARD, "alice", theirs, MARGIN)]
        assert sum(lost) == 1, (ours, theirs)


@pytest.mark.parametrize("how", ["unnamed", "other name", "removed", "renamed"])
def test_a_mistake_at_one_camera_frees_the_name_for_the_other(how: str) -> None:
    everything, door, yard = two(APART)
    see(door, DOOR, 0, 9)
    name(door, DOOR)
    see(yard, YARD, 3, 9)
    assert yard.excludes(YARD, "alice", 0.1, MARGIN)
    if how == "unnamed":
        door.note_name(DOOR, None, INF, MARGIN)
    elif how == "other name":
        door.note_name(DOOR, "bob", 0.1, MARGIN)
    elif how == "removed":
        door.note_enrolled(DOOR, "alice")
        assert yard.excludes(YARD, "alice", -1.0, MARGIN) is False
        assert yard.excludes(YARD, "alice", 0.0, MARGIN), "what was enrolled as alice is alice"
        door.note_enrolled(DOOR, None)
    else:
        everything.rename("alice", "bob")
    assert not yard.excludes(YARD, "alice", 0.1, MARGIN)
    assert yard.excludes(YARD, "bob", 0.1, MARGIN) == (how in ("other name", "renamed"))


def test_an_enrolled_name_stays_while_the_track_has_no_other() -> None:
    _, door, yard = two(APART)
    see(door, DOOR, 0, 5)
    door.note_enrolled(DOOR, "alice")
    see(door, DOOR, 9)
    door.note_name(DOOR, None, INF, MARGIN)
    see(yard, YARD, 3, 9)
    assert yard.excludes(YARD, "alice", 0.1, MARGIN)
    assert yard.was_elsewhere(YARD, "alice")
    assert not yard.was_elsewhere(YARD, "bob")
    assert not yard.was_elsewhere((9, 9), "alice"), "was never seen"


def test_only_observations_that_agree_keep_an_identity_in_sight() -> None:
    _, door, yard = two(APART)
    see(door, DOOR, 0, 2)
    name(door, DOOR)
    door.begin_frame(30)
    door.note_seen(DOOR, agrees=False, is_contrary=True)  # the tracker follows something else by now
    see(yard, YARD, 10, 30)
    assert not yard.excludes(YARD, "alice", 0.1, MARGIN)
    door.note_seen(DOOR, agrees=False)
    assert yard.excludes(YARD, "alice", 0.1, MARGIN), "in sight, between two observations"
    see(yard, YARD, 40)
    assert not yard.excludes(YARD, "alice", 0.1, MARGIN), "but not for sure after the last one"


def test_without_a_time_nothing_is_known() -> None:
    _, door, yard = two(APART)
    see(door, DOOR, 0, 9)
    name(door, DOOR)
    see(yard, YARD, 5)
    yard.begin_frame(None)
    assert not yard.has_time
    assert not yard.excludes(YARD, "alice", 0.1, MARGIN)


def test_old_sightings_are_dropped() -> None:
    everything, door, _ = two(APART)
    for visit in range(10_000):
        see(door, (visit, visit), visit * FORGET_SECONDS / 1000)
        name(door, (visit, visit))
    assert len(everything._named["alice"]["door"]) <= 1001
    assert len(door._tracklets) <= 1100
