"""Fonts for names in any script, as far as this machine has them."""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["drawable"]

_FILES = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial.ttf",
    "arial.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "msyh.ttc",
    "malgun.ttf",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansThai-Regular.ttf",
)
"""Fonts of Linux, Windows and macOS that Pillow looks for in the folders of the system."""
_NO_CHARACTER = "\U0010ffff"


def drawable(text: str, size: int) -> tuple[Any, str]:
    """Return a font for a text, and the text as this font can draw it.

    Pillow's own font has ASCII and little more. For other texts, the first font of the system that has all of their
    characters is taken. Where none has them, the one that has most; letters that it lacks lose their accents.

    Args:
        text: Any text.
        size: Size of the font in pixels.

    Returns:
        A font of Pillow, and the text.
    """
    characters = frozenset(text) if not text.isascii() else frozenset()
    font, missing = _best_font(characters, size)
    return font, "".join(_plain(c) if c in missing else c for c in text)


@lru_cache(maxsize=1024)
def _best_font(characters: frozenset[str], size: int) -> tuple[Any, frozenset[str]]:
    best: tuple[Any, frozenset[str]] | None = None
    for font in _fonts(size):
        missing = frozenset(c for c in characters if not c.isascii() and not _has(font, c))
        if best is None or len(missing) < len(best[1]):
            best = font, missing
        if not missing:
            break
    assert best is not None
    return best


def _fonts(size: int) -> Iterator[Any]:
    """Yield the fonts in the order in which they are tried, Pillow's own first."""
    for number in range(len(_paths()) + 1):
        font = _font(number, size)
        if font is not None:
            yield font


@lru_cache(maxsize=1)
def _paths() -> tuple[str, ...]:
    matplotlib = importlib.util.find_spec("matplotlib")  # not imported: it has DejaVu Sans as a file
    folders = matplotlib.submodule_search_locations if matplotlib is not None else None
    with_it = [str(Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf") for folder in folders or ()]
    return (*with_it, *_FILES)


@lru_cache(maxsize=256)
def _font(number: int, size: int) -> Any:
    from PIL import ImageFont

    if number == 0:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(_paths()[number - 1], size)
    except OSError:
        return None


def _has(font: Any, character: str) -> bool:
    """Return whether a font has a character, and not only the sign for none."""
    if unicodedata.category(character) in ("Cf", "Zs"):
        return True
    mask, none = font.getmask(character), font.getmask(_NO_CHARACTER)
    return bool(mask.size != none.size or bytes(mask) != bytes(none))


def _plain(character: str) -> str:
    """Return a letter without its accents; a character of another kind stays."""
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain or character
