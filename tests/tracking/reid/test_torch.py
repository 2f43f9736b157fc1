"""Checkpoints and TorchScript, with random weights of OSNet x0.25 and a tiny module."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.reid import make_crops, write_sidecar

from tracking.boxmot_adapter import build_backbone, known_reid_weights
from tracking.errors import EmbedderError, OptionError, WeightsError
from tracking.reid.architectures import REID_ARCHITECTURES
from tracking.reid.checkpoint import architecture_of, is_torchscript
from tracking.reid.conversion import converted_path
from tracking.reid.loader import load_embedder
from tracking.reid.torch_embedder import TorchEmbedder, TorchScriptEmbedder


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    torch.manual_seed(0)
    return {
        name: value for name, value in build_backbone("osnet_x0_25").state_dict().items() if "classifier" not in name
    }


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "osnet_x0_25_random.pt"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def in_torch(checkpoint: Path) -> np.ndarray:
    return TorchEmbedder(checkpoint, device="cpu").embed(make_crops(5))


def test_lists_architectures_and_known_weights() -> None:
    from boxmot.reid.backbones import registered_backbone_names

    assert sorted(registered_backbone_names()) == list(REID_ARCHITECTURES)
    assert known_reid_weights()["osnet_x0_25_msmt17.pt"].startswith("https://")


def test_runs_in_torch(checkpoint: Path) -> None:
    embedder = load_embedder(checkpoint, device="cpu", runtime="torch", half=True, threads=1)
    assert (embedder.runtime, embedder.device, embedder.half) == ("torch", "cpu", False)
    assert embedder.notices == ["half precision is ignored on cpu: it is for CUDA."]
    vectors = embedder.embed(make_crops(3))
    assert vectors.shape == (3, 512)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda s: {"state_dict": s, "epoch": 3}, id="state_dict"),
        pytest.param(lambda s: {"model": s}, id="model"),
        pytest.param(lambda s: {"net": {f"module.{k}": v for k, v in s.items()}}, id="net-module"),
        pytest.param(lambda s: {f"module.{k}": v for k, v in s.items()}, id="module"),
        pytest.param(lambda s: {**s, "classifier.weight": torch.zeros(751, 512)}, id="classifier"),
        pytest.param(lambda s: {k: v for k, v in s.items() if "num_batches" not in k}, id="no-counters"),
    ],
)
def test_reads_each_form_of_a_state_dict(
    tmp_path: Path, state: dict[str, Any], in_torch: np.ndarray, wrap: Any
) -> None:
    path = tmp_path / "OSNET_x0_25_x.pth"
    torch.save(wrap(state), path)
    np.testing.assert_allclose(TorchEmbedder(path, device="cpu").embed(make_crops(5)), in_torch, atol=1e-5)


def test_is_converted_once_with_equal_embeddings(checkpoint: Path, in_torch: np.ndarray) -> None:
    embedder = load_embedder(checkpoint, device="cpu")
    assert (embedder.runtime, embedder.notices) == ("onnx", [])
    assert embedder.model.name == checkpoint.name
    assert embedder.model.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert embedder.model == TorchEmbedder(checkpoint, device="cpu").model
    np.testing.assert_allclose(embedder.embed(make_crops(5)), in_torch, atol=1e-4)
    path = converted_path(checkpoint)
    assert path.name == f"{embedder.model.sha256}-osnet_x0_25-256x128-v2.onnx"
    assert path.is_file()
    assert not [p for p in path.parent.iterdir() if ".part" in p.name]
    before = path.stat().st_mtime_ns
    # From then on torch is not even imported.
    code = (
        "import sys; from tracking.reid import load_embedder\n"
        f"e = load_embedder({str(checkpoint)!r}, half=True, device='cpu')\n"
        "assert e.runtime == 'onnx' and len(e.notices) == 1\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=os.environ)
    assert path.stat().st_mtime_ns == before
    # A damaged cache is written again.
    path.write_bytes(path.read_bytes()[:1000])
    np.testing.assert_allclose(load_embedder(checkpoint, device="cpu").embed(make_crops(5)), in_torch, atol=1e-4)


def test_falls_back_to_torch_if_the_cache_cannot_be_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_torch: np.ndarray
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GTRACK_CACHE_DIR", str(tmp_path / "file" / "cache"))
    messages: list[str] = []
    embedder = load_embedder(checkpoint, device="cpu", notify=messages.append)
    assert embedder.runtime == "torch"
    assert len(messages) == 1
    assert "runs in torch" in messages[0]
    np.testing.assert_allclose(embedder.embed(make_crops(5)), in_torch, atol=1e-5)
    with pytest.raises(EmbedderError, match="cannot be converted to ONNX"):
        load_embedder(checkpoint, device="cpu", runtime="onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda s: dict(list(s.items())[5:]), r"5 missing \(conv1\.bn.*, \.\.\.\)", id="missing"),
        pytest.param(lambda s: {**s, "extra.weight": torch.zeros(1)}, r"1 unexpected \(extra\.weight\)", id="more"),
        pytest.param(
            lambda s: {**s, "fc.0.weight": torch.zeros(512, 3)},
            r"1 of another shape \(fc\.0\.weight \(512, 3\) for \(512, 128\)\)",
            id="shape",
        ),
        pytest.param(lambda s: {"a": torch.zeros(1)}, "missing .*; 1 unexpected", id="another-network"),
    ],
)
def test_rejects_weights_that_do_not_fit(tmp_path: Path, state: dict[str, Any], change: Any, message: str) -> None:
    path = tmp_path / "osnet_x0_25_x.pt"
    torch.save(change(state), path)
    with pytest.raises(WeightsError, match="the checkpoint does not match its architecture osnet_x0_25: .*" + message):
        load_embedder(path, device="cpu")


def test_rejects_weights_of_another_architecture(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "osnet_x1_0_msmt17.pt"
    path.write_bytes(checkpoint.read_bytes())
    with pytest.raises(WeightsError, match="does not match its architecture osnet_x1_0"):
        load_embedder(path, device="cpu", runtime="torch")
    write_sidecar(path, arch="osnet_x0_25")
    assert load_embedder(path, device="cpu", runtime="torch").model.dimension == 512


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("osnet_x0_25_msmt17.pt", "osnet_x0_25"),
        ("resnet50_fc512_market1501.pt", "resnet50_fc512"),
        ("resnet50_market1501.pt", "resnet50"),
        ("LMBN_N_duke.pt", "lmbn_n"),
    ],
)
def test_architecture_from_the_name(name: str, architecture: str) -> None:
    assert architecture_of(Path("models") / name) == architecture


def test_rejects_unknown_architectures(tmp_path: Path) -> None:
    path = tmp_path / "person.pt"
    with pytest.raises(WeightsError, match=r"does not begin with a known architecture\. .*person\.pt\.gtrack\.json"):
        architecture_of(path)
    write_sidecar(path, arch="osnet")
    with pytest.raises(WeightsError, match="arch: unknown architecture 'osnet'"):
        architecture_of(path)


class _Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("plain", [False, True], ids=["torch.save", "pickle"])
def test_rejects_pickled_objects_without_running_them(tmp_path: Path, plain: bool) -> None:
    path, mark = tmp_path / "osnet_x0_25_evil.pt", tmp_path / "ran"
    if plain:
        path.write_bytes(pickle.dumps(_Evil(mark)))
    else:
        torch.save({"state_dict": _Evil(mark)}, path)
    with pytest.raises(WeightsError, match="pickled Python objects"):
        load_embedder(path, device="cpu")
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [pytest.param(b"", id="empty"), pytest.param(b"PK\x03\x04 cut", id="cut-zip"), pytest.param(b"text", id="text")],
)
def test_rejects_unreadable_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "osnet_x0_25_x.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"osnet_x0_25_x\.pt: "):
        load_embedder(path, device="cpu")


def test_rejects_files_without_tensors(tmp_path: Path) -> None:
    path = tmp_path / "osnet_x0_25_x.pt"
    torch.save({"epoch": 3}, path)
    with pytest.raises(WeightsError, match="expected a state dict"):
        load_embedder(path, device="cpu")


def test_rejects_devices_that_are_not_available(checkpoint: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(EmbedderError, match="finds 0 CUDA devices"):
        load_embedder(checkpoint, device="cuda:0")


class _Tiny(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).relu().mean(dim=(2, 3)) + 0.1


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "tiny.torchscript"
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(_Tiny().eval()), str(path))
    return path


@pytest.mark.parametrize("name", ["tiny.torchscript", "tiny.ts", "tiny.pt"])
def test_torchscript_under_any_suffix(scripted: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(scripted.read_bytes())
    write_sidecar(path, height=64, width=32)
    assert is_torchscript(path)
    embedder = load_embedder(path, device="cpu", batch_size=2, trust_weights=True)
    assert (embedder.runtime, embedder.model.dimension) == ("torchscript", 6)
    assert isinstance(embedder, TorchScriptEmbedder)
    assert embedder.embed(make_crops(5)).shape == (5, 6)
    with pytest.raises(OptionError, match="runtime onnx: cannot run tiny"):
        load_embedder(path, device="cpu", runtime="onnx")


def test_rejects_files_that_are_not_torchscript(checkpoint: Path, tmp_path: Path) -> None:
    assert not is_torchscript(checkpoint)
    path = tmp_path / "w.torchscript"
    path.write_bytes(checkpoint.read_bytes())
    with pytest.raises(WeightsError, match="as TorchScript"):
        load_embedder(path, device="cpu", trust_weights=True)


def test_an_architecture_that_cannot_be_converted_runs_in_torch(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    path = tmp_path / "hacnn_random.pt"
    torch.save(build_backbone("hacnn").state_dict(), path)
    embedder = load_embedder(path, device="cpu")
    assert embedder.runtime == "torch"
    assert embedder.model.preprocessing.startswith("160x64 ")
    assert len(embedder.notices) == 1
    assert embedder.embed(make_crops(2)).shape == (2, 1024)
    assert capfd.readouterr().out == ""
