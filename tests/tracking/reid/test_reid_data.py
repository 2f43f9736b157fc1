"""The published weights on real images: accuracy that must not change by an edit."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.reid import market_scores

from tracking.reid import load_embedder

pytestmark = pytest.mark.data

Market = tuple[list[Path], list[int], list[int]]


@pytest.fixture(scope="module")
def market(data: Path) -> Market:
    folder = data / "reid" / "market1501-test-subset"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    paths = sorted(folder.rglob("*.jpg"))
    return paths, [int(path.name[:4]) for path in paths], [int(path.name[6]) for path in paths]


@pytest.fixture(scope="module")
def images(market: Market) -> list[NDArray[np.uint8]]:
    return [np.ascontiguousarray(np.asarray(Image.open(path).convert("RGB"))[..., ::-1]) for path in market[0]]


@pytest.fixture(scope="module")
def in_onnx(data: Path, images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    return load_embedder(data / "weights" / "osnet_x0_25_msmt17.onnx", device="cpu").embed(images)


def test_osnet_on_market(market: Market, in_onnx: NDArray[np.float32]) -> None:
    rank1, mean_precision, queries = market_scores(in_onnx, market[1], market[2])
    assert queries == 319
    assert rank1 == pytest.approx(68.3, abs=0.3)
    assert mean_precision == pytest.approx(56.1, abs=0.3)


def test_pillow_and_opencv_decode_alike(
    data: Path, market: Market, images: list[NDArray[np.uint8]], in_onnx: NDArray[np.float32]
) -> None:
    some = range(0, len(images), 17)
    decoded = [cv2.imread(str(market[0][index])) for index in some]
    found = load_embedder(data / "weights" / "osnet_x0_25_msmt17.onnx", device="cpu").embed(decoded)
    assert (found * in_onnx[list(some)]).sum(axis=1).min() > 0.9995


def test_builtin_on_market(market: Market, images: list[NDArray[np.uint8]]) -> None:
    rank1, mean_precision, _ = market_scores(load_embedder("builtin").embed(images), market[1], market[2])
    assert rank1 == pytest.approx(49.8, abs=0.5)
    assert mean_precision == pytest.approx(34.7, abs=0.5)


@pytest.mark.parametrize("runtime", ["auto", "torch"])
def test_checkpoint_equals_onnx(
    data: Path, images: list[NDArray[np.uint8]], in_onnx: NDArray[np.float32], runtime: str
) -> None:
    embedder = load_embedder(data / "weights" / "osnet_x0_25_msmt17.pt", device="cpu", runtime=runtime)
    assert embedder.runtime == ("onnx" if runtime == "auto" else "torch")
    found = embedder.embed(images[:24])
    assert (found * in_onnx[:24]).sum(axis=1).min() > 0.99999


def test_detector_is_no_embedder(data: Path) -> None:
    from tracking.errors import EmbedderError

    with pytest.raises(EmbedderError, match="expected the model to return"):
        load_embedder(data / "weights" / "yolox_nano.onnx", device="cpu")
