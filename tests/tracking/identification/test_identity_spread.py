"""Whether a track is as near to an identity as the identity's own entries are to each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from support.traces import A, D, Known, mix

from gallery_db import Entry, GalleryView
from tracking.identification.gallery_comparison import IdentitySource
from tracking.identification.identifier import TrackIdentifier
from tracking.identification.identity_spread import IdentitySpread

EYE = np.eye(12, dtype=np.float32)


def around(centre: int, spread: float, *directions: int) -> list[NDArray[np.float32]]:
    """Unit vectors at this distance from an axis, each in a direction of its own."""
    return [mix(EYE[centre], EYE[direction], spread) for direction in directions]


def gallery(**people: Sequence[NDArray[np.float32]]) -> GalleryView:
    names = [name for name, vectors in people.items() for _ in vectors]
    return GalleryView.from_arrays(names, np.stack([vector for vectors in people.values() for vector in vectors]))


ANN = around(0, 0.1, 4, 5, 6, 7)
BOB = around(1, 0.1, 4, 5, 6, 7)


def fits(source: IdentitySource, vector: NDArray[np.float32], accept: float = 0.0) -> bool:
    """Whether a track is surely of the first identity."""
    return IdentitySpread(source).relative_distance(vector, 0, accept) <= IdentitySpread.MAX_SPREADS


@pytest.mark.parametrize(("distance", "fit"), [(0.02, True), (0.15, True), (0.24, False)])
def test_a_track_fits_within_the_spread_of_the_entries(distance: float, fit: bool) -> None:
    """The entries are 0.13 from the mean of the others."""
    assert fits(gallery(ann=ANN, bob=BOB), mix(EYE[0], EYE[8], distance)) == fit


def test_near_one_entry_is_not_near_the_identity() -> None:
    """A person who looks like one picture of ann, and not like the others."""
    view = gallery(ann=around(0, 0.1, 4, 5, 6, 7, 8, 9), bob=BOB)
    stranger = mix(ANN[0], EYE[11], 0.2)
    assert view.column_distances(stranger[None], [0])[0] == pytest.approx(0.2)
    assert not fits(view, stranger)


@pytest.mark.parametrize("pictures", [1, 3], ids=["one picture", "the same picture three times"])
def test_an_identity_without_a_spread_has_that_of_the_others(pictures: int) -> None:
    view = gallery(ann=[EYE[0]] * pictures, bob=BOB)
    assert fits(view, mix(EYE[0], EYE[8], 0.15))
    assert not fits(view, mix(EYE[0], EYE[8], 0.24))


def test_two_coats_are_one_wide_identity() -> None:
    """The mean of two coats is like neither; the entries of each are as far from it."""
    coats = [*around(0, 0.01, 4, 5), *around(1, 0.01, 4, 5)]
    assert fits(gallery(ann=coats, bob=BOB), EYE[0])


@pytest.mark.parametrize(("distance", "fit"), [(0.19, True), (0.21, False)])
def test_without_any_spread_the_distance_decides(distance: float, fit: bool) -> None:
    assert fits(gallery(ann=[EYE[0]], bob=[EYE[1]]), mix(EYE[0], EYE[8], distance), 0.2) == fit
    assert fits(Known(), mix(A, D, distance), 0.2) == fit


def test_new_identities_count() -> None:
    view = gallery(ann=[EYE[0]])
    spread = IdentitySpread(view)
    before = spread.relative_distance(mix(EYE[0], EYE[8], 0.15), 0, 0.1)
    view.append([Entry(id=f"b{n}", identity="bob", class_name="person") for n in range(4)], np.stack(BOB))
    assert before > IdentitySpread.MAX_SPREADS > spread.relative_distance(mix(EYE[0], EYE[8], 0.15), 0, 0.1)


@pytest.mark.parametrize(("distance", "sure"), [(0.1, True), (0.24, False)])
def test_tracklets_say_whether_they_are_sure_of_their_name(distance: float, sure: bool) -> None:
    identifier = TrackIdentifier(
        gallery(ann=[*ANN, mix(EYE[0], EYE[8], 0.1)], bob=BOB), threshold=0.25, every=1, keep_tracklets=True
    )
    seen = mix(ANN[0], EYE[11], distance)
    for frame in range(6):
        identifier.due(frame, [1])
        identifier.observe(frame, [1], seen[None], [1.0], ["person"])
        named = identifier.names(frame, [1])[0]
        assert named is not None
        assert named.identity == "ann"
    (tracklet,) = identifier.tracklets()
    assert tracklet.is_sure == sure
