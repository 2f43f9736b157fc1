"""Named pipes in place of the files that people name: refused at once, not waited for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gallery_db import GtrackError
from tracking.detections.mot_text import read_mot
from tracking.detections.reader import open_detections
from tracking.evaluation.track_table import read_track_table
from tracking.evaluation.truth import read_people, read_truth
from tracking.reid.boxmot_embedder import check_tflite
from tracking.reid.cache import weights_sha256
from tracking.reid.sidecar import read_sidecar
from tracking.reid.stamp import read_stamp
from tracking.reid.trust import remember_trust
from tracking.video.reader import VideoReader

READERS: dict[str, Callable[[Path], object]] = {
    "detections": open_detections,
    "MOTChallenge text": read_mot,
    "tracks": read_track_table,
    "truth": read_truth,
    "people": read_people,
    "weights": weights_sha256,
    "TFLite": check_tflite,
    "trusted weights": remember_trust,
    "video": VideoReader,
}


@pytest.mark.parametrize("what", READERS)
def test_a_pipe_is_refused(what: str, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(GtrackError, match=str(path)):
        READERS[what](path)


def test_pipes_beside_weights(tmp_path: Path) -> None:
    weights = tmp_path / "w.tflite"
    os.mkfifo(tmp_path / "w.tflite.gtrack.json")
    with pytest.raises(GtrackError, match="found a named pipe"):
        read_sidecar(weights)
    assert read_stamp(weights) is None
    for name in ("a.onnx", "a.pt", "a.xml"):
        os.mkfifo(tmp_path / name)
        assert read_stamp(tmp_path / name) is None
