"""The Chroma index is kept up to date with the record, and a damaged one is repaired or rebuilt."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support import TESTS
from support.gallery import entries_named, model_named, unit_vectors
from support.processes import started

from gallery_db import Entry, Gallery, GalleryError, GalleryIndexError
from gallery_db.index.chroma_index import ChromaIndex
from gallery_db.index.seal import seal
from gallery_db.search.nearest import Search

MODEL = model_named()
COUNT = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery with a clean index, to copy."""
    path = tmp_path_factory.mktemp("made") / "g"
    with Gallery.create(path, MODEL) as gallery:
        entries = entries_named(COUNT)
        entries[0] = replace(entries[0], class_name="Car", origin="track")
        gallery.add(entries, unit_vectors(COUNT))
        gallery.sync_index()
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "g")
    return tmp_path / "g"


def test_the_index_is_up_to_date(made: Path) -> None:
    with Gallery.open(made) as gallery:
        assert gallery.stats().index_current
        report = gallery.verify()
        assert report.ok, report
        assert report.entries == COUNT


@pytest.mark.parametrize(
    "where",
    [None, {"class": "car"}, {"class": "PERSON"}, {"identity": "who0003"}, {"origin": "image"}, {"source": "no"}],
    ids=str,
)
def test_hnsw_and_exact_agree(made: Path, where: dict[str, str] | None) -> None:
    probes = unit_vectors(6, seed=4)
    with Gallery.open(made) as gallery:
        near = gallery.query(probes, top_k=4, where=where, search="hnsw")
        exact = gallery.query(probes, top_k=4, where=where, search="exact")
        assert gallery.notices == []
    assert [[m.entry for m in row] for row in near] == [[m.entry for m in row] for row in exact]
    for row, other in zip(near, exact, strict=True):
        assert [m.distance for m in row] == pytest.approx([m.distance for m in other], abs=1e-5)
        assert [m.distance for m in row] == sorted(m.distance for m in row)
        for match in row:
            assert match.similarity == 1 - match.distance


@pytest.mark.parametrize("search", ["auto", "hnsw", "exact"])
def test_top_k_above_the_number_of_entries(made: Path, search: Search) -> None:
    with Gallery.open(made) as gallery:
        assert len(gallery.query(unit_vectors(1), top_k=COUNT + 5, search=search)[0]) == COUNT
        assert gallery.query(unit_vectors(1)[:0], search=search) == []


@pytest.mark.parametrize(
    "options", [{"top_k": 0}, {"where": {"colour": "red"}}, {"search": "fast"}], ids=["top_k", "where", "search"]
)
def test_invalid_arguments(made: Path, options: dict[str, object]) -> None:
    with Gallery.open(made) as gallery, pytest.raises(GalleryError):
        gallery.query(unit_vectors(1), **options)  # type: ignore[arg-type]


