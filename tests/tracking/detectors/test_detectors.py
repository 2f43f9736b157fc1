"""Detectors: recognition and decoding of YOLO outputs, suppression, OpenCV's people detector, and their errors."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from support.detector_graphs import make_bright_square_detector, make_fixed_detector

from tracking.classes import COCO_NAMES
from tracking.detectors import Detector, DetectorOptions, available_detectors, load_detector
from tracking.detectors.base import suppress_overlaps
from tracking.detectors.decode import recognise
from tracking.errors import DetectorError, OptionError

SIZE = (64, 96)
CELLS = 96 + 24 + 6
"""Cells of strides 8, 16 and 32 in 64 x 96 pixels."""
FRAME = np.full((128, 192, 3), 90, np.uint8)
"""Exactly twice the input, so that no padding is needed."""
BOX = (40.0, 20.0, 20.0, 30.0)
"""Centre and size in the network's pixels: [30, 5, 50, 35], twice that in the frame."""
IN_FRAME = [60.0, 10.0, 100.0, 70.0]


def yolov8(classes: int = 3, box: tuple[float, ...] = BOX, extra: int = 0) -> NDArray[np.float32]:
    rows = np.zeros((CELLS, 4 + classes + extra), np.float32)
    rows[:, :4] = 1.0
    rows[50, :4] = box
    rows[50, 4 + classes - 1] = 0.8
    rows[51, :4] = np.add(box, (1, 1, 0, 0))
    rows[51, 4 + classes - 1] = 0.7
    rows[52, :4] = np.add(box, (1, 0, 0, 0))
    rows[52, 4] = 0.6
    return rows


def yolov5() -> NDArray[np.float32]:
    rows = np.zeros((3 * CELLS, 5 + 3), np.float32)
    rows[:, :4] = 1.0
    rows[200, :5] = (*BOX, 0.9)
    rows[200, 7] = 0.8 / 0.9
    rows[201, :5] = (*BOX, 0.7)
    rows[201, 7] = 1.0
    rows[202, :5] = (*BOX, 0.75)
    rows[202, 5] = 0.8
    rows[203, :5] = (*BOX, 0.09)  # likely enough a class, but hardly an object
    rows[203, 5] = 1.0
    return rows


