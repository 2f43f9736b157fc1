"""A damaged entry is left out with a warning, found by verify, and repaired where what it was is known."""

from __future__ import annotations

import random
import shutil
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support.cli import gtrack
from support.gallery import entries_named, model_named, unit_vectors

from gallery_db import (
    Curator,
    Entry,
    Gallery,
    GalleryError,
    GalleryFormatError,
    GtrackError,
    restore_snapshot,
    take_snapshot,
)
from gallery_db.store.schema import FORMAT_VERSION, RECORD_NAME
from gallery_db.transfer.parquet_export import export_parquet
from gallery_db.transfer.parquet_import import import_parquet

MODEL = model_named()
COUNT = 20
VECTORS = unit_vectors(COUNT)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "g"
    with Gallery.create(path, MODEL) as gallery:
        gallery.add(entries_named(COUNT), VECTORS)
        gallery.sync_index()
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "g")
    return tmp_path / "g"


def sql(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path / RECORD_NAME)) as connection:
        connection.execute(statement, values)
        connection.commit()


def damage_vector(path: Path, number: int = 3) -> None:
    """Flip two bits, so that the vector has an infinite number: it was the nearest to every second probe."""
    blob = bytearray(VECTORS[number].astype("<f4").tobytes())
    blob[4:8] = struct.pack("<f", np.inf)
    sql(path, "UPDATE vectors SET vector = ? WHERE seq = ?", bytes(blob), number + 1)


def flip_sign(path: Path, number: int = 3) -> None:
    """Flip one bit: finite and of unit length, but another vector."""
    blob = bytearray(VECTORS[number].astype("<f4").tobytes())
    blob[7] ^= 0x80
    sql(path, "UPDATE vectors SET vector = ? WHERE seq = ?", bytes(blob), number + 1)


def rename(path: Path, number: int = 3) -> None:
    sql(path, "UPDATE entries SET identity = 'wgo0000' WHERE seq = ?", number + 1)


def drop_vector(path: Path, number: int = 3) -> None:
    sql(path, "DELETE FROM vectors WHERE seq = ?", number + 1)


def not_utf8(path: Path, number: int = 3) -> None:
    sql(path, "UPDATE entries SET identity = CAST(x'FF68' AS TEXT) WHERE seq = ?", number + 1)


def no_text(path: Path, number: int = 3) -> None:
    sql(path, "UPDATE entries SET class_name = x'00' WHERE seq = ?", number + 1)


DAMAGE: list[Callable[[Path], None]] = [damage_vector, flip_sign, rename, drop_vector, not_utf8, no_text]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_left_out_with_a_warning_and_repaired(path: Path, damage: Callable[[Path], None]) -> None:
    damage(path)
    with Gallery.open(path) as gallery:
        found = gallery.query(VECTORS, top_k=1)
        names = [row[0].entry.id for row in found]
        assert "e00003" not in names
        assert [name for n, name in enumerate(names) if n != 3] == [f"e{n:05d}" for n in range(COUNT) if n != 3]
        assert len(gallery.view()) == COUNT - 1
        (notice,) = gallery.notices
        assert "'e00003'" in notice
        assert "rebuild" in notice
        with pytest.raises(GalleryFormatError, match="damaged"):
            gallery.get("e00003")
        report = gallery.verify()
        assert (report.ok, report.record_ok, report.damaged) == (False, False, ("e00003",))
        assert (report.missing, report.extra, report.different) == ((), (), ())
        gallery.rebuild()
        assert any("repaired" in notice for notice in gallery.notices)
        assert gallery.verify().ok
    with Gallery.open(path) as gallery:
        entry, vector = gallery.get("e00003")
        assert entry.identity == "who0000"
        np.testing.assert_allclose(vector, VECTORS[3], atol=1e-6)
        assert gallery.notices == []


def test_a_snapshot_repairs_bit_for_bit(path: Path) -> None:
    with Gallery.open(path) as gallery:
        before = gallery.get("e00003")
        take_snapshot(gallery, "before")
    flip_sign(path)
    rename(path)
    shutil.rmtree(path / "chroma")
    with Gallery.open(path) as gallery:
        gallery.rebuild()
        after = gallery.get("e00003")
    assert after[0] == before[0]
    assert after[1].tobytes() == before[1].tobytes()


def test_what_cannot_be_repaired_stays_out_and_can_be_replaced(path: Path) -> None:
    flip_sign(path)
    shutil.rmtree(path / "chroma")
    done = gtrack("gallery", "verify", "-g", path, code=1)
    assert "'e00003' (vector)" in done.stdout
    assert "cannot be repaired: 'e00003'" in gtrack("gallery", "rebuild", "-g", path).stderr
    with Gallery.open(path, write=True) as gallery:
        assert len(gallery.view()) == COUNT - 1
        Curator(gallery).rename("who0000", "new name")  # its description is intact
        Curator(gallery).remove(["e00003"])
        with pytest.raises(GalleryError, match=r"e00003"):  # never brought back as if it were intact
            gallery.undo()
        gallery.add([Entry(id="e00003", identity="again")], VECTORS[3:4])
        assert len(gallery.view()) == COUNT
        gallery.sync_index()
        assert gallery.verify().ok


