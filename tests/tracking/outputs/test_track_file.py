"""The track-v1 file, frame by frame."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tracking.outputs.track_file import TrackFile


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_track_file(tmp_path: Path, saved: bool, count: int) -> None:
    path = tmp_path / "tracked.json" if saved else None
    file = TrackFile({"schema_version": "track-v1", "tracker": {"name": "x"}}, path)
    for frame in range(count):
        file.write({"frame": frame, "detections": []})
        assert path is None or not path.exists(), "not under its name before it is complete"
    file.close()
    expected = {
        "schema_version": "track-v1",
        "tracker": {"name": "x"},
        "frames": [{"frame": f, "detections": []} for f in range(count)],
    }
    assert file.payload == expected
    if path is not None:
        assert json.loads(path.read_text()) == expected
        assert [p.name for p in tmp_path.iterdir()] == ["tracked.json"]