def yolox(decoded: bool) -> NDArray[np.float32]:
    rows = np.zeros((CELLS, 5 + 3), np.float32)
    grid = [(x, y, s) for s in (8, 16, 32) for y in range(64 // s) for x in range(96 // s)]
    places = np.array([(x * s, y * s, s, s) for x, y, s in grid], np.float32)
    for row, score, kind in ((29, 0.8, 2), (30, 0.7, 2), (28, 0.6, 0)):
        places[row] = BOX
        rows[row, 4], rows[row, 5 + kind] = 1.0, score
    if not decoded:
        cells = np.array(grid, np.float32)
        places[:, :2] = places[:, :2] / cells[:, 2:] - cells[:, :2]
        places[:, 2:] = np.log(places[:, 2:] / cells[:, 2:])
    rows[:, :4] = places
    return rows


def end2end() -> NDArray[np.float32]:
    rows = np.zeros((300, 6), np.float32)
    rows[0] = (30, 5, 50, 35, 0.8, 2)
    rows[1] = (31, 6, 51, 36, 0.7, 2)
    rows[2] = (31, 5, 51, 35, 0.6, 0)
    return rows


FORMS: dict[str, tuple[Any, str, int]] = {
    "YOLOv8": (lambda: yolov8().T, "yolov8", 2),
    "YOLOv5": (yolov5, "yolov5", 2),
    "YOLOX": (lambda: yolox(False), "yolox", 2),
    "YOLOX, decoded": (lambda: yolox(True), "yolox", 2),
    "end to end": (end2end, "end2end", 3),
}
"""Rows, family, and how many of them are left: the end-to-end form has been suppressed by its network."""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch", ["batch", 1, 4], ids=["any batch", "one frame", "four frames"])
def test_decodes_each_output_form(tmp_path: Path, form: str, batch: int | str) -> None:
    rows, family, count = FORMS[form]
    path = make_fixed_detector(tmp_path / "model.onnx", rows(), batch=batch)
    detector = load_detector(DetectorOptions(path, device="cpu", batch_size=2))
    assert isinstance(detector, Detector)
    assert detector.facts["model_family"] == family
    for found in detector.detect([FRAME] * 3):
        assert found.dtype == np.float32
        assert len(found) == count
        np.testing.assert_allclose(found[0], [*IN_FRAME, 0.8, 2], atol=1e-3)
        assert found[-1, 4:].tolist() == pytest.approx([0.6, 0])
    (first,) = load_detector(DetectorOptions(path, classes=[0])).detect([FRAME])
    by_name = load_detector(DetectorOptions(path, classes=["A"], class_names={0: "a"}))
    assert by_name.facts["classes"] == [0]
    np.testing.assert_array_equal(by_name.detect([FRAME])[0], first)
    assert first[:, 5].tolist() == [0]
    (first,) = load_detector(DetectorOptions(path, score_threshold=0.75)).detect([FRAME])
    assert first[:, 5].tolist() == [2]


def test_half_precision_models(tmp_path: Path) -> None:
    detector = load_detector(DetectorOptions(make_fixed_detector(tmp_path / "m.onnx", yolov8().T, half=True)))
    assert detector.facts["half"] is True
    np.testing.assert_allclose(detector.detect([FRAME])[0][0], [*IN_FRAME, 0.8, 2], atol=0.05)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        # Input 64 x 96. A wide frame is padded above and below, a high one at the sides; scale 2 and 4.
        pytest.param((64, 192), [60, -22, 100, 38], id="wide"),
        pytest.param((128, 96), [12, 10, 52, 70], id="high"),
        pytest.param((64, 96), [30, 5, 50, 35], id="as it is"),
        pytest.param((32, 48), [15, 2.5, 25, 17.5], id="small"),
        # 50 x 67 becomes 48 x 64: whole pixels, so that the scales are 0.96 across and 64 / 67 down.
        pytest.param((67, 50), [6 / 0.96, 5 * 67 / 64, 26 / 0.96, 35 * 67 / 64], id="scales that differ"),
    ],
)
def test_padding_is_removed_from_the_boxes(tmp_path: Path, frame: tuple[int, int], expected: list[float]) -> None:
    detector = load_detector(DetectorOptions(make_fixed_detector(tmp_path / "m.onnx", yolov8().T)))
    (found,) = detector.detect([np.zeros((*frame, 3), np.uint8)])
    clipped = np.clip(expected, 0, [frame[1], frame[0]] * 2)
    np.testing.assert_allclose(found[0, :4], clipped, atol=1e-3)


def test_yolox_pads_at_the_right_and_below(tmp_path: Path) -> None:
    detector = load_detector(DetectorOptions(make_fixed_detector(tmp_path / "m.onnx", yolox(False))))
    (found,) = detector.detect([np.zeros((64, 192, 3), np.uint8)])
    np.testing.assert_allclose(found[0, :4], [60, 10, 100, 64], atol=1e-3)


def test_a_network_gets_the_pixels_of_each_frame(tmp_path: Path) -> None:
    """Positions, channel order, scaling to 0..1 and the batch, by a convolution that answers to green light."""
    detector = load_detector(
        DetectorOptions(make_bright_square_detector(tmp_path / "m.onnx"), score_threshold=0.5, batch_size=3)
    )
    frames = []
    for x, y in ((40, 80), (200, 24), (304, 176)):
        frame = np.full((192, 320, 3), 60, np.uint8)
        frame[:, :, 0] = frame[:, :, 2] = 255  # full blue and red must not count
        cv2.rectangle(frame, (x, y), (x + 7, y + 7), (0, 204, 0), -1)
        frames.append(frame)
    found = detector.detect(frames)
    for (x, y), rows in zip(((40, 80), (200, 24), (304, 176)), found, strict=True):
        assert len(rows) == 1
        np.testing.assert_allclose(rows[0, :2], (x - 4, y - 4), atol=1e-3)
        assert rows[0, 4] == pytest.approx(0.8, abs=1e-3)
    assert detector.class_names == {0: "lamp"}


