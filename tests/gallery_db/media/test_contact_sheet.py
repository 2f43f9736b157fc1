"""Contact sheets, and files that are written completely or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.gallery import picture, save_picture

from gallery_db import ContactRow, Entry, GalleryError, Match, write_contact_sheet, write_entry_sheet
from gallery_db.atomic_files import atomic_path


def rows(folder: Path) -> list[ContactRow]:
    first = save_picture(folder / "a b.png", 1)
    crop = save_picture(folder / "crop.png", 2)
    (folder / "bad.png").write_bytes(b"x")
    entries = [
        Entry(id="1", identity="Zoë ✓ 人", source=str(first)),
        Entry(id="2", identity="a very long name " * 5, source=str(folder / "gone.png")),
        Entry(id="3", identity="bad", source=str(folder / "bad.png")),
        Entry(id="4", identity="video", origin="track", source="/v.mp4", frame=3, box=(0, 0, 5, 5)),
        Entry(id="5", identity="crop", origin="track", source="/v.mp4", frame=3, extra={"crop": str(crop)}),
        Entry(id="6", identity="box", source=str(first), box=(2.0, 3.0, 20.0, 40.0)),
        Entry(id="7", identity="box outside", source=str(first), box=(200.0, 3.0, 220.0, 40.0)),
    ]
    matches = [Match(entry, 0.1 * number) for number, entry in enumerate(entries)]
    return [
        ContactRow(first, "file", matches),
        ContactRow(np.asarray(picture(3)), "array", matches[:2]),
        ContactRow(None, "nothing", []),
        ContactRow(folder / "gone.png", "gone", matches[:1]),
    ]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".PNG", ".tif"])
def test_a_sheet_has_a_row_for_each_probe(tmp_path: Path, suffix: str) -> None:
    path = write_contact_sheet(tmp_path / f"sheet{suffix}", rows(tmp_path / "pictures"))
    with Image.open(path) as image:
        image.load()
        assert image.width > 8 * 128
        assert image.height > 4 * 192
    assert sorted(item.name for item in tmp_path.iterdir()) == ["pictures", f"sheet{suffix}"]


def test_pictures_keep_their_colours(tmp_path: Path) -> None:
    red = np.zeros((192, 128, 3), np.uint8)
    red[:, :, 2] = 255  # BGR
    path = write_contact_sheet(tmp_path / "sheet.png", [ContactRow(red, "red", [])])
    with Image.open(path) as image:
        assert image.getpixel((12 + 64, 12 + 96)) == (255, 0, 0)


@pytest.mark.parametrize("name", ["sheet.xyz", "sheet", "absent/sheet.png"])
def test_unwritable_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(GalleryError) as caught:
        write_contact_sheet(tmp_path / name, [ContactRow(None, "x", [])])
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_no_rows(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="found 0"):
        write_contact_sheet(tmp_path / "sheet.png", [])


def test_atomic_path_replaces_only_with_a_complete_file(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as path:  # noqa: PT012
        assert path.parent == tmp_path
        assert path.suffix == ".json"
        path.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    with pytest.raises(FileNotFoundError), atomic_path(target):
        pass
    with atomic_path(target) as path:
        path.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("count", [1, 10, 13])
def test_entries_are_drawn_in_a_grid(tmp_path: Path, count: int) -> None:
    entries = [
        Entry(id=f"e{n}", identity="a", source=str(save_picture(tmp_path / f"{n}.png", n))) for n in range(count)
    ]
    with Image.open(write_entry_sheet(tmp_path / "sheet.png", entries)) as image:
        assert image.width // (128 + 12) == min(count, 10)
        assert image.height // (192 + 56 + 12) == -(-count // 10)
        left, top = (12 + 64, 12 + 10)
        assert image.convert("RGB").getpixel((left, top)) == picture(0).convert("RGB").getpixel((16, 2))


@pytest.mark.parametrize("count", [0, 2001])
def test_too_few_or_too_many_entries(tmp_path: Path, count: int) -> None:
    with pytest.raises(GalleryError, match="1 to 2000"):
        write_entry_sheet(tmp_path / "sheet.png", [Entry(id="e", identity="a")] * count)
