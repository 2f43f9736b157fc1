"""The folder of annotated frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tracking.outputs.frame_folder import FrameFolder

IMAGE = np.full((48, 64, 3), 90, np.uint8)


def test_a_frame_folder_replaces_stale_frames(tmp_path: Path) -> None:
    for count in (3, 1):
        folder = FrameFolder(tmp_path / "frames")
        for frame in range(count):
            folder.write(frame, IMAGE)
        folder.close()
    assert sorted(p.name for p in tmp_path.rglob("*.jpg")) == ["000000.jpg"]
    assert [p.name for p in tmp_path.iterdir()] == ["frames"]