def test_metadata_names_the_classes_and_ignores_further_columns(tmp_path: Path) -> None:
    """A segmentation model: mask coefficients stand behind the class scores, and only the names show where."""
    names = {0: "a", 1: "b", 2: "person"}
    rows = yolov8(extra=4)
    rows[:, 7:] = 50.0  # no scores
    path = make_fixed_detector(tmp_path / "m.onnx", rows.T, metadata={"names": str(names), "task": "segment"})
    notices: list[str] = []
    detector = load_detector(DetectorOptions(path), notify=notices.append)
    assert detector.class_names == names
    assert "segment" in notices[0]
    assert detector.detect([FRAME])[0][0, 5] == 2
    renamed = load_detector(DetectorOptions(path, class_names={2: "walker"}))
    assert renamed.class_names[2] == "walker"


@pytest.mark.parametrize(
    ("metadata", "columns"),
    [
        pytest.param({"task": "segment", "end2end": "True", "args": "{'nms': False}"}, 38, id="masks, no suppression"),
        pytest.param({"task": "segment", "end2end": "False", "args": "{'nms': True}"}, 38, id="masks, suppression"),
        pytest.param({"task": "pose"}, 57, id="keypoints, an exporter that notes less"),
    ],
)
def test_masks_and_keypoints_behind_end_to_end_boxes(tmp_path: Path, metadata: dict[str, str], columns: int) -> None:
    rows = np.hstack([end2end(), np.full((300, columns - 6), 50, np.float32)])
    detector = load_detector(DetectorOptions(make_fixed_detector(tmp_path / "m.onnx", rows, metadata=metadata)))
    assert detector.facts["model_family"] == "end2end"
    (found,) = detector.detect([FRAME])
    assert len(found) == 3
    np.testing.assert_allclose(found[0], [*IN_FRAME, 0.8, 2], atol=1e-3)


@pytest.mark.parametrize("noted", [{"end2end": "True"}, {"args": "{'nms': True}"}], ids=str)
def test_what_the_exporter_noted_goes_before_the_number_of_rows(tmp_path: Path, noted: dict[str, str]) -> None:
    """300 rows are also the cells of strides 16 and 32 in 192 x 320 pixels, and six columns YOLOX of one class."""
    size, names = (192, 320), {"names": "{0: 'person'}"}
    path = make_fixed_detector(tmp_path / "m.onnx", end2end(), size=size, metadata={**names, **noted})
    assert load_detector(DetectorOptions(path)).facts["model_family"] == "end2end"
    rows = end2end()
    rows[:, 4:] = np.clip(rows[:, 4:], 0, 1)
    unsaid = make_fixed_detector(
        tmp_path / "n.onnx", rows, size=size, metadata={**names, "end2end": "False", "args": "{'nms': None}"}
    )
    assert load_detector(DetectorOptions(unsaid)).facts["model_family"] == "yolox"
    noted_wrongly = make_fixed_detector(tmp_path / "o.onnx", rows, size=size, metadata={**names, **noted})
    assert load_detector(DetectorOptions(noted_wrongly, family="yolox")).facts["model_family"] == "yolox"


def test_sizes_that_the_model_leaves_open(tmp_path: Path) -> None:
    rows = yolov8().T
    stated = make_fixed_detector(tmp_path / "a.onnx", rows, size=("h", "w"), metadata={"imgsz": "[64, 96]"})
    assert load_detector(DetectorOptions(stated)).facts["imgsz"] == [64, 96]
    with pytest.raises(DetectorError, match="no known layout"):
        load_detector(DetectorOptions(stated, image_size=128))  # rows for another grid
    square = np.zeros((21 * 4, 7), np.float32).T
    assert load_detector(
        DetectorOptions(make_fixed_detector(tmp_path / "b.onnx", square, size=("h", "w")), image_size=60)
    )
    notices: list[str] = []
    load_detector(
        DetectorOptions(make_fixed_detector(tmp_path / "c.onnx", rows), image_size=640, half=True),
        notify=notices.append,
    )
    assert "`image_size` has no effect" in notices[0]
    assert "`half` has no effect" in notices[1]


