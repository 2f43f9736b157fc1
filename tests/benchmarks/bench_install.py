"""Measure what an installation of gtrack brings: packages and MB of each direct dependency.

``python tests/benchmarks/bench_install.py``

In an environment where only gtrack is installed (``pip install . packaging``). "All it needs" counts a package for each
dependency that needs it; "only through it" are the packages that would not be there without it.
"""

from __future__ import annotations

import argparse
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Wanted = tuple[str, tuple[str, ...]]
"""A package and its extras."""


def megabytes(package: Distribution) -> float:
    """Return the size of a package's files."""
    paths = [Path(str(package.locate_file(file))) for file in package.files or ()]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


class Installation:
    """The packages of this environment, and what they need."""

    def __init__(self) -> None:
        self.packages = {canonicalize_name(one.metadata["Name"]): one for one in distributions()}
        self.sizes = {name: megabytes(package) for name, package in self.packages.items()}

    def needed(self, name: str, extras: tuple[str, ...] = ()) -> set[Wanted]:
        """Return what a package needs itself, as far as it is installed."""
        found: set[Wanted] = set()
        for text in self.packages[name].requires or ():
            one = Requirement(text)
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                found.add((canonicalize_name(one.name), tuple(sorted(one.extras))))
        return {one for one in found if one[0] in self.packages}

    def all_needed(self, roots: set[Wanted]) -> set[str]:
        """Return the packages, with all that they need."""
        seen: set[Wanted] = set()
        todo = list(roots)
        while todo:
            one = todo.pop()
            if one not in seen:
                seen.add(one)
                todo += self.needed(*one)
        return {name for name, _ in seen}

    def size(self, names: set[str]) -> float:
        """Return the MB of packages."""
        return sum(self.sizes[name] for name in names)


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    here = Installation()
    direct = here.needed("gtrack-reid")
    everything = here.all_needed(direct)
    print(f"{len(everything)} packages, {here.size(everything):.0f} MB, beside gtrack and pip")
    print(f"{'':16} {'itself':>10} {'all it needs':>22} {'only through it':>22}   the largest of these")
    for root in sorted(direct, key=lambda one: -here.size(here.all_needed({one}))):
        name = root[0]
        mine = here.all_needed({root})
        only = mine - here.all_needed(direct - {root})
        largest = ", ".join(sorted(only - {name}, key=lambda one: -here.sizes[one])[:4])
        print(
            f"{name:16} {here.sizes[name]:7.1f} MB {len(mine):4} packages {here.size(mine):5.0f} MB "
            f"{len(only):4} packages {here.size(only):5.0f} MB   {largest}"
        )


if __name__ == "__main__":
    main()
