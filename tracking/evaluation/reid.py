"""Evaluation of an embedder, or of a gallery, by Market-1501's protocol (Zheng et al., 2015): rank-k, mAP and mINP.

Each query is compared with all entries, and they are ranked by distance. Ignored are entries of the query's identity
from the query's camera, junk images (``-1``) and the query itself; distractors (``0000``) are never right. A query
without a right entry does not count. mAP is the mean over queries of the average precision at the right entries; mINP
(Ye et al., 2021) is the mean of (right entries) / (rank of the last of them). A right entry that a search does not find
has no rank, and lowers both.

The index (HNSW) is asked for as many entries as rank-k needs; behind its answers, the others follow in exact order.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from gallery_db import Embedder, Entry, Gallery, GalleryView, ImageError, is_gallery, read_image
from gallery_db.media.market_names import DISTRACTOR, JUNK
from gallery_db.reranking import RERANK_CANDIDATES, rerank_candidates
from tracking.errors import EvaluationError
from tracking.evaluation.reid_labels import LabelTable, ReidLabel, first_of_each, label_of_entry, labelled_images
from tracking.evaluation.reid_scores import RANKS, ReidScores, score_rankings

if TYPE_CHECKING:
    from gallery_db.spaces.space import EmbeddingSpace
    from tracking.identification.gallery_source import EmbedderOptions

__all__ = ["ReidReport", "Search", "evaluate_reid"]

Search = Literal["hnsw", "exact", "reranked", "adapted", "adapted-reranked"]
Rankings = list[NDArray[np.intp]]
Progress = Callable[[int, int], None]
Notify = Callable[[str], None]

_BATCH = 64
_INDEX_ANSWERS = 64
"""Entries that the index is asked for at first, as in a run."""
_DEPTH = RANKS[-1]
_ROUNDING = 2e-6
"""Largest difference between the index's distance and the exact one."""


@dataclass(frozen=True, slots=True)
class ReidReport:
    """The evaluation of an embedder or a gallery.

    Attributes:
        model: Name of the embedding model.
        entries: Number of entries, distractors included.
        identities: Number of their identities, without distractors.
        cameras: Number of their cameras; 0 where they are unknown.
        distractors: Number of distractors.
        ignored: Number of junk images.
        queries: Number of queries.
        unanswerable: Number of queries that do not count, because no entry is right for them.
        skipped: (path, reason) of each image that could not be read.
        scores: The figures of each kind of search.
        index_recall: Share of the nearest 20 entries that the index finds, over queries; None without ``"hnsw"``.
    """

    model: str
    entries: int
    identities: int
    cameras: int
    distractors: int
    ignored: int
    queries: int
    unanswerable: int
    skipped: tuple[tuple[str, str], ...]
    scores: dict[Search, ReidScores]
    index_recall: float | None


def evaluate_reid(
    target: str | os.PathLike[str],
    embedder: EmbedderOptions,
    *,
    queries: str | os.PathLike[str] | None = None,
    collection: str | None = None,
    searches: Sequence[Search] = ("hnsw", "exact", "adapted"),
    notify: Notify | None = None,
    progress: Progress | None = None,
    search_progress: Progress | None = None,
) -> ReidReport:
    """Evaluate an embedder or a gallery by Market-1501's protocol.

    Args:
        target: A gallery; or a folder of images, of which a temporary gallery is made: with Market-1501's names, in the
            folder or in ``query/`` and ``bounding_box_test/``; or with one sub-folder an identity. The cameras of a
            gallery's entries are known from such names, or from the source of the enrolment.
        embedder: The ReID model. A gallery without `queries` needs none: its own entries are the queries.
        queries: A folder of query images, labelled in one of those ways. None for ``query/`` if there is one, else for
            the first image of each identity and camera.
        collection: The gallery's collection.
        searches: ``"hnsw"`` uses Chroma's index, ``"exact"`` compares with every entry, ``"reranked"`` ranks the
            nearest of these again (`gallery_db.reranking.rerank_candidates`). These compare a folder's embeddings as
            they are, and a gallery's in its space. ``"adapted"`` and ``"adapted-reranked"`` compare a folder's in the
            space that a gallery of the model begins with; left out for a gallery, and where there is no such space.
        notify: Takes one-line messages.
        progress: Called with (done, total) images while they are embedded.
        search_progress: Called with (done, total) queries.

    Raises:
        EvaluationError: There are no images, no queries, or no query has a right entry.
        GalleryError: As of `Gallery.open` and `Gallery.query`.
        WeightsError, EmbedderError: As of `tracking.load_embedder`.
    """
    path = Path(target)
    query_folder = None if queries is None else Path(queries)
    if is_gallery(path):
        opened = _gallery_case(path, embedder, query_folder, collection, notify, progress)
    else:
        opened = _folder_case(path, embedder, query_folder, notify, progress)
    with opened as case:
        return _score(case, searches, search_progress)


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """The gallery and the queries of an evaluation.

    Attributes:
        target: The gallery or folder, for messages.
        gallery: The open gallery.
        labels: Entry id to label, junk included.
        embeddings: (Q, D) float32, the queries.
        queries: Label and entry id of each query; the id is empty for an image that is not an entry.
        junk: Number of junk images.
        skipped: (path, reason) of each image that could not be read.
        space: The space of the model, where the gallery compares embeddings as they are.
    """

    target: str
    gallery: Gallery
    labels: dict[str, ReidLabel]
    embeddings: NDArray[np.float32]
    queries: Sequence[tuple[ReidLabel, str]]
    junk: int
    skipped: Sequence[tuple[str, str]]
    space: EmbeddingSpace | None = None


