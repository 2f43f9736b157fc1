"""Devices of ONNX Runtime. What needs a GPU is run by tests/benchmarks/gpu.py; here stands what is true without one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
from support.reid import make_onnx

from tracking.errors import EmbedderError, OptionError
from tracking.reid.devices import Device, parse_device, torch_device
from tracking.reid.loader import load_embedder
from tracking.reid.onnx_session import InputShape, open_on_device, tensorrt_providers

SHAPE = InputShape("images", 64, (3, 256, 128))


def options_of(source: Path | bytes, shape: InputShape = SHAPE, *, half: bool = False) -> dict[str, Any]:
    """Return the options of the first provider for TensorRT."""
    (name, options), cuda, cpu = tensorrt_providers(source, Device("tensorrt", 1), shape, half=half)
    assert (name, cuda, cpu) == (
        "TensorrtExecutionProvider",
        ("CUDAExecutionProvider", {"device_id": 1}),
        "CPUExecutionProvider",
    )
    return dict(options)


@pytest.mark.parametrize(
    ("text", "device"),
    [("tensorrt", Device("tensorrt")), ("tensorrt:2", Device("tensorrt", 2)), ("3", Device("cuda", 3))],
)
def test_devices_with_numbers(text: str, device: Device) -> None:
    assert parse_device(text) == device
    assert parse_device(str(device)) == device


@pytest.mark.parametrize("text", ["tensorrt:", "tensorrt:x", "tensorrt0", "trt"])
def test_rejects_other_names_of_tensorrt(text: str) -> None:
    with pytest.raises(OptionError, match="tensorrt:N"):
        parse_device(text)


def test_reports_that_tensorrt_has_no_provider(tmp_path: Path) -> None:
    if "TensorrtExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has TensorRT")
    with pytest.raises(EmbedderError, match=r"device tensorrt:1: .* no TensorRT provider .* onnxruntime-gpu"):
        load_embedder(make_onnx(tmp_path / "w.onnx"), device="tensorrt:1", half=True)


def test_torch_leaves_tensorrt_to_onnx_models() -> None:
    with pytest.raises(EmbedderError, match="TensorRT runs ONNX models"):
        torch_device(Device("tensorrt"))


def test_a_device_that_cannot_start_is_no_damaged_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    providers = [("CUDAExecutionProvider", {"device_id": 0}), "CPUExecutionProvider"]
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(EmbedderError, match=r"CUDA provider cannot start.*cudnn"),
    ):
        open_on_device(make_onnx(tmp_path / "w.onnx"), 1, Device("cuda"), providers)
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(Exception, match=r"protobuf|[Mm]odel") as caught,
    ):
        open_on_device(b"no model", 1, Device("cuda"), providers)
    assert not isinstance(caught.value, EmbedderError)
    assert capfd.readouterr().out == ""


def test_one_engine_serves_all_batches(tmp_path: Path) -> None:
    options = options_of(make_onnx(tmp_path / "w.onnx"), half=True)
    assert options["trt_profile_min_shapes"] == "images:1x3x256x128"
    assert options["trt_profile_opt_shapes"] == "images:8x3x256x128"
    assert options["trt_profile_max_shapes"] == "images:64x3x256x128"
    assert (options["device_id"], options["trt_fp16_enable"]) == (1, True)
    fixed = options_of(make_onnx(tmp_path / "f.onnx", 1), InputShape("images", 1, (3, 64, 32), fixed=True))
    assert not any("profile" in name for name in fixed)


def test_models_with_equal_graphs_have_their_own_engines(tmp_path: Path) -> None:
    """ONNX Runtime names engines by the graph alone: a second checkpoint would get the first one's engine."""
    path, other = make_onnx(tmp_path / "w.onnx"), tmp_path / "other.onnx"
    model = onnx.load(str(path))
    weights = model.graph.initializer[0]
    weights.CopyFrom(onnx.numpy_helper.from_array(2 * onnx.numpy_helper.to_array(weights), weights.name))
    onnx.save(model, str(other))
    folders = {
        options_of(source, shape, half=half)["trt_engine_cache_path"]
        for source, shape, half in (
            (path, SHAPE, False),
            (other, SHAPE, False),
            (other.read_bytes(), SHAPE, True),
            (path, SHAPE, True),
            (path, InputShape("images", 8, SHAPE.size), False),
        )
    }
    assert len(folders) == 5
    assert options_of(path)["trt_engine_cache_path"] in folders
    assert all(Path(folder).is_dir() for folder in folders)


def test_without_a_cache_folder_engines_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("GTRACK_CACHE_DIR", str(file))
    assert not any("cache" in name for name in options_of(b"model"))


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_engines_that_others_can_write_are_not_used() -> None:
    folder = Path(options_of(b"model")["trt_engine_cache_path"])
    assert folder.stat().st_mode & 0o077 == 0
    folder.chmod(0o777)
    assert not any("cache" in name for name in options_of(b"model"))
