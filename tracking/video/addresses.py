"""Names of video sources: which source is a stream, and how it is shown without its secrets."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from gallery_db.masking import mask_address

__all__ = ["is_stream", "public_name", "scheme_of", "short_name"]

_STREAM_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "udp", "tcp", "http", "https"})


def is_stream(source: str | Path) -> bool:
    """Whether a source is a camera's index or the address of a stream. A file named like an index is a file."""
    text = str(source)
    if not (text.isdecimal() or scheme_of(text) in _STREAM_SCHEMES):
        return False
    return not (text.isdecimal() and Path(text).exists())


def scheme_of(text: str) -> str:
    """Return the scheme of an address in lower case; an empty string for a path."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    return match[1].lower() if match else ""


def public_name(source: str | Path) -> str:
    """Return a source's name without user, password and query, which can be secrets: safe to show and to store."""
    text = str(source)
    return f"camera {text}" if text.isdecimal() and is_stream(text) else mask_address(text)


def short_name(source: str | Path) -> str:
    """Return a plain name: of a live source such as ``camera-0`` or ``10-0-0-5-stream1``, of a file its file name."""
    text = str(source)
    if not is_stream(text):
        return Path(text).name
    if text.isdecimal():
        return f"camera-{text}"
    parts = urlsplit(public_name(text))
    return re.sub(r"[^A-Za-z0-9_]+", "-", f"{parts.hostname or ''}{parts.path}").strip("-")[:60] or "stream"
