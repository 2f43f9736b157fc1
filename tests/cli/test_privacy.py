"""No command contacts another machine unasked: the main commands under strace, in a fresh home."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.reid import make_onnx, make_openvino

from gallery_db.privacy import NO_REPORTS, set_defaults
from tracking.synthetic.rendering import Scene

_STRACE = shutil.which("strace")
_FLAGS = ("-f", "-qq", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg,sendmmsg")
_INTERNET = re.compile(r"sa_family=AF_INET6?\b[^}]*}")
_LOOPBACK = re.compile(r'inet_addr\("127\.|inet_pton\(AF_INET6, "::1"')
_PORT = re.compile(r"sin6?_port=htons\((\d+)\)")


# The demonstration of `gtrack demo`, with a shorter clip.
_DEMO = """
from pathlib import Path
from tracking.demo.run import run_demo
from tracking.synthetic.config import SceneConfig
run_demo(Path("demo"), config=SceneConfig(frames=60))
"""


def _can_trace() -> bool:
    if _STRACE is None:
        return False
    done = subprocess.run([_STRACE, *_FLAGS, "-o", os.devnull, "true"], capture_output=True, check=False)
    return done.returncode == 0


def _contacts(trace: Path) -> list[str]:
    """Return the traced calls that are for another machine, and those that look a name up."""
    found = []
    for line in trace.read_text(errors="replace").splitlines():
        address = _INTERNET.search(line)
        if address is not None:
            port = _PORT.search(address[0])
            if not _LOOPBACK.search(address[0]) or (port is not None and port[1] == "53"):
                found.append(line)
        elif "io.systemd.Resolve" in line:
            found.append(line)
    return found


def _run(folder: Path, words: list[object], *before: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in NO_REPORTS}
    environment |= {
        "HOME": str(folder / "home"),
        "XDG_CACHE_HOME": str(folder / "home" / ".cache"),
        "XDG_STATE_HOME": str(folder / "home" / ".state"),
        "XDG_CONFIG_HOME": str(folder / "home" / ".config"),
    }
    done = subprocess.run(
        [*before, sys.executable, *map(str, words)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A folder with a home that no program has used."""
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.mark.skipif(not _can_trace(), reason="needs strace, and the right to trace")
def test_the_commands_contact_nobody(fresh: Path, scene: Scene) -> None:
    weights = make_onnx(fresh / "osnet_x0_25_tiny.onnx")
    model = ["--reid-weights", weights, "--device", "cpu"]
    commands: dict[str, list[object]] = {
        "list": ["list", "trackers"],
        "ingest": ["gallery", "ingest", scene.gallery, "--gallery", "g", *model],
        "calibrate": ["gallery", "calibrate", "--gallery", "g"],
        "query": ["gallery", "query", next(scene.gallery.rglob("*.jpg")), "--gallery", "g", *model],
        "run": [
            "run",
            scene.video,
            "--dets-json",
            scene.detections,
            "--gallery",
            "g",
            "--json",
            "--range",
            ":40",
            *model,
        ],
        "tracks": ["export", "tracks", f"out/{scene.video.stem}/tracked.json", "-o", "tracks.csv"],
    }
    if find_spec("openvino") is not None:
        folder = make_openvino(weights, fresh / "osnet_x0_25_tiny_openvino_model")
        commands["openvino"] = ["gallery", "ingest", scene.gallery, "--gallery", "g2", "--reid-weights", folder]
    assert _STRACE is not None
    programs = {"demo": ["-c", _DEMO]} | {name: ["-m", "cli.main", *words] for name, words in commands.items()}
    for name, words in programs.items():
        trace = fresh / f"{name}.trace"
        _run(fresh, words, _STRACE, *_FLAGS, "-o", str(trace))
        assert not _contacts(trace), name
    left = [path.name for path in (fresh / "home").rglob("*")]
    assert "onnxruntime.db" not in left
    assert "deviceid" not in left
    assert "intel" not in left, "OpenVINO's telemetry"


def test_a_variable_that_is_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.delenv("ANONYMIZED_TELEMETRY", raising=False)
    set_defaults()
    assert (os.environ["ORT_DISABLE_TELEMETRY"], os.environ["ANONYMIZED_TELEMETRY"]) == ("0", "False")


@pytest.mark.parametrize("package", ["gallery_db", "tracking.reid.onnx_embedder", "cli.main"])
def test_an_import_switches_reports_off(fresh: Path, package: str) -> None:
    names = sorted(NO_REPORTS)
    _run(fresh, ["-c", f"import os, {package}; assert all(name in os.environ for name in {names})"])
