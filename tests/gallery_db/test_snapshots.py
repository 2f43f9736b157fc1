"""Snapshots of a gallery: taking them, putting one back, and what readers make of that."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.gallery import entries_named, model_named, unit_vectors
from support.processes import started

from gallery_db import (
    Curator,
    Entry,
    Gallery,
    GalleryFormatError,
    GalleryLockedError,
    GalleryNotFoundError,
    SnapshotError,
    UndoError,
    list_snapshots,
    restore_snapshot,
    take_snapshot,
)
from gallery_db.store.ingested_files import FileRow

MODEL = model_named()
COUNT = 300


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery with a snapshot "first", and one person fewer since."""
    path = tmp_path_factory.mktemp("made") / "g"
    with Gallery.create(path, MODEL) as gallery:
        gallery.add(entries_named(COUNT), unit_vectors(COUNT))
        take_snapshot(gallery, "first")
        Curator(gallery).remove_identity("who0000")
        gallery.sync_index()
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "g")
    return tmp_path / "g"


def files(path: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(path)): p.read_bytes()
        for p in sorted(path.rglob("*"))
        if p.is_file() and not p.name.startswith("gallery.lock")
    }


def test_a_restore_keeps_the_state_before_it(path: Path) -> None:
    done: list[tuple[int, int]] = []
    restored = restore_snapshot(path, "first", progress=lambda now, total: done.append((now, total)))
    assert (restored.name, restored.entries) == ("first", COUNT)
    assert restored.kept_as is not None
    assert done[-1] == (COUNT, COUNT)
    found = {s.name: s.entries for s in list_snapshots(path)}
    assert found == {"first": COUNT, restored.kept_as: COUNT - 5}
    with Gallery.open(path, write=True) as gallery:
        assert [entry.id for entry in gallery.entries()] == [entry.id for entry in entries_named(COUNT)]
        assert gallery.get("e00003")[1] == pytest.approx(unit_vectors(COUNT)[3], abs=1e-6)
        assert gallery.verify().ok
        assert gallery.query(unit_vectors(COUNT)[3], search="hnsw")[0][0].entry.id == "e00003"
        assert [o.action for o in gallery.operations()] == ["restore", "remove", "add"]
        assert gallery.operations(1)[0].words == "restore the snapshot 'first'"
        assert gallery.notices == []
    assert sorted(p.name for p in path.iterdir()) == ["chroma", "gallery.lock", "gallery.sqlite3", "snapshots"]
    restore_snapshot(path, restored.kept_as)
    with Gallery.open(path) as gallery:
        assert len(gallery) == COUNT - 5


def test_open_galleries_see_the_restored_state(path: Path) -> None:
    probe = unit_vectors(COUNT)[2]
    with Gallery.open(path) as reader:
        view = reader.view()
        assert len(view) == COUNT - 5
        assert reader.query(probe, top_k=1, search="hnsw")[0][0].distance > 1e-3
        generation = reader.generation
        restore_snapshot(path, "first")
        assert reader.generation > generation
        assert view.refresh()
        assert not view.refresh()
        assert "who0000" in view.identities
        assert len(reader) == COUNT
        assert reader.query(probe, top_k=1, search="hnsw")[0][0].entry.id == "e00002"
        assert reader.query(probe, top_k=1, search="exact")[0][0].entry.id == "e00002"
        later = reader.generation
        restore_snapshot(path, "first")  # the same content
        assert reader.generation == later
        assert reader.notices == []


def test_numbers_of_unknown_identities_are_never_used_again(path: Path) -> None:
    with Gallery.open(path, write=True) as gallery:
        gallery.add(entries_named(9, "n"), unit_vectors(9, seed=1))
        before = gallery.record.sequences()
        gallery.close(sync=False)
    restore_snapshot(path, "first")
    with Gallery.open(path) as gallery:
        after = gallery.record.sequences()
    assert all(after[table] >= number for table, number in before.items())
    assert after["operations"] > before["operations"]


def contents(gallery: Gallery) -> list[tuple[Entry, bytes]]:
    return [(entry, gallery.get(entry.id)[1].tobytes()) for entry in gallery.entries()]


