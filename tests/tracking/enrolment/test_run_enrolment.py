"""Enrolment in real runs: what is stored, again, by another camera, after an error, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gallery_db import (
    ContactRow,
    EmbeddingModel,
    Entry,
    Gallery,
    GalleryLockedError,
    GalleryView,
    GtrackError,
    ingest_folder,
    write_contact_sheet,
)
from tracking import TrackingRun, TrackResult, load_embedder, track_video
from tracking.enrolment.enrolment_gallery import mislabelled_warnings
from tracking.enrolment.gallery_writer import CROPS, GalleryWriter
from tracking.errors import OptionError
from tracking.identification.gallery_source import EmbedderOptions
from tracking.options import RunOptions
from tracking.synthetic.config import SceneConfig
from tracking.synthetic.rendering import Scene, render_scene
from tracking.video.live import LiveOptions


@pytest.fixture(scope="session")
def other_scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The same cast on another camera."""
    return render_scene(tmp_path_factory.mktemp("other"), SceneConfig(frames=160, clip=1))


def enrol(scene: Scene, gallery: Path, **arguments: Any) -> TrackResult:
    options = {"enroll": "unknown", "classes": [0], "reid_weights": "builtin", "no_progress": True, **arguments}
    return track_video(dets_json=scene.detections, video=scene.video, gallery=gallery, **options)


def content(gallery: Path) -> dict[str, tuple[str, str]]:
    with Gallery.open(gallery) as opened:
        return {e.id: (e.identity, e.origin) for e in opened.entries()}


@pytest.fixture(scope="module")
def enrolled(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrackResult]:
    path = tmp_path_factory.mktemp("enrolled") / "gallery"
    result = enrol(scene, path, source_id="door")
    return path, result


@pytest.fixture
def copied(enrolled: tuple[Path, TrackResult], tmp_path: Path) -> Path:
    shutil.copytree(enrolled[0], tmp_path / "gallery")
    return tmp_path / "gallery"


def test_a_missing_gallery_is_created(enrolled: tuple[Path, TrackResult], scene: Scene) -> None:
    path, result = enrolled
    counts = result.enrolment
    assert counts is not None
    assert counts.enrolled == result.stats["enrolled"] > 2
    with Gallery.open(path) as gallery:
        entries = list(gallery.entries())
        assert len(entries) == counts.enrolled
        assert len(gallery.identities()) == counts.identities
        assert gallery.verify().ok
    assert max(entry.extra["last_frame"] for entry in entries) == scene.config.frames - 1, "open at the end"
    ended = counts.enrolled + counts.too_short + counts.too_poor + counts.unsure + counts.redundant + counts.named
    assert ended >= result.stats["tracks"]
    for entry in entries:
        assert entry.origin == "track"
        assert entry.identity.startswith("unknown-")
        assert entry.extra["source_id"] == "door"
        assert entry.source == str(scene.video.absolute())
        assert entry.extra["crop"] == f"{CROPS}/{entry.id}.jpg"
        with Image.open(path / entry.extra["crop"]) as picture:
            assert picture.format == "JPEG"
            assert picture.height <= 256
    assert len(list((path / CROPS).iterdir())) == len(entries)
    config = result.payload["tracker"]["config"]
    assert list(config.items())[-3:] == [("enroll", "unknown"), ("source_id", "door"), ("grace_frames", 30)]


def test_contact_sheets_show_the_crops(enrolled: tuple[Path, TrackResult], tmp_path: Path) -> None:
    path, _ = enrolled
    with Gallery.open(path) as gallery:
        entry = next(gallery.entries())
        matches = gallery.query(gallery.get(entry.id)[1], top_k=1, search="exact")[0]
    sheets = []
    for name, where in (("with.png", path), ("without.png", None)):
        write_contact_sheet(tmp_path / name, [ContactRow(None, "x", matches)], gallery=where)
        with Image.open(tmp_path / name) as sheet:
            sheets.append(np.asarray(sheet)[12:204, 164:292].astype(float))
    assert sheets[0].std() > 2 * sheets[1].std(), "a picture, and a grey tile that says that it is gone"


