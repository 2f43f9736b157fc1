"""`gtrack gallery ingest`: image folders into a gallery."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.downloads import offer_downloads
from cli.gallery.common import count_entries, print_notices
from cli.new_galleries import announce_new_gallery
from cli.options import (
    Device,
    Download,
    GalleryPath,
    Half,
    ModelsDir,
    NoProgress,
    ReidWeights,
    Runtime,
    Threads,
    TrustWeights,
    WaitIndex,
)
from cli.output import print_table, print_text, progress_bar, say

if TYPE_CHECKING:
    from gallery_db.transfer.folder_scan import Layout

__all__ = ["ingest"]


class LayoutChoice(str, Enum):
    """How a folder of images is read."""

    folders = "folders"
    market = "market"
    files = "files"


def ingest(
    folder: Annotated[Path, typer.Argument(help="A folder of images, usually with a sub-folder for each identity.")],
    gallery: GalleryPath,
    class_name: Annotated[
        str,
        typer.Option(
            "--class-name",
            help="Class of the images, as your detector names it. Entries of different classes are never compared.",
        ),
    ] = "person",
    layout: Annotated[
        LayoutChoice | None,
        typer.Option(
            "--layout",
            metavar="LAYOUT",
            help="Where the identity of an image is: its sub-folder (folders), its name as in Market-1501 (market), or "
            "its name as a whole, one image a person (files). Default: recognized, if it is unambiguous.",
            show_default=False,
        ),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also remove entries whose image is no longer in the folder.")
    ] = False,
    new_collection: Annotated[
        bool,
        typer.Option(
            "--new-collection",
            help="If the gallery was made with another model, start a further collection for this model.",
        ),
    ] = False,
    reid_weights: ReidWeights = None,
    models_dir: ModelsDir = Path("models"),
    device: Device = "auto",
    half: Half = False,
    runtime: Runtime = "auto",
    threads: Threads = None,
    download: Download = False,
    trust_weights: TrustWeights = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images embedded and stored at once.")] = 64,
    wait_index: WaitIndex = False,
    no_progress: NoProgress = False,
) -> None:
    """Embed the images of a folder, and store them in a gallery.

    Example: gtrack gallery ingest people/ --gallery gallery/

    The folder has a sub-folder of images for each identity. A folder without sub-folders may hold one image a person
    (alice.jpg, bob.jpg), or images named as in Market-1501 (0001_c1s1_001051_03.jpg), whose cameras are stored.

    The gallery is made if it does not exist. Images that it already holds are not embedded again, and unusable images
    are listed at the end. Stop it at any time; the same command continues.
    """
    from gallery_db import Gallery, ImageError, ingest_folder, match_threshold
    from gallery_db.address import location_of
    from gallery_db.opening import is_new_gallery
    from gallery_db.transfer.folder_scan import check_image_tree
    from tracking.identification.gallery_source import EmbedderOptions, model_to_fill

    chosen: Layout | None = None if layout is None else layout.value
    if is_new_gallery(location_of(gallery)):
        check_image_tree(folder, chosen)
        announce_new_gallery(gallery)
    options = EmbedderOptions(reid_weights, models_dir, device, half, runtime, threads, download, trust_weights)
    offer_downloads(models_dir, download, reid=reid_weights)
    embedder = model_to_fill(location_of(gallery), options, say)
    with Gallery.open_or_create(gallery, embedder.model, new_collection=new_collection) as target:
        print_notices(target)
        printed = len(target.notices)
        with (
            progress_bar("ingesting", "images", no_progress) as progress,
            progress_bar("indexing", "entries", no_progress) as index_progress,
        ):
            try:
                report = ingest_folder(
                    target,
                    folder,
                    embedder,
                    class_name=class_name,
                    layout=chosen,
                    prune=prune,
                    batch_size=batch_size,
                    index=wait_index,
                    progress=progress,
                    index_progress=index_progress,
                )
            except KeyboardInterrupt:
                say(f"stopped; {gallery} holds {len(target)} entries, and the same command continues from there.")
                raise
        match_threshold(target)  # measured now, so that no run has to wait for it
        total = len(target)
    print_notices(target, printed)
    if report.layout_in_words is not None:
        say(f"{folder}: {report.layout_in_words}")
    if report.skipped:
        print_table("Not ingested", ["image", "reason"], report.skipped, paths=["image"], most=20)
    counts = {
        "unchanged": report.unchanged,
        "moved": report.moved,
        "replaced": report.replaced,
        "duplicates": report.duplicates,
        "removed": report.pruned,
        "not ingested": len(report.skipped),
    }
    others = "".join(f", {count} {what}" for what, count in counts.items() if count)
    print_text(
        f"{report.added} added{others}; {gallery} now holds {count_entries(total)} of the model {embedder.model.name}"
    )
    if report.kept:
        say(f"{report.kept} images keep their corrected identity, although their folder or file has another name.")
    if not report.added + report.unchanged + report.moved + report.replaced + report.duplicates:
        raise ImageError(
            f"no image could be ingested from {folder}.",
            hint="Expected a sub-folder of images for each identity, such as people/alice/1.jpg.",
        )
