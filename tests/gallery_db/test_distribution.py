"""The entry point notices packages of other projects that hide gtrack's, or have overwritten them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import ROOT
from support.gallery import model_named, unit_vectors

from gallery_db import (
    Entry,
    Gallery,
    MissingPackageError,
    calibrate_gallery,
    export_parquet,
    import_parquet,
    plot_calibrations,
)
from gallery_db.distribution import DISTRIBUTION, require_package

LAUNCH = "from gallery_db.launch import main; main()"
BLAS = "OPENBLAS_NUM_THREADS"


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
def test_reports_a_foreign_package_that_comes_first(tmp_path: Path, name: str) -> None:
    foreign = tmp_path / name
    foreign.mkdir()
    (foreign / "__init__.py").write_text("raise SystemExit('the foreign package was run')")
    done = launch(tmp_path, ROOT)
    assert done.returncode == 1
    assert re.search(rf"another package named '{name}' before gtrack's: \S*{name}; expected ", done.stderr)
    assert str(foreign) in done.stderr
    assert "PYTHONSAFEPATH=1" in done.stderr
    assert "Traceback" not in done.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert f"uv tool install {DISTRIBUTION}" in launch(elsewhere, tmp_path, ROOT).stderr


def as_module(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd=folder,
        timeout=60,
    )


def test_python_m_cli_is_gtrack(tmp_path: Path) -> None:
    done = as_module(tmp_path, "--help")
    assert "Usage: gtrack " in done.stdout
    done = as_module(tmp_path, "gallery", "list")
    assert (done.returncode, "Usage: gtrack gallery list" in done.stderr) == (2, True)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH is of Python 3.11")
def test_the_way_around_a_package_in_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "tracking").mkdir()
    (tmp_path / "tracking" / "__init__.py").touch()
    assert "PYTHONSAFEPATH=1" in as_module(tmp_path, "list", "trackers").stderr
    done = as_module(tmp_path, "list", "trackers", PYTHONSAFEPATH="1")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["cli", "tracking"])
def test_reports_an_overwritten_package(tmp_path: Path, name: str) -> None:
    for package in ("gallery_db", "tracking", "cli"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / name / "__init__.py").write_text("raise SystemExit('the foreign package was run')")
    done = launch(tmp_path)
    assert done.returncode == 1
    assert f"'{name}' at {tmp_path / name} was overwritten by another distribution" in done.stderr
    assert "Traceback" not in done.stderr


def test_reports_a_missing_optional_package(monkeypatch: pytest.MonkeyPatch) -> None:
    require_package("numpy", "none", "An array")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match="A Parquet file needs the package pyarrow, which is not") as caught:
        require_package("pyarrow", "parquet", "A Parquet file")
    assert caught.value.hint == f"Run: pip install '{DISTRIBUTION}[parquet]'"


def test_a_package_with_a_missing_dependency_is_not_reported_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        require_package("half_installed", "parquet", "A test")


@pytest.mark.parametrize(
    ("package", "extra", "work"),
    [
        pytest.param(
            "pyarrow", "parquet", lambda gallery, folder: export_parquet(gallery, folder / "g.parquet"), id="export"
        ),
        pytest.param(
            "pyarrow", "parquet", lambda _, folder: import_parquet(folder / "h", folder / "g.parquet"), id="import"
        ),
        pytest.param("matplotlib", "plots", lambda gallery, folder: plot_of(gallery, folder / "g.png"), id="plot"),
    ],
)
def test_each_use_of_a_missing_extra_is_reported_and_leaves_no_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    extra: str,
    work: Callable[[Gallery, Path], object],
) -> None:
    with Gallery.create(tmp_path / "g", model_named()) as gallery:
        gallery.add([Entry(f"{name}{n}", name) for name in "abcd" for n in range(4)], unit_vectors(16))
        folder = tmp_path / "out"
        folder.mkdir()
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingPackageError, match=package) as caught:
            work(gallery, folder)
    assert str(caught.value.hint).endswith(f"[{extra}]'")
    assert list(folder.iterdir()) == []


def plot_of(gallery: Gallery, path: Path) -> None:
    plot_calibrations(path, calibrate_gallery(gallery))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, "1", id="nothing set"),
        pytest.param({BLAS: "3"}, "3", id="set for numpy"),
        pytest.param({"OMP_NUM_THREADS": "2"}, None, id="set for all libraries"),
    ],
)
def test_the_command_lets_numpy_compute_in_one_thread(given: dict[str, str], expected: str | None) -> None:
    script = (
        "import os, sys, gallery_db.launch as launch\n"
        "launch.import_module = lambda name: print(os.environ.get('OPENBLAS_NUM_THREADS'), 'numpy' in sys.modules)\n"
        "try: launch.main()\n"
        "except AttributeError: pass"
    )
    environment = {k: v for k, v in os.environ.items() if k not in (BLAS, "OMP_NUM_THREADS")}
    environment |= {"PYTHONPATH": str(ROOT), **given}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(expected), "False"]
