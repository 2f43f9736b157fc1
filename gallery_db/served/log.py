"""The logs on a Chroma server: one beside each collection of the gallery, append-only, numbered by arrival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gallery_db.address import Address
from gallery_db.errors import GalleryError, GalleryFormatError, GalleryServerError
from gallery_db.index.chroma_client import CollectionGoneError, chroma_errors
from gallery_db.index.chroma_index import model_metadata
from gallery_db.model import EmbeddingModel
from gallery_db.served.rows import LOG_FORMAT, LogRow, decode_row, encode_row, row_size
from gallery_db.suggestions import did_you_mean
from gallery_db.times import utc_now

__all__ = ["CLIENTS", "SERVER", "LogInfo", "ServedLog", "check_log_name", "create_log", "find_logs", "log_name"]

CLIENTS = "clients"
SERVER = "server"
"""Who keeps the collection that is searched: `gtrack gallery serve`, or, where that does not run, each client."""

_SUFFIX = ".log"
_PAGE = 40
_MOST_BYTES = 8 << 20
_CLOUD_VALUE = 4000
CLOUD_ROWS = 100

_CONFIGURATION = {
    # Every row has the same vector of two numbers: the index over them shall cost nothing.
    "hnsw": {"space": "l2", "max_neighbors": 4, "ef_construction": 8, "ef_search": 8, "sync_threshold": 2000}
}


@dataclass(frozen=True, slots=True)
class LogInfo:
    """What a server says of one of its logs.

    Attributes:
        collection: Of which collection.
        model: Whose embeddings it is about.
        gallery: Unique id of the gallery.
        keeper: `SERVER` or `CLIENTS`.
        created_at: ISO 8601 UTC.
        epoch: Unique id of this very log.
        format: Of its rows.
    """

    collection: str
    model: EmbeddingModel
    gallery: str
    keeper: str
    created_at: str
    epoch: str
    format: int


def log_name(collection: str) -> str:
    """The name of a collection's log."""
    return collection + _SUFFIX


def check_log_name(collection: str) -> None:
    """Refuse collections whose log could not stand beside them.

    Raises:
        GalleryError: The name is too long, or that of a log.
    """
    if len(collection) > 500 or collection.endswith(_SUFFIX):
        raise GalleryError(
            f"The collection {collection!r} cannot be served.",
            hint=f"Its name must have at most 500 characters and not end with {_SUFFIX!r}.",
        )


def find_logs(place: Path | Address, client: Any) -> list[LogInfo]:
    """The logs of a server, or in a folder, the oldest first."""
    with chroma_errors(place, "listing the collections"):
        found: list[Any] = []
        while True:
            page = client.list_collections(limit=100, offset=len(found))
            found += page
            if len(page) < 100:
                break
    infos = []
    for collection in found:
        facts = collection.metadata or {}
        if "gtrack_log" not in facts or not collection.name.endswith(_SUFFIX):
            continue
        if int(facts["gtrack_log"]) > LOG_FORMAT:
            raise GalleryFormatError(
                f"The log {collection.name!r} of {place} has format {facts['gtrack_log']}, of a newer gtrack; this one "
                f"reads formats up to {LOG_FORMAT}.",
                hint="Upgrade gtrack: `pip install -U gtrack-reid`.",
            )
        try:
            infos.append(_info(collection.name, facts, str(collection.id)))
        except (KeyError, TypeError, ValueError):
            continue  # somebody else's
    return sorted(infos, key=lambda info: (info.created_at, info.collection))


def _info(name: str, facts: Mapping[str, Any], epoch: str) -> LogInfo:
    model = EmbeddingModel(
        str(facts["model"]),
        str(facts["model_sha256"]),
        int(facts["dimension"]),
        str(facts["preprocessing"]),
        str(facts["metric"]),
    )
    return LogInfo(
        name[: -len(_SUFFIX)],
        model,
        str(facts["gallery"]),
        str(facts["keeper"]),
        str(facts["created_at"]),
        epoch,
        int(facts["gtrack_log"]),
    )


def create_log(
    place: Path | Address, client: Any, collection: str, model: EmbeddingModel, *, gallery: str, keeper: str
) -> LogInfo:
    """Make an empty log.

    Raises:
        GalleryServerError, GalleryIndexError: It cannot be made, such as because it is there.
    """
    check_log_name(collection)
    facts = {
        **model_metadata(model),
        "gtrack_log": LOG_FORMAT,
        "gallery": gallery,
        "keeper": keeper,
        "created_at": utc_now(),
    }
    with chroma_errors(place, f"making the log of {collection!r}"):
        made = client.create_collection(
            log_name(collection), embedding_function=None, configuration=_CONFIGURATION, metadata=facts
        )
        return _info(made.name, facts, str(made.id))


class ServedLog:
    """One log, open.

    Args:
        place: The server; or the folder of Chroma's files, by who holds its gallery's lock.
        client: Of Chroma.
        info: Which log.

    Raises:
        CollectionGoneError: It is not there.
    """

    def __init__(self, place: Path | Address, client: Any, info: LogInfo) -> None:
        self.info = info
        self._place = place
        cloud = isinstance(place, Address) and place.is_cloud
        self._most_value = _CLOUD_VALUE if cloud else None
        self._most_rows = CLOUD_ROWS if cloud else 1000
        with chroma_errors(place, "opening the log"):
            self._collection = client.get_collection(log_name(info.collection), embedding_function=None)
        if str(self._collection.id) != info.epoch:
            raise CollectionGoneError(f"The log of {info.collection!r} of {place} is another one now.")

    def __len__(self) -> int:
        with chroma_errors(self._place, "counting the log"):
            return int(self._collection.count())

    def page(self, start: int) -> tuple[list[str], list[LogRow | None]]:
        """Ids and rows from a position on, some; None for a row that cannot be read."""
        with chroma_errors(self._place, "reading the log"):
            answer = self._collection.get(offset=start, limit=_PAGE, include=["metadatas"])
        ids = [str(id_) for id_ in answer["ids"]]
        rows: list[LogRow | None] = []
        for id_, metadata in zip(ids, answer["metadatas"], strict=True):
            try:
                rows.append(decode_row(id_, metadata, self.info.model.dimension))
            except GalleryFormatError:
                rows.append(None)
        return ids, rows

    def append(self, rows: Sequence[LogRow]) -> int:
        """Append the first of some rows, as many as one request should carry; returns how many.

        A row that is there already stays as it is. All of them are there when it returns.
        """
        size = count = 0
        for row in rows[: self._most_rows]:
            size += row_size(row)
            if count and size > _MOST_BYTES:
                break
            count += 1
        some = rows[:count]
        if some:
            with chroma_errors(self._place, "appending to the log"):
                self._collection.add(
                    ids=[row.id for row in some],
                    embeddings=[[1.0, 0.0]] * len(some),
                    metadatas=[encode_row(row, most=self._most_value) for row in some],
                )
        return count


def not_there(address: Address, infos: Sequence[LogInfo]) -> GalleryServerError:
    """What to say where a collection is not on the server."""
    names = [info.collection for info in infos]
    has = (
        did_you_mean(address.collection or "", names, f"It has {', '.join(names)}.")
        if infos
        else "It serves no gallery."
    )
    return GalleryServerError(
        f"The gallery server {address.server} has no collection {address.collection!r}.", hint=has
    )
