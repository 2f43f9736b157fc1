"""Searches of a gallery's collection: by Chroma's index, approximately, or by comparing with every entry."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from gallery_db.embeddings import unit_rows
from gallery_db.entry import Entry, Match
from gallery_db.errors import (
    GalleryError,
    GalleryFormatError,
    GalleryIndexError,
    GalleryLockedError,
    GalleryReadOnlyError,
    GalleryServerError,
)
from gallery_db.reranking import RERANK_CANDIDATES, rerank_candidates
from gallery_db.search.nearest import Search
from gallery_db.search.view import GalleryView
from gallery_db.spaces.cameras import camera_of
from gallery_db.spaces.space import EmbeddingSpace
from gallery_db.spaces.stored import load_space

if TYPE_CHECKING:
    from gallery_db.store.record import CollectionRow, Record

__all__ = ["ApproximateIndex", "CollectionSearch"]

_PROBES_AT_ONCE = 256
_MAX_CACHED_SELECTIONS = 16
_MIN_CANDIDATES = 50
"""Entries that are fetched from the index at least where a filter leaves out some of them."""


class ApproximateIndex(Protocol):
    """The part of a gallery's index that a search uses; see `gallery_db.index.base.SearchIndex`."""

    def prefers_exact(self, entries: int, *, loaded: bool) -> bool:
        """Return whether an exact search is faster."""
        ...

    def prepare(self) -> None:
        """Bring the index up to date if needed."""
        ...

    def search(
        self, probes: NDArray[np.float32], count: int, *, repair: bool
    ) -> tuple[list[list[str]], list[list[float]]]:
        """Return the ids and the cosine distances of the entries nearest to each probe (P, D)."""
        ...

    def search_at(
        self, probes: NDArray[np.float32], count: int, generation: int
    ) -> tuple[list[list[str]], list[list[float]]] | None:
        """Search one generation of the collection; return None if the index holds another one."""
        ...


