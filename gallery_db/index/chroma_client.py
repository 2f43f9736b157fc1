"""Open Chroma clients: of a folder, of a server, of Chroma Cloud. The only module that imports chromadb."""

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
    "REBUILD_HINT",
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
REBUILD_HINT = "The gallery's record is not affected. Build a new index with `gtrack gallery rebuild`."

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
"""Longest wait for an answer. Chroma's own client waits for ever: a server that hangs would hang its clients."""


class CollectionGoneError(GalleryServerError):
    """The server does not have this collection any more; another one may have its name."""


def chroma_version() -> str:
    """Return the version of the installed chromadb."""
    from importlib.metadata import version

    return version("chromadb")


_SERVER_PROGRAM = """
import ctypes, os, signal, sys
parent = int(sys.argv.pop(1))
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: the server ends with its parent
if os.getppid() != parent:
    sys.exit(1)
import chromadb_rust_bindings  # what the command `chroma` calls; importing chromadb would take a second
chromadb_rust_bindings.cli(["chroma", *sys.argv[1:]])
"""


def server_command(config: Path) -> list[str]:
    """Return the command that runs Chroma's server as a child of this process, with this Python.

    Args:
        config: Chroma's configuration file.
    """
    # Chroma's console script may not be on the PATH of a service, so its function is called instead.
    # -I: no file of the working directory is imported.
    return [sys.executable, "-I", "-c", _SERVER_PROGRAM, str(os.getpid()), "run", str(config)]


@contextmanager
def chroma_errors(location: Path | Address, doing: str) -> Iterator[None]:
    """Turn all errors of Chroma into gtrack's; it raises what its Rust core, SQLite, pydantic and httpx raise.

    Args:
        location: Chroma's folder, or the server's address, for the message.
        doing: The operation, for the message, such as ``"searching"``.

    Raises:
        GalleryIndexError: Chroma failed in a folder.
        GalleryServerError: A server failed or does not answer.
    """
    try:
        yield
    except GtrackError:
        raise
    except Exception as error:
        raise _translate(location, doing, error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of pyo3, for panics in the Rust core; not an Exception
            raise
        raise _translate(location, doing, error) from error


def _translate(location: Path | Address, doing: str, error: BaseException) -> GalleryError:
    text = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(location, Path):
        return GalleryIndexError(
            f"The Chroma index {location} failed while {doing}: {text}.",
            hint=REBUILD_HINT,
        )
    if type(error).__name__ == "NotFoundError":
        return CollectionGoneError(
            f"The gallery server {location.server} failed while {doing}: {text}",
            hint="Run `gtrack gallery stats` to connect again.",
        )
    if type(error).__module__.split(".")[0] in ("httpx", "httpcore") or isinstance(error, (OSError, ValueError)):
        return GalleryServerError(
            f"The gallery server {location.server} does not answer while {doing}: {text}.",
            hint="Check that it is running (`gtrack gallery serve`) and can be reached.",
        )
    return GalleryServerError(
        f"The gallery server {location.server} failed while {doing}: {text}.", hint="Read the log of the server."
    )


def _settings(**options: Any) -> Any:
    from chromadb.config import Settings

    # A .env file of the working directory must not decide how a gallery is opened.
    return Settings(_env_file=None, anonymized_telemetry=False, **options)


def open_folder(folder: Path) -> Any:
    """Return a client of Chroma's files in a folder. The caller must hold the gallery's `WriterLock`."""
    import chromadb

    try:
        return chromadb.PersistentClient(path=str(folder), settings=_settings())
    except BaseException:
        _forget_failed_system(folder)
        raise


def _forget_failed_system(folder: Path) -> None:
    # Chroma 1.5.9 keeps a system that failed to start, and would return it again after the folder was repaired.
    from chromadb.api.shared_system_client import SharedSystemClient

    if not SharedSystemClient._identifier_to_refcount.get(str(folder)):
        SharedSystemClient._identifier_to_system.pop(str(folder), None)


def _headers() -> dict[str, str]:
    text = os.environ.get(HEADERS_VARIABLE)
    if not text:
        return {}
    wrong = GalleryError(
        f"Expected a JSON object of strings in {HEADERS_VARIABLE}.", hint='Example: {"Authorization": "Bearer SECRET"}'
    )
    try:
        headers = json.loads(text)
    except ValueError:
        raise wrong from None
    if not isinstance(headers, Mapping) or not all(isinstance(value, str) for value in headers.values()):
        raise wrong
    return dict(headers)


def is_alive(address: Address, headers: Mapping[str, str] | None = None) -> bool:
    """Return whether a Chroma server answers at an address.

    Args:
        address: The server.
        headers: HTTP headers to send.

    Raises:
        GalleryServerError: Something else answers, or access is refused.
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
        raise _not_chroma_error(address, str(error) or type(error).__name__) from None
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
    raise _not_chroma_error(address, f"HTTP {answer.status_code}")


def _not_chroma_error(address: Address, what: str) -> GalleryServerError:
    return GalleryServerError(
        f"The server at {address.server} is not a Chroma server ({what}).",
        hint="Check host and port; `gtrack gallery serve` prints its address.",
    )


def open_server(address: Address) -> Any:
    """Return a client of a server, which threads may share.

    Args:
        address: The server, or Chroma Cloud.

    Raises:
        GalleryServerError: It does not answer, or something else answers.
        GalleryError: An environment variable is missing or wrong.
    """
    headers = _headers()
    if not address.is_cloud and not is_alive(address, headers):
        raise GalleryServerError(
            f"No gallery server answers at {address.server}.",
            hint="Start it with `gtrack gallery serve --gallery PATH --port N`.",
        )
    if address.is_cloud and not os.environ.get("CHROMA_API_KEY"):
        raise GalleryError(
            "Chroma Cloud needs an API key.", hint="Set CHROMA_API_KEY, CHROMA_TENANT and CHROMA_DATABASE."
        )
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
                # Without encryption, the certificates of the system need not be read, which takes a tenth of a second.
                settings=_settings(**({} if address.secure else {"chroma_server_ssl_verify": False})),
            )
        session = _session_of(client)
        if session is not None:
            session.timeout = httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS)
        return client


def _session_of(client: Any) -> Any:
    return getattr(getattr(client, "_server", None), "_session", None)


def close_client(client: Any) -> None:
    """Close a client and its connections."""
    # Chroma leaves its sockets to the garbage collector, and keeps a second client for tenants and databases.
    sessions = [_session_of(client), _session_of(getattr(client, "_admin_client", None))]
    client.close()
    for session in sessions:
        if session is not None:
            with suppress(Exception):
                session.close()
