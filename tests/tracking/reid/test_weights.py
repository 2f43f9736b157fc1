from __future__ import annotations

import hashlib
import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracking.boxmot_adapter import known_reid_weights
from tracking.errors import WeightsError
from tracking.reid.cache import cache_dir, weights_sha256
from tracking.reid.download import download_weights
from tracking.reid.weights import find_trained_weights, find_weights_by_hash, resolve_weights


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GTRACK_CACHE_DIR", str(folder))
    (folder / "weights").mkdir(parents=True)
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def _put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(name.encode())


def test_cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("GTRACK_CACHE_DIR")
    assert cache_dir().name.lower() in ("gtrack", "cache")


def test_search_order(models: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _put(cache / "weights", "a.onnx", "b.pt")
    assert resolve_weights("a.onnx", models) == cache / "weights" / "a.onnx"
    _put(models, "a.onnx", "a.pt")
    assert resolve_weights("a.onnx", models) == models / "a.onnx"
    assert resolve_weights("a", models) == models / "a.onnx"
    assert resolve_weights("b", models) == cache / "weights" / "b.pt"
    _put(tmp_path, "a.onnx")
    assert resolve_weights("a.onnx", models) == Path("a.onnx")
    assert resolve_weights(tmp_path / "a.onnx", models) == tmp_path / "a.onnx"


def test_a_missing_path_lists_similar_files(tmp_path: Path, models: Path) -> None:
    _put(tmp_path, "osnet_x0_25_msmt17.onnx")
    with pytest.raises(WeightsError, match=r"no such weights file\. In that folder: osnet_x0_25_msmt17\.onnx"):
        resolve_weights(tmp_path / "osnet_x025_msmt17.onnx", models, download=True)


def test_a_known_name_is_not_downloaded_without_the_option(models: Path) -> None:
    for ref in ("osnet_x0_25_msmt17.pt", "osnet_x0_25_msmt17"):
        words = r"does not download unless asked to\. Pass `download=True` .*place the file in"
        with pytest.raises(WeightsError, match=words):
            resolve_weights(ref, models)


def test_suggests_the_closest_names(models: Path) -> None:
    _put(models, "my_people.onnx")
    with pytest.raises(WeightsError, match=r"Did you mean .my_people\.onnx"):
        resolve_weights("my_peple.onnx", models)
    with pytest.raises(WeightsError, match=r"Did you mean .*osnet_x0_25_msmt17\.pt"):
        resolve_weights("osnet_x025_msmt17.pt", models, download=True)
    with pytest.raises(WeightsError, match="Give a path"):
        resolve_weights("qqqqqq", models / "absent")
    with pytest.raises(WeightsError, match="empty"):
        resolve_weights(" ", models)


class _Handler(http.server.BaseHTTPRequestHandler):
    content = bytes(range(256)) * 1000

    def do_GET(self) -> None:
        if self.path == "/gone":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content[: 1000 if self.path == "/cut" else None])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_downloads_weights(server: str, models: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tracking.reid.weights.known_reid_weights", lambda: {**known_reid_weights(), "mine.pt": f"{server}/file"}
    )
    seen: list[tuple[int, int | None]] = []
    path = resolve_weights("mine", models, download=True, progress=lambda done, total: seen.append((done, total)))
    assert path == cache / "weights" / "mine.pt"
    assert path.read_bytes() == _Handler.content
    assert seen[-1] == (256000, 256000)
    assert len(seen) > 1
    assert [found.name for found in path.parent.iterdir()] == ["mine.pt"]
    assert resolve_weights("mine.pt", models) == path


@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("/gone", "404", id="not-found"),
        pytest.param("/cut", "after 1000 of 256000 bytes|IncompleteRead", id="cut"),
    ],
)
def test_a_failed_download_leaves_no_file(server: str, models: Path, cache: Path, path: str, message: str) -> None:
    with pytest.raises(WeightsError, match=f"cannot be downloaded from .*({message}).*place it in"):
        download_weights("mine.pt", server + path, models_dir=models)
    assert list((cache / "weights").iterdir()) == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/file", "file:///etc/passwd", "nonsense"], ids=["offline", "file", "nonsense"]
)
def test_reports_failed_downloads(models: Path, cache: Path, url: str) -> None:
    with pytest.raises(WeightsError, match=r"cannot be downloaded from .*Download it on another machine"):
        download_weights("mine.pt", url, models_dir=models)
    assert list((cache / "weights").iterdir()) == []


