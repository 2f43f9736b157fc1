"""`tracking.evaluation.identity`: every figure computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.evaluation import Row, make_track_v1, write_gt, write_people

from tracking.errors import EvaluationError, OutputError
from tracking.evaluation import (
    IdentityReport,
    evaluate_identity,
    identity_plot,
    plot_identity,
    read_track_table,
    read_truth,
    scene_truth,
)

PEOPLE = {1: "ann", 2: "bob", 3: "sam", 4: "tim", 5: "ann"}
KNOWN = {"ann", "bob", "nobody else"}
PLACE = {"ann": 100.0, "bob": 200.0, "sam": 300.0, "tim": 400.0}


def report(tmp_path: Path, gt: list[tuple[int, int, float]], rows: list[Row], **options: Any) -> IdentityReport:
    people = write_people(tmp_path / "people.csv", PEOPLE)
    truth = read_truth(write_gt(tmp_path / "gt.txt", gt), people)
    tracker = options.pop("tracker", "gallery_hybrid")
    return evaluate_identity(read_track_table(make_track_v1(rows, tracker=tracker)), truth, KNOWN, **options)


def called(tmp_path: Path, story: list[tuple[str, str | None, int]]) -> dict[str, tuple[int, int, int]]:
    """Return (right, wrong, unnamed) of people who had a name for some frames, one after the other."""
    ids = {name: number for number, name in reversed(PEOPLE.items())}
    gt: list[tuple[int, int, float]] = []
    rows: list[Row] = []
    for person, name, frames in story:
        start = 1 + max((frame for frame, *_ in gt), default=-1)
        for frame in range(start, start + frames):
            gt.append((frame, ids[person], PLACE[person]))
            rows.append((frame, person, PLACE[person], name))
    return {p.name: (p.right, p.wrong, p.unnamed) for p in report(tmp_path, gt, rows).people if p.frames}


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        pytest.param([("ann", "ann", 3), ("ann", None, 2)], {"ann": (3, 0, 2)}, id="right and unnamed"),
        pytest.param([("ann", "bob", 2), ("bob", "bob", 1)], {"ann": (0, 2, 0), "bob": (1, 0, 0)}, id="wrong"),
        pytest.param(
            [("sam", None, 4), ("sam", "ann", 1)], {"sam": (0, 1, 4)}, id="an unknown person with a known name"
        ),
        pytest.param([("sam", "sam", 1)], {"sam": (0, 1, 0)}, id="the own name of an unknown person"),
        pytest.param([("sam", "unknown-0001", 3)], {"sam": (3, 0, 0)}, id="an unknown identity of his own"),
        pytest.param(
            [("sam", "unknown-0001", 3), ("tim", "unknown-0001", 2)],
            {"sam": (3, 0, 0), "tim": (0, 2, 0)},
            id="two unknown people with one unknown identity",
        ),
        pytest.param(
            [("sam", "unknown-0001", 3), ("sam", "unknown-0002", 2)],
            {"sam": (3, 2, 0)},
            id="one unknown person with two identities",
        ),
        pytest.param(
            # sam is unknown-0001 for more frames than tim, but tim has no other id, and sam has: 4 + 3 is the maximum.
            [("sam", "unknown-0001", 4), ("sam", "unknown-0002", 4), ("tim", "unknown-0001", 3)],
            {"sam": (4, 4, 0), "tim": (3, 0, 0)},
            id="the assignment is the best of all",
        ),
        pytest.param([("ann", "unknown-0001", 2)], {"ann": (0, 0, 2)}, id="a known person kept apart is unnamed"),
        pytest.param(
            [("sam", "unknown-0001", 3), ("ann", "unknown-0001", 2)],
            {"sam": (3, 0, 0), "ann": (0, 2, 0)},
            id="a known person with an unknown identity is wrong",
        ),
    ],
)
def test_counts_right_wrong_and_unnamed_frames(
    tmp_path: Path, story: list[tuple[str, str | None, int]], expected: dict[str, tuple[int, int, int]]
) -> None:
    assert called(tmp_path, story) == expected


def test_counts_of_covered_and_of_all(tmp_path: Path) -> None:
    gt = [(f, 1, 100.0) for f in range(6)] + [(f, 3, 300.0) for f in range(6)]
    rows: list[Row] = [
        (0, "1", 100.0, None),
        (1, "1", 103.3, "ann"),  # IoU of 6.7 / 13.3 = .504 still covers
        (2, "1", 103.4, "ann"),  # .493 does not
        (3, "1", 100.0, "ann"),
        (3, "9", 101.0, "bob"),  # also covers her, but less
        (0, "2", 300.0, "bob"),
        (1, "2", 300.0, "unknown-0001"),
        (5, "3", 600.0, "ann"),
    ]
    found = report(tmp_path, gt, rows)
    ann, bob, sam, _ = found.people
    assert (ann.name, ann.known, bob.known, sam.known) == ("ann", True, True, False)
    assert (ann.in_sight, ann.frames, ann.right, ann.wrong, ann.unnamed) == (6, 3, 2, 0, 1)
    assert (sam.in_sight, sam.frames, sam.right, sam.wrong, sam.by_name) == (6, 2, 1, 1, 1)
    assert ann.names_given == {"ann": 2}
    assert (ann.spans, ann.right_span) == ([(0, 5)], (1, 3))
    assert found.owners == {"unknown-0001": "sam"}
    # ann's box of frame 2 and the one at 600.
    assert found.named_elsewhere == 2
    assert found.frames == (0, 5)
    assert found.outcome_of[found.person_of == 0].tolist() == [1, 3, 0, 3, 0, 0]


def test_evaluates_a_range_of_frames(tmp_path: Path) -> None:
    gt = [(f, 1, 100.0) for f in range(6)]
    rows: list[Row] = [(f, "1", 100.0, "ann" if f > 2 else "bob") for f in range(6)]
    found = report(tmp_path, gt, rows, frame_range=(2, 5))
    assert (found.people[0].in_sight, found.people[0].right, found.people[0].wrong) == (3, 2, 1)
    assert found.name_changes is not None
    assert len(found.name_changes) == 1
    with pytest.raises(EvaluationError, match="no person in the given frames"):
        report(tmp_path, gt, rows, frame_range=(50, None))


def test_name_changes_and_duplicates(tmp_path: Path) -> None:
    gt = [(f, 1, 100.0) for f in range(6)]
    names = ["ann", None, "ann", "bob", None, "ann"]
    rows: list[Row] = [(f, "7", 100.0, name) for f, name in enumerate(names)]
    rows += [(f, "8", 700.0, "ann") for f in (0, 2)] + [(2, "9", 800.0, "ann")]
    found = report(tmp_path, gt, rows)
    assert found.name_changes is not None
    assert [(c.track_id, c.frame, c.before, c.after) for c in found.name_changes] == [
        ("7", 3, "ann", "bob"),
        ("7", 5, "bob", "ann"),
    ]
    assert [(d.frame, d.name, d.times) for d in found.duplicates] == [(0, "ann", 2), (2, "ann", 3)]
    assert not any(change.swapped for change in found.name_changes), "it was ann all along"
    assert report(tmp_path, gt, rows, tracker="gallery_only").name_changes is None


def test_a_name_that_follows_the_track_to_another_person(tmp_path: Path) -> None:
    """Track 7 goes from ann over to bob in frame 3; track 8 shows sam only once it has its second name."""
    gt = [(f, 1, 100.0) for f in range(8)] + [(f, 2, 200.0) for f in range(8)] + [(f, 3, 300.0) for f in range(4, 8)]
    rows: list[Row] = [(f, "7", 100.0, "ann") for f in range(3)] + [(f, "7", 200.0, None) for f in range(3, 5)]
    rows += [(f, "7", 200.0, "bob") for f in range(5, 8)]
    rows += [(f, "8", 300.0, "ann") for f in range(3)] + [(f, "8", 300.0, "bob") for f in range(4, 8)]
    found = report(tmp_path, gt, rows)
    assert found.name_changes is not None
    assert {(c.track_id, c.frame): c.swapped for c in found.name_changes} == {("7", 5): True, ("8", 4): False}


@pytest.mark.parametrize("named", [3, 4, 5, 6, 7], ids=lambda frame: f"in frame {frame}")
def test_a_name_may_follow_early_or_late(tmp_path: Path, named: int) -> None:
    """A track goes over from ann to bob in frame 5."""
    gt = [(f, 1, 100.0) for f in range(10)] + [(f, 2, 200.0) for f in range(10)]
    rows: list[Row] = [(f, "7", 100.0 if f < 5 else 200.0, "ann" if f < named else "bob") for f in range(10)]
    found = report(tmp_path, gt, rows)
    assert [(c.frame, c.swapped) for c in found.name_changes or ()] == [(named, True)]


def test_a_name_that_alternates_is_no_swap(tmp_path: Path) -> None:
    gt = [(f, 1, 100.0) for f in range(8)] + [(f, 2, 200.0) for f in range(8)]
    rows: list[Row] = [(f, "7", 100.0, "bob" if f in (3, 4) else "ann") for f in range(7)] + [(7, "7", 200.0, "ann")]
    found = report(tmp_path, gt, rows)
    assert [(c.frame, c.swapped) for c in found.name_changes or ()] == [(3, False), (5, False)]


@pytest.mark.parametrize(
    ("before", "names", "expected", "shared"),
    [
        # ann is at 100, bob at 102; track 1's box at 101 overlaps both alike, track 2 is somewhere else.
        pytest.param([], ["ann"], {"ann": (1, 0, 0), "bob": (0, 0, 0)}, 1, id="one box has one name to give"),
        pytest.param(
            [(0, "1", 102.0, "bob")], ["bob"], {"ann": (0, 0, 0), "bob": (2, 0, 0)}, 1, id="who had the track keeps it"
        ),
        pytest.param(
            [], ["ann", "bob"], {"ann": (1, 0, 0), "bob": (1, 0, 0)}, 0, id="two boxes, though one is better for both"
        ),
    ],
)
def test_boxes_and_people_are_matched_one_to_one(
    tmp_path: Path, before: list[Row], names: list[str], expected: dict[str, tuple[int, int, int]], shared: int
) -> None:
    gt = [(1, 1, 100.0), (1, 2, 102.0)] + ([(0, 2, 102.0)] if before else [])
    rows: list[Row] = [*before, (1, "1", 101.0, names[0])]
    if len(names) > 1:
        rows.append((1, "2", 103.0, names[1]))
    found = report(tmp_path, gt, rows)
    assert {p.name: (p.right, p.wrong, p.unnamed) for p in found.known} == expected
    assert sum(p.shared for p in found.people) == shared
    assert found.named_elsewhere == 0


def test_a_person_out_of_sight_for_a_frame_loses_the_track(tmp_path: Path) -> None:
    """As in CLEAR MOT, only the frame before counts: a box that then fits another person better is theirs."""
    gt = [(0, 1, 100.0), (2, 1, 100.0), (2, 2, 103.0)]
    found = report(tmp_path, gt, [(0, "1", 100.0, "ann"), (2, "1", 103.0, "bob")])
    assert {p.name: (p.right, p.frames, p.shared) for p in found.known} == {"ann": (1, 1, 1), "bob": (1, 1, 0)}


def test_a_hidden_person_is_matched_to_no_box(tmp_path: Path) -> None:
    def person(name: str, x: float, visible: float) -> dict[str, Any]:
        return {"name": name, "box": [x, 0, x + 10, 20], "visible": visible}

    people = [person("bob", 100, 0.1), person("ann", 102, 1.0)]
    document = {"known": ["ann", "bob"], "strangers": [], "frames": [{"frame": 0, "people": people}]}
    found = evaluate_identity(read_track_table(make_track_v1([(0, "1", 100.0, "ann")])), scene_truth(document))
    assert {p.name: (p.in_sight, p.right) for p in found.people} == {"ann": (1, 1), "bob": (0, 0)}


def test_measures_the_wait_for_the_first_right_name(tmp_path: Path) -> None:
    """ann appears twice (ids 1 and 5), bob once, an unknown person once."""
    gt = [(f, 1, 100.0) for f in range(6)] + [(f, 5, 100.0) for f in range(20, 26)]
    gt += [(f, 2, 200.0) for f in range(3)] + [(f, 3, 300.0) for f in range(3)]
    rows: list[Row] = [(2, "1", 100.0, None), (3, "1", 100.0, "bob"), (4, "1", 100.0, "ann")]
    rows += [(20, "2", 100.0, "ann"), (1, "3", 200.0, None), (0, "4", 300.0, "unknown-0001")]
    found = report(tmp_path, gt, rows)
    stays = {(a.person, a.number): a for a in found.sightings}
    assert (stays["ann", 1].covered, stays["ann", 1].named) == (2, 4)
    assert (stays["ann", 1].wait, stays["ann", 1].wait_covered) == (4, 2)
    assert (stays["ann", 5].wait, stays["ann", 5].wait_covered) == (0, 0)
    assert (stays["bob", 2].wait, stays["bob", 2].covered, stays["bob", 2].last) == (None, 1, 2)
    assert (found.waits(), found.waits(covered=True)) == ([0, 4], [0, 2]), "known people alone"
    assert found.fps == 10.0


def test_error_rates_by_threshold(tmp_path: Path) -> None:
    gt = [(f, 1, 100.0) for f in range(4)] + [(f, 3, 300.0) for f in range(4)]
    rows: list[Row] = [
        (0, "1", 100.0, "ann", 0.05),
        (1, "1", 100.0, "bob", 0.08),
        (2, "1", 100.0, "ann", 0.094),
        (3, "1", 100.0, None),
        (0, "2", 300.0, "ann", 0.07),
        (1, "2", 300.0, "unknown-0001", 0.01),
        (2, "2", 300.0, None),
    ]
    found = report(tmp_path, gt, rows)
    points = [(p.threshold, p.named, p.right, p.strangers_named) for p in found.curve]
    assert points == [
        (0.05, 1, 1, 0),
        (0.06, 1, 1, 0),
        (0.07, 2, 1, 1),
        (0.08, 3, 1, 1),
        (0.09, 3, 1, 1),
        (0.094, 4, 2, 1),
    ]
    last = found.curve[-1]
    assert (last.precision, last.recall) == (0.5, 0.5)
    assert "0.094" in found.curve_note
    assert "another run" in found.curve_note
    payload = make_track_v1(rows)
    del payload["frames"][0]["detections"][0]["gallery_distance"]
    truth = read_truth(tmp_path / "gt.txt", tmp_path / "people.csv")
    without = evaluate_identity(read_track_table(payload), truth, KNOWN)
    assert without.curve == ()
    assert "names without gallery_distance" in without.curve_note
    assert report(tmp_path, gt, [(0, "1", 100.0, None)]).curve_note.startswith(
        "no curve: the run gave no name from the gallery"
    )


def test_the_ground_truth_of_a_scene_names_the_known_people(tmp_path: Path) -> None:
    def person(name: str, x: float, visible: float) -> dict[str, Any]:
        return {"name": name, "box": [x, 0, x + 10, 20], "visible": visible}

    document = {
        "known": ["ann"],
        "strangers": ["stranger-1"],
        "frames": [
            {"frame": 0, "people": [person("ann", 100, 1.0), person("stranger-1", 300, 1.0)]},
            {"frame": 1, "people": [person("ann", 100, 0.2)]},
            {"frame": 2, "people": []},
            {"frame": 3, "people": [person("ann", 100, 0.3)]},
        ],
    }
    rows: list[Row] = [(f, "1", 100.0, "ann") for f in (0, 1, 3)]
    found = evaluate_identity(read_track_table(make_track_v1(rows)), scene_truth(document))
    ann, stranger = found.people
    assert (ann.known, stranger.known) == (True, False)
    assert (ann.in_sight, ann.right) == (2, 2), "hidden by more than 70 %, she cannot be asked for"
    assert ann.spans == [(0, 1), (3, 3)]
    assert found.named_elsewhere == 0, "a name on a hidden person is not a name without a person"
    assert [(a.person, a.first) for a in found.sightings] == [("ann", 0), ("stranger-1", 0), ("ann", 3)]
    with pytest.raises(EvaluationError, match="not the ground truth of a scene"):
        scene_truth({"known": ["ann"], "frames": []})
    document["frames"][0]["people"][0]["box"] = [0, 0, 1e308, 1e308]
    with pytest.raises(EvaluationError, match="expected finite numbers"):
        scene_truth(document)
    file = tmp_path / "truth.json"
    file.write_text('{"known": ' + "[" * 100_000)
    with pytest.raises(EvaluationError, match=r"truth.json: not JSON"):
        read_truth(file)


def test_reports_missing_names_and_galleries(tmp_path: Path) -> None:
    gt = write_gt(tmp_path / "gt.txt", [(0, 1, 100.0)])
    table = read_track_table(make_track_v1([(0, "1", 100.0, "ann")]))
    with pytest.raises(EvaluationError, match=r"person of each id\..*`people`"):
        evaluate_identity(table, read_truth(gt), KNOWN)
    with pytest.raises(EvaluationError, match="which people the gallery knew"):
        evaluate_identity(table, read_truth(gt, write_people(tmp_path / "people.csv", PEOPLE)))


def test_plots_the_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gt = [(f, 1, 100.0) for f in range(40)] + [(f, 3, 300.0) for f in range(40)]
    rows: list[Row] = [(f, "1", 100.0, "ann" if f > 5 else None, 0.1 + f / 500) for f in range(30)]
    rows += [(f, "2", 300.0, "bob" if f == 7 else None, 0.2) for f in range(40)]
    found = report(tmp_path, gt, rows)
    plot_identity(found, tmp_path / "names.png", title="$a title$ of $ signs")
    with Image.open(tmp_path / "names.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or []}
        assert min(picture.size) > 400
    for colour in identity_plot._COLOURS.values():
        assert tuple(bytes.fromhex(colour[1:])) in colours, "each outcome is drawn"
    plot_identity(report(tmp_path, gt, [(0, "1", 100.0, None)]), tmp_path / "none.svg")
    assert (tmp_path / "none.svg").stat().st_size > 1000
    with pytest.raises(OutputError, match=r"no format '\.doc'"):
        plot_identity(found, tmp_path / "names.doc")
    with pytest.raises(OutputError, match="cannot write"):
        plot_identity(found, tmp_path / "none" / "names.png")


def test_misses_of_tracks_where_few_strangers_are_named(tmp_path: Path) -> None:
    """Twenty tracks of strangers and five of ann: FNIR at FPIR, counted by hand."""
    gt: list[tuple[int, int, float]] = []
    rows: list[Row] = []
    # Each track is in view for two frames. The smaller distance counts, and an unknown identity is no name.
    stories: list[tuple[int, str, str | None, float]] = [
        *((3, f"s{n}", "ann", 0.20 + n / 100) for n in range(3)),  # three strangers are named, at 0.20, 0.21 and 0.22
        *((3, f"s{n}", "unknown-0001", 0.05) for n in range(3, 20)),
        (1, "a0", "ann", 0.10),
        (1, "a1", "ann", 0.20),
        (1, "a2", "ann", 0.215),
        (1, "a3", "bob", 0.05),
        (1, "a4", None, 0.0),
    ]
    for at, (person, track, name, distance) in enumerate(stories):
        place = PLACE[PEOPLE[person]]
        for frame, more in ((10 * at, 0.02), (10 * at + 1, 0.0)):
            gt.append((frame, person, place))
            rows.append((frame, track, place, name, distance + more) if name else (frame, track, place, None))
    found = report(tmp_path, gt, rows)
    one, five, ten = found.open_set
    # 1 %: no stranger of the 20, so candidates below 0.20. 5 %: one stranger, below 0.21. 10 %: two, below 0.22.
    assert [point.threshold for point in found.open_set] == [0.1, 0.2, 0.215]
    assert [(point.fpir.count, point.fpir.total) for point in found.open_set] == [(0, 20), (1, 20), (2, 20)]
    assert [(point.fnir.count, point.fnir.total) for point in found.open_set] == [(4, 5), (3, 5), (2, 5)]
    assert [point.wrong for point in found.open_set] == [1, 1, 1]
    assert not any(point.is_limit for point in found.open_set)
    assert "5 tracks of 1 known people, 20 of 1 strangers" in found.open_set_note
    assert "an FPIR of up to 1% means that none is named" in found.open_set_note
    # Wilson's interval by hand: (4/5 + z2/10 -+ z sqrt(4/25/5 + z2/100)) / (1 + z2/5) with z2 = 3.8415
    assert one.fnir.interval == pytest.approx((0.3755, 0.9638), abs=5e-5)
    assert one.fpir.interval == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert five.fpir.estimate == 0.05
    assert ten.fnir.estimate == 0.4


def test_the_run_itself_is_the_limit_where_it_names_too_few_strangers(tmp_path: Path) -> None:
    gt = [(f, person, PLACE[PEOPLE[person]]) for person in (1, 3) for f in range(4)]
    rows: list[Row] = [(f, "1", 100.0, "ann" if f else None, 0.15) for f in range(4)]
    rows += [(f, "2", 300.0, None) for f in range(4)]
    points = report(tmp_path, gt, rows).open_set
    assert {(point.threshold, point.is_limit, point.fpir.count, point.fnir.count) for point in points} == {
        (0.15, True, 0, 0)
    }


def test_a_track_shows_the_person_that_it_covers_most(tmp_path: Path) -> None:
    """The tracker takes track 1 from ann over to sam; the name on sam's frames is no candidate."""
    gt = [(f, 1, 100.0) for f in range(6)] + [(f, 3, 300.0) for f in range(10)]
    rows: list[Row] = [(f, "1", 100.0, "ann", 0.15) for f in range(6)]
    rows += [(f, "1", 300.0, "ann", 0.02) for f in range(6, 10)] + [(f, "2", 300.0, None) for f in range(6)]
    (point, *_) = report(tmp_path, gt, rows).open_set
    assert (point.fpir.count, point.fpir.total) == (0, 1)
    assert (point.threshold, point.fnir.count, point.fnir.total) == (0.15, 0, 1)


@pytest.mark.parametrize(
    ("rows", "options", "note"),
    [
        pytest.param([(0, "1", 100.0, "ann")], {}, "no track shows a stranger", id="no stranger"),
        pytest.param([(0, "2", 300.0, "ann")], {}, "no track shows a known person", id="no known person"),
        pytest.param([(0, "1", 100.0, "ann")], {"tracker": "gallery_only"}, "the run has no tracks", id="no tracks"),
        pytest.param([], {}, "no track shows a stranger", id="nothing"),
    ],
)
def test_says_why_there_are_no_misses_of_tracks(
    tmp_path: Path, rows: list[Row], options: dict[str, Any], note: str
) -> None:
    found = report(tmp_path, [(0, 1, 100.0), (0, 3, 300.0)], rows, **options)
    assert found.open_set == ()
    assert note in found.open_set_note
