"""Imported pictures: with their entries or not at all, wherever the import is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.gallery import save_picture
from support.transfer import list_files, make_gallery

from gallery_db import Entry, Gallery, export_parquet, import_parquet
from gallery_db.media.staged_pictures import STAGED_KEY, place_staged

COUNT = 12

IMPORT = """
import os, signal, sys
from gallery_db import import_parquet
left = int(sys.argv[3])
def hook(event, arguments):
    global left
    if event != "os.rename":
        return
    if os.path.relpath(arguments[1], sys.argv[1]).startswith((".pictures", "pictures", "crops")):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
import_parquet(sys.argv[1], sys.argv[2])
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Entries with pictures at paths of their own and in the folder of imported ones, in a Parquet file."""
    entries = []
    for number in range(COUNT):
        source = save_picture(tmp_path / "sources" / f"{number}.png", number)
        crop = {"crop": f"crops/{number}.png"} if number % 2 else {}
        if crop:
            save_picture(tmp_path / "a" / crop["crop"], number)
        entries.append(Entry(id=f"e{number:02}", identity="a", source=str(source), extra=dict(crop)))
    crops = tmp_path / "a" / "crops"
    crops.rename(tmp_path / "crops")
    (tmp_path / "a").rmdir()
    make_gallery(tmp_path / "a", entries)
    (tmp_path / "crops").rename(crops)
    with Gallery.open(tmp_path / "a") as gallery:
        assert export_parquet(gallery, tmp_path / "f.parquet", pictures=True).pictures == COUNT
    for path in (tmp_path / "sources").iterdir():
        path.unlink()
    return tmp_path / "f.parquet"


def import_and_die(place: Path, file: Path, at: int) -> None:
    """Import in a process that is killed when it renames something of the pictures for the `at`-th time."""
    done = subprocess.run([sys.executable, "-c", IMPORT, str(place), str(file), str(at)], check=False)
    assert done.returncode == -9


def hidden(folder: Path) -> list[str]:
    return [path for path in list_files(folder) if path.startswith(".")]


@pytest.mark.parametrize("at", [2, 7, COUNT + 1])
def test_a_kill_while_pictures_are_placed(file: Path, tmp_path: Path, at: int) -> None:
    import_and_die(tmp_path / "b", file, at)
    assert hidden(tmp_path / "b"), "some were not in place"
    with Gallery.open(tmp_path / "b") as gallery:  # reading is enough
        assert len(gallery) == COUNT
        assert gallery.without_picture() == ()
        assert not gallery.record.meta(STAGED_KEY)
    assert hidden(tmp_path / "b") == []


def test_a_kill_before_the_entries_are_stored(file: Path, tmp_path: Path) -> None:
    import_and_die(tmp_path / "b", file, 1)
    with Gallery.open(tmp_path / "b") as gallery:
        assert len(gallery) == 0
    with Gallery.open(tmp_path / "b", write=True):
        pass
    assert hidden(tmp_path / "b") == []
    report = import_parquet(tmp_path / "b", file)
    assert (report.added, report.pictures) == (COUNT, COUNT)


def test_missing_pictures_are_found(file: Path, tmp_path: Path) -> None:
    import_parquet(tmp_path / "b", file)
    with Gallery.open(tmp_path / "b", write=True) as gallery:
        assert gallery.without_picture() == ()
        (tmp_path / "b" / "crops" / "3.png").unlink()
        gallery.add([Entry(id="api", identity="a")], gallery.get("e00")[1][None])
        assert gallery.without_picture() == ("e03",)
    with Gallery.open(tmp_path / "a") as gallery:  # its sources are gone
        assert gallery.without_picture() == tuple(f"e{number:02}" for number in range(0, COUNT, 2))


def test_a_record_from_outside_moves_nothing_out_of_its_folder(tmp_path: Path) -> None:
    gallery, outside = tmp_path / "g", tmp_path / "outside"
    for folder in (gallery, outside):
        folder.mkdir()
    (outside / "mine.png").write_text("mine")
    (gallery / ".pictures-00000001").symlink_to(outside)
    place_staged(gallery, ".pictures-00000001")
    place_staged(gallery, "../outside")
    (gallery / "crops").symlink_to(outside)
    save_picture(gallery / ".pictures-00000002" / "crops" / "mine.png", 1)
    with pytest.raises(OSError, match="leads out"):
        place_staged(gallery, ".pictures-00000002")
    assert (outside / "mine.png").read_text() == "mine"
    assert list_files(outside) == ["mine.png"]
