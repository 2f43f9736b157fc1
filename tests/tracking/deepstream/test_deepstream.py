"""DeepStream's adapter, over recorded metadata: the documented structures, with real memory behind their pointers.

NVIDIA's binding itself is not tested: it runs in NVIDIA's containers only.
"""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as PictureFile
from support.own_pipeline import SIZE, TOY, axis, own_frames

from gallery_db import Entry, Gallery, GalleryError
from tracking import (
    CameraMap,
    DeepStreamFeed,
    DeepStreamFrame,
    DeepStreamObject,
    DeepStreamReader,
    RecordedPyds,
    TrackEnroller,
    TrackObservation,
    load_embedder,
    nvinfer_preprocessing,
)
from tracking.deepstream.reader import UNTRACKED, EmbeddingOrigin
from tracking.errors import ObservationError, OptionError
from tracking.synthetic.config import SceneConfig
from tracking.synthetic.rendering import Scene, render_scene

A, B, C, D = (axis(number) for number in range(4))
BOX = (100.0, 50.0, 140.0, 150.0)


def person(object_id: int = 1, embedding: Any = A, **more: Any) -> DeepStreamObject:
    arguments: dict[str, Any] = {"class_id": 0, "label": "person", "box": BOX, "confidence": 0.9, **more}
    return DeepStreamObject(object_id, embedding=embedding, **arguments)


def frame(number: int, *objects: DeepStreamObject, source: int = 0, **more: Any) -> DeepStreamFrame:
    return DeepStreamFrame(source, number, (1920, 1080), objects, **more)


@pytest.fixture
def pyds() -> RecordedPyds:
    return RecordedPyds()


@pytest.fixture
def enroller(tmp_path: Path) -> Iterator[TrackEnroller]:
    with TrackEnroller(tmp_path / "g", model=TOY, grace_frames=3) as opened:
        yield opened


def entries_of(place: Path) -> list[Entry]:
    with Gallery.open(place) as gallery:
        return sorted(gallery.entries(), key=lambda e: (e.extra["source_id"], e.extra["first_frame"]))


# -- the whole way -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recording(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> list[list[DeepStreamFrame]]:
    """Two cameras, tracked and embedded for real, as nvstreammux would batch them."""
    yard = render_scene(tmp_path_factory.mktemp("yard"), SceneConfig(frames=scene.config.frames, clip=1))
    embedder = load_embedder("builtin")
    cameras: list[list[DeepStreamFrame]] = []
    for source, clip in enumerate((scene, yard)):
        cameras.append([])
        for seen in own_frames(clip.video, clip.detections, embedder):
            objects = [
                DeepStreamObject(
                    UNTRACKED if s.track_id is None else s.track_id,
                    0,
                    "person",
                    tuple(float(value) for value in s.box),  # type: ignore[union-attr, arg-type]
                    s.score,
                    embedding=None if s.embedding is None else np.asarray(s.embedding, np.float32),
                )
                for s in seen.observations
            ]
            cameras[-1].append(DeepStreamFrame(source, seen.frame, seen.size, tuple(objects), pad_index=source))
    return [list(batch) for batch in zip(*cameras, strict=True)]


