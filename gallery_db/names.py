"""Names of identities: what a name may be, and the numbered names of unknown identities.

Every door to a gallery asks `validate_identity_name`: folders of images, Parquet files, the Python API, enrolment,
corrections, and the names in ``tracked.json`` and in ground truth. A gallery that was filled before a rule existed
keeps its names; they can be listed, and renamed to valid ones.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from gallery_db.errors import GalleryError
from gallery_db.visible_text import shorten

__all__ = ["MAX_NAME_BYTES", "name_problem", "normal_name", "unknown_name", "unknown_number", "validate_identity_name"]

MAX_NAME_BYTES = 255
"""Bytes of a name in UTF-8 at most: no more fit in a folder's name."""

_HINT = "Use letters, digits, blanks and signs."
_JOINERS = "\u200c\u200d"
# Characters without width of their own that Unicode does not class as format characters.
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffe\uffff")


def validate_identity_name(name: str) -> str:
    """Return an identity's name in Unicode's form NFC, without blanks around it.

    Raises:
        GalleryError: The name is empty or longer than 255 bytes, holds control characters, format characters (such as
            those that turn the direction of writing) or invisible ones, or is not valid Unicode text.
    """
    found = name_problem(name)
    if found is None:
        return normal_name(name)
    if not name.strip():
        raise GalleryError(
            f"Expected an identity's name, {found}.", hint="Give a name with at least one letter or digit."
        )
    raise GalleryError(f"{shorten(repr(name), 60)} cannot be an identity's name: {found}.", hint=_HINT)


def normal_name(name: str) -> str:
    """Return a name in Unicode's form NFC, without blanks around it, so that names that look the same are the same."""
    return unicodedata.normalize("NFC", name.strip())


def name_problem(name: str) -> str | None:
    """Return why a text cannot be a name, such as ``"it holds the control character U+001B"``; None if it can."""
    # A long name is not looked at further, nor kept in the cache.
    if len(name) > 4 * MAX_NAME_BYTES:
        return f"it has {len(name)} characters; at most {MAX_NAME_BYTES} bytes are possible"
    return _problem(name)


@lru_cache(maxsize=4096)
def _problem(name: str) -> str | None:
    text = name.strip()
    if not text:
        return "found an empty one"
    for at, character in enumerate(text):
        category = unicodedata.category(character)
        if category == "Cs":
            return "it is not valid Unicode text"
        if category in {"Cc", "Zl", "Zp"}:
            return f"it holds the control character U+{ord(character):04X}"
        if category == "Cf" and not _joins(text, at):
            return f"it holds the format character U+{ord(character):04X}, which cannot be seen"
        if character in _BLANK_LETTERS or (_is_selector(character) and (at == 0 or text[at - 1].isascii())):
            return f"it holds the character U+{ord(character):04X}, which cannot be seen"
    size = len(normal_name(text).encode())
    return None if size <= MAX_NAME_BYTES else f"it has {size} bytes; at most {MAX_NAME_BYTES} are possible"


def _joins(text: str, at: int) -> bool:
    """Return whether a character joins its neighbours as a script or an emoji needs it, so that it shows."""
    if text[at] not in _JOINERS or not 0 < at < len(text) - 1:
        return False
    before, after = text[at - 1], text[at + 1]
    if unicodedata.combining(before) == 9:  # a virama, of the scripts of India
        return True
    if text[at] == "\u200c":
        return unicodedata.bidirectional(before) == unicodedata.bidirectional(after) == "AL"
    return unicodedata.category(after) == "So" and (
        unicodedata.category(before) in {"So", "Sk"} or _is_selector(before)
    )


def _is_selector(character: str) -> bool:
    """Return whether a character selects a variant of the one before it."""
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


def unknown_name(number: int) -> str:
    """Return the name of an unknown identity, such as ``unknown-0007``."""
    return f"unknown-{number:04d}"


def unknown_number(name: str) -> int | None:
    """Return the number in the name of an unknown identity; None for any other name."""
    found = re.fullmatch(r"unknown-(\d{4,})", name)
    return None if found is None else int(found[1])
