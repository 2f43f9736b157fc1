"""`gtrack gallery`: make a gallery, ask it, and keep it sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from cli.options import (
    Device,
    Download,
    GalleryPath,
    Half,
    ModelsDir,
    NoProgress,
    ReidWeights,
    Runtime,
    SearchChoice,
    Threads,
)
from cli.output import print_json_lines, print_table, say

if TYPE_CHECKING:
    from gallery_db import Entry, Gallery, Match

__all__ = ["AsJson", "Collection", "app", "bar", "entry_dict", "tell_notices"]

app = typer.Typer(
    help="Make a gallery of known people (or other things), ask it, and keep it sound.", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, one object a line.")]
Collection = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--collection", help="Which of the gallery's collections (one for each model). Default: the first."),
]


@contextmanager
def bar(title: str, unit: str, no_progress: bool) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on stderr."""
    from tracking.progress import progress_bar

    with progress_bar(title, unit, enabled=not no_progress) as update:
        yield update


def tell_notices(gallery: Gallery) -> None:
    """What a gallery has to say of itself, on stderr."""
    for notice in gallery.notices:
        say(notice)


@app.command()
def ingest(
    folder: Annotated[Path, typer.Argument(help="A folder with one sub-folder of images for each identity.")],
    gallery: GalleryPath,
    class_name: Annotated[
        str, typer.Option("--class-name", help="What they are, in the detector's words; classes never mix.")
    ] = "person",
    prune: Annotated[
        bool, typer.Option("--prune", help="Also remove entries whose image has left the folder.")
    ] = False,
    new_collection: Annotated[
        bool,
        typer.Option("--new-collection", help="If the gallery belongs to another model, start a second collection."),
    ] = False,
    reid_weights: ReidWeights = None,
    models_dir: ModelsDir = Path("models"),
    device: Device = "auto",
    half: Half = False,
    runtime: Runtime = "auto",
    threads: Threads = None,
    download: Download = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images in one batch and transaction.")] = 64,
    no_progress: NoProgress = False,
) -> None:
    """Embed a folder of images, one sub-folder an identity, into a gallery.

    Example: gtrack gallery ingest people/ --gallery gallery/

    Images that are already there are not embedded again; unusable ones are listed at the end. It may be
    stopped at any moment: the next run goes on.
    """
    from gallery_db import Gallery, ImageError, ingest_folder, is_gallery
    from tracking.identification.gallery_source import EmbedderOptions

    if not folder.is_dir():
        raise ImageError(
            f"{folder} is no folder; expected one with a sub-folder of images for each identity.",
            hint="Example: people/alice/1.jpg, people/bob/1.jpg, then: gtrack gallery ingest people --gallery gallery",
        )
    options = EmbedderOptions(reid_weights, models_dir, device, half, runtime, threads, download)
    existing = Gallery.open(gallery) if is_gallery(gallery) else None
    try:
        embedder = options.load(existing, say)
    finally:
        if existing is not None:
            existing.close()
    with Gallery.open_or_create(gallery, embedder.model, new_collection=new_collection) as target:
        tell_notices(target)
        told = len(target.notices)
        with (
            bar("ingesting", "images", no_progress) as progress,
            bar("indexing", "entries", no_progress) as index_progress,
        ):
            try:
                report = ingest_folder(
                    target,
                    folder,
                    embedder,
                    class_name=class_name,
                    prune=prune,
                    batch_size=batch_size,
                    progress=progress,
                    index_progress=index_progress,
                )
            except KeyboardInterrupt:
                say(f"stopped; {gallery} keeps {len(target)} entries, and the same command goes on from there.")
                raise
        total = len(target)
    for notice in target.notices[told:]:
        say(notice)
    if report.skipped:
        print_table("Not ingested", ["image", "why"], report.skipped)
    print(
        f"{report.added} added, {report.unchanged} already there, {report.moved} moved, {report.replaced} replaced, "
        f"{report.duplicates} duplicates, {report.pruned} pruned, {len(report.skipped)} not ingested; "
        f"{gallery} now holds {total} entries of model {embedder.model.name}"
    )
    if report.kept:
        say(f"{report.kept} images keep the identity that a person gave them, whatever their folder's name")
    if not report.added + report.unchanged + report.moved + report.replaced + report.duplicates:
        raise ImageError(
            f"nothing could be ingested from {folder}.",
            hint="Expected one sub-folder for each identity, with images in it.",
        )


