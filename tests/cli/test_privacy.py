"""No command contacts another machine unasked: the main commands under strace, in a fresh home."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
from support import ROOT, TESTS
from support.detector_graphs import make_bright_square_detector
from support.reid import make_onnx, make_openvino

from cli.main import app
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


# All commands in one process, each after a mark in the trace: a connection to a socket that is not there.
_COMMANDS = """
import json, socket, sys
from contextlib import suppress
from pathlib import Path
import typer
from cli.main import app
from gallery_db import Gallery
from support.served import Serving

def run(words):
    with suppress(OSError), socket.socket(socket.AF_UNIX) as mark:
        mark.connect("/gtrack-command " + " ".join(words[:1] if words[0] in ONE_WORD else words[:2]))
    words = [entry(word) if word.startswith("entry:") else word for word in words]
    try:
        code = app(words, standalone_mode=False)
    except SystemExit as error:
        code = error.code
    assert not code, (words, code)

def entry(word):
    _, name, number = word.split(":")
    with Gallery.open("g") as gallery:
        return list(gallery.entries(identity=name))[int(number)].id

ONE_WORD = ("run", "detect", "demo", "list", "schema")
for words in json.loads(Path(sys.argv[1]).read_text()):
    if words[:2] == ["gallery", "serve"]:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as mark:
            mark.connect("/gtrack-command gallery serve")
        with Serving(Path(words[2])) as server:
            run(["gallery", "list", "-g", server.url])
            run(["gallery", "rename", "new", "newer", "-g", server.url])
    else:
        run(words)