def test_a_restore_is_an_operation_that_can_be_undone_and_redone(path: Path) -> None:
    with Gallery.open(path, write=True) as gallery:
        Curator(gallery).rename("who0005", "renamed")
        Curator(gallery).remove(["e00100"])
        gallery.restore(["e00100"])  # at another place now
        gallery.replace([Entry("e00200", "again")], unit_vectors(1, seed=7))
        gallery.add(entries_named(6, "n"), unit_vectors(6, seed=1))
        gallery.record.files.put(gallery.collection_key, [FileRow("/n.jpg", 1, 1, "h", "person", "n00000")])
        before = contents(gallery)
    restore_snapshot(path, "first")
    with Gallery.open(path, write=True) as gallery:
        first = contents(gallery)
        assert [entry.id for entry, _ in first] == [entry.id for entry in entries_named(COUNT)]
        assert gallery.record.files.at(gallery.collection_key, ["/n.jpg"]) == {}
        step = gallery.undo()
        assert [o.words for o in step.operations] == ["restore the snapshot 'first'"]
        assert step.entries == 5 + 5 + 1 + 1 + 6
        assert contents(gallery) == before
        assert list(gallery.record.files.at(gallery.collection_key, ["/n.jpg"])) == ["/n.jpg"]
        gallery.redo()
        assert contents(gallery) == first
        gallery.undo(2)  # the restore, and the addition before it
        assert contents(gallery) == before[:-6]
        gallery.redo(2)
        assert contents(gallery) == first
        assert gallery.verify().ok
    restore_snapshot(path, "first")
    with Gallery.open(path) as gallery:
        assert gallery.operations(1)[0].action == "redo", "the same content is no operation"


def test_an_undo_ends_where_a_damaged_record_was_replaced(path: Path) -> None:
    _nonsense(path / "gallery.sqlite3")
    restore_snapshot(path, "first")
    with Gallery.open(path, write=True) as gallery:
        Curator(gallery).rename("who0000", "a")
        gallery.undo()
        with pytest.raises(UndoError, match="in the place of the whole record") as caught:
            gallery.undo()
        assert "snapshot --list" in (caught.value.hint or "")
        gallery.redo()
        assert [o.action for o in gallery.operations(2)] == ["redo", "undo"]


def test_no_undo_goes_beyond_a_restore_of_before_format_4(path: Path) -> None:
    with closing(sqlite3.connect(path / "gallery.sqlite3")) as connection:
        for statement in (
            "DROP TABLE setting_changes",
            "ALTER TABLE operations DROP COLUMN target",
            "INSERT INTO operations (at, who, collection, action, words) VALUES ('then', 'me@here', 1, 'restore', 'r')",
            "PRAGMA user_version = 3",
        ):
            connection.execute(statement)
        connection.commit()
    with Gallery.open(path) as gallery:
        assert [o.action for o in gallery.operations()] == ["restore", "remove", "add"]
    with Gallery.open(path, write=True) as gallery:
        Curator(gallery).rename("who0001", "a")
        gallery.undo()
        with pytest.raises(UndoError, match="in the place of the whole record"):
            gallery.undo()


def test_a_collection_that_the_snapshot_does_not_have(path: Path) -> None:
    other = model_named("other", 24)
    with Gallery.open_or_create(path, other, new_collection=True) as gallery:
        gallery.add(entries_named(4), unit_vectors(4, 24))
    with Gallery.open(path, model=other) as reader:
        view = reader.view()
        restore_snapshot(path, "first")
        assert view.refresh()
        assert len(view) == len(reader) == 0
    with Gallery.open(path, model=other, write=True) as gallery:
        gallery.undo()
        assert len(gallery) == 4
        gallery.redo()
        assert len(gallery) == 0
    take = list_snapshots(path)[-1].name
    with Gallery.open(path) as gallery:
        assert [info.entries for info in gallery.collections()] == [COUNT, 0]
    restore_snapshot(path, take)
    with Gallery.open(path) as gallery:
        assert [info.entries for info in gallery.collections()] == [COUNT - 5, 4]


