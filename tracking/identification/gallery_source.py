"""Opening of a gallery for identification: a gtrack gallery, a served one, or a tree of image folders."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gallery_db import Gallery, GalleryNotFoundError, is_gallery
from gallery_db.address import location_of
from gallery_db.errors import GalleryError, GalleryFormatError, GalleryLockedError
from gallery_db.model import Embedder
from gallery_db.transfer.folder_scan import check_image_tree
from tracking.progress import progress_bar
from tracking.reid.cache import cache_dir
from tracking.reid.loader import load_embedder

if TYPE_CHECKING:
    from gallery_db import GalleryView
    from gallery_db.search.nearest import Search
    from gallery_db.spaces.space import EmbeddingSpace
    from gallery_db.transfer.ingest import IngestReport

__all__ = [
    "EmbedderOptions",
    "GallerySource",
    "SpaceOfRun",
    "cached_gallery_path",
    "model_to_fill",
    "open_gallery_source",
]

Notify = Callable[[str], None]
SpaceOfRun = Callable[[Gallery, Embedder], "EmbeddingSpace | None"]
"""Returns the space in which a run compares; None for that of the gallery."""
Progress = Callable[[int, int], None]


_CACHE_SECONDS = 3600.0
"""Seconds to wait for another run that embeds the images of a folder; a killed one does not keep it locked."""


@dataclass(frozen=True, slots=True)
class EmbedderOptions:
    """Options for finding and running the ReID model; see `tracking.load_embedder`."""

    weights: str | Path | None = None
    models_dir: str | Path = "models"
    device: str = "auto"
    half: bool = False
    runtime: str = "auto"
    threads: int | None = None
    download: bool = False
    trust_weights: bool = False

    def load(self, gallery: Gallery | None, notify: Notify | None) -> Embedder:
        """Load the model; without named weights, the gallery's own.

        Raises:
            WeightsError, EmbedderError: See `tracking.load_embedder`.
        """
        with progress_bar("downloading", "bytes", enabled=self.download) as progress:
            return load_embedder(
                self.weights,
                models_dir=self.models_dir,
                device=self.device,
                half=self.half,
                runtime=self.runtime,
                threads=self.threads,
                download=self.download,
                gallery_model=gallery.model if gallery is not None else None,
                trust_weights=self.trust_weights,
                notify=notify,
                progress=progress,
            )


@dataclass(frozen=True, slots=True)
class GallerySource:
    """An open gallery with its view and its ReID model.

    Attributes:
        gallery: The open gallery.
        view: Its entries in memory.
        embedder: Its ReID model, loaded.
        ingested: The report of the ingestion, where it is a tree of image folders.
    """

    gallery: Gallery
    view: GalleryView
    embedder: Embedder
    ingested: IngestReport | None = None


def cached_gallery_path(folder: Path, class_name: str) -> Path:
    """Return the path of the cached gallery that is made from a tree of image folders."""
    key = hashlib.sha256(f"{folder.resolve()}\0{class_name}".encode()).hexdigest()[:12]
    return cache_dir() / "galleries" / f"{folder.resolve().name or 'root'}-{key}"


def _open_cached(cached: Path, folder: Path, embedder: Embedder, report: Notify) -> Gallery:
    """Open the cached gallery of a folder for writing; wait where another run is making it.

    Raises:
        GalleryLockedError: It took longer than `_CACHE_SECONDS`.
    """
    try:
        return Gallery.open_or_create(cached, embedder.model, new_collection=True, lock_timeout=0.0)
    except GalleryLockedError as error:
        report(f"gallery {folder}: waiting until its images are embedded. {error.message}")
    return Gallery.open_or_create(cached, embedder.model, new_collection=True, lock_timeout=_CACHE_SECONDS)


def _check_images(path: Path) -> None:
    """Refuse what is neither a gallery nor a tree of image folders, and say why it is neither."""
    try:
        check_image_tree(path)
    except GalleryFormatError as no_images:
        try:
            Gallery.open(path).close()
        except GalleryFormatError as no_gallery:
            raise GalleryFormatError(f"{no_gallery.message} {no_images.message}", hint=no_images.hint) from None


def model_to_fill(location: Path | str, options: EmbedderOptions, notify: Notify | None) -> Embedder:
    """Load the model for the entries of a gallery: without named weights, that of its entries if it has any.

    Args:
        location: A folder, which need not exist, or the address of a served gallery.
        options: The ReID model.
        notify: Receives one-line messages.
    """
    if not is_gallery(location):
        return options.load(None, notify)
    with Gallery.open(location) as existing:
        return options.load(None if existing.is_provisional else existing, notify)


def open_gallery_source(
    path: str | Path,
    options: EmbedderOptions,
    *,
    class_name: str = "person",
    search: Search = "auto",
    notify: Notify | None = None,
    progress: Progress | None = None,
    space: SpaceOfRun | None = None,
) -> GallerySource:
    """Open a gallery for matching.

    Args:
        path: A gtrack gallery, the address of a served one, or a tree of image folders (one folder an identity).
            The last is ingested into a cached gallery; later calls embed only what changed.
        options: The ReID model.
        class_name: Class of the identities in a tree of image folders.
        search: How the view searches; see `Gallery.view`.
        notify: Receives one-line messages for the user.
        progress: Called with (done, total) while images are embedded.
        space: See `SpaceOfRun`.

    Raises:
        GalleryError: There is no gallery, it is empty, or it belongs to another model.
    """
    location = location_of(path)
    path = Path(path)
    report = notify or (lambda message: None)
    if isinstance(location, Path) and not location.exists():
        raise GalleryNotFoundError(
            f"gallery {path} does not exist; expected a gtrack gallery or a folder of image folders.",
            hint=f"Make one with: gtrack gallery ingest FOLDER --gallery {path}",
        )
    if isinstance(location, str) or is_gallery(location):
        opened = Gallery.open(location)
        try:
            embedder = options.load(opened, report)
        finally:
            opened.close()
        gallery = Gallery.open(location, model=embedder.model)
        ingested = None
    else:
        _check_images(path)
        embedder = options.load(None, report)
        cached = cached_gallery_path(path, class_name)
        cached.parent.mkdir(parents=True, exist_ok=True)
        from gallery_db import ingest_folder

        with _open_cached(cached, path, embedder, report) as writable:
            ingested = ingest_folder(writable, path, embedder, class_name=class_name, prune=True, progress=progress)
        if ingested.layout_in_words is not None:
            report(f"gallery {path}: {ingested.layout_in_words}")
        if ingested.skipped:
            first, reason = ingested.skipped[0]
            more = f" and {len(ingested.skipped) - 1} more" if len(ingested.skipped) > 1 else ""
            report(f"gallery {path}: not used: {first} ({reason}){more}.")
        gallery = Gallery.open(cached, model=embedder.model)
    try:
        view = gallery.view(search=search, space=None if space is None else space(gallery, embedder))
        for notice in gallery.notices:
            report(notice)
        if not len(view):
            raise GalleryError(
                f"gallery {location} has no entry of the model {embedder.model.name}.",
                hint="Put images in it with: gtrack gallery ingest FOLDER --gallery GALLERY",
            )
        view.prepare()
    except BaseException:
        gallery.close()
        raise
    return GallerySource(gallery, view, embedder, ingested)
