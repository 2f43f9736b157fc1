"""Names that a user may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["close_names", "did_you_mean"]

_MAX_NAMES = 3
_MAX_LENGTH = 300
"""Characters of a name that are compared; the comparison of two long texts takes long."""


def close_names(name: str, known: Iterable[str]) -> list[str]:
    """Return the names that are most like a name, at most three, the nearest first, in upper or lower case."""
    by_folded: dict[str, str] = {}
    for one in known:
        by_folded.setdefault(one.casefold(), one)
    folded = name[:_MAX_LENGTH].casefold()
    begun = sorted(one for one in by_folded if len(folded) > 2 and one.startswith(folded))[:_MAX_NAMES]
    near = difflib.get_close_matches(folded, list(by_folded), n=_MAX_NAMES, cutoff=0.5 if len(folded) > 8 else 0.6)
    return [by_folded[one] for one in dict.fromkeys([*near, *begun])][:_MAX_NAMES]


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """Return ``"Did you mean 'alice' or 'alina'?"`` for a name that is not known.

    Args:
        name: What was given.
        known: The names that there are.
        otherwise: What to return where none of them is like it.
    """
    close = close_names(name, known)
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else otherwise
