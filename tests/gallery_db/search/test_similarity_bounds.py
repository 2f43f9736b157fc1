"""Every way to search gives the result of a plain product with all entries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.gallery import model_named

from gallery_db import Curator, EmbeddingError, Entry, Gallery, GalleryError, GalleryView
from gallery_db.search.nearest import Search
from gallery_db.search.similarity_bounds import SimilarityBounds
from gallery_db.search.table import BOUNDS_MIN_ENTRIES, TRACK_PENALTY
from gallery_db.store.lock import WriterLock
from tracking.identification.assignment import name_detections
from tracking.identification.identifier import TrackIdentifier

Array = NDArray[np.float32]


def unit(array: Array) -> Array:
    return np.ascontiguousarray(array / np.linalg.norm(array, axis=-1, keepdims=True), dtype=np.float32)


def people(count: int, dimension: int = 512, *, directions: int = 40, seed: int = 0) -> tuple[list[str], Array, Array]:
    """Return names, vectors in clusters of 8 that differ mostly in few directions, and 24 probes.

    Half of the probes are new embeddings of people in the vectors, the others of unknown people.
    """
    random = np.random.default_rng(seed)
    strength = np.where(np.arange(dimension) < directions, 1.0, 0.05)
    mirrors = unit(random.standard_normal((4, dimension)).astype(np.float32))
    centres = random.standard_normal((count // 8 + 13, dimension)) * strength
    person = np.arange(count) // 8

    def embed(centre: NDArray[np.float64]) -> Array:
        array = centre + 0.5 * random.standard_normal(centre.shape) * strength
        for mirror in mirrors:  # the directions are not those of the axes
            array = array - 2 * np.outer(array @ mirror, mirror)
        return unit(array)

    known = random.integers(0, count // 8, 12)
    probes = np.concatenate([embed(centres[known]), embed(centres[count // 8 + 1 :])])
    return [f"p{number:05d}" for number in person], embed(centres[person]), probes


def noise(count: int, dimension: int = 512) -> tuple[list[str], Array, Array]:
    random = np.random.default_rng(1)
    vectors = unit(random.standard_normal((count + 24, dimension)).astype(np.float32))
    return [f"p{number // 8:05d}" for number in range(count)], vectors[:count], vectors[count:]


def with_bounds(view: GalleryView) -> GalleryView:
    """Return the view, after a check that it answers with similarity bounds."""
    view.prepare()
    assert view._table.bounds() is not None
    return view


def same(found: GalleryView, exact: GalleryView, probes: Array, classes: list[str | None] | None = None) -> None:
    """Assert everything that the view promises for near identities, with some limits and counts."""
    everything = exact.identity_distances(probes, classes)
    held = [
        number % len(exact.identities) if number % 3 and exact.identities else -1
        for number in range(0, 7 * len(probes), 7)
    ]
    for limit in (0.0, 0.25, 0.5, 1.6):
        near = found.identity_distances(probes, classes, limit=limit, held=held)
        within = everything <= limit - 1e-5
        within[[row for row, column in enumerate(held) if column >= 0], [c for c in held if c >= 0]] = True
        np.testing.assert_allclose(near[within], everything[within], atol=2e-6)
        met = np.isfinite(near)
        np.testing.assert_allclose(near[met], everything[met], atol=5e-6, err_msg="exact or inf")
    for count in (1, 5, 12):
        near = found.identity_distances(probes, classes, nearest=count, held=held)
        met = np.isfinite(near)
        np.testing.assert_allclose(near[met], everything[met], atol=5e-6, err_msg="exact or inf")
        np.testing.assert_allclose(np.sort(near, axis=1)[:, :count], np.sort(everything, axis=1)[:, :count], atol=2e-6)
        own = [(row, column) for row, column in enumerate(held) if column >= 0]
        rows, columns = [row for row, _ in own], [column for _, column in own]
        np.testing.assert_allclose(near[rows, columns], everything[rows, columns], atol=5e-6)
        columns, distances = found.nearest_identities(probes, count, classes)
        expected = np.sort(everything, axis=1)[:, :count]
        np.testing.assert_allclose(distances, expected, atol=2e-6)
        there = np.isfinite(distances)
        assert (columns[~there] == -1).all()
        rows = np.nonzero(there)[0]
        np.testing.assert_allclose(everything[rows, columns[there]], distances[there], atol=2e-6)
        assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in columns)
    same_near(found, everything, probes, classes)
    own = [(row, column) for row, column in enumerate(held) if column >= 0]
    if own:
        rows, columns = (list(part) for part in zip(*own, strict=True))
        kinds = None if classes is None else [classes[row] for row in rows]
        distances = found.column_distances(probes[rows], columns, kinds)
        np.testing.assert_allclose(distances, everything[rows, columns], atol=5e-6)


def same_near(found: GalleryView, everything: Array, probes: Array, classes: list[str | None] | None) -> None:
    """Assert that the near identities are those of all distances, with a limit for each probe."""
    limits = np.asarray([(0.0, 0.1, 0.3, 0.8, np.inf)[row % 5] for row in range(len(probes))])
    for nearest in (None, 1, 5):
        rows, columns, distances = found.near_identities(probes, classes, limit=limits, nearest=nearest)
        assert sorted(zip(rows, distances, columns, strict=True)) == list(zip(rows, distances, columns, strict=True))
        np.testing.assert_allclose(distances, everything[rows, columns], atol=5e-6)
        for row, limit in enumerate(limits):
            inside = np.sort(everything[row][np.isfinite(everything[row])])
            mine = distances[rows == row]
            least = np.count_nonzero(inside <= limit - 1e-5)
            most = np.count_nonzero(inside <= limit + 1e-5)
            if nearest is not None:
                least, most = min(least, nearest), min(most, nearest)
            assert least <= len(mine) <= most
            np.testing.assert_allclose(mine, inside[: len(mine)], atol=5e-6)


@pytest.mark.parametrize("dimension", [128, 512, 2048])
def test_bounds_give_the_result_of_all_entries(dimension: int) -> None:
    names, vectors, probes = people(BOUNDS_MIN_ENTRIES + 37, dimension)
    view = with_bounds(GalleryView.from_arrays(names, vectors))
    same(view, GalleryView.from_arrays(names, vectors, search="exact"), probes)


@pytest.mark.parametrize("count", [0, 1, 2, 17, BOUNDS_MIN_ENTRIES - 1], ids=lambda count: f"{count} entries")
def test_small_galleries(count: int) -> None:
    names, vectors, probes = noise(count, 64)
    same(GalleryView.from_arrays(names, vectors), GalleryView.from_arrays(names, vectors, search="exact"), probes[:5])


@pytest.mark.parametrize("dimension", [8, 16, 512])
def test_where_bounds_do_not_help(dimension: int) -> None:
    names, vectors, probes = noise(BOUNDS_MIN_ENTRIES, dimension)
    view = GalleryView.from_arrays(names, vectors)
    same(view, GalleryView.from_arrays(names, vectors, search="exact"), probes)
    assert view._table.bounds() is None, "directions of equal weight cannot be left out"


def test_the_result_is_exact_for_any_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    names, vectors, probes = noise(BOUNDS_MIN_ENTRIES)
    view = GalleryView.from_arrays(names, vectors)
    columns = view.row_columns
    bounds = SimilarityBounds(view.embeddings, np.zeros_like(columns), np.eye(512, 63).astype("f"))
    monkeypatch.setattr(view._table, "bounds", lambda: bounds)
    same(view, GalleryView.from_arrays(names, vectors, search="exact"), probes)


def test_bounds_hold_where_the_rest_is_empty() -> None:
    random = np.random.default_rng(3)
    basis = np.linalg.qr(random.standard_normal((256, 63)))[0].astype(np.float32)
    inside = unit(random.standard_normal((500, 63)).astype(np.float32) @ basis.T)
    nearly = unit(inside + 1e-4 * random.standard_normal(inside.shape).astype(np.float32))
    vectors = np.concatenate([inside, nearly])
    bounds = SimilarityBounds(vectors, np.zeros(1000, np.intp), basis)
    exact = vectors[:200].astype(np.float64) @ vectors.T.astype(np.float64)
    for probe in range(200):
        # Asked for all that are at least as similar as the 30th, it must not miss one of them.
        floor = np.sort(exact[probe])[-30]
        pairs, left_out = bounds.find_pairs(
            vectors[probe : probe + 1], np.zeros(1, np.intp), np.array([floor]), columns=np.arange(1000), penalties=None
        )
        assert not left_out.any()
        assert set(np.flatnonzero(exact[probe] >= floor)) <= set(pairs.rows)


def test_classes_and_penalties() -> None:
    names, vectors, probes = people(BOUNDS_MIN_ENTRIES + 500)
    classes = [("person", "Car", "person", "PERSON", "bus")[n % 5] for n in range(len(names))]
    origins = [("image", "track", "track")[n % 3] for n in range(len(names))]
    views = [
        GalleryView.from_arrays(names, vectors, class_names=classes, origins=origins, search=search)
        for search in ("auto", "exact")
    ]
    asked: list[str | None] = ["person", "CAR", None, "tram", "Bus", "person"] * 4
    same(with_bounds(views[0]), views[1], probes, asked)
    same(with_bounds(views[0]), views[1], probes, ["tram"] * 24)
    same(with_bounds(views[0]), views[1], probes, [None] * 24)
    # Of a probe that is an enrolled entry, its own identity is TRACK_PENALTY away.
    enrolled = vectors[1:2]
    assert views[0].identity_distances(enrolled, ["car"], limit=0.25)[0].min() == pytest.approx(TRACK_PENALTY, abs=1e-6)


def test_appended_entries() -> None:
    names, vectors, probes = people(BOUNDS_MIN_ENTRIES + 400)
    views = [GalleryView.from_arrays(names[400:], vectors[400:], search=search) for search in ("auto", "exact")]
    with_bounds(views[0])
    extra = [Entry(id=f"x{n}", identity=names[n], origin="track" if n % 2 else "image") for n in range(200)]
    extra += [Entry(id=f"y{n}", identity=names[-n - 1], origin="image") for n in range(200)]
    for view in views:
        view.append(extra[:150], vectors[:150])
        view.append(extra[150:], vectors[150:400])
    same(views[0], views[1], np.concatenate([probes, vectors[:400:40]]))
    assert views[0].nearest_identities(vectors[:1], 1)[1][0, 0] == pytest.approx(0, abs=1e-6)


def test_equal_distances_are_all_found_in_column_order() -> None:
    names, vectors, _ = people(BOUNDS_MIN_ENTRIES)
    vectors[::8] = vectors[0]
    view = with_bounds(GalleryView.from_arrays(names, vectors))
    probe = vectors[:1]
    assert view.nearest_identities(probe, 20)[0][0].tolist() == list(range(20))
    assert np.isfinite(view.identity_distances(probe, limit=0.1)).all()
    assert (view.identity_distances(probe, limit=0.0) <= 1e-6).sum() == len(view.identities)


def test_a_probe_gets_the_same_answer_beside_any_other_probes() -> None:
    names, vectors, probes = people(BOUNDS_MIN_ENTRIES)
    view = with_bounds(GalleryView.from_arrays(names, vectors))
    together = view.nearest_identities(probes, 5)
    for row in range(0, 24, 5):
        alone = view.nearest_identities(probes[row], 5)
        np.testing.assert_array_equal(alone[0][0], together[0][row])
        np.testing.assert_array_equal(alone[1][0], together[1][row], err_msg="bit for bit")


def test_many_probes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gallery_db.search.similarity_bounds._MAX_BOUNDS", 10_000)
    monkeypatch.setattr("gallery_db.search.nearest._MAX_PRODUCTS", 1_000)
    names, vectors, probes = people(BOUNDS_MIN_ENTRIES)
    whole = 1.0 - probes @ vectors.T
    expected = np.stack([whole[:, start : start + 8].min(axis=1) for start in range(0, len(vectors), 8)], axis=1)
    exact = GalleryView.from_arrays(names, vectors, search="exact")
    np.testing.assert_allclose(exact.identity_distances(probes), expected, atol=1e-6)
    same(with_bounds(GalleryView.from_arrays(names, vectors)), exact, probes)


def test_bounds_stay_valid_after_a_refresh(tmp_path: Path) -> None:
    names, vectors, probes = people(BOUNDS_MIN_ENTRIES + 100, 128)
    model = model_named(dimension=128)
    with Gallery.create(tmp_path / "g", model) as gallery:
        gallery.add([Entry(id=f"e{n}", identity=name) for n, name in enumerate(names)], vectors)
        view, exact = with_bounds(gallery.view()), gallery.view(search="exact")
        bounds = view._table.bounds()
        gallery.replace([Entry(id="e5", identity="new")], probes[:1])
        gallery.remove([f"e{n}" for n, name in enumerate(names) if name == names[-1]][1:])
        gallery.add([Entry(id="late", identity=names[9], origin="track")], probes[1:2])
        assert view.nearest_identities(probes[:1], 1)[1][0, 0] > 0.01
        assert view.refresh()
        assert exact.refresh()
        assert view._table.bounds() is bounds, "a few changes do not need new bounds"
        for number, name in enumerate(("new", names[9])):
            column = view.nearest_identities(probes[number : number + 1], 1)[0][0, 0]
            assert view.identities[column] == name
        same(view, exact, probes)
        Curator(gallery).rename(names[-1], "somebody else")
        assert view.refresh()
        same(with_bounds(view), gallery.view(search="exact"), probes)
        gallery.close(sync=False)


def test_invalid_arguments() -> None:
    names, vectors, probes = noise(20, 16)
    view = GalleryView.from_arrays(names, vectors)
    with pytest.raises(EmbeddingError, match="at least 1"):
        view.nearest_identities(probes, 0)
    with pytest.raises(EmbeddingError, match="24 class names"):
        view.nearest_identities(probes, 1, ["person"])


# -- with Chroma's index -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "g"
    names, vectors, _ = people(800, 64)
    with Gallery.create(path, model_named(dimension=64)) as gallery:
        entries = [
            Entry(id=f"e{n:04d}", identity=name, class_name="car" if n % 9 == 0 else "person")
            for n, name in enumerate(names)
        ]
        gallery.add(entries, vectors)
        gallery.sync_index()
    return path


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many neighbours Chroma was asked for, in each query."""
    from gallery_db.index.chroma_index import ChromaIndex

    asked: list[int] = []
    query = ChromaIndex.query

    def counting(self: ChromaIndex, probes: Array, count: int) -> tuple[list[list[str]], list[list[float]]]:
        asked.append(count)
        return query(self, probes, count)

    monkeypatch.setattr(ChromaIndex, "query", counting)
    return asked


