"""The stamp in exported models: read from every format, and invalid when anything else in the file has changed."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from support.reid import DIMENSION, HEIGHT, WIDTH, make_crops, make_onnx, write_sidecar

from gallery_db.privacy import import_openvino
from tracking.errors import WeightsError
from tracking.reid.cache import weights_sha256
from tracking.reid.input_spec import Preprocessing
from tracking.reid.loader import load_embedder
from tracking.reid.model_description import weights_identity
from tracking.reid.stamp import OPENVINO_EMPTY, OPENVINO_KEYS, STAMP_KEY, Stamp, read_stamp, write_stamp

STAMP = Stamp(
    source="söurce.pt",
    source_sha256="ab" * 32,
    same_space=True,
    cosine_min=0.9999998,
    dimension=DIMENSION,
    preprocessing=Preprocessing(HEIGHT, WIDTH, color="bgr", mean=(0.1, 0.2, 0.3)),
    precision="fp32",
    gtrack="0.1.0",
)


class _Tiny(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, DIMENSION, 16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).relu().mean(dim=(2, 3)) + 0.1


def _onnx(folder: Path) -> Path:
    return make_onnx(folder / "tiny.onnx", size=("height", "width"))


def _torchscript(folder: Path) -> Path:
    path = folder / "tiny.torchscript"
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(_Tiny().eval()), str(path))
    return path


def _openvino(folder: Path) -> Path:
    if find_spec("openvino") is None:
        pytest.skip("needs openvino: pip install openvino")
    openvino = import_openvino()
    model = openvino.Core().read_model(str(_onnx(folder)))
    model.set_rt_info(OPENVINO_EMPTY, list(OPENVINO_KEYS))
    path = folder / "tiny_openvino_model"
    path.mkdir()
    openvino.save_model(model, str(path / "tiny.xml"), compress_to_fp16=False)
    return path


def _engine(folder: Path) -> Path:
    path = folder / "tiny.engine"
    path.write_bytes(b"bytes that only TensorRT understands")
    return path


def _another_weight(path: Path) -> None:
    """As any tool does that loads a model, changes it, and saves it with the metadata that it had."""
    model = onnx.load(str(path))
    weight = next(item for item in model.graph.initializer if item.name == "w")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(0.5), "w"))
    onnx.save(model, str(path))


def _saved_again(path: Path) -> None:
    model = onnx.load(str(path))
    model.producer_name = "another tool"
    onnx.save(model, str(path))


def _appended(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"\x10\x00")


def _another_file_in_the_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].split('/')[0]}/extra/more", "x")


def _another_binary(path: Path) -> None:
    binary = path / "tiny.bin"
    data = bytearray(binary.read_bytes())
    data[3] ^= 1
    binary.write_bytes(data)


def _another_xml(path: Path) -> None:
    xml = path / "tiny.xml"
    xml.write_text(xml.read_text().replace('version="11"', 'version="11" '))


@pytest.mark.parametrize(
    ("make", "change"),
    [
        pytest.param(_onnx, _another_weight, id="onnx: a weight"),
        pytest.param(_onnx, _saved_again, id="onnx: saved by another tool"),
        pytest.param(_onnx, _appended, id="onnx: appended"),
        pytest.param(_torchscript, _another_file_in_the_archive, id="torchscript"),
        pytest.param(_openvino, _another_binary, id="openvino: a weight"),
        pytest.param(_openvino, _another_xml, id="openvino: the graph"),
        pytest.param(_engine, _appended, id="engine"),
    ],
)
def test_a_stamp_is_valid_until_the_model_changes(
    tmp_path: Path, make: Callable[[Path], Path], change: Callable[[Path], None]
) -> None:
    path = make(tmp_path)
    assert read_stamp(path) is None
    assert weights_identity(path) == weights_sha256(path)
    write_stamp(path, STAMP)
    assert read_stamp(path) == replace(STAMP, sealed=True)
    assert weights_identity(path) == STAMP.source_sha256
    change(path)
    assert read_stamp(path) == STAMP, "what it says of its input is still of use"
    assert weights_identity(path) == weights_sha256(path)


@pytest.mark.parametrize("make", [_onnx, _torchscript, _openvino])
def test_a_stamped_model_runs_as_its_source(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    write_sidecar(path, height=HEIGHT, width=WIDTH, color="bgr", mean=[0.1, 0.2, 0.3])
    with load_embedder(path, device="cpu", threads=1, trust_weights=True) as embedder:
        expected, plain = embedder.embed(make_crops(3)), embedder.model
    path.with_name(path.name + ".gtrack.json").unlink()
    write_stamp(path, STAMP)
    with load_embedder(path, device="cpu", threads=1, trust_weights=True) as embedder:
        assert embedder.model.sha256 == STAMP.source_sha256 != plain.sha256
        assert embedder.model.preprocessing == plain.preprocessing == str(STAMP.preprocessing)
        np.testing.assert_array_equal(embedder.embed(make_crops(3)), expected)
    # A sidecar still has the last word, and then it is another model.
    write_sidecar(path, color="rgb")
    with load_embedder(path, device="cpu", threads=1, trust_weights=True) as embedder:
        assert embedder.model.preprocessing != plain.preprocessing


def test_other_tools_can_read_the_stamp(tmp_path: Path) -> None:
    path = _onnx(tmp_path)
    write_stamp(path, STAMP)
    metadata = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    assert json.loads(metadata[STAMP_KEY])["source_sha256"] == STAMP.source_sha256
    onnx.checker.check_model(str(path))
    path = _torchscript(tmp_path)
    write_stamp(path, STAMP)
    extra = {STAMP_KEY: ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.load(str(path), _extra_files=extra)
    assert json.loads(extra[STAMP_KEY])["source"] == STAMP.source


def test_a_model_quantised_by_onnx_runtime_is_another_model(tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path, small = _onnx(tmp_path), tmp_path / "int8.onnx"
    write_stamp(path, STAMP)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_dynamic(str(path), str(small), weight_type=QuantType.QUInt8)
    assert weights_identity(small) == weights_sha256(small)
    assert weights_identity(path) == STAMP.source_sha256


def test_a_stamp_without_equal_embeddings(tmp_path: Path) -> None:
    path = _onnx(tmp_path)
    write_stamp(path, replace(STAMP, same_space=False))
    found = read_stamp(path)
    assert found is not None
    assert found.sealed
    assert weights_identity(path) == weights_sha256(path)


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"version": 2}', '{"version": 1}', '{"version": 1, "preprocessing": {"height": 0}}', "[]"],
    ids=["empty", "cut", "later", "fields missing", "bad size", "list"],
)
def test_returns_none_for_invalid_stamps(tmp_path: Path, text: str) -> None:
    path = _onnx(tmp_path)
    model = onnx.load(str(path))
    model.metadata_props.add(key=STAMP_KEY, value=text)
    onnx.save(model, str(path))
    assert read_stamp(path) is None
    archive = _torchscript(tmp_path)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(f"tiny/extra/{STAMP_KEY}", text)
    assert read_stamp(archive) is None


@pytest.mark.parametrize(
    "change",
    [
        {"cosine_min": "1e999"},
        {"dimension": "1e999"},
        {"scale": "1" + "0" * 400},
        {"height": "1000000000"},
        {"height": '"64"'},
        {"mean": "[" * 5000},
        {"preprocessing": '["a"]'},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_impossible_stamp_is_none(tmp_path: Path, change: dict[str, str]) -> None:
    weights = _engine(tmp_path)
    write_stamp(weights, STAMP)
    sidecar = weights.with_name(weights.name + ".gtrack.json")
    key, value = next(iter(change.items()))
    text = json.dumps(json.loads(sidecar.read_text()))
    start = text.index(f'"{key}": ') + len(key) + 4
    end = json.JSONDecoder().raw_decode(text, start)[1]
    sidecar.write_text(text[:start] + value + text[end:])
    assert read_stamp(weights) is None


def test_formats_without_a_stamp(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(b"no zip")
    assert read_stamp(path) is None
    assert read_stamp(tmp_path / "absent.onnx") is None
    with pytest.raises(WeightsError, match="has no place for a stamp"):
        write_stamp(path, STAMP)
    copied = tmp_path / "plain_openvino_model"
    copied.mkdir()
    (copied / "m.xml").write_text("<net></net>")
    (copied / "m.bin").write_bytes(b"")
    with pytest.raises(WeightsError, match="expected one entry gtrack/export"):
        write_stamp(copied, STAMP)
