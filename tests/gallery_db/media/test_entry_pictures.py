"""Pictures of entries: from the gallery's own folder, and from files that this machine ingested."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.gallery import ColourEmbedder, save_picture, unit_vectors
from support.transfer import make_gallery

from gallery_db import Entry, Gallery, ImageError, ingest_folder, write_entry_sheet
from gallery_db.media.entry_pictures import find_picture, read_entry_picture
from gallery_db.transfer.image_folders import export_folders
from gallery_db.transfer.parquet_export import export_parquet
from gallery_db.transfer.parquet_import import import_parquet

Change = Callable[[Entry, Path], Entry]


def _import_with(tmp_path: Path, change: Change) -> Path:
    """Import what a stranger sent: an entry that `change` made to name `private.jpg`."""
    private = save_picture(tmp_path / "private.jpg", 9)
    entry = change(Entry(id="x", identity="x", source="/gone.jpg"), private)
    make_gallery(tmp_path / "a", [replace(entry, extra={}, source="")])
    with Gallery.open(tmp_path / "a") as gallery:
        export_parquet(gallery, tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    for name, value in (("source", entry.source), ("extra", entry.extra.get("crop") and _json(entry))):
        if value:
            table = table.set_column(table.column_names.index(name), name, pa.array([value]))
    pq.write_table(table, tmp_path / "b.parquet")
    import_parquet(tmp_path / "b", tmp_path / "b.parquet", index=False)
    return tmp_path / "b"


def _json(entry: Entry) -> str:
    import json

    return json.dumps(dict(entry.extra))


FOREIGN: dict[str, Change] = {
    "crop": lambda entry, private: replace(entry, origin="track", extra={"crop": str(private)}),
    "crop of an image": lambda entry, private: replace(entry, extra={"crop": str(private)}),
    "crop above": lambda entry, private: replace(entry, origin="track", extra={"crop": f"../{private.name}"}),
    "source": lambda entry, private: replace(entry, source=str(private)),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_an_imported_entry_gives_no_local_file_away(tmp_path: Path, kind: str) -> None:
    path = _import_with(tmp_path, FOREIGN[kind])
    with Gallery.open(path) as gallery:
        report = export_parquet(gallery, tmp_path / "out.parquet", pictures=True)
        assert (report.pictures, [id_ for id_, _ in report.missing]) == (0, ["x"])
        assert export_folders(gallery, tmp_path / "folders").written == 0
        with pytest.raises(ImageError, match=r"not an image in the gallery's folder|not ingested on this machine"):
            read_entry_picture(path, gallery.get("x")[0])
        sheet = write_entry_sheet(tmp_path / "sheet.png", list(gallery.entries()), gallery=path)
    with Image.open(sheet) as image:
        assert image.convert("RGB").getpixel((20, 20)) == (232, 232, 232), "a grey tile"


def test_links_lead_nowhere_else(tmp_path: Path) -> None:
    private = save_picture(tmp_path / "private.jpg", 9)
    path = make_gallery(tmp_path / "a", [Entry(id="x", identity="x", origin="track", extra={"crop": "crops/c.jpg"})])
    (path / "crops").mkdir()
    (path / "crops" / "c.jpg").symlink_to(private)
    with Gallery.open(path) as gallery:
        entry = gallery.get("x")[0]
        with pytest.raises(ImageError, match="not an image in the gallery's folder"):
            find_picture(path, entry)
    (path / "crops" / "c.jpg").unlink()
    save_picture(path / "crops" / "c.jpg", 3)
    assert find_picture(path, entry).data == (path / "crops" / "c.jpg").read_bytes()
    inside = replace(entry, extra={"crop": str(path / "crops" / "c.jpg")})
    assert find_picture(path, inside).data == (path / "crops" / "c.jpg").read_bytes(), "absolute, but in the gallery"


def test_what_this_machine_ingested_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = save_picture(tmp_path / "people" / "x" / "1.png", 1)
    with Gallery.create(tmp_path / "a", ColourEmbedder().model) as gallery:
        ingest_folder(gallery, tmp_path / "people", ColourEmbedder())
        gallery.add([Entry(id="own", identity="y", source=str(picture))], unit_vectors(1))
    with Gallery.open(tmp_path / "a") as gallery:
        export_parquet(gallery, tmp_path / "a.parquet")
        ingested, own = gallery.entries()
        for entry in (ingested, own):
            assert find_picture(tmp_path / "a", entry, gallery.record).data == picture.read_bytes()
    # Another person, with another key, gets the folder.
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    monkeypatch.setenv("GTRACK_STATE_DIR", str(tmp_path / "other state"))
    assert find_picture(tmp_path / "copy", ingested).data == picture.read_bytes(), "its path and hash are known"
    with pytest.raises(ImageError, match="not ingested on this machine"):
        find_picture(tmp_path / "copy", own)
    monkeypatch.undo()
    # The same entries, imported: known again once their folder is ingested.
    import_parquet(tmp_path / "b", tmp_path / "a.parquet", index=False)
    with pytest.raises(ImageError, match="not ingested on this machine"):
        find_picture(tmp_path / "b", ingested)
    with Gallery.open(tmp_path / "b", write=True) as gallery:
        ingest_folder(gallery, tmp_path / "people", ColourEmbedder())
        assert gallery.operations()[-1].action == "import"
    assert find_picture(tmp_path / "b", ingested).data == picture.read_bytes()


def test_a_pipe_as_a_source_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    entries = [
        Entry(id="source", identity="x", source=str(tmp_path / "pipe.jpg")),
        Entry(id="crop", identity="x", origin="track", extra={"crop": "crops/pipe.jpg"}),
    ]
    path = make_gallery(tmp_path / "a", entries)
    (path / "crops").mkdir()
    os.mkfifo(path / "crops" / "pipe.jpg")
    with Gallery.open(path) as gallery:
        for entry in entries:
            with pytest.raises(ImageError, match="found a named pipe"):
                find_picture(path, gallery.get(entry.id)[0])


def test_a_very_long_name_is_drawn_at_once(tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "1.png", 1)
    entries = [Entry(id=str(n), identity=f"{n}" + "long " * 20_000, source=str(picture)) for n in range(3)]
    start = time.process_time()
    write_entry_sheet(tmp_path / "sheet.png", entries)
    assert time.process_time() - start < 5, "it took minutes"