@pytest.mark.parametrize(
    ("size", "metadata", "words"),
    [
        (("h", "w"), {"names": "{'a': 'b'}"}, r"metadata names .*found \{'a': 'b'\}"),
        (("h", "w"), {"names": "{0: 1}"}, "metadata names"),
        (("h", "w"), {"imgsz": "[-1, 64]"}, "metadata imgsz"),
        (("h", "w"), {"imgsz": "[1e999, 2]"}, "metadata imgsz"),
        (("h", "w"), {"imgsz": "[100000, 100000]"}, "1 x 100000 x 100000 pixels; the limit is 32,000,000"),
        ((10**9, 10**9), {}, "the limit is 32,000,000 pixels"),
        (("h", "w"), {"task": "x" * 100_000}, r"found one for 'x+\.\.\."),
    ],
)
def test_impossible_statements_of_a_file_are_refused(
    tmp_path: Path, size: tuple[int | str, int | str], metadata: dict[str, str], words: str
) -> None:
    path = make_fixed_detector(tmp_path / "m.onnx", yolov8().T, size=size, metadata=metadata)
    with pytest.raises(DetectorError, match=words) as caught:
        load_detector(DetectorOptions(path))
    assert str(path) in str(caught.value)


def test_coco_names_for_80_classes(tmp_path: Path) -> None:
    assert len(COCO_NAMES) == 80
    assert (COCO_NAMES[0], COCO_NAMES[2], COCO_NAMES[79]) == ("person", "car", "toothbrush")
    detector = load_detector(DetectorOptions(make_fixed_detector(tmp_path / "m.onnx", yolov8(80).T)))
    assert detector.class_names[79] == "toothbrush"


@pytest.mark.parametrize(
    ("shape", "count", "expected"),
    [
        ((1, 84, 8400), None, "yolov8"),
        ((1, 8400, 84), None, "yolov8"),
        ((1, 25200, 85), None, "yolov5"),
        ((1, 8400, 85), None, "yolox"),
        ((1, 300, 6), None, "end2end"),
        ((1, 6, 8400), None, "yolov8"),
        ((1, 8400, 6), 1, "yolox"),
        ((1, 25200, 6), 1, "yolov5"),
        ((1, 34000, 7), 3, "yolov8"),
    ],
    ids=str,
)
def test_output_forms_are_recognised_by_their_shape(shape: tuple[int, ...], count: int | None, expected: str) -> None:
    assert recognise(np.zeros(shape, np.float32), (640, 640), class_count=count).family == expected


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        pytest.param(np.zeros((1, 1000)), "no known layout", id="a classifier"),
        pytest.param(np.zeros((1, 300, 84)), "no known layout", id="DETR"),
        pytest.param(np.zeros((1, 3, 80, 80, 85)), "no known layout", id="raw heads"),
        pytest.param(np.full((1, 84, 8400), -3.0), "0 to 1", id="logits"),
        pytest.param(np.full((1, 84, 8400), np.nan), "0 to 1", id="NaN"),
    ],
)
def test_rejects_other_outputs(sample: NDArray[np.float64], words: str) -> None:
    with pytest.raises(DetectorError, match=words):
        recognise(sample, (640, 640))


def test_uses_the_requested_family() -> None:
    sample = np.zeros((1, 8400, 84), np.float32)
    assert recognise(sample, (640, 640), family="yolox").classes == 79
    with pytest.raises(DetectorError, match="6 columns"):
        recognise(sample, (640, 640), family="end2end")
    with pytest.raises(DetectorError, match="one row for each grid cell"):
        recognise(np.zeros((1, 25200, 85), np.float32), (640, 640), family="yolox")


