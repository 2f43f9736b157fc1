"""The doors to Chroma: a folder, a server, Chroma Cloud. The only module that imports chromadb."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gallery_db.address import Address
from gallery_db.errors import GalleryError, GalleryIndexError, GalleryServerError, GtrackError

__all__ = [
    "CollectionGoneError",
    "chroma_errors",
    "chroma_version",
    "close_client",
    "is_alive",
    "open_folder",
    "open_server",
    "server_command",
]

HEADERS_VARIABLE = "GTRACK_GALLERY_HEADERS"
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
"""Chroma's own client waits for ever: a server that hangs would hang whoever asks it."""


class CollectionGoneError(GalleryServerError):
    """The server has no such collection (any more); another may stand under its name."""


def chroma_version() -> str:
    """The version of the installed chromadb."""
    from importlib.metadata import version

    return version("chromadb")


_RUN = """
import ctypes, os, signal, sys
parent = int(sys.argv.pop(1))
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: it does not outlive who serves
if os.getppid() != parent:
    sys.exit(1)
import chromadb_rust_bindings  # all that `chroma` itself calls; importing chromadb would take a second
chromadb_rust_bindings.cli(["chroma", *sys.argv[1:]])
"""


def server_command(config: Path) -> list[str]:
    """How to run Chroma's own server as a child of this process, with this Python."""
    # Its console script may not be on the path of a service; what that runs is a function.
    return [sys.executable, "-c", _RUN, str(os.getpid()), "run", str(config)]


@contextmanager
def chroma_errors(place: Path | Address, doing: str) -> Iterator[None]:
    """Say in gtrack's words what Chroma says: it raises whatever its Rust core, SQLite, pydantic or httpx raise."""
    try:
        yield
    except GtrackError:
        raise
    except Exception as error:
        raise _own(place, doing, error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # pyo3's, of the Rust core; it is no Exception
            raise
        raise _own(place, doing, error) from error


def _own(place: Path | Address, doing: str, error: BaseException) -> GalleryError:
    text = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(place, Path):
        return GalleryIndexError(
            f"The Chroma index {place} failed while {doing}: {text}.",
            hint="The gallery's record is not concerned; `gtrack gallery rebuild` makes the index anew.",
        )
    if type(error).__name__ == "NotFoundError":
        return CollectionGoneError(
            f"The gallery server {place.server} failed while {doing}: {text}", hint="`gtrack gallery stats` asks anew."
        )
    if type(error).__module__.split(".")[0] in ("httpx", "httpcore") or isinstance(error, (OSError, ValueError)):
        return GalleryServerError(
            f"The gallery server {place.server} does not answer while {doing}: {text}.",
            hint="Check that it runs (`gtrack gallery serve`) and can be reached.",
        )
    return GalleryServerError(f"The gallery server {place.server} failed while {doing}: {text}.", hint="See its log.")


def _settings(**facts: Any) -> Any:
    from chromadb.config import Settings

    # No .env of the working directory decides how a gallery is opened.
    return Settings(_env_file=None, anonymized_telemetry=False, **facts)


def open_folder(folder: Path) -> Any:
    """A client of Chroma's files in a folder; whoever opens it holds the gallery's `WriterLock`."""
    import chromadb

    try:
        return chromadb.PersistentClient(path=str(folder), settings=_settings())
    except BaseException:
        _forget_failed_system(folder)
        raise


def _forget_failed_system(folder: Path) -> None:
    # Chroma 1.5.9 keeps a system that failed to start, and would hand it out again for a mended folder.
    from chromadb.api.shared_system_client import SharedSystemClient

    if not SharedSystemClient._identifier_to_refcount.get(str(folder)):
        SharedSystemClient._identifier_to_system.pop(str(folder), None)


def _headers() -> dict[str, str]:
    text = os.environ.get(HEADERS_VARIABLE)
    if not text:
        return {}
    wrong = GalleryError(
        f"{HEADERS_VARIABLE} is no JSON object of texts.", hint='Example: {"Authorization": "Bearer SECRET"}'
    )
    try:
        headers = json.loads(text)
    except ValueError:
        raise wrong from None
    if not isinstance(headers, Mapping) or not all(isinstance(value, str) for value in headers.values()):
        raise wrong
    return dict(headers)


def is_alive(address: Address, headers: Mapping[str, str] | None = None) -> bool:
    """Whether a Chroma server answers there.

    Raises:
        GalleryServerError: Something else does.
    """
    import httpx

    try:
        answer = httpx.get(
            f"{address.server}/api/v2/heartbeat",
            headers=dict(headers or {}),
            timeout=httpx.Timeout(_CONNECT_SECONDS, read=10.0),
            verify=address.secure,
        )
    except (httpx.TransportError, httpx.InvalidURL, OSError) as error:
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            return False
        raise _no_chroma(address, str(error) or type(error).__name__) from None
    if answer.status_code in (401, 403, 407):
        raise GalleryServerError(
            f"The gallery server {address.server} refuses access (HTTP {answer.status_code}).",
            hint=f'Set {HEADERS_VARIABLE}, such as {{"Authorization": "Bearer SECRET"}}.',
        )
    try:
        if "nanosecond heartbeat" in answer.json():
            return True
    except (ValueError, TypeError):
        pass
    raise _no_chroma(address, f"HTTP {answer.status_code}")


def _no_chroma(address: Address, what: str) -> GalleryServerError:
    return GalleryServerError(
        f"What answers at {address.server} is no Chroma server ({what}).",
        hint="Check host and port; `gtrack gallery serve` says where it serves.",
    )


def open_server(address: Address) -> Any:
    """A client of a server, which threads may share.

    Raises:
        GalleryServerError: It does not answer, or something else does.
        GalleryError: The environment's settings make no sense.
    """
    headers = _headers()
    if not address.is_cloud and not is_alive(address, headers):
        raise GalleryServerError(
            f"No gallery server answers at {address.server}.",
            hint="Start it: `gtrack gallery serve --gallery PATH --port N`.",
        )
    if address.is_cloud and not os.environ.get("CHROMA_API_KEY"):
        raise GalleryError("Chroma Cloud needs a key.", hint="Set CHROMA_API_KEY, CHROMA_TENANT and CHROMA_DATABASE.")
    with chroma_errors(address, "connecting"):
        import chromadb
        import httpx

        if address.is_cloud:
            client = chromadb.CloudClient(settings=_settings())
        else:
            client = chromadb.HttpClient(
                host=address.host,
                port=address.port,
                ssl=address.secure,
                headers=headers,
                # Where nothing is encrypted, reading all certificates of the system is a tenth of a second for nothing.
                settings=_settings(**({} if address.secure else {"chroma_server_ssl_verify": False})),
            )
        session = _session_of(client)
        if session is not None:
            session.timeout = httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS)
        return client


def _session_of(client: Any) -> Any:
    return getattr(getattr(client, "_server", None), "_session", None)


def close_client(client: Any) -> None:
    """Close a client and what it holds open."""
    # Chroma leaves its sockets to the garbage collector, and keeps a second client for tenants and databases.
    sessions = [_session_of(client), _session_of(getattr(client, "_admin_client", None))]
    client.close()
    for session in sessions:
        if session is not None:
            with suppress(Exception):
                session.close()
