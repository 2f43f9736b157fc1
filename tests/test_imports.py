"""The import rules: arrows point one way, moving libraries stay behind one module, imports stay cheap."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("gallery_db", "tracking", "cli")
_MAY_IMPORT = {
    "gallery_db": {"gallery_db"},
    "tracking": {"tracking", "gallery_db"},
    "cli": {"cli", "tracking", "gallery_db"},
}
_MODULES = sorted(path for package in _PACKAGES for path in (_ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", getattr(node.func, "attr", "")) == "import_module"
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value)


@pytest.mark.parametrize("path", _MODULES, ids=lambda p: str(p.relative_to(_ROOT)))
def test_arrows_point_one_way(path: Path) -> None:
    package = path.relative_to(_ROOT).parts[0]
    ours = {name.split(".")[0] for name in imported(path)} & set(_PACKAGES)
    assert ours <= _MAY_IMPORT[package]


@pytest.mark.parametrize("library", ["chromadb", "boxmot", "trackeval"])
def test_moving_libraries_stay_behind_one_module(library: str) -> None:
    users = [p for p in _MODULES if any(name.split(".")[0] == library for name in imported(p))]
    assert len(users) == 1, [str(p) for p in users]


def test_no_import_cycles_at_module_level() -> None:
    """Every module can be the first one that a process imports."""
    names = [str(p.relative_to(_ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__") for p in _MODULES]
    script = "\n".join(
        [
            "import importlib, sys",
            f"for name in {names!r}:",
            f"    for loaded in [m for m in sys.modules if m.split('.')[0] in {_PACKAGES!r}]: del sys.modules[loaded]",
            "    importlib.import_module(name)",
        ]
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@pytest.mark.parametrize(
    "package",
    ["tracking", "gallery_db", "cli.main", "tracking.pipeline", "tracking.reid", "tracking.evaluation.tracks"],
)
def test_importing_is_cheap(package: str) -> None:
    heavy = (
        "torch",
        "chromadb",
        "boxmot",
        "onnxruntime",
        "cv2",
        "scipy",
        "PIL",
        "openvino",
        "pyarrow",
        "trackeval",
        "matplotlib",
    )
    script = f"import sys, {package}; print(sorted(m for m in {heavy!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["tracking", "gallery_db", "tracking.reid", "tracking.evaluation"])
def test_public_names_resolve(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(set(module.__all__)), "no name twice"
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError):
        _ = module.no_such_name
