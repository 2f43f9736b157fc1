"""`gtrack gallery query`: who an image shows, and the entries most like it or like another entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cli.downloads import offer_downloads
from cli.gallery.common import FullIds, entry_document, ids_for_table, print_notices
from cli.options import (
    AsJson,
    Collection,
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
    TrustWeights,
)
from cli.output import print_json_lines, print_line, print_table, print_text, progress_bar, say

if TYPE_CHECKING:
    from gallery_db import Entry, Gallery, Match
    from tracking.identification.probes import ProbeDecision

__all__ = ["describe_decision", "query"]

_BATCH = 32
_MAX_SHEET_ROWS = 200


def query(
    gallery: GalleryPath,
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Images of one person (or thing) each, or folders of such images.", show_default=False),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(
            "--box",
            help="The part of the image to search for: x1,y1,x2,y2 in pixels, with a single image. A whole scene needs "
            "it; 'whole' takes any image as it is.",
        ),
    ] = None,
    entry: Annotated[
        list[str] | None,
        typer.Option(
            "--entry",
            help="Search for an entry of the gallery, by its id or an unambiguous beginning of it. Repeatable.",
        ),
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
    rerank: Annotated[
        bool,
        typer.Option(
            "--rerank",
            help="Rank the nearest 200 entries again by the neighbours that they share with the image (k-reciprocal "
            "re-ranking). Distances stay the same.",
        ),
    ] = False,
    full_ids: FullIds = False,
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
    no_progress: NoProgress = False,
) -> None:
    """Say who an image shows, and list the entries of a gallery that are most like it.

    Example: gtrack gallery query door.jpg --box 40,10,120,260 --gallery gallery --contact-sheet answer.jpg

    The name is given by the rule of `gtrack run` for one observation, also with --rerank. Several images, or a folder,
    are answered with a line for each; --json has the nearest entries, too.
    """
    from gallery_db import ContactRow, Curator, Gallery
    from gallery_db.entry_ids import resolve_ids
    from tracking.errors import OptionError
    from tracking.identification.gallery_source import EmbedderOptions
    from tracking.identification.probes import list_probe_files

    if not images and not entry:
        raise OptionError("no image and no entry given.", hint="Give image files, a folder of them, or --entry ID.")
    if box is not None and box != "whole" and (len(images or []) != 1 or any(map(Path.is_dir, images or []))):
        raise OptionError(f"--box needs exactly one image, found {len(images or [])} images or folders.")
    if rerank and search == SearchChoice.hnsw:
        raise OptionError("--rerank searches exactly.", hint="Omit --search hnsw, or --rerank.")
    filters = _where(where or [])
    part = _Part(None if box in (None, "whole") else _box(box), box == "whole")
    files = list_probe_files(images or [])
    if contact_sheet is not None and len(files) + len(entry or []) > _MAX_SHEET_ROWS:
        raise OptionError(f"--contact-sheet: expected at most {_MAX_SHEET_ROWS} images, found {len(files)}.")
    offer_downloads(models_dir, download, reid=reid_weights)
    is_batch = len(files) > 1
    failed = False
    rows: list[ContactRow] = []
    with ExitStack() as handles:
        source = handles.enter_context(Gallery.open(gallery, collection=collection))
        if files:
            embedder = EmbedderOptions(
                reid_weights, models_dir, device, half, runtime, threads, download, trust_weights
            ).load(source, None if reid_weights is None else say)
            if not embedder.model.same_space(source.model):
                # Opening with the model says which collection it has, or refuses with both names.
                source = handles.enter_context(Gallery.open(gallery, model=embedder.model))

        if search == SearchChoice.hnsw:
            with progress_bar("indexing", "entries", no_progress) as progress:
                source.prepare_index(progress)

        def answer(probes: Any) -> list[list[Match]]:
            return source.query(probes, top_k=top_k, where=filters or None, search=search.value, rerank=rerank)

        def shown_of(matches: Sequence[Match]) -> Mapping[str, str]:
            return ids_for_table(source, (match.entry.id for match in matches), full_ids)

        if "identity" in filters and next(source.entries(identity=filters["identity"]), None) is None:
            # Another form of the name, or an error with suggestions.
            filters["identity"] = Curator(source).entries(filters["identity"])[0].identity
        if files:
            decider = _Decider(source, filters)
            for start in range(0, len(files), _BATCH):
                found = _read(files[start : start + _BATCH], part, is_batch)
                failed = failed or len(found) < len(files[start : start + _BATCH])
                if not found:
                    continue
                probes = embedder.embed([picture for _, picture in found])
                decisions = decider.decide(probes)
                wanted = as_json or contact_sheet is not None or not is_batch
                answers = answer(probes) if wanted else [[] for _ in found]
                for (path, picture), decision, matches in zip(found, decisions, answers, strict=True):
                    title = str(path)
                    if as_json:
                        print_json_lines(
                            [_answer_document(title, None, matches) | _decision_document(decision, decider.threshold)]
                        )
                    else:
                        if decision is not None:
                            print_text(f"{title}: {describe_decision(decision, decider.threshold)}")
                        if not is_batch:
                            _print_matches(None if decision is not None else title, None, matches, shown_of(matches))
                    if contact_sheet is not None:
                        rows.append(ContactRow(picture, path.name, matches))
        for entry_id in resolve_ids(source, entry or []):
            stored, vector = source.get(entry_id)
            title = f"{entry_id} ({stored.identity})"
            (matches,) = answer(vector[None])
            if as_json:
                print_json_lines([_answer_document(title, stored, matches)])
            else:
                shown = ids_for_table(source, [entry_id], full_ids)[entry_id]
                _print_matches(f"{shown} ({stored.identity})", stored, matches, shown_of(matches))
            if contact_sheet is not None:
                rows.append(ContactRow(_entry_picture(source, stored), title, matches))
        print_notices(source)
        if contact_sheet is not None and rows:
            from gallery_db import write_contact_sheet

            write_contact_sheet(contact_sheet, rows, gallery=source.path)
            say(f"contact sheet: {contact_sheet}")
    if failed:
        raise typer.Exit(1)


def _entry_picture(source: Gallery, entry: Entry) -> Path | str | None:
    """Return the file of an entry's picture; None where it has none."""
    kept = entry.extra.get("crop")
    if isinstance(kept, str) and kept:
        return source.path / kept
    return (entry.source or None) if entry.origin == "image" else None


