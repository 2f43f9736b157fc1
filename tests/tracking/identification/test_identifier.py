"""Naming, on traces: injected embeddings in, expected names out, one case a rule."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from support.traces import A, B, C, D, Known, Observations, mix, observe, unit

from gallery_db import GalleryView
from tracking.identification.assignment import assign_identities, name_detections
from tracking.identification.decision_rule import DecisionRule
from tracking.identification.identifier import TrackIdentifier
from tracking.identification.named_tracklets import Named
from tracking.identification.observation_schedule import ObservationSchedule

INF = float("inf")


@pytest.mark.parametrize(
    ("distances", "threshold", "expected"),
    [
        pytest.param([[0.1, 0.2]], 0.25, [0], id="nearest"),
        pytest.param([[0.3, 0.4]], 0.25, [-1], id="none within the threshold"),
        pytest.param([[0.25, 0.4]], 0.25, [0], id="the threshold is inclusive"),
        pytest.param([[0.25, 0.4], [0.4, 0.25]], 0.25, [0, 1], id="inclusive for several rows"),
        pytest.param([[0.1, INF], [0.05, INF]], 0.25, [-1, 0], id="one name goes to the better one"),
        pytest.param([[0.1, 0.2], [0.05, 0.3]], 0.25, [1, 0], id="second choice where it fits"),
        pytest.param(
            [[0.05, 0.24], [0.20, 0.5]], 0.25, [0, -1], id="an unknown person does not push a person off their name"
        ),
        pytest.param([[INF, INF]], 0.25, [-1], id="impossible"),
        pytest.param(np.empty((2, 0)), 0.25, [-1, -1], id="empty gallery"),
        pytest.param(np.empty((0, 3)), 0.25, [], id="no rows"),
    ],
)
def test_assignment(distances: list[list[float]], threshold: float, expected: list[int]) -> None:
    assert assign_identities(np.asarray(distances, np.float64), threshold).tolist() == expected


def test_assignment_is_optimal() -> None:
    """Against every possible assignment, on random small problems."""
    generator = np.random.default_rng(5)
    for _ in range(200):
        rows, columns = generator.integers(1, 5, 2)
        distances = np.round(generator.random((rows, columns)), 2)
        found = assign_identities(distances, 0.5)
        named = found[found >= 0]
        assert len(set(named.tolist())) == len(named)

        def cost(choice: Sequence[int], table: NDArray[np.float64] = distances) -> float:
            return sum(table[r, c] if c >= 0 else 0.5 for r, c in enumerate(choice))

        best = min(
            cost(choice)
            for choice in itertools.product(range(-1, columns), repeat=rows)
            if len({c for c in choice if c >= 0}) == sum(c >= 0 for c in choice)
            and all(c < 0 or distances[r, c] <= 0.5 for r, c in enumerate(choice))
        )
        assert cost(found.tolist()) == pytest.approx(best)


def test_equal_costs_are_shared_out_as_scipy_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.optimize import linear_sum_assignment

    generator = np.random.default_rng(6)
    calls = 0

    def counted(gain: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        nonlocal calls
        calls += 1
        return linear_sum_assignment(gain)

    monkeypatch.setattr("scipy.optimize.linear_sum_assignment", counted)
    for round_ in range(1000):
        distances = generator.random(generator.integers(1, 7, 2)).round(1 if round_ % 2 else 3)
        distances[generator.integers(len(distances))] = distances[0]  # two equal boxes
        accepted = distances <= 0.3
        rows, columns = np.flatnonzero(accepted.any(axis=1)), np.flatnonzero(accepted.any(axis=0))
        block = np.ix_(rows, columns)
        expected = np.full(len(distances), -1)
        chosen = linear_sum_assignment(np.where(accepted[block], distances[block] - 0.3 - 1e-9, 0.0))
        for row, column in zip(*chosen, strict=True):
            if accepted[block][row, column]:
                expected[rows[row]] = columns[column]
        if len(rows) == 1:
            expected[rows[0]] = int(np.argmin(distances[rows[0]]))
        assert assign_identities(distances, 0.3).tolist() == expected.tolist()
    assert 100 < calls < 700, "where nobody competes, scipy is not needed"


def test_detections_of_one_frame() -> None:
    probes = np.stack([mix(A, B, 0.1), mix(A, C, 0.05), C, C])
    found = name_detections(Known(), probes, ["person", "person", "person", "car"], 0.25)
    assert found[0] is None, "ann is already taken by the detection that is nearer"
    assert found[1] is not None
    assert (found[1].identity, round(found[1].distance, 4)) == ("ann", 0.05)
    assert found[2] is None, "a person is never named as a car"
    assert found[3] is not None
    assert found[3].identity == "car"


Names = dict[int, str | None]
Step = tuple[Observations, Names] | tuple[Observations, Names, float]


def replay(steps: Sequence[Step], *, every: int = 1, kind: str = "person") -> TrackIdentifier:
    """Feed frames of (track -> embedding, expected names, overlap of all boxes); None as embedding: no observation."""
    identities = TrackIdentifier(Known(), threshold=0.25, every=every, keep_tracklets=True)
    for frame, step in enumerate(steps):
        observations, expected, overlap = step if len(step) == 3 else (*step, 0.0)
        tracks = list(observations)
        due = [tracks[i] for i in identities.due(frame, tracks, [1.0] * len(tracks), [overlap] * len(tracks))]
        taken = [(t, observation) for t in due if (observation := observations[t]) is not None]
        identities.observe(
            frame,
            [t for t, _ in taken],
            np.stack([observation for _, observation in taken]) if taken else np.empty((0, 4), np.float32),
            [0.8 * (1 - overlap)] * len(taken),
            [kind] * len(taken),
        )
        answer = dict(zip(tracks, identities.names(frame, tracks), strict=True))
        assert {t: n.identity if n else None for t, n in answer.items()} == expected, f"frame {frame}"
        for track, named in answer.items():
            assert (identities.status(track) == "known") == (named is not None), f"frame {frame}"
    return identities


ANN: Names = {1: "ann"}
NOBODY: Names = {1: None}


@pytest.mark.parametrize(
    ("steps", "every"),
    [
        pytest.param([({1: A}, ANN)], 10, id="named at the first observation, not at a tick"),
        pytest.param([({1: mix(A, C, 0.3)}, NOBODY)] * 20, 1, id="too far is nobody"),
        pytest.param([({1: mix(A, D, 0.22)}, ANN)], 1, id="beyond the sure distance, with a wide margin"),
        pytest.param(
            [({1: unit(0.78, 0.78, 0, 0)}, NOBODY)] * 12, 1, id="as like one identity as another: not decided"
        ),
        pytest.param(
            [({1: A}, ANN)] * 4 + [({1: B}, ANN)] + [({1: A}, ANN)] * 3,
            1,
            id="one bad observation changes nothing",
        ),
        pytest.param(
            [({1: A}, ANN)] * 4 + [({1: None}, ANN, 0.6), ({1: B}, NOBODY), ({1: A}, ANN)],
            1,
            id="one bad observation after an overlap: the name waits, and comes back",
        ),
        pytest.param(
            [({1: A}, ANN)] * 3 + [({1: None}, ANN, 0.6)] + [({1: B}, NOBODY)] + [({1: B}, {1: "bob"})] * 3,
            1,
            id="sustained contrary evidence after an overlap renames at the second observation",
        ),
        pytest.param(
            [({1: A}, ANN)] * 30 + [({1: None}, ANN, 0.5), ({1: B}, NOBODY)] + [({1: B}, {1: "bob"})] * 3,
            1,
            id="a long track that has moved to another person",
        ),
        pytest.param(
            [({1: A}, ANN)] * 5 + [({1: B}, ANN)] * 10 + [({1: B}, {1: "bob"})] * 3,
            1,
            id="where nothing happened, a name changes only on four contrary observations spread out",
        ),
        pytest.param(
            [({1: A}, ANN)] * 9
            + [({1: None}, ANN, 0.5), ({1: D}, NOBODY), ({1: D}, NOBODY), ({1: D}, NOBODY)]
            + [({1: D}, NOBODY)] * 10,
            1,
            id="a name is dropped when the track has moved to an unknown person",
        ),
        pytest.param(
            [({1: A}, ANN)] * 5 + [({1: None}, ANN, 0.5), ({1: D}, NOBODY), ({1: D}, NOBODY)] + [({1: A}, ANN)] * 3,
            1,
            id="another person in front for long: the name comes back with the person",
        ),
        pytest.param(
            [({1: A}, ANN), ({1: B}, ANN), ({1: A}, ANN), ({1: B}, ANN)] * 3,
            1,
            id="another person passes in front repeatedly",
        ),
        pytest.param(
            [({1: A}, ANN), ({1: A, 2: mix(A, C, 0.1)}, {1: "ann", 2: None})],
            1,
            id="one name once in a frame",
        ),
        pytest.param(
            [({1: A}, ANN)] + [({1: A, 2: mix(A, B, 0.2)}, {1: "ann", 2: None})] * 8,
            1,
            id="a second box of one person does not get the next best name",
        ),
        pytest.param(
            [
                ({1: mix(A, C, 0.2)}, ANN),
                ({2: A}, {2: "ann"}),
                ({1: mix(A, C, 0.2), 2: A}, {1: None, 2: "ann"}),
                ({1: mix(A, C, 0.2)}, ANN),
            ],
            100,
            id="a lost track that returns does not double a name, and gets it back later",
        ),
        pytest.param(
            [({1: A, 2: B}, {1: "ann", 2: "bob"}), ({2: B, 1: A}, {2: "bob", 1: "ann"})], 1, id="order does not matter"
        ),
        pytest.param([({}, {}), ({1: A}, ANN), ({}, {})], 1, id="empty frames"),
        pytest.param([({1: None}, NOBODY), ({1: A}, ANN)], 1, id="an observation that failed is asked for again"),
        pytest.param([({1: C}, NOBODY)] * 6, 1, id="a person is never named as a car"),
    ],
)
def test_track_names(steps: Sequence[Step], every: int) -> None:
    replay(steps, every=every)


def test_known_unknown_and_undecided() -> None:
    identities = TrackIdentifier(Known(), threshold=0.25, every=1)
    assert identities.status(1) == "undecided", "never seen"
    answers = []
    for frame in range(6):
        observe(identities, frame, {1: D, 2: A, 3: unit(0.78, 0.76, 0, 0)})
        identities.names(frame, [1, 2, 3])
        answers.append([identities.status(t) for t in (1, 2, 3)])
    assert answers[0] == ["undecided", "known", "undecided"]
    assert answers[-1] == ["unknown", "known", "undecided"], "a stranger is called one after four observations"


def test_a_second_observation_is_needed_without_a_margin() -> None:
    source = GalleryView.from_arrays(["ann", "bob"], np.stack([A, mix(A, B, 0.25)]))
    identities = TrackIdentifier(source, threshold=0.25, every=1)
    near = unit(0.79, 0.2, 0.58, 0)
    distances = source.identity_distances(near[None], ["person"])[0]
    assert 0.2 < distances[0] < 0.25
    assert 0.05 < distances[1] - distances[0] < 0.1
    observe(identities, 0, {1: near})
    assert identities.names(0, [1]) == [None]
    observe(identities, 1, {1: near})
    (named,) = identities.names(1, [1])
    assert named is not None
    assert named.identity == "ann"


@pytest.mark.parametrize(
    ("threshold", "distances", "named"),
    [
        pytest.param(0.15, (0.17, 0.17, 0.14, 0.18), True, id="one observation is near"),
        pytest.param(0.15, (0.17, 0.17, 0.17, 0.17), False, id="none is"),
        pytest.param(0.15, (0.24, 0.24, 0.24, 0.14), False, id="the mean is too far"),
        pytest.param(0.25, (0.28, 0.28, 0.24, 0.29), False, id="at the default, the mean decides"),
    ],
)
def test_with_a_low_threshold_one_near_observation_names_a_track(
    threshold: float, distances: Sequence[float], named: bool
) -> None:
    """All differ from ann in the same way, so that their mean is as far as they are."""
    identities = TrackIdentifier(Known(), threshold=threshold, every=1)
    for frame, distance in enumerate(distances):
        observe(identities, frame, {1: mix(A, D, distance)})
        names = identities.names(frame, [1])
    assert [None if one is None else one.identity for one in names] == (["ann"] if named else [None])


def test_a_poor_observation_does_not_count_against_a_name() -> None:
    identities = TrackIdentifier(Known(), threshold=0.25, every=1)
    for frame in range(3):
        observe(identities, frame, {1: A}, 0.8)
    for frame in range(3, 12):
        observe(identities, frame, {1: B}, 0.2)
        (named,) = identities.names(frame, [1])
        assert named is not None
        assert named.identity == "ann"


def test_a_single_wrong_entry_does_not_make_a_name() -> None:
    """Bob's gallery holds a crop of ann, nearer to this observation than any of her own."""
    probe = mix(A, C, 0.08)
    ann = [mix(A, C, d) for d in (0.02, 0.25, 0.2)] + [mix(A, D, 0.05), mix(A, D, 0.07)]
    bob = [probe, *(mix(B, D, d) for d in (0.02, 0.05, 0.1, 0.12))]
    source = GalleryView.from_arrays(["ann"] * 5 + ["bob"] * 5, np.stack([*ann, *bob]))
    assert source.identities[int(np.argmin(source.identity_distances(probe[None])[0]))] == "bob"
    identities = TrackIdentifier(source, threshold=0.25, every=1)
    for frame in range(3):
        observe(identities, frame, {1: probe})
    (named,) = identities.names(3, [1])
    assert named is not None
    assert named.identity == "ann"


