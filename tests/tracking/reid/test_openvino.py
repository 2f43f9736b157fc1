from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from support.reid import DIMENSION, make_crops, make_onnx, make_openvino

from tracking.errors import EmbedderError, WeightsError
from tracking.reid.loader import load_embedder
from tracking.reid.onnx_embedder import OnnxEmbedder

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs openvino: pip install openvino"
)


def _make(folder: Path, batch: int | str = "batch") -> Path:
    return make_openvino(make_onnx(folder.parent / f"{folder.name}.onnx", batch), folder) / "tiny.xml"


@needs_openvino
@pytest.mark.parametrize("batch", ["batch", 1, 4], ids=["free", "one", "four"])
def test_equals_onnx(tmp_path: Path, batch: int | str) -> None:
    xml = _make(tmp_path / "tiny_openvino_model", batch)
    images = make_crops(9)
    expected = OnnxEmbedder(make_onnx(tmp_path / "w.onnx"), device="cpu").embed(images)
    for ref in (xml, xml.parent):
        embedder = load_embedder(ref, device="auto", threads=1)
        assert (embedder.runtime, embedder.device, embedder.model.dimension) == ("openvino", "cpu", DIMENSION)
        np.testing.assert_allclose(embedder.embed(images), expected, atol=1e-4)
        both = xml.read_bytes() + xml.with_suffix(".bin").read_bytes()
        assert embedder.model.sha256 == hashlib.sha256(both).hexdigest()
        embedder.close()


@needs_openvino
def test_rejects_damaged_and_incomplete_models(tmp_path: Path) -> None:
    xml = _make(tmp_path / "tiny_openvino_model")
    with pytest.raises(EmbedderError, match="on the CPU"):
        load_embedder(xml, device="cuda")
    xml.write_text("<net")
    with pytest.raises(WeightsError, match="OpenVINO cannot load it"):
        load_embedder(xml, device="cpu")
    xml.with_suffix(".bin").unlink()
    with pytest.raises(WeightsError, match=r"expected its weights beside it as tiny\.bin"):
        load_embedder(xml, device="cpu")
    xml.unlink()
    with pytest.raises(WeightsError, match=r"expected one OpenVINO \.xml file in the folder, found 0"):
        load_embedder(xml.parent, device="cpu")


def test_reports_that_openvino_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.xml"
    path.write_text("")
    original = importlib.util.find_spec
    monkeypatch.setattr(
        "tracking.reid.openvino_embedder.find_spec", lambda name: None if name == "openvino" else original(name)
    )
    with pytest.raises(EmbedderError, match="Run: pip install openvino"):
        load_embedder(path)