def _match_rows(matches: Sequence[Match]) -> list[tuple[Any, ...]]:
    return [(m.entry.identity, m.similarity, m.distance, m.entry.class_name, m.entry.source) for m in matches]


def _rejected(asked: Entry | None, matches: Sequence[Match]) -> list[bool]:
    """Which neighbours a person told apart from the entry that was asked about; none of an image's."""
    from gallery_db import is_rejected_pair

    return [asked is not None and is_rejected_pair(asked, match.entry) for match in matches]


def _where(pairs: Sequence[str]) -> dict[str, str]:
    from tracking.errors import OptionError

    where = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key not in {"class", "identity", "origin", "source"}:
            raise OptionError(f"--where must be class=, identity=, origin= or source=VALUE, got {pair!r}.")
        where[key] = value
    return where


def _box(text: str) -> tuple[float, float, float, float]:
    from tracking.errors import OptionError

    try:
        x1, y1, x2, y2 = (float(v) for v in text.split(","))
    except ValueError:
        raise OptionError(f"--box must be x1,y1,x2,y2 in pixels, got {text!r}.") from None
    return x1, y1, x2, y2


@app.command()
def query(
    gallery: GalleryPath,
    images: Annotated[Optional[list[Path]], typer.Argument(help="Images to ask about.", show_default=False)] = None,  # noqa: UP045
    box: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--box", help="Part of the image, x1,y1,x2,y2 in pixels (with one image)."),
    ] = None,
    entry: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--entry", help="Ask about a stored entry by its id; repeatable."),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Neighbours to show.")] = 5,
    where: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--where", help="Only entries with class=, identity=, origin= or source=VALUE; repeatable."),
    ] = None,
    search: Annotated[
        SearchChoice, typer.Option("--search", help="hnsw (Chroma's index), exact, or auto.")
    ] = SearchChoice.auto,
    as_json: AsJson = False,
    contact_sheet: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--contact-sheet", help="Save a picture of each probe beside its neighbours (.jpg or .png)."),
    ] = None,
    collection: Collection = None,
    reid_weights: ReidWeights = None,
    models_dir: ModelsDir = Path("models"),
    device: Device = "auto",
    half: Half = False,
    runtime: Runtime = "auto",
    threads: Threads = None,
    download: Download = False,
) -> None:
    """Ask who is on an image: the nearest entries of the gallery.

    Example: gtrack gallery query door.jpg --box 40,10,120,260 --gallery gallery --contact-sheet who.jpg
    """
    import numpy as np

    from gallery_db import Gallery, ImageError, read_image
    from tracking.errors import OptionError
    from tracking.identification.gallery_source import EmbedderOptions
    from tracking.video.crops import crop

    if not images and not entry:
        raise OptionError("nothing to ask about.", hint="Give image files, or --entry ID.")
    if box is not None and len(images or []) != 1:
        raise OptionError("--box needs exactly one image.")
    filters = _where(where or [])
    corners = None if box is None else np.array([_box(box)], np.float64)
    with ExitStack() as handles:
        source = handles.enter_context(Gallery.open(gallery, collection=collection))
        probes: list[Any] = []
        titles: list[str] = []
        asked: list[Entry | None] = []
        pictures: list[Any] = []
        if images:
            embedder = EmbedderOptions(reid_weights, models_dir, device, half, runtime, threads, download).load(
                source, None if reid_weights is None else say
            )
            if not embedder.model.same_space(source.model):
                # Opening with the model says which collection it has, or refuses with both names.
                source = handles.enter_context(Gallery.open(gallery, model=embedder.model))
            crops = []
            for path in images:
                image = read_image(path)
                if corners is not None:
                    parts, _ = crop(image, corners)
                    if not parts:
                        height, width = image.shape[:2]
                        raise ImageError(f"{path}: --box {box} shows nothing of this {width} x {height} image.")
                    image = parts[0]
                crops.append(image)
            probes += list(embedder.embed(crops))
            titles += [str(path) for path in images]
            asked += [None] * len(images)
            pictures += crops
        for entry_id in entry or []:
            stored, vector = source.get(entry_id)
            probes.append(vector)
            titles.append(f"{entry_id} ({stored.identity})")
            asked.append(stored)
            kept = stored.extra.get("crop")
            whole = stored.source if stored.origin == "image" else None
            pictures.append(source.path / kept if isinstance(kept, str) and kept else whole or None)
        answers = source.query(np.stack(probes), top_k=top_k, where=filters or None, search=search.value)
        tell_notices(source)
        _print_answers(titles, asked, answers, as_json)
        if contact_sheet is not None:
            from gallery_db import ContactRow, write_contact_sheet

            rows = zip(pictures, titles, answers, strict=True)
            write_contact_sheet(
                contact_sheet,
                [ContactRow(picture, Path(title).name, found) for picture, title, found in rows],
                gallery=source.path,
            )
            say(f"contact sheet: {contact_sheet}")


