"""Download one file: with progress, resumed, checked, and complete or not there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gallery_db.atomic_files import fsync_folder
from gallery_db.noted_lock import NotedLock
from gallery_db.regular_files import feed_digest
from tracking.errors import WeightsError, error_line
from tracking.models.catalogue import ModelFile

if TYPE_CHECKING:
    import httpx

__all__ = ["Progress", "digest_of", "fetch_file"]

Progress = Callable[[int, "int | None"], None]
"""Called while downloading, with the bytes received and the total (None if unknown)."""

_MAX_BYTES = 8 << 30
"""No model is larger; a server that sends more is not believed."""
_SECONDS = 30.0
_TRIES = 4
_LOCK_SECONDS = 3600.0


def digest_of(path: Path, algorithm: str) -> str:
    """Return the hash of a file, as hex digits.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.new(algorithm)
    feed_digest(digest, path)
    return digest.hexdigest()


def fetch_file(file: ModelFile, target: Path, *, progress: Progress | None = None, hint: str | None = None) -> str:
    """Download a file. It gets its name only when it is complete and its size and hash are right.

    What has arrived when a download ends early is kept beside `target`, if the hash is known, and the next download
    goes on from there.

    Args:
        file: What to download, and from where.
        target: The path to write.
        progress: See `Progress`.
        hint: What to do if it fails.

    Returns:
        The SHA-256, or the hash that the catalogue has.

    Raises:
        WeightsError: No address gave the file. The message has the reason for each.
    """
    part = target.with_name(f".{target.name}.download")
    lock = NotedLock(target.with_name(f".{target.name}.lock"), removed=True)
    failures = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not lock.acquire(_LOCK_SECONDS):
            raise WeightsError(f"{file.name}: {lock.describe_holder()} has been downloading it for an hour.", hint=hint)
        try:
            if target.is_file() and file.digest in (None, found := digest_of(target, file.algorithm)):
                return found  # another process has just downloaded it
            for address in file.addresses:
                try:
                    digest = _fetch(file, address, part, progress)
                except (OSError, ValueError) as error:
                    failures.append(f"{address}: {error_line(error)}")
                    continue
                part.replace(target)
                fsync_folder(target.parent)
                return digest
        finally:
            lock.release()
    except (OSError, NotImplementedError) as error:
        raise WeightsError(f"{target}: cannot be written: {error_line(error)}.", hint=hint) from error
    raise WeightsError(f"{file.name} cannot be downloaded. {'; '.join(failures)}.", hint=hint)


def _fetch(file: ModelFile, address: str, part: Path, progress: Progress | None) -> str:
    """Write the file at an address to `part`, and return its hash.

    Raises:
        OSError: The server cannot be reached or reports an error, or the file is not the right one.
        ValueError: The address is none.
    """
    if urlsplit(address).scheme not in ("http", "https"):
        raise ValueError("expected an http or https address")
    if file.digest is None:  # nothing says that what is there belongs to this file
        part.unlink(missing_ok=True)
    resumed = part.is_file() and part.stat().st_size > 0
    while True:
        _receive(file, address, part, progress)
        digest = digest_of(part, file.algorithm)
        if file.digest in (None, digest):
            with part.open("rb+") as stream:
                os.fsync(stream.fileno())
            return digest
        size = part.stat().st_size
        part.unlink()
        if not resumed:
            raise OSError(
                f"the file there is another one: expected {file.algorithm} {file.digest}, found {digest} "
                f"({size} bytes); it was not kept"
            )
        resumed = False  # what was there before was damaged: once more, whole


def _receive(file: ModelFile, address: str, part: Path, progress: Progress | None) -> None:
    """Fill `part`, going on after a broken connection as long as something arrives."""
    import httpx

    limits = httpx.Timeout(_SECONDS, connect=10.0)
    with httpx.Client(follow_redirects=True, timeout=limits, headers={"Accept-Encoding": "identity"}) as client:
        tag: str | None = None
        idle = 0
        while True:
            before = part.stat().st_size if part.is_file() else 0
            if file.size is not None and before == file.size:
                return
            if file.size is not None and before > file.size:
                part.unlink()
                before = 0
            headers = {"Range": f"bytes={before}-"} if before else {}
            if before and tag:
                headers["If-Range"] = tag
            try:
                with client.stream("GET", address, headers=headers) as response:
                    tag = response.headers.get("ETag", tag)
                    _write(response, part, before, file, progress, secure=address.startswith("https:"))
                return
            except httpx.HTTPStatusError as error:
                if error.response.status_code == 416 and before:  # longer than the server's file
                    part.unlink()
                    continue
                status = error.response
                raise OSError(f"the server answered {status.status_code} {status.reason_phrase}") from error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                arrived = (part.stat().st_size if part.is_file() else 0) - before
                idle = 0 if arrived > 0 else idle + 1
                unreachable = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL))
                if unreachable or idle >= _TRIES or (file.digest is None and not tag):
                    raise OSError(error_line(error)) from error


def _write(
    response: httpx.Response, part: Path, before: int, file: ModelFile, progress: Progress | None, *, secure: bool
) -> None:
    """Write one answer to `part`: behind what is there, if the server goes on from there."""
    response.raise_for_status()
    if secure and response.url.scheme != "https":
        raise OSError(f"the server leads to {response.url.host} without encryption")
    start = f"bytes {before}-"
    go_on = response.status_code == 206 and response.headers.get("Content-Range", start).startswith(start)
    if response.status_code == 206 and not go_on:
        part.unlink(missing_ok=True)
        raise OSError("the server sent another part than was asked for")
    length = response.headers.get("Content-Length", "")
    done = before if go_on else 0
    total = done + int(length) if length.isdigit() else file.size
    if file.size is not None and total not in (None, file.size):
        raise OSError(f"the file there is another one: expected {file.size} bytes, found {total}")
    with part.open("ab" if go_on else "wb") as stream:
        for block in response.iter_raw(1 << 16):
            done += len(block)
            if done > (file.size or _MAX_BYTES):
                stream.close()
                with suppress(OSError):
                    part.unlink()
                raise OSError("the server sends more than the file has")
            stream.write(block)
            if progress is not None:
                progress(done, total)
    if total is not None and done < total:
        raise OSError(f"the connection ended after {done} of {total} bytes")
