"""The derived Chroma index of a gallery, in its folder or on a server.

Every Chroma client of a gallery's folder is opened under the gallery's `WriterLock`: an embedded client that
only reads may still write (it applies the log of others), and two that write lose entries.
"""

from __future__ import annotations

import shutil
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.address import Address
from gallery_db.entry import Entry
from gallery_db.errors import GalleryIndexError
from gallery_db.index.chroma_client import chroma_errors, close_client, open_folder, open_server
from gallery_db.index.hnsw_check import hnsw_damage_at_a_glance
from gallery_db.model import EmbeddingModel

__all__ = ["BATCH_SIZE", "ChromaIndex", "IndexDifferences", "Progress", "model_facts", "remove_folder"]

BATCH_SIZE = 2000
"""Entries in one call of Chroma: within its limits (it takes no more than 5,461), and few enough to show progress."""

_HNSW = {
    "space": "cosine",
    "max_neighbors": 32,
    "ef_construction": 200,
    "ef_search": 200,
    # Each so many records the HNSW files are rewritten in place: rarely is better, in time and in danger.
    "sync_threshold": 2000,
}
_MOST_FAILED_READS = 200
_INDEX_FORMAT = 1

_TURN = threading.RLock()
_OPEN: weakref.WeakSet[ChromaIndex] = weakref.WeakSet()

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class IndexDifferences:
    """How an index differs from the record.

    Attributes:
        missing: Ids of the record that the index lacks, or whose vector it cannot give.
        extra: Ids of the index that the record lacks.
        different: Ids whose vectors differ.
        unreadable: Whether Chroma failed to read vectors, so that only a rebuild helps.
    """

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    different: tuple[str, ...]
    unreadable: bool


def model_facts(model: EmbeddingModel) -> dict[str, str | int]:
    """What a collection's metadata says of its model."""
    return {
        "model": model.name,
        "model_sha256": model.sha256,
        "dimension": model.dimension,
        "preprocessing": model.preprocessing,
        "metric": model.metric,
    }


def _metadata_of(entry: Entry) -> dict[str, str | int]:
    # Always the same keys: Chroma merges metadata, so that a key left out would keep its old value.
    return {
        "identity": entry.identity,
        "class_name": entry.class_name,
        "origin": entry.origin,
        "source": entry.source,
        "frame": -1 if entry.frame is None else entry.frame,
        "created_at": entry.created_at,
    }


