"""Crops of tracks: where they go, what is left out, and nothing overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tracking.errors import OutputError
from tracking.outputs.crop_folder import CropFolder

IMAGE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
BOX = [60.0, 20.0, 100.0, 110.0]


def write(folder: CropFolder, frame: int, *detections: dict[str, Any]) -> None:
    folder.write({"frame": frame, "detections": [{"bbox": BOX, "class_id": 0, **keys} for keys in detections]}, IMAGE)


def files(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def test_a_folder_for_each_identity_and_track(tmp_path: Path) -> None:
    folder = CropFolder(tmp_path / "new" / "crops", fps=10)
    for frame in range(12):
        write(folder, frame, {"track_id": "1"} | ({"gallery_id": "ann"} if frame > 3 else {}), {"track_id": "2"}, {})
    assert not (tmp_path / "new" / "crops").exists(), "complete, or not there"
    folder.close()
    folder.close()
    assert folder.completed
    assert files(folder.path) == [
        "ann/track-1/000004.jpg",
        "ann/track-1/000009.jpg",
        "track-1/000000.jpg",
        "track-2/000000.jpg",
        "track-2/000005.jpg",
        "track-2/000010.jpg",
    ]
    crop = cv2.imread(str(folder.path / "track-2" / "000000.jpg"))
    assert crop is not None
    assert crop.shape == (90, 40, 3)


def test_any_name_is_a_safe_folder(tmp_path: Path) -> None:
    names = ["../../up", "a/b", "Zoë", "zoë", "東京", ".hidden", "con", "track-7", "x" * 400, "\ud800", "..", "a\x00b"]
    folder = CropFolder(tmp_path / "crops", fps=10)
    write(folder, 0, *({"track_id": str(n), "gallery_id": name} for n, name in enumerate(names)), {"track_id": "7"})
    folder.close()
    assert len(files(folder.path)) == len(names) + 1
    assert len(list(folder.path.iterdir())) == len(names) + 1, "a folder for each"
    assert [path.name for path in tmp_path.iterdir()] == ["crops"]


def test_blurred_people_are_left_out(tmp_path: Path) -> None:
    folder = CropFolder(tmp_path / "crops", fps=10, blur="unknown")
    write(folder, 0, {"track_id": "1"}, {"track_id": "2", "gallery_id": "ann", "identity_status": "known"})
    folder.close()
    assert files(folder.path) == ["ann/track-2/000000.jpg"]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_nothing_is_overwritten(tmp_path: Path, when: str) -> None:
    mine = tmp_path / "crops" / "mine.jpg"
    if when == "meanwhile":
        folder = CropFolder(tmp_path / "crops", fps=10)
        write(folder, 0, {"track_id": "1"})
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(OutputError, match="expected an empty folder or a new one, found files in it"):
        folder.close() if when == "meanwhile" else CropFolder(tmp_path / "crops", fps=10)
    assert files(tmp_path) == ["crops/mine.jpg"]


def test_an_empty_folder_may_be_there_and_a_file_may_not(tmp_path: Path) -> None:
    (tmp_path / "crops").mkdir()
    folder = CropFolder(tmp_path / "crops", fps=10)
    folder.close()
    assert folder.completed
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="found a file"):
        CropFolder(tmp_path / "file", fps=10)


def test_discarded_crops_leave_nothing(tmp_path: Path) -> None:
    folder = CropFolder(tmp_path / "crops", fps=10)
    write(folder, 0, {"track_id": "1"})
    folder.discard()
    folder.close()
    assert list(tmp_path.iterdir()) == []
