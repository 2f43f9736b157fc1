"""From what a user calls a gallery (a gtrack gallery, or a tree of image folders) to something to ask."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gallery_db import Gallery, GalleryNotFoundError, is_gallery
from gallery_db.address import location_of
from gallery_db.errors import GalleryError, GalleryFormatError
from gallery_db.model import Embedder
from tracking.progress import progress_bar
from tracking.reid.cache import cache_dir
from tracking.reid.loader import load_embedder

if TYPE_CHECKING:
    from gallery_db import GalleryView, IngestReport, Search

__all__ = ["EmbedderOptions", "GallerySource", "cached_gallery_path", "open_gallery_source"]

Notify = Callable[[str], None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class EmbedderOptions:
    """How to find and run the ReID model; see `tracking.load_embedder`."""

    weights: str | Path | None = None
    models_dir: str | Path = "models"
    device: str = "auto"
    half: bool = False
    runtime: str = "auto"
    threads: int | None = None
    download: bool = False

    def load(self, gallery: Gallery | None, notify: Notify | None) -> Embedder:
        """Load it; without named weights, the one that the gallery belongs to.

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
                notify=notify,
                progress=progress,
            )


@dataclass(frozen=True, slots=True)
class GallerySource:
    """An open gallery, what its view answers, and the model that it belongs to."""

    gallery: Gallery
    view: GalleryView
    embedder: Embedder
    ingested: IngestReport | None = None


def cached_gallery_path(folder: Path, class_name: str) -> Path:
    """Where the gallery made from an image-folder tree is kept."""
    key = hashlib.sha256(f"{folder.resolve()}\0{class_name}".encode()).hexdigest()[:12]
    return cache_dir() / "galleries" / f"{folder.resolve().name or 'root'}-{key}"


def open_gallery_source(
    path: str | Path,
    options: EmbedderOptions,
    *,
    class_name: str = "person",
    search: Search = "auto",
    notify: Notify | None = None,
    progress: Progress | None = None,
) -> GallerySource:
    """Open a gallery for matching.

    Args:
        path: A gtrack gallery, the address of a served one, or a tree of image folders (one folder an identity).
            The last is ingested into a cached gallery; later calls embed only what changed.
        options: The ReID model.
        class_name: Class of the identities of an image-folder tree.
        search: How the view is to answer; see `Gallery.view`.
        notify: Takes one-line messages for the user.
        progress: Called with (done, total) while images are embedded.

    Raises:
        GalleryError: No gallery, an empty one, or one of another model.
    """
    place = location_of(path)
    path = Path(path)
    say = notify or (lambda message: None)
    if isinstance(place, Path) and not place.exists():
        raise GalleryNotFoundError(
            f"gallery {path} does not exist; expected a gtrack gallery or a folder of image folders.",
            hint=f"Make one with: gtrack gallery ingest FOLDER --gallery {path}",
        )
    if isinstance(place, str) or is_gallery(place):
        with_model = Gallery.open(place)
        try:
            embedder = options.load(with_model, say)
        finally:
            with_model.close()
        gallery = Gallery.open(place, model=embedder.model)
        report = None
    elif path.is_dir() and any(p.is_dir() for p in path.iterdir()) and not (path / "chroma.sqlite3").exists():
        embedder = options.load(None, say)
        cached = cached_gallery_path(path, class_name)
        cached.parent.mkdir(parents=True, exist_ok=True)
        from gallery_db import ingest_folder

        with Gallery.open_or_create(cached, embedder.model, new_collection=True) as writable:
            report = ingest_folder(writable, path, embedder, class_name=class_name, prune=True, progress=progress)
        if report.skipped:
            first, reason = report.skipped[0]
            more = f" and {len(report.skipped) - 1} more" if len(report.skipped) > 1 else ""
            say(f"gallery {path}: not used: {first} ({reason}){more}.")
        gallery = Gallery.open(cached, model=embedder.model)
    else:
        # Gallery.open knows every way in which a folder is not a gallery, and says which.
        gallery = Gallery.open(path)
        gallery.close()
        raise GalleryFormatError(f"{path} is no gallery.")
    try:
        view = gallery.view(search=search)
        for notice in gallery.notices:
            say(notice)
        if not len(view):
            raise GalleryError(
                f"gallery {place} holds no entry for model {embedder.model.name}.",
                hint="Put images in it with: gtrack gallery ingest FOLDER --gallery GALLERY",
            )
        view.prepare()
    except BaseException:
        gallery.close()
        raise
    return GallerySource(gallery, view, embedder, report)