"""
_MARK = re.compile(r'sun_path="/gtrack-command ([^"]+)"')


def _all_commands() -> set[str]:
    """Return the commands of the app, such as ``"gallery ingest"``."""

    def under(command: Any, words: str) -> Iterator[str]:
        if not hasattr(command, "commands"):
            yield words
            return
        for name, part in command.commands.items():
            yield from under(part, f"{words} {name}".strip())

    return set(under(typer.main.get_command(app), ""))


def _can_trace() -> bool:
    if _STRACE is None:
        return False
    done = subprocess.run([_STRACE, *_FLAGS, "-o", os.devnull, "true"], capture_output=True, check=False)
    return done.returncode == 0


def _is_contact(line: str) -> bool:
    """Return whether a traced call is for another machine, or looks a name up."""
    address = _INTERNET.search(line)
    if address is None:
        return "io.systemd.Resolve" in line
    port = _PORT.search(address[0])
    return not _LOOPBACK.search(address[0]) or (port is not None and port[1] == "53")


def _contacts(trace: Path) -> list[str]:
    return [line for line in trace.read_text(errors="replace").splitlines() if _is_contact(line)]


def _run(folder: Path, words: list[object], *before: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in NO_REPORTS}
    environment |= {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(TESTS))),
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
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A folder with a home that no program has used."""
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.mark.skipif(not _can_trace(), reason="needs strace, and the right to trace")
def test_a_fresh_process_contacts_nobody(fresh: Path, scene: Scene) -> None:
    weights = make_onnx(fresh / "osnet_x0_25_tiny.onnx")
    model = ["--reid-weights", weights, "--device", "cpu"]
    commands: dict[str, list[object]] = {
        "ingest": ["gallery", "ingest", scene.gallery, "--gallery", "g", *model],
        "run": [
            "run",
            scene.video,
            "--dets-json",
            scene.detections,
            "--gallery",
            "g",
            "--save-json",
            "--range",
            ":40",
            *model,
        ],
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


@pytest.mark.skipif(not _can_trace(), reason="needs strace, and the right to trace")
def test_every_command_contacts_nobody(fresh: Path, scene: Scene) -> None:
    one, two, *_ = sorted(folder.name for folder in scene.gallery.iterdir())
    picture = next(scene.gallery.rglob("*.jpg"))
    weights = make_onnx(fresh / "osnet_x0_25_tiny.onnx")
    lamps = make_bright_square_detector(fresh / "lamps.onnx")
    (fresh / "models").mkdir()
    shutil.copy(lamps, fresh / "models" / "yolox_nano.onnx")
    (fresh / "det.txt").write_text("1,-1,10,10,20,40,0.9\n")
    model = ["--reid-weights", weights, "--device", "cpu"]
    tracks = "out/run/tracked.json"
    run = [scene.video, "--dets-json", scene.detections, "--range", ":40", "--save-json", "--run-name", "run"]
    lines: list[list[object]] = [
        ["schema", "det-v1"],
        ["list", "reid-weights"],
        ["models", "list"],
        ["models", "path", "yolox_nano"],
        ["models", "get", "yolox_nano"],
        ["import", "mot", fresh / "det.txt", "-o", "mot.json"],
        ["detect", scene.video, "--weights", lamps, "-o", "d.json", "--range", ":5", "--device", "cpu"],
        ["gallery", "ingest", scene.gallery, "-g", "g", *model],
        ["run", *run, "-g", "g", *model],
        *(["gallery", name, "-g", "g"] for name in ("list", "stats", "verify", "log", "calibrate", "adapt")),
        ["gallery", "show", one, "-g", "g", "--contact-sheet", "sheet.jpg"],
        ["gallery", "query", picture, "-g", "g", *model],
        ["gallery", "snapshot", "before", "-g", "g"],
        ["gallery", "rename", one, "new", "-g", "g"],
        ["gallery", "split", two, f"entry:{two}:0", "--as", "part", "-g", "g"],
        ["gallery", "merge", "part", "--into", "new", "-g", "g", "--yes"],
        ["gallery", "move", f"entry:{two}:0", "--to", "new", "-g", "g"],
        ["gallery", "reject", f"entry:{two}:0", "--not", "new", "-g", "g"],
        ["gallery", "remove", f"entry:{two}:0", "-g", "g"],
        ["gallery", "undo", "-g", "g"],
        ["gallery", "redo", "-g", "g"],
        ["gallery", "purge", "--older-than", "1d", "-g", "g", "--yes"],
        ["gallery", "export", "g.parquet", "-g", "g", "--crops"],
        ["gallery", "import", "g.parquet", "-g", "g2"],
        ["gallery", "reembed", "-g", "g", "--reid-weights", "builtin"],
        ["gallery", "rebuild", "-g", "g"],
        ["gallery", "restore", "before", "-g", "g", "--yes"],
        ["gallery", "serve", "g2"],
        ["gallery", "flush"],
        ["gallery", "clear", "-g", "g2", "--yes"],
        ["eval", "tracks", tracks, "--truth", scene.truth, "--range", ":40"],
        ["eval", "identity", tracks, "--truth", scene.truth, "--range", ":40"],
        ["eval", "reid", "g", *model],
        ["export", "tracks", tracks, "-o", "report.html", "-o", "tracks.csv", "--video", scene.video],
        ["export", "reid", "--weights", weights, "--include", "openvino", "--device", "cpu"],
    ]
    (fresh / "commands.json").write_text(json.dumps([[str(word) for word in words] for words in lines]))
    assert _STRACE is not None
    trace = fresh / "all.trace"
    _run(fresh, ["-c", _COMMANDS, fresh / "commands.json"], _STRACE, *_FLAGS, "-o", str(trace))
    contacts: dict[str, list[str]] = {}
    command = "start"
    for line in trace.read_text(errors="replace").splitlines():
        mark = _MARK.search(line)
        if mark is not None:
            command = mark[1]
        found = contacts.setdefault(command, [])
        found += [line] if _is_contact(line) else []
    assert set(contacts) - {"start"} == _all_commands() - {"demo"}, "demo has a trace of its own"
    assert not {command: found for command, found in contacts.items() if found}


def test_a_variable_that_is_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.delenv("ANONYMIZED_TELEMETRY", raising=False)
    set_defaults()
    assert (os.environ["ORT_DISABLE_TELEMETRY"], os.environ["ANONYMIZED_TELEMETRY"]) == ("0", "False")


@pytest.mark.parametrize("package", ["gallery_db", "tracking.reid.onnx_embedder", "cli.main"])
def test_an_import_switches_reports_off(fresh: Path, package: str) -> None:
    names = sorted(NO_REPORTS)
    _run(fresh, ["-c", f"import os, {package}; assert all(name in os.environ for name in {names})"])
