"""A Chroma collection as the index of a gallery's collection, in a folder or on a server.

Every Chroma client of a gallery's folder must be opened under the gallery's `WriterLock`: an embedded client that only
reads may still write, because it applies the log of other clients, and two clients that write lose entries.
"""

from __future__ import annotations

import shutil
import threading
import weakref
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.address import Address
from gallery_db.entry import Entry
from gallery_db.errors import GalleryIndexError
from gallery_db.index.base import Progress
from gallery_db.index.chroma_client import REBUILD_HINT, chroma_errors, close_client, open_folder, open_server
from gallery_db.index.hnsw_check import find_size_damage
from gallery_db.model import EmbeddingModel

__all__ = ["BATCH_SIZE", "ChromaIndex", "CollectionMissingError", "IndexDifferences", "model_metadata", "remove_folder"]

BATCH_SIZE = 2000
"""Entries in one call of Chroma: below its limit of 5,461, and few enough to show progress."""

_HNSW = {
    "space": "cosine",
    "max_neighbors": 24,
    "ef_construction": 100,
    "ef_search": 200,
    # Chroma rewrites the HNSW files in place after each so many records. Rarely is faster, and less likely to be
    # interrupted by a kill.
    "sync_threshold": 2000,
}
_MAX_FAILED_READS = 200
_INDEX_FORMAT = 1

_EMBEDDED_LOCK = threading.RLock()
"""Held by each call of an embedded client: unlike a server, these take one request at a time."""

_OPEN_INDEXES: weakref.WeakSet[ChromaIndex] = weakref.WeakSet()


class CollectionMissingError(GalleryIndexError):
    """Chroma's folder has no collection of that name."""


@dataclass(frozen=True, slots=True)
class IndexDifferences:
    """The differences between an index and the record.

    Attributes:
        missing: Ids of the record that the index does not have, or whose vector it cannot read.
        extra: Ids of the index that the record does not have.
        different: Ids whose vectors differ.
        unreadable: Whether Chroma failed to read vectors, so that only a rebuild helps.
    """

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    different: tuple[str, ...]
    unreadable: bool

    @property
    def count(self) -> int:
        """Number of entries that differ."""
        return len(self.missing) + len(self.extra) + len(self.different)


def model_metadata(model: EmbeddingModel) -> dict[str, str | int]:
    """Return the metadata of a collection that names the model of its vectors."""
    return {
        "model": model.name,
        "model_sha256": model.sha256,
        "dimension": model.dimension,
        "preprocessing": model.preprocessing,
        "metric": model.metric,
    }


def _metadata_of(entry: Entry) -> dict[str, str | int]:
    # Always the same keys: Chroma merges metadata, so that a missing key would keep its old value.
    return {
        "identity": entry.identity,
        "class_name": entry.class_name,
        "origin": entry.origin,
        "source": entry.source,
        "frame": -1 if entry.frame is None else entry.frame,
        "created_at": entry.created_at,
    }