@pytest.mark.parametrize("coat", [A, B], ids=["one coat", "the other"])
def test_a_change_of_clothes(coat: NDArray[np.float32]) -> None:
    entries = [mix(base, D, d) for base in (A, B) for d in (0.02, 0.05, 0.08)] + [mix(C, D, d) for d in (0.02, 0.05)]
    source = GalleryView.from_arrays(["ann"] * 6 + ["bob"] * 2, np.stack(entries))
    identities = TrackIdentifier(source, threshold=0.25, every=1)
    observe(identities, 0, {1: mix(coat, D, 0.1)})
    (named,) = identities.names(0, [1])
    assert named is not None
    assert named.identity == "ann"


def follow_classes(
    kinds: Sequence[str | None], *, every: int = 1
) -> tuple[TrackIdentifier, list[str | None], list[int]]:
    """One track, a person ann or a car by the class of its box: its names, and the frames of its observations."""
    identities = TrackIdentifier(Known(), threshold=0.25, every=every, keep_tracklets=True)
    answers: list[str | None] = []
    observed = []
    for frame, kind in enumerate(kinds):
        if identities.due(frame, [1], None, None, [kind]):
            observed.append(frame)
            observation = C if kind == "car" else A
            identities.observe(frame, [1], observation[None], [1.0], [kind])
        (named,) = identities.names(frame, [1], [kind])
        answers.append(named.identity if named else None)
        assert named is None or np.isfinite(named.distance)
        assert (identities.status(1, kind) == "known") == (named is not None)
    return identities, answers, observed


