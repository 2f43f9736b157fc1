"""Galleries with entries and pictures of all kinds, for tests of transfers."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gallery_db import Entry, Gallery
from support.gallery import model_named, save_picture, unit_vectors

__all__ = ["MISSING_PICTURES", "list_files", "make_gallery", "make_pictured_gallery"]


def make_gallery(path: Path, entries: list[Entry], model: str = "tiny.pt", seed: int = 0, old: bool = False) -> Path:
    """Create a gallery of entries with random embeddings, without an index.

    With `old` as earlier versions did it, with names that are refused today.
    """
    gallery = Gallery.create(path, model_named(model))
    vectors = unit_vectors(len(entries), seed=seed)
    if old:
        gallery.record.entries.insert(gallery.collection_key, entries, vectors)
    else:
        gallery.add(entries, vectors)
    gallery.close(sync=False)
    return path


def make_pictured_gallery(tmp_path: Path) -> Path:
    """Create a gallery whose entries have an image (present, gone or changed), a box, a crop or a frame."""
    source = save_picture(tmp_path / "pictures" / "one.png", 1)
    changed = save_picture(tmp_path / "pictures" / "two.jpg", 2)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    path = tmp_path / "g"
    entries = [
        Entry(id="whole", identity="a", source=str(source), content_hash=digest),
        Entry(id="box", identity="a", source=str(source), content_hash=digest, box=(4, 8, 20, 40)),
        Entry(id="no hash", identity="b", source=str(source)),
        Entry(id="gone", identity="b", source=str(tmp_path / "gone.jpg")),
        Entry(id="changed", identity="b", source=str(changed), content_hash="0" * 64),
        Entry(id="crop", identity="c", origin="track", source="/v.mp4", frame=3, extra={"crop": "crops/c.jpg"}),
        Entry(id="no crop", identity="c", origin="track", source="/v.mp4", frame=3, box=(0, 0, 9, 9)),
        Entry(id="lost crop", identity="c", origin="track", source="/v.mp4", extra={"crop": "crops/lost.jpg"}),
        Entry(id="text", identity="c", source=str(Path(__file__))),
    ]
    make_gallery(path, entries)
    save_picture(path / "crops" / "c.jpg", 3)
    return path


MISSING_PICTURES = {
    "gone": "is gone",
    "changed": "is a different image now",
    "no crop": "It has no stored crop",
    "lost crop": "is gone",
    "text": "is not an image",
}
"""Ids of the entries of `make_pictured_gallery` without a picture, and part of the reason."""


def list_files(folder: Path) -> list[str]:
    """Return the relative paths of all files in a folder, sorted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
