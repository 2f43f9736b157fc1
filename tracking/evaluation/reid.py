"""Rank-k, mAP and mINP of an embedder, or of a gallery, by Market-1501's protocol (Zheng et al., 2015).

Each query is answered with the whole gallery, the nearest entry first. Entries of the query's identity from the
query's camera are ignored, and so are junk images (``-1``) and the query itself; distractors (``0000``) are never
right. A query of which nothing is left to be found does not count. mAP is the mean over queries of the precision at
each right entry, averaged; mINP (Ye et al., 2021) the mean of (right entries) / (rank of the last of them). What a
search does not find at all has no rank: it costs its share of both.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from gallery_db import IMAGE_SUFFIXES, Embedder, Entry, Gallery, ImageError, is_gallery, read_image
from gallery_db.media.market_names import DISTRACTOR, JUNK, parse_market_name
from tracking.errors import EvaluationError

if TYPE_CHECKING:
    from tracking.identification.gallery_source import EmbedderOptions

__all__ = ["RANKS", "Exactness", "Labelled", "ReidReport", "ReidScores", "evaluate_reid", "score_rankings"]

Exactness = Literal["hnsw", "exact"]
Progress = Callable[[int, int], None]

RANKS = (1, 5, 10, 20)
_BATCH = 64
_CLASS = "person"


@dataclass(frozen=True, slots=True)
class Labelled:
    """Who is on an image, and which camera took it; None where nothing says."""

    identity: str
    camera: str | None
    class_name: str = _CLASS


@dataclass(frozen=True, slots=True)
class ReidScores:
    """The figures of one kind of search, all in [0, 1].

    Attributes:
        ranks: k to the share of queries whose first k entries hold a right one.
        mean_ap: mAP.
        mean_inp: mINP.
        queries: Queries that count.
    """

    ranks: dict[int, float]
    mean_ap: float
    mean_inp: float
    queries: int


@dataclass(frozen=True, slots=True)
class ReidReport:
    """What was asked, and how well it was answered.

    Attributes:
        model: Name of the embedding model.
        entries: Entries asked, distractors too.
        identities: Identities among them, without the distractors.
        cameras: Cameras among them; 0 where nothing says.
        distractors: Entries of nobody who is asked for.
        ignored: Junk images that were left out.
        queries: Queries in all.
        unanswerable: Queries that do not count: nobody in another camera (or image) could be found.
        skipped: (path, reason) of each image that could not be used.
        scores: By kind of search.
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
    scores: dict[Exactness, ReidScores]


def score_rankings(rankings: Iterable[tuple[NDArray[np.bool_], int]]) -> ReidScores:
    """Figures over queries.

    Args:
        rankings: For each query whether each answer is right, the nearest first, what is to be ignored left out;
            and how many right ones there are in all. Queries with none do not count.
    """
    first: list[int] = []
    precisions: list[float] = []
    penalties: list[float] = []
    for hits, total in rankings:
        if total < 1:
            continue
        places = np.flatnonzero(hits)
        first.append(int(places[0]) if len(places) else -1)
        precisions.append(float((np.arange(1, len(places) + 1) / (places + 1)).sum()) / total)
        penalties.append(total / (int(places[-1]) + 1) if len(places) == total else 0.0)
    count = len(first)
    found = np.asarray(first)
    return ReidScores(
        ranks={k: float(((found >= 0) & (found < k)).mean()) if count else 0.0 for k in RANKS},
        mean_ap=float(np.mean(precisions)) if count else 0.0,
        mean_inp=float(np.mean(penalties)) if count else 0.0,
        queries=count,
    )


