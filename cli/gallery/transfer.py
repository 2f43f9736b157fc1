"""`gtrack gallery export, import, reembed`: move a gallery to other tools, galleries and models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli.downloads import offer_downloads
from cli.gallery.common import print_notices
from cli.options import (
    Collection,
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
from cli.output import print_line, print_table, print_text, progress_bar

__all__ = ["export", "import_", "reembed"]


def _print_missing(title: str, missing: Sequence[tuple[str, str]]) -> None:
    if missing:
        print_table(title, ["entry", "reason"], missing, whole=["entry"], most=20)


def export(
    target: Annotated[
        Path, typer.Argument(metavar="FILE.parquet", help="The file to write; with --folders, the folder.")
    ],
    gallery: GalleryPath,
    crops: Annotated[
        bool, typer.Option("--crops", help="Also export the pictures of the entries, as the column crop.")
    ] = False,
    folders: Annotated[
        bool,
        typer.Option(
            "--folders",
            help="Write image folders instead of a Parquet file: one for each identity, as ingest reads them.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="With --folders: allow a folder that is not empty.")
    ] = False,
    collection: Collection = None,
    no_progress: NoProgress = False,
) -> None:
    """Export a gallery to a Parquet file, or its pictures to image folders.

    Example: gtrack gallery export people.parquet --gallery gallery --crops

    pandas, polars and others read the file (docs/reference/gallery-parquet.md). The file appears only when it is
    complete.
    """
    from gallery_db import Gallery, export_folders, export_parquet
    from tracking.errors import OptionError

    if folders and crops:
        raise OptionError("--crops is an option of Parquet files; --folders always writes the pictures.")
    if not folders and target.suffix.lower() != ".parquet":
        raise OptionError(
            f"expected a file name that ends in .parquet, found {str(target)!r}.",
            hint="Give --folders to write image folders.",
        )
    with (
        Gallery.open(gallery, collection=collection) as source,
        progress_bar("exporting", "entries", no_progress) as progress,
    ):
        if folders:
            tree = export_folders(source, target, overwrite=overwrite, progress=progress)
        else:
            report = export_parquet(source, target, pictures=crops, progress=progress)
    if folders:
        _print_missing("Not written", tree.missing)
        print_line(
            f"{tree.written} images of {tree.identities} identities written to {tree.folder}, "
            f"{len(tree.missing)} not written"
        )
        if tree.missing and not tree.written:
            raise typer.Exit(1)
        return
    _print_missing("Without a picture", report.missing)
    shown = f", {report.pictures} of them with a picture" if crops else ""
    print_line(f"{report.entries} entries{shown}, written to {report.path}")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE.parquet", help="A file that `gtrack gallery export` wrote.")],
    gallery: GalleryPath,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Replace entries that have the same id as an entry of the file, but other content."
        ),
    ] = False,
    new_collection: Annotated[
        bool,
        typer.Option(
            "--new-collection",
            help="If the gallery was made with another model, start a further collection for this model.",
        ),
    ] = False,
    wait_index: WaitIndex = False,
    no_progress: NoProgress = False,
) -> None:
    """Import the entries of a Parquet file into a gallery: all of them, or none.

    Example: gtrack gallery import people.parquet --gallery gallery

    The gallery is made if it does not exist. Entries that it already holds are counted, and not changed.
    """
    from gallery_db import import_parquet

    with (
        progress_bar("checking", "entries", no_progress) as check_progress,
        progress_bar("importing", "entries", no_progress) as progress,
        progress_bar("indexing", "entries", no_progress) as index_progress,
    ):
        report = import_parquet(
            gallery,
            file,
            replace=replace,
            new_collection=new_collection,
            index=wait_index,
            check_progress=check_progress,
            progress=progress,
            index_progress=index_progress,
        )
    print_text(
        f"{report.added} added, {report.unchanged} unchanged, {report.replaced} replaced, "
        f"{report.pictures} pictures stored; in the collection {report.collection} of "
        f"{gallery}{' (new)' if report.created else ''}"
    )


def reembed(
    gallery: GalleryPath,
    reid_weights: ReidWeights = None,
    collection: Collection = None,
    models_dir: ModelsDir = Path("models"),
    device: Device = "auto",
    half: Half = False,
    runtime: Runtime = "auto",
    threads: Threads = None,
    download: Download = False,
    trust_weights: TrustWeights = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Pictures embedded and stored at once.")] = 64,
    wait_index: WaitIndex = False,
    no_progress: NoProgress = False,
) -> None:
    """Embed the entries of a gallery with another model, into a further collection.

    Example: gtrack gallery reembed --gallery gallery --reid-weights osnet_x1_0_msmt17.onnx

    The pictures come from the gallery, the image files and the videos; entries without a picture are listed. The old
    collection stays. Stop it at any time; the same command continues.
    """
    from gallery_db import Gallery, ImageError, reembed_gallery
    from tracking.errors import OptionError
    from tracking.identification.gallery_source import EmbedderOptions
    from tracking.video.frames import VideoFrames

    if reid_weights is None:
        raise OptionError("no model given.", hint="Give its weights with --reid-weights.")
    with Gallery.open(gallery, collection=collection) as source:
        print_notices(source)
    offer_downloads(models_dir, download, reid=reid_weights)
    embedder = EmbedderOptions(reid_weights, models_dir, device, half, runtime, threads, download, trust_weights).load(
        None, None
    )
    with (
        VideoFrames() as frames,
        progress_bar("embedding", "entries", no_progress) as progress,
        progress_bar("indexing", "entries", no_progress) as index_progress,
    ):
        report = reembed_gallery(
            gallery,
            embedder,
            collection=collection,
            frames=frames,
            batch_size=batch_size,
            index=wait_index,
            progress=progress,
            index_progress=index_progress,
        )
    _print_missing("Not embedded", report.missing)
    print_text(
        f"{report.added} embedded, {report.present} unchanged, {len(report.missing)} not embedded; from "
        f"{report.source} into {report.collection or 'no collection'} of {gallery}, model {embedder.model.name}"
    )
    if not report.added + report.present:
        raise ImageError(
            f"no entry of {gallery} could be embedded.",
            hint="The pictures are not available; ingest the images again with the new model and --new-collection.",
        )
