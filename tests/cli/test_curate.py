"""`gtrack gallery show, rename, merge, ...` as a user meets them: words, exit codes, questions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.cli import gtrack, run_on_terminal
from support.gallery import ColourEmbedder, make_people, unit_vectors

from gallery_db import Entry, Gallery, ingest_folder

OLD = "2020-01-01T00:00:00+00:00"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people of four images, and a track of one of them."""
    place = tmp_path_factory.mktemp("made")
    folder = make_people(place / "people")
    embedder = ColourEmbedder()
    with Gallery.create(place / "g", embedder.model) as gallery:
        ingest_folder(gallery, folder, embedder)
        track = Entry(id="track-1", identity="p0", origin="track", source="/v.mp4", frame=3, created_at=OLD)
        gallery.add([track], unit_vectors(1))
    return place


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "g", tmp_path / "g")
    return tmp_path / "g"


def people(path: Path) -> dict[str, int]:
    with Gallery.open(path) as gallery:
        return {person.identity: person.entries for person in gallery.identities()}


def ids(path: Path, identity: str) -> list[str]:
    with Gallery.open(path) as gallery:
        return [entry.id for entry in gallery.entries(identity)]


def lines(*words: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gtrack(*words, "--json").stdout.splitlines()]


BASE = {"p0": 5, "p1": 4, "p2": 4}


def test_a_session(path: Path, tmp_path: Path) -> None:
    done = gtrack("gallery", "rename", "p0", "Zoë", "-g", path)
    assert "renamed 'p0' to 'Zoë': 5 entries" in done.stdout
    assert "rename the image folder 'p0' as well" in done.stderr
    one = ids(path, "Zoë")[0]
    assert "moved 1 entry to 'p1'" in gtrack("gallery", "move", one, "--to", "p1", "-g", path).stdout
    assert "as 'twin'" in gtrack("gallery", "split", "p1", one, "--as", "twin", "-g", path).stdout
    assert "removed 1 entry" in gtrack("gallery", "remove", one, "-g", path).stdout
    assert "removed 4 entries" in gtrack("gallery", "remove", "--identity", "p2", "-g", path).stdout
    assert people(path) == {"Zoë": 4, "p1": 4}
    log = lines("gallery", "log", "-g", path, "--limit", 5)
    assert [(o["action"], o["entries"]) for o in log] == [
        ("remove", 4),
        ("remove", 1),
        ("split", 1),
        ("move", 1),
        ("rename", 5),
    ]
    assert all("@" in o["who"] and o["at"] and o["words"] for o in log)
    assert "rename 'p0' to 'Zoë'" in gtrack("gallery", "log", "-g", path).stdout
    done = gtrack("gallery", "undo", 5, "-g", path).stdout.splitlines()
    assert [line.split()[:3:2] for line in done[:2]] == [["undone:", "remove"]] * 2
    assert done[-3:] == ["9 entries changed", "next undo: 2 add", "next redo: 3 rename 'p0' to 'Zoë'"]
    assert people(path) == BASE
    listed = [line.split() for line in gtrack("gallery", "log", "-g", path).stdout.splitlines() if "Zoë" in line]
    assert [line[-1] == "undone" for line in listed] == [False, True]
    assert {o["seq"]: (o["target"], o["undone"]) for o in lines("gallery", "log", "-g", path)}[12] == (3, False)
    assert "redone: 3 rename" in gtrack("gallery", "redo", "-g", path).stdout
    assert people(path) == {"Zoë": 5, "p1": 4, "p2": 4}
    assert "next redo: nothing" in gtrack("gallery", "redo", 4, "-g", path).stdout
    assert people(path) == {"Zoë": 4, "p1": 4}
    assert "intact" in gtrack("gallery", "verify", "-g", path).stdout


