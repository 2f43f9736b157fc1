"""Parts of files and folders: unlike names, and none that stays after its writer was killed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.processes import started

from gallery_db import atomic_files
from gallery_db.atomic_files import Part, atomic_path, remove_stale_parts

WRITER = """
import sys
from pathlib import Path
from gallery_db.atomic_files import Part
folder = Path(sys.argv[1])
parts = [Part(folder / "out.json"), Part(folder / "frames", folder=True), Part(folder / "copy.sqlite3")]
parts[0].path.write_text("half")
(parts[1].path / "000000.jpg").write_text("x")
parts[2].path.with_name(parts[2].path.name + "-journal").write_text("x")
print("begun", flush=True)
sys.stdin.readline()
"""


@contextmanager
def writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has begun two files and a folder, and waits."""
    with started("-c", WRITER, folder, line="begun", stdin=subprocess.PIPE) as process:
        yield process


def test_the_parts_of_a_killed_writer_are_removed_and_no_others(tmp_path: Path) -> None:
    kept = {"out.json", ".mine.part.json", ".x.gtrack-0123.part", "frames"}
    for name in kept:
        (tmp_path / name).write_text("mine")
    with writer(tmp_path) as process:
        begun = {path.name for path in tmp_path.iterdir()} - kept
        assert len(begun) == 4
        assert remove_stale_parts(tmp_path) == 0, "their writer lives"
        assert {path.name for path in tmp_path.iterdir()} == begun | kept
        process.kill()
        process.wait()
    assert {path.name for path in tmp_path.iterdir()} == begun | kept
    assert remove_stale_parts(tmp_path) == 3
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_the_next_writer_in_the_folder_removes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writer(tmp_path):
        pass
    monkeypatch.setattr(atomic_files, "_swept", set())
    with atomic_path(tmp_path / "other.txt") as path:
        path.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    """Each has a part of its own, and the last one to finish gives the file."""
    with atomic_path(tmp_path / "a.json") as one, atomic_path(tmp_path / "a.json") as two:
        assert one != two
        one.write_text("one" * 1000)
        two.write_text("two")
    assert (tmp_path / "a.json").read_text() == "one" * 1000
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_replaces_another(tmp_path: Path) -> None:
    for name in ("one", "two"):
        part = Part(tmp_path / "frames", folder=True)
        (part.path / name).write_text(name)
        part.finish()
        part.discard()
    assert [path.name for path in tmp_path.rglob("*")] == ["frames", "two"]


def test_an_empty_file_may_be_what_was_written(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "rows.txt") as path:
        path.write_text("")
    assert (tmp_path / "rows.txt").read_bytes() == b""


def test_a_long_name(tmp_path: Path) -> None:
    target = tmp_path / ("名" * 80 + ".txt")
    with atomic_path(target) as path:
        path.write_text("x")
    assert target.read_text() == "x"