@pytest.mark.parametrize(
    ("origin", "half"),
    [("sgie", False), ("sgie", True), ("tracker", False)],
    ids=["nvinfer", "nvinfer, FP16", "nvtracker"],
)
def test_from_the_probe_to_names(
    recording: list[list[DeepStreamFrame]], tmp_path: Path, origin: EmbeddingOrigin, half: bool
) -> None:
    """The results equal those of the same tracks and embeddings without DeepStream."""
    model = load_embedder("builtin").model
    pyds = RecordedPyds()
    names = {0: "door", 1: "yard"}
    with (
        TrackEnroller(tmp_path / "ds", model=model) as enroller,
        TrackEnroller(tmp_path / "plain", model=model) as plain,
    ):
        feed = DeepStreamFeed(enroller, pyds, embeddings=origin, sources=names)
        named = 0
        for frames in recording:
            found = feed.feed(pyds.batch(frames, embeddings=origin, half=half))
            assert [(one.source, one.frame.frame_num) for one in found] == [
                (names[one.source_id], one.frame_num) for one in frames
            ]
            for one, answers in zip(frames, found, strict=True):
                observations = [
                    TrackObservation(o.object_id if o.tracked else None, o.embedding, o.box, o.confidence, "person")
                    for o in one.objects
                ]
                expected = plain.observe(answers.source, one.frame_num, observations, frame_size=one.size)
                if not half:
                    assert list(answers.names) == expected
                named += sum(name is not None and name.identity is not None for name in answers.names)
    assert named > 300
    assert enroller.counts.enrolled > 5
    ours, theirs = (
        [(e.identity, e.frame, *np.round(np.asarray(e.box), 3).tolist()) for e in entries_of(tmp_path / place)]
        for place in ("ds", "plain")
    )
    assert ours == theirs
    if half:
        with Gallery.open(tmp_path / "ds") as gallery, Gallery.open(tmp_path / "plain") as other:
            vectors = [np.stack([g.get(e.id)[1] for e in g.entries()]) for g in (gallery, other)]
        assert np.abs(vectors[0] @ vectors[1].T).max(axis=1).min() > 0.99999
    sources: dict[str, set[str]] = {}
    for entry in entries_of(tmp_path / "ds"):
        sources.setdefault(entry.identity, set()).add(entry.extra["source_id"])
    assert sum(seen == {"door", "yard"} for seen in sources.values()) >= 3, "people of both cameras"


# -- reading -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["sgie", "tracker", "none"])
def test_a_batch_is_read_unchanged(pyds: RecordedPyds, origin: EmbeddingOrigin) -> None:
    frames = [
        frame(
            7,
            person(1, 3.5 * A + B),
            person(2, None, confidence=-0.1, tracker_confidence=0.4),
            person(UNTRACKED, None, class_id=2, label="bag"),
            source=3,
            pad_index=1,
            batch_id=1,
            buf_pts=40_000_000,
            ntp_timestamp=1_700_000_000_000_000_000,
        ),
        frame(9),
    ]
    read = DeepStreamReader(pyds, embeddings=origin, dimension=SIZE).read(pyds.batch(frames, embeddings=origin))
    for got, expected in zip(read, frames, strict=True):
        for name in ("source_id", "frame_num", "size", "pad_index", "batch_id", "buf_pts", "ntp_timestamp"):
            assert getattr(got, name) == getattr(expected, name)
        for one, other in zip(got.objects, expected.objects, strict=True):
            for name in ("object_id", "class_id", "label", "box", "confidence", "tracker_confidence"):
                assert getattr(one, name) == getattr(other, name)
            wanted = None if origin == "none" else other.embedding
            assert (one.embedding is None) == (wanted is None)
            if wanted is not None:
                assert one.embedding is not None
                assert one.embedding.dtype == np.float32
                assert np.array_equal(one.embedding, wanted)


@pytest.mark.parametrize(
    ("confidence", "tracker", "score"),
    [(0.8, 0.3, 0.8), (-0.1, 0.3, 0.3), (-0.1, -0.1, 1.0), (0.0, 0.5, 0.0), (1.2, 0.5, 1.0), (np.nan, 0.5, 0.5)],
)
def test_chooses_the_confidence(confidence: float, tracker: float, score: float) -> None:
    assert person(confidence=confidence, tracker_confidence=tracker).score == score


def test_results_outlive_the_batch(pyds: RecordedPyds) -> None:
    batch = pyds.batch([frame(0, person())])
    (read,) = DeepStreamReader(pyds).read(batch)
    meta = pyds.NvDsObjectMeta.cast(pyds.NvDsFrameMeta.cast(batch.frame_meta_list.data).obj_meta_list.data)
    tensor = pyds.NvDsInferTensorMeta.cast(pyds.NvDsUserMeta.cast(meta.obj_user_meta_list.data).user_meta_data)
    address = pyds.get_ptr(pyds.get_nvds_LayerInfo(tensor, 0).buffer)
    ctypes.memset(address, 0xFF, 4 * SIZE)  # the pool gives the memory to the next batch
    del batch, meta, tensor
    gc.collect()
    embedding = read.objects[0].embedding
    assert embedding is not None
    assert np.array_equal(embedding, A)