def test_hnsw_asks_chroma_and_gives_the_same_names(stored: Path, counted: list[int]) -> None:
    probes = people(800, 64)[2]
    with Gallery.open(stored) as gallery:
        view = gallery.view(search="hnsw")
        same(view, gallery.view(search="exact"), probes, ["person", "car", None] * 8)
        assert gallery.notices == []
    assert counted == [64] * 13


def test_what_the_index_does_not_have_is_compared_in_memory(stored: Path, counted: list[int]) -> None:
    probe = people(800, 64)[2][:1]
    with Gallery.open(stored) as reader:
        view = reader.view(search="hnsw")
        with Gallery.open(stored, write=True) as writer:
            before = len(counted)
            assert view.nearest_identities(probe, 1)[1].shape == (1, 1)
            assert len(counted) == before, "another process may be rewriting the index"
            assert "in use by" in reader.notices[0]
            writer.add([Entry(id="late", identity="late")], probe)
            assert view.refresh()
            assert view.identities[view.nearest_identities(probe, 1)[0][0, 0]] == "late"
            assert len(reader.notices) == 1
            writer.sync_index()
            writer.remove(["late"])
            writer.sync_index()
        before = len(counted)
        assert "late" in view.identities, "the view has not been refreshed, and the index is of another generation"
        assert view.identities[view.nearest_identities(probe, 1)[0][0, 0]] == "late"
        assert len(counted) == before
        assert view.refresh()
        assert view.nearest_identities(probe, 1)[1][0, 0] > 0.01
        assert len(counted) == before + 1
    assert view.nearest_identities(probe, 1)[1].shape == (1, 1), "and after the gallery is closed"
    assert len(counted) == before + 1


