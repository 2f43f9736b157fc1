"""The decision of single pictures is that of a run after one observation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gallery_db import GalleryView
from tracking.identification.probes import decide_probes


def at(*degrees: float) -> NDArray[np.float32]:
    """Return unit vectors in the plane."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_known_unknown_and_undecided() -> None:
    view = GalleryView.from_arrays(["amy", "ben"], at(0, 90))
    known, unknown, undecided = decide_probes(view, at(10, 180, 45), threshold=0.4)
    assert (known.status, known.identity, known.second) == ("known", "amy", "ben")
    assert abs(known.distance - (1 - np.cos(np.radians(10)))) < 1e-3
    assert (unknown.status, unknown.identity, unknown.nearest) == ("unknown", None, "ben")
    assert (undecided.status, undecided.identity) == ("undecided", None)
    assert {undecided.nearest, undecided.second} == {"amy", "ben"}


def test_two_probes_of_one_person_do_not_compete() -> None:
    view = GalleryView.from_arrays(["amy"], at(0))
    assert [one.identity for one in decide_probes(view, at(5, 8), threshold=0.25)] == ["amy", "amy"]


def test_class_and_empty_gallery() -> None:
    view = GalleryView.from_arrays(["amy"], at(0), class_names=["person"])
    (decision,) = decide_probes(view, at(5), 0.25, "car")
    assert (decision.status, decision.nearest, decision.distance) == ("unknown", None, float("inf"))
    (decision,) = decide_probes(GalleryView(2), at(5), 0.25)
    assert (decision.status, decision.nearest) == ("unknown", None)