class _Part(NamedTuple):
    """Which part of an image is searched for: a box, or the whole image although it may be a scene."""

    box: tuple[float, float, float, float] | None
    whole: bool


def _read(files: Sequence[Path], part: _Part, is_batch: bool) -> list[tuple[Path, Any]]:
    """Read pictures; of a batch, say which cannot be used, and go on."""
    from gallery_db import GtrackError
    from tracking.identification.probes import read_probe

    found = []
    for path in files:
        try:
            found.append((path, read_probe(path, part.box, allow_scene=part.whole)))
        except GtrackError as error:
            if not is_batch:
                raise
            say(f"not searched: {error.message}")
    return found


class _Decider:
    """Decides who pictures show, unless a filter leaves out a part of the gallery.

    Attributes:
        threshold: Largest accepted distance, as a run would use it.
    """

    def __init__(self, source: Gallery, filters: Mapping[str, str]) -> None:
        from gallery_db import match_threshold

        self._class = filters.get("class")
        self.threshold = match_threshold(source, None, [self._class] if self._class else None).value
        self._view = source.view() if not set(filters) - {"class"} else None

    def decide(self, probes: Any) -> Sequence[ProbeDecision | None]:
        from tracking.identification.probes import decide_probes

        if self._view is None:
            return [None] * len(probes)
        return decide_probes(self._view, probes, self.threshold, self._class)


def describe_decision(decision: ProbeDecision, threshold: float) -> str:
    """Return in words who a picture shows, such as ``"alice (distance 0.12, accepted up to 0.25)"``."""
    if decision.nearest is None:
        return "nobody known (the gallery has nobody to compare with)"
    near = decision.distance
    # A third digit where two would make "0.25, accepted up to 0.25" of a distance that is not accepted.
    digits = 3 if abs(near - threshold) < 0.01 else 2
    accepted = f"accepted up to {threshold:.3f}".rstrip("0")
    if decision.status == "known":
        return f"{decision.nearest} (distance {near:.{digits}f}, {accepted})"
    if decision.status == "unknown":
        return f"nobody known (nearest {decision.nearest}, distance {near:.{digits}f}, {accepted})"
    other = "" if decision.second is None else f" or {decision.second} (distance {decision.second_distance:.{digits}f})"
    return (
        f"undecided: {decision.nearest} (distance {near:.{digits}f}){other}, too close to each other for one picture; "
        f"{accepted}"
    )


def _decision_document(decision: ProbeDecision | None, threshold: float) -> dict[str, Any]:
    if decision is None:
        return {}

    def number(distance: float) -> float | None:
        return round(distance, 6) if isfinite(distance) else None  # infinity is no JSON

    return {
        "decision": decision.status,
        "identity": decision.identity,
        "nearest": decision.nearest,
        "distance": number(decision.distance),
        "second": decision.second,
        "second_distance": number(decision.second_distance),
        "threshold": round(threshold, 6),
    }


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


def _answer_document(title: str, entry: Entry | None, matches: Sequence[Match]) -> dict[str, Any]:
    return {
        "probe": title,
        "matches": [
            {**_match_document(match), **({"rejected": True} if rejection else {})}
            for match, rejection in zip(matches, _rejected(entry, matches), strict=True)
        ],
    }


def _print_matches(title: str | None, entry: Entry | None, matches: Sequence[Match], shown: Mapping[str, str]) -> None:
    if not matches:
        print_line(f"{title}: no entries found" if title else "no entries found")
        return
    rejected = _rejected(entry, matches)
    columns = ["identity", "distance", "class", "id", "source"]
    rows: list[tuple[Any, ...]] = [
        (m.entry.identity, m.distance, m.entry.class_name, shown[m.entry.id], m.entry.source) for m in matches
    ]
    if any(rejected):
        columns = [*columns, "corrected"]
        rows = [(*row, "not the same" if rejection else "") for row, rejection in zip(rows, rejected, strict=True)]
    print_table(title, columns, rows, whole=["id"], once=["class"], paths=["source"])


def _rejected(asked: Entry | None, matches: Sequence[Match]) -> list[bool]:
    """Return which matches a person has rejected for the queried entry; none for an image."""
    from gallery_db.rejections import is_rejected_pair

    return [asked is not None and is_rejected_pair(asked, match.entry) for match in matches]


def _match_document(match: Match) -> dict[str, Any]:
    return {
        "identity": match.entry.identity,
        "similarity": round(match.similarity, 6),
        "distance": round(match.distance, 6),
        **entry_document(match.entry),
    }
