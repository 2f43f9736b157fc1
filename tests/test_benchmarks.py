"""Every benchmark starts, so that the figures of the documentation can be measured again."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.detector_graphs import make_bright_square_detector
from support.reid import make_onnx

SCRIPTS = sorted((Path(__file__).parent / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_starts(script: Path) -> None:
    """A measurement takes minutes; this checks the imports and options only."""
    done = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


def test_gpu_says_what_is_absent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of the CPU are measured, and every other one has its row or says what it lacks."""
    spec = importlib.util.spec_from_file_location("gpu", Path(__file__).parent / "benchmarks" / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    gpu = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu", gpu)
    spec.loader.exec_module(gpu)
    video = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), 25, (320, 192))
    for number in range(4):
        frame = np.zeros((192, 320, 3), np.uint8)
        frame[80:96, 16 * number : 16 * number + 16] = 255
        writer.write(frame)
    writer.release()
    files = {
        "--weights": make_onnx(tmp_path / "w.onnx"),
        "--detector": make_bright_square_detector(tmp_path / "d.onnx"),
        "--video": video,
    }
    options = [str(part) for item in files.items() for part in item]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *options, "--seconds", "0.01", "--batch", "2"])
    assert gpu.main() == 0
    lines = capsys.readouterr().out.splitlines()
    for start in ("ONNX Runtime, CPU", "OpenCV, CPU"):
        rows = [line for line in lines if line.startswith(start)]
        assert rows
        assert all("absent" not in row for row in rows) or importlib.util.find_spec("av") is None
    for start, count in (("ONNX Runtime, CUDA", 3), ("TensorRT", 4), ("engine of", 2), ("PyAV, NVDEC", 1)):
        assert sum(line.startswith(start) for line in lines) == count
    absent = [line for line in lines if "absent:" in line]
    assert absent
    assert all("install" in line or "NVDEC needs a GPU" in line or "beside" in line for line in absent)
