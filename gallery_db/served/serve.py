"""Serving a gallery: Chroma's own server as a child, and the gallery's record that follows its logs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from gallery_db.address import Address
from gallery_db.atomic_files import check_writable
from gallery_db.errors import GalleryIndexError, GalleryServerError, GtrackError
from gallery_db.index.base import Progress
from gallery_db.index.changes import sync_server_index
from gallery_db.index.chroma_client import CollectionGoneError, close_client, is_alive, open_server, server_command
from gallery_db.index.chroma_index import ChromaIndex
from gallery_db.served.absorb import Tail, index_maintenance, prepare_logs, tails
from gallery_db.store.folder import check_holds_gallery
from gallery_db.store.lock import DEFAULT_LOCK_TIMEOUT, WriterLock
from gallery_db.store.record import Record
from gallery_db.store.schema import RECORD_NAME

__all__ = ["GalleryServer"]

_TAIL_SECONDS = 0.3
_NEW_SECONDS = 3.0
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_MOST_RESTARTS = 3
_RESTART_SECONDS = 60.0
_MOST_PAYLOAD = 64 << 20


class GalleryServer:
    """A gallery's folder, served over HTTP; a context manager.

    It holds the folder's writer lock; whoever reads the folder sees what clients do within a second. A kill, of
    it or of Chroma's server, loses nothing that a client was told is stored.

    Args:
        path: The gallery's folder.
        host: The address to listen on. Chroma knows no passwords: whoever reaches it may do anything.
        port: The port; 0 for a free one.
        notify: Takes one-line messages.
        lock_timeout: Seconds to wait for another writer.

    Attributes:
        address: Where it serves.

    Raises:
        GalleryError: As of `Gallery.open`; a collection whose name does not allow it; the port is in use.
        GalleryLockedError: Another process is writing, or serving already.
        GalleryServerError: Chroma's server does not start.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        notify: Callable[[str], None] | None = None,
        lock_timeout: float = DEFAULT_LOCK_TIMEOUT,
        progress: Progress | None = None,
    ) -> None:
        self._path = Path(path)
        self._host = host
        self._notify = notify or (lambda message: None)
        self._notices: list[str] = []
        self._child: subprocess.Popen[bytes] | None = None
        self._client: Any = None
        self._tails: list[Tail] = []
        self._indexes: dict[int, ChromaIndex] = {}
        self._looked = 0.0
        self._failing = False
        self._restarts: list[float] = []
        self._closed = False
        check_holds_gallery(self._path)
        check_writable(self._path, self._path / RECORD_NAME)
        self._lock = WriterLock(self._path)
        self._lock.acquire(lock_timeout)
        try:
            self._port = _free_port(host, port)
            self.address = Address(_reachable(host), self._port)
            self._lock.announce(str(self.address))
            self._record = Record.open(self._path / RECORD_NAME, write=True)
            self._keeper = index_maintenance(self._path, self._notices)
        except BaseException:
            self._lock.release()
            raise
        try:
            self._start(progress)
        except BaseException:
            self._kill()
            self._record.close()
            self._lock.release()
            raise

    # -- starting --------------------------------------------------------------------------------------------

    def _start(self, progress: Progress | None = None) -> None:
        self._keeper.remove_leftovers()
        self._keeper.recover_served_log(self._record)
        for row in self._record.collections():
            self._keeper.sync(self._record, row, progress)
        self._keeper.ensure_sound(self._record, progress)
        self._record.set_meta("served_open", "1")
        prepare_logs(self._keeper.folder, self._record)
        self._tell()
        # From now on its files change without the record knowing; who finds this mark compares them.
        self._keeper.mark_unclean(self._record)
        self._run_child()
        self._client = open_server(self.address)
        self._looked = 0.0
        self._tail()

    def _run_child(self) -> None:
        folder = self._path.absolute()
        with tempfile.TemporaryDirectory(prefix="gtrack-serve-") as scratch:
            config = Path(scratch) / "chroma.yaml"
            # JSON is YAML, and quotes whatever a path may hold.
            facts = {
                "port": self._port,
                "listen_address": self._host,
                "persist_path": str(folder / "chroma"),
                "max_payload_size_bytes": _MOST_PAYLOAD,
            }
            config.write_text("\n".join(f"{key}: {json.dumps(value)}" for key, value in facts.items()) + "\n")
            environment = {k: v for k, v in os.environ.items() if not k.startswith(("CHROMA_", "GTRACK_"))}
            descriptor = self._lock.share()
            with (folder / "serve.log").open("wb") as log:
                self._child = subprocess.Popen(
                    server_command(config),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                    env=environment,
                    # Ctrl-C goes to a terminal's whole group; the child is ended by us, after the last look.
                    start_new_session=True,
                    # Both hold the lock, so that no writer comes while one of them lives.
                    pass_fds=() if descriptor is None else (descriptor,),
                )
            until = time.monotonic() + _START_SECONDS
            while time.monotonic() < until:
                alive = is_alive(self.address)
                if self._child.poll() is not None:
                    break
                if alive:
                    return
                time.sleep(0.05)
        self._kill()
        words = _last_words(folder / "serve.log")
        raise GalleryServerError(
            f"Chroma's server did not start at {self.address}: {words}.", hint=f"See {folder / 'serve.log'}."
        )

    # -- running ---------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set.

        Raises:
            GalleryServerError: Chroma's server ended by itself again and again.
        """
        while not stop.wait(_TAIL_SECONDS):
            if self._child is not None and self._child.poll() is not None:
                self._restart()
            self._look()

    def _look(self) -> None:
        try:
            self._tail()
        except (GalleryServerError, GalleryIndexError) as error:
            self._forget()
            if not self._failing and self._child is not None and self._child.poll() is None:
                self._failing = True
                self._notify(f"warning: {error}")
        else:
            self._failing = False
        self._tell()

    def _tail(self) -> None:
        """Take in what clients have stored, and bring the index up to date with it."""
        if self._client is None:
            self._client = open_server(self.address)
        if not self._tails or time.monotonic() - self._looked > _NEW_SECONDS:
            known = {tail.row.name for tail in self._tails}
            self._tails = tails(self.address, self._client, self._record)
            for tail in self._tails:
                if known and tail.row.name not in known:
                    self._notify(f"a client has made the collection {tail.row.name!r}")
            self._looked = time.monotonic()
        for tail in self._tails:
            tail.read(self._record)
            row = next(row for row in self._record.collections() if row.id == tail.row.id)
            if row.applied_seq < self._record.log.last_change(row.id) or row.id not in self._indexes:
                self._follow(row.id)

    def _follow(self, key: int) -> None:
        row = next(row for row in self._record.collections() if row.id == key)
        index = self._indexes.get(key)
        try:
            if index is None:
                index = ChromaIndex(self.address, row.name, row.model, create=True, client=self._client)
                self._indexes[key] = index
            sync_server_index(index, self._record, row)
        except CollectionGoneError:
            self._indexes.pop(key, None)  # a client makes it anew
            raise

    def _forget(self) -> None:
        client, self._client = self._client, None
        self._tails, self._indexes = [], {}
        if client is not None:
            with suppress(Exception):
                close_client(client)

    def _restart(self) -> None:
        assert self._child is not None
        code = self._child.returncode
        now = time.monotonic()
        self._restarts = [then for then in self._restarts if now - then < _RESTART_SECONDS] + [now]
        words = _last_words(self._path / "serve.log")
        if len(self._restarts) > _MOST_RESTARTS:
            raise GalleryServerError(
                f"Chroma's server ended {len(self._restarts)} times within a minute, with code {code}: {words}.",
                hint=f"See {self._path / 'serve.log'}.",
            )
        self._notify(f"warning: Chroma's server ended by itself with code {code} ({words}); it is started again")
        self._child = None
        self._forget()
        self._start()
        self._notify(f"served at {self.address} again")

    def _tell(self) -> None:
        while self._notices:
            self._notify(self._notices.pop(0))

    # -- ending ----------------------------------------------------------------------------------------------

    def close(self, progress: Progress | None = None) -> None:
        """End Chroma's server, take in the rest, and leave a gallery that is up to date. Twice is fine.

        Raises:
            GalleryIndexError: The index could not be made sound; the record holds everything.
        """
        if self._closed:
            return
        self._closed = True
        try:
            with suppress(GtrackError):
                if self._child is not None and self._child.poll() is None:
                    self._tail()
            self._forget()
            ended_well = self._kill()
            self._keeper.recover_served_log(self._record, killed=False)
            self._keeper.repair(self._record, progress, trusted=ended_well)
            self._tell()
        finally:
            self._kill()
            self._keeper.close()
            self._record.close()
            self._lock.release()

    def _kill(self) -> bool:
        """End Chroma's server; return whether it ended as asked, and so has closed its files."""
        child, self._child = self._child, None
        if child is None or child.poll() is not None:
            return False
        child.terminate()
        try:
            child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            return False
        return True

    @property
    def server_pid(self) -> int | None:
        """Process id of Chroma's server."""
        return None if self._child is None else self._child.pid

    def __enter__(self) -> GalleryServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _reachable(host: str) -> str:
    """Where a listening address can be reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _free_port(host: str, port: int) -> int:
    """The port, if nobody listens there. Chroma itself would say so and end as if all were well."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            raise GalleryServerError(
                f"Nothing can be served at {host}, port {port}: {error.strerror or error}.",
                hint="Choose another --port.",
            ) from error
        return int(probe.getsockname()[1])


def _last_words(log: Path) -> str:
    with suppress(OSError):
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
        plain = [line for line in lines if line and "\x1b" not in line and "=====" not in line]
        if plain:
            return plain[-1][:200].rstrip(".")
    return "it said nothing"