def test_no_name_on_a_box_of_another_class() -> None:
    """A detector flickers: the name is not written there, no observation is spent on it, and it is back at once."""
    kinds = ["person"] * 5 + ["car", "person", "car", "car", "person", None, "PERSON"]
    identities, answers, observed = follow_classes(kinds)
    assert answers == ["ann"] * 5 + [None, "ann", None, None, "ann", "ann", "ann"]
    assert not {5, 7, 8} & set(observed)
    assert [s.named and s.named.identity for s in identities.tracklets()] == ["ann"]


@pytest.mark.parametrize("every", [1, 10])
def test_a_track_that_moves_to_another_class(every: int) -> None:
    """A person's track goes over to a car: the car has a name of its own, and never the person's."""
    identities, answers, _ = follow_classes(["person"] * 20 + ["car"] * 20, every=every)
    assert answers[:20] == ["ann"] * 20
    assert answers[20:23] == [None] * 3
    assert set(answers[23:]) <= {None, "car"}
    assert answers[-1] == "car"
    first, second = identities.tracklets()
    assert (first.class_name, first.named and first.named.identity, first.last) == ("person", "ann", 19)
    assert (second.class_name, second.named and second.named.identity, second.first) == ("car", "car", 20)


def test_the_class_of_a_track_may_become_known_later() -> None:
    _, answers, _ = follow_classes([None, None, "person", "car"])
    assert answers == ["ann", "ann", "ann", None]


