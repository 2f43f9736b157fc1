"""Embed a gallery's entries with another model, from their pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_db.address import location_of, parse_address
from gallery_db.entry import Entry
from gallery_db.errors import GalleryError, GtrackError, ModelMismatchError
from gallery_db.gallery import Gallery
from gallery_db.media.entry_pictures import ReadFrame, needs_video_frame, read_entry_picture
from gallery_db.model import Embedder
from gallery_db.transfer.embedding import MAX_PICTURE_BYTES, embed_crops

__all__ = ["ReembedReport", "reembed_gallery"]

_PAGE_ENTRIES = 500  # read from the record at a time

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ReembedReport:
    """The result of a re-embedding.

    Attributes:
        entries: Entries in the collection that was read.
        added: Entries embedded now.
        present: Entries that the new collection had already.
        missing: (id, reason) of each entry without a picture.
        source: The collection that was read; it is unchanged.
        collection: The collection that was written; None if nothing could be embedded.
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
    index: bool = False,
    progress: Progress | None = None,
    index_progress: Progress | None = None,
) -> ReembedReport:
    """Create or continue a collection of the embedder's model, from the pictures of another collection.

    Each entry keeps its id and all its other facts. Its picture is its stored crop (``extra["crop"]``, relative to the
    gallery's folder), else its source image (the entry's box, if it has one), else the picture that was imported with
    it, else its box on its frame of a video. Each batch is one transaction: if the run is interrupted, what was
    committed stays, and the next run continues from there. An entry whose id the new collection has is skipped.

    Args:
        path: The gallery's folder.
        embedder: Computes the embeddings.
        collection: The collection to read; by default the oldest one.
        frames: Reads frames of videos; it is called in ascending order for each video.
        batch_size: Number of pictures to embed at a time, at least 1.
        index: Also bring the Chroma index up to date; otherwise its next use does.
        progress: Called with (entries done, all entries).
        index_progress: Called with (entries done, all entries) while the index is updated.

    Raises:
        ModelMismatchError: The collection has the embedder's model already.
        GalleryError: `batch_size` is below 1; see also `Gallery.open`.
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
                hint="Give the weights of another model, or choose another collection with `collection`.",
            )
        if any(info.model.same_space(embedder.model) for info in source.collections()):
            target = Gallery.open(_gallery_location(source), model=embedder.model, write=True)
        run = _Reembed(source, target, embedder, frames, batch_size, progress)
        try:
            run.run()
        finally:
            target = run.target
        report = run.report()
        # Close the reader first, so that the writer can merge the record into one file again.
        source.close()
        if target is not None:
            target.keep_adapted()
            target.sync_index(index_progress, wait=index)
        return report
    finally:
        source.close()
        if target is not None:
            target.close(sync=False)


def _gallery_location(gallery: Gallery) -> str | Path:
    """Return the location from which another collection of the same gallery can be opened."""
    address = parse_address(gallery.location)
    return gallery.path if address is None else address.server


class _Reembed:
    """One run from a collection into another.

    Attributes:
        target: The collection that is written; None until there is something to write.
    """

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
        self._entries: list[Entry] = []  # the batch, with its crops
        self._crops: list[NDArray[np.uint8]] = []

    def run(self) -> None:
        """Embed all entries that the target lacks."""
        picture_bytes = 0
        self._report_progress()
        for entry in self._entries_to_embed():
            try:
                crop = read_entry_picture(self._source.path, entry, self._frames, self._source.record)
            except GtrackError as error:
                self._missing.append((entry.id, error.message))
                continue
            self._entries.append(entry)
            self._crops.append(crop)
            picture_bytes += crop.nbytes
            if len(self._crops) >= self._batch_size or picture_bytes >= MAX_PICTURE_BYTES:
                self._write_batch()
                picture_bytes = 0
        self._write_batch()
        self._report_progress()

    def report(self) -> ReembedReport:
        """Return what was done so far."""
        return ReembedReport(
            entries=self._added + self._present + len(self._missing),
            added=self._added,
            present=self._present,
            missing=tuple(self._missing),
            source=self._source.collection,
            collection=None if self.target is None else self.target.collection,
        )

    def _entries_to_embed(self) -> Iterator[Entry]:
        """Yield the entries that have a picture of their own, then those of videos, frame by frame."""
        record, key = self._source.record, self._source.collection_key
        on_frames: list[tuple[str, int, str]] = []  # video, frame, id
        ids = record.entries.ids(key)
        for page in _pages(ids):
            present = self._present_ids(page)
            self._present += len(present)
            entries = record.entries.by_ids(key, [id_ for id_ in page if id_ not in present])
            for id_ in page:
                entry = entries.get(id_)
                if entry is None:
                    continue
                if needs_video_frame(entry):
                    on_frames.append((entry.source, entry.frame or 0, id_))
                else:
                    yield entry
        for page in _pages([id_ for _, _, id_ in sorted(on_frames)]):
            entries = record.entries.by_ids(key, page)
            yield from (entries[id_] for id_ in page if id_ in entries)

    def _present_ids(self, ids: list[str]) -> set[str]:
        """Return those ids that the target has."""
        if self.target is None:
            return set()
        return set(self.target.record.entries.by_ids(self.target.collection_key, ids))

    def _write_batch(self) -> None:
        """Embed the batch, and add it to the target in one transaction."""
        entries, crops = self._entries, self._crops
        self._entries, self._crops = [], []
        if not crops:
            return
        vectors = embed_crops(self._embedder, crops)
        if self.target is None:  # a collection is created only when there is something to put into it
            self.target = Gallery.open_or_create(
                _gallery_location(self._source), self._embedder.model, new_collection=True
            )
        with self.target.transaction():
            # Another run may have added the same entries in the meantime.
            present = self._present_ids([entry.id for entry in entries])
            rows = [row for row, entry in enumerate(entries) if entry.id not in present]
            self.target.add([entries[row] for row in rows], np.asarray(vectors)[rows])
        self._added += len(rows)
        self._present += len(present)
        self._report_progress()

    def _report_progress(self) -> None:
        if self._progress is not None:
            self._progress(self._added + self._present + len(self._missing), self._total)


def _pages(ids: Sequence[str]) -> Iterator[list[str]]:
    """Yield ids in lists of at most `_PAGE_ENTRIES`."""
    for start in range(0, len(ids), _PAGE_ENTRIES):
        yield list(ids[start : start + _PAGE_ENTRIES])