class OldNode:
    """A GList as old versions of pyds had it: its end raises."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items

    @property
    def data(self) -> Any:
        if not self._items:
            raise StopIteration
        return self._items[0]

    @property
    def next(self) -> OldNode:
        if not self._items[1:]:
            raise StopIteration
        return OldNode(self._items[1:])


def test_lists_that_end_by_stopiteration(pyds: RecordedPyds) -> None:
    new = pyds.batch([frame(4, person(1), person(2)), frame(6, person(3), source=1)])

    def items(node: Any) -> list[Any]:
        return [] if node is None else [node.data, *items(node.next)]

    for data in items(new.frame_meta_list):
        meta = pyds.NvDsFrameMeta.cast(data)
        for one in items(meta.obj_meta_list):
            known = pyds.NvDsObjectMeta.cast(one)
            known.obj_user_meta_list = OldNode(items(known.obj_user_meta_list))
        meta.obj_meta_list = OldNode(items(meta.obj_meta_list))
    old = SimpleNamespace(frame_meta_list=OldNode(items(new.frame_meta_list)))
    read = DeepStreamReader(pyds).read(old)
    assert [[one.object_id for one in got.objects] for got in read] == [[1, 2], [3]]
    assert all(one.embedding is not None for got in read for one in got.objects)
    assert DeepStreamReader(pyds).read(SimpleNamespace(frame_meta_list=OldNode([]))) == []


def test_recorded_pyds_needs_casts_as_pyds_does(pyds: RecordedPyds) -> None:
    batch = pyds.batch([frame(0, person())])
    assert not hasattr(batch.frame_meta_list.data, "frame_num")
    with pytest.raises(TypeError, match="capsule"):
        pyds.NvDsFrameMeta.cast(batch)


def test_other_metadata_of_an_object_is_ignored(pyds: RecordedPyds) -> None:
    batch = pyds.batch([frame(0, person())])
    meta = pyds.NvDsObjectMeta.cast(pyds.NvDsFrameMeta.cast(batch.frame_meta_list.data).obj_meta_list.data)
    mine = SimpleNamespace(
        base_meta=SimpleNamespace(meta_type=pyds.NvDsMetaType.NVDS_START_USER_META), user_meta_data=object()
    )
    first = meta.obj_user_meta_list
    meta.obj_user_meta_list = type(first)(type(first.data)(mine), first)
    (read,) = DeepStreamReader(pyds).read(batch)
    assert read.objects[0].embedding is not None
    (read,) = DeepStreamReader(pyds, embeddings="tracker").read(batch)
    assert read.objects[0].embedding is None


def tensor_of(pyds: RecordedPyds, batch: Any) -> Any:
    meta = pyds.NvDsObjectMeta.cast(pyds.NvDsFrameMeta.cast(batch.frame_meta_list.data).obj_meta_list.data)
    return pyds.NvDsInferTensorMeta.cast(pyds.NvDsUserMeta.cast(meta.obj_user_meta_list.data).user_meta_data)


def with_second_layer(pyds: RecordedPyds, batch: Any) -> Any:
    tensor = tensor_of(pyds, batch)
    other = tensor_of(pyds, pyds.batch([frame(0, person(1, B))], layer="logits"))
    tensor._layers += other._layers
    tensor._host += other._host
    tensor.num_output_layers = 2
    return batch


def with_second_network(pyds: RecordedPyds, batch: Any) -> Any:
    meta = pyds.NvDsObjectMeta.cast(pyds.NvDsFrameMeta.cast(batch.frame_meta_list.data).obj_meta_list.data)
    other = pyds.batch([frame(0, person(1, B))], gie_id=5)
    their = pyds.NvDsObjectMeta.cast(pyds.NvDsFrameMeta.cast(other.frame_meta_list.data).obj_meta_list.data)
    meta.obj_user_meta_list.next = their.obj_user_meta_list
    return batch


def test_a_layer_and_a_network_can_be_chosen(pyds: RecordedPyds) -> None:
    def read(change: Any, **options: Any) -> Any:
        (got,) = DeepStreamReader(pyds, **options).read(change(pyds, pyds.batch([frame(0, person())])))
        return got.objects[0].embedding

    assert np.array_equal(read(with_second_layer, layer="embedding"), A)
    assert np.array_equal(read(with_second_layer, layer="logits"), B)
    assert np.array_equal(read(with_second_network, gie_id=2), A)
    assert np.array_equal(read(with_second_network, gie_id=5), B)
    assert read(with_second_network, gie_id=9) is None


def of_type(name: str) -> Any:
    def change(pyds: RecordedPyds, batch: Any) -> Any:
        tensor_of(pyds, batch)._layers[0].dataType = getattr(pyds.NvDsInferDataType, name)
        return batch

    return change


@pytest.mark.parametrize(
    ("made", "change", "options", "words"),
    [
        pytest.param({"on_host": False}, None, {}, "no buffer on the host.*disable-output-host-copy", id="device"),
        pytest.param(
            {"on_host": False, "embeddings": "tracker"},
            None,
            {"embeddings": "tracker"},
            "ReID vector is only on the device",
            id="tracker's on the device",
        ),
        pytest.param({}, of_type("INT8"), {}, "layer embedding is of type INT8", id="INT8"),
        pytest.param({}, None, {"dimension": 512}, "has 8 values; expected 512", id="another length"),
        pytest.param(
            {"embeddings": "tracker"},
            None,
            {"embeddings": "tracker", "dimension": 512},
            "ReID vector has 8 values; expected 512",
            id="tracker's of another length",
        ),
        pytest.param({}, with_second_layer, {}, r"2 output layers \(embedding, logits\)", id="which layer"),
        pytest.param({}, None, {"layer": "fc"}, "no output layer 'fc'; it has embedding", id="no such layer"),
        pytest.param({}, with_second_network, {}, "components 2, 5", id="which network"),
    ],
)
def test_rejects_unusable_tensors(
    pyds: RecordedPyds, made: dict[str, Any], change: Any, options: dict[str, Any], words: str
) -> None:
    batch = pyds.batch([frame(12, person(77), source=3)], **made)
    if change is not None:
        batch = change(pyds, batch)
    with pytest.raises(ObservationError, match=words) as raised:
        DeepStreamReader(pyds, **options).read(batch)
    assert str(raised.value).startswith("source 3, frame 12, object 77: ")


def test_error_without_pyds() -> None:
    code = """
