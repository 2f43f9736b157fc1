"""Ingest of image folders: the first time, again, after every kind of change, and after an interruption."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest
from support import TESTS
from support.gallery import ColourEmbedder, make_people, model_named, picture, save_picture
from support.processes import started

from gallery_db import (
    Entry,
    Gallery,
    GalleryError,
    GalleryFormatError,
    GalleryReadOnlyError,
    ModelMismatchError,
    ingest_folder,
)
from gallery_db.analysis.entry_groups import camera_of
from gallery_db.transfer.ingest import IngestReport


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_people(tmp_path / "people", people=3, each=4)


PLACES: dict[Path, Path | str] = {}


@pytest.fixture(autouse=True)
def _each_place(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Run each test with the argument `place` on a gallery in a folder and on a served one."""
    if "place" in request.fixturenames:
        PLACES[tmp_path] = request.getfixturevalue("place")


def at(tmp_path: Path) -> Path | str:
    return PLACES.get(tmp_path, tmp_path / "g")


def run(
    tmp_path: Path, folder: Path, embedder: ColourEmbedder | None = None, *, index: bool = False, **options: object
) -> IngestReport:
    """Ingest as the command line does, and check that the record matches the folder."""
    embedder = embedder or ColourEmbedder()
    with Gallery.open_or_create(at(tmp_path), embedder.model) as gallery:
        report = ingest_folder(gallery, folder, embedder, **options)  # type: ignore[arg-type]
        assert gallery.record.check_integrity() == ()
        if index:
            assert gallery.verify().ok
        return report


def contents(tmp_path: Path) -> dict[str, set[str]]:
    """Return the names of the sources of each identity."""
    found: dict[str, set[str]] = {}
    with Gallery.open(at(tmp_path)) as gallery:
        for entry in gallery.entries():
            found.setdefault(entry.identity, set()).add("/".join(Path(entry.source).parts[-2:]))
    return found


def counts(report: IngestReport) -> dict[str, int]:
    names = ("added", "unchanged", "moved", "replaced", "duplicates", "pruned")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def test_the_first_ingest_adds_all_images(tmp_path: Path, folder: Path, place: Path | str) -> None:
    done: list[tuple[int, int]] = []
    report = run(tmp_path, folder, index=True, batch_size=5, progress=lambda now, total: done.append((now, total)))
    assert counts(report) == {"added": 12}
    assert (report.found, report.identities, report.skipped, report.changed) == (12, 3, (), True)
    assert done[0] == (0, 12)
    assert done[-1] == (12, 12)
    with Gallery.open(at(tmp_path)) as gallery:
        entries = list(gallery.entries())
        assert {(e.origin, e.class_name, e.frame, e.box) for e in entries} == {("image", "person", None, None)}
        assert all(e.id == f"img-{(e.content_hash or '')[:20]}" for e in entries)
        assert all(Path(e.source).is_file() for e in entries)


def test_the_second_ingest_reads_nothing(tmp_path: Path, folder: Path, place: Path | str) -> None:
    run(tmp_path, folder)
    for file in folder.rglob("*.png"):  # a file that is read now is no image
        facts = file.stat()
        file.write_bytes(b"x" * facts.st_size)
        os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    embedder = ColourEmbedder()
    report = run(tmp_path, folder, embedder)
    assert counts(report) == {"unchanged": 12}
    assert not report.changed
    assert embedder.images == 0


def test_touched_files_are_not_embedded_again(tmp_path: Path, folder: Path, place: Path | str) -> None:
    run(tmp_path, folder)
    for file in folder.rglob("*.png"):
        os.utime(file, (1, 1))
    embedder = ColourEmbedder()
    for _ in range(2):
        assert counts(run(tmp_path, folder, embedder)) == {"unchanged": 12}
    assert embedder.images == 0


def _rename_file(folder: Path) -> None:
    (folder / "p0" / "0.png").rename(folder / "p0" / "renamed [1].png")


def _rename_identity(folder: Path) -> None:
    (folder / "p0").rename(folder / "Zoë")


