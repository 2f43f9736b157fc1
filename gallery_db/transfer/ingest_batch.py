"""Write what an ingest has planned to the gallery, a batch in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.store.ingested_files import FileRow
from gallery_db.transfer.embedding import MAX_PICTURE_BYTES, embed_crops

if TYPE_CHECKING:
    from gallery_db.gallery import Gallery
    from gallery_db.model import Embedder

__all__ = ["BatchWriter", "IngestBatch"]

_MAX_FILES = 1000  # files that need no embedding, in one batch


@dataclass(slots=True)
class IngestBatch:
    """Changes to write together.

    Attributes:
        entries: N new entries.
        crops: N pictures of the new entries, (H, W, 3) uint8 BGR.
        by_hash: The new entries by the hash of their file.
        updates: Existing entries with other content, by id.
        files: The rows to store for files, by path.
        replaced: The former rows of files whose picture has changed.
    """

    entries: list[Entry] = field(default_factory=list)
    crops: list[NDArray[np.uint8]] = field(default_factory=list)
    by_hash: dict[str, Entry] = field(default_factory=dict)
    updates: dict[str, Entry] = field(default_factory=dict)
    files: dict[str, FileRow] = field(default_factory=dict)
    replaced: list[FileRow] = field(default_factory=list)
    _picture_bytes: int = 0

    def add(self, entry: Entry, crop: NDArray[np.uint8], file: FileRow) -> None:
        """Add a new entry with its picture and its file."""
        self.entries.append(entry)
        self.crops.append(crop)
        self._picture_bytes += crop.nbytes
        self.by_hash[file.content_hash] = entry
        self.files[file.path] = file

    def update(self, entry: Entry) -> None:
        """Change an entry: in this batch if it is new, else in the gallery."""
        content_hash = entry.content_hash or ""
        pending = self.by_hash.get(content_hash)
        if pending is not None and pending.id == entry.id:
            self.entries[self.entries.index(pending)] = entry
            self.by_hash[content_hash] = entry
        else:
            self.updates[entry.id] = entry

    def is_full(self, batch_size: int) -> bool:
        """Return whether it is time to write, with `batch_size` pictures to embed at a time."""
        return (
            len(self.crops) >= batch_size
            or self._picture_bytes >= MAX_PICTURE_BYTES
            or len(self.files) >= _MAX_FILES + batch_size
        )


class BatchWriter:
    """Embeds and writes batches, and removes entries that no file shows any more."""

    def __init__(self, gallery: Gallery, embedder: Embedder) -> None:
        self._gallery = gallery
        self._embedder = embedder
        self._record = gallery.record
        self._key = gallery.collection_key

    def write(self, batch: IngestBatch) -> tuple[int, int]:
        """Embed the new pictures, and write the batch in one transaction.

        Returns:
            The number of entries added for new files, and the number of files whose entry was replaced.
        """
        if not batch.files:
            return 0, 0
        vectors = embed_crops(self._embedder, batch.crops) if batch.crops else None
        added: list[Entry] = []
        with self._gallery.transaction():
            if vectors is not None:
                # Another process may have added the same pictures to a served gallery in the meantime.
                present = self._record.entries.by_ids(self._key, [entry.id for entry in batch.entries])
                rows = [row for row, entry in enumerate(batch.entries) if entry.id not in present]
                added = [batch.entries[row] for row in rows]
                self._gallery.add(added, vectors[rows])
            if batch.updates:
                self._gallery.update(list(batch.updates.values()))
            self._record.files.put(self._key, list(batch.files.values()))
            # After the files are written, it is known whether another file still shows a replaced picture.
            self._remove_unshown([row.entry_id for row in batch.replaced])
        replaced = {row.path for row in batch.replaced}
        return sum(entry.source not in replaced for entry in added), len(replaced)

    def forget_missing(self, missing: Sequence[FileRow], *, prune: bool) -> int:
        """Forget files that are no longer in the folder, and with `prune` also the entries that only they show.

        Without `prune` the last file of an entry stays known, so that a later prune still finds it.

        Returns:
            The number of entries that `prune` removed.
        """
        if not missing:
            return 0
        with self._gallery.transaction():
            known = {
                row.path: row for row in self._record.files.of_entries(self._key, [row.entry_id for row in missing])
            }
            missing = [row for row in missing if row.path in known]
            ids = [row.entry_id for row in missing]
            missing_paths = {row.path for row in missing}
            if prune:
                self._record.files.forget(self._key, [row.path for row in missing])
                return self._remove_unshown(ids)
            shown_elsewhere = {row.entry_id for path, row in known.items() if path not in missing_paths}
            self._record.files.forget(self._key, [row.path for row in missing if row.entry_id in shown_elsewhere])
            self._remove_unshown([id_ for id_ in ids if id_ in shown_elsewhere])
            return 0

    def _remove_unshown(self, entry_ids: Sequence[str]) -> int:
        """Remove those entries that no file shows, and give the others a source that exists; return the number."""
        unique = list(dict.fromkeys(entry_ids))
        shown_by: dict[str, str] = {}
        for row in self._record.files.of_entries(self._key, unique):
            shown_by.setdefault(row.entry_id, row.path)
        present = self._record.entries.by_ids(self._key, unique)
        unshown = [id_ for id_ in unique if id_ in present and id_ not in shown_by]
        if unshown:
            self._gallery.remove(unshown)
        sources = {row.path for row in self._record.files.of_entries(self._key, unique)}
        without_source = [
            replace(entry, source=shown_by[id_])
            for id_, entry in present.items()
            if id_ in shown_by and entry.source not in sources
        ]
        if without_source:
            self._gallery.update(without_source)
        return len(unshown)
