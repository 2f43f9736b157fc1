"""Options of the outputs, and their checks before anything is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from tracking.errors import DisplayError, OptionError
from tracking.outputs.display import Display
from tracking.outputs.options import OutputOptions


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"run_name": "../x"}, "run_name", id="run name leaves the root"),
        pytest.param({"run_name": "a/b"}, "run_name", id="run name with a folder"),
        pytest.param({"run_name": ".."}, "run_name", id="run name is the parent"),
        pytest.param({"run_name": ""}, "run_name", id="empty run name"),
        pytest.param({"save_video": "/tmp/x.mp4"}, "save_video", id="absolute video"),
        pytest.param({"save_video": "a\\b.mp4"}, "save_video", id="video with a backslash"),
        pytest.param({"save_video": "video"}, "suffix", id="video without a suffix"),
        pytest.param({"fourcc": "mp4"}, "fourcc", id="three characters"),
        pytest.param({"save_fps": 0.0}, "save_fps", id="no frames per second"),
    ],
)
def test_rejects_invalid_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        OutputOptions(**options).validate()


def test_rejects_display_without_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(DisplayError, match="needs a screen"):
        OutputOptions(display=True).validate()
    with pytest.raises(DisplayError):
        Display("clip")