import sys
import tracking
from tracking import DeepStreamFeed, DeepStreamReader, RecordedPyds
DeepStreamReader(RecordedPyds())
assert not {"pyds", "gi"} & set(sys.modules)
try:
    DeepStreamReader()
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("OptionError pyds, NVIDIA's Python binding of DeepStream, cannot be imported")
    assert "container" in done.stdout


def test_an_old_pyds_has_no_embeddings_of_the_tracker(pyds: RecordedPyds) -> None:
    del pyds.NvDsObjReid
    DeepStreamReader(pyds)
    with pytest.raises(OptionError, match=r"NvDsObjReid.*7\.1"):
        DeepStreamReader(pyds, embeddings="tracker")
    with pytest.raises(OptionError, match="embeddings: expected one of"):
        DeepStreamReader(pyds, embeddings="both")  # type: ignore[arg-type]


# -- feeding -------------------------------------------------------------------------------------------------


def texts(pyds: RecordedPyds, batch: Any) -> list[str]:
    node = pyds.NvDsFrameMeta.cast(batch.frame_meta_list.data).obj_meta_list
    found = []
    while node is not None:
        found.append(pyds.NvDsObjectMeta.cast(node.data).text_params.display_text)
        node = node.next
    return found


@pytest.mark.parametrize("show", [True, False])
def test_names_are_written_where_they_are_drawn(pyds: RecordedPyds, enroller: TrackEnroller, show: bool) -> None:
    feed = DeepStreamFeed(enroller, pyds, show_names=show)
    for number in range(10):
        others = person(UNTRACKED, B, box=(300, 50, 340, 150)), person(2, None, box=(500, 50, 540, 150))
        batch = pyds.batch([frame(number, person(1, A), *others)])
        (names,) = feed.feed(batch)
    assert [name and name.identity for name in names.names] == ["unknown-0001", None, None]
    expected = "unknown-0001" if show else "person 1"
    assert texts(pyds, batch) == [expected, f"person {UNTRACKED}", "person 2"]


