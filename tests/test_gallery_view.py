"""The exact view in memory, against a plain loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers_gallery import DIMENSION, entries_named, model_named, unit_vectors

from gallery_db import EmbeddingError, Entry, Gallery, GalleryView
from gallery_db.view import TRACK_PENALTY

NAMES = ["b", "a", "a", "c", "b", "a", "c", "d"]
CLASSES = ["person", "person", "car", "Person", "PERSON", "Car", "person", "bus"]


@pytest.fixture
def view() -> GalleryView:
    return GalleryView.from_arrays(NAMES, unit_vectors(8), class_names=CLASSES)


def test_columns_are_identities_of_one_class(view: GalleryView) -> None:
    assert len(view) == 8
    assert view.identities == ("a", "a", "b", "c", "d")
    assert [name.lower() for name in view.identity_classes] == ["car", "person", "person", "person", "bus"]
    assert [view.identities[column] for column in view.row_columns] == sorted(NAMES)
    assert view.embeddings.flags.c_contiguous
    assert view.embeddings.dtype == np.float32


@pytest.mark.parametrize(
    "classes",
    [None, [None, None, None], ["person", "CAR", None], ["tram", "bus", "Person"]],
    ids=["no classes", "all any", "mixed", "unknown"],
)
def test_identity_distances_are_those_of_a_loop(view: GalleryView, classes: list[str | None] | None) -> None:
    probes = unit_vectors(3, seed=5)
    vectors = unit_vectors(8)
    expected = np.full((3, 5), np.inf)
    for probe in range(3):
        wanted = None if classes is None else classes[probe]
        for row in range(8):
            if wanted is None or wanted.lower() == CLASSES[row].lower():
                column = next(
                    i
                    for i in range(5)
                    if (view.identities[i], view.identity_classes[i].lower()) == (NAMES[row], CLASSES[row].lower())
                )
                distance = 1.0 - float(probes[probe] @ vectors[row])
                expected[probe, column] = min(expected[probe, column], distance)
    found = view.identity_distances(probes, classes)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_nearest_is_sorted_and_filtered(view: GalleryView) -> None:
    probes = unit_vectors(4, seed=6)
    rows, distances = view.nearest(probes, 3)
    everything = 1.0 - probes @ view.embeddings.T
    np.testing.assert_allclose(distances, np.sort(everything, axis=1)[:, :3], atol=1e-6)
    np.testing.assert_array_equal(rows, np.argsort(everything, axis=1)[:, :3])
    rows, distances = view.nearest(probes, 9, class_name="CAR")
    assert rows.shape == distances.shape == (4, 2)
    assert set(rows.ravel()) == {0, 1}
    assert view.nearest(probes, 2, class_name="tram")[0].shape == (4, 0)


def test_equals_come_by_row() -> None:
    view = GalleryView.from_arrays([f"{n:02d}" for n in range(20)], np.repeat(unit_vectors(1), 20, axis=0))
    rows, _ = view.nearest(unit_vectors(1), 4)
    assert rows.tolist() == [[0, 1, 2, 3]]


def test_the_distance_to_itself_is_zero_and_to_the_opposite_two(view: GalleryView) -> None:
    vector = view.embeddings[:1]
    assert view.identity_distances(vector)[0, 0] == pytest.approx(0.0, abs=1e-6)
    assert view.identity_distances(vector).min() >= 0.0
    opposite = GalleryView.from_arrays(["x"], -vector)
    assert opposite.identity_distances(vector)[0, 0] == pytest.approx(2.0, abs=1e-6)


def test_nothing_to_ask_or_nobody_to_find(view: GalleryView) -> None:
    none = np.empty((0, DIMENSION), np.float32)
    assert view.identity_distances(none).shape == (0, 5)
    assert view.nearest(none, 2)[0].shape == (0, 2)
    empty = GalleryView.from_arrays([], none)
    assert empty.identity_distances(unit_vectors(2)).shape == (2, 0)
    assert empty.nearest(unit_vectors(2), 3)[1].shape == (2, 0)
    assert empty.nearest(unit_vectors(2), 3, class_name="person")[1].shape == (2, 0)
    assert empty.identities == ()
    assert not empty.refresh()


BAD_PROBES = {
    "other dimension": unit_vectors(2, DIMENSION - 1),
    "not a number": np.full((2, DIMENSION), np.nan),
    "zero": np.zeros((2, DIMENSION)),
    "three axes": np.zeros((2, 2, DIMENSION)),
}


@pytest.mark.parametrize("name", BAD_PROBES)
def test_bad_probes_are_refused(view: GalleryView, name: str) -> None:
    for call in (view.identity_distances, lambda probes: view.nearest(probes, 1)):
        with pytest.raises(EmbeddingError):
            call(BAD_PROBES[name])


def test_as_many_classes_as_probes_are_asked_for(view: GalleryView) -> None:
    with pytest.raises(EmbeddingError, match="2 class names"):
        view.identity_distances(unit_vectors(2), ["person"])


def test_refreshing_follows_each_kind_of_change(place: Path | str) -> None:
    with Gallery.create(place, model_named()) as gallery:
        view = gallery.view()
        assert len(view) == 0
        gallery.add(entries_named(10), unit_vectors(10))
        assert view.refresh()
        assert not view.refresh()
        assert view.identities == ("who0000", "who0001")
        gallery.update([Entry(id="e00000", identity="new", source="s")])
        assert view.refresh()
        assert "new" in view.identities
        gallery.replace([Entry(id="e00001", identity="new")], unit_vectors(1, seed=8))
        assert view.refresh()
        assert view.identity_distances(unit_vectors(1, seed=8))[0].min() == pytest.approx(0, abs=1e-6)
        gallery.remove([entry.id for entry in gallery.entries(identity="new")])
        assert view.refresh()
        assert "new" not in view.identities
        with pytest.raises(ValueError, match="undo"), gallery.transaction():  # noqa: PT012
            gallery.clear()
            raise ValueError("undo")
        assert not view.refresh()
        gallery.close(sync=False)
    assert len(view) == 8  # and stays usable
    assert view.identity_distances(unit_vectors(1)).shape == (1, 2)


def test_appending_is_as_if_they_had_been_there() -> None:
    vectors = unit_vectors(8)
    view = GalleryView.from_arrays(NAMES[:3], vectors[:3], class_names=CLASSES[:3])
    before = view.identities
    entries = [Entry(id=str(n), identity=NAMES[n], class_name=CLASSES[n]) for n in range(8)]
    view.append(entries[3:4], vectors[3:4])
    view.append(entries[4:], vectors[4:])
    view.append([], np.empty((0, DIMENSION)))
    whole = GalleryView.from_arrays(NAMES, vectors, class_names=CLASSES)
    assert view.identities[: len(before)] == before, "no column is renumbered"
    assert len(view) == len(whole) == len(view.embeddings) == len(view.row_columns) == len(view.entry_ids)
    probes = unit_vectors(3, seed=9)

    def by_column(of: GalleryView, classes: list[str | None] | None) -> dict[tuple[str, str], list[float]]:
        found = of.identity_distances(probes, classes)
        keys = [(name, kind.lower()) for name, kind in zip(of.identities, of.identity_classes, strict=True)]
        return {key: found[:, column].round(6).tolist() for column, key in enumerate(keys)}

    for classes in (None, ["person", "CAR", "bus"]):
        assert by_column(view, classes) == by_column(whole, classes)
    for kind in (None, "car"):
        rows, distances = view.nearest(probes, 3, kind)
        other_rows, other = whole.nearest(probes, 3, kind)
        np.testing.assert_allclose(distances, other, atol=1e-6)
        ids = [[of.entry_ids[r] for r in some] for of, some in ((view, rows[0]), (whole, other_rows[0]))]
        assert ids[0] == ids[1]
    empty = GalleryView.from_arrays([], np.empty((0, DIMENSION)))
    empty.append(entries[:2], vectors[:2])
    assert empty.identity_distances(vectors[:1])[0, 0] == pytest.approx(0, abs=1e-6)


def test_enrolled_entries_of_reviewed_people_count_less() -> None:
    first, second, third = unit_vectors(3)
    view = GalleryView.from_arrays(
        ["ann", "ann", "stranger"], np.stack([first, second, third]), origins=["image", "track", "track"]
    )
    found = np.diagonal(view.identity_distances(np.stack([first, second, third]))[:, [0, 0, 1]])
    np.testing.assert_allclose(found, [0, TRACK_PENALTY, 0], atol=1e-6)
    view.append([Entry(id="x", identity="stranger")], first[None])
    assert view.identity_distances(third[None])[0, 1] == pytest.approx(TRACK_PENALTY, abs=1e-6), "reviewed by now"
    assert view.nearest(second[None], 1)[1][0, 0] == pytest.approx(0, abs=1e-6), "a distance is a distance"
    assert view.enrolled("ann", "PERSON")[0] == ("1",)
    assert view.enrolled("nobody", "person")[0] == ()


def test_a_view_without_some(place: Path | str) -> None:
    with Gallery.create(place, model_named()) as gallery:
        gallery.add(entries_named(10), unit_vectors(10))
        view = gallery.view(without=[f"e0000{n}" for n in range(5)])
        assert view.identities == ("who0001",)
        gallery.add(entries_named(1, prefix="f"), unit_vectors(1, seed=3))
        assert view.refresh()
        assert len(view) == 6
        assert [e.id for e in gallery.with_prefix("f")[0]] == ["f00000"]
        gallery.close(sync=False)
