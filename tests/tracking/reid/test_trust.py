"""Weights that can run code are loaded only with a person's consent."""

from __future__ import annotations

import importlib
import io
import json
import os
import pickle
import stat
import sys
import tarfile
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from support.cli import gtrack
from support.reid import make_crops, make_onnx, write_sidecar

from gallery_db import Entry, Gallery
from gallery_db.model import EmbeddingModel
from tracking import DetectorOptions, load_detector, load_embedder
from tracking.errors import DetectorError, WeightsError
from tracking.identification.gallery_source import EmbedderOptions
from tracking.reid.cache import weights_sha256
from tracking.reid.export.exporter import export_reid
from tracking.reid.export.options import ExportOptions
from tracking.reid.external import embedding_model
from tracking.reid.stamp import Stamp, write_stamp
from tracking.reid.trust import is_trusted, remember_trust, trust_list_path
from tracking.reid.weights import find_trained_weights, find_weights_by_hash

EVIL = "osnet_x0_25_evil.pt"


@pytest.fixture(autouse=True)
def _nothing_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTRACK_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("GTRACK_CACHE_DIR", str(tmp_path / "cache"))


class _Evil(torch.nn.Module):
    """A ReID network whose forward pass creates a file."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        created = torch.from_file(self.target, True, 4)
        return x.mean(dim=(2, 3)) + created.sum() + 0.5


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The file that the evil network creates."""
    return tmp_path / "created-by-the-weights"


@pytest.fixture
def evil(tmp_path: Path, target: Path) -> Path:
    path = tmp_path / "models" / EVIL
    path.parent.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(_Evil(str(target)).eval()), str(path))
    write_sidecar(path, height=64, width=32)
    return path


def _make_gallery(weights: Path, folder: Path) -> Path:
    """Make a gallery that says it was made with the weights, as every user can."""
    model = EmbeddingModel(weights.name, weights_sha256(weights), 3, "any", path=str(weights))
    with Gallery.open_or_create(folder, model) as gallery:
        gallery.add([Entry(id="a", identity="a")], np.eye(1, 3, dtype=np.float32))
    return folder


def test_a_folder_scan_runs_no_code(evil: Path, target: Path) -> None:
    said: list[str] = []
    assert load_embedder(None, models_dir=evil.parent, device="cpu", notify=said.append).model.name == "builtin"
    assert "is not used: it is a TorchScript program, which can run code" in said[0]
    # Consent is for the file that is named, and none is.
    load_embedder(None, models_dir=evil.parent, device="cpu", trust_weights=True)
    assert not target.exists()
    # Data beside it is used.
    good = make_onnx(evil.with_name("osnet_x0_25_good.onnx"))
    assert find_trained_weights(evil.parent) == good


def test_a_gallery_runs_no_code(evil: Path, target: Path, tmp_path: Path) -> None:
    away = evil.rename(tmp_path / EVIL)
    path = _make_gallery(away, tmp_path / "gallery")
    for trust in (False, True):
        with (
            Gallery.open(path) as gallery,
            pytest.raises(WeightsError, match=r"found a TorchScript program, which can run any code") as caught,
        ):
            EmbedderOptions(device="cpu", trust_weights=trust).load(gallery, None)
        assert str(away) in caught.value.message
    assert not target.exists()


def test_a_stamp_makes_no_trust(evil: Path, target: Path, tmp_path: Path) -> None:
    """The stamp may say that the file is an export of the gallery's own model: its author can write anything."""
    data = make_onnx(tmp_path / "osnet_x0_25_data.onnx")
    path = evil.rename(evil.with_suffix(".torchscript"))
    model = load_embedder(data, device="cpu").model
    preprocessing: Any = load_embedder(data, device="cpu").preprocessing
    write_stamp(
        path,
        Stamp(data.name, model.sha256, True, 1.0, model.dimension, preprocessing, "fp32", "0", None),
    )
    remember_trust(data)
    data.unlink()
    assert find_weights_by_hash(model.sha256, None, path.parent) == path
    with pytest.raises(WeightsError, match="found a TorchScript program"):
        load_embedder(None, models_dir=path.parent, device="cpu", gallery_model=model)
    assert not target.exists()


@pytest.mark.parametrize("suffix", [".pt", ".PT", ".pth", ".torchscript", ".ts"])
def test_a_named_file_needs_consent(evil: Path, target: Path, suffix: str) -> None:
    path = evil.rename(evil.with_suffix(suffix))
    write_sidecar(path, height=64, width=32)
    with pytest.raises(WeightsError, match="found a TorchScript program") as caught:
        load_embedder(path, device="cpu")
    assert "`trust_weights=True`" in str(caught.value.hint)
    with pytest.raises(WeightsError, match="found a TorchScript program"):
        embedding_model(path)
    assert not target.exists()
    with load_embedder(path, device="cpu", trust_weights=True) as embedder:
        assert embedder.model.dimension == 3
    assert target.exists()


