from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from support.reid import DIMENSION, HEIGHT, WIDTH, make_crops, make_onnx, write_sidecar

from gallery_db.model import Embedder
from tracking.errors import EmbedderError, OptionError, WeightsError
from tracking.reid.base import unit_rows
from tracking.reid.crop_batch import CropBatch
from tracking.reid.input_spec import Preprocessing
from tracking.reid.onnx_embedder import OnnxEmbedder


def test_identity_and_protocol(tmp_path: Path) -> None:
    path = make_onnx(tmp_path / "tiny.onnx")
    with OnnxEmbedder(path, device="cpu") as embedder:
        assert isinstance(embedder, Embedder)
        model = embedder.model
        assert (model.name, model.dimension, model.metric) == ("tiny.onnx", DIMENSION, "cosine")
        assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert model.preprocessing == str(Preprocessing(HEIGHT, WIDTH))
        assert model.path == str(path.resolve())
        assert (embedder.device, embedder.runtime, embedder.half) == ("cpu", "onnx", False)
        assert embedder.notices == []


def test_equals_the_runtime_on_the_preprocessed_crops(tmp_path: Path) -> None:
    path = make_onnx(tmp_path / "tiny.onnx")
    images = make_crops(11)
    inputs = CropBatch(Preprocessing(HEIGHT, WIDTH), 11).fill(images)
    raw = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"images": inputs})[0]
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    found = OnnxEmbedder(path, device="cpu", batch_size=4, threads=1).embed(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("batch", "tail", "step"),
    [
        pytest.param("batch", "flatten", 8, id="free"),
        pytest.param(1, "flatten", 8, id="one-made-free"),
        pytest.param(1, "reshape", 1, id="one-baked-in"),
        pytest.param(4, "flatten", 8, id="four-made-free"),
        pytest.param(4, "reshape", 4, id="four-baked-in-filled-up"),
    ],
)
def test_every_batch_size_gives_the_same_embeddings(tmp_path: Path, batch: int | str, tail: str, step: int) -> None:
    images = make_crops(9)
    expected = OnnxEmbedder(make_onnx(tmp_path / "free.onnx"), device="cpu").embed(images)
    embedder = OnnxEmbedder(make_onnx(tmp_path / "w.onnx", batch, tail=tail), device="cpu")
    assert embedder.batch_size == step
    np.testing.assert_allclose(embedder.embed(images), expected, atol=1e-5)
    np.testing.assert_allclose(embedder.embed(images[:1]), expected[:1], atol=1e-5)


@pytest.mark.parametrize("batch", ["batch", 4], ids=["free", "four-filled-up"])
def test_the_crops_of_a_call_are_shared_out_among_the_threads(tmp_path: Path, batch: int | str) -> None:
    """Any number of threads gives the same embeddings, bit for bit, and none is left."""
    path = make_onnx(tmp_path / "w.onnx", batch)
    images = make_crops(27)
    alone = OnnxEmbedder(path, device="cpu", threads=1)
    with OnnxEmbedder(path, device="cpu", threads=3) as embedder:
        for count in (0, 1, 2, 3, 9, 17, 27):
            np.testing.assert_array_equal(embedder.embed(images[:count]), alone.embed(images[:count]))
        assert sum(thread.name.startswith("gtrack-embed") for thread in threading.enumerate()) == 2
        with pytest.raises(EmbedderError, match="crop 8: expected a"):
            embedder.embed([*images[:8], np.zeros((3, 3), np.uint8), *images[:8]])
        np.testing.assert_array_equal(embedder.embed(images), alone.embed(images))
    assert not any(thread.name.startswith("gtrack-embed") for thread in threading.enumerate())


def test_no_crops(tmp_path: Path) -> None:
    assert OnnxEmbedder(make_onnx(tmp_path / "w.onnx"), device="cpu").embed([]).shape == (0, DIMENSION)


def test_half_precision_models_and_the_half_option(tmp_path: Path) -> None:
    images = make_crops(3)
    full = OnnxEmbedder(make_onnx(tmp_path / "w.onnx"), device="cpu", half=True)
    assert len(full.notices) == 1
    assert full.half is False
    half = OnnxEmbedder(make_onnx(tmp_path / "h.onnx", half=True), device="cpu")
    assert half.half is True
    assert (half.embed(images) * full.embed(images)).sum(axis=1).min() > 0.999


def test_a_free_input_size_comes_from_the_sidecar(tmp_path: Path) -> None:
    path = make_onnx(tmp_path / "w.onnx", size=("h", "w"))
    assert (OnnxEmbedder(path, device="cpu").preprocessing.height) == 256
    write_sidecar(path, height=48, width=32)
    assert OnnxEmbedder(path, device="cpu").model.preprocessing.startswith("48x32 ")


