"""Managing people: every operation, its way back, the log, and what must not be lost on the way."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.gallery import ColourEmbedder, entries_named, make_people, model_named, save_picture, unit_vectors
from support.processes import started

import gallery_db.store.schema
from gallery_db import (
    Curator,
    Entry,
    EntryNotFoundError,
    Gallery,
    GalleryError,
    GalleryReadOnlyError,
    IdentityExistsError,
    IdentityNotFoundError,
    UndoError,
    ingest_folder,
)
from gallery_db.address import parse_address
from gallery_db.index.chroma_client import close_client, open_server
from gallery_db.store.ingested_files import FileRow
from gallery_db.store.schema import FORMAT_VERSION

MODEL = model_named()
OLD = "2020-01-01T00:00:00+00:00"
COUNT = 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people of five entries, of all kinds, with files, and an index that follows."""
    path = tmp_path_factory.mktemp("made") / "g"
    entries = entries_named(COUNT)
    entries[3] = replace(entries[3], origin="track", frame=7, box=(1.0, 2.5, 3.0, 4.0), created_at=OLD)
    entries[4] = replace(entries[4], created_at=OLD, extra={"n": [1, 2.5], "t": "é"})
    entries[19] = replace(entries[19], class_name="Car")
    with Gallery.create(path, MODEL) as gallery:
        gallery.add(entries, unit_vectors(COUNT))
        files = [FileRow(e.source, 1, 2, "h", "person", e.id) for e in entries[5:]]
        gallery.record.files.put(gallery.collection_key, files)
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "g")
    return tmp_path / "g"


@pytest.fixture
def place(place: Path | str, made: Path) -> Path | str:
    """The same, in a folder or served."""
    if isinstance(place, Path):
        shutil.copytree(made, place)
        return place
    with Gallery.open(made) as source, Gallery.create(place, MODEL) as gallery:
        entries, vectors = source.with_prefix("e")
        gallery.add(entries, vectors)
        files = [FileRow(e.source, 1, 2, "h", "person", e.id) for e in entries[5:]]
        gallery.record.files.put(gallery.collection_key, files)
    return place


def state(gallery: Gallery) -> dict[str, Any]:
    """All that a user may see of a collection, and what an ingest knows."""
    entries = list(gallery.entries())
    record = gallery.record
    return {
        "entries": entries,
        "vectors": [gallery.get(entry.id)[1].tobytes() for entry in entries],
        "identities": gallery.identities(),
        "files": sorted(
            record.files.of_entries(gallery.collection_key, [f"e{number:05d}" for number in range(COUNT + 5)])
        ),
    }


def names(gallery: Gallery) -> dict[str, int]:
    found: dict[str, int] = {}
    for person in gallery.identities():
        found[person.identity] = found.get(person.identity, 0) + person.entries
    return found


def in_chroma(gallery: Gallery) -> dict[str, str]:
    """Return the identities in Chroma's metadata."""
    import chromadb
    from chromadb.config import Settings

    gallery.sync_index()
    settings = Settings(anonymized_telemetry=False)
    address = parse_address(gallery.location)
    if address is None:
        client = chromadb.PersistentClient(str(gallery.path / "chroma"), settings=settings)
    else:
        client = open_server(address)
    try:
        page = client.get_collection(gallery.collection, embedding_function=None).get(include=["metadatas"])
        return {id_: str(facts["identity"]) for id_, facts in zip(page["ids"], page["metadatas"] or [], strict=True)}
    finally:
        close_client(client)


BASE = {"who0000": 5, "who0001": 5, "who0002": 5, "who0003": 5}