def evaluate_reid(
    target: str | os.PathLike[str],
    embedder: EmbedderOptions,
    *,
    queries: str | os.PathLike[str] | None = None,
    collection: str | None = None,
    searches: Sequence[Exactness] = ("hnsw", "exact"),
    notify: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    search_progress: Progress | None = None,
) -> ReidReport:
    """Ask a gallery, by Market-1501's protocol.

    Args:
        target: A gallery; or a folder of images, of which a gallery is made for the time being: with Market-1501's
            names, flat or as ``query/`` and ``bounding_box_test/``; or one sub-folder an identity. A gallery's
            entries have their cameras from such names, or from where they were enrolled.
        embedder: The ReID model. A gallery without `queries` needs none: its own entries are asked for.
        queries: A folder of images to ask for, named in one of those ways. Else ``query/`` if there is one, else the
            first image of each identity and camera.
        collection: Which of a gallery's collections.
        searches: ``"hnsw"`` asks Chroma's index, ``"exact"`` compares with every entry.
        notify: Takes one-line messages.
        progress: Called with (done, total) images while they are embedded.
        search_progress: Called with (done, total) queries.

    Raises:
        EvaluationError: No images, nobody to ask for, or no answer that could be right.
        GalleryError: As of `Gallery.open` and `Gallery.query`.
        WeightsError, EmbedderError: As of `tracking.load_embedder`.
    """
    place = Path(target)
    if is_gallery(place):
        return _of_gallery(place, embedder, queries, collection, searches, notify, progress, search_progress)
    if not place.is_dir():
        raise EvaluationError(
            f"{place}: expected a gallery or a folder of images, found {'a file' if place.exists() else 'nothing'}."
        )
    asked = Path(queries) if queries is not None else None
    stored = place
    if (place / "bounding_box_test").is_dir():
        stored = place / "bounding_box_test"
        if asked is None and (place / "query").is_dir():
            asked = place / "query"
    found, ignored = _images(stored)
    asked_found = _images(asked)[0] if asked is not None else []
    model = embedder.load(None, notify)
    total = len(found) + len(asked_found)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        gallery = stack.enter_context(_temporary_gallery(Path(folder) / "gallery", model))
        labels, skipped = _fill(gallery, model, found, lambda done: progress(done, total) if progress else None)
        if asked is None:
            probes, asking = _own_queries(gallery, labels)
        else:
            probes, named, more = _embed(
                model, asked_found, lambda done: progress(len(found) + done, total) if progress else None
            )
            asking = [(label, "") for label in named]
            skipped += more
        return _ask(gallery, labels, probes, asking, searches, ignored, skipped, search_progress, str(place))


def _of_gallery(
    place: Path,
    embedder: EmbedderOptions,
    queries: str | os.PathLike[str] | None,
    collection: str | None,
    searches: Sequence[Exactness],
    notify: Callable[[str], None] | None,
    progress: Progress | None,
    search_progress: Progress | None,
) -> ReidReport:
    with Gallery.open(place, collection=collection) as gallery:
        labels: dict[str, Labelled] = {}
        ignored = 0
        for entry in gallery.entries():
            labels[entry.id] = _label_of(entry)
            ignored += labels[entry.id].identity == JUNK
        skipped: list[tuple[str, str]] = []
        if queries is None:
            probes, asking = _own_queries(gallery, labels)
        else:
            found, _ = _images(Path(queries))
            model = embedder.load(gallery, notify)
            if not gallery.model.same_space(model.model):
                raise EvaluationError(
                    f"{place} belongs to model {gallery.model.name}, and the queries would be of {model.model.name}.",
                    hint="Leave --reid-weights out, or choose the gallery's --collection of that model.",
                )
            probes, named, skipped = _embed(model, found, lambda done: progress(done, len(found)) if progress else None)
            asking = [(label, "") for label in named]
        report = _ask(gallery, labels, probes, asking, searches, ignored, skipped, search_progress, str(place))
        for notice in gallery.notices:
            if notify is not None:
                notify(notice)
        return report