def test_show(path: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    done = gtrack("gallery", "show", "p0", "-g", path, "--contact-sheet", sheet)
    assert "track-1" in done.stdout
    assert "0.png" in done.stdout
    with Image.open(sheet) as image:
        assert image.width > 5 * 128
        assert image.height > 192
    shown = lines("gallery", "show", "p0", "-g", path)
    assert len(shown) == 5
    assert shown[-1]["frame"] == 3


def test_show_all_identities(path: Path, tmp_path: Path) -> None:
    done = gtrack("gallery", "show", "-g", path, "--contact-sheet", tmp_path / "all.png")
    assert done.stdout == f"contact sheet: {tmp_path / 'all.png'}\n"
    with Image.open(tmp_path / "all.png") as image:
        assert image.width > 5 * 128
        assert image.height > 3 * 192


QUESTIONS: dict[str, tuple[Sequence[str], str, dict[str, int]]] = {
    "rename": (["rename", "p0", "p1"], "Merge 'p0' (5 entries) into it?", {"p1": 9, "p2": 4}),
    "merge": (["merge", "p0", "p1", "--into", "p2"], "Merge 'p0', 'p1' (9 entries) into 'p2'?", {"p2": 13}),
    "purge": (["purge", "--older-than", "30d"], "Remove 1 entry added before", {**BASE, "p0": 4}),
    "clear": (["clear"], "Remove all entries (13)", {}),
    "restore": (["restore", "all"], "with the snapshot 'all'?", {**BASE, "p2": 4}),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_asks_before_destructive_commands(path: Path, name: str) -> None:
    words, question, expected = QUESTIONS[name]
    command = ["gallery", *words, "-g", path]
    before = BASE
    if name == "restore":
        gtrack("gallery", "snapshot", "all", "-g", path)
        gtrack("gallery", "remove", "--identity", "p2", "-g", path)
        before = {"p0": 5, "p1": 4}
    done = gtrack(*command, code=2)
    assert question in done.stderr
    assert "--yes" in done.stderr
    assert done.stdout == ""
    assert people(path) == before
    for answer in ("n\n", "\n"):
        code, out, err = run_on_terminal(answer, *command)
        assert (code, out) == (1, ""), err
        assert question in err
        assert "nothing was changed" in err
        assert people(path) == before
    code, _, err = run_on_terminal("y\n", *command)
    assert code == 0, err
    assert people(path) == expected
    gtrack("gallery", "undo", "-g", path)
    assert people(path) == before
    gtrack("gallery", "redo", "-g", path)
    assert people(path) == expected
    gtrack("gallery", "undo", "-g", path)
    gtrack(*command, "--yes")
    assert people(path) == expected
    assert "intact" in gtrack("gallery", "verify", "-g", path).stdout


def test_snapshots(path: Path) -> None:
    assert lines("gallery", "snapshot", "--list", "-g", path) == []
    assert "snapshot one: 13 entries" in gtrack("gallery", "snapshot", "one", "-g", path).stdout
    (taken,) = lines("gallery", "snapshot", "-g", path)
    assert taken["entries"] == 13
    Path(taken["path"]).write_bytes(b"x")
    listed = lines("gallery", "snapshot", "--list", "-g", path)
    assert {s["name"]: s["entries"] for s in listed} == {"one": 13, taken["name"]: None}
    assert "DAMAGED" in gtrack("gallery", "snapshot", "--list", "-g", path).stdout
    done = gtrack("gallery", "restore", taken["name"], "-g", path, "--yes", code=1)
    assert "Nothing was changed" in done.stderr
    (path / "gallery.sqlite3").write_bytes(b"nonsense" * 1000)
    gtrack("gallery", "list", "-g", path, code=1)
    assert "restored one: 13 entries" in gtrack("gallery", "restore", "one", "-g", path, "-y").stdout
    assert people(path) == BASE


def test_lists_anomalies(path: Path) -> None:
    with Gallery.open(path, write=True) as gallery:
        gallery.clear()
        vectors = unit_vectors(3)[[0] * 5 + [1] * 5 + [2] * 5] + 0.02 * unit_vectors(15, seed=1)
        vectors /= (vectors**2).sum(axis=1, keepdims=True) ** 0.5
        gallery.add([Entry(id=f"e{n:02d}", identity=f"who{n // 5}") for n in range(15)], vectors)
    assert "no anomalies found" in gtrack("gallery", "list", "--suspects", "-g", path).stdout
    assert lines("gallery", "list", "--suspects", "-g", path) == []
    gtrack("gallery", "move", "e00", "--to", "who1", "-g", path)
    found = lines("gallery", "list", "--suspects", "-g", path)
    misplaced = [row for row in found if row["kind"] == "misplaced"]
    assert [(m["entry_id"], m["identity"], m["other"]) for m in misplaced] == [("e00", "who1", "who0")]
    assert {row["kind"] for row in found} == {"misplaced", "duplicate"}
    table = gtrack("gallery", "list", "--suspects", "-g", path).stdout
    assert "may have the wrong identity" in table
    assert "e00" in table


def test_two_people_under_one_name(path: Path) -> None:
    with Gallery.open(path, write=True) as gallery:
        gallery.clear()
        vectors = unit_vectors(12)[[n // 5 for n in range(60)]] + 0.02 * unit_vectors(60, seed=1)
        vectors /= (vectors**2).sum(axis=1, keepdims=True) ** 0.5
        gallery.add([Entry(id=f"e{n:02d}", identity=f"who{n // 5:02d}") for n in range(60)], vectors)
        unlike = int((vectors[::5] @ vectors[0]).argmin())
    assert lines("gallery", "list", "--suspects", "-g", path) == []
    gtrack("gallery", "remove", f"e{5 * unlike:02d}", "-g", path)
    gtrack("gallery", "merge", f"who{unlike:02d}", "--into", "who00", "-g", path, "--yes")
    (mixed,) = lines("gallery", "list", "--suspects", "-g", path)
    fewer = [f"e{n:02d}" for n in range(5 * unlike + 1, 5 * unlike + 5)]
    assert (mixed["kind"], mixed["identity"], mixed["others"]) == ("mixed", "who00", 10)
    assert mixed["parts"] == [[f"e{n:02d}" for n in range(5)], fewer]
    table = gtrack("gallery", "list", "--suspects", "-g", path).stdout
    assert "may be two people (or one person in different clothes)" in table
    assert " ".join(fewer) in table
    gtrack("gallery", "split", "who00", *fewer, "--as", "somebody", "-g", path)
    assert "no anomalies found" in gtrack("gallery", "list", "--suspects", "-g", path).stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(["show"], 2, "an identity, the id of an entry, or --contact-sheet", id="show what"),
        pytest.param(["show", "--contact-sheet", "x.jpg", "--class", "a"], 2, "needs an identity", id="class alone"),
        pytest.param(["show", "nobody"], 1, "no identity 'nobody'", id="show nobody"),
        pytest.param(["show", "p0", "--contact-sheet", "x.txt"], 1, "not an image suffix", id="no picture"),
        pytest.param(["rename", "pp0", "x"], 1, "Did you mean", id="rename nobody"),
        pytest.param(["rename", "p0", " "], 1, "empty", id="empty name"),
        pytest.param(["rename", "p0"], 2, "new", id="no new name"),
        pytest.param(["merge", "p0", "--into", "p0"], 1, "nothing to merge", id="merge one"),
        pytest.param(["merge", "p0"], 2, "--into", id="merge into what"),
        pytest.param(["split", "p0", "none", "--as", "x"], 1, "no entry 'none'", id="split nothing"),
        pytest.param(["move", "track-1", "--to", "nobody"], 1, "no identity 'nobody'", id="move to nobody"),
        pytest.param(["remove"], 2, "either ids of entries or --identity", id="remove nothing"),
        pytest.param(["remove", "p0"], 2, "gallery remove --identity p0", id="remove a name"),
        pytest.param(["remove", "x", "--identity", "p0"], 2, "either ids of entries or --identity", id="remove both"),
        pytest.param(["purge", "--older-than", "soon"], 2, "30d", id="purge of no age"),
        pytest.param(["purge"], 2, "--older-than", id="purge of what age"),
        pytest.param(["undo", "99"], 1, "operations to undo; expected 99", id="undo too many"),
        pytest.param(["redo"], 1, "nothing to redo", id="redo nothing"),
        pytest.param(["undo", "0"], 2, "than or equal to 1", id="undo none"),
        pytest.param(["restore", "none", "--yes"], 1, "no snapshot 'none'", id="restore nothing"),
        pytest.param(["snapshot", "a/b"], 1, "cannot be a snapshot's name", id="snapshot's name"),
        pytest.param(["snapshot", "a", "--list"], 2, "either the name of a new snapshot or --list", id="snapshot both"),
        pytest.param(["list", "--suspects", "--entries"], 2, "whole gallery", id="suspects of entries"),
        pytest.param(["clear", "--collection", "none", "--yes"], 1, "no collection 'none'", id="no collection"),
    ],
)
def test_errors_change_nothing(made: Path, words: Sequence[str], code: int, message: str) -> None:
    done = gtrack("gallery", *words, "-g", made / "g", code=code)
    assert message in done.stderr
    assert done.stdout == ""
    assert people(made / "g") == BASE


@pytest.mark.parametrize(
    "command", ["show x", "log", "undo", "clear --yes", "snapshot", "snapshot --list", "restore x -y"]
)
def test_without_a_gallery(tmp_path: Path, command: str) -> None:
    done = gtrack("gallery", *command.split(), "-g", tmp_path / "none", code=1)
    assert "no gallery at" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_purge_keeps_the_users_images(path: Path) -> None:
    assert "removed 1 entry" in gtrack("gallery", "purge", "--older-than", "0min", "-g", path, "--yes").stdout
    assert "removed 0 entries" in gtrack("gallery", "purge", "--older-than", "0min", "-g", path).stdout
    assert people(path) == {**BASE, "p0": 4}
    assert "removed 0" in gtrack("gallery", "purge", "--older-than", "1h", "--all", "-g", path).stdout
