"""The view in memory gives the result of a plain loop."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.gallery import DIMENSION, entries_named, model_named, unit_vectors

from gallery_db import Curator, EmbeddingError, Entry, Gallery, GalleryView, restore_snapshot, take_snapshot
from gallery_db.search.refresh import ViewChange
from gallery_db.search.table import BOUNDS_MIN_ENTRIES, TRACK_PENALTY

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


def test_equal_distances_come_in_row_order() -> None:
    view = GalleryView.from_arrays([f"{n:02d}" for n in range(20)], np.repeat(unit_vectors(1), 20, axis=0))
    rows, _ = view.nearest(unit_vectors(1), 4)
    assert rows.tolist() == [[0, 1, 2, 3]]


def test_the_distance_to_itself_is_zero_and_to_the_opposite_two(view: GalleryView) -> None:
    vector = view.embeddings[:1]
    assert view.identity_distances(vector)[0, 0] == pytest.approx(0.0, abs=1e-6)
    assert view.identity_distances(vector).min() >= 0.0
    opposite = GalleryView.from_arrays(["x"], -vector)
    assert opposite.identity_distances(vector)[0, 0] == pytest.approx(2.0, abs=1e-6)


def test_no_probes_and_no_entries(view: GalleryView) -> None:
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


def test_a_class_is_needed_for_each_probe(view: GalleryView) -> None:
    with pytest.raises(EmbeddingError, match="2 class names"):
        view.identity_distances(unit_vectors(2), ["person"])


def test_refresh_shows_each_kind_of_change(place: Path | str) -> None:
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


def test_appended_entries_count_as_loaded_ones() -> None:
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


def test_many_appended_entries_join_the_loaded_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gallery_db.search.table._MERGED_ROWS", 20)
    vectors = unit_vectors(90)
    names = [f"n{n % 30:02d}" for n in range(90)]
    view = GalleryView.from_arrays(names[60:], vectors[60:])
    for n in range(60):
        before = view.identities
        view.append([Entry(id=f"x{n}", identity=names[n], origin="track" if n % 2 else "image")], vectors[n : n + 1])
        assert view.identities[: len(before)] == before
        assert len(view._table.appended.ids) <= 20, "what a search compares in full does not grow"
    origins = ["track" if n % 2 else "image" for n in range(60)] + ["image"] * 30
    whole = GalleryView.from_arrays(names, vectors, origins=origins)
    probes = unit_vectors(5, seed=9)
    order = [view.identities.index(name) for name in whole.identities]
    np.testing.assert_allclose(view.identity_distances(probes)[:, order], whole.identity_distances(probes), atol=1e-6)
    for row, (id_, column) in enumerate(zip(view.entry_ids, view.row_columns, strict=True)):
        number = int(id_[1:]) if id_.startswith("x") else 60 + int(id_)
        assert view.identities[column] == names[number]
        np.testing.assert_array_equal(view.embeddings[row], vectors[number])


def test_enrolled_entries_of_reviewed_identities_have_a_penalty() -> None:
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


def shown(view: GalleryView) -> dict[str, tuple[str, str, bytes]]:
    """Return what a view shows of each entry, after comparing all ways to ask for it."""
    columns = view.row_columns.tolist()
    assert len(view) == len(view.entry_ids) == len(set(view.entry_ids)) == len(columns) == len(view.embeddings)
    for column, name in enumerate(view.identities):
        rows = [row for row, own in enumerate(columns) if own == column]
        assert rows, "no column without an entry"
        own = sorted(vector.tobytes() for vector in view.column_embeddings(column))
        assert own == sorted(view.embeddings[row].tobytes() for row in rows)
        assert set(rows) <= set(view.rows_of(identity=name).tolist())
    some = view.entry_ids[::3]
    assert [view.entry_ids[row] for row in view.rows_of(ids=some)] == [id_ for id_ in view.entry_ids if id_ in some]
    return {
        id_: (view.identities[column], view.identity_classes[column].lower(), vector.tobytes())
        for id_, column, vector in zip(view.entry_ids, columns, view.embeddings, strict=True)
    }


def distances(view: GalleryView, probes: NDArray[np.float32]) -> Mapping[tuple[str, str], list[float]]:
    found = view.identity_distances(probes)
    keys = [(name, kind.lower()) for name, kind in zip(view.identities, view.identity_classes, strict=True)]
    return {key: found[:, column].round(5).tolist() for column, key in enumerate(keys)}


@pytest.mark.parametrize("seed", range(12))
def test_a_refreshed_view_equals_a_new_view(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    number = 0
    waiting: dict[str, tuple[Entry, NDArray[np.float32]]] = {}
    probes = unit_vectors(3, seed=99)
    with Gallery.create(tmp_path / "g", model_named()) as gallery:
        gallery.record.server.run("PRAGMA synchronous = OFF")
        gallery.add(entries_named(15, per_identity=3), unit_vectors(15))
        without = {"e00000", "e00001"}
        view = gallery.view(without=without)
        for _ in range(50):
            ids = [entry.id for entry in gallery.entries()]
            some = chance.sample(ids, min(len(ids), chance.randint(1, 3)))
            vectors = unit_vectors(3, seed=chance.randrange(10**6))
            name = f"who{chance.randrange(6):04d}"
            there = [gallery.get(id_)[0] for id_ in some]
            match chance.randrange(9):
                case 0:
                    new = Entry(f"n{number}", name, chance.choice(["person", "Car"]), chance.choice(["image", "track"]))
                    gallery.add([new], vectors[:1])
                    number += 1
                case 1:
                    Curator(gallery).move(some, name, new=True)
                case 2:
                    gallery.replace([replace(entry, source="new") for entry in there], vectors[: len(there)])
                case 3:
                    gallery.remove(some[:1] if len(ids) > 5 else [])
                case 4:
                    gallery.update([replace(entry, extra={**entry.extra, "not": [name]}) for entry in there])
                case 5:
                    gallery.update([replace(entry, extra={"a": chance.random()}) for entry in there])
                case 6:
                    entry = Entry(f"h{number}", name, origin="track")
                    waiting[entry.id] = (entry, vectors[0])
                    view.append([entry], vectors[:1])
                    number += 1
                case 7 if waiting:
                    entry, vector = waiting.pop(next(iter(waiting)))
                    gallery.add([entry], vector[None])
                case _:
                    before = view.identities
                    change = view.refresh()
                    if change is not None and not change.reset:
                        assert view.identities[: len(before)] == before
                    new_view = gallery.view(without=without)
                    if waiting:
                        new_view.append([e for e, _ in waiting.values()], np.stack([v for _, v in waiting.values()]))
                    assert shown(view) == shown(new_view)
                    assert distances(view, probes) == distances(new_view, probes)
                    assert [sorted(view.enrolled(n, "person")[0]) for n in sorted(new_view.identities)] == [
                        sorted(new_view.enrolled(n, "person")[0]) for n in sorted(new_view.identities)
                    ]
                    found, expected = view.nearest(probes, 4), new_view.nearest(probes, 4)
                    np.testing.assert_allclose(found[1], expected[1], atol=1e-6)
                    assert view.generation == gallery.generation
        gallery.close(sync=False)


def refreshed(view: GalleryView) -> ViewChange:
    change = view.refresh()
    assert change is not None
    return change


def test_what_a_refresh_returns(place: Path | str) -> None:
    with Gallery.create(place, model_named()) as gallery:
        people = Curator(gallery)
        gallery.add(entries_named(12, per_identity=4), unit_vectors(12))
        view = gallery.view(without=["e00000"])
        assert view.refresh() is None
        gallery.add([Entry("new", "who0000"), Entry("newer", "zoe")], unit_vectors(2, seed=1))
        gallery.remove(["e00004", "e00000"])
        change = refreshed(view)
        assert (change.renamed, change.reset) == ({}, False)
        assert {id_: entry and entry.identity for id_, entry in change.entries.items()} == {
            "new": "who0000", "newer": "zoe", "e00004": None, "e00000": None,
        }  # fmt: skip
        people.rename("who0001", "ann")
        people.merge(["who0002"], "zoe")
        assert (refreshed(view).renamed, view.identities) == (
            {"who0001": "ann", "who0002": "zoe"},
            ("ann", "who0000", "zoe"),
        )
        people.split("zoe", ["newer"], "yan")
        change = refreshed(view)
        assert (change.renamed, change.reset) == ({}, True)
        gallery.undo(2)
        assert refreshed(view).renamed == {"yan": "zoe"}
        assert set(view.identities) == {"ann", "who0000", "who0002", "zoe"}
        gallery.update([replace(gallery.get("new")[0], extra={"seen": 1})])
        change = refreshed(view)
        assert (list(change.entries), change.reset) == (["new"], False)
        gallery.close(sync=False)


def test_a_rename_includes_entries_that_are_not_stored_yet(tmp_path: Path) -> None:
    """A rename means the whole identity, also entries that its author could not see yet."""
    with Gallery.create(tmp_path / "g", model_named()) as gallery:
        gallery.add(entries_named(4, per_identity=2), unit_vectors(4))
        view = gallery.view()
        late = Entry("late", "who0000", origin="track")
        view.append([late], unit_vectors(1, seed=1))
        Curator(gallery).rename("who0000", "ann")
        assert refreshed(view).renamed == {"who0000": "ann"}
        gallery.add([late], unit_vectors(1, seed=1))
        Curator(gallery).move(["e00002", "e00003"], "bob", new=True)
        assert refreshed(view).renamed == {"who0001": "bob"}, "nothing was left of it"
        gallery.add(entries_named(2, "f"), unit_vectors(2, seed=3))
        view.append([Entry("last", "who0000", origin="track")], unit_vectors(1, seed=4))
        gallery.add([Entry("last", "who0000", origin="track")], unit_vectors(1, seed=4))
        view.refresh()
        Curator(gallery).move(["f00000", "f00001", "late"], "cid", new=True)
        assert refreshed(view).renamed == {}, "entries were moved one by one, and not that one"
        gallery.close(sync=False)


def test_many_changes_are_sorted_in(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", model_named()) as gallery:
        gallery.add(entries_named(10), unit_vectors(10))
        view = gallery.view()
        gallery.add(entries_named(BOUNDS_MIN_ENTRIES + 1, "f"), unit_vectors(BOUNDS_MIN_ENTRIES + 1, seed=1))
        assert refreshed(view).reset
        assert view.identities == tuple(sorted(view.identities))
        assert shown(view) == shown(gallery.view())
        view.append([Entry("hand", "me")], unit_vectors(1, seed=2))
        gallery.add(entries_named(6000, "g"), unit_vectors(6000, seed=3))
        change = refreshed(view)
        assert (change.entries, change.renamed, change.reset) == ({}, {}, True), (
            "so many changes are read with the whole collection"
        )
        assert len(view) == 10 + BOUNDS_MIN_ENTRIES + 1 + 6000 + 1, "and an entry that only the view has stays"
        row = view.entry_ids.index("hand")
        np.testing.assert_allclose(view.embeddings[row], unit_vectors(1, seed=2)[0], atol=1e-6)
        gallery.close(sync=False)


def test_a_restored_snapshot_is_read_as_a_whole(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", model_named()) as gallery:
        gallery.add(entries_named(10), unit_vectors(10))
        take_snapshot(gallery, "then")
        gallery.remove(["e00000"])
        gallery.close(sync=False)
    with Gallery.open(tmp_path / "g") as reader:
        view = reader.view()
        assert len(view) == 9
        restore_snapshot(tmp_path / "g", "then")
        with Gallery.open(tmp_path / "g", write=True) as gallery:
            gallery.add(entries_named(1, "after"), unit_vectors(1, seed=1))
            gallery.close(sync=False)
        change = refreshed(view)
        assert set(change.entries) == {"e00000", "after00000"}
        assert shown(view) == shown(reader.view())
        assert len(view) == 11


def test_a_view_with_excluded_entries(place: Path | str) -> None:
    with Gallery.create(place, model_named()) as gallery:
        gallery.add(entries_named(10), unit_vectors(10))
        view = gallery.view(without=[f"e0000{n}" for n in range(5)])
        assert view.identities == ("who0001",)
        gallery.add(entries_named(1, prefix="f"), unit_vectors(1, seed=3))
        assert view.refresh()
        assert len(view) == 6
        assert [e.id for e in gallery.with_prefix("f")[0]] == ["f00000"]
        gallery.close(sync=False)
