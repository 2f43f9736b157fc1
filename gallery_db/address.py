"""Locations of galleries: a folder, the address of a gallery served over HTTP, or one in Chroma Cloud."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from gallery_db.errors import GalleryError

__all__ = ["Address", "is_address", "location_of", "parse_address", "state_dir"]

_SCHEMES = re.compile(r"(https?:/|cloud:)", re.IGNORECASE)
DEFAULT_PORT = 8000
"""The port that Chroma uses by default."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a served gallery.

    Attributes:
        host: Name or IP address of the server; empty for Chroma Cloud.
        port: Its port.
        secure: Whether the connection uses TLS.
        collection: The collection; None for the collection of the model, or the oldest.
    """

    host: str
    port: int
    secure: bool = False
    collection: str | None = None

    @property
    def is_cloud(self) -> bool:
        """Whether it is in Chroma Cloud; ``CHROMA_API_KEY``, ``CHROMA_TENANT`` and ``CHROMA_DATABASE`` say where."""
        return not self.host

    @property
    def server(self) -> str:
        """The address of the server, without a collection."""
        if self.is_cloud:
            return "cloud:"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}"

    def of(self, collection: str | None) -> Address:
        """Return the address of a collection at the same server; None for no collection."""
        return replace(self, collection=collection)

    def __str__(self) -> str:
        if self.collection is None:
            return self.server
        return f"{self.server}{'' if self.is_cloud else '/'}{self.collection}"


def is_address(path: str | os.PathLike[str]) -> bool:
    """Return whether a location is an address, valid or not, and no path of a folder."""
    return _SCHEMES.match(str(path)) is not None


def parse_address(path: str | os.PathLike[str]) -> Address | None:
    """Return the address of ``http://host:port[/collection]`` or ``cloud:[collection]``; None for a folder's path.

    Raises:
        GalleryError: It looks like an address and is not valid.
    """
    text = str(path)
    if not is_address(text):
        return None
    if text.lower().startswith("cloud:"):
        return Address("", 443, True, text[6:].strip("/") or None)
    text = re.sub(r"^(https?):/+", r"\1://", text, flags=re.IGNORECASE)  # pathlib makes one slash of two
    wrong = GalleryError(
        f"{text!r} is not a valid address of a gallery.",
        hint="Expected http://HOST:PORT or http://HOST:PORT/COLLECTION, such as http://127.0.0.1:8000.",
    )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise wrong from None
    path_ = parts.path.strip("/")
    if not parts.hostname or "/" in path_ or parts.query or parts.fragment or parts.username:
        raise wrong
    secure = parts.scheme.lower() == "https"
    return Address(parts.hostname, port or (443 if secure else DEFAULT_PORT), secure, path_ or None)


def location_of(path: str | os.PathLike[str]) -> Path | str:
    """Return a location as the functions of this package expect it: a folder's path, or an address as text."""
    address = parse_address(path)
    return Path(path) if address is None else str(address)


def state_dir() -> Path:
    """Return the folder of what must last: replicas of served galleries, which hold changes that no server has yet, and
    the list of trusted weights.

    It is the environment variable ``GTRACK_STATE_DIR``, else the system's folder for the state of the user's programs;
    a cache folder may be emptied at any time.
    """
    explicit = os.environ.get("GTRACK_STATE_DIR")
    if explicit:
        return Path(explicit).expanduser()
    from platformdirs import user_state_dir

    return Path(user_state_dir("gtrack", appauthor=False))