# what is done -> entries changed, identities after, the log's words
OPERATIONS: dict[str, tuple[Callable[[Curator], int], int, dict[str, int], str]] = {
    "rename": (
        lambda p: p.rename("who0001", " Zoë [b] "),
        5,
        {"Zoë [b]": 5, "who0000": 5, "who0002": 5, "who0003": 5},
        "rename 'who0001' to 'Zoë [b]'",
    ),
    "rename onto a taken name": (
        lambda p: p.rename("who0001", "who0000", merge=True),
        5,
        {"who0000": 10, "who0002": 5, "who0003": 5},
        "merge 'who0001' into 'who0000'",
    ),
    "rename one class": (
        lambda p: p.rename("who0003", "Herbie", class_name="CAR"),
        1,
        {"Herbie": 1, **BASE, "who0003": 4},
        "rename 'who0003' to 'Herbie'",
    ),
    "merge": (
        lambda p: p.merge(["who0001", "who0002", "who0000"], "who0000"),
        10,
        {"who0000": 15, "who0003": 5},
        "merge 'who0001', 'who0002' into 'who0000'",
    ),
    "merge into a new name": (
        lambda p: p.merge(["who0001", "who0002"], "both"),
        10,
        {"both": 10, "who0000": 5, "who0003": 5},
        "merge 'who0001', 'who0002' into 'both'",
    ),
    "split": (
        lambda p: p.split("who0001", ["e00006", "e00008", "e00006"], "other"),
        2,
        {**BASE, "other": 2, "who0001": 3},
        "split e00006, e00008 from 'who0001' as 'other'",
    ),
    "move": (
        lambda p: p.move(["e00003", "e00006"], "who0002"),
        2,
        {**BASE, "who0000": 4, "who0001": 4, "who0002": 7},
        "move e00003, e00006 to 'who0002'",
    ),
    "move to a new one": (
        lambda p: p.move([f"e{n:05d}" for n in range(5, 12)], "new", new=True),
        7,
        {"new": 7, "who0000": 5, "who0002": 3, "who0003": 5},
        "move e00005, e00006, e00007, e00008, e00009 and 2 more to 'new'",
    ),
    "remove entries": (
        lambda p: p.remove(["e00003", "e00012"]),
        2,
        {**BASE, "who0000": 4, "who0002": 4},
        "remove e00003, e00012",
    ),
    "remove an identity": (
        lambda p: p.remove_identity("who0001"),
        5,
        {"who0000": 5, "who0002": 5, "who0003": 5},
        "remove the identity 'who0001'",
    ),
    "purge": (
        lambda p: p.purge("30d"),
        1,
        {**BASE, "who0000": 4},
        "purge entries of origin 'track' older than ",
    ),
    "purge all": (lambda p: p.purge("2020-01-02", None), 2, {**BASE, "who0000": 3}, "purge all entries older than "),
    "clear": (lambda p: p.clear(), COUNT, {}, "clear the collection "),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_can_be_undone_and_redone(place: Path | str, name: str) -> None:
    do, count, expected, words = OPERATIONS[name]
    with Gallery.open(place, write=True) as gallery:
        people = Curator(gallery)
        before = state(gallery)
        assert do(people) == count
        assert names(gallery) == expected
        after = state(gallery)
        done = gallery.operations(1)[0]
        assert done.words.startswith(words)
        assert done.entries == count
        assert "@" in done.who
        assert in_chroma(gallery) == {entry.id: entry.identity for entry in gallery.entries()}

        for _ in range(2):
            step = gallery.undo()
            assert [o.seq for o in step.operations] == [done.seq]
            assert step.entries == count
            assert step.next_redo is not None
            assert (step.next_redo.seq, step.next_redo.undone) == (done.seq, True)
            assert state(gallery) == before
            assert in_chroma(gallery) == {entry.id: entry.identity for entry in gallery.entries()}
            assert gallery.verify().ok

            step = gallery.redo()
            assert [o.seq for o in step.operations] == [done.seq]
            assert step.entries == count
            assert (step.next_undo and step.next_undo.seq, step.next_redo) == (done.seq, None)
            assert state(gallery) == after
            assert in_chroma(gallery) == {entry.id: entry.identity for entry in gallery.entries()}
            assert gallery.verify().ok
        assert gallery.notices == []


def test_several_operations_are_undone_together(place: Path | str) -> None:
    with Gallery.open(place, write=True) as gallery:
        people = Curator(gallery)
        before = state(gallery)
        people.rename("who0000", "a")
        people.remove(["e00001", "e00007"])
        gallery.replace([Entry(id="e00008", identity="x")], unit_vectors(1, seed=5))
        gallery.add([Entry(id="e00001", identity="again")], unit_vectors(1, seed=6))
        people.move(["e00001", "e00008"], "a")
        gallery.restore(["e00007"])
        people.remove(["e00008", "e00001"])
        after = state(gallery)
        step = gallery.undo(7)
        actions = ["remove", "bring-back", "move", "add", "replace", "remove", "rename"]
        assert [o.action for o in step.operations] == actions
        assert step.entries == 6 + 1
        assert state(gallery) == before
        step = gallery.redo(7)
        assert [o.action for o in step.operations] == actions[::-1]
        assert state(gallery) == after
        gallery.sync_index()
        assert gallery.verify().ok
        assert [o.action for o in gallery.operations(8)] == ["redo"] * 7 + ["undo"]
        assert gallery.operations(1)[0].words.startswith("redo 9: remove e00008, e00001")


def log(gallery: Gallery) -> list[tuple[int, str, int | None, bool]]:
    return [(o.seq, o.action, o.target, o.undone) for o in reversed(gallery.operations())]


def test_undo_and_redo_walk_through_the_operations_one_by_one(place: Path | str) -> None:
    with Gallery.open(place, write=True) as gallery:
        people = Curator(gallery)
        states = [state(gallery)]
        for do in (
            lambda: people.rename("who0000", "a"),
            lambda: people.merge(["who0001"], "a"),
            lambda: people.remove(["e00000", "e00011"]),
            lambda: gallery.restore(["e00011"]),
        ):
            do()
            states.append(state(gallery))
        for at in (3, 2, 1, 0):
            gallery.undo()
            assert state(gallery) == states[at]
        for at in (1, 2, 3):
            gallery.redo()
            assert state(gallery) == states[at]
        gallery.undo(2)
        assert state(gallery) == states[1]
        gallery.redo(3)
        assert state(gallery) == states[4]
        gallery.undo(4)
        assert state(gallery) == states[0]
        assert gallery.verify().ok
        assert [o.seq for o in gallery.operations() if o.undone] == [6, 5, 4, 3]
        gallery.close(sync=False)


def test_a_new_operation_ends_the_redo(place: Path | str) -> None:
    with Gallery.open(place, write=True) as gallery:
        people = Curator(gallery)
        people.rename("who0000", "a")
        people.rename("who0001", "b")
        gallery.undo(2)
        gallery.redo()
        people.rename("who0002", "c")
        with pytest.raises(UndoError, match=r"nothing to redo in the collection .* Operation 8 was made after"):
            gallery.redo()
        assert log(gallery) == [
            (1, "add", None, False),
            (3, "rename", None, False),
            (4, "rename", None, True),
            (5, "undo", 4, False),
            (6, "undo", 3, False),
            (7, "redo", 3, False),
            (8, "rename", None, False),
        ]
        step = gallery.undo(2)  # over what was undone before, to what is done
        assert [o.seq for o in step.operations] == [8, 3]
        assert names(gallery) == BASE
        assert (step.next_undo and step.next_undo.seq, step.next_redo and step.next_redo.seq) == (1, 3)
        with pytest.raises(UndoError, match="has 2 operations to redo; expected 3"):
            gallery.redo(3)
        assert names(gallery) == BASE
        gallery.redo(2)
        assert names(gallery) == {"a": 5, "c": 5, "who0001": 5, "who0003": 5}
        gallery.close(sync=False)


def test_an_undo_is_no_part_of_another_operation(path: Path) -> None:
    with Gallery.open(path, write=True) as gallery:
        with gallery.operation("tidy", "tidy up"), pytest.raises(GalleryError, match="cannot be part"):
            gallery.undo()
        with pytest.raises(ZeroDivisionError), gallery.transaction():  # noqa: PT012 - both are rolled back
            gallery.undo()
            raise ZeroDivisionError
        assert names(gallery) == BASE
        assert len(gallery.operations()) == 1
        gallery.close(sync=False)


def test_another_process_walks_on(path: Path) -> None:
    def walk(word: str) -> subprocess.CompletedProcess[str]:
        script = (
            "import sys; from gallery_db import Gallery\n"
            f"with Gallery.open(sys.argv[1], write=True, lock_timeout=0) as gallery: gallery.{word}()"
        )
        return subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)

    with Gallery.open(path, write=True) as gallery:
        Curator(gallery).rename("who0000", "a")
        Curator(gallery).rename("who0001", "b")
        view = gallery.view()
        gallery.undo()
        refused = walk("undo")
        assert "GalleryLockedError" in refused.stderr
        gallery.close(sync=False)
    with Gallery.open(path) as reader:
        view = reader.view()
        assert walk("undo").returncode == 0
        assert view.refresh()
        assert "who0000" in view.identities
        assert walk("redo").returncode == 0
        assert view.refresh()
        assert "a" in view.identities
        assert [o.target for o in reader.operations(3)] == [3, 3, 4]