def _label_of(entry: Entry) -> Labelled:
    """A gallery's entry: its identity is the gallery's, its camera is in the image's name or where it was enrolled."""
    name = parse_market_name(entry.source)
    if entry.origin == "track":
        camera = str(entry.extra["source_id"]) if "source_id" in entry.extra else None
    else:
        camera = name.camera if name is not None else None
    return Labelled(entry.identity, camera, entry.class_name.casefold())


def _images(folder: Path) -> tuple[list[tuple[Path, Labelled]], int]:
    """The images of a folder with their labels, in the order of their names; and how many are junk."""
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: expected a folder of images, found none there.")
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()
    )
    found = []
    junk = 0
    for file in files:
        name = parse_market_name(file)
        inner = file.relative_to(folder).parts
        if len(inner) > 1:
            # A sub-folder is an identity, as at an ingest, whatever the images' names say of it.
            label = Labelled(inner[0], name.camera if name is not None else None)
        elif name is not None:
            label = Labelled(name.person, name.camera)
        else:
            raise EvaluationError(
                f"{file}: nothing says who that is.",
                hint="Expected names as in Market-1501 (0001_c1s1_001051_03.jpg), or one sub-folder an identity.",
            )
        if label.identity == JUNK:
            junk += 1
        else:
            found.append((file, label))
    if not found:
        raise EvaluationError(f"{folder} holds no image of anybody.", hint="Give a folder of images.")
    return found, junk


def _first_of_each(labels: dict[str, Labelled]) -> list[str]:
    """The first entry of each identity and camera."""
    first: dict[Labelled, str] = {}
    for id_, label in labels.items():
        if label.identity not in (JUNK, DISTRACTOR):
            first.setdefault(label, id_)
    return list(first.values())


def _own_queries(
    gallery: Gallery, labels: dict[str, Labelled]
) -> tuple[NDArray[np.float32], list[tuple[Labelled, str]]]:
    """Vectors of the entries that are asked for, and whose they are."""
    ids = _first_of_each(labels)
    rows = [gallery.get(id_)[1] for id_ in ids]
    probes = np.stack(rows) if rows else np.empty((0, gallery.model.dimension), np.float32)
    return probes, [(labels[id_], id_) for id_ in ids]


@contextmanager
def _temporary_gallery(path: Path, model: Embedder) -> Iterator[Gallery]:
    with Gallery.create(path, model.model) as gallery:
        yield gallery


def _embed(
    model: Embedder, found: Sequence[tuple[Path, Labelled]], progress: Callable[[int], None]
) -> tuple[NDArray[np.float32], list[Labelled], list[tuple[str, str]]]:
    parts: list[NDArray[np.float32]] = []
    labels: list[Labelled] = []
    skipped: list[tuple[str, str]] = []
    for _, label, rows, bad in _batches(model, found, progress):
        parts.append(rows)
        labels += label
        skipped += bad
    rows = np.concatenate(parts) if parts else np.empty((0, model.model.dimension), np.float32)
    return rows, labels, skipped


def _batches(
    model: Embedder, found: Sequence[tuple[Path, Labelled]], progress: Callable[[int], None]
) -> Iterator[tuple[list[Path], list[Labelled], NDArray[np.float32], list[tuple[str, str]]]]:
    """Embeddings of images, some at a time: paths, labels, (n, D) rows, and what could not be read."""
    for start in range(0, len(found), _BATCH):
        paths, labels, images, skipped = [], [], [], []
        for path, label in found[start : start + _BATCH]:
            try:
                images.append(read_image(path))
            except ImageError as error:
                skipped.append((str(path), error.message.removeprefix(f"{path} ").rstrip(".")))
                continue
            paths.append(path)
            labels.append(label)
        if images:
            yield paths, labels, model.embed(images), skipped
        elif skipped:
            yield [], [], np.empty((0, model.model.dimension), np.float32), skipped
        progress(min(start + _BATCH, len(found)))


