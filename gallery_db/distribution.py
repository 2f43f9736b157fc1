"""The installed distribution: its version, and whether all of its packages are its own.

The packages are called `gallery_db`, `tracking` and `cli`. The last two are common names: another project in the same
environment may have a package of the same name, and then half of each would run.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gallery_db.errors import GtrackError, MissingPackageError

__all__ = ["DISTRIBUTION", "check_packages", "gtrack_version", "require_package"]

# The name `gtrack` on the Python package index belongs to another project.
DISTRIBUTION = "gtrack-reid"

_PACKAGES = ("gallery_db", "tracking", "cli")
_MARK = "# gtrack-reid: "


def gtrack_version() -> str:
    """Return the installed version of gtrack; ``"unknown"`` where its source runs without being installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def require_package(package: str, extra: str, purpose: str) -> None:
    """Check that an optional package can be imported, before any work that needs it.

    Args:
        package: The name it is imported by.
        extra: The extra of this distribution that installs it.
        purpose: What it is needed for, the beginning of a sentence, such as ``"A plot"``.

    Raises:
        MissingPackageError: It is not installed.
    """
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        if error.name not in (None, package):
            raise  # the package is there, and lacks something itself
        raise MissingPackageError(
            f"{purpose} needs the package {package}, which is not installed.",
            hint=f"Run: pip install '{DISTRIBUTION}[{extra}]'",
        ) from error


def check_packages() -> None:
    """Check that Python finds all packages of gtrack beside this one, and none of another project.

    Raises:
        GtrackError: A package of the same name comes first on Python's path, or has overwritten gtrack's.
    """
    home = Path(__file__).resolve().parent.parent
    for name in _PACKAGES:
        # Of the three, only packages that are not loaded yet are looked for: a loaded one says where it is.
        loaded = sys.modules.get(name)
        spec = getattr(loaded, "__spec__", None) or PathFinder.find_spec(name)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        expected = home / name / "__init__.py"
        if found != expected:
            where = found.parent if found is not None else "no package (a folder without __init__.py)"
            raise GtrackError(
                f"Python finds another package named {name!r} before gtrack's: {where}; expected {expected.parent}.",
                hint=_HERE_HINT if where == Path.cwd() / name else _HINT,
            )
        if _MARK not in expected.read_text(encoding="utf-8"):
            raise GtrackError(
                f"The package {name!r} at {expected.parent} was overwritten by another distribution.", hint=_HINT
            )


_HERE_HINT = (
    "`gtrack` does not look for packages in the working folder, where this one is. With `python -m cli`, set "
    "PYTHONSAFEPATH=1 (Python 3.11 or newer), or start it from another folder."
)
_HINT = (
    f"Install gtrack in an environment of its own: `uv tool install {DISTRIBUTION}` or `pipx install {DISTRIBUTION}`; "
    "or leave the folder, or the entry of PYTHONPATH, that holds the other package."
)