def test_a_change_is_not_made_of_a_damaged_description(path: Path) -> None:
    rename(path)
    with Gallery.open(path, write=True) as gallery:
        with pytest.raises(GalleryFormatError, match="'e00003' damaged"):
            gallery.update([Entry(id="e00003", identity="x")])
        gallery.replace([Entry(id="e00003", identity="x")], VECTORS[3:4])
        assert gallery.get("e00003")[0].identity == "x"
        assert len(gallery.view()) == COUNT


def test_an_index_of_ids_that_leads_elsewhere_is_said(path: Path) -> None:
    """SQLite trusts its index: an id in it that leads to another row gave another name, silently."""
    data = (path / RECORD_NAME).read_bytes()
    assert b"e00003\x04" in data  # in an index: the id and the row number
    (path / RECORD_NAME).write_bytes(data.replace(b"e00003\x04", b"e00003\x05"))
    with Gallery.open(path) as gallery, pytest.raises(GalleryFormatError, match="not found by their ids"):
        gallery.query(VECTORS, top_k=1)


def test_lost_entries_are_said(path: Path) -> None:
    sql(path, "DELETE FROM entries WHERE seq = 4")
    with Gallery.open(path) as gallery:
        gallery.query(VECTORS)
        assert "1 entries are lost" in gallery.notices[0]
        assert not gallery.verify().record_ok


def test_every_way_of_writing_writes_checksums(path: Path) -> None:
    with Gallery.open(path, write=True) as gallery:
        curator = Curator(gallery)
        gallery.add(entries_named(4, "n"), unit_vectors(4, seed=1))
        gallery.replace([Entry(id="e00001", identity="x")], unit_vectors(1, seed=2))
        curator.rename("who0002", "renamed")
        curator.remove(["e00005"])
        gallery.remove(["e00006"])
        gallery.restore(["e00006"])
        take_snapshot(gallery, "now")
        gallery.undo(3)
        gallery.sync_index()
        assert gallery.verify().ok
        assert gallery.record.entries.count_lost(gallery.collection_key) == 0
    with Gallery.open(path) as gallery:
        export_parquet(gallery, path.parent / "out.parquet")
    import_parquet(path.parent / "copy", path.parent / "out.parquet")
    restore_snapshot(path, "now")
    for place in (path, path.parent / "copy"):
        with Gallery.open(place) as gallery:
            assert gallery.verify().ok
            assert len(gallery.view()) == len(gallery)
            assert gallery.notices == []


def test_older_records_are_read_as_they_are_and_get_checksums_when_written(path: Path) -> None:
    for statement in (
        "DROP TABLE setting_changes",
        "ALTER TABLE operations DROP COLUMN target",
        "DROP TABLE checksums",
        "ALTER TABLE changes DROP COLUMN checksum",
        "ALTER TABLE changes DROP COLUMN vector_checksum",
        "PRAGMA user_version = 2",
    ):
        sql(path, statement)
    damage_vector(path)
    with Gallery.open(path) as gallery:
        assert gallery.stats().format_version == 2
        assert len(gallery.view()) == COUNT - 1  # not of unit length
        assert "'e00003'" in gallery.notices[0]
        assert gallery.history()
    with Gallery.open(path, write=True) as gallery:
        assert gallery.stats().format_version == FORMAT_VERSION
        assert gallery.verify().damaged == ("e00003",)
        Curator(gallery).rename("who0001", "b")
        gallery.undo()
    flip_sign(path, 7)  # what is damaged from now on has another checksum
    with Gallery.open(path) as gallery:
        assert gallery.verify().damaged == ("e00003", "e00007")


def test_a_damaged_log_undoes_nothing(path: Path) -> None:
    with Gallery.open(path, write=True) as gallery:
        Curator(gallery).remove(["e00003"])
    sql(path, "UPDATE changes SET vector = zeroblob(64) WHERE action = 'remove'")
    with Gallery.open(path, write=True) as gallery, pytest.raises(GtrackError, match="damaged"):
        gallery.undo()


def test_flipped_bits_never_give_a_wrong_answer_silently(path: Path) -> None:
    """A small portion of tests/benchmarks/damage_rounds.py, of the record and in this process."""
    data = (path / RECORD_NAME).read_bytes()
    for seed in range(120):
        generator = random.Random(seed)
        damaged = bytearray(data)
        for _ in range(generator.randint(1, 3)):
            bit = generator.randrange(len(data) * 8)
            damaged[bit // 8] ^= 1 << bit % 8
        (path / RECORD_NAME).write_bytes(damaged)
        try:
            with Gallery.open(path) as gallery:
                found = gallery.query(VECTORS, top_k=1)
                notices = gallery.notices
        except GtrackError:
            continue
        answer = [(row[0].entry.id, row[0].entry.identity) if row else None for row in found]
        wanted = [(f"e{n:05d}", f"who{n // 5:04d}") for n in range(COUNT)]
        assert answer == wanted or notices, seed