def _fill(
    gallery: Gallery, model: Embedder, found: Sequence[tuple[Path, Labelled]], progress: Callable[[int], None]
) -> tuple[dict[str, Labelled], list[tuple[str, str]]]:
    """Put images into a gallery, each as it is: an ingest would leave out pictures that are there twice."""
    all_labels: dict[str, Labelled] = {}
    skipped: list[tuple[str, str]] = []
    for paths, labels, rows, bad in _batches(model, found, progress):
        skipped += bad
        entries = [
            Entry(id=f"{len(all_labels) + number:08d}", identity=label.identity, source=str(path))
            for number, (path, label) in enumerate(zip(paths, labels, strict=True))
        ]
        if entries:
            gallery.add(entries, rows)
        all_labels.update(zip((entry.id for entry in entries), labels, strict=True))
    gallery.sync_index()
    return all_labels, skipped


def _ask(
    gallery: Gallery,
    labels: dict[str, Labelled],
    probes: NDArray[np.float32],
    asking: Sequence[tuple[Labelled, str]],
    searches: Sequence[Exactness],
    ignored: int,
    skipped: Sequence[tuple[str, str]],
    progress: Progress | None,
    target: str,
) -> ReidReport:
    wanted = [at for at, (label, _) in enumerate(asking) if label.identity not in (JUNK, DISTRACTOR)]
    board = _Board(labels)
    asked = {at: board.ask(*asking[at]) for at in wanted}
    totals = {at: int(right.sum()) for at, (right, _) in asked.items()}
    if not any(totals.values()):
        raise EvaluationError(
            f"{target}: of {len(wanted)} queries none has an image that could be found.",
            hint="Each person needs images from another camera than the query's, or further images.",
        )
    scores: dict[Exactness, ReidScores] = {}
    done = 0
    for search in searches:
        rankings: list[tuple[NDArray[np.bool_], int]] = []
        for start in range(0, len(wanted), _BATCH):
            some = wanted[start : start + _BATCH]
            answers = gallery.query(probes[some], top_k=len(labels), search=search)
            for at, matches in zip(some, answers, strict=True):
                rows = board.rows(match.entry.id for match in matches)
                right, ignore = asked[at]
                rankings.append((right[rows[~ignore[rows]]], totals[at]))
            done += len(some)
            if progress is not None:
                progress(done, len(wanted) * len(searches))
        scores[search] = score_rankings(rankings)
    there = [label for label in labels.values() if label.identity != JUNK]
    return ReidReport(
        model=gallery.model.name,
        entries=len(there),
        identities=len({label.identity for label in there} - {DISTRACTOR}),
        cameras=len({label.camera for label in there if label.camera is not None}),
        distractors=sum(label.identity == DISTRACTOR for label in there),
        ignored=ignored,
        queries=len(wanted),
        unanswerable=sum(not total for total in totals.values()),
        skipped=tuple(skipped),
        scores=scores,
    )


class _Board:
    """The labels of a gallery's entries as arrays, so that a query is held against all of them at once."""

    def __init__(self, labels: dict[str, Labelled]) -> None:
        self._row = {id_: row for row, id_ in enumerate(labels)}
        self._identities = np.array([label.identity for label in labels.values()], object)
        self._cameras = np.array([label.camera for label in labels.values()], object)
        self._classes = np.array([label.class_name for label in labels.values()], object)

    def rows(self, ids: Iterable[str]) -> NDArray[np.intp]:
        return np.fromiter((self._row[id_] for id_ in ids), np.intp)

    def ask(self, label: Labelled, id_: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which entries are right for a query, and which are left out of its ranking."""
        same = np.asarray(self._identities == label.identity, np.bool_)
        ignore = np.asarray((self._identities == JUNK) | (self._classes != label.class_name), np.bool_)
        if label.camera is not None:
            ignore |= same & np.asarray(self._cameras == label.camera, np.bool_)
        if id_ in self._row:
            ignore[self._row[id_]] = True
        return same & ~ignore, ignore
