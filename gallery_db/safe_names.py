"""Names of files and folders, made of names that people gave."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

__all__ = ["UniqueNames", "safe_name"]

# Names that Windows reserves for devices.
_RESERVED_NAMES = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{n}" for n in range(1, 10)), *(f"lpt{n}" for n in range(1, 10))]
)
_MAX_NAME_BYTES = 120  # file systems take 255; the rest is for a number and a suffix


@dataclass(slots=True)
class UniqueNames:
    """Gives each key a name of its own; names that differ only in case count as the same."""

    _names: dict[str, str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _next: dict[tuple[str, str], int] = field(default_factory=dict)

    def name_for(self, key: str, wanted: str, suffix: str = "") -> str:
        """Return the name of a key: at first `wanted` with the suffix, with a number if that is taken."""
        if key in self._names:
            return self._names[key]
        # Numbers below the last one are taken: many names alike would else be tried from the first on, each time.
        name, number = wanted + suffix, self._next.get((wanted, suffix), 2)
        while _folded(name) in self._taken:
            name, number = f"{wanted}-{number}{suffix}", number + 1
        self._next[wanted, suffix] = number
        self._taken.add(_folded(name))
        self._names[key] = name
        return name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def safe_name(text: str) -> str:
    """Return a name for a file or folder that is valid on any system, leads nowhere else, and is not hidden."""
    name = "".join("_" if c in '<>:"/\\|?*' or not c.isprintable() else c for c in text).strip()
    name = name.rstrip(". ")
    if name.startswith("."):
        name = "_" + name[1:]
    if name.partition(".")[0].lower() in _RESERVED_NAMES:
        name = f"_{name}"
    data = name.encode("utf-8", "replace")
    if len(data) > _MAX_NAME_BYTES:
        name = data[:_MAX_NAME_BYTES].decode("utf-8", "ignore").rstrip(". ")
    return name or "_"
