from __future__ import annotations

import cv2
import numpy as np
import pytest
from support.reid import make_crops

from tracking.errors import EmbedderError
from tracking.reid.crop_batch import CropBatch
from tracking.reid.input_spec import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from tracking.video.crops import crop


def _reference(image: np.ndarray, height: int, width: int) -> np.ndarray:
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    rgb = cv2.cvtColor(resized, cv2.COLOR_BGR2RGB).astype(np.float32) / np.float32(255)
    return ((rgb - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)).transpose(2, 0, 1)


def test_batch_equals_the_formula() -> None:
    batch = CropBatch(Preprocessing(), 6)
    images = make_crops(6)
    result = batch.fill(images)
    assert result.shape == (6, 3, 256, 128)
    assert result.dtype == np.float32
    for image, row in zip(images, result, strict=True):
        np.testing.assert_allclose(row, _reference(image, 256, 128), atol=1e-6)


def test_batch_equals_boxmot() -> None:
    torch = pytest.importorskip("torch")
    from boxmot.reid.core.crops import build_crop_batch
    from boxmot.reid.core.preprocessing import resize

    frame = cv2.resize(np.random.default_rng(3).integers(0, 256, (30, 40, 3), dtype=np.uint8), (400, 300))
    boxes = np.array([[10.5, 20.5, 60.2, 180.7], [-20, 5, 33.3, 90], [350, 200, 420, 320]], dtype=np.float32)
    expected = build_crop_batch(
        boxes,
        frame,
        input_shape=(256, 128),
        device=torch.device("cpu"),
        half=False,
        preprocess_fn=resize,
        mean=torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1),
        std=torch.tensor(IMAGENET_STD).view(1, 3, 1, 1),
    )
    images, kept = crop(frame, boxes)
    assert kept.tolist() == [0, 1, 2]
    np.testing.assert_allclose(CropBatch(Preprocessing(), 3).fill(images), expected.numpy(), atol=1e-6)


def test_buffer_is_reused() -> None:
    batch = CropBatch(Preprocessing(32, 16), 3)
    first = batch.fill(make_crops(3))
    assert np.shares_memory(first, batch.fill(make_crops(1)))
    assert batch.pad(1, 3)[1:].any() == np.False_


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"color": "bgr"}, (10.0, 20.0, 30.0), id="bgr"),
        pytest.param({"color": "rgb"}, (30.0, 20.0, 10.0), id="rgb"),
        pytest.param({"color": "rgb", "scale": 1 / 10}, (3.0, 2.0, 1.0), id="scale"),
        pytest.param({"color": "rgb", "mean": (1.0, 2.0, 3.0), "std": (2.0, 3.0, 7.0)}, (14.5, 6.0, 1.0), id="mean"),
    ],
)
def test_each_field_is_applied(fields: dict, expected: tuple[float, ...]) -> None:
    neutral = {"scale": 1.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    image = np.full((7, 5, 3), (10, 20, 30), dtype=np.uint8)
    result = CropBatch(Preprocessing(4, 4, **{**neutral, **fields}), 1).fill([image])
    np.testing.assert_allclose(result[0, :, 1, 1], expected, rtol=1e-6)
    assert result.std(axis=(2, 3)).max() == 0


def test_padding_keeps_the_aspect_ratio_and_is_the_mean() -> None:
    image = np.full((40, 40, 3), 255, dtype=np.uint8)
    result = CropBatch(Preprocessing(resize="pad"), 1).fill([image])[0]
    assert abs(result[:, 0]).max() < 0.01  # the mean, rounded to a whole pixel value
    assert abs(result[:, -1]).max() < 0.01
    assert result[:, 64:192].min() > 2


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(np.zeros((0, 5, 3), np.uint8), id="empty"),
        pytest.param(np.zeros((5, 5), np.uint8), id="gray"),
        pytest.param(np.zeros((5, 5, 4), np.uint8), id="alpha"),
        pytest.param(np.zeros((5, 5, 3), np.float32), id="float"),
    ],
)
def test_reports_the_index_of_an_invalid_crop(image: np.ndarray) -> None:
    good = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(EmbedderError, match="crop 11: expected a"):
        CropBatch(Preprocessing(), 2).fill([good, image], first=10)