def drive(frames: int, tracks: dict[int, NDArray[np.float32]], overlap: dict[int, float]) -> list[tuple[int, int]]:
    """(frame, track) of the observations that are asked for, every ten frames on average."""
    identities = TrackIdentifier(Known(), threshold=0.25, every=10)
    taken = []
    for frame in range(frames):
        present = [t for t in tracks if t <= frame]
        due = [present[i] for i in identities.due(frame, present, None, [overlap.get(frame, 0.0)] * len(present))]
        taken += [(frame, t) for t in due]
        if due:
            observe(identities, frame, {t: tracks[t] for t in due})
        identities.names(frame, present)
    return taken


def test_decided_tracks_are_observed_rarely() -> None:
    taken = drive(60, {0: A, 5: B}, {})
    assert [observation for observation in taken if observation[0] < 20] == [(0, 0), (5, 5)]
    assert len(taken) <= 2 + 2 * 60 // 10 // 2


def test_undecided_tracks_are_observed_soon_and_then_less() -> None:
    frames = [frame for frame, _ in drive(40, {0: D}, {})]
    assert frames[:4] == [0, 1, 3, 6]
    assert len(frames) <= 1 + 40 / 10 + ObservationSchedule.ADVANCE


def test_observations_wait_for_the_end_of_an_overlap() -> None:
    overlap = dict.fromkeys(range(4, 12), 0.5)
    taken = [frame for frame, _ in drive(18, {0: A}, overlap)]
    assert taken == [0, 12], "the first observation in the clear after it, and none in it"
    assert [f for f, _ in drive(12, {4: A}, overlap)] == [7], "a first observation waits, but not for ever"


