"""Names of identities: what a name may be, and the numbered names of unknown identities."""

from __future__ import annotations

import re
import unicodedata

from gallery_db.errors import GalleryError

__all__ = ["unknown_name", "unknown_number", "validate_identity_name"]


def validate_identity_name(name: str) -> str:
    """Return an identity's name without blanks around it.

    Raises:
        GalleryError: The name is empty, holds control characters, or is not valid Unicode text.
    """
    stripped = name.strip()
    if not stripped:
        raise GalleryError(
            "Expected an identity's name, found an empty one.", hint="Give a name with at least one letter or digit."
        )
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in stripped):
        raise GalleryError(
            f"{name!r} cannot be an identity's name: it holds control characters.",
            hint="Use letters, digits, blanks and signs.",
        )
    return stripped


def unknown_name(number: int) -> str:
    """Return the name of an unknown identity, such as ``unknown-0007``."""
    return f"unknown-{number:04d}"


def unknown_number(name: str) -> int | None:
    """Return the number in the name of an unknown identity; None for any other name."""
    found = re.fullmatch(r"unknown-(\d{4,})", name)
    return None if found is None else int(found[1])