@pytest.mark.parametrize("mode", ["unknown", "all"])
def test_a_repeated_run_changes_nothing(scene: Scene, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "gallery"
    if mode == "all":
        embedder = load_embedder("builtin")
        with Gallery.open_or_create(path, embedder.model) as gallery:
            ingest_folder(gallery, scene.gallery, embedder)
    first = enrol(scene, path, enroll=mode)
    there = content(path)
    assert "track" in {origin for _, origin in there.values()}
    for _ in range(2):
        again = enrol(scene, path, enroll=mode)
        assert content(path) == there
        assert again.payload["frames"] == first.payload["frames"]
        assert again.enrolment == first.enrolment
    with Gallery.open(path) as gallery:
        assert gallery.verify().ok
    assert len(list((path / CROPS).iterdir())) == sum(origin == "track" for _, origin in there.values())


def test_a_run_is_one_operation_that_can_be_undone(scene: Scene, other_scene: Scene, copied: Path) -> None:
    before = content(copied)
    with Gallery.open(copied) as gallery:
        before_run = len(gallery.operations())
    enrol(other_scene, copied, source_id="yard")
    after = content(copied)
    assert after != before
    with Gallery.open(copied, write=True) as gallery:
        operations = gallery.operations()
        assert len(operations) == before_run + 1
        assert operations[0].action == "enrol"
        assert "yard" in operations[0].words
        gallery.undo()
    assert content(copied) == before
    with Gallery.open(copied, write=True) as gallery:
        gallery.redo()
        assert gallery.without_picture() == ()
    assert content(copied) == after


def test_a_repeated_run_with_fewer_tracks_removes_old_entries(scene: Scene, copied: Path) -> None:
    before = content(copied)
    result = enrol(scene, copied, source_id="door", track_thresh=0.88)
    assert result.enrolment is not None
    assert len(content(copied)) == result.enrolment.enrolled < len(before)
    assert len(list((copied / CROPS).iterdir())) == result.enrolment.enrolled
    # Another camera's entries, and other frames', are not its own.
    enrol(scene, copied, source_id="yard")
    assert len(content(copied)) >= result.enrolment.enrolled


def test_an_unknown_person_keeps_the_name_on_another_camera(scene: Scene, other_scene: Scene, copied: Path) -> None:
    before = {identity for identity, _ in content(copied).values()}
    result = enrol(other_scene, copied, source_id="yard")
    seen = {s.identity for s in result.sightings}
    assert len(seen & before) >= 2, "people of the first clip are recognised in the second"
    after = content(copied)
    assert {identity for identity, _ in after.values()} >= before
    # The first video again: the same names, though the gallery holds the second now.
    enrol(scene, copied, source_id="door")
    again = content(copied)
    assert {i: again[i] for i in after if i in again} == {i: after[i] for i in after if i in again}
    assert {name for name, _ in again.values()} == {name for name, _ in after.values()}


def test_all_adds_prototypes_to_named_people(scene: Scene, tmp_path: Path) -> None:
    embedder = load_embedder("builtin")
    path = tmp_path / "gallery"
    with Gallery.open_or_create(path, embedder.model) as gallery:
        ingest_folder(gallery, scene.gallery, embedder)
    enrol(scene, path, enroll="all", gallery_match_threshold=0.4)
    added = [identity for identity, origin in content(path).values() if origin == "track"]
    assert any(not name.startswith("unknown-") for name in added)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError], ids=["Ctrl-C", "an error"])
