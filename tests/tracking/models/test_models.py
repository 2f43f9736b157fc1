"""Published models by name: the catalogue, downloads, and what is read of the files."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.detector_graphs import make_fixed_detector
from support.file_server import FileServer, serve_files
from support.reid import make_crops, make_onnx
from typer.testing import CliRunner

import cli.downloads
from cli.main import app
from gallery_db.errors import GtrackError
from tracking import DetectorOptions, WeightsError, load_detector, load_embedder
from tracking.errors import DetectorError, OptionError
from tracking.models import catalogue
from tracking.models.catalogue import DEFAULT_DETECTOR, Model, find_model, models
from tracking.models.hugging_face import parse_hub_reference
from tracking.models.reading import reading_of
from tracking.models.resolve import local_model, resolve_published
from tracking.reid import Preprocessing, resolve_weights

CONTENT = bytes(range(256)) * 4000  # several blocks


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GTRACK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GTRACK_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("GTRACK_MODELS_MIRROR", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve_files({"/net.onnx": CONTENT}) as running:
        yield running


def add_entry(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    server: str,
    name: str,
    contents: dict[str, bytes | None],
    **facts: Any,
) -> None:
    """Put a model of a local server into the catalogue; the hash of a file without content is not known."""
    entry = {
        "name": name,
        "task": "reid",
        "files": [
            {"name": file, "size": None, "addresses": [f"{server}/{file}"]}
            | ({} if content is None else {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()})
            for file, content in contents.items()
        ],
        "licence": {"code": "MIT", "weights": "CC-BY-4.0"},
        "trained_on": "nothing",
        "input": "any",
        "accuracy": None,
        "published": f"{server}/page",
        "needs": None,
        "tested": "here",
    } | facts
    path = folder / "catalogue.json"
    path.write_text(json.dumps([entry]))
    catalogue._read.cache_clear()
    monkeypatch.setattr(catalogue, "_CATALOGUE", path)


# --- the catalogue ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", models(), ids=lambda model: str(model.name))
def test_each_entry_is_complete(model: Model) -> None:
    assert model.code_licence
    assert model.weights_licence
    assert model.published.startswith("https://")
    assert model.needs in (None, "boxmot", "openvino")
    for file in model.files:
        assert file.addresses
        assert all(address.startswith("https://") for address in file.addresses)
        assert (file.size is None) == (file.digest is None)
        length = {"sha256": 64, "sha384": 96}[file.algorithm]
        assert file.digest is None or re.fullmatch(rf"[0-9a-f]{{{length}}}", file.digest)
    Preprocessing(**model.reading)
    assert find_model(model.name) is find_model(model.files[0].name, model.task) is model


def test_names_are_unique_and_the_default_is_a_detector() -> None:
    names = [name for model in models() for name in {model.name, *(file.name for file in model.files)}]
    assert len(names) == len(set(names))
    assert find_model(DEFAULT_DETECTOR, "detector") is not None
    assert find_model(DEFAULT_DETECTOR, "reid") is None


@pytest.mark.data
@pytest.mark.parametrize("name", ["person-reidentification-retail-0277", "person-reidentification-retail-0287"])
def test_intels_models_by_name_from_a_mirror(
    name: str, data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files at hand have the catalogue's hashes, and are read in their own way, without a sidecar."""
    pytest.importorskip("openvino")
    files = {f"/{name}{suffix}": (data / "weights" / f"{name}{suffix}").read_bytes() for suffix in (".xml", ".bin")}
    with serve_files(files) as server:
        monkeypatch.setenv("GTRACK_MODELS_MIRROR", f"{server.address}/")
        seen: list[tuple[int, int | None]] = []
        path = resolve_weights(name, tmp_path, download=True, progress=lambda *step: seen.append(step))
    total = sum(map(len, files.values()))
    assert seen[-1] == (total, total)
    assert sorted(found.name for found in path.parent.iterdir()) == [f"{name}.bin", f"{name}.xml"]
    embedder = load_embedder(name, models_dir=tmp_path, device="cpu")
    assert embedder.model.preprocessing.startswith("256x128 bgr")
    shutil.copy(path, tmp_path / "mine.xml")
    assert reading_of(tmp_path / "mine.xml") == {"color": "bgr", "scale": 1.0, "mean": (0, 0, 0), "std": (1, 1, 1)}
    with (tmp_path / "mine.xml").open("a") as stream:
        stream.write("\n")
    assert reading_of(tmp_path / "mine.xml") == {}