def _print_answers(
    titles: Sequence[str], asked: Sequence[Entry | None], answers: Sequence[Sequence[Match]], as_json: bool
) -> None:
    for title, entry, matches in zip(titles, asked, answers, strict=True):
        rejected = _rejected(entry, matches)
        if as_json:
            found = [
                {**_match_dict(match), **({"rejected": True} if said else {})}
                for match, said in zip(matches, rejected, strict=True)
            ]
            print_json_lines([{"probe": title, "matches": found}])
        elif matches:
            columns, rows = ["identity", "similarity", "distance", "class", "source"], _match_rows(matches)
            if any(rejected):
                columns = [*columns, "rejected"]
                rows = [(*row, "not the same" if said else "") for row, said in zip(rows, rejected, strict=True)]
            print_table(title, columns, rows)
        else:
            print(f"{title}: no entry fits")


def _match_dict(match: Match) -> dict[str, Any]:
    return {
        "identity": match.entry.identity,
        "similarity": round(match.similarity, 6),
        "distance": round(match.distance, 6),
        **entry_dict(match.entry),
    }


def entry_dict(entry: Entry) -> dict[str, Any]:
    """An entry as ``--json`` shows it."""
    return {
        "id": entry.id,
        "identity": entry.identity,
        "class": entry.class_name,
        "origin": entry.origin,
        "source": entry.source,
        "frame": entry.frame,
        "box": None if entry.box is None else list(entry.box),
        "content_hash": entry.content_hash,
        "created_at": entry.created_at,
        **({"extra": dict(entry.extra)} if entry.extra else {}),
    }


@app.command("list")
def list_identities(
    gallery: GalleryPath,
    entries: Annotated[bool, typer.Option("--entries", help="Each entry instead of each identity.")] = False,
    identity: Annotated[Optional[str], typer.Option("--identity", help="Only this identity's entries.")] = None,  # noqa: UP045
    suspects: Annotated[
        bool,
        typer.Option(
            "--suspects",
            help="What looks wrong: identities too alike, misplaced entries, two people in one, near duplicates.",
        ),
    ] = False,
    as_json: AsJson = False,
    collection: Collection = None,
) -> None:
    """List the identities of a gallery, or their entries, or what looks wrong among them.

    Example: gtrack gallery list --gallery gallery --entries --identity alice
    """
    from gallery_db import Gallery

    if suspects:
        from cli.gallery.curate import list_suspects
        from tracking.errors import OptionError

        if entries or identity is not None:
            raise OptionError("--suspects looks at the whole gallery; leave --entries and --identity away.")
        list_suspects(gallery, collection, as_json)
        return
    from gallery_db import rejected_names

    with Gallery.open(gallery, collection=collection) as source:
        if entries or identity is not None:
            found = source.entries(identity=identity)
            if as_json:
                print_json_lines(entry_dict(e) for e in found)
            else:
                print_table(
                    None,
                    ["id", "identity", "class", "origin", "not", "source", "created"],
                    [
                        (e.id, e.identity, e.class_name, e.origin, ", ".join(rejected_names(e)), e.source, e.created_at)
                        for e in found
                    ],
                )
            return
        people = source.identities()
        if as_json:
            print_json_lines(
                {
                    "identity": p.identity,
                    "class": p.class_name,
                    "entries": p.entries,
                    "origins": dict(p.origins),
                    "first_created": p.first_created,
                    "last_created": p.last_created,
                }
                for p in people
            )
        else:
            print_table(
                None,
                ["identity", "class", "entries", "since", "last"],
                [(p.identity, p.class_name, p.entries, p.first_created, p.last_created) for p in people],
            )


