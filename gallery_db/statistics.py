"""A gallery in numbers: its collections, its identities, its size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gallery_db.store.schema import RECORD_NAME

if TYPE_CHECKING:
    from gallery_db.model import EmbeddingModel
    from gallery_db.store.record import CollectionRow, Record

__all__ = [
    "CollectionInfo",
    "GalleryStats",
    "IdentitySummary",
    "collection_stats",
    "list_collections",
    "list_identities",
]


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection of a gallery: all entries of one embedding model.

    Attributes:
        name: Its name, also in Chroma.
        model: The model whose embeddings it holds.
        entries: Number of entries.
        created_at: ISO 8601 UTC.
    """

    name: str
    model: EmbeddingModel
    entries: int
    created_at: str


@dataclass(frozen=True, slots=True)
class IdentitySummary:
    """The entries of one identity of one class, in numbers.

    Attributes:
        identity: The name.
        class_name: The class.
        entries: Number of entries.
        origins: Number of entries by origin, ``"image"`` and ``"track"``.
        sources: Number of files and videos that the entries come from.
        first_created: When the oldest entry was made, ISO 8601 UTC.
        last_created: When the newest entry was made, ISO 8601 UTC.
    """

    identity: str
    class_name: str
    entries: int
    origins: Mapping[str, int]
    sources: int
    first_created: str
    last_created: str


@dataclass(frozen=True, slots=True)
class GalleryStats:
    """The selected collection of a gallery in numbers.

    Attributes:
        path: The gallery's folder.
        collection: Name of the selected collection.
        model: The model whose embeddings it holds.
        entries: Number of entries.
        identities: Number of identities.
        classes: Number of entries by class.
        origins: Number of entries by origin.
        sources: Number of files and videos that the entries come from.
        created_at: When the collection was made, ISO 8601 UTC.
        format_version: Format of the record.
        record_bytes: Size of the record's files.
        index_bytes: Size of Chroma's files.
        index_current: Whether the index holds all changes and was closed properly.
    """

    path: Path
    collection: str
    model: EmbeddingModel
    entries: int
    identities: int
    classes: Mapping[str, int]
    origins: Mapping[str, int]
    sources: int
    created_at: str
    format_version: int
    record_bytes: int
    index_bytes: int
    index_current: bool


def list_collections(record: Record) -> tuple[CollectionInfo, ...]:
    """Return all collections of a record, the oldest first."""
    return tuple(
        CollectionInfo(row.name, row.model, record.entries.count(row.id), row.created_at)
        for row in record.collections()
    )


def list_identities(record: Record, collection: int) -> list[IdentitySummary]:
    """Return a summary of each identity and class of a collection, sorted."""
    origins: dict[tuple[str, str], dict[str, int]] = {}
    for identity, class_name, origin, number in record.entries.counts(collection):
        origins.setdefault((identity, class_name), {})[origin] = number
    return [
        IdentitySummary(
            identity,
            class_name,
            sum(origins[identity, class_name].values()),
            origins[identity, class_name],
            sources,
            first,
            last,
        )
        for identity, class_name, sources, first, last in record.entries.spans(collection)
    ]


def collection_stats(
    record: Record, row: CollectionRow, folder: Path, *, index_bytes: int, index_current: bool
) -> GalleryStats:
    """Return a collection in numbers.

    Args:
        record: The gallery's record.
        row: The collection.
        folder: The gallery's folder.
        index_bytes: Size of Chroma's files.
        index_current: Whether the index holds all changes and was closed properly.
    """
    classes: dict[str, int] = {}
    origins: dict[str, int] = {}
    names = set()
    for identity, class_name, origin, number in record.entries.counts(row.id):
        names.add(identity)
        classes[class_name] = classes.get(class_name, 0) + number
        origins[origin] = origins.get(origin, 0) + number
    return GalleryStats(
        path=folder,
        collection=row.name,
        model=row.model,
        entries=sum(classes.values()),
        identities=len(names),
        classes=classes,
        origins=origins,
        sources=record.entries.count_sources(row.id),
        created_at=row.created_at,
        format_version=record.format_version,
        record_bytes=sum(path.stat().st_size for path in record.path.parent.glob(RECORD_NAME + "*")),
        index_bytes=index_bytes,
        index_current=index_current,
    )