@pytest.mark.parametrize("overlap", [{}, {f: 0.5 for f in range(300) if f % 7 < 3}], ids=["alone", "in a crowd"])
def test_the_cost_is_bounded(overlap: dict[int, float]) -> None:
    """However contested: one observation a new track, and one in ten frames of a track."""
    tracks = {0: A, 1: unit(0.78, 0.76, 0, 0), 2: D, 3: B, 50: mix(A, D, 0.24), 90: C}
    taken = drive(300, tracks, overlap)
    seen = sum(300 - first for first in tracks)
    assert len(taken) <= len(tracks) + seen / 10 + ObservationSchedule.ADVANCE


def test_old_evidence_is_forgotten() -> None:
    identities = TrackIdentifier(Known(), threshold=0.25, every=1)
    for track in range(50):
        observe(identities, 0, {track: A})
        identities.names(0, [track])
    identities.names(identities.FORGET_AFTER + 1000, [])
    assert identities.due(20_000, [3]) == [0]
    assert identities.names(20_000, [3]) == [None]


def test_distance_is_the_evidence() -> None:
    identities = TrackIdentifier(Known(), threshold=0.25, every=1)
    observe(identities, 0, {7: mix(A, B, 0.1)})
    (named,) = identities.names(0, [7])
    assert named == Named("ann", pytest.approx(0.1, abs=1e-6))


def test_evidence_can_be_inspected() -> None:
    identities = TrackIdentifier(Known(), threshold=0.25, every=1, explain=True)
    for frame, observation in enumerate((A, A, B, A)):
        observe(identities, frame, {7: observation}, 0.5)
    evidence = identities.evidence(7)
    assert evidence is not None
    assert [(record.frame, record.nearest, record.agreement) for record in evidence.records] == [
        (0, 0, "for"),
        (1, 0, "for"),
        (2, 1, "against"),
        (3, 0, "for"),
    ]
    assert identities.evidence(8) is None


def test_limits_follow_from_the_accepted_distance() -> None:
    rule = DecisionRule.of(0.25)
    assert rule.accept == 0.25
    assert rule.sure < rule.accept < rule.reject
    assert rule.suffices(1, 0.2, 0.06)
    assert not rule.suffices(1, 0.2, 0.04), "no margin"
    assert rule.suffices(3, 0.2, 0.02), "less margin after more observations"
    assert not rule.suffices(1, 0.24, 0.06), "one middling observation"
    assert rule.suffices(1, 0.24, 0.11)
    assert rule.suffices(2, 0.25, 0.06), "the threshold is inclusive"
    assert not rule.suffices(9, 0.26, 1.0)


def test_tracks_are_forgotten_even_if_frames_are_missing() -> None:
    identities = TrackIdentifier(Known(), threshold=0.25, every=10)
    for frame in range(1, 30_000, 50):  # none of them a multiple of a thousand
        identities.due(frame, [frame])
        observe(identities, frame, {frame: D})
        identities.names(frame, [frame])
    assert identities.evidence(1) is None
    assert identities.evidence(frame) is not None


def test_a_renamed_identity_keeps_its_tracks() -> None:
    """Also where a candidate would not get it, and on what was decided before."""
    before = GalleryView.from_arrays(["ann", "bob"], np.stack([A, B]))
    tracks = TrackIdentifier(before, threshold=0.25, every=1, keep_tracklets=True)
    # Track 1 moves to another person, and then to a third: its first tracklet is final.
    for frame in range(60):
        observe(tracks, frame, {1: (A, C, D)[frame // 20], 2: mix(B, C, 0.2 if frame < 30 else 0.29)})
        named = tracks.names(frame, [1, 2])
    assert [one and one.identity for one in named] == [None, "bob"]
    assert [tracklet.named and tracklet.named.identity for tracklet in tracks._archive.tracklets] == ["ann"]
    tracks._source = GalleryView.from_arrays(["robert", "zoe"], np.stack([B, A]))
    tracks.gallery_changed(before.identities, {"ann": "zoe", "bob": "robert"})
    assert [one and one.identity for one in tracks.names(60, [1, 2])] == [None, "robert"]
    assert {tracklet.named.identity for tracklet in tracks.tracklets() if tracklet.named} == {"zoe", "robert"}