def test_a_view_with_the_index_needs_the_lock_once(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gallery_db.index.embedded.DEFAULT_LOCK_TIMEOUT", 0.1)
    with Gallery.open(stored) as gallery:
        with pytest.raises(GalleryError, match="'fast'"):
            gallery.view(search="fast")  # type: ignore[arg-type]
        with WriterLock(stored), pytest.raises(GalleryError, match="in use by"):
            gallery.view(search="hnsw")


def test_the_writer_searches_its_own_index_while_it_writes(tmp_path: Path, counted: list[int]) -> None:
    names, vectors, probes = people(800, 64)
    with Gallery.create(tmp_path / "g", model_named(dimension=64)) as gallery:
        empty = gallery.view(search="hnsw")
        assert empty.nearest_identities(probes, 1)[0].shape == (24, 0)
        gallery.add([Entry(id=f"e{n:04d}", identity=name) for n, name in enumerate(names)], vectors)
        without = [f"e{n:04d}" for n in range(16)]
        view, exact = (gallery.view(search=search, without=without) for search in ("hnsw", "exact"))
        assert "p00000" not in view.identities
        before = len(counted)
        fresh = [Entry(id="new", identity="new")]
        gallery.add(fresh, probes[:1])
        view.append(fresh, probes[:1])
        exact.append(fresh, probes[:1])
        same(view, exact, probes)
        assert len(counted) > before
        assert gallery.notices == []


# -- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.1, 0.25, 0.6])
@pytest.mark.parametrize("search", ["auto", "hnsw"])
def test_tracks_get_the_same_names(search: Search, threshold: float, tmp_path: Path) -> None:
    names, vectors, _ = people(BOUNDS_MIN_ENTRIES, 128)
    random = np.random.default_rng(4)
    with Gallery.create(tmp_path / "g", model_named(dimension=128)) as gallery:
        gallery.add([Entry(id=f"e{n}", identity=name) for n, name in enumerate(names)], vectors)
        views = [gallery.view(search=search), gallery.view(search="exact")]
        tracks = [TrackIdentifier(view, threshold=threshold, every=1) for view in views]
        people_seen = random.integers(0, len(vectors), 12)
        wandering = 0.4 * random.standard_normal((12, 128))
        answers = []
        for frame in range(30):
            # Tracks drift away from their person, switch to another person, start and end.
            people_seen[random.integers(12)] = random.integers(len(vectors))
            wandering += 0.1 * random.standard_normal(wandering.shape)
            embeddings = unit((vectors[people_seen] + 0.06 * wandering).astype(np.float32))
            ids = [n for n in range(12) if (n + frame) % 5]
            for one in tracks:
                one.observe(frame, ids, embeddings[ids], [1.0] * len(ids), ["person"] * len(ids))
            found, expected = (one.names(frame, ids) for one in tracks)
            answers.append([n and n.identity for n in expected])
            assert [n and n.identity for n in found] == answers[-1]
            for mine, other in zip(found, expected, strict=True):
                if mine is not None and other is not None:
                    assert mine.distance == pytest.approx(other.distance, abs=1e-5)
            single, exact = (name_detections(view, embeddings, ["person"] * 12, threshold) for view in views)
            assert [n and n.identity for n in single] == [n and n.identity for n in exact]
            if frame == 15:
                for one, view in zip(tracks, views, strict=True):
                    before = view.identities
                    one.gallery_changed(before)
        assert any(any(row) for row in answers)
        gallery.close(sync=False)