class ChromaIndex:
    """An open Chroma collection.

    Args:
        location: The folder of Chroma's files, which is created if it does not exist; or the server.
        name: Name of the collection.
        model: The model of its vectors.
        create: Create the collection if it does not exist.
        client: An open client of the server, which the caller closes; None to open one.

    Raises:
        GalleryIndexError: Chroma cannot open the collection, it does not exist, or it was built for another model.
        GalleryServerError: The server does not answer.
    """

    def __init__(
        self, location: Path | Address, name: str, model: EmbeddingModel, *, create: bool = False, client: Any = None
    ) -> None:
        self.location = location
        self.name = name
        self._client: Any = client
        self._owns_client = client is None
        self._lock: AbstractContextManager[Any] = _EMBEDDED_LOCK if isinstance(location, Path) else nullcontext()
        if isinstance(location, Path) and (damage := find_size_damage(location)):
            raise GalleryIndexError(
                f"The Chroma index is damaged: {damage[0]}",
                hint=REBUILD_HINT,
            )
        with self._lock, chroma_errors(location, "opening"):
            if isinstance(location, Path):
                location.mkdir(exist_ok=True)
                self._client = open_folder(location)
            elif client is None:
                self._client = open_server(location)
            try:
                self._collection = self._open_collection(model, create=create)
                self._check_model(model)
            except BaseException:
                self.close()
                raise
            _OPEN_INDEXES.add(self)

    def _open_collection(self, model: EmbeddingModel, *, create: bool) -> Any:
        if self.name in [collection.name for collection in self._client.list_collections()]:
            return self._client.get_collection(self.name, embedding_function=None)
        if not create:
            raise CollectionMissingError(
                f"The Chroma index {self.location} has no collection {self.name!r}.",
                hint=REBUILD_HINT,
            )
        return self._client.create_collection(
            self.name,
            embedding_function=None,
            configuration={"hnsw": dict(_HNSW)},
            metadata={**model_metadata(model), "gtrack_index_format": _INDEX_FORMAT},
        )

    def _check_model(self, model: EmbeddingModel) -> None:
        # Chroma returns a collection by name, whatever its space. Chroma Cloud has SPANN instead of HNSW.
        hnsw = self._collection.configuration_json.get("hnsw") or self._collection.configuration_json.get("spann") or {}
        metadata = self._collection.metadata or {}
        found = (
            hnsw.get("space"),
            metadata.get("model_sha256"),
            metadata.get("dimension"),
            metadata.get("preprocessing"),
        )
        expected = ("cosine", model.sha256, model.dimension, model.preprocessing)
        if found != expected:
            raise GalleryIndexError(
                f"The Chroma collection {self.name!r} in {self.location} was built for another model: expected "
                f"{expected}, found {found}.",
                hint="Build a new index with `gtrack gallery rebuild`.",
            )

    @property
    def is_open(self) -> bool:
        """Whether the client is open; `close_all` may have closed it."""
        return self._client is not None

    def close(self) -> None:
        """Close the client and release its files."""
        with self._lock:
            client, self._client = self._client, None
            _OPEN_INDEXES.discard(self)
            if client is not None and self._owns_client:
                with chroma_errors(self.location, "closing"):
                    close_client(client)

    @staticmethod
    def close_all(folder: Path) -> None:
        """Close every client of this process for a folder.

        Clients of one folder share one system in Chroma, which would keep the old state after the folder was replaced.
        """
        with _EMBEDDED_LOCK:
            for index in list(_OPEN_INDEXES):
                if index.location == folder:
                    index.close()

    # -- reading ---------------------------------------------------------------------------------------------

    def count(self) -> int:
        """Return the number of ids; it can be right in a damaged index."""
        with self._lock, chroma_errors(self.location, "counting"):
            return int(self._collection.count())

    def query(self, probes: NDArray[np.float32], count: int) -> tuple[list[list[str]], list[list[float]]]:
        """Return the ids nearest to each probe and their cosine distances, the nearest first.

        Args:
            probes: (P, D) float32.
            count: How many for each probe; Chroma may return fewer.
        """
        with self._lock, chroma_errors(self.location, "searching"):
            answer = self._collection.query(query_embeddings=probes, n_results=count, include=["distances"])
            return answer["ids"], [[min(max(float(d), 0.0), 2.0) for d in row] for row in answer["distances"]]

    def ids(self) -> Iterator[str]:
        """Yield all ids."""
        offset = 0
        while True:
            with self._lock, chroma_errors(self.location, "listing"):
                page = self._collection.get(limit=BATCH_SIZE, offset=offset, include=[])["ids"]
            yield from page
            offset += len(page)
            if len(page) < BATCH_SIZE:
                return

    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors (D,) of ids that the index has, by id.

        Args:
            ids: At most `BATCH_SIZE` ids.

        Raises:
            GalleryIndexError: Chroma cannot read one of the vectors.
        """
        with self._lock, chroma_errors(self.location, "reading vectors"):
            page = self._collection.get(ids=list(ids), include=["embeddings"])
            array = np.asarray(page["embeddings"], dtype=np.float32)
            return dict(zip(page["ids"], array, strict=True))

    def compare(
        self,
        batches: Iterator[tuple[Sequence[str], NDArray[np.float32]]],
        *,
        progress: Progress | None,
        total: int,
        damaged: Collection[str] = (),
    ) -> IndexDifferences:
        """Compare the index with the record's vectors.

        Only reading each vector shows whether an index is intact: after a broken write, Chroma's counts and searches
        still succeed, with entries missing.

        Args:
            batches: The record's ids and vectors (n, D), at most `BATCH_SIZE` at a time.
            progress: Called after each batch.
            total: Number of all entries, for `progress`.
            damaged: Entries of the record that cannot be compared, known after the last batch.
        """
        missing: list[str] = []
        different: list[str] = []
        known: set[str] = set()
        failed = 0
        done = 0
        for ids, vectors in batches:
            known.update(ids)
            rows = dict(zip(ids, vectors, strict=True))
            parts = [list(ids)]
            while parts:
                part = parts.pop()
                try:
                    found = self.vectors(part)
                except GalleryIndexError:
                    # One unreadable vector makes the whole call fail: halve the ids until it is found.
                    failed += 1
                    if len(part) == 1 or failed > _MAX_FAILED_READS:
                        missing += part
                    else:
                        middle = len(part) // 2
                        parts += [part[:middle], part[middle:]]
                    continue
                missing += [id_ for id_ in part if id_ not in found]
                different += [
                    id_
                    for id_ in part
                    if id_ in found and not (np.abs(found[id_] - rows[id_]).max(initial=0.0) <= 1e-5)
                ]
            done += len(ids)
            if progress is not None:
                progress(done, total)
        extra = tuple(id_ for id_ in self.ids() if id_ not in known and id_ not in damaged)
        return IndexDifferences(tuple(missing), extra, tuple(different), failed > 0)

    # -- writing ---------------------------------------------------------------------------------------------

    def add(self, entries: Sequence[Entry], vectors: NDArray[np.float32]) -> None:
        """Add entries that the index does not have.

        Args:
            entries: At most `BATCH_SIZE` entries.
            vectors: (N, D) float32.
        """
        if not entries:
            return
        with self._lock, chroma_errors(self.location, "adding"):
            self._collection.add(
                ids=[entry.id for entry in entries],
                embeddings=vectors,
                metadatas=[_metadata_of(entry) for entry in entries],
            )

    def update_metadata(self, entries: Sequence[Entry]) -> None:
        """Replace the metadata of at most `BATCH_SIZE` entries that the index has."""
        if not entries:
            return
        with self._lock, chroma_errors(self.location, "updating"):
            self._collection.update(
                ids=[entry.id for entry in entries], metadatas=[_metadata_of(entry) for entry in entries]
            )

    def delete(self, ids: Sequence[str]) -> None:
        """Remove any number of ids; ids that the index does not have are ignored."""
        for start in range(0, len(ids), BATCH_SIZE):
            with self._lock, chroma_errors(self.location, "removing"):
                self._collection.delete(ids=list(ids[start : start + BATCH_SIZE]))

    def apply_log(self, probe: NDArray[np.float32]) -> None:
        """Make Chroma apply its whole log now, with one search for `probe` (1, D).

        Otherwise the next process that searches would do it, which has the lock but may not be able to write.
        """
        if self.count():
            self.query(probe, 1)


def remove_folder(folder: Path) -> None:
    """Remove a folder of Chroma's files, in any state; a folder that does not exist is ignored."""
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
