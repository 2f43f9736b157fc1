"""A gallery's entries for another embedding model: embedded again from their pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_db.address import location_of, parse_address
from gallery_db.entry import Entry
from gallery_db.errors import EmbeddingError, GalleryError, GtrackError, ModelMismatchError
from gallery_db.gallery import Gallery
from gallery_db.media.entry_pictures import ReadFrame, needs_video_frame, read_entry_picture
from gallery_db.model import Embedder

__all__ = ["ReembedReport", "reembed_gallery"]

_MOST_PIXELS = 64 * 1024 * 1024  # bytes of decoded pictures in one batch, whatever their number
_PAGE = 500

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ReembedReport:
    """What a re-embedding did.

    Attributes:
        entries: Entries in the collection that was read.
        added: Entries embedded now.
        present: Entries that the new collection had already.
        missing: (id, reason) of each entry of which there is no picture.
        source: The collection that was read; it is as it was.
        collection: The collection that was written; None where nothing could be embedded.
    """

    entries: int
    added: int
    present: int
    missing: tuple[tuple[str, str], ...]
    source: str
    collection: str | None


def reembed_gallery(
    path: str | os.PathLike[str],
    embedder: Embedder,
    *,
    collection: str | None = None,
    frames: ReadFrame | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
    index_progress: Progress | None = None,
) -> ReembedReport:
    """Make (or go on with) a collection of the embedder's model, from the pictures of another collection.

    Each entry keeps its id and all that is said about it. Its picture is its kept crop (``extra["crop"]``,
    relative to the gallery's folder), else its source image (its box, if it has one), else what was imported
    with it, else its box on its frame of a video. Each batch is one transaction: whatever stops the run, what
    was committed stays, and the next run goes on; an entry whose id is there already is skipped.

    Args:
        path: The gallery's folder.
        embedder: What computes the embeddings.
        collection: Which collection to read; the oldest by default.
        frames: Reads frames of videos, asked in ascending order for each video.
        batch_size: Pictures to embed at a time, at least 1.
        progress: Called with (entries done, entries in all).
        index_progress: Called with (entries done, entries in all) while the index follows.

    Raises:
        ModelMismatchError: The collection is of the embedder's model already.
        GalleryError: As of `Gallery.open`; `batch_size` below 1.
    """
    if batch_size < 1:
        raise GalleryError(f"Expected a batch_size of at least 1, found {batch_size}.")
    folder = location_of(path)
    source = Gallery.open(folder, collection=collection)
    target: Gallery | None = None
    try:
        if source.model.same_space(embedder.model):
            raise ModelMismatchError(
                f"The collection {source.collection!r} of {folder} holds embeddings of {source.model} already.",
                hint="Give the weights of another model, or another --collection.",
            )
        with_model = [info.name for info in source.collections() if info.model.same_space(embedder.model)]
        if with_model:
            target = Gallery.open(_server_or_folder(source), model=embedder.model, write=True)
        run = _Reembed(source, target, embedder, frames, batch_size, progress)
        try:
            run.run()
        finally:
            target = run.target
        report = run.report()
        # The reader first, so that the writer can make the record one file again.
        source.close()
        if target is not None:
            target.sync_index(index_progress)
        return report
    finally:
        source.close()
        if target is not None:
            target.close(sync=False)


def _server_or_folder(gallery: Gallery) -> str | Path:
    """What opens another collection of the same gallery."""
    address = parse_address(gallery.location)
    return gallery.path if address is None else address.server


class _Reembed:
    def __init__(
        self,
        source: Gallery,
        target: Gallery | None,
        embedder: Embedder,
        frames: ReadFrame | None,
        batch_size: int,
        progress: Progress | None,
    ) -> None:
        self.target = target
        self._source = source
        self._embedder = embedder
        self._frames = frames
        self._batch_size = batch_size
        self._progress = progress
        self._total = len(source)
        self._added = self._present = 0
        self._missing: list[tuple[str, str]] = []
        self._entries: list[Entry] = []
        self._crops: list[NDArray[np.uint8]] = []

    def run(self) -> None:
        pixels = 0
        self._say()
        for entry in self._wanted():
            try:
                crop = read_entry_picture(self._source.path, entry, self._frames)
            except GtrackError as error:
                self._missing.append((entry.id, error.message))
                continue
            self._entries.append(entry)
            self._crops.append(crop)
            pixels += crop.nbytes
            if len(self._crops) >= self._batch_size or pixels >= _MOST_PIXELS:
                self._commit()
                pixels = 0
        self._commit()
        self._say()

    def report(self) -> ReembedReport:
        return ReembedReport(
            entries=self._added + self._present + len(self._missing),
            added=self._added,
            present=self._present,
            missing=tuple(self._missing),
            source=self._source.collection,
            collection=None if self.target is None else self.target.collection,
        )

    def _wanted(self) -> Iterator[Entry]:
        """The entries to embed: those with a picture of their own first, then videos, frame by frame."""
        record, key = self._source.record, self._source.collection_key
        of_frames: list[tuple[str, int, str]] = []
        ids = record.ids(key)
        for start in range(0, len(ids), _PAGE):
            page = ids[start : start + _PAGE]
            there = self._there(page)
            self._present += len(there)
            entries = record.by_ids(key, [id_ for id_ in page if id_ not in there])
            for id_ in page:
                entry = entries.get(id_)
                if entry is None:
                    continue
                if needs_video_frame(entry):
                    of_frames.append((entry.source, entry.frame or 0, id_))
                else:
                    yield entry
        of_frames.sort()
        for start in range(0, len(of_frames), _PAGE):
            page = [id_ for _, _, id_ in of_frames[start : start + _PAGE]]
            entries = record.by_ids(key, page)
            yield from (entries[id_] for id_ in page if id_ in entries)

    def _there(self, ids: list[str]) -> set[str]:
        if self.target is None:
            return set()
        return set(self.target.record.by_ids(self.target.collection_key, ids))

    def _commit(self) -> None:
        entries, crops = self._entries, self._crops
        self._entries, self._crops = [], []
        if not crops:
            return
        vectors = self._embedder.embed(crops)
        if np.shape(vectors)[:1] != (len(crops),):
            raise EmbeddingError(
                f"The embedder {self._embedder.model} was given {len(crops)} images and returned an array of shape "
                f"{np.shape(vectors)}."
            )
        if self.target is None:  # not before there is something to put in
            self.target = Gallery.open_or_create(
                _server_or_folder(self._source), self._embedder.model, new_collection=True
            )
        with self.target.transaction():
            # Another run may have done the same in the meantime.
            there = self._there([entry.id for entry in entries])
            rows = [row for row, entry in enumerate(entries) if entry.id not in there]
            self.target.add([entries[row] for row in rows], np.asarray(vectors)[rows])
        self._added += len(rows)
        self._present += len(there)
        self._say()

    def _say(self) -> None:
        if self._progress is not None:
            self._progress(self._added + self._present + len(self._missing), self._total)
