"""A machine without BoxMOT and torch: default trackers and ONNX models work; the rest says what to install.

ChromaDB is not loaded either, where the record of a gallery answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.reid import make_onnx

from tracking.synthetic.config import SceneConfig
from tracking.synthetic.rendering import render_scene

_LIGHT = """
import sys
from importlib import util
from pathlib import Path

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "boxmot", "torchvision", "pandas"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
found = util.find_spec
util.find_spec = lambda name, package=None: None if name in ("torch", "boxmot") else found(name, package)
from typer.testing import CliRunner
from cli.main import app

weights, scene, work = sys.argv[1:]
video, detections = f"{scene}/scene.mp4", f"{scene}/detections.json"

def gtrack(*words, expected=0):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == expected, (words, done.exit_code, done.output, done.exception)
    return done.exception

gtrack("gallery", "ingest", f"{scene}/gallery", "--gallery", f"{work}/g", "--reid-weights", weights)
picture = next(Path(scene, "gallery").rglob("*.*g"))
for command in (("list",), ("stats",), ("query", picture, "--reid-weights", weights)):
    gtrack("gallery", *command, "--gallery", f"{work}/g")
assert not {"chromadb", "scipy"} & set(sys.modules)  # a second of every start
run = ("run", video, "--dets-json", detections, "--gallery", f"{work}/g", "--no-progress")
for tracker in ("botsort_motion", "bytetrack"):
    gtrack(*run, "--temporal", tracker, "--out-dir", f"{work}/out", "--backfill", "--explain", "--save-json")
gtrack("gallery", "list", "--gallery", f"{work}/g")
gtrack("list", "trackers")
gtrack("list", "reid-weights")
assert "pip install 'gtrack-reid[boxmot]'" in gtrack(*run, "--temporal", "ocsort", expected=1).hint
typed = gtrack(*run, "--temporal-option", "track_hgh_thresh=0.5", expected=1)
assert typed.hint.startswith("Did you mean 'track_high_thresh'"), (typed, typed.hint)
empty = f"{work}/osnet_x0_25_mine.pt"
open(empty, "wb").close()
for command in (("gallery", "ingest", f"{scene}/gallery", "--gallery", f"{work}/h", "--reid-weights", empty),
                ("export", "reid", "--weights", empty, "--include", "onnx", "--out-dir", f"{work}/e")):
    assert "pip install 'gtrack-reid[boxmot]'" in gtrack(*command, expected=1).hint
assert not {"torch", "boxmot", "chromadb"} & set(sys.modules)
"""


def test_the_default_trackers_and_onnx_models_need_neither(tmp_path: Path) -> None:
    scene = render_scene(tmp_path / "scene", SceneConfig(frames=12, width=320, height=240))
    weights = make_onnx(tmp_path / "tiny.onnx")
    done = subprocess.run(
        [sys.executable, "-c", _LIGHT, str(weights), str(scene.gallery.parent), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
