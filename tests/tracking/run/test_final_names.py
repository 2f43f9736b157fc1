"""The final name of each tracklet after the whole run."""

from __future__ import annotations

import pytest

from tracking.identification.named_tracklets import Named, NamedTracklet
from tracking.run.final_names import final_names


def tracklet(track_id: int, first: int, last: int, name: str | None) -> NamedTracklet:
    named = None if name is None else Named(name, 0.1)
    return NamedTracklet(track_id, first, certain_from=first, known_from=first, last=last, named=named)


@pytest.mark.parametrize(
    ("final", "expected"),
    [
        pytest.param([tracklet(1, 0, 9, "ann")], {(1, 0): "ann"}, id="one name"),
        pytest.param([tracklet(1, 0, 2, "bob"), tracklet(1, 3, 9, "ann")], {(1, 0): "ann"}, id="most of its frames"),
        pytest.param([tracklet(1, 0, 6, None), tracklet(1, 7, 9, "ann")], {(1, 0): None}, id="mostly without a name"),
        pytest.param([tracklet(2, 0, 9, "ann")], {(1, 0): None}, id="another track"),
        pytest.param([], {(1, 0): None}, id="none"),
    ],
)
def test_final_names(final: list[NamedTracklet], expected: dict[tuple[int, int], str | None]) -> None:
    assert final_names([tracklet(1, 0, 9, "cat")], final) == expected
