"""The import rules that import-linter cannot state; `lint-imports` checks the layers and finds circles.

It does not see what `import_module` loads, it takes an import of a package's public names for one of the package
itself, and it knows nothing of what an import costs.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT

_PACKAGES = ("gallery_db", "tracking", "cli")
_ALLOWED = {
    "gallery_db": {"gallery_db"},
    "tracking": {"tracking", "gallery_db"},
    "cli": {"cli", "tracking", "gallery_db"},
}
_MODULES = sorted(path for package in _PACKAGES for path in (ROOT / package).rglob("*.py"))
# The entry point of the command starts `cli` after it has checked the installation.
_ENTRY_POINT = ROOT / "gallery_db" / "launch.py"


def loaded_by_name(path: Path) -> Iterator[str]:
    """Yield the modules that a file loads with `import_module`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", getattr(node.func, "attr", "")) == "import_module"
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value)


@pytest.mark.parametrize(
    "path", [path for path in _MODULES if path != _ENTRY_POINT], ids=lambda p: str(p.relative_to(ROOT))
)
def test_modules_loaded_by_name_obey_the_layers(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[0] for name in loaded_by_name(path)} & set(_PACKAGES)
    assert ours <= _ALLOWED[package]


@pytest.mark.parametrize("library", ["chromadb", "boxmot", "trackeval"])
def test_moving_libraries_are_loaded_by_name_in_one_module_at_most(library: str) -> None:
    users = [p for p in _MODULES if any(name.split(".")[0] == library for name in loaded_by_name(p))]
    assert len(users) <= 1, [str(p) for p in users]


@pytest.mark.parametrize("path", _MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_package_imports_its_own_public_names(path: Path) -> None:
    """A package's `__init__` lists what others may use; inside, the module of a name is imported."""
    own = {".".join(parent.relative_to(ROOT).parts) for parent in path.parents if (parent / "__init__.pyi").exists()}
    imported = {
        node.module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    assert not own & imported


def test_every_module_can_be_imported_first() -> None:
    names = [str(p.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__") for p in _MODULES]
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
        "pandas",
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
