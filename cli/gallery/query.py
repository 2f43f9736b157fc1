"""`gtrack gallery query`: the entries of a gallery that are most like an image or an entry."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.gallery.common import entry_document, print_notices
from cli.options import (
    AsJson,
    Collection,
    Device,
    Download,
    GalleryPath,
    Half,
    ModelsDir,
    ReidWeights,
    Runtime,
    SearchChoice,
    Threads,
    TrustWeights,
)
from cli.output import print_json_lines, print_line, print_table, say

if TYPE_CHECKING:
    from gallery_db import Entry, Match

__all__ = ["query"]


def query(
    gallery: GalleryPath,
    images: Annotated[
        list[Path] | None, typer.Argument(help="Images of one person (or thing) each.", show_default=False)
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(
            "--box", help="The part of the image to search for: x1,y1,x2,y2 in pixels. Only with a single image."
        ),
    ] = None,
    entry: Annotated[
        list[str] | None,
        typer.Option("--entry", help="Search for an entry of the gallery, by its id. Repeatable."),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Number of nearest entries to show.")] = 5,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", help="Search only entries with class=, identity=, origin= or source=VALUE. Repeatable."
        ),
    ] = None,
    search: Annotated[
        SearchChoice,
        typer.Option(
            "--search",
            help="hnsw: Chroma's index, approximate. exact: compare with every entry. auto: hnsw of a served gallery.",
        ),
    ] = SearchChoice.auto,
    as_json: AsJson = False,
    contact_sheet: Annotated[
        Path | None,
        typer.Option("--contact-sheet", help="Save a picture of each probe beside its nearest entries (.jpg or .png)."),
    ] = None,
    collection: Collection = None,
    reid_weights: ReidWeights = None,
    models_dir: ModelsDir = Path("models"),
    device: Device = "auto",
    half: Half = False,
    runtime: Runtime = "auto",
    threads: Threads = None,
    download: Download = False,
    trust_weights: TrustWeights = False,
) -> None:
    """Find the entries of a gallery that are most like an image.

    Example: gtrack gallery query door.jpg --box 40,10,120,260 --gallery gallery --contact-sheet answer.jpg
    """
    import numpy as np

    from gallery_db import Gallery, ImageError, read_image
    from tracking.errors import OptionError
    from tracking.identification.gallery_source import EmbedderOptions
    from tracking.video.crops import crop

    if not images and not entry:
        raise OptionError("no image and no entry given.", hint="Give image files, or --entry ID.")
    if box is not None and len(images or []) != 1:
        raise OptionError(f"--box needs exactly one image, found {len(images or [])}.")
    filters = _where(where or [])
    corners = None if box is None else np.array([_box(box)], np.float64)
    with ExitStack() as handles:
        source = handles.enter_context(Gallery.open(gallery, collection=collection))
        probes: list[Any] = []
        titles: list[str] = []
        asked: list[Entry | None] = []
        pictures: list[Any] = []
        if images:
            embedder = EmbedderOptions(
                reid_weights, models_dir, device, half, runtime, threads, download, trust_weights
            ).load(source, None if reid_weights is None else say)
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
                        raise ImageError(f"{path}: --box {box} is outside of this {width} x {height} image.")
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
        print_notices(source)
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


def _where(pairs: Sequence[str]) -> dict[str, str]:
    from tracking.errors import OptionError

    where = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key not in {"class", "identity", "origin", "source"}:
            raise OptionError(f"expected --where class=, identity=, origin= or source=VALUE, found {pair!r}.")
        where[key] = value
    return where


def _box(text: str) -> tuple[float, float, float, float]:
    from tracking.errors import OptionError

    try:
        x1, y1, x2, y2 = (float(v) for v in text.split(","))
    except ValueError:
        raise OptionError(f"expected --box x1,y1,x2,y2 in pixels, found {text!r}.") from None
    return x1, y1, x2, y2


def _print_answers(
    titles: Sequence[str], asked: Sequence[Entry | None], answers: Sequence[Sequence[Match]], as_json: bool
) -> None:
    for title, entry, matches in zip(titles, asked, answers, strict=True):
        rejected = _rejected(entry, matches)
        if as_json:
            found = [
                {**_match_document(match), **({"rejected": True} if rejection else {})}
                for match, rejection in zip(matches, rejected, strict=True)
            ]
            print_json_lines([{"probe": title, "matches": found}])
        elif matches:
            columns, rows = ["identity", "similarity", "distance", "class", "source"], _match_rows(matches)
            if any(rejected):
                columns = [*columns, "corrected"]
                rows = [
                    (*row, "not the same" if rejection else "") for row, rejection in zip(rows, rejected, strict=True)
                ]
            print_table(title, columns, rows)
        else:
            print_line(f"{title}: no entries found")


def _rejected(asked: Entry | None, matches: Sequence[Match]) -> list[bool]:
    """Return which matches a person has rejected for the queried entry; none for an image."""
    from gallery_db.rejections import is_rejected_pair

    return [asked is not None and is_rejected_pair(asked, match.entry) for match in matches]


def _match_rows(matches: Sequence[Match]) -> list[tuple[Any, ...]]:
    return [(m.entry.identity, m.similarity, m.distance, m.entry.class_name, m.entry.source) for m in matches]


def _match_document(match: Match) -> dict[str, Any]:
    return {
        "identity": match.entry.identity,
        "similarity": round(match.similarity, 6),
        "distance": round(match.distance, 6),
        **entry_document(match.entry),
    }
