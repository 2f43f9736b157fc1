"""The timeline: every figure of a small document, computed by hand."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image
from support.tracks import make_detection, make_document

from gallery_db.errors import MissingPackageError
from tracking import Timeline, build_timeline, export_tracks
from tracking.errors import OptionError
from tracking.frame_times import FrameTimes
from tracking.results.formatting import format_end, format_seconds, format_time, natural_key
from tracking.results.sightings import TimelineRow
from tracking.results.timeline_plot import plot_timeline


def by_label(timeline: Timeline) -> dict[str, TimelineRow]:
    return {row.label: row for row in timeline.rows}


def test_rows_and_sightings() -> None:
    frames: dict[int, list[dict[str, Any]]] = {number: [] for number in range(40)}
    # Ann walks right in track 2 (frames 2 to 5, nameless in 2), is away for 4 frames, and is back in track 10.
    for number, distance in ((2, None), (3, 0.1), (4, 0.2), (5, 0.3)):
        name = None if distance is None else "ann"
        box = (10.0 * number, 20.0, 10.0 * number + 20, 60.0)
        frames[number].append(make_detection("2", name, distance, box=box, score=0.1 * number))
    for number in range(10, 20):
        frames[number].append(make_detection("10", "ann", 0.05, box=(100, 20, 120, 60), score=0.9))
    for number in (30, 31):
        frames[number].append(make_detection("11", "unknown-0003", 0.01))
    # Track 9 is never named, and is not visible from 21 to 32: more than one second.
    for number in (20, 33):
        frames[number].append(make_detection("9"))
    frames[39].append(make_detection(None))
    timeline = build_timeline(make_document(frames))
    assert (timeline.frames, timeline.first_frame, timeline.last_frame) == (40, 0, 39)
    assert (timeline.detections, timeline.tracked, timeline.named, timeline.tracks) == (19, 18, 15, 4)
    assert [p.kind for p in timeline.rows] == ["known", "unknown", "unnamed"]
    assert timeline.max_gap == 10
    ann = by_label(timeline)["ann"]
    assert (ann.first, ann.last, ann.frames, ann.track_ids) == (3, 19, 13, ("2", "10"))
    assert ann.mean_distance == pytest.approx((0.1 + 0.2 + 0.3 + 10 * 0.05) / 13)
    assert ann.worst_distance == 0.3
    assert ann.mean_score == pytest.approx((0.3 + 0.4 + 0.5 + 9.0) / 13)
    assert (ann.first_box, ann.last_box) == ((30, 20, 50, 60), (100, 20, 120, 60))
    assert ann.mean_position == pytest.approx(((40 + 50 + 60 + 10 * 110) / 13, 40))
    assert ann.path[:2] == ((3, 40.0, 60.0), (4, 50.0, 60.0))
    one, two = ann.sightings
    assert (one.track_id, one.first, one.last, one.frames, one.worst_frame) == ("2", 3, 5, 3, 5)
    assert (two.track_id, two.first, two.last, two.mean_distance) == ("10", 10, 19, pytest.approx(0.05))
    nameless = by_label(timeline)["track 9"]
    assert [(s.first, s.last, s.frames) for s in nameless.sightings] == [(20, 20, 1), (33, 33, 1)]
    assert (nameless.frames, nameless.mean_distance) == (2, None)
    as_json = ann.as_dict(timeline.times)
    assert (as_json["first_s"], as_json["last_s"], as_json["seconds"]) == (0.3, 2.0, 1.3)
    assert [s["first_frame"] for s in as_json["stretches"]] == [3, 10]
    assert "mean_distance" not in nameless.as_dict(FrameTimes(None))
    assert build_timeline(timeline) is timeline
    assert timeline.track_names == {"2": ("ann",), "9": (), "10": ("ann",), "11": ("unknown-0003",)}


def test_longer_gaps_separate_sightings() -> None:
    frames = {n: [make_detection("1", "ann", 0.1)] for n in (0, 1, 5, 6)}
    assert len(build_timeline(make_document(frames)).rows[0].sightings) == 1
    assert [s.first for s in build_timeline(make_document(frames), max_gap=2).rows[0].sightings] == [0, 5]
    assert len(build_timeline(make_document(frames), max_gap=3).rows[0].sightings) == 1
    with pytest.raises(OptionError, match="max_gap"):
        build_timeline(make_document(frames), max_gap=-1)
    assert build_timeline(make_document(frames, fps=None)).max_gap == 30


def test_a_path_is_thinned_and_keeps_its_ends() -> None:
    frames = {n: [make_detection("1", "ann", 0.1, box=(n, 0, n + 2, 10))] for n in range(5000)}
    path = build_timeline(make_document(frames)).rows[0].path
    assert 40 < len(path) <= 96
    assert path[0] == (0, 1.0, 10.0)
    assert path[-1][0] > 4850
    steps = {after[0] - before[0] for before, after in pairwise(path)}
    assert len(steps) == 1


STEADY = {n: [make_detection("1", "ann", 0.1)] for n in range(30)}


def two(first: Any, second: Any) -> dict[int, list[dict[str, Any]]]:
    """Tracks 1 and 2 over 30 frames; each a function of the frame to (name, distance)."""
    return {
        n: [make_detection("1", *first(n)), make_detection("2", *second(n), box=(90, 20, 110, 60))] for n in range(30)
    }


def nobody(frame: int) -> tuple[None, None]:
    return None, None


# name: (frames, the issues: (kind, identity, track, frame))
ISSUES: dict[str, tuple[dict[int, list[dict[str, Any]]], list[tuple[str, str, str | None, int]]]] = {
    "none": (STEADY, []),
    "at the limit of near": ({n: [make_detection("1", "ann", 0.2)] for n in range(30)}, []),
    "near": ({n: [make_detection("1", "ann", 0.201)] for n in range(30)}, [("near", "ann", "1", 0)]),
    "near in one frame": ({n: [make_detection("1", "ann", 0.25 if n == 3 else 0.1)] for n in range(30)}, []),
    "five frames are enough": ({n: [make_detection("1", "ann", 0.1)] for n in range(5)}, []),
    "short": ({n: [make_detection("1", "ann", 0.1)] for n in range(4, 8)}, [("short", "ann", "1", 4)]),
    "changed": (
        {n: [make_detection("1", "ann" if n < 15 else "bob", 0.1)] for n in range(30)},
        [("changed", "bob", "1", 15)],
    ),
    "lost and found again": (
        {n: [make_detection("1", *(("ann", 0.1) if n % 20 < 10 else nobody(n)))] for n in range(30)},
        [],
    ),
    "changed by way of no name": (
        {n: [make_detection("1", *(("ann", 0.1) if n < 10 else ("bob", 0.1) if n >= 20 else nobody(n)))]
         for n in range(30)},
        [("changed", "bob", "1", 20)],
    ),
    "contested": (
        two(lambda n: ("ann", 0.1) if n < 15 else (None, None), lambda n: ("ann", 0.1) if n >= 15 else (None, None)),
        [("contested", "ann", "2", 15)],
    ),
    "handed over when gone": (
        {n: [make_detection("1" if n < 15 else "2", "ann", 0.1)] for n in range(30)},
        [],
    ),
    "handed over long after": (
        {n: [make_detection("1", *(("ann", 0.1) if n < 10 else nobody(n)))]
         + ([make_detection("2", "ann", 0.1)] if n > 25 else [])
         for n in range(60)},
        [],
    ),
    "swapped": (
        two(lambda n: ("ann" if n < 15 else "bob", 0.1), lambda n: ("bob" if n < 15 else "ann", 0.1)),
        [
            ("changed", "ann", "2", 15),
            ("changed", "bob", "1", 15),
            ("contested", "ann", "2", 15),
            ("contested", "bob", "1", 15),
        ],
    ),
    "twice": (
        two(lambda n: ("ann", 0.1), lambda n: ("ann", 0.1) if 3 <= n < 20 else (None, None)),
        [("twice", "ann", "2", 3)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ISSUES)
def test_finds_issues(name: str) -> None:
    frames, expected = ISSUES[name]
    timeline = build_timeline(make_document(frames))
    assert [(d.kind, d.identity, d.track_id, d.frame) for d in timeline.issues] == expected
    for issue in timeline.issues:
        assert issue.identity in issue.text
        assert issue.as_dict()["doubt"] == issue.kind


def test_without_tracks_rows_are_made_of_names() -> None:
    frames = {
        n: [make_detection("0", "ann", 0.1), make_detection("1", "ann" if n == 3 else None, 0.2 if n == 3 else None)]
        for n in range(9)
    }
    timeline = build_timeline(make_document(frames, tracker="gallery_only"))
    (ann,) = timeline.rows
    assert (ann.frames, ann.track_ids, timeline.tracks, timeline.has_tracks) == (9, (), 0, False)
    assert [(d.kind, d.track_id) for d in timeline.issues] == [("twice", None)]


def test_empty_documents() -> None:
    timeline = build_timeline(make_document({}))
    assert (timeline.rows, timeline.issues, timeline.first_frame, timeline.tracked) == ((), (), None, 0)
    assert build_timeline(make_document({0: []})).first_frame == 0


def test_uses_only_selected_classes() -> None:
    frames = {n: [make_detection("1", class_id=0), make_detection("2", class_id=2, class_name="car")] for n in range(3)}
    assert [p.class_name for p in build_timeline(make_document(frames), classes=[2]).rows] == ["car"]


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00.0"), (59.96, "1:00.0"), (62.5, "1:02.5"), (3662, "1:01:02")])
def test_format_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_a_frame_without_a_time_is_shown_by_its_number() -> None:
    assert format_time(7, FrameTimes(None)) == format_end(7, FrameTimes(None)) == "frame 7"
    assert (format_time(7, FrameTimes(10)), format_end(7, FrameTimes(10))) == ("0:00.7", "0:00.8")


def test_natural_order() -> None:
    assert sorted(["10", "9", "b", "a2"], key=natural_key) == ["9", "10", "a2", "b"]


def crowd(count: int) -> dict[str, Any]:
    names = ["ann", "Bob $5^{$", "Юлия", "王小明", "a name that goes on and on and does not end"]
    frames: dict[int, list[dict[str, Any]]] = {n: [] for n in range(300)}
    for person in range(count):
        for n in range(person, 300, 1 + person % 3):
            frames[n].append(make_detection(str(person), f"{names[person % 5]} {person}", 0.004 * person))
    return make_document(frames)


@pytest.mark.parametrize("count", [0, 1, 3, 60])
def test_draws_a_picture(count: int, tmp_path: Path) -> None:
    timeline = build_timeline(crowd(count))
    assert plot_timeline(timeline, tmp_path / "t.png").rows == count
    with Image.open(tmp_path / "t.png") as image:
        assert image.width == 1320
        assert image.height > 20 * count
        colours = image.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    common = {colour for number, colour in colours if number > 200}
    assert ((0x1F, 0x5F, 0xA8) in common) == (count > 0), "sure people are drawn in their colour"
    assert ((0xE8, 0x87, 0x1E) in common) == (count == 60), "and those near the limit in theirs"


def test_picture_has_rows_for_the_longest(tmp_path: Path) -> None:
    done = plot_timeline(build_timeline(crowd(20)), tmp_path / "t.svg", max_rows=5)
    assert done.rows == 5
    assert "15 shorter rows are left out" in done.notes[0]
    assert ElementTree.parse(tmp_path / "t.svg").getroot().tag.endswith("svg")


def test_reports_why_no_picture_can_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="expected a picture"):
        plot_timeline(build_timeline(crowd(1)), tmp_path / "t.bmp")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match="matplotlib") as caught:
        export_tracks(crowd(1), tmp_path / "t.png")
    assert caught.value.hint == "Run: pip install 'gtrack-reid[plots]'"
    assert list(tmp_path.iterdir()) == []