class ChromaIndex:
    """A Chroma collection, open.

    Args:
        place: The folder of Chroma's files, which is made if it is absent; or the server.
        name: The collection.
        model: Whose vectors it holds.
        create: Make the collection if it is absent.
        client: Of a server: an open client of it, which stays the caller's.

    Raises:
        GalleryIndexError: Chroma cannot open it, it is absent, or it was built for something else.
        GalleryServerError: The server does not answer.
    """

    def __init__(
        self, place: Path | Address, name: str, model: EmbeddingModel, *, create: bool = False, client: Any = None
    ) -> None:
        self.place = place
        self.name = name
        self._client: Any = client
        self._own = client is None
        # A server takes any number of requests at once; Chroma's embedded clients do not.
        self._turn: AbstractContextManager[Any] = _TURN if isinstance(place, Path) else nullcontext()
        if isinstance(place, Path) and (damage := hnsw_damage_at_a_glance(place)):
            raise GalleryIndexError(
                f"The Chroma index is damaged: {damage[0]}",
                hint="The gallery's record is not concerned; `gtrack gallery rebuild` makes the index anew.",
            )
        with self._turn, chroma_errors(place, "opening"):
            if isinstance(place, Path):
                place.mkdir(exist_ok=True)
                self._client = open_folder(place)
            elif client is None:
                self._client = open_server(place)
            try:
                self._collection = self._get(model, create=create)
                self._check(model)
            except BaseException:
                self.close()
                raise
            _OPEN.add(self)

    def _get(self, model: EmbeddingModel, *, create: bool) -> Any:
        if self.name in [collection.name for collection in self._client.list_collections()]:
            return self._client.get_collection(self.name, embedding_function=None)
        if not create:
            raise GalleryIndexError(
                f"The Chroma index {self.place} has no collection {self.name!r}.",
                hint="The gallery's record is not concerned; `gtrack gallery rebuild` makes the index anew.",
            )
        return self._client.create_collection(
            self.name,
            embedding_function=None,
            configuration={"hnsw": dict(_HNSW)},
            metadata={**model_facts(model), "gtrack_index_format": _INDEX_FORMAT},
        )

    def _check(self, model: EmbeddingModel) -> None:
        # Chroma gives back a collection of that name whatever space it was made with. Its Cloud knows no HNSW.
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
                f"The Chroma collection {self.name!r} in {self.place} was built otherwise: expected {expected}, "
                f"found {found}.",
                hint="`gtrack gallery rebuild` makes the index anew.",
            )

    @property
    def is_open(self) -> bool:
        """Whether the client is still open; another handle of this process may have closed it."""
        return self._client is not None

    def close(self) -> None:
        """Close the client and release its files."""
        with self._turn:
            client, self._client = self._client, None
            _OPEN.discard(self)
            if client is not None and self._own:
                with chroma_errors(self.place, "closing"):
                    close_client(client)

    @staticmethod
    def close_all(folder: Path) -> None:
        """Close every client that this process has on a folder.

        Clients of one folder share one system, which would go on from memory after the folder was swapped.
        """
        with _TURN:
            for index in list(_OPEN):
                if index.place == folder:
                    index.close()

    # -- reading ---------------------------------------------------------------------------------------------

    def count(self) -> int:
        """Number of ids that it knows of; no sign of health."""
        with self._turn, chroma_errors(self.place, "counting"):
            return int(self._collection.count())

    def query(self, probes: NDArray[np.float32], count: int) -> tuple[list[list[str]], list[list[float]]]:
        """The ids nearest to each of the probes (P, D) and their cosine distances, up to `count` of each."""
        with self._turn, chroma_errors(self.place, "searching"):
            answer = self._collection.query(query_embeddings=probes, n_results=count, include=["distances"])
            return answer["ids"], [[min(max(float(d), 0.0), 2.0) for d in row] for row in answer["distances"]]

    def ids(self) -> Iterator[str]:
        """All ids."""
        offset = 0
        while True:
            with self._turn, chroma_errors(self.place, "listing"):
                page = self._collection.get(limit=BATCH_SIZE, offset=offset, include=[])["ids"]
            yield from page
            offset += len(page)
            if len(page) < BATCH_SIZE:
                return

    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors of those of the ids that it can give, by id. At most `BATCH_SIZE` ids."""
        with self._turn, chroma_errors(self.place, "reading vectors"):
            page = self._collection.get(ids=list(ids), include=["embeddings"])
            array = np.asarray(page["embeddings"], dtype=np.float32)
            return dict(zip(page["ids"], array, strict=True))

    def compare(
        self, batches: Iterator[tuple[Sequence[str], NDArray[np.float32]]], *, progress: Progress | None, total: int
    ) -> IndexDifferences:
        """Compare with the record's ids and vectors, given in batches of at most `BATCH_SIZE`.

        Reading each vector is the only check of health that Chroma offers: after a broken write, counts and
        searches go on to succeed with entries missing.
        """
        missing: list[str] = []
        different: list[str] = []
        known: set[str] = set()
        failed = 0
        done = 0
        for ids, vectors in batches:
            known.update(ids)
            rows = dict(zip(ids, vectors, strict=True))
            waiting = [list(ids)]
            while waiting:
                part = waiting.pop()
                try:
                    found = self.vectors(part)
                except GalleryIndexError:
                    # One vector that is gone spoils its whole page: halve it until it is found.
                    failed += 1
                    if len(part) == 1 or failed > _MOST_FAILED_READS:
                        missing += part
                    else:
                        middle = len(part) // 2
                        waiting += [part[:middle], part[middle:]]
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
        extra = tuple(id_ for id_ in self.ids() if id_ not in known)
        return IndexDifferences(tuple(missing), extra, tuple(different), failed > 0)

    # -- writing ---------------------------------------------------------------------------------------------

    def add(self, entries: Sequence[Entry], vectors: NDArray[np.float32]) -> None:
        """Add entries that it does not hold, with their vectors (N, D); at most `BATCH_SIZE`."""
        if not entries:
            return
        with self._turn, chroma_errors(self.place, "adding"):
            self._collection.add(
                ids=[entry.id for entry in entries],
                embeddings=vectors,
                metadatas=[_metadata_of(entry) for entry in entries],
            )

    def update_metadata(self, entries: Sequence[Entry]) -> None:
        """Change what it says about entries that it holds; at most `BATCH_SIZE`."""
        if not entries:
            return
        with self._turn, chroma_errors(self.place, "updating"):
            self._collection.update(
                ids=[entry.id for entry in entries], metadatas=[_metadata_of(entry) for entry in entries]
            )

    def delete(self, ids: Sequence[str]) -> None:
        """Remove ids, in batches; those that it does not hold are no error."""
        for start in range(0, len(ids), BATCH_SIZE):
            with self._turn, chroma_errors(self.place, "removing"):
                self._collection.delete(ids=list(ids[start : start + BATCH_SIZE]))

    def settle(self, probe: NDArray[np.float32]) -> None:
        """Make Chroma apply its whole log now, with one search for `probe` (1, D).

        It would otherwise do so in the next process that searches, which holds the lock but does not count
        on writing.
        """
        if self.count():
            self.query(probe, 1)


def remove_folder(folder: Path) -> None:
    """Remove a folder of Chroma's files, whatever state it is in."""
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