def test_hashes_are_cached_until_the_file_changes(models: Path, cache: Path) -> None:
    _put(models, "a.onnx")
    path = models / "a.onnx"
    expected = hashlib.sha256(b"a.onnx").hexdigest()
    assert weights_sha256(path) == expected
    index = json.loads((cache / "hashes.json").read_text())
    assert index[str(path.resolve())][-1] == expected
    # Remembered: another hash in the index is believed while size and time stay.
    index[str(path.resolve())][-1] = "0" * 64
    (cache / "hashes.json").write_text(json.dumps(index))
    assert weights_sha256(path) == "0" * 64
    path.write_bytes(b"b.onnx")
    os.utime(path, ns=(1, 1))
    assert weights_sha256(path) == hashlib.sha256(b"b.onnx").hexdigest()
    (cache / "hashes.json").write_text("damaged")
    assert weights_sha256(path) == hashlib.sha256(b"b.onnx").hexdigest()
    with pytest.raises(WeightsError, match="cannot be read"):
        weights_sha256(models / "absent.onnx")


def test_finds_weights_by_hash(models: Path, cache: Path, tmp_path: Path) -> None:
    _put(models, "a.onnx", "b.pt", "note.txt")
    _put(cache / "weights", "c.pt")
    _put(tmp_path, "d.onnx")
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a.onnx", "b.pt", "c.pt", "d.onnx")}
    assert find_weights_by_hash(hashes["b.pt"], None, models) == models / "b.pt"
    assert find_weights_by_hash(hashes["c.pt"], "/gone/c.pt", models) == cache / "weights" / "c.pt"
    assert find_weights_by_hash(hashes["d.onnx"], None, models) is None
    assert find_weights_by_hash(hashes["d.onnx"], tmp_path / "d.onnx", models) == tmp_path / "d.onnx"
    # From now on this machine knows it, as of a gallery that comes from elsewhere.
    assert find_weights_by_hash(hashes["d.onnx"], None, models) == tmp_path / "d.onnx"
    assert find_weights_by_hash(hashes["d.onnx"], "/another/machine/d.onnx", models) == tmp_path / "d.onnx"
    # A file that was replaced under its name is not taken.
    (tmp_path / "d.onnx").write_bytes(b"other")
    assert find_weights_by_hash(hashes["d.onnx"], tmp_path / "d.onnx", models) is None
    assert find_weights_by_hash(hashes["d.onnx"], None, models) is None


@pytest.mark.parametrize(
    ("in_models", "in_cache", "expected"),
    [
        pytest.param([], [], None, id="none"),
        pytest.param(["yolo11n.pt", "note.txt", "person.onnx"], [], None, id="no-architecture"),
        pytest.param(["osnet_x1_0_imagenet.pt", "osnet_x1_0_veri.pt", "resnet50.onnx"], [], None, id="not-people"),
        pytest.param(["osnet_x0_25_msmt17.pt"], [], "osnet_x0_25_msmt17.pt", id="pt"),
        pytest.param(["lmbn_n_market.pt", "osnet_x1_0_a.onnx"], [], "osnet_x1_0_a.onnx", id="onnx-first"),
        pytest.param(["osnet_x1_0_b.onnx", "osnet_x0_5_b.onnx"], [], "osnet_x0_5_b.onnx", id="by-name"),
        pytest.param(["osnet_x1_0_b.onnx"], ["lmbn_n_a.onnx"], "osnet_x1_0_b.onnx", id="models-first"),
        pytest.param(["osnet_x1_0_b.pt"], ["lmbn_n_a.onnx"], "lmbn_n_a.onnx", id="onnx-in-the-cache"),
    ],
)
def test_finds_trained_weights(
    models: Path, cache: Path, in_models: list[str], in_cache: list[str], expected: str | None
) -> None:
    _put(models, *in_models)
    _put(cache / "weights", *in_cache)
    found = find_trained_weights(models)
    assert (found.name if found else None) == expected
    assert find_trained_weights(models / "absent") is None or in_cache
