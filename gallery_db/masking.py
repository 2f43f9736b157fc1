"""Hide passwords of addresses in everything that is shown, logged or stored.

A stream's address holds its password, and often a key in its query: ``rtsp://user:password@10.0.0.5/main?token=...``.
Every error of gtrack, every message of the command line and the note in a gallery's lock pass through this module,
whatever the scheme of the address is.
"""

from __future__ import annotations

import re

__all__ = ["mask_address", "mask_addresses"]

# A single slash: pathlib makes one of two. Two letters at least, because C:/ is the start of a path.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,2}")
_ADDRESS = re.compile(_SCHEME.pattern + r"\S+")
# What ends a sentence or a quotation around an address is not part of it.
_END = re.compile(r"[.,;:!)\]}'\"`]*$")


def mask_address(address: str) -> str:
    """Return an address without user, password and query. Other text is returned as it is."""
    scheme = _SCHEME.match(address)
    if scheme is None:
        return address
    location, question_mark, query = address[scheme.end() :].partition("?")
    # A password may contain an @, / or ? that is not escaped: what may be a part of a password is hidden as well.
    if "@" in location:
        location = f"***@{location.rpartition('@')[2]}"
    elif "@" in query and "/" not in location:
        location = "***@"
    return f"{scheme[0]}{location}{question_mark}{'...' if query else ''}"


def mask_addresses(text: str) -> str:
    """Return a text in which every address is masked as by `mask_address`."""

    def masked(match: re.Match[str]) -> str:
        end = _END.search(match[0])
        assert end is not None  # it matches an empty end, too
        return mask_address(match[0][: end.start()]) + end[0]

    return _ADDRESS.sub(masked, text) if ":/" in text else text
