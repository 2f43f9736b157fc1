"""The record and the handles on it: opening, changing, locking, formats."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from support import TESTS
from support.gallery import DIMENSION, entries_named, model_named, unit_vectors
from support.processes import started

import gallery_db
from gallery_db import (
    EmbeddingError,
    Entry,
    EntryExistsError,
    EntryNotFoundError,
    Gallery,
    GalleryError,
    GalleryFormatError,
    GalleryLockedError,
    GalleryNotFoundError,
    GalleryReadOnlyError,
    ModelMismatchError,
    is_gallery,
)

MODEL = model_named()
P = TypeVar("P", Path, str)


def filled(path: P, count: int = 10) -> P:
    gallery = Gallery.create(path, MODEL)
    gallery.add(entries_named(count), unit_vectors(count))
    gallery.close(sync=False)
    return path


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, gallery_db; gallery_db.Gallery, gallery_db.GalleryView, gallery_db.ingest_folder; "
        "bad = {'torch', 'chromadb', 'cv2', 'PIL'} & set(sys.modules); assert not bad, bad; "
        "assert not any(m.split('.')[0] in ('tracking', 'cli') for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there() -> None:
    assert all(getattr(gallery_db, name) is not None for name in gallery_db.__all__)
    with pytest.raises(AttributeError):
        _ = gallery_db.nonsense


def test_entries_are_read_back_unchanged(place: Path | str) -> None:
    entries = [
        Entry(id="a", identity="Zoë [b] ✓", source="/x/ü n.jpg", content_hash="00", extra={"n": [1, 2], "t": "é"}),
        Entry(id="b", identity="bus", class_name="Bus", origin="track", frame=7, box=(1.0, 2.5, 3.0, 4.0)),
    ]
    vectors = unit_vectors(2)
    with Gallery.create(place, MODEL) as gallery:
        gallery.add(entries, vectors)
        gallery.close(sync=False)
    with Gallery.open(place) as gallery:
        assert list(gallery.entries()) == entries
        assert list(gallery.entries(class_name="bus")) == entries[1:]
        assert list(gallery.entries(identity="Zoë [b] ✓")) == entries[:1]
        entry, vector = gallery.get("b")
        assert entry == entries[1]
        np.testing.assert_allclose(vector, vectors[1], atol=1e-6)
        assert gallery.model == MODEL
        assert len(gallery) == 2
        assert [(s.identity, s.class_name, s.entries, s.origins) for s in gallery.identities()] == [
            ("Zoë [b] ✓", "person", 1, {"image": 1}),
            ("bus", "Bus", 1, {"track": 1}),
        ]


def test_after_closing_the_record_is_one_file(tmp_path: Path) -> None:
    filled(tmp_path / "g")
    assert sorted(path.name for path in (tmp_path / "g").glob("gallery.sqlite3*")) == ["gallery.sqlite3"]


BAD_EMBEDDINGS = {
    "other dimension": unit_vectors(3, DIMENSION + 1),
    "other number": unit_vectors(2),
    "not of unit length": 2 * unit_vectors(3),
    "zero": np.zeros((3, DIMENSION), np.float32),
    "not a number": np.full((3, DIMENSION), np.nan, np.float32),
    "infinite": np.full((3, DIMENSION), np.inf, np.float32),
    "text": [["a"] * DIMENSION] * 3,
}


@pytest.mark.parametrize("name", BAD_EMBEDDINGS)
def test_rejects_invalid_embeddings(place: Path | str, name: str) -> None:
    with Gallery.create(place, MODEL) as gallery:
        with pytest.raises(EmbeddingError):
            gallery.add(entries_named(3), BAD_EMBEDDINGS[name])
        assert len(gallery) == 0


BAD_ENTRIES = {
    "empty identity": Entry(id="x", identity=" "),
    "empty id": Entry(id="", identity="a"),
    "identity of broken text": Entry(id="x", identity="a\udcff"),
    "extra is no JSON": Entry(id="x", identity="a", extra={"n": {1, 2}}),
    "extra holds NaN": Entry(id="x", identity="a", extra={"n": float("nan")}),
    "box holds NaN": Entry(id="x", identity="a", box=(0.0, 0.0, float("nan"), 1.0)),
}


@pytest.mark.parametrize("name", BAD_ENTRIES)
def test_rejects_invalid_entries(place: Path | str, name: str) -> None:
    with Gallery.create(place, MODEL) as gallery:
        with pytest.raises(GalleryError):
            gallery.add([BAD_ENTRIES[name]], unit_vectors(1))
        assert len(gallery) == 0


def test_adding_is_all_or_nothing(place: Path | str) -> None:
    with Gallery.create(place, MODEL) as gallery:
        gallery.add(entries_named(3), unit_vectors(3))
        with pytest.raises(EntryExistsError, match="e00002"):
            gallery.add(entries_named(5)[2:], unit_vectors(3))
        with pytest.raises(GalleryError, match="twice"):
            gallery.add([Entry(id="n", identity="a"), Entry(id="n", identity="b")], unit_vectors(2))
        with pytest.raises(EmbeddingError), gallery.transaction():  # noqa: PT012 - the first is undone
            gallery.remove(["e00000"])
            gallery.add(entries_named(1, "n"), unit_vectors(2))
        assert len(gallery) == 3
        gallery.close(sync=False)


def test_changes_are_logged_and_a_removal_can_be_undone(place: Path | str) -> None:
    entries, vectors = entries_named(3), unit_vectors(3)
    with Gallery.create(place, MODEL) as gallery:
        gallery.add(entries, vectors)
        assert gallery.update([replace(entries[0], identity="other"), entries[1]]) == 1
        gallery.replace([entries[2]], unit_vectors(1, seed=9))
        assert gallery.remove(["e00001"]) == 1
        with pytest.raises(EntryNotFoundError, match="e00001"):
            gallery.get("e00001")
        with pytest.raises(EntryNotFoundError):
            gallery.remove(["e00000", "e00001"])
        assert gallery.restore(["e00001"]) == 1
        entry, vector = gallery.get("e00001")
        assert entry == entries[1]
        np.testing.assert_allclose(vector, vectors[1], atol=1e-6)
        log = gallery.history()
        assert [(c.action, c.entry_id) for c in reversed(log)] == [
            ("add", "e00000"),
            ("add", "e00001"),
            ("add", "e00002"),
            ("update", "e00000"),
            ("replace", "e00002"),
            ("remove", "e00001"),
            ("add", "e00001"),
        ]
        assert log[3].detail["before"]["identity"] == "who0000"
        assert log[3].detail["after"]["identity"] == "other"
        assert "@" in log[0].who
        assert gallery.clear() == 3
        gallery.close(sync=False)


def test_a_reading_handle_does_not_write(place: Path | str) -> None:
    with Gallery.open(filled(place)) as gallery:
        for change in (
            lambda: gallery.add(entries_named(1, "n"), unit_vectors(1)),
            lambda: gallery.remove(["e00000"]),
            gallery.sync_index,
        ):
            with pytest.raises(GalleryReadOnlyError):
                change()


# -- what is no gallery -----------------------------------------------------------------------------------------


def _absent(path: Path) -> None:
    pass


def _empty(path: Path) -> None:
    path.mkdir()


def _file(path: Path) -> None:
    path.write_text("x")


def _bare_chroma(path: Path) -> None:
    path.mkdir()
    (path / "chroma.sqlite3").write_bytes(b"SQLite format 3\0")


def _not_sqlite(path: Path) -> None:
    path.mkdir()
    (path / "gallery.sqlite3").write_bytes(b"nonsense" * 1000)


def _no_bytes(path: Path) -> None:
    path.mkdir()
    (path / "gallery.sqlite3").touch()


def _other_sqlite(path: Path) -> None:
    path.mkdir()
    connection = sqlite3.connect(path / "gallery.sqlite3")
    connection.execute("CREATE TABLE t (a)")
    connection.close()


def _truncated(path: Path) -> None:
    filled(path, 300)
    with (path / "gallery.sqlite3").open("r+b") as file:
        file.truncate(20_000)


def _newer(path: Path) -> None:
    filled(path)
    connection = sqlite3.connect(path / "gallery.sqlite3")
    connection.execute("PRAGMA user_version = 99")
    connection.close()


NO_GALLERY: dict[str, tuple[Callable[[Path], None], type[GalleryError], str]] = {
    "absent": (_absent, GalleryNotFoundError, "no gallery at"),
    "empty folder": (_empty, GalleryFormatError, "holds no gallery"),
    "a file": (_file, GalleryFormatError, "is a file"),
    "bare chroma folder": (_bare_chroma, GalleryFormatError, "bare Chroma"),
    "record is not sqlite": (_not_sqlite, GalleryFormatError, "damaged"),
    "record is empty": (_no_bytes, GalleryFormatError, "not a gtrack gallery"),
    "another sqlite file": (_other_sqlite, GalleryFormatError, "not a gtrack gallery"),
    "truncated record": (_truncated, GalleryFormatError, "damaged"),
    "newer format": (_newer, GalleryFormatError, "newer gtrack"),
}


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize("name", NO_GALLERY)
def test_rejects_folders_that_are_no_gallery(tmp_path: Path, name: str, write: bool) -> None:
    make, error, words = NO_GALLERY[name]
    path = tmp_path / "g"
    make(path)
    with pytest.raises(error, match=words) as caught:
        Gallery.open(path, write=write)
    assert caught.value.hint


def test_a_damaged_page_is_reported_when_it_is_read(tmp_path: Path) -> None:
    path = filled(tmp_path / "g", 2000)
    with (path / "gallery.sqlite3").open("r+b") as file:
        file.seek(100_000)
        file.write(b"\xff" * 150_000)
    with pytest.raises(GalleryFormatError, match="damaged"), Gallery.open(path) as gallery:
        _ = gallery.view(), list(gallery.entries())


@pytest.mark.parametrize("name", ["something else", "a gallery", "a file"])
def test_creating_rejects_existing_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / "g"
    if name == "something else":
        path.mkdir()
        (path / "holiday.jpg").touch()
    elif name == "a file":
        path.touch()
    else:
        filled(path)
    with pytest.raises(GalleryError):
        Gallery.create(path, MODEL)


def test_creating_continues_after_a_killed_creation(tmp_path: Path) -> None:
    path = tmp_path / "g"
    path.mkdir()
    (path / "gallery.lock").touch()
    (path / "gallery.sqlite3.new").write_bytes(b"half")
    Gallery.create(path, MODEL).close()
    assert is_gallery(path)


# -- models and collections -------------------------------------------------------------------------------------


def test_rejects_another_model_with_both_names(place: Path | str) -> None:
    path = filled(place)
    other = model_named("other.onnx", 32)
    for call in (
        lambda: Gallery.open(path, model=other),
        lambda: Gallery.open_or_create(path, other),
        lambda: Gallery.open(path, model=replace(MODEL, preprocessing="upside down")),
    ):
        with pytest.raises(ModelMismatchError) as caught:
            call()
        assert "tiny.pt" in caught.value.message
        assert MODEL.sha256[:12] in caught.value.message
        assert "--new-collection" in (caught.value.hint or "")
    with pytest.raises(ModelMismatchError, match=r"other\.onnx"):
        Gallery.open(path, model=other)


def test_name_and_path_of_a_model_do_not_change_its_identity(place: Path | str) -> None:
    path = filled(place)
    seen = replace(MODEL, name="renamed.pt", path="/new/renamed.pt")
    with Gallery.open(path, model=seen, write=True) as gallery:
        assert gallery.model.name == "tiny.pt"
        assert gallery.model.path == "/new/renamed.pt"
        gallery.close(sync=False)


def test_a_second_model_gets_a_second_collection(tmp_path: Path) -> None:
    path = filled(tmp_path / "g")
    other = model_named("other.onnx", 32)
    with Gallery.open_or_create(path, other, new_collection=True) as gallery:
        assert gallery.collection == f"person_embeddings-{other.sha256[:8]}"
        gallery.add(entries_named(4), unit_vectors(4, 32))  # the same ids as in the first one
        gallery.close(sync=False)
    with Gallery.open(path, model=other) as gallery:
        assert len(gallery) == 4
        assert [(c.name, c.entries) for c in gallery.collections()] == [
            ("person_embeddings", 10),
            (f"person_embeddings-{other.sha256[:8]}", 4),
        ]
    with Gallery.open(path) as gallery:
        assert gallery.collection == "person_embeddings"
    with pytest.raises(GalleryError, match="no collection"):
        Gallery.open(path, collection="nonsense")
    with pytest.raises(ModelMismatchError):
        Gallery.open(path, collection="person_embeddings", model=other)


# -- several processes ------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from gallery_db import Gallery
with Gallery.open(sys.argv[1], write=True) as gallery:
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    path = filled(tmp_path / "g")
    with started("-c", HOLDER, path, line="held") as holder:
        with pytest.raises(GalleryLockedError, match=f"process {holder.pid} of "):
            Gallery.open(path, write=True, lock_timeout=0.2)
        with Gallery.open(path) as gallery:  # reading goes on beside it
            assert len(gallery) == 10
            with pytest.raises(GalleryLockedError):
                gallery.verify()
    with Gallery.open(path, write=True) as gallery:
        assert gallery.writable
        gallery.close(sync=False)


def test_a_second_writer_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with Gallery.open(filled(tmp_path / "g"), write=True) as first:
        started = time.monotonic()
        with pytest.raises(GalleryLockedError):
            Gallery.open(first.path, write=True, lock_timeout=0.3)
        assert 0.2 < time.monotonic() - started < 5
        first.close(sync=False)
    Gallery.open(first.path, write=True).close(sync=False)


READER = """
import sys
from gallery_db import Gallery, GalleryReadOnlyError
import numpy as np
with Gallery.open(sys.argv[1]) as gallery:
    assert len(gallery) == 10
    assert len(gallery.view()) == 10
    found = gallery.query(gallery.get("e00003")[1], top_k=1)
    assert found[0][0].entry.id == "e00003"
    assert gallery.notices == []