def test_the_log_numbers_only_operations_that_changed_something(place: Path | str) -> None:
    with Gallery.open(place, write=True) as gallery:
        people = Curator(gallery)
        with pytest.raises(IdentityNotFoundError):
            people.rename("nobody", "x")
        assert people.move(["e00000"], "who0000") == 0  # it is there already
        gallery.record.files.put(gallery.collection_key, [FileRow("/n.jpg", 1, 1, "h", "person", "e00000")])
        assert [o.action for o in gallery.operations()] == ["add"]
        with gallery.operation("tidy", "tidy up"):
            people.rename("who0000", "a")
            people.rename("who0001", "b")
        assert [(o.action, o.words, o.entries) for o in gallery.operations(1)] == [("tidy", "tidy up", 10)]
        with pytest.raises(ZeroDivisionError), gallery.transaction():  # noqa: PT012 - the first is undone
            people.rename("a", "c")
            raise ZeroDivisionError
        assert gallery.operations(1)[0].action == "tidy"
        people.rename("a", "c")
        assert [o.action for o in gallery.operations(2)] == ["rename", "tidy"]
        gallery.undo(2)
        assert names(gallery) == BASE
        gallery.close(sync=False)


def test_each_collection_has_its_own_log(path: Path) -> None:
    other = model_named("other", 24)
    with Gallery.open_or_create(path, other, new_collection=True) as gallery:
        gallery.add(entries_named(4), unit_vectors(4, 24))
        assert [o.entries for o in gallery.operations()] == [4]
        gallery.undo()
        assert len(gallery) == 0
        gallery.close(sync=False)
    with Gallery.open(path) as gallery:
        assert names(gallery) == BASE