def test_the_snapshot_alone_is_a_gallery(path: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(path / "snapshots" / "first.sqlite3", alone / "gallery.sqlite3")
    with Gallery.open(alone, write=True) as gallery:
        assert len(gallery) == COUNT
        gallery.rebuild()
        assert gallery.verify().ok


def test_a_snapshot_is_taken_beside_a_writer(path: Path) -> None:
    with Gallery.open(path, write=True) as writer, Gallery.open(path) as reader:
        with writer.transaction():
            Curator(writer).clear()
            taken = take_snapshot(reader)  # the last state before the damage
        assert taken.entries == COUNT - 5
        assert take_snapshot(reader).entries == 0
        with pytest.raises(GalleryLockedError):
            restore_snapshot(path, "first", lock_timeout=0.1)
        writer.close(sync=False)
    assert len(list_snapshots(path)) == 3
    assert not list((path / "snapshots").glob("*-wal"))


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 101, "ü"])
def test_rejects_invalid_names(path: Path, name: str) -> None:
    before = files(path)
    with Gallery.open(path) as gallery, pytest.raises(SnapshotError, match="cannot be a snapshot's name"):
        take_snapshot(gallery, name)
    with pytest.raises(SnapshotError, match="cannot be a snapshot's name"):
        restore_snapshot(path, name)
    assert files(path) == before


def test_existing_files_are_not_overwritten(path: Path) -> None:
    before = files(path)
    with Gallery.open(path) as gallery, pytest.raises(SnapshotError, match="already"):
        take_snapshot(gallery, "first")
    assert files(path) == before


def _absent(file: Path) -> None:
    file.unlink()


def _nonsense(file: Path) -> None:
    file.write_bytes(b"nonsense" * 5000)


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _truncated(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(50_000)


def _page(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(30_000)
        opened.write(b"\xff" * 40_000)


def _vectors(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DELETE FROM vectors WHERE seq % 7 = 0")
        connection.commit()


def _other(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE t (a)")


def _newer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 99")


DAMAGE: dict[str, Callable[[Path], None]] = {
    "absent": _absent,
    "nonsense": _nonsense,
    "empty": _empty,
    "truncated": _truncated,
    "pages": _page,
    "vectors gone": _vectors,
    "another file": _other,
    "newer format": _newer,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_snapshot_changes_nothing(path: Path, name: str) -> None:
    DAMAGE[name](path / "snapshots" / "first.sqlite3")
    before = files(path)
    with pytest.raises(SnapshotError) as caught:
        restore_snapshot(path, "first")
    assert caught.value.hint
    assert files(path) == before
    assert [s.entries for s in list_snapshots(path)] in ([None], [], [COUNT])


@pytest.mark.parametrize("name", [name for name in DAMAGE if name != "newer format"])
def test_a_damaged_record_is_restored(path: Path, name: str) -> None:
    DAMAGE[name](path / "gallery.sqlite3")
    restored = restore_snapshot(path, "first")
    assert restored.entries == COUNT
    with Gallery.open(path, write=True) as gallery:
        assert len(gallery) == COUNT
        assert gallery.record.check_integrity() == ()
        assert gallery.verify().ok
        Curator(gallery).rename("who0001", "a")
    if name == "absent":
        assert restored.kept_as is None
    else:
        assert restored.kept_as is not None
        assert (path / restored.kept_as).is_file() or restored.kept_as.startswith("before-restore-")


def test_a_gallery_of_a_newer_gtrack_is_not_changed(path: Path) -> None:
    _newer(path / "gallery.sqlite3")
    before = files(path)
    with pytest.raises(GalleryFormatError, match="newer gtrack"):
        restore_snapshot(path, "first")
    assert files(path) == before


def test_a_damaged_index_is_rebuilt(path: Path) -> None:
    shutil.rmtree(path / "chroma")
    restore_snapshot(path, "first")
    with Gallery.open(path) as gallery:
        assert gallery.verify().ok


def test_no_gallery(tmp_path: Path) -> None:
    with pytest.raises(GalleryNotFoundError):
        restore_snapshot(tmp_path / "none", "first")
    assert list_snapshots(tmp_path) == []


KILLED = """
import sys
from gallery_db import restore_snapshot
print("started", flush=True)
restore_snapshot(sys.argv[1], "first", progress=lambda *done: print("indexing", flush=True))
"""


@pytest.mark.parametrize("wait", [0.01, 0.02, 0.03, 0.05, 0.08, 0.15, 0.4])
def test_a_killed_restore_leaves_the_old_or_the_new_state(path: Path, wait: float) -> None:
    with started("-c", KILLED, path, line="started") as process:
        time.sleep(wait)
        process.kill()
    with Gallery.open(path) as gallery:
        assert len(gallery) in (COUNT, COUNT - 5)
        assert gallery.record.check_integrity() == ()
    with Gallery.open(path, write=True) as gallery:
        gallery.sync_index()
        assert gallery.verify().ok
    assert restore_snapshot(path, "first").entries == COUNT