@contextmanager
def _gallery_case(
    path: Path,
    embedder: EmbedderOptions,
    query_folder: Path | None,
    collection: str | None,
    notify: Notify | None,
    progress: Progress | None,
) -> Iterator[_Case]:
    with Gallery.open(path, collection=collection) as gallery:
        labels = {entry.id: label_of_entry(entry) for entry in gallery.entries()}
        junk = sum(label.identity == JUNK for label in labels.values())
        skipped: list[tuple[str, str]] = []
        if query_folder is None:
            embeddings, queries = _queries_among_entries(gallery, labels)
        else:
            images, _ = labelled_images(query_folder)
            model = embedder.load(gallery, notify)
            if not gallery.model.same_space(model.model):
                raise EvaluationError(
                    f"the embeddings of {path} are of model {gallery.model.name}, and the queries would be of "
                    f"{model.model.name}.",
                    hint="Omit `reid_weights`, or choose the collection of that model with `collection`.",
                )
            embeddings, query_labels, skipped = _embed(
                model, images, lambda done: progress(done, len(images)) if progress else None
            )
            queries = [(label, "") for label in query_labels]
        yield _Case(str(path), gallery, labels, embeddings, queries, junk, skipped)
        for notice in gallery.notices:
            if notify is not None:
                notify(notice)


@contextmanager
def _folder_case(
    path: Path,
    embedder: EmbedderOptions,
    query_folder: Path | None,
    notify: Notify | None,
    progress: Progress | None,
) -> Iterator[_Case]:
    if not path.is_dir():
        raise EvaluationError(
            f"{path}: expected a gallery or a folder of images, found {'a file' if path.exists() else 'nothing'}."
        )
    entry_folder = path
    if (path / "bounding_box_test").is_dir():
        entry_folder = path / "bounding_box_test"
        if query_folder is None and (path / "query").is_dir():
            query_folder = path / "query"
    images, junk = labelled_images(entry_folder)
    query_images = labelled_images(query_folder)[0] if query_folder is not None else []
    model = embedder.load(None, notify)
    total = len(images) + len(query_images)
    with (
        tempfile.TemporaryDirectory() as folder,
        Gallery.create(Path(folder) / "gallery", model.model) as gallery,
    ):
        space = gallery.space
        gallery.reset_space(plain=True)  # it is the network that is measured
        labels, skipped = _add_images(gallery, model, images, lambda done: progress(done, total) if progress else None)
        if query_folder is None:
            embeddings, queries = _queries_among_entries(gallery, labels)
        else:
            embeddings, query_labels, more = _embed(
                model, query_images, lambda done: progress(len(images) + done, total) if progress else None
            )
            queries = [(label, "") for label in query_labels]
            skipped += more
        yield _Case(str(path), gallery, labels, embeddings, queries, junk, skipped, space)


def _queries_among_entries(
    gallery: Gallery, labels: dict[str, ReidLabel]
) -> tuple[NDArray[np.float32], list[tuple[ReidLabel, str]]]:
    """Return the embeddings, labels and ids of the entries that are queries."""
    ids = first_of_each(labels)
    rows = [gallery.get(id_)[1] for id_ in ids]
    embeddings = np.stack(rows) if rows else np.empty((0, gallery.model.dimension), np.float32)
    return embeddings, [(labels[id_], id_) for id_ in ids]


