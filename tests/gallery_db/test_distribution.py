"""The entry point notices packages of other projects that hide gtrack's, or have overwritten them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

from gallery_db.distribution import DISTRIBUTION

LAUNCH = "from gallery_db.launch import main; main()"


def launch(*path: Path) -> subprocess.CompletedProcess[str]:
    """Run `gtrack --version` with these folders first on Python's path, in the first of them."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(
        [sys.executable, "-c", LAUNCH, "--version"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=path[0],
        timeout=60,
    )


def test_its_own_packages_are_accepted() -> None:
    done = launch(ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("gtrack ")


@pytest.mark.parametrize("name", ["cli", "tracking"])
def test_a_foreign_package_that_comes_first_is_named(tmp_path: Path, name: str) -> None:
    foreign = tmp_path / name
    foreign.mkdir()
    (foreign / "__init__.py").write_text("raise SystemExit('the foreign package was run')")
    done = launch(tmp_path, ROOT)
    assert done.returncode == 1
    assert re.search(rf"another package named '{name}' before gtrack's: \S*{name}; expected ", done.stderr)
    assert str(foreign) in done.stderr
    assert f"uv tool install {DISTRIBUTION}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["cli", "tracking"])
def test_an_overwritten_package_is_named(tmp_path: Path, name: str) -> None:
    for package in ("gallery_db", "tracking", "cli"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / name / "__init__.py").write_text("raise SystemExit('the foreign package was run')")
    done = launch(tmp_path)
    assert done.returncode == 1
    assert f"'{name}' at {tmp_path / name} was overwritten by another distribution" in done.stderr
    assert "Traceback" not in done.stderr
