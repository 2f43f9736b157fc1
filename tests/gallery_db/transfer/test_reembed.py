"""Re-embedding with another model: from crops, images, boxes and frames; again; after an interruption."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from support import TESTS
from support.cli import gtrack
from support.gallery import ColourEmbedder, GreyEmbedder, make_people, model_named, save_picture, unit_vectors
from support.processes import started

from gallery_db import (
    EmbeddingError,
    Entry,
    Gallery,
    GalleryError,
    GalleryNotFoundError,
    ModelMismatchError,
    export_parquet,
    import_parquet,
    ingest_folder,
    read_image,
    reembed_gallery,
)
from gallery_db.transfer.reembed import ReembedReport
from tracking import load_embedder
from tracking.errors import VideoError
from tracking.synthetic.rendering import Scene
from tracking.video.crops import crop
from tracking.video.frames import VideoFrames
from tracking.video.reader import VideoReader


def ingested(tmp_path: Path, people: int = 3, each: int = 4) -> Path:
    folder = make_people(tmp_path / "people", people=people, each=each)
    with Gallery.create(tmp_path / "g", model_named()) as gallery:
        ingest_folder(gallery, folder, ColourEmbedder())
    return tmp_path / "g"


def collections(path: Path) -> list[str]:
    with Gallery.open(path) as gallery:
        return [info.name for info in gallery.collections()]


def add(path: Path, *entries: Entry) -> None:
    gallery = Gallery.open(path, write=True) if path.exists() else Gallery.create(path, model_named())
    gallery.add(entries, unit_vectors(len(entries)))
    gallery.close(sync=False)


def test_a_collection_for_another_model(tmp_path: Path) -> None:
    path = ingested(tmp_path)
    with Gallery.open(path) as gallery:
        before = {entry.id: gallery.get(entry.id)[1].tobytes() for entry in gallery.entries()}
        entries = list(gallery.entries())
    embedder = GreyEmbedder()
    seen: list[tuple[int, int]] = []
    report = reembed_gallery(path, embedder, batch_size=5, progress=lambda *n: seen.append(n))
    assert embedder.batches == [5, 5, 2]
    assert seen[-1] == (12, 12)
    assert (report.entries, report.added, report.present, report.missing) == (12, 12, 0, ())
    with Gallery.open(path, model=embedder.model, write=True) as gallery:
        assert gallery.collection == report.collection
        assert list(gallery.entries()) == entries
        expected = GreyEmbedder().embed([read_image(entry.source) for entry in entries])
        np.testing.assert_array_equal(gallery.view().embeddings.sum(axis=0), expected.sum(axis=0))
        assert gallery.query(expected[3], search="hnsw")[0][0].entry.id == entries[3].id
        assert gallery.stats().index_current
        assert gallery.verify().ok
        # and an ingest of the same folder finds nothing to do
        again = ingest_folder(gallery, tmp_path / "people", GreyEmbedder())
        assert (again.added, again.unchanged) == (0, 12)
    with Gallery.open(path, collection=report.source) as gallery:
        assert {entry.id: gallery.get(entry.id)[1].tobytes() for entry in gallery.entries()} == before
        assert gallery.model == model_named()
    assert not list(path.glob("*-wal")), "the record is one file again"


def test_a_second_run_embeds_only_new_entries(tmp_path: Path) -> None:
    path = ingested(tmp_path)
    reembed_gallery(path, GreyEmbedder())
    embedder = GreyEmbedder()
    report = reembed_gallery(path, embedder)
    assert (report.added, report.present, embedder.batches) == (0, 12, [])
    save_picture(tmp_path / "people" / "p9" / "1.png", 77)
    with Gallery.open(path, write=True) as gallery:
        ingest_folder(gallery, tmp_path / "people", ColourEmbedder())
    report = reembed_gallery(path, embedder)
    assert (report.added, report.present, embedder.batches) == (1, 12, [1])
    assert len(collections(path)) == 2


def test_entries_without_a_picture_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "g"
    source = save_picture(tmp_path / "one.png", 1)
    cut = tmp_path / "cut.png"
    cut.write_bytes(source.read_bytes()[:90])
    table = {
        "image": (Entry(id="image", identity="a", source=str(source)), None),
        "box": (Entry(id="box", identity="a", source=str(source), box=(4.4, 7.6, 20.2, 99.0)), None),
        "crop": (Entry(id="crop", identity="a", origin="track", frame=3, extra={"crop": "crops/1.jpg"}), None),
        "gone": (Entry(id="gone", identity="a", source=str(tmp_path / "none.png")), "is gone"),
        "changed": (Entry(id="changed", identity="a", source=str(source), content_hash="0" * 64), "a different image"),
        "cut off": (Entry(id="cut off", identity="a", source=str(cut)), "cannot be decoded"),
        "off": (Entry(id="off", identity="a", source=str(source), box=(900, 0, 950, 9)), "covers less than"),
        "no source": (Entry(id="no source", identity="a"), "no source"),
        "no crop": (Entry(id="no crop", identity="a", origin="track", source="/v.mp4"), "no stored crop"),
        "frame": (Entry(id="frame", identity="a", origin="track", source="/v.mp4", frame=1, box=(0, 0, 9, 9)), "video"),
        "no box": (Entry(id="no box", identity="a", origin="track", source="/v.mp4", frame=1), "no box in its frame"),
        "lost": (Entry(id="lost", identity="a", origin="track", extra={"crop": "crops/2.jpg"}), "is gone"),
    }
    add(path, *(entry for entry, _ in table.values()))
    save_picture(path / "crops" / "1.jpg", 3)
    embedder = GreyEmbedder()
    report = reembed_gallery(path, embedder)
    assert report.added == 3
    reasons = dict(report.missing)
    assert set(reasons) == {name for name, (_, reason) in table.items() if reason}
    for name, reason in reasons.items():
        assert (table[name][1] or "").lower() in reason.lower(), name
    image = read_image(source)
    for picture, expected in zip(
        embedder.pictures, (image, image[8:64, 4:20], read_image(path / "crops" / "1.jpg")), strict=True
    ):
        np.testing.assert_array_equal(picture, expected)


def test_frames_of_videos(scene: Scene, tmp_path: Path) -> None:
    wanted = [(40, (30.0, 20.0, 70.0, 120.0)), (7, (10.5, 20.5, 60.5, 90.5)), (40, (0.0, 0.0, 30.0, 30.0))]
    entries = [
        Entry(id=f"{n}", identity="a", origin="track", source=str(scene.video), frame=frame, box=box)
        for n, (frame, box) in enumerate(wanted)
    ]
    late = Entry(id="late", identity="a", origin="track", source=str(scene.video), frame=9999, box=(0, 0, 9, 9))
    lost = [
        Entry(id=f"lost{n}", identity="a", origin="track", source="/none.mp4", frame=n, box=(0, 0, 9, 9))
        for n in range(2)
    ]
    add(tmp_path / "g", *entries, late, *lost)
    embedder = GreyEmbedder()
    with VideoFrames() as frames:
        report = reembed_gallery(tmp_path / "g", embedder, frames=frames)
    reasons = dict(report.missing)
    assert set(reasons) == {"late", "lost0", "lost1"}
    assert "ends before frame 9999" in reasons["late"]
    assert "does not exist" in reasons["lost1"]
    expected = {}
    with VideoReader(scene.video) as reader:
        while reader.advance() and reader.frame <= 40:
            for number, (frame, box) in enumerate(wanted):
                if frame == reader.frame:
                    expected[number] = crop(reader.image(), [box])[0][0].copy()
    for picture, number in zip(embedder.pictures, (1, 0, 2), strict=True):
        np.testing.assert_array_equal(picture, expected[number])


def test_single_frames_in_any_order(scene: Scene) -> None:
    with VideoFrames() as frames:
        first = {number: frames(str(scene.video), number).copy() for number in (0, 3, 9)}
        for number in (9, 3, 3, 0):
            np.testing.assert_array_equal(frames(str(scene.video), number), first[number])
        with pytest.raises(VideoError, match="no frame -1"):
            frames(str(scene.video), -1)
        last = frames(str(scene.video), 159).copy()
        for words in ("ends before frame 160", "has no frame 160"):
            with pytest.raises(VideoError, match=words):
                frames(str(scene.video), 160)
        np.testing.assert_array_equal(frames(str(scene.video), 159), last)


def test_imported_pictures(tmp_path: Path) -> None:
    path = ingested(tmp_path)
    with Gallery.open(path) as gallery:
        export_parquet(gallery, tmp_path / "f.parquet", pictures=True)
    for picture in (tmp_path / "people").rglob("*.png"):
        picture.unlink()
    import_parquet(tmp_path / "b", tmp_path / "f.parquet")
    assert reembed_gallery(path, GreyEmbedder()).collection is None
    assert len(collections(path)) == 1, "nothing to embed, nothing made"
    assert reembed_gallery(tmp_path / "b", GreyEmbedder()).added == 12


def test_invalid_arguments(tmp_path: Path) -> None:
    path = ingested(tmp_path)
    with pytest.raises(ModelMismatchError, match=r"of tiny\.pt .* already"):
        reembed_gallery(path, ColourEmbedder())
    with pytest.raises(GalleryError, match="no collection 'other'"):
        reembed_gallery(path, GreyEmbedder(), collection="other")
    with pytest.raises(GalleryError, match="batch_size"):
        reembed_gallery(path, GreyEmbedder(), batch_size=0)
    with pytest.raises(GalleryNotFoundError):
        reembed_gallery(tmp_path / "none", GreyEmbedder())
    with pytest.raises(EmbeddingError, match="was given 12 images"):
        reembed_gallery(path, GreyEmbedder(rows=3))
    assert len(collections(path)) == 1


def test_with_the_builtin_model(scene: Scene, tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", model_named()) as gallery:
        ingest_folder(gallery, scene.gallery, ColourEmbedder())
    embedder = load_embedder("builtin")
    report = reembed_gallery(tmp_path / "g", embedder)
    assert report.added == 36
    with Gallery.create(tmp_path / "direct", embedder.model) as direct:
        ingest_folder(direct, scene.gallery, embedder)
        with Gallery.open(tmp_path / "g", model=embedder.model) as gallery:
            assert gallery.view().entry_ids == direct.view().entry_ids
            np.testing.assert_allclose(gallery.view().embeddings, direct.view().embeddings, atol=1e-6)


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[2])
from support.gallery import GreyEmbedder
from gallery_db import reembed_gallery
def slow(done, total):
    print(done, flush=True)
    time.sleep(0.02)
print(reembed_gallery(sys.argv[1], GreyEmbedder(), batch_size=6, progress=slow))
"""