class CollectionSearch:
    """Searches of one collection, and the views that trackers search by themselves.

    Args:
        record: The gallery's record.
        row: The collection.
        index: The approximate index of the collection.
        notices: Where fallbacks are noted for the user.
        writable: Whether the gallery is open for writing, so that a search may bring the index up to date.
    """

    def __init__(
        self, record: Record, row: CollectionRow, index: ApproximateIndex, notices: list[str], *, writable: bool
    ) -> None:
        self._record = record
        self._key = row.id
        self._model = row.model
        self._dimension = row.model.dimension
        self._index = index
        self._notices = notices
        self._writable = writable
        self._view: GalleryView | None = None
        self._selected_rows: dict[tuple[tuple[str, str], ...], NDArray[np.intp]] = {}

    def view(
        self,
        *,
        without: Collection[str] = (),
        search: Search = "auto",
        plain: bool = False,
        space: EmbeddingSpace | None = None,
    ) -> GalleryView:
        """Return a view of the collection in memory; see `gallery_db.gallery.Gallery.view`."""
        _check_search(search)
        index = None
        if search == "hnsw":
            if self._record.entries.count(self._key):
                self._index.prepare()
            index = _IndexOfView(self._index, self._notices)
        if space is None and not plain:
            space = load_space(self._record, self._key, self._model)
        if space is not None and index is not None:
            index = None  # it holds embeddings as they are
            _note_once(
                self._notices,
                "The collection is compared in a space of its own (`gtrack gallery adapt --show`), and Chroma's index "
                "holds plain embeddings: searched in memory instead, with the same names.",
            )
        return GalleryView(
            self._dimension,
            record=self._record,
            collection=self._key,
            without=without,
            search=search,
            index=index,
            space=space,
        )

    def query(
        self, probes: Any, *, top_k: int, where: Mapping[str, str] | None, search: Search, rerank: bool = False
    ) -> list[list[Match]]:
        """Return the entries nearest to each probe; see `gallery_db.gallery.Gallery.query`."""
        array = unit_rows(probes, self._dimension, what="probes")
        if top_k < 1:
            raise GalleryError(f"Expected top_k of at least 1, found {top_k}.")
        _check_search(search)
        if rerank and search == "hnsw":
            raise GalleryError("Re-ranking searches exactly.", hint="Omit `search`, or `rerank`.")
        self._record.entries.count(self._key, where)  # refuses unknown keys of `where`
        total = self._record.entries.count(self._key)
        if not total or not len(array):
            return [[] for _ in array]
        if rerank:
            return self._query_exact(array, top_k, where, rerank=True)
        auto = search == "auto"
        if search != "exact" and not (auto and self._index.prefers_exact(total, loaded=self._view is not None)):
            try:
                found = self._query_index(array, top_k, where, repair=search == "hnsw" or self._writable)
                if found is not None:
                    return found
            except (GalleryIndexError, GalleryLockedError, GalleryReadOnlyError, GalleryServerError) as error:
                if search == "hnsw":
                    raise
                _note_once(self._notices, f"Searched exactly instead of in the index: {error.message}")
        return self._query_exact(array, top_k, where)

    def _query_index(
        self, probes: NDArray[np.float32], top_k: int, where: Mapping[str, str] | None, *, repair: bool
    ) -> list[list[Match]] | None:
        """Return matches from the index; None if the filter leaves too few of the entries that were fetched."""
        generation = self._record.generation(self._key)
        total = self._record.entries.count(self._key)
        space = load_space(self._record, self._key, self._model)
        # A filter inside Chroma costs far more than a few more neighbours. And the index knows embeddings as they are:
        # of some more candidates, the nearest in the collection's space are chosen.
        wanted = min(total, top_k if not where and space is None else max(_MIN_CANDIDATES, 10 * top_k))
        ids, distances = self._index.search(probes, wanted, repair=repair)
        entries, vectors = self._entries_with_vectors({id_ for some in ids for id_ in some})
        if space is not None:
            ids, distances = _sorted_in_space(space, probes, ids, entries, vectors)
        if any(len(some) < wanted for some in ids) or any(id_ not in entries for some in ids for id_ in some):
            if self._record.generation(self._key) == generation:
                _note_once(
                    self._notices,
                    "The index does not find all entries that it should; `gtrack gallery rebuild` makes a new one.",
                )
            return None
        accepts = None if not where else _EntryFilter(where)
        matches = [
            [
                Match(entries[id_], distance)
                for id_, distance in zip(some_ids, some_distances, strict=True)
                if accepts is None or accepts(entries[id_])
            ][:top_k]
            for some_ids, some_distances in zip(ids, distances, strict=True)
        ]
        enough = min(top_k, self._record.entries.count(self._key, where))
        return matches if all(len(some) >= enough for some in matches) else None

    def _query_exact(
        self, probes: NDArray[np.float32], top_k: int, where: Mapping[str, str] | None, *, rerank: bool = False
    ) -> list[list[Match]]:
        if self._view is None or self._view.space is not load_space(self._record, self._key, self._model):
            self._view = self.view()
            self._selected_rows.clear()
        view = self._view
        if view.refresh() or len(self._selected_rows) > _MAX_CACHED_SELECTIONS:
            self._selected_rows.clear()
        rows = self._rows_of(view, where) if where else None
        matches: list[list[Match]] = []
        for start in range(0, len(probes), _PROBES_AT_ONCE):
            some_probes = view.adapt(probes[start : start + _PROBES_AT_ONCE])
            found, distances = view.nearest_of(some_probes, max(top_k, RERANK_CANDIDATES) if rerank else top_k, rows)
            if rerank:
                for probe, nearest, away in zip(some_probes, found, distances, strict=True):
                    order = rerank_candidates(probe, view.embeddings[nearest[:RERANK_CANDIDATES]])
                    nearest[: len(order)], away[: len(order)] = nearest[order], away[order]
                found, distances = found[:, :top_k], distances[:, :top_k]
            ids = [[view.entry_ids[row] for row in some] for some in found]
            wanted = {id_ for some in ids for id_ in some}
            entries = self._entries(wanted)
            if not wanted <= entries.keys() and self._record.generation(self._key) == view.generation:
                raise GalleryFormatError(
                    f"The gallery's record {self._record.path} is damaged: entries are not found by their ids.",
                    hint="Restore a snapshot: `gtrack gallery snapshot --list` shows them.",
                )
            matches += [
                [Match(entries[id_], float(d)) for id_, d in zip(some, near, strict=True) if id_ in entries]
                for some, near in zip(ids, distances, strict=True)
            ]
        return matches

    def _entries(self, ids: Collection[str]) -> dict[str, Entry]:
        return self._entries_with_vectors(ids)[0]

    def _entries_with_vectors(self, ids: Collection[str]) -> tuple[dict[str, Entry], dict[str, NDArray[np.float32]]]:
        """Return entries by id, compared with their checksums: a damaged index of ids leads to another entry."""
        found, vectors = self._record.entries.with_vectors(self._key, list(ids), self._dimension)
        return {entry.id: entry for entry in found}, {e.id: v for e, v in zip(found, vectors, strict=True)}

    def _rows_of(self, view: GalleryView, where: Mapping[str, str]) -> NDArray[np.intp]:
        """Return the rows of the view that `where` selects, from the cache if possible."""
        key = tuple(sorted(where.items()))
        rows = self._selected_rows.get(key)
        if rows is None:
            # The view knows classes and identities itself, which saves a list of thousands of ids.
            rest = {name: value for name, value in where.items() if name not in ("class", "identity")}
            among = self._record.entries.ids(self._key, rest) if rest else None
            rows = view.rows_of(class_name=where.get("class"), identity=where.get("identity"), ids=among)
            if self._record.generation(self._key) == view.generation:
                self._selected_rows[key] = rows
        return rows


