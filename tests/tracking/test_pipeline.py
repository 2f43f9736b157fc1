"""`track_video` from end to end, on the demo scene: video and detections in, track-v1 out."""

from __future__ import annotations

import copy
import json
import math
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from support.clips import write_clip

from gallery_db import Gallery, GalleryError, GalleryNotFoundError, ModelMismatchError, ingest_folder
from gallery_db.errors import GtrackError
from tracking import TrackingRun, available_trackers, load_embedder, track_video
from tracking.errors import DetectionsError, EmbedderError, OptionError, OutputError, VideoError
from tracking.options import RunOptions, parse_range
from tracking.outputs.options import OutputOptions
from tracking.schemas import load_schema
from tracking.synthetic.config import SceneConfig
from tracking.synthetic.rendering import Scene
from tracking.synthetic.scene import make_detections
from tracking.trackers.temporal import available_temporal

Document = dict[str, Any]


def document(scene: Scene) -> Document:
    content: Document = json.loads(scene.detections.read_text())
    return content


@pytest.fixture(scope="session")
def gallery(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("galleries") / "people"
    embedder = load_embedder("builtin")
    with Gallery.open_or_create(path, embedder.model) as target:
        ingest_folder(target, scene.gallery, embedder)
    return path


def run(scene: Scene, **arguments: Any) -> Any:
    return track_video(**{"dets_json": scene.detections, "video": scene.video, "no_progress": True, **arguments})


def tracked(payload: Mapping[str, Any]) -> list[dict[str, str]]:
    """Detection index to track id, frame by frame."""
    return [
        {d["det_ind"]: d["track_id"] for d in frame["detections"] if "track_id" in d} for frame in payload["frames"]
    ]


def test_trackers() -> None:
    assert available_trackers() == ["gallery_hybrid", "gallery_only"]


def test_track_v1(scene: Scene, gallery: Path) -> None:
    source = document(scene)
    payload = run(scene, gallery=gallery).payload
    jsonschema.validate(payload, load_schema("track-v1"))
    assert list(payload) == [
        "schema_version",
        "parent_schema_version",
        "video",
        "detector",
        "created_at_utc",
        "tracker",
        "frames",
    ]
    config = payload["tracker"]["config"]
    assert list(config)[:12] == [
        "track_thresh",
        "match_thresh",
        "track_buffer",
        "frame_rate",
        "per_class",
        "max_obs",
        "reid_weights",
        "gallery",
        "reid_frequency",
        "gallery_match_threshold",
        "device",
        "half",
    ]
    assert payload["video"] == source["video"]
    assert payload["detector"] == source["detector"]
    assert [f["frame"] for f in payload["frames"]] == list(range(scene.config.frames))
    for before, after in zip(source["frames"], payload["frames"], strict=True):
        assert len(before["detections"]) == len(after["detections"])
        assert after["file"] == before["file"]
        for one, other in zip(before["detections"], after["detections"], strict=True):
            if "track_id" in other:
                assert list(other)[: len(one)] == list(one), "keys keep their order, new ones follow"
                assert isinstance(other["track_id"], str)
                assert ("gallery_id" in other) == ("gallery_distance" in other)
            else:
                assert other == one


@pytest.mark.parametrize(
    ("rate", "arguments", "used", "goes_on"),
    [
        (10, {}, 10, False),
        (50, {}, 50, True),
        (10, {"frame_rate": 50}, 50, True),
        (10, {"track_buffer": 150}, 10, True),
    ],
    ids=["4 s at 10 per second", "0.8 s at 50", "another rate", "a longer time"],
)
def test_a_lost_track_is_kept_for_a_time_not_for_a_number_of_frames(
    rate: int, arguments: dict[str, Any], used: int, goes_on: bool, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 60, rate=rate)
    box = {"bbox": [40, 4, 80, 60], "score": 0.9, "class_id": 0, "det_ind": 0}
    frames = [{"frame": n, "detections": [] if 10 <= n < 50 else [box]} for n in range(60)]
    found = track_video(
        dets_json={"schema_version": "det-v1", "frames": frames}, video=clip, no_progress=True, **arguments
    )
    assert found.payload["tracker"]["config"]["frame_rate"] == used
    assert len({name for frame in tracked(found.payload) for name in frame.values()}) == (1 if goes_on else 2)


def test_people_get_their_right_name_once_a_frame(scene: Scene, gallery: Path) -> None:
    from tracking.demo.run import compare_with_truth

    result = run(scene, gallery=gallery)
    for frame in result.payload["frames"]:
        names = [d["gallery_id"] for d in frame["detections"] if "gallery_id" in d]
        assert len(names) == len(set(names))
        assert not any(d["class_name"] == "car" and "gallery_id" in d for d in frame["detections"])
    people = compare_with_truth(result.payload, json.loads(scene.truth.read_text()))
    known = [p for p in people if p.known]
    assert sum(p.right for p in known) / sum(p.frames for p in known) > 0.7
    assert sum(p.wrong for p in people) / sum(p.frames for p in people) < 0.15
    assert {s.identity for s in result.sightings} <= {p.name for p in known}
    assert sum(s.frames for s in result.sightings) == result.stats["named"]


def test_deterministic_but_for_the_time(scene: Scene, gallery: Path) -> None:
    first, second = (run(scene, gallery=gallery).payload for _ in range(2))
    first.pop("created_at_utc")
    second.pop("created_at_utc")
    assert first == second


def test_two_runs_in_a_process_are_independent(scene: Scene) -> None:
    first = tracked(run(scene).payload)
    assert tracked(run(scene).payload) == first
    assert min(int(t) for frame in first for t in frame.values()) == 0


def test_a_gallery_changes_no_track(scene: Scene, gallery: Path) -> None:
    assert tracked(run(scene).payload) == tracked(run(scene, gallery=gallery).payload)


def test_gallery_only(scene: Scene, gallery: Path) -> None:
    payload = run(scene, gallery=gallery, tracker="gallery_only", classes=[0], frame_range=(0, 60)).payload
    source = document(scene)
    named = Counter()
    for before, after in zip(source["frames"], payload["frames"], strict=False):
        names = [d["gallery_id"] for d in after["detections"] if "gallery_id" in d]
        assert len(names) == len(set(names))
        named.update(names)
        for one, other in zip(before["detections"], after["detections"], strict=True):
            assert other["bbox"] == one["bbox"]
            assert other.get("track_id") == (str(one["det_ind"]) if one["class_id"] == 0 else None)
    assert sum(named.values()) > 50


def test_gallery_only_embeds_ahead_and_gives_the_same_names(
    scene: Scene, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tracking.trackers.gallery_only import GalleryOnly

    options: dict[str, Any] = {"gallery": gallery, "tracker": "gallery_only", "frame_range": (3, 50)}
    ahead = run(scene, **options).payload
    monkeypatch.setattr(GalleryOnly, "embed_ahead", lambda self, frames: frames)
    assert [f["detections"] for f in ahead["frames"]] == [
        f["detections"] for f in run(scene, **options).payload["frames"]
    ]


def test_gallery_only_stopped_by_an_error_keeps_the_frames_before_it(
    scene: Scene, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that cannot be embedded is met at its turn, though it was given to the network before."""
    from tracking.reid.builtin import BuiltinEmbedder

    calls: list[int] = []
    embed = BuiltinEmbedder.embed

    def failing(self: BuiltinEmbedder, crops: Any) -> Any:
        calls.append(len(crops))
        if len(calls) > 4:
            raise EmbedderError("no more")
        return embed(self, crops)

    job = TrackingRun(scene.detections, scene.video, RunOptions(gallery=gallery, tracker="gallery_only"))
    monkeypatch.setattr(BuiltinEmbedder, "embed", failing)
    with pytest.raises(EmbedderError, match="no more"):
        job.execute()
    assert job.result is not None
    assert job.result.stats["frames"] == 16, "four groups of four frames"
    assert not [t.name for t in threading.enumerate() if t.name.startswith("gtrack-")]


@pytest.mark.parametrize("tracker", ["gallery_hybrid", "gallery_only"])
def test_every_thread_ends_with_a_run_that_is_stopped(
    scene: Scene, gallery: Path, tmp_path: Path, tracker: str
) -> None:
    output = OutputOptions(save_video="v.mp4", save_frames=True, save_json=True, out_dir=tmp_path)
    job = TrackingRun(scene.detections, scene.video, RunOptions(gallery=gallery, tracker=tracker, output=output))

    def progress(done: int, total: int | None) -> None:
        if done == 11:
            assert "gtrack-reader" in {thread.name for thread in threading.enumerate()}
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.execute(progress=progress)
    assert not [t.name for t in threading.enumerate() if t.name.startswith("gtrack-")]
    run_dir = tmp_path / "scene"
    assert len(json.loads((run_dir / "tracked.json").read_text())["frames"]) == 11
    assert len(list((run_dir / "frames").iterdir())) == 11
    from tracking.video.reader import VideoReader

    with VideoReader(run_dir / "v.mp4") as reader:
        assert reader.frame_count == 11


def test_filter_gallery(scene: Scene, gallery: Path) -> None:
    payload = run(scene, gallery=gallery, classes=[0], filter_gallery=True).payload
    for frame in payload["frames"]:
        assert all("gallery_id" in d for d in frame["detections"] if d["class_id"] == 0)
    kept = [d for frame in payload["frames"] for d in frame["detections"] if d["class_id"] != 0]
    there = [d for frame in document(scene)["frames"] for d in frame["detections"] if d["class_id"] != 0]
    assert kept == there, "other classes pass through"


@pytest.mark.parametrize("bounds", [(40, 90), (None, 30), (130, None)])
def test_range(scene: Scene, bounds: tuple[int | None, int | None]) -> None:
    result = run(scene, frame_range=bounds)
    expected = range(scene.config.frames)[bounds[0] : bounds[1]]
    assert [f["frame"] for f in result.payload["frames"]] == list(expected)
    assert result.stats["frames"] == len(expected)
    # The frames are those of the file, not the first ones.
    by_number = {f["frame"]: f for f in document(scene)["frames"]}
    for frame in result.payload["frames"]:
        assert [d["score"] for d in frame["detections"]] == [
            d["score"] for d in by_number[frame["frame"]]["detections"]
        ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3:9", (3, 9)), (":9", (None, 9)), ("3:", (3, None)), (":", (None, None)), (None, (None, None))],
)
def test_parse_range(text: str | None, expected: tuple[int | None, int | None]) -> None:
    assert parse_range(text) == expected


@pytest.mark.parametrize("text", ["3", "a:b", "3:4:5", "-1:4", "1.5:2"])
def test_parse_range_rejects_invalid_text(text: str) -> None:
    with pytest.raises(OptionError, match="must be A:B"):
        parse_range(text)


def reverse(doc: Document) -> None:
    doc["frames"].reverse()


def thin_out(doc: Document) -> None:
    doc["frames"] = doc["frames"][::3]


def alias(doc: Document) -> None:
    names = {"bbox": "xyxy", "score": "conf", "class_id": "class"}
    for frame in doc["frames"]:
        frame["frame_index"] = frame.pop("frame")
        frame["detections"] = [{names.get(k, k): v for k, v in d.items()} for d in frame["detections"]]


@pytest.mark.parametrize("change", [reverse, alias])
def test_order_and_aliases_change_nothing(scene: Scene, change: Callable[[Document], None]) -> None:
    changed = document(scene)
    change(changed)
    expected = run(scene).payload
    assert run(scene, dets_json=changed).payload["frames"] == expected["frames"]


def test_sparse_detections_stay_with_their_frames(scene: Scene) -> None:
    changed = document(scene)
    thin_out(changed)
    untouched = copy.deepcopy(changed)
    payload = run(scene, dets_json=changed).payload
    assert changed == untouched, "the caller's document is not touched"
    for frame in payload["frames"]:
        assert bool(frame["detections"]) <= (frame["frame"] % 3 == 0)


def test_extra_keys_survive(scene: Scene) -> None:
    changed = document(scene)
    extra = {"keypoints": [[1, 2, 0.5]], "segments": [[1, 2, 3, 4]], "text_prompt": "a ☂", "mine": {"a": [None, True]}}
    for frame in changed["frames"]:
        frame["note"] = "ü"
        for detection in frame["detections"]:
            detection.update(extra)
    for frame in run(scene, dets_json=changed).payload["frames"]:
        assert frame["note"] == "ü"
        for detection in frame["detections"]:
            assert {k: detection[k] for k in extra} == extra


def first_box(doc: Document) -> dict[str, Any]:
    return next(f["detections"][0] for f in doc["frames"] if f["detections"])


def zero_height(doc: Document) -> None:
    box = first_box(doc)["bbox"]
    box[3] = box[1]


def nan_box(doc: Document) -> None:
    first_box(doc)["bbox"][0] = math.nan


def null_class(doc: Document) -> None:
    first_box(doc)["class_id"] = None


def twice(doc: Document) -> None:
    doc["frames"].append(copy.deepcopy(doc["frames"][4]))


def other_size(doc: Document) -> None:
    doc["video"]["width"] = 1920


def beyond(doc: Document) -> None:
    doc["frames"].append({"frame": 5000, "detections": []})


@pytest.mark.parametrize("change", [zero_height, nan_box, null_class, twice, other_size, beyond])
def test_invalid_detections_are_rejected_or_counted(scene: Scene, change: Callable[[Document], None]) -> None:
    changed = document(scene)
    change(changed)
    with pytest.raises((DetectionsError, VideoError)):
        run(scene, dets_json=changed)
    said: list[str] = []
    result = run(scene, dets_json=changed, lenient=True, notify=said.append)
    assert result.warnings
    assert any(result.warnings[0] in line for line in said)
    text = json.dumps(result.payload, allow_nan=False)
    assert "NaN" not in text


def test_a_truncated_video(scene: Scene, tmp_path: Path) -> None:
    from tracking.video.reader import VideoReader
    from tracking.video.writer import VideoWriter

    short = tmp_path / "short.avi"
    writer = VideoWriter(short, width=scene.config.width, height=scene.config.height, fps=25, fourcc="MJPG")
    with VideoReader(scene.video) as reader:
        while reader.advance() and reader.frame < 50:
            writer.write(reader.image())
    writer.close()
    changed = document(scene)
    del changed["video"]
    with pytest.raises(DetectionsError, match="50"):
        run(scene, dets_json=changed, video=short)
    # A container that overstates its length gets through the first check; its real end does not.
    result = run(scene, dets_json=changed, video=short, lenient=True)
    assert result.stats["frames"] == 50


def test_a_container_that_overstates_its_length(scene: Scene, tmp_path: Path) -> None:
    """Cut in the middle of the data: the header still promises every frame."""
    from tracking.video.reader import VideoReader
    from tracking.video.writer import VideoWriter

    whole, cut = tmp_path / "whole.avi", tmp_path / "cut.avi"
    writer = VideoWriter(whole, width=scene.config.width, height=scene.config.height, fps=25, fourcc="MJPG")
    with VideoReader(scene.video) as reader:
        while reader.advance():
            writer.write(reader.image())
    writer.close()
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises((DetectionsError, VideoError)):
        run(scene, video=cut, out_dir=tmp_path, save_json_flag=True, run_name="r")
    result = run(scene, video=cut, lenient=True)
    assert 20 < result.stats["frames"] < scene.config.frames
    assert result.warnings


@pytest.mark.parametrize("name", available_temporal())
def test_every_temporal_tracker(scene: Scene, gallery: Path, name: str) -> None:
    result = run(scene, gallery=gallery, temporal=name, frame_range=(0, 50))
    assert result.stats["tracks"] > 0
    assert result.payload["tracker"]["config"]["temporal"] == name
    assert len(result.payload["frames"]) == 50


@pytest.mark.parametrize("tracker", ["gallery_hybrid", "gallery_only"])
def test_every_search_gives_the_same_names(
    scene: Scene, gallery: Path, tracker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The scene's gallery is small: the similarity bounds must be used, too.
    monkeypatch.setattr("gallery_db.search.table.BOUNDS_MIN_ENTRIES", 1)
    frames: dict[str, Any] = {}
    for search in ("exact", "auto", "hnsw"):
        said: list[str] = []
        payload = run(
            scene,
            gallery=gallery,
            search=search,
            tracker=tracker,
            frame_range=(0, 80),
            track_thresh=0.7,
            notify=said.append,
        ).payload
        assert payload["tracker"]["config"].get("search", "auto") == search
        assert said == []
        frames[search] = [
            [(d["det_ind"], d.get("gallery_id"), d.get("gallery_distance")) for d in f["detections"]]
            for f in payload["frames"]
        ]
    for other in (frames["auto"], frames["hnsw"]):
        for mine, exact in zip(other, frames["exact"], strict=True):
            assert [row[:2] for row in mine] == [row[:2] for row in exact]
            distances = [(one[2], two[2]) for one, two in zip(mine, exact, strict=True) if one[2] is not None]
            assert all(one == pytest.approx(two, abs=1e-5) for one, two in distances)
    assert any(name for frame in frames["exact"] for _, name, _ in frame)


def test_a_run_with_the_index_continues_while_another_process_writes(
    scene: Scene, gallery: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "people"
    shutil.copytree(gallery, copied)
    said: list[str] = []
    with Gallery.open(copied) as reader:
        reader.query(np.eye(1, reader.model.dimension, dtype=np.float32), search="hnsw")
    writer: list[Gallery] = []

    def watch(frames: int, total: int | None) -> None:
        if frames == 10:
            writer.append(Gallery.open(copied, write=True))

    options = RunOptions(gallery=copied, search="hnsw", frame_range=(0, 40))
    result = TrackingRun(scene.detections, scene.video, options, notify=said.append).execute(progress=watch)
    writer[0].close()
    assert result.stats["frames"] == 40
    assert len([line for line in said if "in use by" in line]) == 1


def test_an_enrolling_run_may_search_the_index(scene: Scene, gallery: Path, tmp_path: Path) -> None:
    seen = []
    for search in ("exact", "hnsw"):
        copied = tmp_path / search
        shutil.copytree(gallery, copied)
        result = run(scene, gallery=copied, search=search, enroll="all", grace_frames=5)
        with Gallery.open(copied) as after:
            seen.append((result.enrolment, [(e.id, e.identity) for e in after.entries()]))
            assert after.verify().ok
    assert seen[0] == seen[1]


def test_crops_are_embedded_once_for_tracker_and_gallery(scene: Scene, gallery: Path) -> None:
    """BotSort needs every detection embedded; naming the tracks then costs no further crop."""
    detections = sum(len(f["detections"]) for f in document(scene)["frames"][:40])
    result = run(scene, gallery=gallery, temporal="botsort", frame_range=(0, 40))
    assert 0 < result.stats["crops"] <= detections
    assert result.stats["named"] > 0


def test_reid_cost_follows_its_frequency(scene: Scene, gallery: Path) -> None:
    often = run(scene, gallery=gallery, reid_frequency=1).stats
    seldom = run(scene, gallery=gallery, reid_frequency=10).stats
    assert often["crops"] > 5 * seldom["crops"]
    # One observation of each new track, and then one every ten frames.
    assert seldom["crops"] <= seldom["tracked"] / 10 + 2 * seldom["tracks"]


def test_classes_without_a_name(scene: Scene, gallery: Path) -> None:
    changed = document(scene)
    for frame in changed["frames"]:
        for detection in frame["detections"]:
            del detection["class_name"]
    with pytest.raises(OptionError, match="class_names"):
        run(scene, dets_json=changed, gallery=gallery)
    for arguments in ({"classes": [0]}, {"class_names": {0: "person", 2: "car"}}):
        result = run(scene, dets_json=changed, gallery=gallery, **arguments)
        assert result.stats["named"] > 0
        for frame in result.payload["frames"]:
            assert not any(d["class_id"] == 2 and "gallery_id" in d for d in frame["detections"])


def test_a_car_never_gets_a_persons_name(scene: Scene, tmp_path: Path) -> None:
    """A gallery of cars that look like the people gives nobody a name."""
    embedder = load_embedder("builtin")
    with Gallery.open_or_create(tmp_path / "cars", embedder.model) as target:
        ingest_folder(target, scene.gallery, embedder, class_name="car")
    said: list[str] = []
    result = run(scene, gallery=tmp_path / "cars", classes=[0], notify=said.append)
    assert result.stats["named"] == 0
    assert any("no track can be named" in line for line in said)


def test_folder_gallery_is_ingested_once(scene: Scene, tmp_path: Path) -> None:
    from tracking.identification.gallery_source import EmbedderOptions, open_gallery_source

    options = EmbedderOptions(weights="builtin")
    folder = tmp_path / "people"  # of its own: the scene's may be in the cache already
    shutil.copytree(scene.gallery, folder)
    first = open_gallery_source(folder, options)
    first.gallery.close()
    second = open_gallery_source(folder, options)
    second.gallery.close()
    assert first.ingested is not None
    assert second.ingested is not None
    assert (first.ingested.added, second.ingested.added) == (first.ingested.found, 0)
    assert second.ingested.unchanged == first.ingested.found
    result = run(scene, gallery=folder, reid_weights="builtin")
    assert result.stats["named"] > 0


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        pytest.param({"tracker": "hybrid"}, OptionError, "gallery_hybrid", id="unknown tracker"),
        pytest.param(
            {"tracker": "gallery_only"},
            OptionError,
            "gallery_only needs a gallery",
            id="gallery_only without a gallery",
        ),
        pytest.param(
            {"filter_gallery": True},
            OptionError,
            "`filter_gallery=True` without `gallery`",
            id="filter without a gallery",
        ),
        pytest.param({"reid_frequency": 0}, OptionError, "reid_frequency", id="no frequency"),
        pytest.param({"gallery_match_threshold": 3.0}, OptionError, "cosine", id="threshold out of range"),
        pytest.param({"frame_range": (9, 3)}, OptionError, "frame_range", id="reversed range"),
        pytest.param({"temporal": "sort"}, OptionError, "bytetrack", id="unknown temporal tracker"),
        pytest.param({"temporal_options": {"x": 1}}, OptionError, "has no option x", id="unknown tracker option"),
        pytest.param({"gallery": "/none/such"}, GalleryNotFoundError, "does not exist", id="missing gallery"),
        pytest.param({"dets_json": "/none.json"}, DetectionsError, "none.json", id="missing detections"),
        pytest.param({"video": "/none.mp4"}, VideoError, "none.mp4", id="missing video"),
        pytest.param({"frame_range": (5000, None)}, VideoError, "5000", id="range beyond the video"),
        pytest.param({"class_names": "/none.txt"}, OptionError, "none.txt", id="missing class names"),
    ],
)
def test_rejects_invalid_options(
    scene: Scene, tmp_path: Path, arguments: dict[str, Any], error: type[GtrackError], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(scene, out_dir=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_empty_gallery_folder(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(GalleryError):
        run(scene, gallery=tmp_path)
    (tmp_path / "nobody").mkdir()
    with pytest.raises(GalleryError, match="no sub-folder with images"):
        run(scene, gallery=tmp_path, reid_weights="builtin")


def test_a_gallery_of_another_model(scene: Scene, tmp_path: Path) -> None:
    class Other:
        def __init__(self) -> None:
            from gallery_db import EmbeddingModel

            self.model = EmbeddingModel("other.onnx", "ab" * 32, 8, "none")

        def embed(self, crops: list[Any]) -> Any:
            rows = np.ones((len(crops), 8), np.float32)
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    with Gallery.open_or_create(tmp_path / "other", Other().model) as target:
        ingest_folder(target, scene.gallery, Other())
    with pytest.raises(ModelMismatchError) as caught:
        run(scene, gallery=tmp_path / "other", reid_weights="builtin")
    assert "other.onnx" in str(caught.value)
    assert "builtin" in str(caught.value)
    with pytest.raises(GtrackError, match=r"other\.onnx"):
        run(scene, gallery=tmp_path / "other")


def test_outputs(scene: Scene, gallery: Path, tmp_path: Path) -> None:
    from tracking.video.reader import VideoReader

    result = run(
        scene,
        gallery=gallery,
        frame_range=(0, 30),
        save_json_flag=True,
        save_frames=True,
        save_video="named.mp4",
        out_dir=tmp_path,
        run_name="mine",
    )
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == ["frames", "named.mp4", "tracked.json"]
    assert result.paths.run_dir == tmp_path / "mine"
    assert json.loads((tmp_path / "mine" / "tracked.json").read_text()) == result.payload
    assert len(list((tmp_path / "mine" / "frames").iterdir())) == 30
    with VideoReader(tmp_path / "mine" / "named.mp4") as reader, VideoReader(scene.video) as source:
        assert (reader.width, reader.height, reader.frame_count) == (scene.config.width, scene.config.height, 30)
        assert reader.fps == pytest.approx(source.fps)
        reader.advance()
        source.advance()
        difference = np.abs(reader.image().astype(int) - source.image().astype(int))
        assert difference.max() > 100, "something is drawn"


def test_blurred_pictures_and_crops(scene: Scene, gallery: Path, tmp_path: Path) -> None:
    """Everyone in every picture of the run is blurred, but for named people where the unknown are."""
    from tracking.video.reader import VideoReader

    named = run(
        scene,
        gallery=gallery,
        frame_range=(0, 60),
        save_frames=True,
        save_crops=tmp_path / "crops",
        trails=1.0,
        blur="unknown",
        out_dir=tmp_path,
        run_name="r",
    )
    assert named.paths.crops_dir == tmp_path / "crops"
    assert named.payload["tracker"]["config"]["blur"] == "unknown"
    identities = {d["gallery_id"] for f in named.payload["frames"] for d in f["detections"] if "gallery_id" in d}
    assert {path.name for path in (tmp_path / "crops").iterdir()} == identities, "nobody else"
    clear = blurred = 0
    with VideoReader(scene.video) as source:
        for frame in named.payload["frames"]:
            source.advance()
            picture = cv2.imread(str(tmp_path / "r" / "frames" / f"{frame['frame']:06d}.jpg"))
            assert picture is not None
            for detection in frame["detections"]:
                x1, y1, x2, y2 = (max(0, round(v)) for v in detection["bbox"])
                inside = np.s_[y1 + 20 : y2 - 4, x1 + 4 : x2 - 4]
                before, after = source.image()[inside].astype(int), picture[inside].astype(int)
                if min(before.shape) < 3:
                    continue
                if detection.get("identity_status") == "known":
                    clear += 1
                    continue
                blurred += 1
                grey = np.abs(after - after.mean(axis=2, keepdims=True)).max(axis=2) < 12
                assert grey.mean() > 0.4, "labels and lines of others apart, no colour is left"
    assert clear > 50
    assert blurred > 50


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError], ids=["Ctrl-C", "an error"])
def test_a_stopped_run_leaves_complete_outputs(scene: Scene, tmp_path: Path, stop: type[BaseException]) -> None:
    options = RunOptions(
        output=OutputOptions(save_json=True, save_frames=True, save_video="v.mp4", out_dir=tmp_path, run_name="r")
    )
    job = TrackingRun(scene.detections, scene.video, options)

    def progress(done: int, total: int | None) -> None:
        assert total == scene.config.frames
        if done == 20:
            raise stop

    with pytest.raises(stop):
        job.execute(progress=progress)
    payload = json.loads((tmp_path / "r" / "tracked.json").read_text())
    jsonschema.validate(payload, load_schema("track-v1"))
    assert len(payload["frames"]) == 20
    assert len(list((tmp_path / "r" / "frames").iterdir())) == 20
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["frames", "tracked.json", "v.mp4"]
    assert job.result is not None
    assert job.result.stats["frames"] == 20


def test_a_run_uses_changes_of_the_gallery(scene: Scene, gallery: Path, tmp_path: Path) -> None:
    """Another process renames a person and removes another one during the run."""
    copied = tmp_path / "people"
    shutil.copytree(gallery, copied)
    job = TrackingRun(scene.detections, scene.video, RunOptions(gallery=copied))
    before = run(scene, gallery=gallery).payload["frames"]
    names = Counter(d["gallery_id"] for f in before[60:] for d in f["detections"] if "gallery_id" in d)
    (first, _), (second, _) = names.most_common(2)

    def progress(done: int, total: int | None) -> None:
        if done == 40:
            with Gallery.open(copied, write=True) as other:
                other.update([replace(e, identity="000-renamed") for e in other.entries(identity=first)])
                other.remove([e.id for e in other.entries(identity=second)])

    after = job.execute(progress=progress).payload["frames"]
    for one, other in zip(before, after, strict=True):
        for old, new in zip(one["detections"], other["detections"], strict=True):
            if one["frame"] < 40:
                assert new == old
            elif one["frame"] >= 60 and old.get("gallery_id") == first:
                assert new["gallery_id"] == "000-renamed"
            elif one["frame"] >= 60 and old.get("gallery_id") == second:
                assert new.get("gallery_id") != second


def test_detections_as_an_object_need_no_file(scene: Scene) -> None:
    config = SceneConfig(frames=scene.config.frames)
    assert (
        run(scene, dets_json=make_detections(config, video=scene.video.name)).payload["frames"]
        == run(scene).payload["frames"]
    )


@pytest.mark.parametrize("backfill", [False, True])
def test_names_keep_to_their_class(scene: Scene, gallery: Path, tmp_path: Path, backfill: bool) -> None:
    """The detector calls all people cars from the middle on: tracks go on, names of people do not."""
    document = json.loads(scene.detections.read_text())
    for frame in document["frames"]:
        for detection in frame["detections"]:
            if frame["frame"] >= 60:
                detection |= {"class_id": 2, "class_name": "car"}
    path = tmp_path / "cars.json"
    path.write_text(json.dumps(document))
    frames = run(scene, dets_json=path, gallery=gallery, frame_range=(0, 100), backfill=backfill).payload["frames"]
    tracked = [(f["frame"], d) for f in frames for d in f["detections"] if "track_id" in d]
    before, after = ({d["track_id"] for n, d in tracked if (n >= 60) == late} for late in (False, True))
    assert before & after, "the tracks are the same"
    assert any("gallery_id" in d for n, d in tracked if n < 60)
    assert not [d for n, d in tracked if n >= 60 and "gallery_id" in d]
    assert all(isinstance(d.get("gallery_distance", 0.0), float) for _, d in tracked)


def test_values_that_are_nested_too_deeply_to_write(scene: Scene) -> None:
    content = document(scene)
    content["frames"][3]["detections"][0]["more"] = json.loads("[" * 400 + "]" * 400)
    with pytest.raises(OutputError, match="frame 3 has a value of the detections file that cannot be written"):
        run(scene, dets_json=content)
    content = {**document(scene), "more": json.loads("[" * 400 + "]" * 400)}
    with pytest.raises(DetectionsError, match="expected 'more' to be nested by at most a hundred levels"):
        run(scene, dets_json=content)
