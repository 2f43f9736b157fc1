"""Files of the index that changed by themselves are not loaded: one flipped bit would end the process."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support import TESTS
from support.gallery import entries_named, model_named, unit_vectors

from gallery_db import Gallery, GalleryIndexError, child_python
from gallery_db.index import probe
from gallery_db.index.chroma_index import ChromaIndex
from gallery_db.index.seal import find_broken_seal, seal

DIMENSION = 16
MODEL = model_named("sealed", DIMENSION)
COUNT = 2300
"""Entries; Chroma writes its files after every 2,000."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "g"
    with Gallery.create(path, MODEL) as gallery:
        gallery.add(entries_named(COUNT), unit_vectors(COUNT, DIMENSION))
        gallery.sync_index()
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "g")
    return tmp_path / "g"


def _file(path: Path, name: str) -> Path:
    (found,) = (path / "chroma").rglob(name)
    return found


def _flip(file: Path, byte: int, mask: int = 1) -> None:
    data = bytearray(file.read_bytes())
    data[byte] ^= mask
    file.write_bytes(data)


FILES = ["link_lists.bin", "data_level0.bin", "header.bin", "length.bin", "index_metadata.pickle"]


def test_opening_and_searching_keep_the_seal(path: Path) -> None:
    with Gallery.open(path) as gallery:
        sealed = gallery.record.meta("index_seal")
        assert sealed == seal(path / "chroma")
        gallery.query(unit_vectors(3, DIMENSION), search="hnsw")
    assert find_broken_seal(path / "chroma", sealed or "") is None


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_sealed(path: Path, name: str) -> None:
    sealed = seal(path / "chroma")
    _flip(_file(path, name), _file(path, name).stat().st_size - 1, 0x80)
    assert name in (find_broken_seal(path / "chroma", sealed) or "")


@pytest.mark.parametrize("name", ["link_lists.bin", "index_metadata.pickle"])
def test_one_flipped_bit_is_never_loaded(path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _flip(_file(path, name), _file(path, name).stat().st_size // 2)
    opened: list[Path] = []
    real = ChromaIndex.__init__

    def note(self: ChromaIndex, location: Path, *rest: Any, **more: Any) -> None:
        opened.append(location)
        real(self, location, *rest, **more)

    monkeypatch.setattr(ChromaIndex, "__init__", note)
    probes = unit_vectors(COUNT, DIMENSION)[::400]
    with Gallery.open(path) as gallery:
        assert [row[0].entry.id for row in gallery.query(probes)] == [f"e{n:05d}" for n in range(0, COUNT, 400)]
        assert opened == []
        report = gallery.verify()  # in a child process
        assert not report.ok
        assert report.record_ok
        assert opened == []
    with Gallery.open(path, write=True) as gallery:
        gallery.record.set_meta("index_dirty", "0")  # as it was before verify
        gallery.add(entries_named(2, "n"), unit_vectors(2, DIMENSION, seed=1))
        gallery.sync_index()
        assert path / "chroma" not in opened
        assert any("rebuilt" in notice for notice in gallery.notices), gallery.notices
        assert gallery.verify().ok


def test_a_changed_database_is_found_and_compared(path: Path) -> None:
    with closing(sqlite3.connect(path / "chroma" / "chroma.sqlite3")) as connection:
        connection.execute("UPDATE embeddings_queue SET vector = zeroblob(64) WHERE seq_id = 2200")
        connection.commit()
    with Gallery.open(path) as gallery:
        report = gallery.verify()
        assert any("checksum" in problem for problem in report.problems)
        found = gallery.query(unit_vectors(1, DIMENSION), top_k=1, search="hnsw")
        assert found[0][0].entry.id == "e00000"
        assert gallery.notices
        assert gallery.verify().ok


def test_the_answers_of_auto_come_from_the_record_without_chroma(path: Path) -> None:
    program = """
import sys; sys.path.insert(0, sys.argv[2])
from support.gallery import *; from gallery_db import Gallery
with Gallery.open(sys.argv[1]) as gallery:
    assert gallery.query(unit_vectors(1, 16))[0][0].entry.id == "e00000"
    assert gallery.notices == []
assert "chromadb" not in sys.modules
"""
    _flip(_file(path, "link_lists.bin"), 100)
    done = subprocess.run([sys.executable, "-c", program, str(path), str(TESTS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_index_without_checksums_is_compared_once(path: Path) -> None:
    gallery = Gallery.open(path, write=True)
    with gallery.transaction():
        gallery.record._database.execute("DELETE FROM meta WHERE key = 'index_seal'")  # as older versions leave it
    gallery.close(sync=False)
    with Gallery.open(path, write=True) as gallery:
        gallery.sync_index()
        assert "has no checksums" in gallery.notices[0]
        assert gallery.record.meta("index_seal") == seal(path / "chroma")
        assert len(gallery.notices) == 1
    with Gallery.open(path, write=True) as gallery:
        gallery.sync_index()
        assert gallery.notices == []


def test_a_crash_of_the_index_ends_only_the_child(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, _, call = child_python._PROGRAM.strip().rpartition("\n")
    assert call.endswith("(**arguments)")
    monkeypatch.setattr(child_python, "_PROGRAM", f"{program}\nimport os; os.kill(os.getpid(), 11)")
    with Gallery.open(path, write=True) as gallery:
        gallery.record.set_meta("index_dirty", "1")  # as a killed writer leaves it
        with pytest.raises(GalleryIndexError, match=rf"ended with code -{int(signal.SIGSEGV)}"):
            probe.compare_apart(path / "chroma", gallery.record, gallery.record.collections()[0], None)
        gallery.sync_index()
        assert any("rebuilt" in notice for notice in gallery.notices)
        assert gallery.verify().ok


class _Runs:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("sealed", [True, False])
def test_a_pickle_of_a_foreign_folder_runs_nothing(path: Path, tmp_path: Path, sealed: bool) -> None:
    trace = tmp_path / "ran"
    _file(path, "index_metadata.pickle").write_bytes(pickle.dumps({"label_to_id": _Runs(trace)}))
    if sealed:  # a stranger can make the checksums fit
        with Gallery.open(path, write=True) as gallery:
            gallery.record.set_meta("index_seal", seal(path / "chroma"))
    index = ChromaIndex(path / "chroma", "person_embeddings", MODEL)
    with pytest.raises(GalleryIndexError):  # what Chroma itself makes of it
        index.query(unit_vectors(1, DIMENSION), 1)
    index.close()
    with Gallery.open(path) as gallery:
        assert not gallery.verify().ok
        assert gallery.query(unit_vectors(1, DIMENSION), search="hnsw")[0][0].entry.id == "e00000"
        assert any("rebuilt" in notice for notice in gallery.notices)
    assert not trace.exists()


def test_an_empty_collection_that_chroma_does_not_have_is_intact(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", MODEL) as gallery:
        gallery.record.set_meta("index_dirty", "1")
        ChromaIndex(tmp_path / "g" / "chroma", "another", MODEL, create=True).close()
        gallery.close(sync=False)  # as a writer that was killed before it made the collection
    with Gallery.open(tmp_path / "g") as gallery:
        report = gallery.verify()
        assert report.ok, report


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "1e999", "not JSON"])
def test_a_seal_that_is_none_is_broken(tmp_path: Path, text: str) -> None:
    assert "cannot be compared" in (find_broken_seal(tmp_path, text) or "")
