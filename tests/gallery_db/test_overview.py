"""Sheets of a whole gallery: a row of each identity, pages of many."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from support.gallery import entries_named, model_named, unit_vectors

from gallery_db import Gallery, GalleryError, write_gallery_sheet


def gallery_of(path: Path, identities: int, each: int = 3) -> Gallery:
    entries = entries_named(identities * each, per_identity=each)
    gallery = Gallery.open_or_create(path, model_named())
    if entries:
        gallery.add(entries, unit_vectors(len(entries)))
    return gallery


def test_one_page(tmp_path: Path) -> None:
    with gallery_of(tmp_path / "g", 4) as gallery:
        pages = write_gallery_sheet(tmp_path / "people.png", gallery)
    assert pages == (tmp_path / "people.png",)
    with Image.open(pages[0]) as image:
        assert image.width == 12 + 3 * (128 + 12)
        rows = image.height // 4
        assert 192 + 22 < rows < 330


def test_many_identities_take_pages(tmp_path: Path) -> None:
    seen = []
    with gallery_of(tmp_path / "g", 45, each=1) as gallery:
        pages = write_gallery_sheet(tmp_path / "people.jpg", gallery, progress=lambda *done: seen.append(done))
    assert [page.name for page in pages] == ["people-1-of-3.jpg", "people-2-of-3.jpg", "people-3-of-3.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g", *(page.name for page in pages)]
    assert seen == [(20, 45), (40, 45), (45, 45)]
    with Image.open(pages[0]) as first, Image.open(pages[2]) as last:
        assert last.height < first.height / 3


def test_a_large_identity_shows_ten_of_all_its_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []

    def record(path: Path, rows: list[object], **_: object) -> Path:
        shown.extend(rows)
        return path

    monkeypatch.setattr("gallery_db.overview.write_identity_sheet", record)
    with gallery_of(tmp_path / "g", 2, each=100) as gallery:
        write_gallery_sheet(tmp_path / "people.jpg", gallery)
    first, second = shown
    assert first.heading == "who0000 (person): 100 entries, 10 of them here"
    assert [entry.id for entry in second.entries] == [f"e{100 + 11 * n:05d}" for n in range(10)]


@pytest.mark.parametrize(
    ("identities", "name", "words"), [(0, "p.jpg", "found 0"), (1, "p.txt", "is not an image suffix")]
)
def test_what_cannot_be_drawn(tmp_path: Path, identities: int, name: str, words: str) -> None:
    with gallery_of(tmp_path / "g", identities) as gallery, pytest.raises(GalleryError) as caught:
        write_gallery_sheet(tmp_path / name, gallery)
    assert words in str(caught.value)
    assert not list(tmp_path.glob("p*"))
