"""`gtrack gallery verify, rebuild, snapshot, restore`: check, repair and save a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.completion import complete_snapshot
from cli.gallery.common import Yes, confirm, count_entries, print_notices
from cli.options import AsJson, Collection, GalleryPath, NoProgress
from cli.output import print_json_lines, print_line, print_table, print_text, progress_bar, say

if TYPE_CHECKING:
    from gallery_db.index.base import VerifyReport

__all__ = ["rebuild", "restore", "snapshot", "verify"]


def verify(
    gallery: GalleryPath, as_json: AsJson = False, collection: Collection = None, no_progress: NoProgress = False
) -> None:
    """Compare the Chroma index with the record of the gallery, vector by vector.

    Example: gtrack gallery verify --gallery gallery

    All collections are compared, or the one that is named. The exit code is 1 if an index differs; `gtrack gallery
    rebuild` then rebuilds all of them from the record. An index that lacks the newest changes is no fault. Pictures of
    entries that are missing are counted, and do not change the exit code: no search needs them.
    """
    from gallery_db import Gallery

    with Gallery.open(gallery, collection=collection) as source:
        names = [info.name for info in source.collections()] if collection is None else [source.collection]
    intact = True
    for name in names:
        with Gallery.open(gallery, collection=name, write=True) as target:
            print_notices(target)
            with progress_bar("verifying", "entries", no_progress) as progress:
                report = target.verify(progress=progress)
            missing = target.without_picture() if report.record_ok else ()
            target.close(sync=False)  # the next use repairs what is wrong; the other collections are to be seen first
        intact = intact and report.ok
        if as_json:
            print_json_lines([_report_document(name, report, missing)])
        else:
            print_text(f"{name}: {_report_in_words(report)}")
            for problem in report.problems:
                print_line(problem)
            if missing:
                print_text(
                    f"{name}: the pictures of {count_entries(len(missing))} are not on this machine, such as that of "
                    f"{missing[0]!r}"
                )
    if not intact:
        say(f"repair it with: gtrack gallery rebuild --gallery {gallery}")
        raise typer.Exit(1)


def _report_in_words(report: VerifyReport) -> str:
    """Return the result of a comparison in words."""
    entries = count_entries(report.entries)
    if not report.ok:
        counted = (
            (len(report.missing), "are missing"),
            (len(report.extra), "are extra"),
            (len(report.different), "have another vector"),
        )
        found = ", ".join(f"{count} {what}" for count, what in counted if count)
        return f"{entries}, NOT INTACT" + (f"; in the index {found}" if found else "")
    if report.pending:
        return (
            f"{entries}, intact; the index does not yet have the newest changes ({count_entries(report.pending)}), and "
            "takes them in when it is next needed"
        )
    return f"{entries}, intact; the index agrees with the record"


def _report_document(collection: str, report: VerifyReport, missing_pictures: Sequence[str]) -> dict[str, Any]:
    return {
        "collection": collection,
        "ok": report.ok,
        "entries": report.entries,
        "missing": len(report.missing),
        "extra": len(report.extra),
        "different": len(report.different),
        "pending": report.pending,
        "record_ok": report.record_ok,
        "damaged": list(report.damaged),
        "problems": list(report.problems),
        "missing_pictures": len(missing_pictures),
    }


def rebuild(gallery: GalleryPath, no_progress: NoProgress = False) -> None:
    """Rebuild the Chroma index of a gallery from its record.

    Example: gtrack gallery rebuild --gallery gallery

    Entries that are damaged in the record are repaired first, from the snapshots, the log and the old index.
    """
    from gallery_db import Gallery

    with Gallery.open(gallery, write=True) as target:
        print_notices(target)
        printed = len(target.notices)
        with progress_bar("rebuilding", "entries", no_progress) as progress:
            target.rebuild(progress=progress)
        print_notices(target, printed)
        count = len(target)
    print_line(f"rebuilt the index of {gallery}: {count} entries")


def snapshot(
    gallery: GalleryPath,
    name: Annotated[
        str | None, typer.Argument(help="Name of the snapshot. Default: the time.", show_default=False)
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the snapshots; save none.")] = False,
    as_json: AsJson = False,
) -> None:
    """Save a snapshot: a copy of the record, in the folder `snapshots` of the gallery. Or list the snapshots.

    Example: gtrack gallery snapshot before-cleaning --gallery gallery
    """
    from gallery_db import Gallery, list_snapshots, take_snapshot
    from gallery_db.regular_files import describe_bytes
    from gallery_db.times import local_time
    from tracking.errors import OptionError

    if list_all and name is not None:
        raise OptionError("expected either the name of a new snapshot or --list.")
    if list_all:
        folder = Path(gallery)
        if not folder.is_dir():
            with Gallery.open(gallery) as source:  # raises the right error where there is none
                folder = source.path
        found = list_snapshots(folder)
    else:
        with Gallery.open(gallery) as source:
            found = [take_snapshot(source, name)]
    if as_json:
        print_json_lines(
            {"name": s.name, "path": str(s.path), "taken_at": s.taken_at, "bytes": s.size, "entries": s.entries}
            for s in found
        )
    elif list_all:
        rows = [
            (s.name, local_time(s.taken_at), describe_bytes(s.size), "DAMAGED" if s.entries is None else s.entries)
            for s in found
        ]
        print_table(None, ["name", "time", "size", "entries"], rows, whole=["name", "time"])
    else:
        print_line(f"snapshot {found[0].name}: {count_entries(found[0].entries or 0)}, {found[0].path}")


def restore(
    name: Annotated[
        str,
        typer.Argument(
            help="The snapshot; `gtrack gallery snapshot --list` shows them.", autocompletion=complete_snapshot
        ),
    ],
    gallery: GalleryPath,
    yes: Yes = False,
    no_progress: NoProgress = False,
) -> None:
    """Replace all collections of a gallery with a snapshot. The current state is first saved as a snapshot.

    Example: gtrack gallery restore before-cleaning --gallery gallery

    `gtrack gallery undo` undoes it, in each collection.
    """
    from gallery_db import restore_snapshot

    confirm(f"Replace all entries of {gallery} with the snapshot {name!r}?", yes)
    with progress_bar("rebuilding", "entries", no_progress) as progress:
        restored = restore_snapshot(gallery, name, progress=progress)
    kept = (
        "the state before it was not readable, and is not saved"
        if restored.kept_as is None
        else f"the state before it is saved as {restored.kept_as}"
    )
    print_line(f"restored {restored.name}: {count_entries(restored.entries)}; {kept}")