def test_rejects_a_sidecar_that_contradicts_the_model(tmp_path: Path) -> None:
    path = make_onnx(tmp_path / "w.onnx")
    write_sidecar(path, height=48)
    with pytest.raises(WeightsError, match=r"height: the input of the model w\.onnx is fixed to 64"):
        OnnxEmbedder(path, device="cpu")


def test_rejects_outputs_that_are_no_embeddings(tmp_path: Path) -> None:
    with pytest.raises(EmbedderError, match=r"expected the model to return \(1, D\) for 1 crops, found \(1, 8, 1, 1\)"):
        OnnxEmbedder(make_onnx(tmp_path / "map.onnx", tail="map"), device="cpu")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"bias": float("nan")}, "crop 0: the model returned values that are not finite", id="nan"),
        pytest.param({"bias": 0.0, "zero": True}, "crop 0: the model returned a zero vector", id="zero"),
    ],
)
def test_rejects_outputs_that_are_zero_or_not_finite(tmp_path: Path, fields: dict, message: str) -> None:
    embedder = OnnxEmbedder(make_onnx(tmp_path / "w.onnx", **fields), device="cpu")
    with pytest.raises(EmbedderError, match=message):
        embedder.embed(make_crops(2))


def test_reports_the_crop_of_an_invalid_row() -> None:
    rows = np.ones((5, 3), dtype=np.float32)
    rows[2] = 0
    rows[4, 1] = np.inf
    with pytest.raises(EmbedderError, match=r"crop 102: the model returned a zero vector \(2 of 5 crops\)"):
        unit_rows(rows, 100)


def test_reports_the_index_of_an_invalid_crop_in_a_later_batch(tmp_path: Path) -> None:
    embedder = OnnxEmbedder(make_onnx(tmp_path / "w.onnx"), device="cpu", batch_size=2)
    with pytest.raises(EmbedderError, match="crop 4: expected a"):
        embedder.embed([*make_crops(4), np.zeros((3, 3), np.uint8)])


def test_rejects_use_after_closing(tmp_path: Path) -> None:
    embedder = OnnxEmbedder(make_onnx(tmp_path / "w.onnx"), device="cpu")
    embedder.close()
    embedder.close()
    with pytest.raises(EmbedderError, match="closed"):
        embedder.embed([])


def test_rejects_files_that_are_not_onnx(tmp_path: Path) -> None:
    path = tmp_path / "w.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(WeightsError, match="ONNX Runtime cannot load it"):
        OnnxEmbedder(path, device="cpu")


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "0"])
def test_reports_that_cuda_has_no_provider(tmp_path: Path, device: str) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(EmbedderError, match=r"no CUDA provider .* onnxruntime-gpu"):
        OnnxEmbedder(make_onnx(tmp_path / "w.onnx"), device=device)


@pytest.mark.parametrize("device", ["gpu", "", "cuda:", "cuda:x", "-1", "cpu:0"])
def test_rejects_invalid_devices(tmp_path: Path, device: str) -> None:
    with pytest.raises(OptionError, match="device: expected auto, cpu, cuda"):
        OnnxEmbedder(make_onnx(tmp_path / "w.onnx"), device=device)


def test_importing_and_running_loads_only_what_is_needed(tmp_path: Path) -> None:
    path = make_onnx(tmp_path / "w.onnx")
    code = (
        "import sys, tracking.reid as r, tracking.reid.loader\n"
        "heavy = {'torch', 'onnxruntime', 'boxmot', 'cv2', 'onnx', 'openvino'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert all(hasattr(r, name) for name in r.__all__)\n"
        f"r.load_embedder({str(path)!r}, device='cpu').model\n"
        "assert 'torch' not in sys.modules and 'boxmot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("size", "batch", "words"),
    [
        ((10**9, 10**9), "batch", "height: expected whole pixels, 1 to 2048, found 1000000000"),
        ((64, 32), 10**9, "its input is fixed to 1000000000 crops of 64 x 32 pixels; the limit is"),
    ],
)
def test_an_input_of_impossible_size_is_refused(
    tmp_path: Path, size: tuple[int, int], batch: int | str, words: str
) -> None:
    path = make_onnx(tmp_path / "huge.onnx", batch, size)
    with pytest.raises(WeightsError, match=words) as caught:
        OnnxEmbedder(path, device="cpu")
    assert str(path) in str(caught.value)
