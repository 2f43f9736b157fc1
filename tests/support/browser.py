"""Open a page in a headless Chromium, where one is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["browse", "needs_chromium"]

_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needs_chromium = pytest.mark.skipif(_CHROMIUM is None, reason="no Chromium is installed")


def browse(page: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Open a page with further arguments of Chromium; its log is in the standard error."""
    assert _CHROMIUM is not None
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    return subprocess.run(
        [_CHROMIUM, *arguments, profile, *words, page.as_uri()], capture_output=True, text=True, timeout=90, check=True
    )
