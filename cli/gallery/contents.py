"""`gtrack gallery list, show, stats, log`: what a gallery holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.completion import complete_identity
from cli.gallery.common import ClassName, FullIds, entry_document, ids_for_table, print_entries
from cli.options import AsJson, Collection, GalleryPath, NoProgress
from cli.output import print_json_lines, print_line, print_table, progress_bar, say

if TYPE_CHECKING:
    from gallery_db import Entry

__all__ = ["list_identities", "log", "show", "stats"]


def list_identities(
    gallery: GalleryPath,
    entries: Annotated[bool, typer.Option("--entries", help="List entries instead of identities.")] = False,
    identity: Annotated[
        str | None,
        typer.Option("--identity", help="List the entries of this identity.", autocompletion=complete_identity),
    ] = None,
    suspects: Annotated[
        bool,
        typer.Option(
            "--suspects",
            help="List what may be wrong: identities that may be one person or two people, entries that may have the "
            "wrong identity, nearly equal entries of two identities.",
        ),
    ] = False,
    full_ids: FullIds = False,
    as_json: AsJson = False,
    collection: Collection = None,
) -> None:
    """List the identities of a gallery, its entries, or what may be wrong in it.

    Example: gtrack gallery list --gallery gallery --entries --identity alice
    """
    from gallery_db import Gallery

    if suspects:
        from tracking.errors import OptionError

        if entries or identity is not None:
            raise OptionError("--suspects is about the whole gallery: omit --entries and --identity.")
        _list_anomalies(gallery, collection, as_json, full_ids)
        return
    from gallery_db import Curator
    from gallery_db.times import local_time

    with Gallery.open(gallery, collection=collection) as source:
        if entries or identity is not None:
            found: Iterable[Entry] = source.entries(identity=identity)
            if identity is not None:
                found = list(found) or Curator(source).entries(identity)  # another form of the name, or suggestions
            if as_json:
                print_json_lines(entry_document(e) for e in found)
            else:
                listed = list(found)
                shown = ids_for_table(source, (e.id for e in listed), full_ids)
                print_entries(listed, shown)
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
                ["identity", "class", "entries", "first added", "last added"],
                [
                    (p.identity, p.class_name, p.entries, local_time(p.first_created), local_time(p.last_created))
                    for p in people
                ],
                whole=["first added", "last added"],
                once=["class"],
            )


def _list_anomalies(gallery: str, collection: str | None, as_json: bool, full_ids: bool) -> None:
    """Print the anomalies of a gallery."""

    from gallery_db import Gallery, find_anomalies

    with Gallery.open(gallery, collection=collection) as source:
        found = find_anomalies(source.view())
        ids = [m.entry_id for m in found.mislabelled] + [i for m in found.mixed for i in m.parts[1]]
        shown = ids_for_table(source, ids + [i for d in found.duplicates for i in (d.entry_id, d.other_id)], full_ids)
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
            "Identities that may be one person",
            ["identity", "other identity", "class", "distance", "spread", "entries"],
            [
                (a.identity, a.other, a.class_name, a.distance, a.spread, "{} and {}".format(*a.entries))
                for a in found.similar
            ],
            once=["class"],
        )
    if found.mislabelled:
        print_table(
            "Entries that may have the wrong identity, with their distances",
            ["entry", "identity", "nearer to", "class", "to own", "to other"],
            [
                (shown[m.entry_id], m.identity, m.other, m.class_name, m.own_distance, m.other_distance)
                for m in found.mislabelled
            ],
            whole=["entry"],
            once=["class"],
        )
    if found.mixed:
        print_table(
            "Identities that may be two people (or one person in different clothes)",
            ["identity", "class", "distance of the parts", "nearer identities", "entries", "smaller part"],
            [
                (
                    m.identity,
                    m.class_name,
                    m.distance,
                    "{} and {} of {}".format(*m.nearer, m.others),
                    "{} and {}".format(*map(len, m.parts)),
                    " ".join(shown[id_] for id_ in m.parts[1]),
                )
                for m in found.mixed
            ],
            once=["class"],
        )
    if found.duplicates:
        print_table(
            "Nearly equal entries of two identities",
            ["entry", "identity", "other entry", "other identity", "class", "distance"],
            [
                (shown[d.entry_id], d.identity, shown[d.other_id], d.other, d.class_name, d.distance)
                for d in found.duplicates
            ],
            whole=["entry", "other entry"],
            once=["class"],
        )
    if not found:
        print_line("no anomalies found")


def show(
    gallery: GalleryPath,
    identity: Annotated[
        str | None,
        typer.Argument(
            help="The identity, or the id of an entry. Without it, --contact-sheet shows all identities.",
            autocompletion=complete_identity,
            show_default=False,
        ),
    ] = None,
    class_name: ClassName = None,
    contact_sheet: Annotated[
        Path | None,
        typer.Option(
            "--contact-sheet",
            help="Save the pictures of the entries as one picture (.jpg or .png); of all identities, 20 on a page.",
        ),
    ] = None,
    full_ids: FullIds = False,
    as_json: AsJson = False,
    collection: Collection = None,
    no_progress: NoProgress = False,
) -> None:
    """Show the entries of an identity, or one entry, and save their pictures as one picture.

    Example: gtrack gallery show alice --gallery gallery --contact-sheet alice.jpg

    All identities, ten pictures of each: gtrack gallery show --gallery gallery --contact-sheet people.jpg
    """
    from gallery_db import Curator, Gallery, write_entry_sheet, write_gallery_sheet
    from gallery_db.entry_ids import resolve_ids

    if identity is None:
        from tracking.errors import OptionError

        if contact_sheet is None:
            raise OptionError(
                "expected an identity, the id of an entry, or --contact-sheet for all identities.",
                hint="gtrack gallery list prints the identities.",
            )
        if class_name is not None:
            raise OptionError("--class needs an identity.")
        with (
            Gallery.open(gallery, collection=collection) as source,
            progress_bar("drawing", "identities", no_progress) as progress,
        ):
            pages = write_gallery_sheet(contact_sheet, source, progress=progress)
        if as_json:
            print_json_lines({"path": str(page)} for page in pages)
        else:
            for page in pages:
                print_line(f"contact sheet: {page}")
        return
    with Gallery.open(gallery, collection=collection) as source:
        people = Curator(source)
        ids = [] if people.exists(identity) else resolve_ids(source, [identity])
        entries = list(source.by_ids(ids).values()) or people.entries(identity, class_name)
        shown = ids_for_table(source, (entry.id for entry in entries), full_ids)
    if contact_sheet is not None:
        write_entry_sheet(contact_sheet, entries, gallery=source.path)
        say(f"contact sheet: {contact_sheet}")
    if as_json:
        print_json_lines(entry_document(entry) for entry in entries)
    else:
        print_entries(entries, shown)


def stats(gallery: GalleryPath, as_json: AsJson = False) -> None:
    """Show the models, entries, identities, match thresholds and sizes of a gallery.

    Example: gtrack gallery stats --gallery gallery
    """
    from gallery_db import DEFAULT_THRESHOLD, Gallery, GalleryError, stored_thresholds
    from gallery_db.analysis.thresholds import describe_outdated
    from gallery_db.regular_files import describe_bytes
    from gallery_db.store.thresholds import StoredThreshold
    from gallery_db.times import local_time

    failure: GalleryError | None = None
    with Gallery.open(gallery) as first:
        collections = [c.name for c in first.collections()]
    for name in collections:
        with Gallery.open(gallery, collection=name) as source:
            found = source.stats()
            thresholds: dict[str, StoredThreshold] = {}
            try:
                thresholds = stored_thresholds(source)
            except GalleryError as error:  # the other collections, and all other facts, can be shown
                failure = failure or error
            outdated = [words for one in thresholds.values() if (words := describe_outdated(source, one)) is not None]
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
            for size in ("record", "index"):
                row[f"{size} size"] = describe_bytes(row.pop(f"{size}_bytes"))
            row["sha256"] = f"{found.model.sha256[:16]}..."
            row["index"] = "up to date" if row.pop("index_current") else "follows when it is next needed"
            row["created at"] = local_time(row.pop("created_at"))
            row["match_thresholds"] = row["match_thresholds"] or f"{DEFAULT_THRESHOLD}, the default"
            print_table(
                f"Collection {row.pop('collection')}",
                ["property", "value"],
                [(key.replace("_", " "), _stats_value(value)) for key, value in row.items()],
            )
        for words in outdated:
            say(f"warning: {words}")
    if failure is not None:
        raise failure


def _stats_value(value: Any) -> Any:
    """Return a property of a collection as the table shows it."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {number}" for key, number in value.items())
    return value


def log(
    gallery: GalleryPath,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="Number of operations to show, the newest first.")
    ] = 20,
    as_json: AsJson = False,
    collection: Collection = None,
) -> None:
    """List the operations on a gallery, with time, user and number of entries.

    Example: gtrack gallery log --gallery gallery --limit 5
    """
    from gallery_db import Gallery
    from gallery_db.times import local_time

    with Gallery.open(gallery, collection=collection) as source:
        operations = source.operations(limit)
    if as_json:
        print_json_lines(
            {
                "seq": o.seq,
                "at": o.at,
                "who": o.who,
                "action": o.action,
                "words": o.words,
                "entries": o.entries,
                "target": o.target,
                "undone": o.undone,
            }
            for o in operations
        )
    else:
        print_table(
            None,
            ["number", "time", "user", "operation", "entries", "state"],
            [(o.seq, local_time(o.at), o.who, o.words, o.entries, "undone" if o.undone else "") for o in operations],
            whole=["time"],
            optional=["state"],
            spare=["user"],
        )