def test_consent_is_remembered_for_these_bytes(evil: Path, target: Path, tmp_path: Path) -> None:
    with load_embedder(evil, device="cpu", trust_weights=True) as embedder:
        model = embedder.model
    listed = json.loads(trust_list_path().read_text())
    assert list(listed) == [model.sha256]
    assert stat.S_IMODE(trust_list_path().stat().st_mode) == 0o600
    elsewhere = evil.rename(tmp_path / "osnet_x0_25_moved.pt")
    write_sidecar(elsewhere, height=64, width=32)
    for weights, models in ((elsewhere, evil.parent), (None, elsewhere.parent)):
        target.unlink()
        load_embedder(weights, models_dir=models, device="cpu").close()
        assert target.exists()
    with load_embedder(None, models_dir=tmp_path / "none", device="cpu", gallery_model=model) as embedder:
        assert embedder.model.same_space(model), "a gallery made with it opens"
    target.unlink()
    # Other bytes of the same size and time are another file.
    status = elsewhere.stat()
    content = bytearray(elsewhere.read_bytes())
    content[100] ^= 1
    elsewhere.write_bytes(content)
    os.utime(elsewhere, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(WeightsError, match="found a TorchScript program"):
        load_embedder(elsewhere, device="cpu")
    assert not target.exists()


def test_a_part_of_a_name_names_no_file(evil: Path, target: Path) -> None:
    with pytest.raises(WeightsError, match="found a TorchScript program"):
        load_embedder("osnet_x0_25_evil", models_dir=evil.parent, device="cpu", trust_weights=True)
    assert not target.exists()
    load_embedder(EVIL, models_dir=evil.parent, device="cpu", trust_weights=True).close()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_list_that_others_may_write_to_is_ignored(evil: Path) -> None:
    remember_trust(evil)
    assert is_trusted(evil)
    trust_list_path().chmod(0o666)
    assert not is_trusted(evil)


@pytest.mark.parametrize("content", ["", "[]", "{", '"x"'])
def test_a_damaged_list_trusts_nothing(evil: Path, content: str) -> None:
    remember_trust(evil)
    trust_list_path().write_text(content)
    assert not is_trusted(evil)
    remember_trust(evil)
    assert is_trusted(evil)


def test_a_list_that_cannot_be_written_is_no_error(evil: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    load_embedder(evil, device="cpu", trust_weights=True).close()
    assert not is_trusted(evil)


def test_an_engine_needs_consent(tmp_path: Path) -> None:
    path = tmp_path / "osnet_x0_25_x.engine"
    path.write_bytes(b"engine")
    with pytest.raises(WeightsError, match="found a TensorRT engine"):
        load_embedder(path)


def test_exports_made_here_are_trusted(tmp_path: Path) -> None:
    from tracking.boxmot_adapter import build_backbone

    torch.manual_seed(0)
    checkpoint = tmp_path / "osnet_x0_25_random.pt"
    torch.save(build_backbone("osnet_x0_25").state_dict(), checkpoint)
    report = export_reid(checkpoint, ExportOptions(("onnx", "torchscript"), tmp_path / "out", timing=False))
    assert report.ok
    by_format = {item.format: item for item in report.exports}
    made = by_format["torchscript"].path
    assert made is not None
    assert list(json.loads(trust_list_path().read_text())) == [weights_sha256(made)], "and nothing but the export"
    load_embedder(made, device="cpu").close()


class _Unpickled:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.target), "w")


def test_boxmot_unpickles_no_tflite(tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BoxMOT gives every file to `torch.load`, which opens tar archives, and such a file can begin as TFLite does."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("12345678"))
        content = pickle.dumps(_Unpickled(target), 2)
        member = tarfile.TarInfo("storages")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    data = bytearray(buffer.getvalue())
    data[:8] = b"\x1c\x00\x00\x00TFL3"
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\x00 " % sum(data[:512])
    path = tmp_path / "osnet_x0_25_x.tflite"
    path.write_bytes(data)

    def refuse(**arguments: Any) -> None:
        raise ValueError("not a model")

    module = ModuleType("ai_edge_litert.interpreter")
    module.Interpreter = refuse  # type: ignore[attr-defined]
    package = ModuleType("ai_edge_litert")
    package.__spec__ = ModuleSpec("ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", package)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    assert importlib.util.find_spec("ai_edge_litert") is not None
    with pytest.raises(WeightsError, match="not a model"):
        load_embedder(path, device="cpu")
    assert not target.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_a_detector_of_ultralytics_needs_consent(tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "yolo.pt"
    path.write_bytes(b"pickle")
    module = ModuleType("ultralytics")
    module.__spec__ = ModuleSpec("ultralytics", None)

    class Yolo:
        names = {0: "person"}  # noqa: RUF012
        task = "detect"

        def __init__(self, weights: str) -> None:
            target.touch()

    module.YOLO = Yolo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ultralytics", module)
    for options in (
        DetectorOptions(path, device="cpu"),
        DetectorOptions("yolo", models_dir=tmp_path, device="cpu", trust_weights=True),
    ):
        with pytest.raises(DetectorError, match="found a pickle of Ultralytics, which can run any code") as caught:
            load_detector(options)
        assert "`trust_weights=True`" in str(caught.value.hint)
    assert not target.exists()
    load_detector(DetectorOptions(path, device="cpu", trust_weights=True))
    target.unlink()
    load_detector(DetectorOptions(path, device="cpu"))
    assert target.exists()


def test_the_command_line(evil: Path, target: Path, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "people" / "a").mkdir(parents=True)
    Image.fromarray(make_crops(1)[0]).save(tmp_path / "people" / "a" / "1.png")
    words = ["gallery", "ingest", tmp_path / "people", "--gallery", tmp_path / "g", "--reid-weights", evil]
    refused = gtrack(*words, code=1)
    assert "found a TorchScript program" in refused.stderr
    assert "--trust-weights" in refused.stderr.replace("\n", " ")
    assert not target.exists()
    assert not (tmp_path / "g").exists()
    gtrack(*words, "--trust-weights")
    assert target.exists()
    assert "1 unchanged" in gtrack("gallery", "ingest", tmp_path / "people", "--gallery", tmp_path / "g").stdout