def test_a_stopped_run_stores_its_tracks(
    scene: Scene, enrolled: tuple[Path, TrackResult], tmp_path: Path, stop: type[BaseException]
) -> None:
    def progress(done: int, total: int | None) -> None:
        if done == 60:
            raise stop

    def run(path: Path) -> TrackingRun:
        options = RunOptions(
            gallery=path,
            embedder=EmbedderOptions(weights="builtin"),
            classes=[0],
            enroll="unknown",
            source_id="door",
        )
        job = TrackingRun(scene.detections, scene.video, options)
        with pytest.raises(stop):
            job.execute(progress=progress)
        return job

    job = run(tmp_path / "new")
    assert job.result is not None
    assert job.result.enrolment is not None
    assert 0 < job.result.enrolment.enrolled == len(content(tmp_path / "new"))
    assert 59 in {entry.extra["last_frame"] for entry in _entries(tmp_path / "new").values()}
    # Cut short over a gallery that holds the whole: what was not seen again stays.
    shutil.copytree(enrolled[0], tmp_path / "whole")
    run(tmp_path / "whole")
    later = {i for i, e in _entries(enrolled[0]).items() if e.extra["last_frame"] >= 60}
    assert later
    assert later <= set(content(tmp_path / "whole"))
    assert enrol(scene, tmp_path / "whole", source_id="door").enrolment == enrolled[1].enrolment
    assert content(tmp_path / "whole") == content(enrolled[0])


def _entries(path: Path) -> dict[str, Entry]:
    with Gallery.open(path) as gallery:
        return {entry.id: entry for entry in gallery.entries()}


def test_a_second_writer_is_rejected(scene: Scene, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gallery.open_or_create.__func__, "__kwdefaults__", {"new_collection": False, "lock_timeout": 0})
    with Gallery.open(copied, write=True), pytest.raises(GalleryLockedError, match="in use"):
        enrol(scene, copied)