for call in (
    lambda: Gallery.open(sys.argv[1], write=True),
    lambda: gallery.__class__.create(sys.argv[1] + "/below", gallery.model),
):
    try:
        call()
    except GalleryReadOnlyError as error:
        print("refused")
"""


# Root may write anywhere: start the program that follows without that right (CAP_DAC_OVERRIDE).
WITHOUT_OVERRIDE = """
import ctypes, os, sys
if ctypes.CDLL(None).prctl(24, 1, 0, 0, 0) != 0:
    sys.exit(77)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_a_read_only_folder_can_be_read(tmp_path: Path) -> None:
    path = filled(tmp_path / "g")
    for item in path.iterdir():
        item.chmod(0o444)
    path.chmod(0o555)
    try:
        command = [sys.executable, "-W", "error", "-c", READER, str(path)]
        if os.access(path, os.W_OK):
            if not sys.platform.startswith("linux"):
                pytest.skip("the folder stays writable whatever its mode")
            command[1:1] = ["-c", WITHOUT_OVERRIDE]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 77:
            pytest.skip("the folder stays writable for root, who cannot drop that right")
        assert done.returncode == 0, done.stderr
        assert done.stdout == "refused\nrefused\n"
    finally:
        path.chmod(0o755)


def test_a_view_sees_what_another_process_added(tmp_path: Path) -> None:
    path = filled(tmp_path / "g")
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from support.gallery import *; from gallery_db import Gallery\n"
        "g = Gallery.open(sys.argv[1], write=True); g.add(entries_named(5, 'n'), unit_vectors(5, seed=3))\n"
        "g.close(sync=False)"
    )
    with Gallery.open(path) as gallery:
        view = gallery.view()
        assert not view.refresh()
        subprocess.run([sys.executable, "-c", code, str(path), str(TESTS)], check=True)
        assert view.refresh()
        assert len(view) == len(gallery) == 15
        assert not view.refresh()


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("UPDATE entries SET box = ?", "[1, 2, 3]"),
        ("UPDATE entries SET box = ?", "[" * 100_000),
        ("UPDATE entries SET extra = ?", "[1]"),
        ("UPDATE entries SET identity = ?", b"\xff"),
        ("UPDATE entries SET frame = ?", 1.5),
        ("UPDATE vectors SET vector = ?", "text"),
        ("UPDATE changes SET detail = ?", "[" * 100_000),
        ("UPDATE collections SET dimension = ?", 10**9),
        ("UPDATE collections SET metric = ?", "l2"),
    ],
)
def test_values_that_gtrack_does_not_write_are_reported(tmp_path: Path, statement: str, value: object) -> None:
    place = filled(tmp_path / "g")
    with closing(sqlite3.connect(place / "gallery.sqlite3")) as database:
        database.execute(statement, (value,))
        database.commit()

    def read() -> None:
        with Gallery.open(place) as gallery:
            list(gallery.entries())
            gallery.view()
            gallery.history()

    with pytest.raises(GalleryFormatError, match=r"gallery.sqlite3 holds"):
        read()
