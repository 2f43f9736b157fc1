"""What the commands of `gtrack gallery` share: options, questions, progress bars, and how an entry is shown."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import ask, print_table, say

if TYPE_CHECKING:
    from gallery_db import Entry, Gallery

__all__ = [
    "ClassName",
    "EntryIds",
    "FullIds",
    "Yes",
    "changing",
    "confirm",
    "count_entries",
    "entry_document",
    "ids_for_table",
    "print_entries",
    "print_notices",
]

ClassName = Annotated[
    str | None,
    typer.Option("--class", help="Only entries of this class, if identities of several classes have the same name."),
]
EntryIds = Annotated[
    list[str],
    typer.Argument(help="Ids of entries, or unambiguous beginnings of ids; `gtrack gallery show NAME` lists them."),
]
FullIds = Annotated[bool, typer.Option("--full-ids", help="Show ids of entries in full, as --json does.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def print_notices(gallery: Gallery, first: int = 0) -> None:
    """Print a gallery's notices (repairs, fallbacks) on stderr, from number `first` on."""
    for notice in gallery.notices[first:]:
        say(notice)


@contextmanager
def changing(path: str, collection: str | None) -> Iterator[Gallery]:
    """Open a gallery for writing, and print its notices; its index follows when it is needed."""
    from gallery_db import Gallery

    with Gallery.open(path, collection=collection, write=True) as gallery:
        print_notices(gallery)
        printed = len(gallery.notices)
        yield gallery
    print_notices(gallery, printed)


def confirm(question: str, yes: bool) -> None:
    """Ask a question, and go on only after a yes. Where there is no terminal, only `--yes` goes on.

    Raises:
        OptionError: There is no terminal, and `--yes` was not given.
        typer.Exit: The answer was not yes; exit code 1.
    """
    from tracking.errors import OptionError

    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise OptionError(
            f"this needs a confirmation, and there is no terminal to ask on: {question}", hint="Give --yes to confirm."
        )
    if ask(f"{question} [y/N]").lower() not in ("y", "yes"):
        say("nothing was changed.")
        raise typer.Exit(1)


def count_entries(count: int) -> str:
    """Return ``"1 entry"`` or ``"7 entries"``."""
    return "1 entry" if count == 1 else f"{count} entries"


def ids_for_table(gallery: Gallery, ids: Iterable[str], full: bool) -> dict[str, str]:
    """Return what a table shows for each id: the shortest unambiguous beginning, or with `full` all of it."""
    from gallery_db.entry_ids import shown_ids

    wanted = list(ids)
    return {id_: id_ for id_ in wanted} if full else shown_ids(gallery, wanted)


def print_entries(entries: list[Entry], shown: Mapping[str, str]) -> None:
    """Print a table of entries; `shown` has their ids as they are shown."""
    from gallery_db import rejected_names
    from gallery_db.times import local_time

    print_table(
        None,
        ["id", "identity", "class", "origin", "reviewed", "is not", "source", "frame", "added"],
        [
            (
                shown[e.id],
                e.identity,
                e.class_name,
                e.origin,
                "yes" if e.extra.get("reviewed") else "",
                ", ".join(rejected_names(e)),
                e.source,
                "" if e.frame is None else e.frame,
                local_time(e.created_at),
            )
            for e in entries
        ],
        whole=["id", "added"],
        optional=["reviewed", "is not", "source", "frame"],
        once=["identity", "class"],
        paths=["source"],
        spare=["origin", "frame", "reviewed", "added"],
    )


def entry_document(entry: Entry) -> dict[str, Any]:
    """Return an entry as `--json` prints it."""
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