def test_classes_and_their_names(pyds: RecordedPyds, enroller: TrackEnroller, tmp_path: Path) -> None:
    feed = DeepStreamFeed(enroller, pyds, classes=[0, 5], class_names={5: "bicycle"}, sources={2: "gate"})
    boxes = [(100.0 * n, 50.0, 100.0 * n + 50, 170.0) for n in range(1, 4)]
    for number in range(10):
        objects = [
            person(n, vector, class_id=class_id, label=label, box=boxes[n])
            for n, (vector, class_id, label) in enumerate([(A, 0, "person"), (B, 3, "car"), (C, 5, "")])
        ]
        (names,) = feed.feed(pyds.batch([frame(number, *objects, source=2)]))
    assert [name and name.status for name in names.names] == ["unknown", None, "unknown"]
    enroller.close()
    assert {(e.class_name, e.extra["source_id"]) for e in entries_of(tmp_path / "g")} == {
        ("person", "gate"),
        ("bicycle", "gate"),
    }


def test_box_quality_uses_the_pixels_of_the_muxer(pyds: RecordedPyds, tmp_path: Path) -> None:
    """A box of 100 pixels is small in a frame of 1080, and large in one of 270."""
    quality = []
    for name, size in (("source", None), ("muxer", (480, 270))):
        with TrackEnroller(tmp_path / name, model=TOY) as enroller:
            feed = DeepStreamFeed(enroller, pyds, frame_size=size)
            for number in range(10):
                feed.feed(pyds.batch([frame(number, person())]))
        quality.append(entries_of(tmp_path / name)[0].extra["quality"])
    assert quality[0] == pytest.approx(0.9 * 100 / 270, abs=1e-3)
    assert quality[1] == pytest.approx(0.9, abs=1e-3)


def test_images_are_requested_only_for_embedded_tracks(
    pyds: RecordedPyds, enroller: TrackEnroller, tmp_path: Path
) -> None:
    asked: list[tuple[int, Any]] = []
    noise = np.random.default_rng(0).integers(0, 255, (540, 960, 3), np.uint8)  # half the size that the boxes refer to

    def image(one: DeepStreamFrame, buffer: Any) -> Any:
        asked.append((one.frame_num, buffer))
        return noise

    feed = DeepStreamFeed(enroller, pyds, image=image)
    for number in range(20):
        two = person(1, A), person(2, B, box=(300, 50, 340, 150))
        feed.feed(pyds.batch([frame(number, *two)]), f"buffer {number}")
    assert 3 <= len(asked) <= 10, "once a frame, and not in each"
    assert asked[0] == (0, "buffer 0")
    enroller.close()
    for entry in entries_of(tmp_path / "g"):
        with PictureFile.open(tmp_path / "g" / entry.extra["crop"]) as picture:
            assert picture.size == (20, 50)


def test_embeddings_in_some_frames_only(pyds: RecordedPyds, enroller: TrackEnroller, tmp_path: Path) -> None:
    """As with secondary-reinfer-interval: most frames have none."""
    feed = DeepStreamFeed(enroller, pyds)
    for number in range(60):
        feed.feed(pyds.batch([frame(number, person(1, A if number % 10 == 0 else None))]))
    enroller.close()
    (entry,) = entries_of(tmp_path / "g")
    assert entry.extra["num_frames"] == 60
    assert 3 <= entry.extra["num_looks"] <= 6


def test_a_restarted_source(pyds: RecordedPyds, enroller: TrackEnroller, tmp_path: Path) -> None:
    notices: list[str] = []
    feed = DeepStreamFeed(enroller, pyds, notify=notices.append)
    for vector in (A, B):  # a file that loops
        for number in range(10):
            feed.feed(pyds.batch([frame(number, person(1, vector))]))
    assert notices == ["source-0 starts again, with frame 0 after frame 9."]
    feed.end(0)
    for number in range(10):
        feed.feed(pyds.batch([frame(number, person(1, C))]))
    assert len(notices) == 1, "its end was reported"
    enroller.close()
    assert [e.identity for e in entries_of(tmp_path / "g")] == ["unknown-0001", "unknown-0002", "unknown-0003"]


