"""Denormal weights, which are taken as zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.reid import make_crops, make_onnx

from tracking.reid.cache import cache_dir
from tracking.reid.denormals import flush_file, without_denormals, zero_denormals
from tracking.reid.onnx_embedder import OnnxEmbedder

TINY = float(np.finfo(np.float32).tiny)
DENORMAL = np.array([1e-39, -3e-42, 1e-45, TINY, -TINY, 0.0, 0.5, 1e-30], np.float32)
FLUSHED = np.array([0, 0, 0, TINY, -TINY, 0.0, 0.5, 1e-30], np.float32)


def with_bias(path: Path, bias: np.ndarray, *, raw: bool = True) -> Path:
    """Write the small network with these values as its bias."""
    model = onnx.load(str(make_onnx(path)))
    tensor = next(item for item in model.graph.initializer if item.name == "b")
    if raw:
        tensor.CopyFrom(numpy_helper.from_array(bias, "b"))
    else:
        # Field 4, packed, with its bytes as they are: where denormals are off, assigning numbers would make them zero.
        tensor.ClearField("raw_data")
        tensor.MergeFromString(bytes([4 << 3 | 2, bias.nbytes]) + bias.tobytes())
    onnx.save(model, str(path))
    return path


def bias_of(path: Path) -> np.ndarray:
    """Return the bias of the small network, bit by bit."""
    tensor = next(item for item in onnx.load(str(path)).graph.initializer if item.name == "b")
    assert not tensor.float_data
    return np.frombuffer(tensor.raw_data, np.uint32)


@pytest.mark.parametrize("raw", [True, False])
def test_denormals_become_zero_and_nothing_else_changes(tmp_path: Path, raw: bool) -> None:
    path = with_bias(tmp_path / "w.onnx", DENORMAL, raw=raw)
    model = onnx.load(str(path))
    assert zero_denormals(model) == 3
    assert zero_denormals(model) == 0
    flush_file(path)
    assert bias_of(path).tolist() == FLUSHED.view(np.uint32).tolist()


def test_constants_of_the_graph_too() -> None:
    node = onnx.helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(DENORMAL, "c"))
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], []))
    assert zero_denormals(model) == 3


def test_a_file_is_copied_once_and_its_embeddings_stay(tmp_path: Path) -> None:
    path = with_bias(tmp_path / "w.onnx", DENORMAL)
    before = path.read_bytes()
    copy = without_denormals(path)
    assert copy.parent.parent == cache_dir()
    assert bias_of(copy).tolist() == FLUSHED.view(np.uint32).tolist()
    made = copy.stat().st_mtime_ns
    assert without_denormals(path) == copy
    assert copy.stat().st_mtime_ns == made
    assert path.read_bytes() == before
    found = OnnxEmbedder(path, device="cpu").embed(make_crops(3))
    expected = OnnxEmbedder(with_bias(tmp_path / "zero.onnx", FLUSHED), device="cpu").embed(make_crops(3))
    np.testing.assert_array_equal(found, expected)


def test_a_file_without_denormals_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_onnx(tmp_path / "w.onnx")
    assert without_denormals(path) == path
    monkeypatch.setattr(onnx, "load", None)
    assert without_denormals(path) == path


def test_other_files_and_a_cache_that_cannot_be_written_are_no_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "odd.onnx"
    odd.write_bytes(b"not a model")
    assert without_denormals(odd) == odd
    assert without_denormals(tmp_path / "missing.onnx") == tmp_path / "missing.onnx"
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("GTRACK_CACHE_DIR", str(tmp_path / "file" / "cache"))
    path = with_bias(tmp_path / "w.onnx", DENORMAL)
    assert without_denormals(path) == path


def test_every_session_takes_denormal_activations_as_zero(tmp_path: Path) -> None:
    embedder = OnnxEmbedder(make_onnx(tmp_path / "w.onnx"), device="cpu")
    options = embedder._session.get_session_options()
    assert options.get_session_config_entry("session.set_denormal_as_zero") == "1"
