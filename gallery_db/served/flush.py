"""Delivering the journals of processes that are gone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gallery_db.address import Address, parse_address
from gallery_db.errors import GalleryError, GtrackError
from gallery_db.index.chroma_client import close_client, open_server
from gallery_db.served.gallery import deliver
from gallery_db.served.log import LogInfo, find_logs
from gallery_db.served.replicas import Journal, journals

__all__ = ["FlushReport", "flush_journals"]


@dataclass(frozen=True, slots=True)
class FlushReport:
    """What became of the journals of one collection.

    Attributes:
        server: Where it is, or was last, served.
        collection: Which one.
        delivered: Number of changes that the server now has.
        left: Number of changes that wait on.
        problem: Why.
    """

    server: str
    collection: str
    delivered: int
    left: int
    problem: str | None


def flush_journals(location: str | None = None) -> list[FlushReport]:
    """Bring what waits in journals on this machine to the servers that it is for.

    A journal belongs to a gallery, wherever that is served: it is never delivered to another one. Journals of
    processes that still run are theirs to deliver.

    Args:
        location: Where a gallery is served now; only journals of that gallery are looked at. None for all, each at
            where its gallery was served last.

    Returns:
        One for each collection with something that waited.

    Raises:
        GalleryServerError: There is no server at `location`.
        GalleryError: `location` is no address.
    """
    waiting = journals()
    if location is not None:
        address = parse_address(location)
        if address is None:
            raise GalleryError(
                f"{location!r} is no address of a served gallery.",
                hint="Expected http://HOST:PORT; a gallery's own folder has no journal.",
            )
        client = open_server(address)
        try:
            infos = find_logs(address, client)
            galleries = {info.gallery for info in infos}
            chosen = [journal for journal in waiting if journal.gallery in galleries]
            if address.collection is not None:
                chosen = [journal for journal in chosen if journal.collection == address.collection]
            return [_flush(journal, address, client, infos) for journal in chosen]
        finally:
            _close(client)
    flushed = []
    for journal in waiting:
        client = None
        try:
            address = parse_address(journal.server or "")
            if address is None:
                raise GalleryError("it is not known where the gallery was served")
            client = open_server(address)
            flushed.append(_flush(journal, address, client, find_logs(address, client)))
        except GtrackError as error:
            flushed.append(FlushReport(journal.server or "?", journal.collection, 0, journal.waiting, error.message))
        finally:
            _close(client)
    return flushed


def _close(client: Any) -> None:
    if client is not None:
        with suppress(Exception):
            close_client(client)


def _flush(journal: Journal, address: Address, client: Any, infos: list[LogInfo]) -> FlushReport:
    info = next((one for one in infos if one.gallery == journal.gallery and one.collection == journal.collection), None)
    if info is None:
        elsewhere = f"{address.server} does not serve that gallery's collection {journal.collection!r} now"
        return FlushReport(address.server, journal.collection, 0, journal.waiting, elsewhere)
    delivered, notices, left = deliver(address, client, info)
    problem: str | None
    if left:
        problem = notices[-1] if notices else "it waits on"
    elif delivered < journal.waiting:
        problem, left = "the rest is of a process that runs", journal.waiting - delivered
    else:
        problem = None
    return FlushReport(address.server, journal.collection, delivered, left, problem)
