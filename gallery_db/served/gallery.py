"""The backend of a served gallery: a replica on this machine that follows the server."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.address import Address
from gallery_db.errors import (
    GalleryError,
    GalleryIndexError,
    GalleryNotFoundError,
    GalleryServerError,
    GtrackError,
    ModelMismatchError,
)
from gallery_db.index.base import VerifyReport
from gallery_db.index.chroma_client import close_client, open_server
from gallery_db.index.chroma_index import BATCH_SIZE
from gallery_db.model import EmbeddingModel
from gallery_db.served.link import Link
from gallery_db.served.log import CLIENTS, SERVER, LogInfo, create_log, find_logs, not_there
from gallery_db.served.replicas import (
    Replica,
    gallery_dir,
    note_address,
    open_replica,
    replicas_of,
    take_replica,
    waiting_in,
)
from gallery_db.statistics import CollectionInfo
from gallery_db.store.intact_entries import damage_in_words
from gallery_db.store.record import CollectionRow, Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gallery_db.index.base import SearchIndex

__all__ = ["ServedBackend", "create_served", "deliver", "is_served", "open_served"]

Progress = Callable[[int, int], None]

_BLOCK = 1000
_EXACT_BELOW = 20_000
"""Entries up to which reading the replica into memory and comparing all is no slower than asking the server."""
_INDEX_SECONDS = 3.0
_PROBES_AT_ONCE = 64


def is_served(address: Address) -> bool:
    """Whether a server holds a gallery, or the collection that the address names.

    Raises:
        GalleryServerError: It does not answer.
    """
    client = open_server(address)
    try:
        infos = find_logs(address, client)
    finally:
        close_client(client)
    return bool(infos) if address.collection is None else any(one.collection == address.collection for one in infos)


def open_served(address: Address, *, model: EmbeddingModel | None = None, write: bool = False) -> ServedBackend:
    """Open a served gallery; see `Gallery.open`."""
    client = open_server(address)
    try:
        infos = find_logs(address, client)
        info = _select(address, infos, model)
        return _open(address, client, info, write=write, weights=None if model is None else model.path)
    except BaseException:
        _close_quietly(client)
        raise


def create_served(address: Address, model: EmbeddingModel) -> ServedBackend:
    """Make a collection at a server, and open it for writing; see `Gallery.create`."""
    client = open_server(address)
    try:
        infos = find_logs(address, client)
        assert address.collection is not None
        taken = GalleryError(f"{address} holds a gallery already.", hint="Open it instead.")
        if any(info.collection == address.collection for info in infos):
            raise taken
        # Where one is kept by the server, so will be this one: it takes new ones in.
        keeper = SERVER if any(info.keeper == SERVER for info in infos) else CLIENTS
        gallery = infos[0].gallery if infos else uuid.uuid4().hex
        try:
            info = create_log(address, client, address.collection, model, gallery=gallery, keeper=keeper)
        except GalleryServerError:
            if any(one.collection == address.collection for one in find_logs(address, client)):
                raise taken from None  # another process was quicker
            raise
        return _open(address, client, info, write=True, weights=model.path)
    except BaseException:
        _close_quietly(client)
        raise


def _close_quietly(client: Any) -> None:
    with suppress(Exception):
        close_client(client)


def _select(address: Address, infos: Sequence[LogInfo], model: EmbeddingModel | None) -> LogInfo:
    if not infos:
        raise GalleryNotFoundError(
            f"{address.server} serves no gallery.",
            hint="`gtrack gallery serve` serves one; `gtrack gallery ingest` makes one there.",
        )
    candidates = [info for info in infos if address.collection in (None, info.collection)]
    if not candidates:
        raise not_there(address, infos)
    if model is None:
        return candidates[0]
    for info in candidates:
        if info.model.same_space(model):
            return info
    lines = [f"{info.model} in the collection {info.collection!r}" for info in candidates]
    raise ModelMismatchError(
        f"The gallery {address} holds embeddings of {'; '.join(lines)}, and the model given is {model}.",
        hint="Use the gallery's own weights, or start a second collection for this model with "
        "`gtrack gallery ingest ... --new-collection`.",
    )


def _open(address: Address, client: Any, info: LogInfo, *, write: bool, weights: str | None) -> ServedBackend:
    notices: list[str] = []
    replica = take_replica(info)
    try:
        record = replica.record
        row = record.collections()[0]
        if weights is not None and weights != row.model.path:
            record.note_weights_path(row.id, weights)  # on this machine
            row = record.collections()[0]
        record.place = str(address.of(info.collection))
        link = Link(address, client, info, record, row, gallery_dir(info.gallery), notices)
        note_address(info.gallery, address)
        with _bootstrap_bar(record, row) as progress:
            link.pull(progress)
        backend = ServedBackend(link, replica, row, notices, write=write)
    except BaseException:
        replica.release()
        raise
    if link.waiting():
        with suppress(GtrackError):
            link.push()
    notices += deliver(address, client, info)[1]
    link.follow()
    return backend


@contextmanager
def _bootstrap_bar(record: Record, row: CollectionRow) -> Iterator[Progress | None]:
    """How far the first reading of a large gallery is, on a stderr that somebody looks at."""
    import sys

    if record.entries.count(row.id) or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    last = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal last
        if total > 500 and (done == total or time.monotonic() - last > 0.2):
            last = time.monotonic()
            end = "\n" if done == total else ""
            print(f"\rreading the served gallery: {100 * done // total} %", end=end, file=sys.stderr, flush=True)

    yield tell


def deliver(address: Address, client: Any, info: LogInfo) -> tuple[int, list[str], int]:
    """Bring what other replicas' journals hold, whose process is gone, to the server.

    Args:
        address: The server.
        client: Of the server; it stays the caller's.
        info: The collection.

    Returns:
        How many changes were delivered, what to tell the user, and how many are left.
    """
    delivered = left = 0
    notices: list[str] = []
    for folder in replicas_of(info):
        waiting = waiting_in(folder)
        if not waiting:
            continue
        try:
            replica = open_replica(folder)
            if replica is None:
                continue  # its process delivers it
            try:
                row = replica.record.collections()[0]
                link = Link(address, client, info, replica.record, row, gallery_dir(info.gallery), [])
                link.push()
                remaining = link.waiting()
            finally:
                replica.release()
        except GtrackError as error:
            left += waiting
            notices.append(f"{waiting} changes in the journal {folder} could not be delivered: {error.message}")
            continue
        delivered += waiting - remaining
        left += remaining
    if delivered:
        notices.append(f"{delivered} changes that waited in a journal were delivered to {address.server}.")
    return delivered, notices, left


class ServedBackend:
    """A served gallery; see `gallery_db.backend.Backend` for its attributes and methods.

    Its record is a replica on this machine, which follows the server within a second. Every change is in the replica
    and its journal when the method that makes it returns, and at the server as well if that answers.

    Attributes:
        link: The connection between the replica and the server.
    """

    def __init__(self, link: Link, replica: Replica, row: CollectionRow, notices: list[str], *, write: bool) -> None:
        self.folder = gallery_dir(link.info.gallery)
        self.location: Path | str = str(link.address)
        self.record = replica.record
        self.row = row
        self.index: SearchIndex = ServedIndex(link, replica, row, notices)
        self.notices = notices
        self.record.entries.notices = notices
        self.writable = write
        self.link = link

    def collections(self) -> tuple[CollectionInfo, ...]:
        """All collections that are served, the oldest first; while the server is away, the open one."""
        own = CollectionInfo(self.row.name, self.row.model, self.record.entries.count(self.row.id), self.row.created_at)
        try:
            infos = self.link.infos()
        except GalleryServerError:
            return (own,)
        found = []
        for info in infos:
            if info.gallery != self.link.info.gallery:
                continue
            if info.collection == self.row.name:
                found.append(own)
                continue
            with suppress(GalleryServerError):  # just removed, or just made
                count = self.link.count_of(info)
                found.append(CollectionInfo(info.collection, info.model, count, info.created_at))
        return tuple(found)

    @contextmanager
    def delivered_together(self) -> Iterator[None]:
        """See `Backend.delivered_together`."""
        self.link.holding += 1
        try:
            yield
        finally:
            self.link.holding -= 1
            self.link.committed()

    def catch_up(self) -> None:
        """See `Backend.catch_up`; raises GalleryServerError where the server does not answer."""
        self.link.pull()

    def unknown_numbers(self) -> Iterator[int]:
        """See `Backend.unknown_numbers`: a block of a thousand is reserved at the server at a time."""
        start = self.link.reserve(_BLOCK)

        def numbers() -> Iterator[int]:
            first = start
            while True:
                yield from range(first, first + _BLOCK)
                try:
                    first = self.link.reserve(_BLOCK)
                except GalleryError:
                    # No server to ask: so large a number that nobody else comes to it.
                    first = 10**11 + uuid.uuid4().int % 10**11 * _BLOCK

        return numbers()

    def last_unknown_number(self) -> int:
        """See `Backend.last_unknown_number`."""
        return max(self.record.last_unknown_number(self.row.id), self.link.reserved())

    def close(self) -> None:
        """See `Backend`."""
        try:
            self.index.close()
        finally:
            self.record.close()
            self.index.release()


class ServedIndex:
    """The collection that a server searches; see `gallery_db.index.base.SearchIndex` for its methods."""

    def __init__(self, link: Link, replica: Replica, row: CollectionRow, notices: list[str]) -> None:
        self._link = link
        self._replica = replica
        self._record = replica.record
        self._row = row
        self._notices = notices

    def sync(self, progress: Progress | None = None) -> None:
        """See `SearchIndex`: what waits is brought to the server, whose index follows by itself."""
        self.deliver()

    def deliver(self) -> None:
        """See `SearchIndex`."""
        with suppress(GalleryServerError, GalleryIndexError):
            self._link.push(index=True)

    def verify(self, progress: Progress | None = None) -> VerifyReport:
        """See `SearchIndex`."""
        self._link.pull()
        damage = self._record.check_integrity()
        damaged = self._record.entries.find_damaged(self._row.id, self._row.model.dimension)
        problems = [f"The replica is damaged: {line}." for line in damage]
        if damaged:
            problems.append(f"{len(damaged)} entries of the replica are damaged: {damage_in_words(damaged)}.")
        ids = self._record.entries.ids(self._row.id)
        rows, position = self._link.head()
        if rows != position:
            problems.append(f"The log has {rows} rows, and the replica has read {position}.")
        if waiting := self._link.waiting():
            problems.append(f"{waiting} changes wait in the journal.")

        def batches() -> Iterator[tuple[Sequence[str], NDArray[np.float32]]]:
            for start in range(0, len(ids), BATCH_SIZE):
                part = ids[start : start + BATCH_SIZE]
                entries, vectors = self._record.entries.with_vectors(self._row.id, part, self._row.model.dimension)
                yield [entry.id for entry in entries], vectors

        missing: tuple[str, ...] = tuple(ids)
        extra: tuple[str, ...] = ()
        different: tuple[str, ...] = ()
        try:
            self._wait(len(ids))
            found = self._link.index().compare(
                batches(), progress=progress, total=len(ids), damaged=[one.id for one in damaged]
            )
            missing, extra, different = found.missing, found.extra, found.different
        except GalleryIndexError as error:
            if ids:
                problems.append(error.message)
            else:
                missing = ()
        return VerifyReport(
            self._row.name,
            len(ids),
            missing,
            extra,
            different,
            tuple(problems),
            not damage and not damaged,
            tuple(one.id for one in damaged),
        )

    def rebuild(self, progress: Progress | None = None) -> None:
        """See `SearchIndex`; of this collection."""
        self._link.pull()
        self._link.fill_index(progress)

    def prefers_exact(self, entries: int, *, loaded: bool) -> bool:
        """See `SearchIndex`."""
        return loaded or entries <= _EXACT_BELOW or self._link.is_away

    def search(
        self, probes: NDArray[np.float32], count: int, *, repair: bool
    ) -> tuple[list[list[str]], list[list[float]]]:
        """See `SearchIndex`. The distances are those to the replica's vectors, which may be newer."""
        count = min(count, self._record.entries.count(self._row.id))
        if not self._wait(self._record.entries.count(self._row.id), _INDEX_SECONDS if repair else 0.0) and not repair:
            raise GalleryIndexError("the server's index does not follow the gallery yet.")
        index = self._link.index()
        ids: list[list[str]] = []
        for start in range(0, len(probes), _PROBES_AT_ONCE):
            ids += index.query(probes[start : start + _PROBES_AT_ONCE], count)[0]
        wanted = list({id_ for some in ids for id_ in some})
        entries, vectors = self._record.entries.with_vectors(self._row.id, wanted, self._row.model.dimension)
        place = {entry.id: number for number, entry in enumerate(entries)}
        sorted_ids: list[list[str]] = []
        distances: list[list[float]] = []
        for probe, some in zip(probes, ids, strict=True):
            known = [id_ for id_ in some if id_ in place]
            own = np.clip(1.0 - vectors[[place[id_] for id_ in known]] @ probe, 0.0, 2.0) if known else np.empty(0)
            order = np.argsort(own, kind="stable")
            sorted_ids.append([known[number] for number in order])
            distances.append([float(own[number]) for number in order])
        return sorted_ids, distances

    def prepare(self, progress: Progress | None = None) -> None:
        """See `SearchIndex`."""
        self._wait(self._record.entries.count(self._row.id))

    def search_at(
        self, probes: NDArray[np.float32], count: int, generation: int
    ) -> tuple[list[list[str]], list[list[float]]] | None:
        """See `SearchIndex`."""
        if self._record.generation(self._row.id) != generation:
            return None
        return self.search(probes, count, repair=False)

    def _wait(self, entries: int, seconds: float = _INDEX_SECONDS) -> bool:
        """Give whoever keeps the index a moment to bring it up to date; whether it is, by its number of entries."""
        until = time.monotonic() + seconds
        while True:
            try:
                if self._link.index().count() == entries:
                    return True
            except GalleryIndexError:
                if time.monotonic() >= until:
                    raise
            if time.monotonic() >= until:
                return False
            time.sleep(0.1)

    def state(self) -> tuple[int, bool]:
        """See `SearchIndex`; the size on the server is not known."""
        try:
            return 0, self._wait(self._record.entries.count(self._row.id), 0.0)
        except (GalleryIndexError, GalleryServerError):
            return 0, False

    def close(self) -> None:
        """See `SearchIndex`."""
        self._link.close()

    def release(self) -> None:
        """See `SearchIndex`."""
        self._replica.release()
