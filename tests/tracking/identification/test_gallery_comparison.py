"""Sparse evidence gives the decisions of the distances to all identities, from one cheap search a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_db import GalleryView
from tracking.identification.gallery_comparison import MAX_RIVALS
from tracking.identification.identifier import TrackIdentifier

Array = NDArray[np.float32]


def unit(array: NDArray[np.floating]) -> Array:
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


class Crowd:
    """A gallery of people, some alike, and tracks of known, unknown and far people that change over."""

    def __init__(self, entries: int, boxes: int, *, seed: int = 3, dimension: int = 128) -> None:
        self.random = random = np.random.default_rng(seed)
        self.strength = np.where(np.arange(dimension) < 30, 1.0, 0.1)
        centres = random.standard_normal((entries // 6 + 40, dimension)) * self.strength
        centres[1::3] = centres[::3][: len(centres[1::3])] + 0.35 * centres[1::3]  # like another one
        self.centres = centres
        person = np.arange(entries) // 6
        names, vectors = [f"p{n:04d}" for n in person], self.draw(centres[person], 0.4)
        self.view = GalleryView.from_arrays(names, vectors)
        self.known = int(person[-1]) + 1
        self.shown = random.integers(0, len(centres), boxes)

    def draw(self, centres: NDArray[np.floating], spread: float) -> Array:
        return unit(centres + spread * self.random.standard_normal(centres.shape) * self.strength)

    def frame(self) -> Array:
        self.shown[self.random.integers(len(self.shown))] = self.random.integers(len(self.centres))
        embeddings = self.draw(self.centres[self.shown], 0.45)
        embeddings[::7] = unit(self.random.standard_normal(embeddings[::7].shape))  # like nobody at all
        return embeddings


class CountedView:
    """A view that counts searches, and the pairs that they return."""

    def __init__(self, view: GalleryView) -> None:
        self.view = view
        self.searches = 0
        self.pairs = 0
        self.probes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.view, name)

    def near_identities(self, probes: Array, class_names: Sequence[str | None], **arguments: Any) -> Any:
        found = self.view.near_identities(probes, class_names, **arguments)
        self.searches += 1
        self.probes += len(probes)
        self.pairs += len(found.probes)
        return found


@pytest.mark.parametrize("threshold", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("entries", [60, 2400], ids=["all entries", "bounds"])
def test_decisions_are_those_of_all_distances(entries: int, threshold: float) -> None:
    crowd = Crowd(entries, 20)
    # With explanations, the nearest identities are asked for however far they are.
    near, whole = (
        TrackIdentifier(crowd.view, threshold=threshold, every=2, keep_tracklets=True, explain=explain)
        for explain in (False, True)
    )
    named = 0
    for frame in range(60):
        embeddings = crowd.frame()
        ids = [20 * (frame // 25 if n % 4 == 0 else 0) + n for n in range(20)]
        answers, distances = [], []  # of each
        for one in (near, whole):
            due = one.due(frame, ids, None, [0.4 * ((frame + n) % 9 == 0) for n in range(20)])
            kinds = ["person"] * len(due)
            one.observe(frame, [ids[i] for i in due], embeddings[due], [0.3 + 0.03 * i for i in due], kinds)
            names = one.names(frame, ids)
            answers.append((due, [name and name.identity for name in names], list(map(one.status, ids))))
            distances.append([2.0 if name is None else name.distance for name in names])
        assert answers[0] == answers[1], f"frame {frame}"
        np.testing.assert_allclose(distances[0], distances[1], atol=1e-5)
        named += sum(name is not None for name in answers[0][1])
    assert 0 < named < 60 * 20, "some have names, some have none"
    ended = [
        [(t.track_id, t.first, t.certain_from, t.last, t.named and t.named.identity) for t in one.tracklets()]
        for one in (near, whole)
    ]
    assert ended[0] == ended[1]


def test_a_frame_is_searched_once_and_the_answer_is_small() -> None:
    crowd = Crowd(2400, 40)
    view = CountedView(crowd.view)
    identities = TrackIdentifier(view, threshold=0.25, every=1)
    frames = 25
    for frame in range(frames):
        embeddings = crowd.frame()
        identities.observe(frame, range(40), embeddings, [1.0] * 40, ["person"] * 40)
        identities.names(frame, range(40))
    assert view.searches <= 2 * frames, "a second search is for few tracks"
    assert view.probes <= 2.5 * 40 * frames
    assert view.pairs <= MAX_RIVALS * view.probes
    tracks = [identities.evidence(track) for track in range(40)]
    assert all(track is not None and len(track.tracklet.near) <= MAX_RIVALS + 1 for track in tracks)


def test_people_like_nobody_are_not_compared_with_all_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd(2400, 10)
    far = unit(crowd.random.standard_normal((10, 128)))
    assert crowd.view.identity_distances(far).min() > 0.3
    monkeypatch.setattr(crowd.view._nearest, "_best_of_all", lambda probes: pytest.fail("compared with all entries"))
    identities = TrackIdentifier(crowd.view, threshold=0.25, every=1)
    for frame in range(5):
        identities.observe(frame, range(10), far, [1.0] * 10, ["person"] * 10)
        assert identities.names(frame, range(10)) == [None] * 10
    assert [identities.status(track) for track in range(10)] == ["unknown"] * 10
