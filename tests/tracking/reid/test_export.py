"""`gtrack export reid`: OSNet x0.25 of random weights and tiny networks, in every format that runs on a CPU."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from support import ROOT
from support.reid import make_crops, make_onnx, write_sidecar

from gallery_db import Gallery, ModelMismatchError, ingest_folder
from gallery_db.errors import GtrackError
from tracking.boxmot_adapter import build_backbone
from tracking.errors import EmbedderError, ExportError, OptionError
from tracking.reid.cache import weights_sha256
from tracking.reid.export import exporter
from tracking.reid.export import formats as formats_module
from tracking.reid.export.comparison import Comparison, compare, crops_per_second, drawn_crops, read_crops
from tracking.reid.export.exporter import export_reid
from tracking.reid.export.formats import FORMATS, ExportFormat, Source
from tracking.reid.export.options import ExportOptions
from tracking.reid.export.report import META, ExportReport
from tracking.reid.loader import load_embedder
from tracking.reid.stamp import STAMP_KEY
from tracking.reid.torch_embedder import TorchEmbedder

HAS_OPENVINO = importlib.util.find_spec("openvino") is not None
ON_A_CPU = ("onnx", "torchscript", *(["openvino"] if HAS_OPENVINO else []))
needs_openvino = pytest.mark.skipif(not HAS_OPENVINO, reason="needs openvino: pip install openvino")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve crops of two people."""
    folder = tmp_path_factory.mktemp("people")
    for index, image in enumerate(make_crops(12)):
        (folder / f"p{index % 2}").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"p{index % 2}" / f"{index}.png"), image)
    return folder


