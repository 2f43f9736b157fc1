from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from support.reid import make_crops, make_onnx

from gallery_db.model import Embedder
from tracking.errors import EmbedderError, OptionError, WeightsError
from tracking.reid import BuiltinEmbedder, load_embedder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTRACK_CACHE_DIR", str(tmp_path / "cache"))


def test_builtin_is_the_last_choice_with_a_notice(tmp_path: Path) -> None:
    notices: list[str] = []
    embedder = load_embedder(models_dir=tmp_path / "absent", notify=notices.append)
    assert isinstance(embedder, BuiltinEmbedder)
    assert isinstance(embedder, Embedder)
    assert len(notices) == 1
    assert "built-in" in notices[0]
    assert "`download=True`" in notices[0]


def test_builtin_by_name_has_no_notice() -> None:
    notices: list[str] = []
    assert load_embedder("builtin", notify=notices.append).model.name == "builtin"
    assert notices == []


def test_uses_weights_of_the_models_folder_without_a_name(tmp_path: Path) -> None:
    make_onnx(tmp_path / "osnet_x0_25_tiny.onnx")
    notices: list[str] = []
    embedder = load_embedder(None, models_dir=tmp_path, device="cpu", notify=notices.append)
    assert embedder.model.name == "osnet_x0_25_tiny.onnx"
    assert len(notices) == 1


def test_loads_weights_by_name_from_the_models_folder(tmp_path: Path) -> None:
    make_onnx(tmp_path / "mine.onnx")
    assert load_embedder("mine", models_dir=tmp_path, device="cpu", batch_size=3).embed(make_crops(4)).shape == (4, 8)


def test_finds_the_model_of_a_gallery(tmp_path: Path) -> None:
    path = make_onnx(tmp_path / "mine.onnx")
    model = load_embedder(path, device="cpu").model
    assert load_embedder(models_dir=tmp_path / "no", device="cpu", gallery_model=model).model == model
    (tmp_path / "models").mkdir()
    moved = path.rename(tmp_path / "models" / "renamed.onnx")
    found = load_embedder(models_dir=moved.parent, device="cpu", gallery_model=model).model
    assert found.same_space(model)
    assert found.name == "renamed.onnx"
    moved.unlink()
    with pytest.raises(WeightsError, match=f"mine.onnx .sha256 {model.sha256}.; no such file .*Place that file in"):
        load_embedder(models_dir=moved.parent, gallery_model=model)


def test_uses_builtin_for_a_gallery_of_builtin(tmp_path: Path) -> None:
    make_onnx(tmp_path / "osnet_x0_25_tiny.onnx")
    model = BuiltinEmbedder().model
    notices: list[str] = []
    assert load_embedder(models_dir=tmp_path, gallery_model=model, notify=notices.append).model == model
    assert notices == []
    with pytest.raises(WeightsError, match="another version of the built-in embedder"):
        load_embedder(models_dir=tmp_path, gallery_model=replace(model, sha256="0" * 64))


def test_rejects_unsupported_formats(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for ref in (path, tmp_path / "folder"):
        with pytest.raises(WeightsError, match=r"not a supported weights format\. Supported: \.onnx, \.pt, .*\.tflite"):
            load_embedder(ref)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "device: expected"),
        ({"runtime": "tensorflow"}, "runtime: expected one of auto, onnx, torch"),
        ({"threads": 0}, "threads: expected at least 1, found 0"),
        ({"batch_size": -1}, "batch_size: expected at least 1, found -1"),
    ],
)
def test_rejects_invalid_options(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load_embedder("builtin", **options)


def test_notices_reach_the_user(tmp_path: Path) -> None:
    notices: list[str] = []
    load_embedder(make_onnx(tmp_path / "w.onnx"), device="cpu", half=True, notify=notices.append)
    assert len(notices) == 1
    assert "half precision is ignored" in notices[0]


def test_rejects_runtime_torch_for_onnx(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"runtime torch: cannot run w\.onnx"):
        load_embedder(make_onnx(tmp_path / "w.onnx"), runtime="torch")


@pytest.mark.parametrize(("name", "module"), [("w.engine", "tensorrt"), ("w.tflite", "ai_edge_litert")])
def test_reports_runtimes_that_are_not_installed(tmp_path: Path, name: str, module: str) -> None:
    if importlib.util.find_spec(module) is not None:
        pytest.skip(f"{module} is installed")
    path = tmp_path / name
    path.write_bytes(b"")
    with pytest.raises(EmbedderError, match=r"is needed for .* is not installed\. Run: pip install"):
        load_embedder(path, trust_weights=True)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x80\x02}TFL3.", id="pickle"),
        pytest.param(b"PK\x03\x04", id="zip"),
    ],
)
def test_tflite_is_checked_before_boxmot_loads_it(tmp_path: Path, content: bytes) -> None:
    from tracking.reid.boxmot_embedder import check_tflite

    path = tmp_path / "w.tflite"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="expected a TFLite model"):
        check_tflite(path)
    path.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(8))
    check_tflite(path)
