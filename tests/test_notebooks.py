"""The notebooks use only the public API, and run from top to bottom on data that they draw."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parent.parent
_NOTEBOOKS = sorted((_ROOT / "notebooks").glob("*.ipynb"))
_OURS = ("gallery_db", "tracking", "cli")
_LARGEST = 400 * 1024
# In its own process: Jupyter's libraries warn of deprecations that are not ours, and warnings are errors here.
_RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": sys.argv[2]}})
try:
    client.execute()
finally:
    nbformat.write(notebook, sys.argv[3])
"""


def cells_of(path: Path, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def sources_of(path: Path, kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in cells_of(path, kind)]


def not_public(source: str) -> Iterator[str]:
    """Yield the names that a cell takes from gtrack's packages and that are not in their ``__all__``."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            # `import tracking` would hide the names that are used from this check.
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in _OURS)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in _OURS:
            public = importlib.import_module(node.module).__all__ if node.module in ("gallery_db", "tracking") else ()
            yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name not in public)
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
            yield node.attr
        elif isinstance(node, ast.Name) and node.id in ("__import__", "import_module"):
            yield node.id


def images_of(path: Path) -> int:
    return sum(
        any(kind.startswith("image/") for kind in output.get("data", {}))
        for cell in cells_of(path, "code")
        for output in cell["outputs"]
    )


def test_all_notebooks_exist_and_are_linked() -> None:
    expected = {"quick_start", "similarity_search", "two_cameras", "review_and_correct", "deepstream_gallery"}
    assert expected <= {path.stem for path in _NOTEBOOKS}
    readme = (_ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"notebooks/{path.name}" in readme for path in _NOTEBOOKS)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from gallery_db import Gallery\nfrom tracking import track_video", []),
        ("from gallery_db import no_such_name", ["gallery_db.no_such_name"]),
        ("from tracking.synthetic.rendering import render_scene", ["tracking.synthetic.rendering.render_scene"]),
        ("import tracking.pipeline", ["tracking.pipeline"]),
        ("gallery._record.path", ["_record"]),
        ("import_module('tracking.pipeline')", ["import_module"]),
    ],
)
def test_the_check_finds_private_names(source: str, found: list[str]) -> None:
    assert list(not_public(source)) == found


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda p: p.stem)
def test_only_the_public_api_is_used(path: Path) -> None:
    found = [name for source in sources_of(path, "code") for name in not_public(source)]
    assert not found


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda p: p.stem)
def test_stored_outputs_are_of_one_clean_run(path: Path) -> None:
    """The outputs that a reader on the web sees: pictures, no error, no path of the machine, and small files."""
    cells = cells_of(path, "code")
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert images_of(path) >= 3
    assert path.stat().st_size <= _LARGEST
    assert str(Path.home()) not in json.dumps(outputs)


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda p: p.stem)
def test_links_have_existing_targets(path: Path) -> None:
    for text in sources_of(path, "markdown"):
        for target in (part.split(")")[0] for part in text.split("](")[1:]):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbclient", reason="pip install '.[test]' has nbclient")
    (tmp_path / "tmp").mkdir()
    done = tmp_path / path.name
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        "TMPDIR": str(tmp_path / "tmp"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
    }
    result = subprocess.run(
        [sys.executable, "-c", _RUN, str(path), str(tmp_path), str(done)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert images_of(done) == images_of(path)
    # A notebook writes only into temporary folders, wherever it runs.
    assert {p.name for p in tmp_path.iterdir()} <= {"tmp", "ipython", "runtime", path.name}