BAD = [
    pytest.param(person(5, np.full(SIZE, np.nan)), "track 5: the embedding has values that are not finite", id="NaN"),
    pytest.param(person(5, np.zeros(SIZE)), "track 5: the embedding is a zero vector", id="zero"),
    pytest.param(person(5, A, box=(10.0, 10.0, 10.0, 30.0)), "track 5: expected a box", id="no area"),
]


@pytest.mark.parametrize(("bad", "words"), BAD)
def test_unusable_objects_are_rejected_or_counted(
    pyds: RecordedPyds, enroller: TrackEnroller, bad: DeepStreamObject, words: str
) -> None:
    other = person(1, A, box=(300.0, 10.0, 350.0, 120.0))
    with pytest.raises(ObservationError, match=words):
        DeepStreamFeed(enroller, pyds).feed(pyds.batch([frame(3, bad, other)]))
    feed = DeepStreamFeed(enroller, pyds, lenient=True)
    for number in range(4, 14):
        (names,) = feed.feed(pyds.batch([frame(number, bad, other)]))
    assert sum(feed.left_out.values()) == 10
    assert [name and name.identity for name in names.names] == [None, "unknown-0001"]


def test_a_repeated_frame(pyds: RecordedPyds, enroller: TrackEnroller) -> None:
    batch = pyds.batch([frame(3, person())])
    for lenient in (False, True):
        feed = DeepStreamFeed(enroller, pyds, lenient=lenient, sources={0: f"lenient {lenient}"})
        assert len(feed.feed(batch)) == 1
        if lenient:
            assert feed.feed(batch) == []
            assert feed.left_out == {"the frame is repeated": 1}
        else:
            with pytest.raises(ObservationError, match="frame 3 came after frame 3"):
                feed.feed(batch)