def test_suppression_is_class_by_class_and_best_first() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [50, 50, 60, 60]], float)
    scores, kinds = np.array([0.5, 0.9, 0.4, 0.7]), np.array([0, 0, 1, 0])
    kept = suppress_overlaps(boxes, scores, kinds, nms_iou=0.5)
    assert kept[:, 4].tolist() == pytest.approx([0.9, 0.7, 0.4])
    assert suppress_overlaps(boxes, scores, kinds, nms_iou=0.85)[:, 4].tolist() == pytest.approx([0.9, 0.7, 0.5, 0.4])
    assert len(suppress_overlaps(boxes, scores, kinds, nms_iou=None, limit=2)) == 2
    assert suppress_overlaps(boxes[:0], scores[:0], kinds[:0], nms_iou=0.5).shape == (0, 6)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        pytest.param({"weights": "none.onnx"}, DetectorError, "no such file", id="missing"),
        pytest.param({"weights": "bultin"}, DetectorError, "no such file", id="mistyped"),
        pytest.param({"weights": __file__}, DetectorError, r"\.onnx or \.pt", id="another suffix"),
        pytest.param({"score_threshold": 0.0}, OptionError, "`score_threshold`", id="threshold"),
        pytest.param({"nms_iou": 1.5}, OptionError, "`nms_iou`", id="nms"),
        pytest.param({"batch_size": 0}, OptionError, "`batch_size`", id="batch"),
        pytest.param({"image_size": 8}, OptionError, "`image_size`", id="size"),
        pytest.param({"family": "yolo"}, OptionError, "`family`", id="family"),
        pytest.param({"classes": [7]}, OptionError, "person", id="builtin's classes"),
        pytest.param({"classes": []}, OptionError, "`classes` must name at least one class", id="no class"),
    ],
)
def test_rejects_invalid_options(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        load_detector(DetectorOptions(**options))
    if options.get("weights") == "bultin":
        assert "builtin" in str(caught.value.hint)  # type: ignore[attr-defined]


def test_rejects_invalid_models(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(DetectorError, match="cannot load"):
        load_detector(DetectorOptions(broken))
    good = make_fixed_detector(tmp_path / "m.onnx", yolov8().T)
    with pytest.raises(OptionError, match="no class 3"):
        load_detector(DetectorOptions(good, classes=[0, 3]))
    with pytest.raises(DetectorError, match="CUDA"):
        load_detector(DetectorOptions(good, device="cuda"))
    with pytest.raises(DetectorError, match="TensorRT"):
        load_detector(DetectorOptions(good, device="tensorrt:1", half=True))
    with pytest.raises(DetectorError, match="'classify'"):
        load_detector(
            DetectorOptions(make_fixed_detector(tmp_path / "c.onnx", yolov8().T, metadata={"task": "classify"}))
        )


def test_bare_names_are_looked_up_in_the_models_folder(tmp_path: Path) -> None:
    make_fixed_detector(tmp_path / "walkers.onnx", yolov8().T)
    for name in ("walkers.onnx", "walkers"):
        assert load_detector(DetectorOptions(name, models_dir=tmp_path)).facts["weights"] == name
    with pytest.raises(DetectorError) as caught:
        load_detector(DetectorOptions("walker.onnx", models_dir=tmp_path))
    assert "walkers.onnx" in str(caught.value.hint)


def test_lists_the_available_detectors() -> None:
    assert [name for name, _ in available_detectors()] == ["builtin", "FILE.onnx", "FILE.pt", "NAME"]


def test_builtin_finds_no_people_in_an_empty_image() -> None:
    detector = load_detector(DetectorOptions())
    (found, tiny) = (detector.detect([np.full((240, 320, 3), 127, np.uint8)])[0], detector.detect([FRAME[:9]])[0])
    assert found.shape == tiny.shape == (0, 6)
    assert detector.facts["weights"] == "builtin"


def test_builtin_reports_that_it_needs_opencv_4(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.delattr(cv2, "HOGDescriptor")
    with pytest.raises(DetectorError, match="needs the HOG detector of OpenCV 4") as caught:
        load_detector(DetectorOptions())
    assert "opencv-python<5" in str(caught.value.hint)


def test_builtin_finds_people(data: Path) -> None:
    from tracking.video.reader import VideoReader

    detector = load_detector(DetectorOptions(score_threshold=0.5))
    with VideoReader(data / "video" / "pets09-s2l1.avi") as reader:
        reader.advance()
        (found,) = detector.detect([reader.image()])
    truth = np.array([[642, 239, 684, 322], [252, 220, 283, 308]])
    for box in truth:
        low, high = np.maximum(found[:, :2], box[:2]), np.minimum(found[:, 2:4], box[2:])
        inner = np.clip(high - low, 0, None).prod(axis=1)
        union = (found[:, 2:4] - found[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - inner
        assert (inner / union).max() > 0.5


def test_reports_that_ultralytics_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracking.detectors.ultralytics_detector.find_spec", lambda name: None)
    path = tmp_path / "yolo11n.pt"
    path.write_bytes(b"weights")
    with pytest.raises(DetectorError, match="not installed") as caught:
        load_detector(DetectorOptions(path, trust_weights=True))
    assert "pip install ultralytics" in str(caught.value.hint)


def test_converts_the_results_of_ultralytics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter alone, against the interface that the package documents; the package itself is not among the
    tests' requirements."""
    asked: list[dict[str, Any]] = []

    class Boxes:
        xyxy = np.array([[5, 5, 20, 40], [-3, 10, 15, 30], [190, 0, 190.5, 9]], np.float32)
        conf = np.array([0.4, 0.9, 0.8], np.float32)
        cls = np.array([0, 2, 0], np.float32)

        def cpu(self) -> Boxes:
            return self

        def numpy(self) -> Boxes:
            return self

    class YOLO:
        names = {0: "person", 2: "car"}  # noqa: RUF012
        task = "detect"

        def __init__(self, path: str) -> None:
            if "broken" in path:
                raise RuntimeError("invalid load key")

        def predict(self, frames: list[Any], **options: Any) -> list[SimpleNamespace]:
            asked.append({"frames": len(frames), **options})
            return [SimpleNamespace(boxes=Boxes()) for _ in frames]

    module = ModuleType("ultralytics")
    module.__spec__ = ModuleSpec("ultralytics", None)
    module.YOLO = YOLO  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ultralytics", module)
    for name in ("YOLO_AUTOINSTALL", "YOLO_OFFLINE", "YOLO_VERBOSE"):
        monkeypatch.setenv(name, "false")
    path = tmp_path / "yolo.pt"
    path.write_bytes(b"weights")
    notices: list[str] = []
    options = DetectorOptions(path, device="cpu", half=True, batch_size=2, trust_weights=True)
    detector = load_detector(options, notify=notices.append)
    found = detector.detect([FRAME] * 3)
    assert [call["frames"] for call in asked] == [2, 1]
    assert asked[0]["conf"] == 0.1
    assert "half" not in asked[0]
    assert "`half` has no effect" in notices[0]
    np.testing.assert_allclose(found[2], [[0, 10, 15, 30, 0.9, 2], [5, 5, 20, 40, 0.4, 0]])
    with pytest.raises(OptionError, match="no class 1"):
        load_detector(DetectorOptions(path, device="cpu", classes=[1], trust_weights=True))
    (tmp_path / "broken.pt").write_bytes(b"")
    with pytest.raises(DetectorError, match="invalid load key"):
        load_detector(DetectorOptions(tmp_path / "broken.pt", device="cpu", trust_weights=True))


def test_the_real_ultralytics(tmp_path: Path) -> None:
    """Untrained weights, run by the package itself and through the adapter."""
    ultralytics = pytest.importorskip("ultralytics")
    path = tmp_path / "yolo11n.pt"
    ultralytics.YOLO("yolo11n.yaml").save(str(path))
    frame = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    options = DetectorOptions(path, device="cpu", score_threshold=1e-6, image_size=128, nms_iou=0.7, trust_weights=True)
    detector = load_detector(options)
    found = detector.detect([frame, frame])
    boxes = ultralytics.YOLO(str(path)).predict([frame], conf=1e-6, imgsz=128, verbose=False)[0].boxes
    assert len(found[0])
    assert {round(float(s), 7) for s in found[1][:, 4]} <= {round(float(s), 7) for s in boxes.conf}