def _checkpoint(folder: Path, architecture: str) -> Path:
    torch.manual_seed(0)
    path = folder / f"{architecture}_random.pt"
    torch.save({k: v for k, v in build_backbone(architecture).state_dict().items() if "classifier" not in k}, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its input is small, because tests have other things to do than convolutions."""
    path = _checkpoint(tmp_path_factory.mktemp("checkpoint"), "osnet_x0_25")
    write_sidecar(path, height=64, width=32)
    return path


@pytest.fixture(scope="module")
def exported(checkpoint: Path, people: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    out = tmp_path_factory.mktemp("exports")
    return export_reid(checkpoint, ExportOptions(ON_A_CPU, out, crops=people, timing=False))


def test_all_formats_give_the_embeddings_of_their_source(
    exported: ExportReport, checkpoint: Path, people: Path
) -> None:
    assert exported.ok
    assert [item.format for item in exported.exports] == list(ON_A_CPU)
    source = TorchEmbedder(checkpoint, device="cpu", threads=1)
    images = read_crops(people)
    expected = source.embed(images)
    for item in exported.exports:
        assert item.comparison is not None
        assert item.comparison.crops == 12
        assert item.comparison.cosine_min >= 0.99999
        assert item.comparison.neighbours == 1.0
        assert item.same_space
        assert item.path is not None
        with load_embedder(item.path, device="cpu", threads=1) as embedder:
            assert embedder.model.same_space(source.model)
            np.testing.assert_allclose(embedder.embed(images), expected, atol=1e-4)


def test_writes_only_complete_files_and_lists_them(exported: ExportReport, checkpoint: Path) -> None:
    stem = checkpoint.stem
    names = {f"{stem}.onnx", f"{stem}.torchscript", META, *([f"{stem}_openvino_model"] if HAS_OPENVINO else [])}
    assert {path.name for path in exported.folder.iterdir()} == names
    meta = json.loads(exported.meta.read_text())
    assert meta["source"]["sha256"] == weights_sha256(checkpoint)
    assert meta["source"]["architecture"] == "osnet_x0_25"
    assert meta["settings"]["formats"] == list(ON_A_CPU)
    assert meta["versions"]["torch"] == torch.__version__
    assert [entry["format"] for entry in meta["exports"]] == list(ON_A_CPU)
    for entry in meta["exports"]:
        assert entry["sha256"] == weights_sha256(Path(entry["path"]))
        assert entry["cosine_min"] >= 0.99999


def test_the_onnx_has_a_free_batch_and_the_requested_opset(exported: ExportReport) -> None:
    path = exported.folder / f"{exported.source.stem}.onnx"
    session = onnxruntime.InferenceSession(str(path))
    assert session.get_inputs()[0].shape == ["batch", 3, 64, 32]
    assert onnx.load(str(path)).opset_import[0].version == 18


@pytest.mark.parametrize("name", ON_A_CPU)
def test_a_gallery_of_the_source_accepts_the_export(
    exported: ExportReport, checkpoint: Path, people: Path, tmp_path: Path, name: str
) -> None:
    path = next(item.path for item in exported.exports if item.format == name)
    assert path is not None
    source = TorchEmbedder(checkpoint, device="cpu", threads=1)
    with Gallery.open_or_create(tmp_path / "g", source.model) as gallery:
        assert ingest_folder(gallery, people, source).added == 12
    with load_embedder(path, device="cpu", threads=1) as embedder, Gallery.open(tmp_path / "g", write=True) as gallery:
        again = ingest_folder(gallery, people, embedder)
        assert (again.added, again.unchanged) == (0, 12)
    # And found by itself, where only the export is at hand.
    recorded = replace(source.model, path=None)
    with load_embedder(gallery_model=recorded, models_dir=path.parent, device="cpu") as found:
        assert found.model.same_space(source.model)
    # As with any other model, its like of other weights is refused.
    other = _other_checkpoint(tmp_path)
    with load_embedder(other, device="cpu", runtime="torch") as embedder, pytest.raises(ModelMismatchError):
        Gallery.open_or_create(tmp_path / "g", embedder.model)


def _other_checkpoint(folder: Path) -> Path:
    torch.manual_seed(1)
    path = folder / "osnet_x0_25_other.pt"
    write_sidecar(path, height=64, width=32)
    torch.save({k: v for k, v in build_backbone("osnet_x0_25").state_dict().items() if "classifier" not in k}, path)
    return path


def test_preprocessing_travels_in_the_file(checkpoint: Path, people: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    path.write_bytes(checkpoint.read_bytes())
    write_sidecar(path, arch="osnet_x0_25", height=64, width=48, color="bgr", mean=[0.5, 0.5, 0.5], resize="pad")
    report = export_reid(path, ExportOptions(("onnx",), tmp_path / "out", crops=people, timing=False))
    assert report.ok
    for item in report.exports:
        assert item.path is not None
        with load_embedder(item.path, device="cpu", threads=1) as embedder:
            assert embedder.model.preprocessing.startswith("64x48 bgr pad linear ")
            assert embedder.model.same_space(TorchEmbedder(path, device="cpu").model)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return make_onnx(tmp_path / "source" / "tiny.onnx")


def _options(tmp_path: Path, people: Path, *formats: str, **changes: Any) -> ExportOptions:
    return ExportOptions(formats, tmp_path / "out", crops=people, timing=False, **changes)


@needs_openvino
def test_exports_from_onnx(tiny: Path, people: Path, tmp_path: Path) -> None:
    (item,) = export_reid(tiny, _options(tmp_path, people, "openvino")).exports
    assert item.ok
    assert item.path is not None
    with load_embedder(item.path, device="cpu") as embedder:
        assert embedder.model.sha256 == weights_sha256(tiny)


@needs_openvino
def test_half_in_openvino_has_the_identity_of_the_source_only_if_it_is_as_accurate(
    tiny: Path, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = _options(tmp_path, people, "openvino", run_name="wide")
    small = _options(tmp_path, people, "openvino", half=True)
    (full,) = export_reid(tiny, wide).exports
    (item,) = export_reid(tiny, small).exports
    assert item.path is not None
    assert full.path is not None
    assert (item.precision, item.same_space) == ("fp16", True)
    assert (item.path / "tiny.bin").stat().st_size < 0.6 * (full.path / "tiny.bin").stat().st_size
    monkeypatch.setattr(exporter, "PARITY", 1.5)
    (item,) = export_reid(tiny, small).exports
    assert item.ok
    assert not item.same_space
    assert item.path is not None
    with load_embedder(item.path, device="cpu") as embedder:
        assert embedder.model.sha256 == weights_sha256(item.path) != weights_sha256(tiny)
    (item,) = export_reid(tiny, replace(wide, run_name="worse")).exports
    assert not item.ok
    assert "its embeddings differ from its source's: least cosine" in str(item.error)
    assert [path.name for path in (tmp_path / "out" / "worse").iterdir()] == [META]


def test_static_batches(checkpoint: Path, people: Path, tmp_path: Path) -> None:
    options = _options(tmp_path, people, "onnx", dynamic=False, batch_size=4, opset=13)
    (item,) = export_reid(checkpoint, options).exports
    assert item.ok, item.error
    assert item.path is not None
    assert onnx.load(str(item.path)).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 4
    with load_embedder(item.path, device="cpu", batch_size=32) as embedder:
        assert embedder.batch_size == 32, "ONNX Runtime runs it with a free batch"
        assert embedder.model.sha256 == weights_sha256(checkpoint)


def test_tflite(checkpoint: Path, people: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("litert_torch", reason="needs LiteRT's converter: pip install litert-torch ai-edge-litert")
    (item,) = export_reid(checkpoint, _options(tmp_path, people, "tflite")).exports
    assert item.ok, item.error
    assert item.path is not None
    out, err = capfd.readouterr()
    assert out == "", "stdout is for results"
    assert "INFO     " not in err, "BoxMOT's logger"
    with load_embedder(item.path, device="cpu") as embedder:
        assert embedder.runtime == "tflite"
        assert embedder.model.sha256 == weights_sha256(checkpoint)


def test_simplified_from_an_earlier_export(tiny: Path, people: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxslim", reason="needs onnxslim: pip install onnxslim")
    (first,) = export_reid(tiny, _options(tmp_path, people, "onnx", simplify=True)).exports
    assert first.path is not None
    options = _options(tmp_path, people, "onnx", simplify=True, run_name="again")
    (second,) = export_reid(first.path, options).exports
    assert second.path is not None
    metadata = [entry.key for entry in onnx.load(str(second.path)).metadata_props]
    assert metadata.count(STAMP_KEY) == 1
    with load_embedder(second.path, device="cpu") as embedder:
        assert embedder.model.sha256 == weights_sha256(tiny)


@needs_openvino
def test_a_second_export_replaces_its_own_files_and_keeps_others(tiny: Path, people: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxslim", reason="needs onnxslim: pip install onnxslim")
    export_reid(tiny, _options(tmp_path, people, "openvino"))
    folder = tmp_path / "out" / "tiny"
    (folder / "tiny_openvino_model" / "stale.txt").write_text("")
    export_reid(tiny, _options(tmp_path, people, "openvino"))
    assert sorted(p.name for p in (folder / "tiny_openvino_model").iterdir()) == ["tiny.bin", "tiny.xml"]
    report = export_reid(tiny, _options(tmp_path, people, "onnx", simplify=True))
    entries = json.loads(report.meta.read_text())["exports"]
    assert [(entry["format"], entry.get("earlier", False)) for entry in entries] == [
        ("onnx", False),
        ("openvino", True),
    ]
    (folder / "tiny_openvino_model" / "tiny.bin").write_bytes(b"changed")
    report = export_reid(tiny, _options(tmp_path, people, "onnx", simplify=True))
    assert [entry["format"] for entry in json.loads(report.meta.read_text())["exports"]] == ["onnx"]


@needs_openvino
def test_ctrl_c_keeps_the_finished_formats(
    tiny: Path, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(source: Source, path: Path) -> None:
        path.write_bytes(b"half a mod")
        raise KeyboardInterrupt

    stop = ExportFormat("stop", ".stop", "", lambda: None, interrupted, from_onnx=True)
    monkeypatch.setitem(FORMATS, "stop", stop)
    with pytest.raises(KeyboardInterrupt):
        export_reid(tiny, _options(tmp_path, people, "openvino", "stop"))
    folder = tmp_path / "out" / "tiny"
    assert {path.name for path in folder.iterdir()} == {"tiny_openvino_model", META}
    assert [entry["format"] for entry in json.loads((folder / META).read_text())["exports"]] == ["openvino"]
    with pytest.raises(KeyboardInterrupt):
        export_reid(tiny, _options(tmp_path, people, "stop", run_name="none"))
    assert not (tmp_path / "out" / "none").exists()


@pytest.mark.parametrize(
    ("formats", "changes", "kind", "message"),
    [
        pytest.param(["coreml"], {}, OptionError, "expected some of onnx, .* found coreml", id="unknown"),
        pytest.param([], {}, OptionError, "found none", id="none"),
        pytest.param(["onnx"], {"opset": 9}, OptionError, "`opset`: expected 12 to 20, found 9", id="opset"),
        pytest.param(["onnx"], {"batch_size": 0}, OptionError, "`batch_size`", id="batch"),
        pytest.param(["onnx"], {"run_name": "../x"}, OptionError, "`run_name` .* plain name", id="run name"),
        pytest.param(["onnx"], {"optimize": True}, OptionError, "`optimize=True` is for TorchScript", id="optimize"),
        pytest.param(["torchscript"], {"simplify": True}, OptionError, "`simplify=True` is for ONNX", id="simplify"),
        pytest.param(["onnx"], {"device": "gpu"}, OptionError, "device: expected", id="device"),
        pytest.param(["onnx", "engine"], {}, ExportError, "engine needs a CUDA GPU", id="engine"),
        pytest.param(["onnx"], {"half": True}, ExportError, "onnx in FP16 needs a CUDA GPU", id="half"),
        pytest.param(["tflite"], {"half": True}, ExportError, "tflite is exported in FP32", id="tflite half"),
        pytest.param(["onnx"], {"crops": Path("none")}, ExportError, "none: expected a folder", id="crops"),
    ],
)
def test_rejects_invalid_options_before_anything_is_written(
    checkpoint: Path,
    tmp_path: Path,
    formats: Sequence[str],
    changes: dict[str, Any],
    kind: type[GtrackError],
    message: str,
) -> None:
    with pytest.raises(kind, match=message):
        export_reid(checkpoint, replace(ExportOptions(tuple(formats), tmp_path / "out"), **changes))
    assert not (tmp_path / "out").exists()


def test_reports_missing_packages_with_the_command_that_installs_them(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats_module, "find_spec", lambda name: None)
    options = ExportOptions(("openvino", "engine", "tflite", "onnx"), tmp_path / "out", simplify=True)
    with pytest.raises(ExportError) as caught:
        export_reid(checkpoint, options)
    for line in ("openvino", "tensorrt nvidia-tensorrt", "litert-torch ai-edge-litert", "onnxslim"):
        assert f"(pip install {line})" in caught.value.message
    assert not (tmp_path / "out").exists()


def test_optimize_without_xnnpack(checkpoint: Path, tmp_path: Path) -> None:
    if importlib.import_module("torch.backends.xnnpack").enabled:
        pytest.skip("this torch has XNNPACK")
    with pytest.raises(ExportError, match="needs a torch built with XNNPACK"):
        export_reid(checkpoint, ExportOptions(("torchscript",), tmp_path / "out", optimize=True))


def test_rejects_devices_that_are_not_available(checkpoint: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(EmbedderError, match="finds 0 CUDA devices"):
        export_reid(checkpoint, ExportOptions(("engine",), tmp_path / "out", device="0"))


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        (["torchscript"], "torchscript is made from the network's code"),
        (["tflite"], "tflite is made from the network's code"),
        (["onnx"], "tiny.onnx is ONNX already"),
    ],
)
def test_rejects_formats_that_cannot_be_made_from_onnx(
    tiny: Path, tmp_path: Path, formats: Sequence[str], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        export_reid(tiny, ExportOptions(tuple(formats), tmp_path / "out"))


def test_rejects_other_formats_as_source(exported: ExportReport, tmp_path: Path) -> None:
    for item in exported.exports[1:]:
        assert item.path is not None
        with pytest.raises(ExportError, match="other formats cannot be exported again"):
            export_reid(item.path, ExportOptions(("onnx",), tmp_path / "out"))


def test_compare_counts_neighbours_as_a_gallery_does() -> None:
    angles = np.radians([0.0, 10.0, 90.0, 105.0])
    source = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert compare(source, source) == Comparison(4, pytest.approx(1.0), pytest.approx(1.0), 1.0)
    turned = source.copy()
    turned[1] = [np.cos(np.radians(80)), np.sin(np.radians(80))]
    found = compare(source, turned)
    assert found.cosine_min == pytest.approx(np.cos(np.radians(70)), abs=1e-6)
    assert found.cosine_mean == pytest.approx((3 + np.cos(np.radians(70))) / 4, abs=1e-6)
    # Only the second crop's own nearest neighbour is another now: the source's gallery stays as it was.
    assert found.neighbours == 0.75
    twins = source[[0, 0, 0]]
    assert compare(twins, twins).neighbours == 1.0
    with pytest.raises(ExportError, match=r"shape \(4, 1\)"):
        compare(source, source[:, :1])


def test_measures_crops_per_second() -> None:
    now = 0.0

    class Slow:
        def __init__(self, seconds: float) -> None:
            self.seconds = seconds
            self.batches: list[int] = []

        model: Any = None

        def embed(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
            nonlocal now
            now += self.seconds * len(images) + 0.001
            self.batches.append(len(images))
            return np.zeros((len(images), 2), np.float32)

    embedders = {"a": Slow(0.01), "b": Slow(0.002)}
    rates = crops_per_second(embedders, make_crops(3), batches=(1, 4), seconds=0.1, rounds=2, clock=lambda: now)
    assert rates["a"] == {1: pytest.approx(1 / 0.011), 4: pytest.approx(4 / 0.041)}
    assert rates["b"] == {1: pytest.approx(1 / 0.003), 4: pytest.approx(4 / 0.009)}
    assert set(embedders["a"].batches) == {1, 4}


def test_finds_the_crops_for_the_comparison(people: Path, tmp_path: Path) -> None:
    assert len(read_crops(people)) == 12
    assert len(read_crops(people, limit=5)) == 5
    drawn = drawn_crops()
    assert len(drawn) == 144
    assert all(image.shape[2] == 3 and image.dtype == np.uint8 for image in drawn)
    cv2.imwrite(str(tmp_path / "one.png"), make_crops(1)[0])
    with pytest.raises(ExportError, match="at least two images of people, found 1"):
        read_crops(tmp_path)


def _gtrack(*words: Any, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    root = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "export", "reid", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=180,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.returncode == code, (words, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@needs_openvino
def test_the_command(tiny: Path, tmp_path: Path) -> None:
    done = _gtrack("--weights", tiny, "--include", "openvino", "--json", cwd=tmp_path)
    (entry,) = map(json.loads, done.stdout.splitlines())
    assert entry["path"] == str(tmp_path / "models" / "exports" / "tiny" / "tiny_openvino_model")
    assert entry["crops"] == 144
    assert set(entry["crops_per_second"]) == {"1", "8", "32"}
    assert all(rate > 0 for rate in entry["crops_per_second"].values())
    assert "144 crops drawn by gtrack" in done.stderr
    meta = json.loads((tmp_path / "models" / "exports" / "tiny" / META).read_text())
    assert meta["compared_on"] == "144 crops drawn by gtrack"
    assert meta["clock"] == "cpu"
    assert set(meta["source"]["crops_per_second"]) == {"1", "8", "32"}


def test_a_failed_format_leaves_no_file_and_the_others_stay(people: Path, tmp_path: Path) -> None:
    weights = _checkpoint(tmp_path, "hacnn")
    before = tmp_path / "o" / "run" / f"{weights.stem}.onnx"
    before.parent.mkdir(parents=True)
    before.write_text("what was there before")
    # ONNX has no adaptive pooling of its kind, and its trace is for one size of batch.
    words = ["--weights", weights, "--include", "onnx", "torchscript", "--out-dir", "o", "--run-name", "run"]
    words += ["--crops", people, "--no-timing", "--no-dynamic", "--batch-size", 4]
    done = _gtrack(*words, cwd=tmp_path, code=1)
    assert re.search(r"onnx +failed", done.stdout)
    assert re.search(r"torchscript +fp32 +[01]\.\d{7} +[01]\.\d{7} +100\.00% +the source's", done.stdout)
    assert "hacnn_random.torchscript" in done.stdout
    assert "error: onnx: " in done.stderr
    assert before.read_text() == "what was there before"
    assert {path.name for path in before.parent.iterdir()} == {before.name, f"{weights.stem}.torchscript", META}
    failed, made = json.loads((before.parent / META).read_text())["exports"]
    assert (failed["ok"], made["ok"]) == (False, True)
    assert made["cosine_min"] >= 0.99999
    assert load_embedder(tmp_path / made["path"], device="cpu").batch_size == 4


def test_wrong_usage_exits_with_2_and_writes_nothing(tiny: Path, tmp_path: Path) -> None:
    assert "no weights given" in _gtrack(cwd=tmp_path, code=2).stderr
    assert "the network's code" in _gtrack("--weights", tiny, "--include", "torchscript", cwd=tmp_path, code=2).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_lists_formats_and_runtimes(tmp_path: Path) -> None:
    formats = [json.loads(line) for line in _gtrack("--list-formats", "--json", cwd=tmp_path).stdout.splitlines()]
    assert [row["format"] for row in formats] == ["onnx", "torchscript", "openvino", "engine", "tflite"]
    assert "a CUDA GPU" in next(row for row in formats if row["format"] == "engine")["missing"]
    done = _gtrack("--list-reid-models", "--list-reid-weights", cwd=tmp_path)
    assert "osnet_x0_25" in done.stdout
    assert "osnet_x0_25_msmt17.pt" in done.stdout


@pytest.mark.data
def test_the_real_weights_on_real_crops(data: Path, tmp_path: Path) -> None:
    """A part of Market-1501; the command itself has compared on all of it."""
    images = sorted((data / "reid" / "market1501-test-subset").rglob("*.jpg"))[::20]
    for path in images:
        (tmp_path / path.name).symlink_to(path)
    weights = data / "weights" / "osnet_x0_25_msmt17.pt"
    report = export_reid(weights, ExportOptions(ON_A_CPU, tmp_path / "out", crops=tmp_path, timing=False))
    for item in report.exports:
        assert item.comparison is not None
        assert item.comparison.crops == len(images) > 40
        assert item.comparison.cosine_min >= 0.99999
        assert item.comparison.neighbours == 1.0
