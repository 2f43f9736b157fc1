"""Seals that say: this was made on this machine, by this user.

A seal is an HMAC-SHA256 with a random key in the user's state folder, which nobody else may read. Galleries and
exported models carry their seals along. Anyone can copy a seal, but only this machine can make one for other
content, and only this machine can check one: elsewhere, and after the key is lost, what is sealed counts as foreign.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from gallery_db.address import state_dir
from gallery_db.logs import get_logger
from gallery_db.regular_files import open_regular

__all__ = ["is_sealed_here", "key_path", "seal"]

_log = get_logger("machine_key")
_KEY_BYTES = 32


def key_path() -> Path:
    """Return the path of the key, in the state folder."""
    return state_dir() / "machine-key"


def seal(purpose: str, content: str) -> str | None:
    """Return the seal of a text, 64 hex digits; the key is made if there is none yet.

    Args:
        purpose: What the seal is for; a seal for one purpose is none for another.
        content: What is sealed.

    Returns:
        None if the state folder cannot be written.
    """
    key = _read_key() or _make_key()
    return None if key is None else _seal(key, purpose, content)


def is_sealed_here(purpose: str, content: str, found: object) -> bool:
    """Return whether a seal of a text was made with this machine's key."""
    key = _read_key() if isinstance(found, str) and found.isascii() else None
    return key is not None and hmac.compare_digest(_seal(key, purpose, content), str(found))


def _seal(key: bytes, purpose: str, content: str) -> str:
    return hmac.new(key, f"{purpose}\0{content}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _read_key() -> bytes | None:
    path = key_path()
    try:
        with open_regular(path) as stream:
            status = os.fstat(stream.fileno())
            if os.name == "posix" and (status.st_mode & 0o077 or status.st_uid not in (0, os.geteuid())):
                _log.warning("%s is ignored: other users can read it, or it is not yours", path)
                return None
            key = stream.read(_KEY_BYTES + 1)
    except OSError:
        return None
    return key if len(key) == _KEY_BYTES else None


def _make_key() -> bytes | None:
    path = key_path()
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(secrets.token_bytes(_KEY_BYTES))
                stream.flush()
                os.fsync(stream.fileno())
            # A key that is there stays: another process may have made one in the meantime, and used it.
            with suppress(FileExistsError):
                os.link(beside, path)
        finally:
            beside.unlink()
    except OSError as error:
        _log.warning("%s cannot be written: %s", path, error.strerror or error)
    return _read_key()
