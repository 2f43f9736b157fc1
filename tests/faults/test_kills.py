"""A few kills at random system calls; `kills.py` does as many as one likes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks and kills")
def test_a_few_kills() -> None:
    words = ["--kills", "4", "--seed", "3", "--only", "import replace", "snapshot", "export"]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("kills.py")), *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kills, 0 wrong" in done.stdout
