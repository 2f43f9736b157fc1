"""The derived Chroma index of a gallery. The only module that imports chromadb.

Every Chroma client of a gallery's folder is opened under the gallery's `WriterLock`: an embedded client that
only reads may still write (it applies the log of others), and two that write lose entries.
"""

from __future__ import annotations

import shutil
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.errors import GalleryIndexError, GtrackError
from gallery_db.model import EmbeddingModel

__all__ = ["BATCH_SIZE", "ChromaIndex", "IndexDifferences", "Progress", "chroma_version", "remove_folder"]

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


@contextmanager
def _chroma_errors(folder: Path, doing: str) -> Iterator[None]:
    """Chroma raises whatever its Rust core, SQLite or pydantic raise; a user reads one kind of error."""
    try:
        yield
    except GtrackError:
        raise
    except Exception as error:
        raise _index_error(folder, doing, error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # pyo3's, of the Rust core; it is no Exception
            raise
        raise _index_error(folder, doing, error) from error


def _index_error(folder: Path, doing: str, error: BaseException) -> GalleryIndexError:
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return GalleryIndexError(
        f"The Chroma index {folder} failed while {doing}: {text}.",
        hint="The gallery's record is not concerned; `gtrack gallery rebuild` makes the index anew.",
    )


def _forget_failed_system(folder: Path) -> None:
    # Chroma 1.5.9 keeps a system that failed to start, and would hand it out again for a mended folder.
    from chromadb.api.shared_system_client import SharedSystemClient

    if not SharedSystemClient._identifier_to_refcount.get(str(folder)):
        SharedSystemClient._identifier_to_system.pop(str(folder), None)


def chroma_version() -> str:
    """The version of the installed chromadb."""
    from importlib.metadata import version

    return version("chromadb")


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
        folder: The folder of Chroma's files; made if it is absent.
        name: The collection.
        model: Whose vectors it holds.
        create: Make the collection if it is absent.

    Raises:
        GalleryIndexError: Chroma cannot open it, it is absent, or it was built for something else.
    """

    def __init__(self, folder: Path, name: str, model: EmbeddingModel, *, create: bool = False) -> None:
        self.folder = folder
        self.name = name
        self._client: Any = None
        with _TURN, _chroma_errors(folder, "opening"):
            import chromadb
            from chromadb.config import Settings

            folder.mkdir(exist_ok=True)
            # No .env of the working directory decides how a gallery is opened.
            settings = Settings(_env_file=None, anonymized_telemetry=False)
            try:
                self._client = chromadb.PersistentClient(path=str(folder), settings=settings)
            except BaseException:
                _forget_failed_system(folder)
                raise
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
                f"The Chroma index {self.folder} has no collection {self.name!r}.",
                hint="The gallery's record is not concerned; `gtrack gallery rebuild` makes the index anew.",
            )
        return self._client.create_collection(
            self.name,
            embedding_function=None,
            configuration={"hnsw": dict(_HNSW)},
            metadata={
                "model": model.name,
                "model_sha256": model.sha256,
                "dimension": model.dimension,
                "preprocessing": model.preprocessing,
                "metric": model.metric,
                "gtrack_index_format": _INDEX_FORMAT,
            },
        )

    def _check(self, model: EmbeddingModel) -> None:
        # Chroma gives back a collection of that name whatever space it was made with.
        space = (self._collection.configuration_json.get("hnsw") or {}).get("space")
        metadata = self._collection.metadata or {}
        found = (space, metadata.get("model_sha256"), metadata.get("dimension"), metadata.get("preprocessing"))
        expected = ("cosine", model.sha256, model.dimension, model.preprocessing)
        if found != expected:
            raise GalleryIndexError(
                f"The Chroma collection {self.name!r} in {self.folder} was built otherwise: expected {expected}, "
                f"found {found}.",
                hint="`gtrack gallery rebuild` makes the index anew.",
            )

    @property
    def is_open(self) -> bool:
        """Whether the client is still open; another handle of this process may have closed it."""
        return self._client is not None

    def close(self) -> None:
        """Close the client and release its files."""
        with _TURN:
            client, self._client = self._client, None
            _OPEN.discard(self)
            if client is not None:
                with _chroma_errors(self.folder, "closing"):
                    client.close()

    @staticmethod
    def close_all(folder: Path) -> None:
        """Close every client that this process has on a folder.

        Clients of one folder share one system, which would go on from memory after the folder was swapped.
        """
        with _TURN:
            for index in list(_OPEN):
                if index.folder == folder:
                    index.close()

    # -- reading ---------------------------------------------------------------------------------------------

    def count(self) -> int:
        """Number of ids that it knows of; no sign of health."""
        with _TURN, _chroma_errors(self.folder, "counting"):
            return int(self._collection.count())

    def query(self, probes: NDArray[np.float32], count: int) -> tuple[list[list[str]], list[list[float]]]:
        """The ids nearest to each of the probes (P, D) and their cosine distances, up to `count` of each."""
        with _TURN, _chroma_errors(self.folder, "searching"):
            answer = self._collection.query(query_embeddings=probes, n_results=count, include=["distances"])
            return answer["ids"], [[min(max(float(d), 0.0), 2.0) for d in row] for row in answer["distances"]]

    def ids(self) -> Iterator[str]:
        """All ids."""
        offset = 0
        while True:
            with _TURN, _chroma_errors(self.folder, "listing"):
                page = self._collection.get(limit=BATCH_SIZE, offset=offset, include=[])["ids"]
            yield from page
            offset += len(page)
            if len(page) < BATCH_SIZE:
                return

    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors of those of the ids that it can give, by id. At most `BATCH_SIZE` ids."""
        with _TURN, _chroma_errors(self.folder, "reading vectors"):
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
        with _TURN, _chroma_errors(self.folder, "adding"):
            self._collection.add(
                ids=[entry.id for entry in entries],
                embeddings=vectors,
                metadatas=[_metadata_of(entry) for entry in entries],
            )

    def update_metadata(self, entries: Sequence[Entry]) -> None:
        """Change what it says about entries that it holds; at most `BATCH_SIZE`."""
        if not entries:
            return
        with _TURN, _chroma_errors(self.folder, "updating"):
            self._collection.update(
                ids=[entry.id for entry in entries], metadatas=[_metadata_of(entry) for entry in entries]
            )

    def delete(self, ids: Sequence[str]) -> None:
        """Remove ids, in batches; those that it does not hold are no error."""
        for start in range(0, len(ids), BATCH_SIZE):
            with _TURN, _chroma_errors(self.folder, "removing"):
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