class _IndexOfView:
    """The index of a collection for a view of it; an index that fails makes the view search in memory."""

    def __init__(self, index: ApproximateIndex, notices: list[str]) -> None:
        self._index = index
        self._notices = notices
        self._failed_before = False

    def nearest(
        self, probes: NDArray[np.float32], count: int, generation: int
    ) -> tuple[list[list[str]], list[list[float]]] | None:
        """See `gallery_db.search.index_candidates.EntryIndex`."""
        try:
            return self._index.search_at(probes, count, generation)
        except GalleryError as error:
            if not self._failed_before:  # only once: the name of the other writer differs from time to time
                self._failed_before = True
                _note_once(self._notices, f"Searched in memory instead of in the index: {error.message}")
            return None


def _sorted_in_space(
    space: EmbeddingSpace,
    probes: NDArray[np.float32],
    ids: list[list[str]],
    entries: Mapping[str, Entry],
    embeddings: Mapping[str, NDArray[np.float32]],
) -> tuple[list[list[str]], list[list[float]]]:
    """Return the candidates of each probe by their distance in a space, the nearest first."""
    sorted_ids: list[list[str]] = []
    distances: list[list[float]] = []
    for probe, some in zip(space.apply(probes), ids, strict=True):
        known = [id_ for id_ in some if id_ in embeddings]
        if not known:
            sorted_ids.append([])
            distances.append([])
            continue
        cameras = [camera_of(entries[id_]) for id_ in known]
        vectors = space.apply(np.stack([embeddings[id_] for id_ in known]), cameras)
        found = np.clip(1.0 - vectors @ probe, 0.0, 2.0)
        order = np.argsort(found, kind="stable").tolist()
        sorted_ids.append([known[row] for row in order])
        distances.append([float(found[row]) for row in order])
    return sorted_ids, distances


class _EntryFilter:
    """A query's `where` as a test of an entry."""

    def __init__(self, where: Mapping[str, str]) -> None:
        self._where = dict(where)
        if "class" in self._where:
            self._where["class"] = self._where["class"].lower()

    def __call__(self, entry: Entry) -> bool:
        """Return whether `where` selects an entry."""
        values = {
            "class": entry.class_name.lower(),
            "identity": entry.identity,
            "origin": entry.origin,
            "source": entry.source,
        }
        return all(values[key] == value for key, value in self._where.items())


def _check_search(search: str) -> None:
    if search not in get_args(Search):
        raise GalleryError(f"Expected search of 'auto', 'hnsw' or 'exact', found {search!r}.")


def _note_once(notices: list[str], text: str) -> None:
    if text not in notices:
        notices.append(text)
