"""Evaluation of an embedder, or of a gallery, by Market-1501's protocol (Zheng et al., 2015): rank-k, mAP and mINP.

Each query is compared with all entries, and they are ranked by distance. Ignored are entries of the query's identity
from the query's camera, junk images (``-1``) and the query itself; distractors (``0000``) are never right. A query
without a right entry does not count. mAP is the mean over queries of the average precision at the right entries; mINP
(Ye et al., 2021) is the mean of (right entries) / (rank of the last of them). A right entry that a search does not find
has no rank, and lowers both.
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

from gallery_db import Embedder, Entry, Gallery, ImageError, is_gallery, read_image
from gallery_db.media.market_names import DISTRACTOR, JUNK
from tracking.errors import EvaluationError
from tracking.evaluation.reid_labels import LabelTable, ReidLabel, first_of_each, label_of_entry, labelled_images
from tracking.evaluation.reid_scores import ReidScores, score_rankings

if TYPE_CHECKING:
    from tracking.identification.gallery_source import EmbedderOptions

__all__ = ["ReidReport", "Search", "evaluate_reid"]

Search = Literal["hnsw", "exact"]
Progress = Callable[[int, int], None]
Notify = Callable[[str], None]

_BATCH = 64


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


def evaluate_reid(
    target: str | os.PathLike[str],
    embedder: EmbedderOptions,
    *,
    queries: str | os.PathLike[str] | None = None,
    collection: str | None = None,
    searches: Sequence[Search] = ("hnsw", "exact"),
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
        searches: ``"hnsw"`` uses Chroma's index, ``"exact"`` compares with every entry.
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
    """

    target: str
    gallery: Gallery
    labels: dict[str, ReidLabel]
    embeddings: NDArray[np.float32]
    queries: Sequence[tuple[ReidLabel, str]]
    junk: int
    skipped: Sequence[tuple[str, str]]


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
        yield _Case(str(path), gallery, labels, embeddings, queries, junk, skipped)


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
    table = LabelTable(case.labels)
    matches = {at: table.match(*case.queries[at]) for at in wanted}
    totals = {at: int(right.sum()) for at, (right, _) in matches.items()}
    if not any(totals.values()):
        raise EvaluationError(
            f"{case.target}: none of the {len(wanted)} queries has a right entry.",
            hint="Each person needs images from another camera than the query's, or more images.",
        )
    scores: dict[Search, ReidScores] = {}
    done = 0
    for search in searches:
        rankings: list[tuple[NDArray[np.bool_], int]] = []
        for start in range(0, len(wanted), _BATCH):
            some = wanted[start : start + _BATCH]
            answers = case.gallery.query(case.embeddings[some], top_k=len(case.labels), search=search)
            for at, answer in zip(some, answers, strict=True):
                rows = table.rows(match.entry.id for match in answer)
                right, ignored = matches[at]
                rankings.append((right[rows[~ignored[rows]]], totals[at]))
            done += len(some)
            if progress is not None:
                progress(done, len(wanted) * len(searches))
        scores[search] = score_rankings(rankings)
    listed = [label for label in case.labels.values() if label.identity != JUNK]
    return ReidReport(
        model=case.gallery.model.name,
        entries=len(listed),
        identities=len({label.identity for label in listed} - {DISTRACTOR}),
        cameras=len({label.camera for label in listed if label.camera is not None}),
        distractors=sum(label.identity == DISTRACTOR for label in listed),
        ignored=case.junk,
        queries=len(wanted),
        unanswerable=sum(not total for total in totals.values()),
        skipped=tuple(case.skipped),
        scores=scores,
    )