@app.command()
def stats(gallery: GalleryPath, as_json: AsJson = False) -> None:
    """What a gallery holds: its models, identities, entries, and size on disk.

    Example: gtrack gallery stats --gallery gallery
    """
    from gallery_db import (
        DEFAULT_THRESHOLD,
        Gallery,
        GalleryError,
        StoredThreshold,
        describe_outdated,
        stored_thresholds,
    )

    failure: GalleryError | None = None
    with Gallery.open(gallery) as first:
        collections = [c.name for c in first.collections()]
    for name in collections:
        with Gallery.open(gallery, collection=name) as source:
            found = source.stats()
            thresholds: dict[str, StoredThreshold] = {}
            try:
                thresholds = stored_thresholds(source)
            except GalleryError as error:  # the other collections, and all else, can be told
                failure = failure or error
            old = [words for one in thresholds.values() if (words := describe_outdated(source, one)) is not None]
        row: dict[str, Any] = {
            "collection": found.collection,
            "model": found.model.name,
            "sha256": found.model.sha256,
            "dimension": found.model.dimension,
            "preprocessing": found.model.preprocessing,
            "entries": found.entries,
            "identities": found.identities,
            "classes": dict(found.classes),
            "origins": dict(found.origins),
            "sources": found.sources,
            "created_at": found.created_at,
            "format_version": found.format_version,
            "record_bytes": found.record_bytes,
            "index_bytes": found.index_bytes,
            "index_current": found.index_current,
            "match_thresholds": {one.class_name: round(one.threshold, 6) for one in thresholds.values()},
        }
        if as_json:
            print_json_lines([row])
        else:
            row["match_thresholds"] = row["match_thresholds"] or f"the default, {DEFAULT_THRESHOLD}"
            print_table(str(row.pop("collection")), ["fact", "value"], list(row.items()))
        for words in old:
            say(f"warning: {words}")
    if failure is not None:
        raise failure


@app.command()
def verify(gallery: GalleryPath, as_json: AsJson = False, no_progress: NoProgress = False) -> None:
    """Compare the Chroma collection, vector by vector, with the gallery's own record.

    Example: gtrack gallery verify --gallery gallery

    Exit code 1 if they differ; `gtrack gallery rebuild` then makes the collection anew from the record.
    """
    from gallery_db import Gallery

    with Gallery.open(gallery, write=True) as target:
        tell_notices(target)
        with bar("verifying", "entries", no_progress) as progress:
            report = target.verify(progress=progress)
    if as_json:
        print_json_lines(
            [
                {
                    "ok": report.ok,
                    "entries": report.entries,
                    "missing": len(report.missing),
                    "extra": len(report.extra),
                    "different": len(report.different),
                    "record_ok": report.record_ok,
                    "problems": list(report.problems),
                }
            ]
        )
    else:
        print(
            f"{report.entries} entries: {len(report.missing)} missing in the index, {len(report.extra)} too many, "
            f"{len(report.different)} with another vector: {'sound' if report.ok else 'NOT SOUND'}"
        )
        for problem in report.problems:
            print(problem)
    if not report.ok:
        say(f"mend it with: gtrack gallery rebuild --gallery {gallery}")
        raise typer.Exit(1)


@app.command()
def rebuild(gallery: GalleryPath, no_progress: NoProgress = False) -> None:
    """Make the Chroma collection anew from the gallery's own record.

    Example: gtrack gallery rebuild --gallery gallery
    """
    from gallery_db import Gallery

    with Gallery.open(gallery, write=True) as target:
        tell_notices(target)
        with bar("rebuilding", "entries", no_progress) as progress:
            target.rebuild(progress=progress)
        count = len(target)
    print(f"rebuilt the index of {gallery}: {count} entries")
