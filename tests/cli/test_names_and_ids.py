"""Names and ids that people type: short ids, beginnings of ids, suggestions, completion, local times."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.gallery import DIMENSION, model_named, unit_vectors
from typer.testing import CliRunner, Result

from cli.main import app
from gallery_db import Entry, Gallery, GtrackError, take_snapshot
from gallery_db.store.schema import RECORD_NAME

ALICE = "img-5d41402abc4b2a76b971"
ALSO_ALICE = "img-5d41402abcffffffffff"
BOB = "img-900150983cd24fb0d696"
TRACK = "track-69bbf4aaeed304d6-person-000007-2"
SHORT_TRACK = "track-69bbf4aa-person-000007-2"
AT = "2026-05-31T23:30:05+00:00"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    entries = [
        Entry(ALICE, "alice", created_at=AT),
        Entry(ALSO_ALICE, "alice", created_at=AT),
        Entry(BOB, "bob", created_at=AT),
        Entry(TRACK, "bob", origin="track", created_at=AT),
    ]
    with Gallery.create(tmp_path / "g", model_named(), "people") as gallery:
        gallery.add(entries, unit_vectors(len(entries), DIMENSION))
        take_snapshot(gallery, "before-cleaning")
    return tmp_path / "g"


def run(path: Path, *words: Any, code: int = 0) -> Result:
    narrow = {"FORCE_COLOR": "1", "TERM": "dumb"}  # a terminal of 80 columns, to Rich
    done = CliRunner().invoke(app, ["gallery", *map(str, words), "-g", str(path)], env=narrow)
    assert (done.exit_code == 0) == (code == 0), (done.output, done.exception)
    return done


def failure(path: Path, *words: Any) -> GtrackError:
    error = run(path, *words, code=1).exception
    assert isinstance(error, GtrackError), error
    return error


# --- ids --------------------------------------------------------------------------------------------------------


def test_tables_show_the_shortest_unambiguous_ids(path: Path) -> None:
    shown = run(path, "list", "--entries").stdout.split()
    assert {"img-5d41402abc4", "img-5d41402abcf", "img-90015098"} <= set(shown)
    assert SHORT_TRACK in shown
    assert {ALICE, BOB} <= set(run(path, "list", "--entries", "--full-ids").stdout.split())
    assert "img-90015098" in run(path, "show", "bob").stdout.split()
    assert {json.loads(line)["id"] for line in run(path, "show", "alice", "--json").stdout.splitlines()} == {
        ALICE,
        ALSO_ALICE,
    }


def test_a_beginning_of_an_id_names_an_entry(path: Path) -> None:
    assert json.loads(run(path, "show", "img-5d41402abc4", "--json").stdout)["id"] == ALICE
    answer = json.loads(run(path, "query", "--entry", "img-9", "-k", "1", "--json").stdout)
    assert answer["matches"][0]["id"] == BOB
    run(path, "move", "img-5d41402abc4", "--to", "bob")
    run(path, "reject", "img-9001", "--not", "alice")
    run(path, "split", "bob", "img-9001", "--as", "carl")
    run(path, "remove", SHORT_TRACK)
    with Gallery.open(path) as gallery:
        assert {e.id: e.identity for e in gallery.entries()} == {ALICE: "bob", ALSO_ALICE: "alice", BOB: "carl"}


@pytest.mark.parametrize("command", [["show"], ["query", "--entry"], ["remove"], ["reject", "--not", "bob"]])
def test_an_ambiguous_beginning_lists_the_candidates(path: Path, command: list[str]) -> None:
    error = failure(path, *command, "img-5d41")
    assert "img-5d41402abc4 (alice), img-5d41402abcf (alice)" in error.message
    with Gallery.open(path) as gallery:
        assert len(gallery) == 4


def test_too_short_a_beginning_is_no_id(path: Path) -> None:
    assert "holds no entry 'img'" in failure(path, "remove", "img").message


def test_contact_sheets_have_short_ids(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gallery_db.media import contact_sheet

    drawn: list[str] = []
    draw = contact_sheet._draw_text
    monkeypatch.setattr(contact_sheet, "_draw_text", lambda *a: (drawn.append(a[2]), draw(*a)))
    run(path, "show", "bob", "--contact-sheet", tmp_path / "bob.png")
    assert "img-90015098" in drawn
    assert SHORT_TRACK in ["".join(pair) for pair in pairwise(drawn)]  # in two lines, not shortened
    run(path, "query", "--entry", BOB, "-k", "1", "--contact-sheet", tmp_path / "q.png")
    assert "distance 0.000" in drawn
    assert drawn[-1] == "img-90015098"
    with Image.open(tmp_path / "q.png") as sheet:
        assert sheet.height > 192


# --- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["show", "alcie"], "'alice'"),
        (["list", "--identity", "Alise"], "'alice'"),
        (["query", "--entry", BOB, "--where", "identity=alicia"], "'alice'"),
        (["list", "--collection", "poeple"], "'people'"),
        (["restore", "before-cleanin", "--yes"], "'before-cleaning'"),
    ],
)
def test_suggests_names(path: Path, words: list[str], meant: str) -> None:
    assert failure(path, *words).hint == f"Did you mean {meant}?"


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        (["--tracker", "galery_hybrid"], "Did you mean 'gallery_hybrid'"),
        (["--tracker", "bytetrack"], "It is a temporal tracker"),
        (["--temporal", "bytetrak"], "Did you mean 'bytetrack'"),
    ],
)
def test_suggests_trackers(option: list[str], hint: str) -> None:
    done = CliRunner().invoke(app, ["run", "no.mp4", "--dets-json", "no.json", *option])
    assert isinstance(done.exception, GtrackError)
    assert (done.exception.hint or "").startswith(hint)


def complete(*words: str, incomplete: str = "") -> list[str]:
    """Return what Bash is answered; a completion never fails, and prints nothing else."""
    line = ["gtrack", *words, incomplete]
    asked = {"_GTRACK_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(line), "COMP_CWORD": str(len(line) - 1)}
    done = CliRunner().invoke(app, [], prog_name="gtrack", env=asked)
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    return done.stdout.split()


def test_completes_names(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete("gallery", "show", "-g", str(path), incomplete="al") == ["alice"]
    monkeypatch.setenv("GTRACK_GALLERY", str(path))
    assert complete("gallery", "rename") == ["alice", "bob"]
    assert complete("gallery", "list", "--collection") == ["people"]
    assert complete("gallery", "restore", incomplete="b") == ["before-cleaning"]
    assert "gallery_hybrid" in complete("run", "--tracker", incomplete="gallery_h")
    assert complete("run", "--temporal", incomplete="byte") == ["bytetrack"]
    assert complete("run", "--reid-weights", incomplete="bui") == ["builtin"]
    for bad in ("/nowhere", "http://localhost:1", str(path.parent)):
        assert complete("gallery", "show", "-g", bad) == []
    (path / RECORD_NAME).write_bytes(b"damaged")
    assert complete("gallery", "show") == []


# --- times ------------------------------------------------------------------------------------------------------


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_tables_have_local_times_and_json_has_a_zone(path: Path, tokyo: None) -> None:
    assert "2026-06-01 08:30" in " ".join(run(path, "list").stdout.split())
    assert json.loads(run(path, "list", "--json").stdout.splitlines()[0])["first_created"] == AT


def test_an_age_in_m_is_refused(path: Path) -> None:
    error = failure(path, "purge", "--older-than", "6m", "--yes")
    assert error.hint == "Write 6min or 6months."