def _embed(
    model: Embedder, images: Sequence[tuple[Path, ReidLabel]], progress: Callable[[int], None]
) -> tuple[NDArray[np.float32], list[ReidLabel], list[tuple[str, str]]]:
    """Embed images: (N, D) embeddings, their labels, and the images that could not be read."""
    parts = [np.empty((0, model.model.dimension), np.float32)]
    labels: list[ReidLabel] = []
    skipped: list[tuple[str, str]] = []
    for batch in _embedded_batches(model, images, progress):
        parts.append(batch.embeddings)
        labels += batch.labels
        skipped += batch.skipped
    return np.concatenate(parts), labels, skipped


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Embedded images: paths, labels, (N, D) embeddings, and (path, reason) of those that could not be read."""

    paths: list[Path]
    labels: list[ReidLabel]
    embeddings: NDArray[np.float32]
    skipped: list[tuple[str, str]]


def _embedded_batches(
    model: Embedder, images: Sequence[tuple[Path, ReidLabel]], progress: Callable[[int], None]
) -> Iterator[_Batch]:
    for start in range(0, len(images), _BATCH):
        paths, labels, pixels, skipped = [], [], [], []
        for path, label in images[start : start + _BATCH]:
            try:
                pixels.append(read_image(path))
            except ImageError as error:
                skipped.append((str(path), error.message.removeprefix(f"{path} ").rstrip(".")))
                continue
            paths.append(path)
            labels.append(label)
        embeddings = model.embed(pixels) if pixels else np.empty((0, model.model.dimension), np.float32)
        yield _Batch(paths, labels, embeddings, skipped)
        progress(min(start + _BATCH, len(images)))


def _add_images(
    gallery: Gallery, model: Embedder, images: Sequence[tuple[Path, ReidLabel]], progress: Callable[[int], None]
) -> tuple[dict[str, ReidLabel], list[tuple[str, str]]]:
    """Add every image as an entry of its own (`ingest_folder` would leave out duplicate images)."""
    all_labels: dict[str, ReidLabel] = {}
    skipped: list[tuple[str, str]] = []
    for batch in _embedded_batches(model, images, progress):
        skipped += batch.skipped
        entries = [
            Entry(id=f"{len(all_labels) + number:08d}", identity=label.identity, source=str(path))
            for number, (path, label) in enumerate(zip(batch.paths, batch.labels, strict=True))
        ]
        if entries:
            gallery.add(entries, batch.embeddings)
        all_labels.update(zip((entry.id for entry in entries), batch.labels, strict=True))
    gallery.sync_index()
    return all_labels, skipped


def _score(case: _Case, searches: Sequence[Search], progress: Progress | None) -> ReidReport:
    """Search for every query, and score the rankings."""
    wanted = [at for at, (label, _) in enumerate(case.queries) if label.is_person]
    ranker = _Ranker(case)
    totals = [int(ranker.table.match(*case.queries[at])[0].sum()) for at in wanted]
    if not any(totals):
        raise EvaluationError(
            f"{case.target}: none of the {len(wanted)} queries has a right entry.",
            hint="Each person needs images from another camera than the query's, or more images.",
        )
    measured = [search for search in searches if case.space is not None or not search.startswith("adapted")]
    rankings: dict[Search, list[tuple[NDArray[np.bool_], int]]] = {search: [] for search in measured}
    for start in range(0, len(wanted), _BATCH):
        some = wanted[start : start + _BATCH]
        matches = [ranker.table.match(*case.queries[at]) for at in some]
        for search, ranked in ranker.rank(case.embeddings[some], [ignored for _, ignored in matches], measured).items():
            for rows, (right, ignored) in zip(ranked, matches, strict=True):
                rankings[search].append((right[rows[~ignored[rows]]], int(right.sum())))
        if progress is not None:
            progress(start + len(some), len(wanted))
    listed = [label for label in case.labels.values() if label.identity != JUNK]
    return ReidReport(
        model=case.gallery.model.name,
        entries=len(listed),
        identities=len({label.identity for label in listed} - {DISTRACTOR}),
        cameras=len({label.camera for label in listed if label.camera is not None}),
        distractors=sum(label.identity == DISTRACTOR for label in listed),
        ignored=case.junk,
        queries=len(wanted),
        unanswerable=sum(not total for total in totals),
        skipped=tuple(case.skipped),
        scores={search: score_rankings(found) for search, found in rankings.items()},
        index_recall=float(np.mean(ranker.recalls)) if ranker.recalls else None,
    )


class _ExactRanking:
    """The ranking of all entries by their distances in one space.

    Args:
        view: The entries.
        space: The space of the view, where the view does not know it.
        table: The labels of the entries; rankings are rows of it.
    """

    def __init__(self, view: GalleryView, space: EmbeddingSpace | None, table: LabelTable) -> None:
        self._view = view
        self._space = space
        self._rows = table.rows(view.entry_ids)

    def rank(self, probes: NDArray[np.float32], *, rerank: bool) -> tuple[Rankings, Rankings, NDArray[np.float32]]:
        """Return the plain ranking of each probe, with `rerank` also the re-ranked one, and the (Q, N) distances."""
        vectors = self._view.adapt(probes) if self._space is None else self._space.apply(probes)
        nearest, distances = self._view.nearest(vectors, len(self._view))
        reranked = []
        for vector, rows in zip(vectors, nearest, strict=True) if rerank else ():
            first = rows[:RERANK_CANDIDATES]
            order = rerank_candidates(vector, self._view.embeddings[first])
            reranked.append(self._rows[np.concatenate([first[order], rows[RERANK_CANDIDATES:]])])
        return list(self._rows[nearest]), reranked, distances


class _Ranker:
    """Ranks the entries of a gallery for queries.

    Attributes:
        table: The labels of the entries; rankings are rows of it.
        recalls: For each query that the index was asked, the share of the nearest entries that it found.
    """

    def __init__(self, case: _Case) -> None:
        self.table = LabelTable(case.labels)
        self.recalls: list[float] = []
        self._gallery = case.gallery
        view = case.gallery.view()
        self._exact = _ExactRanking(view, None, self.table)
        self._adapted = None
        if case.space is not None:
            vectors = GalleryView.from_arrays(view.entry_ids, case.space.apply(view.embeddings), ids=view.entry_ids)
            self._adapted = _ExactRanking(vectors, case.space, self.table)

    def rank(
        self, probes: NDArray[np.float32], ignored: Sequence[NDArray[np.bool_]], searches: Sequence[Search]
    ) -> dict[Search, Rankings]:
        """Return for each kind of search the ranking of all entries for each query, as rows of `table`.

        Args:
            probes: (Q, D) float32, rows of unit length.
            ignored: For each query which rows of `table` do not count, (N,) bool each.
            searches: The kinds of search.
        """
        found: dict[Search, Rankings] = {}
        found["exact"], found["reranked"], distances = self._exact.rank(probes, rerank="reranked" in searches)
        if self._adapted is not None:
            found["adapted"], found["adapted-reranked"], _ = self._adapted.rank(
                probes, rerank="adapted-reranked" in searches
            )
        if "hnsw" in searches:
            answers = self._ask_index(probes, ignored)
            for (_, near), limits in zip(answers, distances, strict=True):
                depth = min(_DEPTH, len(limits))
                self.recalls.append(float((near[:depth] <= limits[depth - 1] + _ROUNDING).sum()) / depth)
            found["hnsw"] = [
                _put_first(rows, ranked) for (rows, _), ranked in zip(answers, found["exact"], strict=True)
            ]
        return {search: found[search] for search in searches if search in found}

    def _ask_index(
        self, probes: NDArray[np.float32], ignored: Sequence[NDArray[np.bool_]]
    ) -> list[tuple[NDArray[np.intp], NDArray[np.float64]]]:
        """Return the index's answers to each query, rows and distances: enough of them that `_DEPTH` count."""
        entries = len(self._gallery)
        count = min(_INDEX_ANSWERS, entries)
        while True:
            answers = [
                (
                    self.table.rows(match.entry.id for match in matches),
                    np.fromiter((match.distance for match in matches), np.float64),
                )
                for matches in self._gallery.query(probes, top_k=count, search="hnsw")
            ]
            fewest = min(int((~away[rows]).sum()) for (rows, _), away in zip(answers, ignored, strict=True))
            if count == entries or fewest >= _DEPTH:
                return answers
            count = min(4 * count, entries)


def _put_first(first: NDArray[np.intp], ranked: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return a ranking that begins with some of its rows."""
    return np.concatenate([first, ranked[~np.isin(ranked, first)]])