@pytest.mark.data
def test_another_export_is_not_taken_for_the_published_file(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = find_model("yolox_nano")
    assert model is not None
    with serve_files({"/yolox_nano.onnx": (data / "weights" / "yolox_nano.onnx").read_bytes()}) as server:
        add_entry(monkeypatch, tmp_path, server.address, "yolox_nano", {"yolox_nano.onnx": b"x"}, task="detector")
        with pytest.raises(DetectorError, match=r"another one: expected 1 bytes, found 3660092"):
            load_detector(DetectorOptions("yolox_nano", models_dir=tmp_path, download=True))
    # Placed by hand, it is the user's own choice.
    shutil.copy(data / "weights" / "yolox_nano.onnx", tmp_path)
    detector = load_detector(DetectorOptions("yolox_nano", models_dir=tmp_path, classes=[0], device="cpu"))
    assert detector.class_names[0] == "person"


# --- downloads ----------------------------------------------------------------------------------------------------


def test_a_model_is_downloaded_once(
    server: FileServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_entry(monkeypatch, tmp_path, server.address, "net", {"net.onnx": CONTENT})
    words = (
        r"net: neither in .* does not download unless asked to\. Pass `download=True` .*1\.0 MB, CC-BY-4\.0 \(code: MIT"
    )
    with pytest.raises(WeightsError, match=words):
        resolve_weights("net", tmp_path / "models")
    seen: list[tuple[int, int | None]] = []
    path = resolve_weights("net", tmp_path / "models", download=True, progress=lambda *step: seen.append(step))
    assert path == cache / "weights" / "net.onnx"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert len(seen) > 5
    assert [found.name for found in path.parent.iterdir()] == ["net.onnx"], "no part and no lock is left"
    assert resolve_weights("net", tmp_path / "models", download=True) == path
    assert len(server.asked) == 1


def test_a_broken_download_is_resumed(
    server: FileServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_entry(monkeypatch, tmp_path, server.address, "net", {"net.onnx": CONTENT})
    server.cuts["/net.onnx"] = [300_000, 200_000]
    path = resolve_weights("net", tmp_path, download=True)
    assert path.read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for _, _, asked in server.asked if asked]
    assert len(server.asked) == 3
    assert 0 < starts[0] <= 300_000 < starts[1] <= 500_000, "each goes on where the one before ended"


def test_a_later_call_goes_on_and_a_damaged_part_starts_again(
    server: FileServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_entry(monkeypatch, tmp_path, server.address, "net", {"net.onnx": CONTENT})
    part = cache / "weights" / ".net.onnx.download"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:400_000])
    path = resolve_weights("net", tmp_path, download=True)
    assert server.asked == [("GET", "/net.onnx", "bytes=400000-")]
    path.unlink()
    part.write_bytes(b"damaged" * 1000)
    assert resolve_weights("net", tmp_path, download=True).read_bytes() == CONTENT
    assert [asked for _, _, asked in server.asked[1:]] == ["bytes=7000-", None]


@pytest.mark.parametrize(
    ("served", "message"),
    [
        pytest.param(bytes(len(CONTENT)), r"another one: expected sha256 \w{64}, found \w{64}", id="wrong hash"),
        pytest.param(CONTENT + b"more", "expected 1024000 bytes, found 1024004", id="too long"),
        pytest.param(None, "answered 404", id="not there"),
    ],
)
def test_a_failed_download_leaves_nothing(
    served: bytes | None, message: str, server: FileServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files = {} if served is None else {"/net.onnx": served}
    add_entry(monkeypatch, tmp_path, server.address, "net", {"net.onnx": CONTENT})
    with pytest.raises(WeightsError, match=message) as caught:
        resolve_weights("net", tmp_path, download=True)
    assert f"etch {server.address}/net.onnx as net.onnx on another machine" in str(caught.value.hint)
    assert list((cache / "weights").iterdir()) == []


def test_offline_the_error_says_where_the_file_is_and_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_entry(monkeypatch, tmp_path, "http://127.0.0.1:9", "net", {"net.onnx": CONTENT}, task="detector")
    with pytest.raises(
        DetectorError, match=r"net\.onnx cannot be downloaded\. http://127\.0\.0\.1:9/net\.onnx: .*refused"
    ) as caught:
        load_detector(DetectorOptions("net", models_dir="my models", download=True))
    assert caught.value.hint == (
        "Fetch http://127.0.0.1:9/net.onnx as net.onnx on another machine and place the file in my models."
    )


def test_an_unknown_hash_is_remembered(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_entry(monkeypatch, tmp_path, server.address, "net", {"net.onnx": None})
    resolve_weights("net", tmp_path, download=True).unlink()
    server.files["/net.onnx"] = CONTENT[::-1]
    with pytest.raises(WeightsError, match="another one"):
        resolve_weights("net", tmp_path, download=True)


def test_a_model_of_two_files_is_there_when_both_are(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_files({"/net.xml": b"<net/>", "/net.bin": b""}) as server:
        add_entry(monkeypatch, tmp_path, server.address, "net", {"net.xml": b"<net/>", "net.bin": b"weights"})
        with pytest.raises(WeightsError, match=r"net\.bin cannot be downloaded"):
            resolve_weights("net", tmp_path, download=True)
        assert not (cache / "weights" / "net.xml").exists()
        server.files["/net.bin"] = b"weights"
        assert resolve_weights("net", tmp_path, download=True).name == "net.xml"


# --- the Hugging Face Hub -----------------------------------------------------------------------------------------


def test_a_file_of_the_hub(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/org/repo/resolve/main/onnx/net.onnx"
    network = make_onnx(tmp_path / "net.onnx").read_bytes()
    with serve_files({path: network}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        name = "hf://org/repo/onnx/net.onnx"
        with pytest.raises(WeightsError, match=r"not on this machine.* `download=True`"):
            resolve_weights(name, tmp_path)
        embedder = load_embedder(name, models_dir=tmp_path, download=True, device="cpu")
        assert (cache / "hf" / "org--repo" / "main" / "onnx" / "net.onnx").read_bytes() == network
        assert embedder.embed(make_crops(1)).shape == (1, 8)
        assert resolve_weights(name, tmp_path).read_bytes() == network
        with pytest.raises(WeightsError, match="answered 404"):
            resolve_weights("hf://org/repo@v2/net.onnx", tmp_path, download=True)


@pytest.mark.parametrize("name", ["hf://", "hf://org", "hf://org/repo", "hf://org/repo/", "hf://o/r/../x", "hf:///r/x"])
def test_other_forms_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="OWNER/REPOSITORY/FILE"):
        parse_hub_reference(name)
    with pytest.raises(OptionError):
        resolve_weights(name, tmp_path)


# --- names as options, and the commands ---------------------------------------------------------------------------


def test_a_task_gets_only_its_models(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="yolox_s is a detector"):
        resolve_weights("yolox_s", tmp_path)
    with pytest.raises(DetectorError, match="osnet_x0_25_msmt17 is a ReID model"):
        load_detector(DetectorOptions("osnet_x0_25_msmt17", models_dir=tmp_path))
    with pytest.raises(DetectorError) as caught:
        load_detector(DetectorOptions("yolox-nano", models_dir=tmp_path))
    assert "yolox_nano" in str(caught.value.hint)


def gtrack(*words: Any, answers: str | None = None) -> tuple[int, str, str]:
    """Run a command in this process; an error is printed as `main` prints it."""
    done = CliRunner().invoke(app, [str(word) for word in words], input=answers)
    err = done.stderr
    if isinstance(done.exception, GtrackError):
        err += f"{done.exception.message} {done.exception.hint}"
    elif done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, err


def test_commands(server: FileServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [json.loads(line) for line in gtrack("models", "list", "--json")[1].splitlines()]
    assert {"name", "files", "weights_licence", "code_licence", "accuracy", "path"} <= set(rows[0])
    assert [row["name"] for row in rows] == [model.name for model in models()]
    add_entry(monkeypatch, tmp_path, server.address, "net", {"net.onnx": CONTENT}, needs="openvino")
    folder = ["--models-dir", tmp_path / "models"]
    assert "net" not in gtrack("models", "list", "--task", "detector", *folder)[1]
    code, _, err = gtrack("models", "path", "net", *folder)
    assert code
    assert "gtrack models get net" in err
    assert "Did you mean 'net'?" in gtrack("models", "get", "nett", *folder)[2]
    code, out, err = gtrack("models", "get", "net", *folder)
    assert (code, out.strip()) == (0, str(cache / "weights" / "net.onnx"))
    assert "licence of the weights CC-BY-4.0, of the code MIT" in err
    assert "gtrack-reid[openvino]" in err
    assert gtrack("models", "path", "net", *folder)[1] == out
    assert re.search(r"net +1\.0 MB .* yes", gtrack("models", "list", *folder)[1])
    assert gtrack("models", "get", "net", "--out", tmp_path / "stick", *folder)[0] == 0
    assert [found.name for found in (tmp_path / "stick").iterdir()] == ["net.onnx"]


def test_run_detects_with_a_name_and_asks_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2 = pytest.importorskip("cv2")
    video = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(4):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    rows = np.array([[20, 20, 30, 30, 0.9, 0]], np.float32)
    network = make_fixed_detector(tmp_path / "made.onnx", rows).read_bytes()
    words = ["run", video, "--models-dir", tmp_path / "models", "--no-progress"]
    code, _, err = gtrack(*words, "--gallery", "people")
    assert code
    assert f"gtrack run {video} --gallery people --detect yolox_nano --classes person --download" in err, (
        "the hint is a command that can be copied"
    )
    with serve_files({"/seer.onnx": network}) as server:
        add_entry(monkeypatch, tmp_path, server.address, "seer", {"seer.onnx": network}, task="detector")
        assert "does not download unless asked to" in gtrack(*words, "--detect", "seer")[2]
        monkeypatch.setattr(cli.downloads, "on_terminal", lambda: True)
        assert "does not download unless asked to" in gtrack(*words, "--detect", "seer", answers="n\n")[2]
        code, out, err = gtrack(*words, "--detect", "seer", answers="y\n")
        assert code == 0, err
        assert "Download it (0.0 MB, CC-BY-4.0 (code: MIT))? [y/N]" in err
        assert out.startswith("4 frames, ")
    saved = tmp_path / "clip.detections.json"
    assert gtrack("detect", video, "--weights", "seer", "-o", saved, *words[2:])[0] == 0
    code, out, err = gtrack(*words)
    assert code == 0, err
    assert f"detections: {saved}" in err
    assert out.startswith("4 frames, ")


def test_a_local_model_is_found_in_the_models_folder_first(tmp_path: Path) -> None:
    model = find_model("yolox_nano")
    assert model is not None
    assert local_model(model, tmp_path) is None
    (tmp_path / "yolox_nano.onnx").touch()
    assert local_model(model, tmp_path) == resolve_published("yolox_nano", "detector", tmp_path)
    assert resolve_published("other", "detector", tmp_path) is None