def test_the_times_of_frames_are_used_where_cameras_are_apart(pyds: RecordedPyds, tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", TOY) as gallery:
        gallery.add([Entry("alice-1", "alice")], A[None])
    apart = CameraMap(["source-0", "source-1"], {("source-0", "source-1"): 0})
    for start, expected in ((1_700_000_000_000_000_000, ["alice", None]), (0, ["alice", "alice"])):
        with TrackEnroller(tmp_path / "g", enroll="off", cameras=apart) as enroller:
            feed = DeepStreamFeed(enroller, pyds)
            for number in range(20):
                time = start and start + number * 40_000_000
                batch = [frame(number, person(), source=source, ntp_timestamp=time) for source in (0, 1)]
                found = feed.feed(pyds.batch(batch))
        assert [one.names[0].identity if one.names[0] else None for one in found] == expected


# -- the probe -----------------------------------------------------------------------------------------------


@pytest.fixture
def gst(monkeypatch: pytest.MonkeyPatch) -> Any:
    """GStreamer's binding, as far as a probe needs it."""
    gst = ModuleType("gi.repository.Gst")
    gst.PadProbeReturn = SimpleNamespace(DROP="drop", OK="ok", REMOVE="remove")  # type: ignore[attr-defined]
    for name, module in (("gi", ModuleType("gi")), ("gi.repository", ModuleType("gi.repository")), (gst.__name__, gst)):
        monkeypatch.setitem(sys.modules, name, module)
    return gst


class Info:
    """A Gst.PadProbeInfo."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer

    def get_buffer(self) -> Any:
        return self._buffer


def test_the_probe(pyds: RecordedPyds, enroller: TrackEnroller, gst: Any) -> None:
    feed = DeepStreamFeed(enroller, pyds)
    batches = [pyds.batch([frame(number, person())]) for number in range(10)]
    infos = [Info(None), Info(object()), *(Info(pyds.buffer(batch)) for batch in batches)]
    returned: list[Any] = []
    streaming = threading.Thread(target=lambda: returned.extend(feed.probe(None, info, None) for info in infos))
    streaming.start()
    streaming.join()
    assert returned == ["ok"] * len(infos)
    feed.check()
    assert texts(pyds, batches[-1]) == ["unknown-0001"]


def test_an_error_in_the_probe_does_not_stop_the_pipeline(
    pyds: RecordedPyds, enroller: TrackEnroller, gst: Any
) -> None:
    notices: list[str] = []
    feed = DeepStreamFeed(enroller, pyds, notify=notices.append)
    frames = [frame(0, person()), frame(1, person(1, np.zeros(SIZE))), frame(2, person())]
    for one in frames:
        assert feed.probe(None, Info(pyds.buffer(pyds.batch([one])))) == "ok"
    assert notices == [f"warning: identification and enrolment have stopped: {feed.failure}"]
    with pytest.raises(ObservationError, match="source source-0, frame 1, track 1: the embedding is a zero vector"):
        feed.check()
    assert enroller.observe("source-0", 2, []) == [], "nothing was taken after it"


def test_a_probe_after_the_end(pyds: RecordedPyds, enroller: TrackEnroller, gst: Any) -> None:
    feed = DeepStreamFeed(enroller, pyds)
    enroller.close()
    assert feed.probe(None, Info(pyds.buffer(pyds.batch([frame(0, person())])))) == "ok"
    with pytest.raises(GalleryError, match="was closed"):
        feed.check()


# -- the model -----------------------------------------------------------------------------------------------

CONFIG = """[property]
gpu-id=0
net-scale-factor=0.017352
offsets=123.675;116.28;103.53
model-color-format=0
infer-dims=3;256;128
process-mode=2
network-mode=2
output-tensor-meta=1
"""


def test_reads_the_preprocessing_of_nvinfer(tmp_path: Path) -> None:
    path = tmp_path / "sgie.txt"
    (tmp_path / "mean.ppm").write_bytes(b"P6 1 1 255 abc")

    def text(*changes: tuple[str, str]) -> str:
        content = CONFIG
        for old, new in changes:
            assert old in content
            content = content.replace(old, new)
        path.write_text(content)
        return nvinfer_preprocessing(path)

    plain = text()
    assert plain == "nvinfer 256x128 rgb stretch filter=default scale=0.017352 offsets=123.675,116.28,103.53"
    same = [
        ("gpu-id=0", "gpu-id=1"),
        ("network-mode=2", "network-mode=0"),
        ("[property]", "# a remark\n[property]"),
        ("3;256;128", "3;256;128;"),
    ]
    assert {text(change) for change in same} == {plain}
    other = [
        ("0.017352", "0.0039"),
        ("116.28", "116"),
        ("color-format=0", "color-format=1"),
        ("3;256;128", "3;384;128"),
        ("gpu-id=0", "maintain-aspect-ratio=1"),
        ("gpu-id=0", "maintain-aspect-ratio=1\nsymmetric-padding=1"),
        ("gpu-id=0", "scaling-filter=1"),
        ("network-mode=2", "network-mode=1"),
        ("offsets=123.675;116.28;103.53", "gpu-id=0"),
        ("offsets=123.675;116.28;103.53", "mean-file=mean.ppm"),
    ]
    texts = [text(change) for change in other]
    assert len({plain, *texts}) == len(other) + 1
    assert all(one.startswith("nvinfer ") for one in texts)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("property:\n  gpu-id: 0\n", r"\[property\].*YAML"),
        ("[tracker]\ntracker-width=640\n", r"\[property\]"),
        (CONFIG.replace("infer-dims=3;256;128\n", ""), "expected infer-dims"),
        (CONFIG.replace("3;256;128", "256;128"), "has a wrong value"),
        (CONFIG.replace("0.017352", "much"), "has a wrong value"),
        (CONFIG.replace("color-format=0", "color-format=9"), "has a wrong value"),
        (CONFIG + "input-tensor-from-meta=1\n", "nvdspreprocess"),
        (CONFIG.replace("offsets=123.675;116.28;103.53", "mean-file=absent.ppm"), "absent.ppm cannot be read"),
    ],
)
def test_rejects_unusable_configurations(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "sgie.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(OptionError, match=words):
        nvinfer_preprocessing(path)


def test_recordings_are_plain_data() -> None:
    """They can be changed, and kept with pickle."""
    import pickle

    kept = pickle.loads(pickle.dumps(frame(3, person(4, A))))
    assert kept.objects[0].object_id == 4
    assert replace(kept, source_id=9).source_id == 9
