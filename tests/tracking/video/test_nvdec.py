"""NVDEC is refused clearly where there is none. tests/benchmarks/gpu.py compares it with the CPU where there is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tracking.errors import VideoError
from tracking.reid.devices import accelerator_likely
from tracking.video import nvdec
from tracking.video.nvdec import nvdec_frames


def test_without_pyav_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvdec, "find_spec", lambda name: None)
    with pytest.raises(VideoError, match="needs PyAV") as caught:
        next(nvdec_frames(tmp_path / "clip.mp4"))
    assert caught.value.hint == "Run: pip install av"


def test_without_a_gpu_it_decodes_nothing_on_the_cpu_instead(tmp_path: Path) -> None:
    pytest.importorskip("av")
    if accelerator_likely():
        pytest.skip("there is a GPU")
    clip = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), 25, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    with pytest.raises(VideoError, match=r"NVDEC cannot decode it|built without CUDA"):
        list(nvdec_frames(clip))
    with pytest.raises(VideoError, match=r"does not exist|built without CUDA"):
        list(nvdec_frames(tmp_path / "none.mp4"))
