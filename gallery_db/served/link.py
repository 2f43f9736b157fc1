"""A client's way to a served gallery: what is new there comes into the replica, what is new here goes out."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.address import Address
from gallery_db.entry import Entry
from gallery_db.errors import GalleryError, GalleryIndexError, GalleryServerError, GtrackError, ModelMismatchError
from gallery_db.index.chroma_client import CollectionGoneError, close_client, open_server
from gallery_db.index.chroma_index import BATCH_SIZE, ChromaIndex
from gallery_db.noted_lock import user_at_host
from gallery_db.served.ledger import Ledger
from gallery_db.served.log import CLIENTS, LogInfo, ServedLog, find_logs, not_there
from gallery_db.served.rows import LogRow, OperationFacts, pictures_of
from gallery_db.store.record import CollectionRow, Record
from gallery_db.times import utc_now

__all__ = ["Link"]

Progress = Callable[[int, int], None]

_POLL_SECONDS = 1.0
_RETRY_SECONDS = 3.0
_ROWS_AT_ONCE = 200


class Link:
    """A replica, its journal and the server; the `Journal` of the replica's record.

    What is done in the replica goes to the server at once, or waits in the journal until that answers. Threads
    may share it: network work takes turns, and whoever reads the record never waits for it.

    Args:
        address: The server.
        client: Of the server; the link's from now on.
        info: Which collection.
        record: The replica.
        row: The replica's collection.
        folder: Of the replicas of this gallery; pictures lie in it.
        notices: Where to say what a user should hear of.
    """

    def __init__(
        self,
        address: Address,
        client: Any,
        info: LogInfo,
        record: Record,
        row: CollectionRow,
        folder: Path,
        notices: list[str],
    ) -> None:
        self.address = address.of(info.collection)
        self.info = info
        self._client: Any = client
        self._log: ServedLog | None = None
        self._record = record
        self._row = row
        self._folder = folder
        self._notices = notices
        self._ledger = Ledger(record, row, folder, **({"a_row": 1} if address.is_cloud else {}))
        self._turn = threading.RLock()
        self._away = False
        self._retry_at = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._index: ChromaIndex | None = None
        self.holding = 0
        record.log.feed = self

    # -- the journal -----------------------------------------------------------------------------------------

    def note(
        self,
        action: str,
        collection: int,
        entries: Sequence[Entry],
        vectors: NDArray[np.float32] | None,
        operation: int,
    ) -> None:
        """See `gallery_db.store.changes.ChangeFeed`."""
        self._ledger.note(action, collection, entries, vectors, operation)

    def note_setting(self, collection: int, name: str, value: str) -> None:
        """See `gallery_db.store.changes.ChangeFeed`."""
        self._ledger.note_setting(collection, name, value)

    def committed(self) -> None:
        """See `gallery_db.store.changes.ChangeFeed`: bring it to the server, if that answers."""
        if self.holding or (self._away and time.monotonic() < self._retry_at):
            return
        with suppress(GalleryError):
            self.push()

    def waiting(self) -> int:
        """Number of changes that no server has acknowledged."""
        return self._ledger.waiting()

    @property
    def is_away(self) -> bool:
        """Whether the server did not answer when it was last asked."""
        return self._away

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Network work, one at a time; it notes whether the server answers."""
        if self._record.in_transaction():
            # The thread that follows the server asks first and writes then; the other way round both would wait.
            raise GalleryError(
                f"The served gallery {self.address} cannot be asked within a transaction.",
                hint="End the transaction first; what it changes is delivered then.",
            )
        with self._turn:
            try:
                yield
            except CollectionGoneError:
                self.forget()
                raise
            except GalleryServerError as error:
                self.note_away(error)
                raise
            self.note_back()

    # -- both ways -------------------------------------------------------------------------------------------

    def push(self, *, index: bool = False) -> None:
        """Bring all that waits to the server.

        Args:
            index: Also bring it to the index now, and not from the thread that follows the server.

        Raises:
            GalleryServerError: It does not answer; the rest waits on.
        """
        with self._asking():
            while rows := self._ledger.unsent(_ROWS_AT_ONCE):
                log = self._open_log()
                rows = [self._with_pictures(row) for row in rows]
                while rows:
                    done = log.append(rows)
                    self._ledger.acknowledge(rows[:done], unindexed=log.info.keeper == CLIENTS)
                    rows = rows[done:]
            if self.info.keeper == CLIENTS and (self._thread is None or index):
                self._index_own()

    def pull(self, progress: Progress | None = None) -> None:
        """Bring the replica up to date with the server.

        Args:
            progress: Called with (rows read, rows in all) where there are many.

        Raises:
            GalleryServerError: The server does not answer.
        """
        with self._asking():
            try:
                self._pull(progress)
            except CollectionGoneError:
                # Another log stands in its place; all of that is news.
                self._log = None
                self._pull(progress)

    def _pull(self, progress: Progress | None) -> None:
        log = self._open_log()
        if self._ledger.state.epoch != log.info.epoch:
            self._ledger.adopt(log.info.epoch)
        head = len(log)
        while True:
            state = self._ledger.state
            # One row back, to see that the log is the one that was read.
            before = min(1, state.position)
            if state.position == head and not state.resync and not before:
                return
            ids, rows = log.page(state.position - before)
            if before and ids[:1] != [state.last_row]:
                self._ledger.adopt(log.info.epoch)
                continue
            if len(ids) == before:
                self._ledger.settle()
                return
            self._ledger.apply(rows[before:], ids[before:])
            if progress is not None:
                progress(min(state.position + len(ids) - before, head), head)

    def has_news(self) -> bool:
        """Whether the log has grown, or is another."""
        with self._asking():
            log = self._open_log()
            state = self._ledger.state
            return state.epoch != log.info.epoch or len(log) != state.position

    def reserve(self, count: int) -> int:
        """Reserve numbers for strangers' names, which nobody else is given; returns the first.

        Raises:
            GalleryServerError: The server does not answer.
        """
        with self._asking():
            for _ in range(3):  # a log may be made anew between asking and hearing
                who = user_at_host()
                operation = OperationFacts(uuid.uuid4().hex, "reserve", f"reserve {count} names", who, utc_now())
                row = LogRow(uuid.uuid4().hex, "reserve", operation, number=count)
                self._open_log().append([row])
                self.pull()
                start = self._ledger.block(row.id)
                if start is not None:
                    return start
        raise GalleryServerError(f"The gallery server {self.address.server} reserves no names.", hint="Try again.")

    def reserved(self) -> int:
        """The highest number of a stranger's name that is given out, as far as the log was read."""
        return self._ledger.state.reserved

    def infos(self) -> list[LogInfo]:
        """The server's logs now."""
        with self._asking():
            return find_logs(self.address, self.client())

    def count_of(self, info: LogInfo) -> int:
        """Number of entries in another collection's index."""
        with self._asking():
            try:
                index = ChromaIndex(self.address, info.collection, info.model, client=self.client())
            except GalleryIndexError:
                return 0
            return index.count()

    def head(self) -> tuple[int, int]:
        """(rows in the log, rows that the replica has)."""
        with self._asking():
            return len(self._open_log()), self._ledger.state.position

    def client(self) -> Any:
        """A client of the server."""
        if self._client is None:
            self._client = open_server(self.address)
        return self._client

    def _open_log(self) -> ServedLog:
        if self._log is None:
            infos = find_logs(self.address, self.client())
            info = next((one for one in infos if one.collection == self.address.collection), None)
            if info is None:
                raise not_there(self.address, infos)
            if not info.model.same_space(self._row.model):
                raise ModelMismatchError(
                    f"The collection {info.collection!r} of {self.address.server} is now of {info.model}, and was of "
                    f"{self._row.model}.",
                    hint="Open the gallery again.",
                )
            if info.gallery != self.info.gallery:
                raise GalleryServerError(
                    f"Another gallery is served at {self.address.server} than before.",
                    hint="What waits in the journal is for the other one.",
                )
            self._log = ServedLog(self.address, self.client(), info)
            self.info = info
        return self._log

    def _with_pictures(self, row: LogRow) -> LogRow:
        if row.vectors is None or self.address.is_cloud:
            return row
        return replace(row, pictures=pictures_of(self._folder, row.entries))

    # -- the server's index, where no `gtrack gallery serve` keeps it -------------------------------------------

    def index(self, *, create: bool = False) -> ChromaIndex:
        """The collection that is searched.

        Raises:
            GalleryIndexError: There is none, and `create` is false.
            GalleryServerError: The server does not answer.
        """
        if self._index is None:
            self._index = ChromaIndex(
                self.address, self.info.collection, self._row.model, create=create, client=self.client()
            )
        return self._index

    def _index_own(self) -> None:
        """Bring what was changed here into the index: as it is now, whatever was done to it."""
        while ids := self._ledger.unindexed(BATCH_SIZE):
            try:
                index = self.index(create=True)
                entries, vectors = self._record.entries.with_vectors(self._row.id, ids, self._row.model.dimension)
                index.delete(ids)
                index.add(entries, vectors)
            except CollectionGoneError:
                self._index = None
                raise
            self._ledger.indexed(ids)

    def fill_index(self, progress: Progress | None = None) -> None:
        """Make the collection that is searched anew from the replica.

        Raises:
            GalleryServerError: The server does not answer.
        """
        with self._asking():
            self._index = None
            client = self.client()
            from gallery_db.index.chroma_client import chroma_errors

            with chroma_errors(self.address, "making the index anew"):
                if self.info.collection in [collection.name for collection in client.list_collections()]:
                    client.delete_collection(self.info.collection)
            index = self.index(create=True)
            ids = self._record.entries.ids(self._row.id)
            for start in range(0, len(ids), BATCH_SIZE):
                part = ids[start : start + BATCH_SIZE]
                entries, vectors = self._record.entries.with_vectors(self._row.id, part, self._row.model.dimension)
                index.add(entries, vectors)
                if progress is not None:
                    progress(min(start + BATCH_SIZE, len(ids)), len(ids))
            self._ledger.indexed()

    # -- in the background -----------------------------------------------------------------------------------

    def follow(self) -> None:
        """From now on, follow the server in a thread."""
        # A daemon: a process that is ended for good must not hang on its server.
        self._thread = threading.Thread(target=self._work, name="gtrack-served-gallery", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.wait(_RETRY_SECONDS if self._away else _POLL_SECONDS):
            try:
                if self.has_news():
                    self.pull()
                if not self.holding and (self._ledger.waiting() or self._ledger.unindexed(1)):
                    self.push(index=True)
            except (GalleryServerError, GalleryIndexError):
                continue  # told by whoever watches
            except GtrackError as error:
                self._say(f"The served gallery is no longer followed: {error.message}")
                return
            except Exception as error:  # noqa: BLE001 - a thread that dies in silence would leave all of it stale
                self._say(f"The served gallery is no longer followed: {error or type(error).__name__}.")
                return

    def close(self) -> None:
        """Bring what waits to the server if that answers, stop following, and say what is left."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._record.log.feed = None
        try:
            if self._ledger.waiting() or (not self._away and self._ledger.unindexed(1)):
                with suppress(GtrackError):
                    self.push()
            if left := self._ledger.waiting():
                what, they = ("1 change", "it waits") if left == 1 else (f"{left} changes", "they wait")
                self._say(
                    f"{what} could not be stored at {self.address.server}; {they} in the journal {self._record.path} "
                    f"for the next time that the gallery is opened, or for `gtrack gallery flush`."
                )
        finally:
            client, self._client = self._client, None
            if client is not None:
                with suppress(Exception):
                    close_client(client)

    def _say(self, text: str) -> None:
        if text not in self._notices:
            self._notices.append(text)

    def forget(self) -> None:
        """Ask for the server's collections anew at their next use."""
        self._log = self._index = None

    def note_away(self, error: GalleryError) -> None:
        """The server does not answer."""
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        self.forget()  # it may be another when it comes back
        if not self._away:
            self._away = True
            self._notices.append(
                f"{error.message} Work goes on with what is known here, and what is to be stored waits in a journal."
            )

    def note_back(self) -> None:
        """The server answers."""
        if self._away:
            self._away = False
            self._notices.append(f"The gallery server {self.address.server} answers again.")