# -- what is refused --------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[Curator], object], type[GalleryError], str]] = {
    "rename nobody": (lambda p: p.rename("who000", "x"), IdentityNotFoundError, "Did you mean 'who0003'"),
    "rename to a taken name": (lambda p: p.rename("who0000", "who0001"), IdentityExistsError, "gallery merge who0000"),
    "rename to itself": (lambda p: p.rename("who0000", "who0000"), GalleryError, "already has that name"),
    "rename to nothing": (lambda p: p.rename("who0000", " "), GalleryError, "empty"),
    "rename of two classes": (lambda p: p.rename("who0003", "x"), GalleryError, "car, person"),
    "rename of another class": (lambda p: p.rename("who0000", "x", class_name="car"), IdentityNotFoundError, "'car'"),
    "merge nobody": (lambda p: p.merge(["who0000", "none"], "x"), IdentityNotFoundError, "'none'"),
    "merge into itself": (lambda p: p.merge(["who0000"], "who0000"), GalleryError, "nothing to merge"),
    "split another's entry": (lambda p: p.split("who0000", ["e00000", "e00007"], "x"), GalleryError, "'who0001'"),
    "split into a taken name": (lambda p: p.split("who0000", ["e00000"], "who0001"), IdentityExistsError, "move"),
    "split all": (
        lambda p: p.split("who0000", [f"e{n:05d}" for n in range(5)], "x"),
        GalleryError,
        "none would be left",
    ),
    "split nothing": (lambda p: p.split("who0000", [], "x"), GalleryError, "at least one"),
    "move to nobody": (lambda p: p.move(["e00000"], "nobody"), IdentityNotFoundError, "'nobody'"),
    "move to another class": (lambda p: p.move(["e00019"], "who0000"), IdentityNotFoundError, "'Car'"),
    "move nothing that is there": (lambda p: p.move(["e00000", "x"], "who0001"), EntryNotFoundError, "'x'"),
    "remove nothing that is there": (lambda p: p.remove(["e00000", "x"]), EntryNotFoundError, "'x'"),
    "remove nobody": (lambda p: p.remove_identity("none"), IdentityNotFoundError, "'none'"),
    "purge of no age": (lambda p: p.purge("soon"), GalleryError, "30d"),
    "undo too many": (lambda p: p._gallery.undo(2), UndoError, "has 1 operation to undo; expected 2"),
    "undo none": (lambda p: p._gallery.undo(0), GalleryError, "at least one"),
    "redo nothing": (lambda p: p._gallery.redo(), UndoError, "nothing to redo"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_rejected_operation_changes_nothing(place: Path | str, name: str) -> None:
    do, error, words = REFUSED[name]
    with Gallery.open(place, write=True) as gallery:
        before = state(gallery)
        with pytest.raises(error) as caught:
            do(Curator(gallery))
        assert words in str(caught.value)
        assert caught.value.hint
        assert state(gallery) == before
        assert len(gallery.operations()) == 1
        gallery.close(sync=False)


def test_a_reading_handle_changes_nothing(made: Path) -> None:
    with Gallery.open(made) as gallery:
        for do, *_ in OPERATIONS.values():
            with pytest.raises(GalleryReadOnlyError):
                do(Curator(gallery))
        with pytest.raises(GalleryReadOnlyError):
            gallery.undo()


# -- undo that cannot be exact -------------------------------------------------------------------------------------

UNLOGGED: dict[str, tuple[str, str]] = {
    "exists again": (
        "INSERT INTO entries SELECT 999, collection, 'e00000', identity, class_name, origin, source, content_hash, "
        "frame, box, created_at, extra FROM entries WHERE id = 'e00001'",
        "'e00000' exists again",
    ),
    "no longer there": ("DELETE FROM entries WHERE id = 'e00006'", "'e00006' does not exist any more"),
    "changed since": ("UPDATE entries SET identity = 'z' WHERE id = 'e00006'", "'e00006' was changed since"),
    "gap in the log": (
        "DELETE FROM changes WHERE entry_id = 'e00006' AND detail LIKE '%\"b\"%' AND detail LIKE '%\"a\"%'",
        "does not hold all changes",
    ),
    "vector lost": (
        "UPDATE changes SET vector = NULL WHERE entry_id = 'e00000' AND action = 'remove'",
        "no vector of the entry 'e00000'",
    ),
}


@pytest.mark.parametrize("name", UNLOGGED)
def test_an_undo_is_exact_or_rejected(path: Path, name: str) -> None:
    statement, words = UNLOGGED[name]
    with Gallery.open(path, write=True) as gallery:
        people = Curator(gallery)
        people.remove(["e00000"])
        with gallery.operation("names", "try names"):
            for new in ("a", "b", "c"):
                people.rename({"a": "who0001", "b": "a", "c": "b"}[new], new)
        gallery.close(sync=False)
    with closing(sqlite3.connect(path / "gallery.sqlite3")) as connection:
        assert connection.execute(statement).rowcount == 1
        connection.commit()
    with Gallery.open(path, write=True) as gallery:
        before = list(gallery.entries())
        with pytest.raises(UndoError, match=words):
            gallery.undo(2)
        assert list(gallery.entries()) == before
        assert len(gallery.operations()) == 3
        gallery.close(sync=False)


# -- ingests ----------------------------------------------------------------------------------------------------


def ingest(gallery: Gallery, folder: Path, **options: Any) -> Any:
    return ingest_folder(gallery, folder, ColourEmbedder(), **options)


def file_rows(gallery: Gallery, folder: Path) -> dict[str, FileRow]:
    return gallery.record.files.under(gallery.collection_key, str(folder))


def whole(gallery: Gallery, folder: Path) -> tuple[Any, ...]:
    entries = list(gallery.entries())
    return entries, [gallery.get(e.id)[1].tobytes() for e in entries], file_rows(gallery, folder)


def test_an_ingest_is_one_operation_that_can_be_undone(tmp_path: Path) -> None:
    folder = make_people(tmp_path / "people")
    with Gallery.create(tmp_path / "g", MODEL) as gallery:
        ingest(gallery, folder, batch_size=5)
        first = whole(gallery, folder)
        (folder / "p0").rename(folder / "Zoë")
        save_picture(folder / "p1" / "0.png", 999)
        (folder / "p2" / "0.png").unlink()
        save_picture(folder / "p2" / "new.png", 1000)
        ingest(gallery, folder, batch_size=2, prune=True)
        second = whole(gallery, folder)
        assert [(o.action, o.entries) for o in gallery.operations()] == [("ingest", 4 + 2 + 1 + 1), ("ingest", 12)]
        gallery.undo()
        assert whole(gallery, folder) == first
        gallery.redo()
        assert whole(gallery, folder) == second
        assert gallery.verify().ok
        gallery.undo()
        gallery.undo()
        assert whole(gallery, folder) == ([], [], {})
        gallery.redo(2)
        assert whole(gallery, folder) == second
        gallery.undo(2)
        report = ingest(gallery, folder)  # the folder counts again
        assert report.added == 12
        assert gallery.verify().ok


def _rename(people: Curator, ids: list[str]) -> None:
    people.rename("p0", "Robert")


def _move(people: Curator, ids: list[str]) -> None:
    people.move(ids, "p1")


def _split(people: Curator, ids: list[str]) -> None:
    people.split("p0", ids, "twin")


def _merge(people: Curator, ids: list[str]) -> None:
    people.merge(["p0"], "p1")


def _nothing(folder: Path) -> None:
    pass


def _touch(folder: Path) -> None:
    for file in folder.rglob("*.png"):
        os.utime(file, (1, 1))


def _copy(folder: Path) -> None:
    shutil.copy(folder / "p0" / "0.png", folder / "p0" / "copy.png")


def _rename_files(folder: Path) -> None:
    for file in (folder / "p0").glob("*.png"):
        file.rename(file.with_name("x" + file.name))


def _move_folder(folder: Path) -> None:
    (folder / "p0").rename(folder / "p0-old")


@pytest.mark.parametrize("change", [_nothing, _touch, _copy, _rename_files, _move_folder], ids=lambda f: f.__name__)
@pytest.mark.parametrize("correct", [_rename, _move, _split, _merge], ids=lambda f: f.__name__)
def test_no_ingest_undoes_what_a_person_corrected(
    tmp_path: Path, correct: Callable[[Curator, list[str]], None], change: Callable[[Path], None]
) -> None:
    folder = make_people(tmp_path / "people")
    with Gallery.create(tmp_path / "g", MODEL) as gallery:
        ingest(gallery, folder)
        ids = [e.id for e in gallery.entries("p0") if e.source.endswith(("0.png", "1.png"))]
        correct(Curator(gallery), ids)
        corrected = {e.id: e.identity for e in gallery.entries() if e.extra.get("reviewed")}
        assert set(ids) <= set(corrected)
        change(folder)
        for _ in range(2):
            report = ingest(gallery, folder, prune=True)
            assert not report.skipped
            assert not report.pruned
            after = {e.id: e for e in gallery.entries()}
            assert {id_: after[id_].identity for id_ in corrected} == corrected
            assert all(Path(e.source).is_file() for e in after.values())
        if change is _touch:
            assert report.kept == 0  # the second time they are known again
        gallery.close(sync=False)


def test_an_ingest_reports_what_it_kept(tmp_path: Path) -> None:
    folder = make_people(tmp_path / "people")
    with Gallery.create(tmp_path / "g", MODEL) as gallery:
        ingest(gallery, folder)
        Curator(gallery).rename("p0", "Robert")
        _touch(folder)
        assert ingest(gallery, folder).kept == 4
        assert ingest(gallery, folder, class_name="car").kept == 4
        assert {e.class_name for e in gallery.entries("Robert")} == {"car"}
        gallery.close(sync=False)


# -- galleries of format 1 -----------------------------------------------------------------------------------------

# As the first gtrack made them; never to be changed.
FORMAT_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE collections (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, model_name TEXT NOT NULL, sha256 TEXT NOT NULL,
    dimension INTEGER NOT NULL, preprocessing TEXT NOT NULL, metric TEXT NOT NULL, weights_path TEXT,
    created_at TEXT NOT NULL, generation INTEGER NOT NULL DEFAULT 0, applied_seq INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL REFERENCES collections (id), id TEXT NOT NULL,
    identity TEXT NOT NULL, class_name TEXT NOT NULL, origin TEXT NOT NULL, source TEXT NOT NULL, content_hash TEXT,
    frame INTEGER, box TEXT, created_at TEXT NOT NULL, extra TEXT NOT NULL, UNIQUE (collection, id)
);
CREATE INDEX entries_by_hash ON entries (collection, content_hash);
CREATE INDEX entries_by_identity ON entries (collection, identity);
CREATE TABLE vectors (seq INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE files (
    collection INTEGER NOT NULL, path TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    content_hash TEXT NOT NULL, class_name TEXT NOT NULL, entry_id TEXT NOT NULL, PRIMARY KEY (collection, path)
) WITHOUT ROWID;
CREATE INDEX files_by_entry ON files (collection, entry_id);
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL,
    collection INTEGER NOT NULL, entry_id TEXT NOT NULL, detail TEXT NOT NULL, vector BLOB
);
CREATE INDEX changes_by_collection ON changes (collection, seq);
CREATE INDEX changes_by_entry ON changes (collection, entry_id);
PRAGMA application_id = 1735684715;
PRAGMA user_version = 1;
"""


@pytest.fixture
def first_format(path: Path) -> Path:
    """The gallery as a gtrack of format 1 would have it: ten added, one renamed, two removed a second later."""
    with Gallery.open(path, write=True) as gallery:
        Curator(gallery).rename("who0001", "b")
        Curator(gallery).remove(["e00000", "e00007"])
        gallery.close(sync=False)
    new = path / "gallery.sqlite3"
    old = path / "newer"
    new.rename(old)
    with closing(sqlite3.connect(new)) as connection:
        connection.execute("PRAGMA page_size = 8192")
        connection.executescript(FORMAT_1)
        connection.execute("ATTACH ? AS newer", (str(old),))
        for table in ("meta", "collections", "entries", "vectors", "files"):
            connection.execute(f"INSERT INTO {table} SELECT * FROM newer.{table}")
        columns = "seq, at, who, action, collection, entry_id, detail, vector"
        connection.execute(f"INSERT INTO changes ({columns}) SELECT {columns} FROM newer.changes")
        for action, at in (("add", "10:00:00"), ("update", "10:00:01"), ("remove", "10:00:02")):
            connection.execute("UPDATE changes SET at = ? WHERE action = ?", (f"2026-01-01T{at}+00:00", action))
        connection.commit()
    old.unlink()
    return path


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path / "gallery.sqlite3")) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_gallery_of_format_1_is_read_without_an_upgrade(first_format: Path) -> None:
    with Gallery.open(first_format) as gallery:
        assert names(gallery) == {"b": 4, "who0000": 4, "who0002": 5, "who0003": 5}
        assert len(gallery.view()) == 18
        assert gallery.operations() == []
        assert len(gallery.history()) == 20 + 5 + 2
        assert gallery.stats().format_version == 1
    assert version_of(first_format) == 1


def test_a_gallery_of_format_1_is_upgraded_and_its_operations_can_be_undone(first_format: Path) -> None:
    with Gallery.open(first_format) as gallery:
        held = list(gallery.entries())
    with Gallery.open(first_format, write=True) as gallery:
        assert gallery.stats().format_version == FORMAT_VERSION == 4
        assert list(gallery.entries()) == held
        assert [(o.seq, o.action, o.entries, o.at[11:19]) for o in gallery.operations()] == [
            (26, "remove", 2, "10:00:02"),
            (21, "update", 5, "10:00:01"),
            (1, "add", 20, "10:00:00"),
        ]
        Curator(gallery).rename("who0002", "c")
        assert gallery.operations(1)[0].seq == 27
        gallery.undo(3)
        assert names(gallery) == BASE
        gallery.sync_index()
        assert gallery.verify().ok
        assert gallery.get("e00007")[1] == pytest.approx(unit_vectors(COUNT)[7], abs=1e-6)
        gallery.redo()
        gallery.undo(2)
        assert len(gallery) == 0
        # What was not noted then: files of entries that are gone are forgotten, so that an ingest brings them back.
        assert state(gallery)["files"] == []
    assert version_of(first_format) == FORMAT_VERSION


def test_an_upgrade_that_fails_leaves_format_1(first_format: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = gallery_db.store.schema.MIGRATIONS
    monkeypatch.setattr(gallery_db.store.schema, "MIGRATIONS", (good[0], (*good[1], "CREATE TABLE nonsense (")))
    before = (first_format / "gallery.sqlite3").read_bytes()
    with pytest.raises(GalleryError):
        Gallery.open(first_format, write=True)
    assert version_of(first_format) == 1
    monkeypatch.undo()
    with Gallery.open(first_format) as gallery:
        assert len(gallery) == 18
    assert len((first_format / "gallery.sqlite3").read_bytes()) == len(before)
    Gallery.open(first_format, write=True).close(sync=False)
    assert version_of(first_format) == FORMAT_VERSION


# -- kills ------------------------------------------------------------------------------------------------------

MANY = 3000

KILLED = """
import sys, time
from gallery_db import Gallery, Curator
from gallery_db.store.entries import EntryStore
gallery = Gallery.open(sys.argv[1], write=True)
people = Curator(gallery)
if sys.argv[2] == "redo":
    gallery.undo()
if sys.argv[3] == "inside":  # all is done but the commit
    finish = EntryStore._finish
    def stop(self, *change):
        finish(self, *change)
        print("inside", flush=True)
        time.sleep(60)
    EntryStore._finish = stop
print("started", flush=True)
{"merge": lambda: people.merge([f"who{n:04d}" for n in range(1, 600)], "who0000"),
 "clear": people.clear,
 "undo": gallery.undo,
 "redo": gallery.redo}[sys.argv[2]]()
print("done", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("when", ["inside", 0.01, 0.04, 0.1, 0.2])
@pytest.mark.parametrize("what", ["merge", "clear", "undo", "redo"])
def test_a_killed_operation_is_complete_or_absent(tmp_path: Path, what: str, when: str | float) -> None:
    path = tmp_path / "g"
    with Gallery.create(path, MODEL) as gallery:
        gallery.add(entries_named(MANY), unit_vectors(MANY))
        if what in ("undo", "redo"):
            Curator(gallery).remove([f"e{number:05d}" for number in range(0, MANY, 2)])
        half = names(gallery)
        operations = len(gallery.operations())
        gallery.close(sync=False)
    with started("-c", KILLED, path, what, when, line="started") as process:
        assert process.stdout is not None
        if when == "inside":
            assert process.stdout.readline() == "inside\n"
        else:
            time.sleep(float(when))
        process.kill()
    full = {f"who{number:04d}": 5 for number in range(MANY // 5)}
    before, after = {
        "merge": (full, {"who0000": MANY}),
        "clear": (full, {}),
        "undo": (half, full),
        "redo": (full, half),
    }[what]
    with Gallery.open(path, write=True) as gallery:
        found = names(gallery)
        assert found in (before, after)
        assert when != "inside" or found == before
        assert len(gallery.operations()) == operations + (what == "redo") + (found == after)
        assert gallery.record.check_integrity() == ()
        gallery.close(sync=False)
