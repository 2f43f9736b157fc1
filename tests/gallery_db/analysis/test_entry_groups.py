"""Groups of entries that were seen together: by camera, by source and time, by the order of their files."""

from __future__ import annotations

from typing import Any

import pytest

from gallery_db import Entry
from gallery_db.analysis.entry_groups import Separation, camera_of, group_entries


def image(name: str) -> Entry:
    return Entry(name, "alice", source=f"/people/{name}")


def track(number: int, camera: str, first: float, last: float, video: str = "/a.avi", **extra: Any) -> Entry:
    facts = {"source_id": camera, "first_time": first, "last_time": last, **extra}
    return Entry(f"t{number}", "alice", origin="track", source=video, frame=int(25 * first), extra=facts)


def framed(number: int, frame: int) -> Entry:
    return Entry(f"f{number}", "alice", source="/b.avi", frame=frame)


CASES = {
    "Market's cameras": (
        [image("alice/0001_c1s1_001051_03.jpg"), image("alice/0001_c2s1_001.jpg"), image("alice/0001_c1s6_0.jpg")],
        Separation.CAMERA,
        [{0, 2}, {1}],
    ),
    "Duke's cameras": (
        [image("a/0001_c2_f0046182.jpg"), image("a/0001_c5_f0046182.jpg")],
        Separation.CAMERA,
        [{0}, {1}],
    ),
    "one camera, two visits": (
        [track(0, "door", 0, 5), track(1, "door", 6, 9), track(2, "door", 30, 31)],
        Separation.SOURCE,
        [{0, 1}, {2}],
    ),
    "two cameras": (
        [track(0, "door", 0, 5), track(1, "yard", 1, 2), track(2, "door", 90, 91)],
        Separation.CAMERA,
        [{0, 2}, {1}],
    ),
    "a long track spans a short one": (
        [track(0, "door", 0, 60), track(1, "door", 5, 6), track(2, "door", 65, 66), track(3, "door", 99, 100)],
        Separation.SOURCE,
        [{0, 1, 2}, {3}],
    ),
    "frames of a video": ([framed(0, 0), framed(1, 200), framed(2, 1000)], Separation.SOURCE, [{0, 1}, {2}]),
    "two folders": ([image("2024/alice/1.jpg"), image("2025/alice/1.jpg")], Separation.SOURCE, [{0}, {1}]),
    "images and a track of one camera": (
        [image("a/1.jpg"), image("a/2.jpg"), track(2, "door", 0, 1)],
        Separation.SOURCE,
        [{0, 1}, {2}],
    ),
    "numbers, not letters": (
        [image(f"a/{n}.jpg") for n in (10, 2, 9, 1)],
        Separation.FILE_ORDER,
        [{1, 3}, {0, 2}],
    ),
    "ten in blocks of five": (
        [image(f"a/{n:05d}.jpg") for n in range(10)],
        Separation.FILE_ORDER,
        [set(range(5)), set(range(5, 10))],
    ),
    "one": ([image("a/1.jpg")], Separation.NOTHING, [{0}]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_entries_are_grouped(name: str) -> None:
    entries, separation, groups = CASES[name]
    found = group_entries(entries, burst=5)
    assert found.separation is separation
    assert sorted(map(sorted, found.groups)) == sorted(map(sorted, groups))


def test_an_ordinary_file_name_has_no_camera() -> None:
    for name in ("IMG_c1s1_1.jpg", "alice_c2.jpg", "0001.jpg"):
        assert camera_of(image(f"a/{name}")) is None
    assert camera_of(image("a/-1_c3s1_1.jpg")) == "c3"
    assert camera_of(track(0, "door", 0, 1)) == "door"