def _move_to_other(folder: Path) -> None:
    (folder / "p0" / "0.png").rename(folder / "p1" / "from p0.png")


def _copy_in_same(folder: Path) -> None:
    shutil.copy(folder / "p0" / "0.png", folder / "p0" / "copy.png")


def _new_content(folder: Path) -> None:
    save_picture(folder / "p0" / "0.png", 999)


def _swap(folder: Path) -> None:
    (folder / "p0" / "0.png").rename(folder / "t.png")
    (folder / "p1" / "0.png").rename(folder / "p0" / "0.png")
    (folder / "t.png").rename(folder / "p1" / "0.png")


def _delete(folder: Path) -> None:
    (folder / "p0" / "0.png").unlink()


def _new_person(folder: Path) -> None:
    save_picture(folder / "new" / "below" / "deeper" / "0.png", 555)


BASE = {f"p{person}": {f"p{person}/{number}.png" for number in range(4)} for person in range(3)}
REST = BASE["p0"] - {"p0/0.png"}

CHANGES = {
    "file renamed": (_rename_file, {"moved": 1, "unchanged": 11}, {**BASE, "p0": REST | {"p0/renamed [1].png"}}),
    "identity renamed": (
        _rename_identity,
        {"moved": 4, "unchanged": 8},
        {"p1": BASE["p1"], "p2": BASE["p2"], "Zoë": {f"Zoë/{number}.png" for number in range(4)}},
    ),
    "moved to another identity": (
        _move_to_other,
        {"moved": 1, "unchanged": 11},
        {**BASE, "p0": REST, "p1": BASE["p1"] | {"p1/from p0.png"}},
    ),
    "copied within the identity": (_copy_in_same, {"duplicates": 1, "unchanged": 12}, BASE),
    "new content": (_new_content, {"replaced": 1, "unchanged": 11}, BASE),
    "a new person, deep down": (_new_person, {"added": 1, "unchanged": 12}, {**BASE, "new": {"deeper/0.png"}}),
    "deleted": (_delete, {"unchanged": 11}, BASE),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_of_the_folder_are_followed(tmp_path: Path, folder: Path, place: Path | str, name: str) -> None:
    run(tmp_path, folder)
    change, expected, after = CHANGES[name]
    change(folder)
    embedder = ColourEmbedder()
    report = run(tmp_path, folder, embedder, index=True)
    assert counts(report) == expected
    assert contents(tmp_path) == after
    assert embedder.images == expected.get("added", 0) + expected.get("replaced", 0)
    again = run(tmp_path, folder, embedder)
    assert set(counts(again)) == {"unchanged"}
    assert again.skipped == ()


def test_two_swapped_files(tmp_path: Path, folder: Path, place: Path | str) -> None:
    run(tmp_path, folder)
    with Gallery.open(at(tmp_path)) as gallery:
        before = {entry.id: entry.identity for entry in gallery.entries()}
    _swap(folder)
    run(tmp_path, folder, index=True)
    with Gallery.open(at(tmp_path)) as gallery:
        after = {entry.id: entry.identity for entry in gallery.entries()}
    assert after.keys() == before.keys()
    assert sum(before[id_] != after[id_] for id_ in before) == 2
    assert contents(tmp_path) == BASE


def test_pruning_removes_only_entries_of_this_folder(tmp_path: Path, folder: Path, place: Path | str) -> None:
    other = make_people(tmp_path / "people-2", people=1, each=1)
    save_picture(other / "p0" / "0.png", 4242)
    run(tmp_path, folder)
    run(tmp_path, other)
    with Gallery.open(at(tmp_path), write=True) as gallery:
        vector = gallery.get(next(gallery.entries()).id)[1]
        gallery.add([Entry(id="track", identity="p0", origin="track", source="/v.mp4", frame=3)], vector)
    shutil.rmtree(folder / "p0")
    assert counts(run(tmp_path, folder)) == {"unchanged": 8}
    assert counts(run(tmp_path, folder, prune=True, index=True)) == {"unchanged": 8, "pruned": 4}
    assert contents(tmp_path) == {"p1": BASE["p1"], "p2": BASE["p2"], "p0": {"p0/0.png", "//v.mp4"}}
    make_people(folder)
    assert counts(run(tmp_path, folder)) == {"unchanged": 8, "added": 4}
    assert len(contents(tmp_path)["p0"]) == 5


def test_pruning_keeps_a_picture_that_another_file_shows(tmp_path: Path, folder: Path, place: Path | str) -> None:
    _copy_in_same(folder)
    assert counts(run(tmp_path, folder)) == {"added": 12, "duplicates": 1}
    _delete(folder)
    assert counts(run(tmp_path, folder, prune=True)) == {"unchanged": 12}
    assert contents(tmp_path) == {**BASE, "p0": REST | {"p0/copy.png"}}


def test_a_removed_entry_comes_back_while_its_file_is_there(tmp_path: Path, folder: Path, place: Path | str) -> None:
    run(tmp_path, folder)
    with Gallery.open(at(tmp_path), write=True) as gallery:
        gallery.remove([next(gallery.entries()).id])
    assert counts(run(tmp_path, folder)) == {"unchanged": 11, "added": 1}


def test_one_picture_of_two_people_is_a_conflict(tmp_path: Path, folder: Path, place: Path | str) -> None:
    shutil.copy(folder / "p0" / "0.png", folder / "p1" / "same.png")
    for _ in range(2):  # it is reported each time
        report = run(tmp_path, folder)
        assert [Path(path).name for path, _ in report.skipped] == ["same.png"]
        assert "'p0'" in report.skipped[0][1]
        assert "'p1'" in report.skipped[0][1]
    assert contents(tmp_path) == BASE


def test_unusable_files_are_reported_and_skipped(tmp_path: Path, folder: Path) -> None:
    bad = folder / "p1"
    picture(7, (300, 300)).save(bad / "cut.jpg")
    (bad / "cut.jpg").write_bytes((bad / "cut.jpg").read_bytes()[:-300])
    (bad / "empty.png").touch()
    (bad / "text.jpeg").write_text("hello")
    save_picture(bad / "tiny.png", 3, (9, 40))
    (bad / "nowhere.png").symlink_to(tmp_path / "absent.png")
    os.mkfifo(bad / "pipe.png")
    save_picture(folder / "loose.png", 4)
    (bad / "notes.txt").write_text("no image by its name")
    (bad / ".hidden.png").write_text("x")
    save_picture(folder / ".cache" / "x.png", 6)
    report = run(tmp_path, folder)
    assert counts(report) == {"added": 12}
    reasons = {Path(path).name: reason for path, reason in report.skipped}
    assert reasons.keys() == {"cut.jpg", "empty.png", "text.jpeg", "tiny.png", "nowhere.png", "pipe.png", "loose.png"}
    for name, words in {
        "cut.jpg": "truncated",
        "empty.png": "is empty",
        "text.jpeg": "not an image",
        "tiny.png": "9 x 40",
        "nowhere.png": "cannot be read",
        "pipe.png": "no regular file",
        "loose.png": "not in an identity",
    }.items():
        assert words in reasons[name]


MARKET = (
    "0001_c1s1_001051_03.png",
    "0001_c2s1_001051_03.png",
    "0002_c1s1_001051_00.png",
    "-1_c3s1_001051_03.png",
    "0000_c3s1_001051_03.png",
    "0000_c4s1_001051_03.png",
)


def make_flat(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        save_picture(root / name, 500 + seed)
    return root


def test_names_of_market_1501_say_identity_and_camera(tmp_path: Path, place: Path | str) -> None:
    flat = make_flat(tmp_path / "flat", *MARKET)
    (flat / "Thumbs.db").touch()
    report = run(tmp_path, flat)
    assert (report.layout, report.identities, report.junk, report.distractors) == ("market", 2, 1, 2)
    assert (counts(report), report.skipped) == ({"added": 3}, ())
    assert "left out: 1 junk (-1) and 2 distractors (0000)" in str(report.layout_in_words)
    with Gallery.open(at(tmp_path)) as gallery:
        found = {Path(e.source).name: (e.identity, camera_of(e), dict(e.extra)) for e in gallery.entries()}
    assert found == {
        MARKET[0]: ("0001", "c1", {"source_id": "c1"}),
        MARKET[1]: ("0001", "c2", {"source_id": "c2"}),
        MARKET[2]: ("0002", "c1", {"source_id": "c1"}),
    }
    assert counts(run(tmp_path, flat)) == {"unchanged": 3}
    (flat / MARKET[0]).rename(flat / "0003_c5s1_001051_03.png")
    assert counts(run(tmp_path, flat)) == {"moved": 1, "unchanged": 2}
    with Gallery.open(at(tmp_path)) as gallery:
        assert [e.extra["source_id"] for e in gallery.entries("0003")] == ["c5"]


def test_one_image_a_person(tmp_path: Path, place: Path | str) -> None:
    flat = make_flat(tmp_path / "flat", "alice.png", "Bob Smith.png")
    report = run(tmp_path, flat)
    assert (report.layout, counts(report)) == ("files", {"added": 2})
    assert contents(tmp_path) == {"alice": {"flat/alice.png"}, "Bob Smith": {"flat/Bob Smith.png"}}


UNCLEAR: dict[str, tuple[tuple[str, ...], str]] = {
    "numbers": (("alice1.png", "bob.png"), "'alice1.png', whose names may be numbers"),
    "market and others": ((MARKET[0], "bob.png"), f"such as {MARKET[0]!r}, beside others, such as 'bob.png'"),
    "the folders of market": (tuple(f"query/{name}" for name in MARKET[:3]), "sub-folder 'query' .* show 2 people"),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_an_unclear_layout_is_refused_until_it_is_chosen(tmp_path: Path, name: str) -> None:
    names, words = UNCLEAR[name]
    flat = make_flat(tmp_path / "flat", *names)
    with pytest.raises(GalleryFormatError, match=words) as caught:
        run(tmp_path, flat)
    assert "layout=" in (caught.value.hint or "")
    assert not (tmp_path / "g").exists()
    in_folders = "/" in names[0]
    report = run(tmp_path, flat, layout="folders" if in_folders else "files")
    assert (report.added, report.identities) == (len(names), 1 if in_folders else len(names))


def test_a_chosen_layout_names_what_it_leaves_out(tmp_path: Path, folder: Path) -> None:
    make_flat(folder, MARKET[0], "bob.png")
    report = run(tmp_path, folder, layout="market")
    assert counts(report) == {"added": 1}
    reasons = {Path(path).name: reason for path, reason in report.skipped}
    assert reasons.keys() == {"p0", "p1", "p2", "bob.png"}
    assert "which the layout 'market' does not read" in reasons["p0"]
    assert "not named as in Market-1501" in reasons["bob.png"]
    with pytest.raises(GalleryError, match="'folders', 'market', 'files' or None as `layout`, found 'x'"):
        run(tmp_path, folder, layout="x")


def test_links_are_followed_but_not_in_loops(tmp_path: Path, folder: Path) -> None:
    outside = make_people(tmp_path / "outside", people=1, each=1)
    save_picture(outside / "p0" / "0.png", 777)
    save_picture(tmp_path / "single.png", 778)
    (folder / "linked").symlink_to(outside / "p0", target_is_directory=True)
    (folder / "p0" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "p0" / "self").symlink_to(folder / "p0", target_is_directory=True)
    (folder / "p1" / "single.png").symlink_to(tmp_path / "single.png")
    report = run(tmp_path, folder)
    assert counts(report) == {"added": 14}
    assert report.skipped == ()
    assert contents(tmp_path) == {
        **BASE,
        "p1": BASE["p1"] | {"p1/single.png"},
        "linked": {"linked/0.png"},
    }


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' file names are Unicode")
def test_a_file_name_that_is_no_text_is_reported(tmp_path: Path, folder: Path) -> None:
    shutil.copy(folder / "p0" / "0.png", os.fsencode(folder / "p0") + b"/\xff.png")
    report = run(tmp_path, folder)
    assert report.added == 12
    assert "Unicode" in report.skipped[0][1]


def test_an_ingest_with_another_class_changes_the_class(tmp_path: Path, folder: Path, place: Path | str) -> None:
    run(tmp_path, folder)
    embedder = ColourEmbedder()
    assert counts(run(tmp_path, folder, embedder, class_name="car")) == {"moved": 12}
    assert embedder.images == 0
    with Gallery.open(at(tmp_path)) as gallery:
        assert gallery.stats().classes == {"car": 12}


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(GalleryFormatError, match="no sub-folder with images"):
        run(tmp_path, tmp_path / "nothing")


def test_invalid_arguments(tmp_path: Path, folder: Path, place: Path | str) -> None:
    with Gallery.create(at(tmp_path), model_named()) as gallery:
        with pytest.raises(GalleryFormatError, match="not a folder"):
            ingest_folder(gallery, tmp_path / "absent", ColourEmbedder())
        with pytest.raises(ModelMismatchError, match=r"tiny\.pt.*other\.pt"):
            ingest_folder(gallery, folder, ColourEmbedder("other.pt"))
    with Gallery.open(at(tmp_path)) as gallery, pytest.raises(GalleryReadOnlyError):
        ingest_folder(gallery, folder, ColourEmbedder())


def test_ctrl_c_keeps_the_committed_batches(tmp_path: Path, folder: Path, place: Path | str) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, folder, batch_size=5, progress=stop)
    with Gallery.open(at(tmp_path)) as gallery:
        assert len(gallery) == 5
    assert counts(run(tmp_path, folder, index=True)) == {"added": 7, "unchanged": 5}


def test_nothing_is_left_of_a_gallery_in_which_nothing_was_stored(tmp_path: Path, folder: Path) -> None:
    def stop(done: int, total: int) -> None:
        # As a kill at this moment would leave it.
        shutil.copytree(tmp_path / "g", tmp_path / "killed")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, folder, progress=stop)
    assert not (tmp_path / "g").exists()
    other = ColourEmbedder("other.pt")
    for name in ("g", "killed"):
        with Gallery.open_or_create(tmp_path / name, other.model) as gallery:
            assert gallery.is_provisional
            ingest_folder(gallery, folder, other)
            assert not gallery.is_provisional
    with pytest.raises(ModelMismatchError):
        Gallery.open_or_create(tmp_path / "killed", ColourEmbedder().model)


def test_an_empty_folder_for_a_gallery_stays(tmp_path: Path) -> None:
    (tmp_path / "g").mkdir()
    Gallery.open_or_create(tmp_path / "g", model_named()).close()
    assert list((tmp_path / "g").iterdir()) == []


KILLED = """
import sys; sys.path.insert(0, sys.argv[3])
from support.gallery import *; from gallery_db import Gallery, ingest_folder
embedder = ColourEmbedder()
with Gallery.open_or_create(sys.argv[1], embedder.model) as gallery:
    ingest_folder(gallery, sys.argv[2], embedder, batch_size=4, progress=lambda *done: print(*done, flush=True))
"""


def test_a_killed_ingest_is_continued(tmp_path: Path) -> None:
    folder = make_people(tmp_path / "people", people=10, each=12)
    have = 0
    for wait in (0.0, 0.01, 0.03):
        with started("-c", KILLED, tmp_path / "g", folder, TESTS) as process:
            assert process.stdout is not None
            for line in process.stdout:
                done = int(line.split()[0])
                if done > have:
                    break
            time.sleep(wait)
            process.kill()
        with Gallery.open(tmp_path / "g") as gallery:
            assert len(gallery) >= done
            assert gallery.record.check_integrity() == ()
            have = len(gallery)
    embedder = ColourEmbedder()
    report = run(tmp_path, folder, embedder, index=True)
    assert counts(report) == {"added": 120 - have, "unchanged": have}
    assert embedder.images == 120 - have