def test_the_run_holds_the_lock_until_its_end(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = []
    monkeypatch.setattr(GalleryView, "refresh", None)  # any refresh would fail

    def progress(done: int, total: int | None) -> None:
        if done == 10:
            with pytest.raises(GalleryLockedError):
                Gallery.open(tmp_path / "g", write=True, lock_timeout=0.0)
            refused.append(done)

    options = RunOptions(
        gallery=tmp_path / "g", embedder=EmbedderOptions(weights="builtin"), classes=[0], enroll="unknown"
    )
    TrackingRun(scene.detections, scene.video, options).execute(progress=progress)
    assert refused == [10]
    Gallery.open(tmp_path / "g", write=True, lock_timeout=0.0).close()


def test_reports_crops_that_cannot_be_written(scene: Scene, tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", load_embedder("builtin").model):
        pass
    (tmp_path / "g" / CROPS).write_text("a file in their place")
    with pytest.raises(GtrackError, match="picture"):
        enrol(scene, tmp_path / "g", save_json_flag=True, out_dir=tmp_path, run_name="run")
    assert len(json.loads((tmp_path / "run" / "tracked.json").read_text())["frames"]) == scene.config.frames
    entries = _entries(tmp_path / "g").values()
    assert entries
    assert not any("crop" in entry.extra for entry in entries)


def test_reports_a_record_that_cannot_be_written(scene: Scene, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(copied)

    def full(self: GalleryWriter, batch: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(GalleryWriter, "_write", full)
    options = RunOptions(
        gallery=copied, embedder=EmbedderOptions(weights="builtin"), classes=[0], enroll="unknown", source_id="door"
    )
    job = TrackingRun(scene.detections, scene.video, options)
    with pytest.raises(GtrackError, match="No space left"):
        job.execute()
    assert job.result is not None
    assert len(job.result.payload["frames"]) == scene.config.frames
    assert content(copied) == before, "nothing is removed where nothing could be written"
    Gallery.open(copied, write=True, lock_timeout=0.0).close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param({"gallery": None}, "needs a gallery", id="no gallery"),
        pytest.param({"tracker": "gallery_only"}, "no tracks", id="gallery_only"),
        pytest.param({"enroll": "some"}, "unknown", id="another word"),
        pytest.param({"grace_frames": -1}, "grace_frames", id="negative grace"),
        pytest.param({"source_id": " "}, "source_id", id="an empty camera"),
        pytest.param({"gallery": "folders"}, "gtrack gallery ingest", id="image folders"),
    ],
)
def test_rejects_invalid_options(scene: Scene, tmp_path: Path, arguments: dict[str, Any], words: str) -> None:
    gallery = scene.gallery if arguments.get("gallery") == "folders" else tmp_path / "g"
    arguments = {"gallery": gallery, **arguments} if arguments.get("gallery") != "folders" else {"gallery": gallery}
    with pytest.raises(OptionError, match=words):
        enrol(scene, **arguments)
    assert list(tmp_path.iterdir()) == []


def names_in(result: TrackResult) -> set[str]:
    return {d["gallery_id"] for f in result.payload["frames"] for d in f["detections"] if "gallery_id" in d}


def test_every_name_of_a_file_is_in_the_gallery(enrolled: tuple[Path, TrackResult]) -> None:
    gallery, result = enrolled
    stored = {identity for identity, _ in content(gallery).values()}
    assert names_in(result) == {one.identity for one in result.sightings} == stored
    assert result.payload["tracker"]["config"]["backfill"]


def check_listed(result: TrackResult, gallery: Path, said: list[str]) -> set[str]:
    """Check that the sightings are of names in the gallery alone; return the names that did not last."""
    # A slow machine drops frames of a live source, so that no track may be long enough to make a gallery.
    stored = {identity for identity, _ in content(gallery).values()} if gallery.exists() else set()
    assert {one.identity for one in result.sightings} <= stored
    assert result.stats["identities"] == len(result.sightings)
    assert result.stats["named"] == sum(one.frames for one in result.sightings)
    lost = names_in(result) - stored
    assert any(f"{len(lost)} ids" in line for line in said) == bool(lost)
    return lost


def test_a_live_source_is_not_backfilled(scene: Scene, tmp_path: Path) -> None:
    said: list[str] = []
    result = track_video(
        video=scene.video,
        detect="builtin",
        live=LiveOptions(loop=True, max_frames=30),
        gallery=tmp_path / "g",
        reid_weights="builtin",
        enroll="unknown",
        no_progress=True,
        notify=said.append,
    )
    assert "backfill" not in result.payload["tracker"]["config"]
    check_listed(result, tmp_path / "g", said)


@pytest.mark.data
def test_ids_that_do_not_last_are_not_listed(data: Path, tmp_path: Path) -> None:
    said: list[str] = []
    result = track_video(
        video=data / "video" / "pets09-s2l1.avi",
        dets_json=data / "video" / "pets09-s2l1.detections.json",
        gallery=tmp_path / "g",
        reid_weights=data / "weights" / "osnet_x0_25_msmt17.onnx",
        frame_range=(0, 400),
        track_thresh=0.45,
        enroll="unknown",
        backfill=False,
        no_progress=True,
        notify=said.append,
    )
    assert check_listed(result, tmp_path / "g", said)


def test_nothing_is_enrolled_without_the_option(scene: Scene, copied: Path) -> None:
    def files() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in copied.rglob("*") if p.is_file() and "chroma" not in p.parts}

    before = files()
    result = enrol(scene, copied, enroll="off")
    assert result.enrolment is None
    assert "enrolled" not in result.stats
    assert not {"enroll", "source_id", "grace_frames"} & set(result.payload["tracker"]["config"])
    assert files() == before


def test_an_enrolled_entry_that_looks_mislabelled_is_reported(tmp_path: Path) -> None:
    """Ten people of four entries each; one of them has an entry of another person."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((10, 32))
    vectors = np.repeat(centres, 4, axis=0) + 0.3 * generator.standard_normal((40, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    names = [f"unknown-{number // 4:04d}" for number in range(40)]
    names[5] = "unknown-0007"
    entries = [Entry(id=f"track-{n:02d}", identity=name, origin="track") for n, name in enumerate(names)]
    with Gallery.create(tmp_path / "g", EmbeddingModel("m.pt", "0" * 64, 32, "none")) as gallery:
        gallery.add(entries, vectors)
        (line,) = mislabelled_warnings(gallery, ["track-05", "track-20"])
        assert line.startswith("warning: the enrolled entry track-05 of unknown-0007 is nearer to unknown-0001 (0.")
        assert mislabelled_warnings(gallery, ["track-20"]) == [], "what others stored is not checked"
        assert mislabelled_warnings(gallery, []) == []
