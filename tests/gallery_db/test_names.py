"""Names of identities: the rule, and that every door to a gallery has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.gallery import ColourEmbedder, model_named, save_picture, unit_vectors
from support.tracks import make_detection, make_document
from support.transfer import make_gallery

from gallery_db import Curator, Entry, Gallery, GalleryError, GtrackError, export_parquet, import_parquet, ingest_folder
from gallery_db.names import name_problem, unknown_name, unknown_number, validate_identity_name
from tracking import read_tracks
from tracking.evaluation.truth import read_people, scene_truth

EVIL = "ann\x1b[31m\u202e"


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x00", "tab\t", "del\x7f", "\udcff", "a\u2028b"], ids=ascii)
def test_invalid_names(name: str) -> None:
    if name == "tab\t":  # blanks around a name are no part of it
        assert validate_identity_name(name) == "tab"
        return
    with pytest.raises(GalleryError):
        validate_identity_name(name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        pytest.param("a\x9b1m", "U+009B", id="C1"),
        pytest.param("a\x1b]0;x\x07", "U+001B", id="escape sequence"),
        pytest.param("\u202egnp.exe", "U+202E", id="override"),
        pytest.param("a\u2066b", "U+2066", id="isolate"),
        pytest.param("al\u200bice", "U+200B", id="zero width space"),
        pytest.param("al\u200dice", "U+200D", id="joiner that joins nothing"),
        pytest.param("alice\ufe0f", "U+FE0F", id="selector that selects nothing"),
        pytest.param("\u3164", "U+3164", id="filler"),
        pytest.param("\ud800", "not valid Unicode", id="half of a character"),
        pytest.param("x" * 256, "256 bytes", id="long"),
        pytest.param("é" * 128, "256 bytes", id="long in bytes"),
        pytest.param("x" * 100_000, "100000 characters", id="very long"),
    ],
)
def test_names_that_act_mislead_or_are_long(name: str, problem: str) -> None:
    with pytest.raises(GalleryError, match="cannot be an identity's name") as caught:
        validate_identity_name(name)
    assert problem in caught.value.message
    assert len(caught.value.message) < 300
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "name",
    ["José", "李小龙", "علی\u200cرضا", "क्\u200dष", "👩\u200d🚀", "葛\U000e0100城", "x" * 255, "=1+1", "o'neil", "a/b"],
    ids=ascii,
)
def test_names_of_all_scripts(name: str) -> None:
    assert validate_identity_name(name) == name
    assert name_problem(name) is None


def test_equal_names_are_one_name() -> None:
    assert validate_identity_name(" Jose\u0301 ") == "José"


def test_every_door_refuses_a_bad_name(tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    people.write_text(f"gt_id,person\n1,{EVIL}\n", encoding="utf-8")
    make_gallery(tmp_path / "old", [Entry(id="x", identity=EVIL)], old=True)
    with Gallery.open(tmp_path / "old") as old:
        export_parquet(old, tmp_path / "old.parquet")
    with Gallery.create(tmp_path / "g", model_named()) as gallery:
        gallery.add([Entry(id="a", identity="a")], unit_vectors(1))
        doors = {
            "add": lambda: gallery.add([Entry(id="b", identity=EVIL)], unit_vectors(1)),
            "update": lambda: gallery.update([Entry(id="a", identity=EVIL)]),
            "rename": lambda: Curator(gallery).rename("a", EVIL),
            "merge": lambda: Curator(gallery).merge(["a"], EVIL),
            "move": lambda: Curator(gallery).move(["a"], EVIL, new=True),
            "Parquet": lambda: import_parquet(tmp_path / "new", tmp_path / "old.parquet"),
            "track-v1": lambda: list(read_tracks(make_document({0: [make_detection("1", EVIL, 0.1)]}))),
            "truth": lambda: scene_truth({"known": [EVIL], "strangers": [], "frames": []}),
            "people": lambda: read_people(people),
        }
        for door, enter in doors.items():
            with pytest.raises(GtrackError, match="cannot be an identity's name: it holds the control character") as e:
                enter()
            assert e.value.message.isprintable(), door
    assert not (tmp_path / "new").exists()


def test_ingest_skips_a_folder_with_a_bad_name(tmp_path: Path) -> None:
    save_picture(tmp_path / "people" / EVIL / "1.png", 1)
    save_picture(tmp_path / "people" / "Jose\u0301" / "2.png", 2)
    embedder = ColourEmbedder()
    with Gallery.create(tmp_path / "g", embedder.model) as gallery:
        report = ingest_folder(gallery, tmp_path / "people", embedder)
        assert [one.identity for one in gallery.identities()] == ["José"]
    ((_, reason),) = report.skipped
    assert reason == "cannot be an identity's name: it holds the control character U+001B"


def test_old_names_can_be_used_and_renamed(tmp_path: Path) -> None:
    make_gallery(tmp_path / "g", [Entry(id="x", identity=EVIL), Entry(id="y", identity="bob")], old=True)
    with Gallery.open(tmp_path / "g", write=True) as gallery:
        gallery.add([Entry(id="z", identity=EVIL)], unit_vectors(1))  # a run enrols for the identity that it found
        assert Curator(gallery).reject(["x"], "bob") == (1, None)
        # The name as the table shows it.
        assert Curator(gallery).rename(r"ann\x1b[31m\u202e", "ann") == 2
        assert [one.identity for one in gallery.identities()] == ["ann", "bob"]


@pytest.mark.parametrize(("number", "name"), [(0, "unknown-0000"), (7, "unknown-0007"), (12345, "unknown-12345")])
def test_unknown_names_hold_their_numbers(number: int, name: str) -> None:
    assert unknown_name(number) == name
    assert unknown_number(name) == number


@pytest.mark.parametrize("name", ["unknown-7", "unknown-0007b", "Unknown-0007", "alice", ""])
def test_other_names_hold_no_number(name: str) -> None:
    assert unknown_number(name) is None
