"""`gtrack gallery list, show, stats, log`: what a gallery holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from cli.gallery.common import ClassName, entry_document, print_entries
from cli.options import AsJson, Collection, GalleryPath
from cli.output import print_json_lines, print_table, say

__all__ = ["list_identities", "log", "show", "stats"]


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
                print_json_lines(entry_document(e) for e in found)
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


def list_suspects(gallery: str, collection: str | None, as_json: bool) -> None:
    """`gtrack gallery list --suspects`."""

    from gallery_db import Gallery, find_anomalies

    with Gallery.open(gallery, collection=collection) as source:
        found = find_anomalies(source.view())
    if as_json:
        for kind, rows in (
            ("alike", found.similar),
            ("misplaced", found.mislabelled),
            ("mixed", found.mixed),
            ("duplicate", found.duplicates),
        ):
            print_json_lines(
                {"kind": kind, **{k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(row).items()}}
                for row in rows
            )
        return
    if found.similar:
        print_table(
            "Identities that may be one",
            ["identity", "and", "class", "distance", "spread", "entries"],
            [
                (a.identity, a.other, a.class_name, a.distance, a.spread, "{} and {}".format(*a.entries))
                for a in found.similar
            ],
        )
    if found.mislabelled:
        print_table(
            "Entries nearer to another identity than to their own",
            ["entry", "identity", "nearer to", "class", "own distance", "other distance"],
            [
                (m.entry_id, m.identity, m.other, m.class_name, m.own_distance, m.other_distance)
                for m in found.mislabelled
            ],
        )
    if found.mixed:
        print_table(
            "Identities that may be two people (or one in two coats)",
            ["identity", "class", "distance", "nearer others", "entries", "the fewer are"],
            [
                (
                    m.identity,
                    m.class_name,
                    m.distance,
                    "{} and {} of {}".format(*m.nearer, m.others),
                    "{} and {}".format(*map(len, m.parts)),
                    " ".join(m.parts[1]),
                )
                for m in found.mixed
            ],
        )
    if found.duplicates:
        print_table(
            "Nearly the same, and of two identities",
            ["entry", "identity", "entry ", "identity ", "class", "distance"],
            [(d.entry_id, d.identity, d.other_id, d.other, d.class_name, d.distance) for d in found.duplicates],
        )
    if not found:
        print("nothing looks wrong")


def show(
    identity: Annotated[str, typer.Argument(help="Whose entries.")],
    gallery: GalleryPath,
    class_name: ClassName = None,
    contact_sheet: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--contact-sheet", help="Save a picture of all its pictures (.jpg or .png)."),
    ] = None,
    as_json: AsJson = False,
    collection: Collection = None,
) -> None:
    """Show one identity: its entries, and a sheet of their pictures.

    Example: gtrack gallery show alice --gallery gallery --contact-sheet alice.jpg
    """
    from gallery_db import Curator, Gallery, write_entry_sheet

    with Gallery.open(gallery, collection=collection) as source:
        entries = Curator(source).entries(identity, class_name)
    if contact_sheet is not None:
        write_entry_sheet(contact_sheet, entries, gallery=source.path)
        say(f"contact sheet: {contact_sheet}")
    if as_json:
        print_json_lines(entry_document(entry) for entry in entries)
    else:
        print_entries(entries)


def stats(gallery: GalleryPath, as_json: AsJson = False) -> None:
    """What a gallery holds: its models, identities, entries, and size on disk.

    Example: gtrack gallery stats --gallery gallery
    """
    from gallery_db import DEFAULT_THRESHOLD, Gallery, GalleryError, stored_thresholds
    from gallery_db.analysis.thresholds import describe_outdated
    from gallery_db.store.thresholds import StoredThreshold

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


def log(
    gallery: GalleryPath,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, the newest first.")] = 20,
    as_json: AsJson = False,
    collection: Collection = None,
) -> None:
    """What was done to a gallery: when, by whom, what, and to how many entries.

    Example: gtrack gallery log --gallery gallery --limit 5
    """
    from gallery_db import Gallery

    with Gallery.open(gallery, collection=collection) as source:
        operations = source.operations(limit)
    if as_json:
        print_json_lines(
            {"seq": o.seq, "at": o.at, "who": o.who, "action": o.action, "words": o.words, "entries": o.entries}
            for o in operations
        )
    else:
        print_table(
            None,
            ["no.", "when", "who", "what", "entries"],
            [(o.seq, o.at, o.who, o.words, o.entries) for o in operations],
        )
