"""Naming, on traces: injected embeddings in, expected names out, one case a rule."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tracking.identity import Named, TrackIdentities, assign_identities, name_detections

INF = float("inf")


def unit(*values: float) -> NDArray[np.float32]:
    vector = np.asarray(values, np.float32)
    return vector / np.linalg.norm(vector)


A, B, C, D = (unit(*row) for row in np.eye(4))


def mix(first: NDArray[np.float32], second: NDArray[np.float32], distance: float) -> NDArray[np.float32]:
    """A unit vector at that cosine distance from the first of two orthogonal ones."""
    cosine = 1 - distance
    return (first * cosine + second * np.sqrt(1 - cosine**2)).astype(np.float32)


class Known:
    """A gallery of three orthogonal identities; the third is a car."""

    identities = ("ann", "bob", "car")
    classes = ("person", "person", "car")

    def identity_distances(
        self,
        probes: NDArray[np.float32],
        class_names: Sequence[str | None],
        *,
        limit: float | None = None,
        held: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        distances = 1 - probes @ np.stack([A, B, C]).T
        for row in range(len(probes) if limit is not None else 0):
            # No more than is promised.
            far = distances[row] > limit
            far[[column for column in (held or [-1] * len(probes))[row : row + 1] if column >= 0]] = False
            distances[row, far] = np.inf
        for row, name in enumerate(class_names):
            if name is not None:
                distances[row, [c != name for c in self.classes]] = np.inf
        return distances


@pytest.mark.parametrize(
    ("distances", "threshold", "expected"),
    [
        pytest.param([[0.1, 0.2]], 0.25, [0], id="nearest"),
        pytest.param([[0.3, 0.4]], 0.25, [-1], id="none within the threshold"),
        pytest.param([[0.25, 0.4]], 0.25, [0], id="the threshold is inclusive"),
        pytest.param([[0.25, 0.4], [0.4, 0.25]], 0.25, [0, 1], id="inclusive for several rows"),
        pytest.param([[0.1, INF], [0.05, INF]], 0.25, [-1, 0], id="one name goes to the better one"),
        pytest.param([[0.1, 0.2], [0.05, 0.3]], 0.25, [1, 0], id="second choice where it fits"),
        pytest.param([[0.05, 0.24], [0.20, 0.5]], 0.25, [0, -1], id="a stranger does not push a person off their name"),
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


def test_detections_of_one_frame() -> None:
    probes = np.stack([mix(A, B, 0.1), mix(A, C, 0.05), C, C])
    found = name_detections(Known(), probes, ["person", "person", "person", "car"], 0.25)
    assert found[0] is None, "ann is already taken by the detection that is nearer"
    assert found[1] is not None
    assert (found[1].identity, round(found[1].distance, 4)) == ("ann", 0.05)
    assert found[2] is None, "a person is never named as a car"
    assert found[3] is not None
    assert found[3].identity == "car"


Look = dict[int, NDArray[np.float32]]
Names = dict[int, str | None]


def replay(steps: Sequence[tuple[Look, Names]], *, every: int = 1, kind: str = "person") -> None:
    """Feed frames of (track -> embedding) and compare the names; None as embedding: seen, no look."""
    identities = TrackIdentities(Known(), threshold=0.25, every=every)
    for frame, (looks, expected) in enumerate(steps):
        due = [list(looks)[i] for i in identities.due(frame, list(looks))]
        looked = [t for t in due if looks[t] is not None]
        identities.observe(
            frame,
            looked,
            np.stack([looks[t] for t in looked]) if looked else np.empty((0, 4), np.float32),
            [1.0] * len(looked),
            [kind] * len(looked),
        )
        answer = dict(zip(looks, identities.names(frame, list(looks)), strict=True))
        assert {t: n.identity if n else None for t, n in answer.items()} == expected, f"frame {frame}"


@pytest.mark.parametrize(
    ("steps", "every"),
    [
        pytest.param([({1: A}, {1: "ann"})], 10, id="named at the first look, not at a tick"),
        pytest.param([({1: mix(A, C, 0.3)}, {1: None})], 1, id="too far is unknown"),
        pytest.param(
            [({1: A}, {1: "ann"})] * 4 + [({1: B}, {1: "ann"})] + [({1: A}, {1: "ann"})],
            1,
            id="one bad look changes nothing",
        ),
        pytest.param(
            [({1: mix(A, B, 0.2)}, {1: "ann"})] + [({1: B}, {1: "ann"})] + [({1: B}, {1: "bob"})] * 3,
            1,
            id="sustained contrary evidence renames",
        ),
        pytest.param(
            [({1: A}, {1: "ann"})] * 30 + [({1: B}, {1: "ann"}), ({1: B}, {1: "bob"}), ({1: B}, {1: "bob"})],
            1,
            id="however long the track: it has gone over to somebody else",
        ),
        pytest.param(
            [({1: A}, {1: "ann"})] * 9 + [({1: D}, {1: "ann"}), ({1: D}, {1: None}), ({1: A}, {1: None})],
            1,
            id="a name is dropped when it has gone over to a stranger",
        ),
        pytest.param(
            [({1: A}, {1: "ann"}), ({1: B}, {1: "ann"}), ({1: A}, {1: "ann"}), ({1: B}, {1: "ann"})] * 3,
            1,
            id="somebody who passes in front again and again",
        ),
        pytest.param(
            [({1: A}, {1: "ann"}), ({1: A, 2: mix(A, C, 0.1)}, {1: "ann", 2: None})], 1, id="one name once in a frame"
        ),
        pytest.param(
            [
                ({1: mix(A, C, 0.2)}, {1: "ann"}),
                ({2: A}, {2: "ann"}),
                ({1: mix(A, C, 0.2), 2: A}, {1: None, 2: "ann"}),
                ({1: mix(A, C, 0.2)}, {1: "ann"}),
            ],
            100,
            id="a lost track that returns does not double a name, and gets it back later",
        ),
        pytest.param(
            [({1: A, 2: B}, {1: "ann", 2: "bob"}), ({2: B, 1: A}, {2: "bob", 1: "ann"})], 1, id="order does not matter"
        ),
        pytest.param([({}, {}), ({1: A}, {1: "ann"}), ({}, {})], 1, id="empty frames"),
        pytest.param(
            [({1: None}, {1: None}), ({1: A}, {1: "ann"})], 1, id="a look that could not be taken is asked again"
        ),
    ],
)
def test_track_names(steps: Sequence[tuple[Look, Names]], every: int) -> None:
    replay(steps, every=every)


def test_looks_are_spread() -> None:
    identities = TrackIdentities(Known(), threshold=0.25, every=10)
    taken = []
    for frame in range(40):
        tracks = [1] if frame < 5 else [1, 2]
        due = identities.due(frame, tracks)
        taken += [(frame, tracks[i]) for i in due]
        identities.observe(
            frame,
            [tracks[i] for i in due],
            np.stack([A] * len(due)) if due else np.empty((0, 4), np.float32),
            [1.0] * len(due),
            ["person"] * len(due),
        )
    assert taken == [(0, 1), (5, 2), (10, 1), (15, 2), (20, 1), (25, 2), (30, 1), (35, 2)]


def test_old_evidence_is_forgotten() -> None:
    identities = TrackIdentities(Known(), threshold=0.25, every=1)
    for track in range(50):
        identities.observe(0, [track], A[None], [1.0], ["person"])
        identities.names(0, [track])
    identities.names(identities.FORGET_AFTER + 1000, [])
    assert identities.due(20_000, [3]) == [0]
    assert identities.names(20_000, [3]) == [None]


def test_distance_is_the_evidence() -> None:
    identities = TrackIdentities(Known(), threshold=0.25, every=1)
    identities.observe(0, [7], mix(A, B, 0.1)[None], [0.9], ["person"])
    (named,) = identities.names(0, [7])
    assert named == Named("ann", pytest.approx(0.1, abs=1e-6))
