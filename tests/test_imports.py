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


def test_modules_loaded_by_name_obey_the_layers() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} loads {name}"
        for path in _MODULES
        if path != _ENTRY_POINT
        for name in loaded_by_name(path)
        if name.split(".")[0] in set(_PACKAGES) - _ALLOWED[path.relative_to(ROOT).parts[0]]
    ]
    assert wrong == []


def imported_by(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, by a statement or by name, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
    yield from loaded_by_name(path)


@pytest.mark.parametrize("library", ["chromadb", "boxmot", "trackeval", "trackers"])
def test_chromadb_boxmot_and_trackeval_are_imported_by_one_module_each(library: str) -> None:
    users = [p for p in _MODULES if any(name.split(".")[0] == library for name in imported_by(p))]
    assert len(users) == 1, [str(p) for p in users]


def test_no_package_imports_its_own_public_names() -> None:
    """A package's `__init__` lists what others may use; inside, the module of a name is imported."""
    wrong = []
    for path in _MODULES:
        own = {
            ".".join(parent.relative_to(ROOT).parts) for parent in path.parents if (parent / "__init__.pyi").exists()
        }
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in own:
                wrong.append(f"{path.relative_to(ROOT)} imports from {node.module}")
    assert wrong == []


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
        "av",
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