def test_a_killed_run_is_continued(tmp_path: Path) -> None:
    path = ingested(tmp_path, people=10, each=12)
    have = 0
    for wait in (0.0, 0.01, 0.03):
        with started("-c", KILLED, path, TESTS) as process:
            assert process.stdout is not None
            done = 0
            for line in process.stdout:
                done = int(line)
                if done > have:
                    break
            time.sleep(wait)
            process.kill()
        with Gallery.open(path, model=GreyEmbedder().model) as gallery:
            assert len(gallery) >= done > have
            have = len(gallery)
            assert gallery.record.check_integrity() == ()
    embedder = GreyEmbedder()
    report = reembed_gallery(path, embedder)
    assert isinstance(report, ReembedReport)
    assert (report.added, report.present) == (120 - have, have)
    assert sum(embedder.batches) == 120 - have
    for name in (report.source, report.collection):
        with Gallery.open(path, collection=name, write=True) as gallery:
            assert len(gallery) == 120
            assert gallery.verify().ok


def test_the_command(tmp_path: Path) -> None:
    path = ingested(tmp_path)
    (tmp_path / "people" / "p0" / "0.png").unlink()
    done = gtrack("gallery", "reembed", "-g", path, "--reid-weights", "builtin")
    assert "11 embedded, 0 unchanged, 1 not embedded" in done.stdout
    assert "is gone" in done.stdout
    done = gtrack("gallery", "reembed", "-g", path, "--reid-weights", "builtin")
    assert "0 embedded, 11 unchanged" in done.stdout
    assert "no model given" in gtrack("gallery", "reembed", "-g", path, code=2).stderr
    words = ["gallery", "reembed", "-g", path, "--reid-weights", "builtin", "--collection"]
    assert "already" in gtrack(*words, collections(path)[1], code=1).stderr
    assert "none" in gtrack("gallery", "reembed", "-g", tmp_path / "none", "--reid-weights", "x", code=1).stderr
