"""`gtrack gallery rename, merge, split, ...`: correct a gallery, and undo what was done."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.completion import complete_identity
from cli.gallery.common import ClassName, EntryIds, Yes, changing, confirm, count_entries
from cli.options import Collection, GalleryPath, ModelsDir, ReidWeights, TrustWeights
from cli.output import print_line, print_text, say

if TYPE_CHECKING:
    from gallery_db.store.changes import HistoryStep, Operation

__all__ = ["clear", "merge", "move", "purge", "redo", "reject", "remove", "rename", "split", "undo"]


def rename(
    old: Annotated[str, typer.Argument(help="The identity.", autocompletion=complete_identity)],
    new: Annotated[str, typer.Argument(help="Its new name.")],
    gallery: GalleryPath,
    class_name: ClassName = None,
    yes: Yes = False,
    collection: Collection = None,
) -> None:
    """Rename an identity. If an identity with the new name exists, ask whether to merge the two.

    Example: gtrack gallery rename person-7 alice --gallery gallery
    """
    from gallery_db import Curator
    from gallery_db.names import validate_identity_name

    name = validate_identity_name(new)
    with changing(gallery, collection) as target:
        people = Curator(target)
        entries = people.entries(old, class_name)
        merging = name != old and people.exists(name, entries[0].class_name)
        if merging:
            confirm(f"{name!r} exists. Merge {old!r} ({count_entries(len(entries))}) into it?", yes)
        count = people.rename(old, name, merge=merging, class_name=class_name)
    done = "merged {!r} into {!r}" if merging else "renamed {!r} to {!r}"
    print_line(f"{done.format(old, name)}: {count_entries(count)}")
    if any(Path(entry.source).parent.name == old for entry in entries if entry.origin == "image"):
        say(f"rename the image folder {old!r} as well; new images in it would be ingested as {old!r} again.")


def merge(
    names: Annotated[list[str], typer.Argument(help="The identities to merge.", autocompletion=complete_identity)],
    gallery: GalleryPath,
    into: Annotated[
        str,
        typer.Option(
            "--into",
            help="The name of the merged identity: one of the names, or a new one.",
            autocompletion=complete_identity,
        ),
    ],
    class_name: ClassName = None,
    yes: Yes = False,
    collection: Collection = None,
) -> None:
    """Merge identities into one.

    Example: gtrack gallery merge person-7 person-9 --into alice --gallery gallery
    """
    from gallery_db import Curator
    from gallery_db.names import validate_identity_name

    name = validate_identity_name(into)
    with changing(gallery, collection) as target:
        people = Curator(target)
        parts = [part for part in dict.fromkeys(names) if part != name]
        total = sum(len(people.entries(part, class_name)) for part in parts)
        if parts:
            confirm(f"Merge {', '.join(map(repr, parts))} ({count_entries(total)}) into {name!r}?", yes)
        count = people.merge(names, name, class_name=class_name)
    print_line(f"merged {', '.join(map(repr, parts))} into {name!r}: {count_entries(count)}")


def split(
    identity: Annotated[str, typer.Argument(help="The identity to split.", autocompletion=complete_identity)],
    ids: EntryIds,
    gallery: GalleryPath,
    new: Annotated[str, typer.Option("--as", help="Name of the new identity.")],
    collection: Collection = None,
) -> None:
    """Move some entries of an identity to a new identity.

    Example: gtrack gallery split alice img-5d41402a --as bob --gallery gallery
    """
    from gallery_db import Curator
    from gallery_db.entry_ids import resolve_ids

    with changing(gallery, collection) as target:
        count = Curator(target).split(identity, resolve_ids(target, ids), new)
    print_line(f"split {count_entries(count)} from {identity!r} as {new!r}")


def move(
    ids: EntryIds,
    gallery: GalleryPath,
    to: Annotated[str, typer.Option("--to", help="The identity to move them to.", autocompletion=complete_identity)],
    new: Annotated[bool, typer.Option("--new", help="Allow an identity that the gallery does not hold yet.")] = False,
    collection: Collection = None,
) -> None:
    """Move entries to another identity. A later ingest does not move them back.

    Example: gtrack gallery move img-5d41402a --to bob --gallery gallery
    """
    from gallery_db import Curator
    from gallery_db.entry_ids import resolve_ids

    with changing(gallery, collection) as target:
        count = Curator(target).move(resolve_ids(target, ids), to, new=new)
    print_line(f"moved {count_entries(count)} to {to!r}")


def reject(
    gallery: GalleryPath,
    name: Annotated[
        str, typer.Option("--not", help="The identity that they do not show.", autocompletion=complete_identity)
    ],
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ENTRY|IDENTITY]...",
            help="Ids of entries, or identities.",
            show_default=False,
            autocompletion=complete_identity,
        ),
    ] = None,
    tracks: Annotated[Path | None, typer.Option("--tracks", help="Instead of entries: tracked.json of a run.")] = None,
    track: Annotated[str | None, typer.Option("--track", help="A track_id in tracked.json.")] = None,
    video: Annotated[
        Path | None,
        typer.Option("--video", help="The video of the run. Default: the one that tracked.json names."),
    ] = None,
    collection: Collection = None,
    reid_weights: ReidWeights = None,
    models_dir: ModelsDir = Path("models"),
    trust_weights: TrustWeights = False,
) -> None:
    """Record that entries, an identity or a track do not show an identity. Later runs respect this.

    Example: gtrack gallery reject --tracks out/clip/tracked.json --track 12 --not alice --gallery gallery

    Later, a track that is more similar to the rejected entries than to the entries of that identity does not get its
    name. `gtrack gallery undo` undoes the rejection.
    """
    from gallery_db import Curator
    from gallery_db.entry_ids import resolve_ids
    from tracking.errors import OptionError

    if bool(targets) == (tracks is not None) or (tracks is None) != (track is None):
        raise OptionError(
            "expected either entries or identities, or --tracks with --track.",
            hint="Example: gtrack gallery reject unknown-0007 --not alice -g gallery",
        )
    with changing(gallery, collection) as target:
        people = Curator(target)
        if tracks is None:
            ids = []
            for word in targets or []:
                ids += (
                    [e.id for e in people.entries(word)]
                    if people.exists(word)
                    else [people.by_ids(resolve_ids(target, [word]))[0].id]
                )
            count, leaves = people.reject(ids, name)
            left = f"; entries that were {name!r} are now {leaves!r}" if leaves else ""
            print_line(f"not {name!r}: {count_entries(count)}{left}")
            return
        from tracking.identification.gallery_source import EmbedderOptions
        from tracking.results.header import run_video
        from tracking.results.reading import read_tracks
        from tracking.results.rejection import reject_track

        reader = read_tracks(tracks)
        source = video or Path(run_video(reader.header) or "")
        embedder = EmbedderOptions(weights=reid_weights, models_dir=models_dir, trust_weights=trust_weights).load(
            target, say
        )
        done = reject_track(target, reader, str(track), name, source, embedder)
    what = "stored for the track" if done.made else "of the track"
    print_line(f"not {name!r}: {count_entries(len(done.entries))} {what}, as {done.identity!r}")


def remove(
    gallery: GalleryPath,
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of entries, or unambiguous beginnings.", show_default=False)
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option("--identity", help="Remove all entries of this identity.", autocompletion=complete_identity),
    ] = None,
    class_name: ClassName = None,
    collection: Collection = None,
) -> None:
    """Remove entries, or a whole identity. `gtrack gallery undo` brings them back.

    Example: gtrack gallery remove --identity person-7 --gallery gallery

    An image that stays in its folder comes back with the next ingest of that folder.
    """
    from gallery_db import Curator
    from gallery_db.entry_ids import resolve_ids
    from tracking.errors import OptionError

    if (identity is None) == (not ids):
        raise OptionError("expected either ids of entries or --identity.", hint="Example: gtrack gallery remove ID...")
    with changing(gallery, collection) as target:
        people = Curator(target)
        resolved = resolve_ids(target, ids or [])
        entries = target.by_ids(resolved)
        for word in resolved:
            if word not in entries and people.exists(word):
                raise OptionError(
                    f"{word!r} is an identity, not an entry; nothing was removed.",
                    hint=f"To remove all its entries: gtrack gallery remove --identity {shlex.quote(word)}",
                )
        count = people.remove(resolved) if identity is None else people.remove_identity(identity, class_name)
    print_line(f"removed {count_entries(count)}")


def purge(
    gallery: GalleryPath,
    older_than: Annotated[
        str, typer.Option("--older-than", help="An age (30min, 12h, 7d, 6w, 6months, 1year), or a date (2026-05-31).")
    ],
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Also remove entries from images. Default: only entries that were enrolled from videos."
        ),
    ] = False,
    yes: Yes = False,
    collection: Collection = None,
) -> None:
    """Remove entries that are older than a given age. Entries from images are removed only with --all.

    Example: gtrack gallery purge --older-than 30d --gallery gallery
    """
    from gallery_db import Curator, GalleryError
    from gallery_db.times import local_time, parse_age
    from tracking.errors import OptionError

    try:
        moment = parse_age(older_than)
    except GalleryError as error:
        raise OptionError(f"--older-than: {error.message}", hint=error.hint) from None
    origin = None if everything else "track"
    with changing(gallery, collection) as target:
        people = Curator(target)
        found = people.older_than(moment, origin)
        if found:
            confirm(
                f"Remove {count_entries(len(found))} added before {local_time(moment.isoformat())}?",
                yes,
            )
        count = people.purge(moment, origin)
    print_line(f"removed {count_entries(count)}")


def clear(
    gallery: GalleryPath,
    yes: Yes = False,
    collection: Collection = None,
) -> None:
    """Remove all entries of a collection. `gtrack gallery undo` brings them back.

    Example: gtrack gallery clear --gallery gallery
    """
    from gallery_db import Curator

    with changing(gallery, collection) as target:
        confirm(f"Remove all entries ({len(target)}) of the collection {target.collection}?", yes)
        count = Curator(target).clear()
    print_line(f"removed {count_entries(count)}")


def undo(
    gallery: GalleryPath,
    count: Annotated[int, typer.Argument(min=1, help="Number of operations to undo.")] = 1,
    collection: Collection = None,
) -> None:
    """Undo the last operations that are not undone yet: corrections, ingests, enrolments, restores.

    Example: gtrack gallery undo 2 --gallery gallery

    A second undo goes one operation further back; `gtrack gallery redo` goes forward again. If an operation cannot be
    undone exactly, nothing changes.
    """
    with changing(gallery, collection) as target:
        step = target.undo(count)
    _print_step("undone", step)


def redo(
    gallery: GalleryPath,
    count: Annotated[int, typer.Argument(min=1, help="Number of operations to do again.")] = 1,
    collection: Collection = None,
) -> None:
    """Do the operations again that were last undone, until a new operation is made.

    Example: gtrack gallery redo 2 --gallery gallery
    """
    with changing(gallery, collection) as target:
        step = target.redo(count)
    _print_step("redone", step)


def _print_step(done: str, step: HistoryStep) -> None:
    for operation in step.operations:
        print_line(f"{done}: {_described(operation)}")
    print_line(f"{count_entries(step.entries)} changed")
    print_text(f"next undo: {_described(step.next_undo)}")
    print_text(f"next redo: {_described(step.next_redo)}")


def _described(operation: Operation | None) -> str:
    return "nothing" if operation is None else f"{operation.seq} {operation.words}"