def test_an_empty_gallery(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", MODEL) as gallery:
        assert gallery.query(unit_vectors(2)) == [[], []]
        assert gallery.verify().ok
        gallery.rebuild()
        assert gallery.verify().ok


def test_each_kind_of_change_reaches_the_index(path: Path) -> None:
    done = []
    with Gallery.open(path, write=True) as gallery:
        gallery.query(unit_vectors(1), search="hnsw")  # with a client open
        gallery.add(entries_named(5, "n"), unit_vectors(5, seed=1))
        gallery.remove(["e00007", "n00004"])
        gallery.replace([Entry(id="e00008", identity="new")], unit_vectors(1, seed=2))
        gallery.update([Entry(id="e00009", identity="renamed")])
        gallery.remove(["e00010"])
        gallery.restore(["e00010"])
        gallery.sync_index(lambda now, total: done.append((now, total)))
        assert gallery.verify().ok
        assert gallery.query(unit_vectors(1, seed=2), top_k=1, search="hnsw")[0][0].entry.identity == "new"
        assert gallery.notices == []
    assert done[-1][0] == done[-1][1] > 0


def test_a_reader_sees_what_a_writer_synced(path: Path) -> None:
    probe = unit_vectors(1, seed=77)
    with Gallery.open(path) as reader:
        assert reader.query(probe, top_k=1, search="hnsw")[0][0].distance > 1e-3
        with Gallery.open(path, write=True) as writer:
            writer.add([Entry(id="new", identity="new")], probe)
            found = reader.query(probe, top_k=1)  # not synced, and locked: the record answers
            assert found[0][0].entry.id == "new"
            assert reader.notices == []
        assert reader.query(probe, top_k=1, search="hnsw")[0][0].entry.id == "new"
        with Gallery.open(path, write=True) as writer:
            writer.rebuild()
        assert reader.query(probe, top_k=1, search="hnsw")[0][0].entry.id == "new"


def test_two_collections_share_one_index_folder(path: Path) -> None:
    other = model_named("other", 24)
    with Gallery.open_or_create(path, other, new_collection=True) as gallery:
        gallery.add(entries_named(8), unit_vectors(8, 24))
    with Gallery.open(path, model=other, write=True) as gallery:
        assert gallery.verify().ok
        gallery.rebuild()
        assert gallery.verify().ok
        assert gallery.query(unit_vectors(8, 24)[3], search="hnsw")[0][0].entry.id == "e00003"
    with Gallery.open(path, model=MODEL) as gallery:
        assert gallery.verify().ok


# -- damage -----------------------------------------------------------------------------------------------------


def _folder_gone(chroma: Path) -> None:
    shutil.rmtree(chroma)


def _segments_gone(chroma: Path) -> None:
    with sqlite3.connect(chroma / "chroma.sqlite3") as connection:
        connection.execute("DELETE FROM segments WHERE scope = 'VECTOR'")
    connection.close()


def _database_nonsense(chroma: Path) -> None:
    (chroma / "chroma.sqlite3").write_bytes(b"nonsense" * 500)


def _database_truncated(chroma: Path) -> None:
    with (chroma / "chroma.sqlite3").open("r+b") as file:
        file.truncate(30_000)


def _log_lost(chroma: Path) -> None:
    with sqlite3.connect(chroma / "chroma.sqlite3") as connection:
        connection.execute("DELETE FROM embeddings_queue WHERE seq_id % 3 = 0")
    connection.close()


def _other_space(chroma: Path) -> None:
    import chromadb
    from chromadb.config import Settings

    shutil.rmtree(chroma)
    client = chromadb.PersistentClient(str(chroma), settings=Settings(anonymized_telemetry=False))
    client.create_collection("person_embeddings", embedding_function=None)  # l2, as is Chroma's default
    client.close()


DAMAGE: dict[str, Callable[[Path], None]] = {
    "folder gone": _folder_gone,
    "segments gone": _segments_gone,
    "database is nonsense": _database_nonsense,
    "database truncated": _database_truncated,
    "log lost": _log_lost,
    "another space": _other_space,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_reported_and_rebuilt(path: Path, name: str) -> None:
    DAMAGE[name](path / "chroma")
    probe = unit_vectors(COUNT)[5]
    with Gallery.open(path) as gallery:
        report = gallery.verify()
        assert not report.ok
        assert report.record_ok
        assert gallery.query(probe, top_k=1)[0][0].entry.id == "e00005"  # the record answers
        gallery.rebuild()
        assert gallery.verify().ok
        assert gallery.query(probe, top_k=1, search="hnsw")[0][0].entry.id == "e00005"
    assert not (path / "chroma.new").exists()
    assert not (path / "chroma.old").exists()


@pytest.mark.parametrize("name", DAMAGE)
def test_the_next_writer_repairs_a_damaged_index(path: Path, name: str) -> None:
    DAMAGE[name](path / "chroma")
    with Gallery.open(path) as gallery:
        assert not gallery.verify().ok
    with Gallery.open(path, write=True) as gallery:
        gallery.add(entries_named(3, "n"), unit_vectors(3, seed=1))
        gallery.sync_index()
        assert gallery.notices
        assert gallery.verify().ok


def test_a_few_differences_are_repaired_in_place(path: Path) -> None:
    with Gallery.open(path, write=True) as gallery:
        gallery.remove(["e00001", "e00002"])
        gallery.add(entries_named(2, "n"), unit_vectors(2, seed=3))
        gallery.replace([Entry(id="e00003", identity="x")], unit_vectors(1, seed=4))
        gallery.record.set_meta("index_dirty", "1")  # as a killed writer leaves it
        report = gallery.verify()
        assert report.ok, "it only lags"
        assert (report.missing, report.extra, report.different, report.pending) == ((), (), (), 5)
        gallery.sync_index()
        assert any("repaired" in notice for notice in gallery.notices)
        assert gallery.verify().ok


def test_an_index_that_lags_behind_is_no_damage_and_follows_when_it_is_asked(path: Path) -> None:
    new = unit_vectors(2, seed=3)
    with Gallery.open(path, write=True) as gallery:
        gallery.remove(["e00001"])
        gallery.add(entries_named(2, "n"), new)
        gallery.replace([Entry(id="e00003", identity="x")], unit_vectors(1, seed=4))
    done: list[tuple[int, int]] = []
    with Gallery.open(path) as gallery:
        assert not gallery.stats().index_current
        report = gallery.verify()
        assert (report.ok, report.pending) == (True, 4), report
        assert gallery.query(new, top_k=1)[1][0].entry.id == "n00001"
        assert not gallery.stats().index_current, "an exact search does not need it"
        gallery.prepare_index(lambda now, total: done.append((now, total)))
        assert gallery.query(new, top_k=1, search="hnsw")[1][0].entry.id == "n00001"
        assert gallery.stats().index_current
        report = gallery.verify()
        assert (report.ok, report.pending) == (True, 0), report
        assert gallery.notices == []
    assert done == [(3, 3)]


def test_a_lost_vector_is_found_beside_changes_that_the_index_lacks(path: Path) -> None:
    index = ChromaIndex(path / "chroma", "person_embeddings", MODEL)
    index.delete(["e00005"])
    index.close()
    with Gallery.open(path, write=True) as gallery:
        gallery.record.set_meta("index_seal", seal(path / "chroma"))
        gallery.add(entries_named(2, "n"), unit_vectors(2, seed=3))
        report = gallery.verify()
        assert (report.ok, report.missing, report.pending) == (False, ("e00005",), 2)


def test_a_gallery_without_an_index_is_intact_until_it_had_one(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", MODEL) as gallery:
        gallery.add(entries_named(3), unit_vectors(3))
    assert not (tmp_path / "g" / "chroma").exists()
    with Gallery.open(tmp_path / "g") as gallery:
        report = gallery.verify()
        assert (report.ok, report.pending) == (True, 3), report
        assert len(gallery.view(search="hnsw")) == 3
        assert gallery.verify().ok
    shutil.rmtree(tmp_path / "g" / "chroma")
    with Gallery.open(tmp_path / "g") as gallery:
        assert not gallery.verify().ok


def test_an_hnsw_search_rebuilds_a_damaged_index(path: Path) -> None:
    (path / "chroma" / "chroma.sqlite3").write_bytes(b"nonsense" * 500)
    probe = unit_vectors(COUNT)[4]
    with Gallery.open(path) as gallery:
        assert gallery.query(probe)[0][0].entry.id == "e00004"
        assert gallery.notices == []
        assert gallery.query(probe, search="hnsw")[0][0].entry.id == "e00004"
        assert "rebuilt" in gallery.notices[0]
        assert gallery.verify().ok


def test_errors_of_chroma_become_gtrack_errors(path: Path) -> None:
    (path / "chroma" / "chroma.sqlite3").write_bytes(b"nonsense" * 500)
    with pytest.raises(GalleryIndexError) as caught:
        ChromaIndex(path / "chroma", "person_embeddings", MODEL)
    assert "rebuild" in (caught.value.hint or "")
    with pytest.raises(GalleryIndexError, match="no collection"):
        ChromaIndex(path / "elsewhere", "person_embeddings", MODEL)


KILLED = """
import sys; sys.path.insert(0, sys.argv[2])
from support.gallery import *; from gallery_db import Gallery
g = Gallery.open(sys.argv[1], write=True)
g.add(entries_named(3000, "n"), unit_vectors(3000, seed=3))
print("added", flush=True)
getattr(g, sys.argv[3])(lambda done, total: print("some", flush=True))
"""


@pytest.mark.parametrize("what", ["sync_index", "rebuild"])
def test_an_interrupted_write_is_repaired(path: Path, what: str) -> None:
    with started("-c", KILLED, path, TESTS, what, line="added") as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "some\n"
        killed.kill()
    with Gallery.open(path) as gallery:
        assert len(gallery) == COUNT + 3000
        assert not gallery.stats().index_current
        assert len(gallery.query(unit_vectors(1))[0]) == 5
    with Gallery.open(path, write=True) as gallery:
        gallery.sync_index()
        assert gallery.notices
        assert gallery.verify().ok
        assert gallery.stats().index_current


@pytest.mark.parametrize(
    "where",
    [
        {"class": "CAR"},
        {"identity": "who0001"},
        {"origin": "track"},
        {"source": "/pictures/e3.jpg"},
        {"class": "person", "origin": "image", "identity": "who0000"},
        {"class": "tram"},
        {"identity": "nobody"},
    ],
    ids=str,
)
def test_exact_filters_are_those_of_the_record(tmp_path: Path, where: dict[str, str]) -> None:
    with Gallery.create(tmp_path / "g", model_named()) as gallery:
        people, cars = entries_named(40), entries_named(8, "c", class_name="Car")
        people = [replace(entry, origin="track") if n % 3 == 0 else entry for n, entry in enumerate(people)]
        gallery.add([*people, *cars], unit_vectors(48))
        wanted = {entry.id for entry in gallery.record.entries.all(gallery.collection_key, where)}
        probes = unit_vectors(3, seed=4)
        for top_k in (3, 100):
            for row in gallery.query(probes, top_k=top_k, where=where, search="exact"):
                assert len(row) == min(top_k, len(wanted))
                assert {match.entry.id for match in row} <= wanted
                assert [m.distance for m in row] == sorted(m.distance for m in row)
        # The rows that a filter selects are cached until the gallery changes.
        gallery.add([replace(people[0], id="more", origin="track", source="/pictures/e3.jpg")], probes[:1])
        wanted = {entry.id for entry in gallery.record.entries.all(gallery.collection_key, where)}
        found = gallery.query(probes, top_k=100, where=where, search="exact")[0]
        assert {match.entry.id for match in found} == wanted
        gallery.close(sync=False)
