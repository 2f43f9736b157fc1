"""`gtrack gallery rename, merge, split, ...`: correct a gallery, and undo what was done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from cli.gallery.common import ClassName, EntryIds, Yes, changing, confirm, count_entries
from cli.options import Collection, GalleryPath, ModelsDir, NoProgress, ReidWeights
from cli.output import say

__all__ = ["clear", "merge", "move", "purge", "reject", "remove", "rename", "split", "undo"]


def rename(
    old: Annotated[str, typer.Argument(help="The identity.")],
    new: Annotated[str, typer.Argument(help="Its new name.")],
    gallery: GalleryPath,
    class_name: ClassName = None,
    yes: Yes = False,
    collection: Collection = None,
    no_progress: NoProgress = False,
) -> None:
    """Give an identity another name; if the name is taken, ask whether the two are one.

    Example: gtrack gallery rename person-7 alice --gallery gallery
    """
    from gallery_db import Curator
    from gallery_db.names import validate_identity_name

    name = validate_identity_name(new)
    with changing(gallery, collection, no_progress) as target:
        people = Curator(target)
        entries = people.entries(old, class_name)
        merging = name != old and people.exists(name, entries[0].class_name)
        if merging:
            confirm(f"There is a {name!r} already. Merge {old!r} ({count_entries(len(entries))}) into it?", yes)
        count = people.rename(old, name, merge=merging, class_name=class_name)
    print(
        f"{'merged' if merging else 'renamed'} {old!r} {'into' if merging else 'to'} {name!r}: {count_entries(count)}"
    )
    if any(Path(entry.source).parent.name == old for entry in entries if entry.origin == "image"):
        say(f"rename the image folder {old!r} as well: new images in it would be ingested as {old!r} again")


def merge(
    names: Annotated[list[str], typer.Argument(help="The identities that are one.")],
    gallery: GalleryPath,
    into: Annotated[str, typer.Option("--into", help="The name for all of them, one of theirs or a new one.")],
    class_name: ClassName = None,
    yes: Yes = False,
    collection: Collection = None,
    no_progress: NoProgress = False,
) -> None:
    """Make one identity of several.

    Example: gtrack gallery merge person-7 person-9 --into alice --gallery gallery
    """
    from gallery_db import Curator
    from gallery_db.names import validate_identity_name

    name = validate_identity_name(into)
    with changing(gallery, collection, no_progress) as target:
        people = Curator(target)
        parts = [part for part in dict.fromkeys(names) if part != name]
        total = sum(len(people.entries(part, class_name)) for part in parts)
        if parts:
            confirm(f"Merge {', '.join(map(repr, parts))} ({count_entries(total)}) into {name!r}?", yes)
        count = people.merge(names, name, class_name=class_name)
    print(f"merged {', '.join(map(repr, parts))} into {name!r}: {count_entries(count)}")


def split(
    identity: Annotated[str, typer.Argument(help="The identity that is really two.")],
    ids: EntryIds,
    gallery: GalleryPath,
    new: Annotated[str, typer.Option("--as", help="The new identity's name.")],
    collection: Collection = None,
    no_progress: NoProgress = False,
) -> None:
    """Make a new identity of some of an identity's entries.

    Example: gtrack gallery split alice img-5d41402abc4b2a76b971 --as bob --gallery gallery
    """
    from gallery_db import Curator

    with changing(gallery, collection, no_progress) as target:
        count = Curator(target).split(identity, ids, new)
    print(f"split {count_entries(count)} from {identity!r} as {new!r}")


def move(
    ids: EntryIds,
    gallery: GalleryPath,
    to: Annotated[str, typer.Option("--to", help="The identity that they show.")],
    new: Annotated[bool, typer.Option("--new", help="It may be one that the gallery does not hold yet.")] = False,
    collection: Collection = None,
    no_progress: NoProgress = False,
) -> None:
    """Give entries to another identity; no later ingest moves them back.

    Example: gtrack gallery move img-5d41402abc4b2a76b971 --to bob --gallery gallery
    """
    from gallery_db import Curator

    with changing(gallery, collection, no_progress) as target:
        count = Curator(target).move(ids, to, new=new)
    print(f"moved {count_entries(count)} to {to!r}")


def reject(
    gallery: GalleryPath,
    name: Annotated[str, typer.Option("--not", help="Whom it does not show.")],
    targets: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[ENTRY|IDENTITY]...", help="Entry ids, or identities.", show_default=False),
    ] = None,
    tracks: Annotated[Optional[Path], typer.Option("--tracks", help="Instead: tracked.json of a run.")] = None,  # noqa: UP045
    track: Annotated[Optional[str], typer.Option("--track", help="The track_id in it.")] = None,  # noqa: UP045
    video: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--video", help="The run's video. Default: as tracked.json says."),
    ] = None,
    collection: Collection = None,
    reid_weights: ReidWeights = None,
    models_dir: ModelsDir = Path("models"),
    no_progress: NoProgress = False,
) -> None:
    """Say that an entry, an identity or a track is not somebody; runs respect it from then on.

    Example: gtrack gallery reject --tracks out/clip/tracked.json --track 12 --not alice --gallery gallery

    What is nearer to it than to that identity is not called so any more. `gtrack gallery undo` takes it back.
    """
    from gallery_db import Curator
    from tracking.errors import OptionError

    if bool(targets) == (tracks is not None) or (tracks is None) != (track is None):
        raise OptionError(
            "expected either entries or identities, or --tracks with --track.",
            hint="Example: gtrack gallery reject unknown-0007 --not alice -g gallery",
        )
    with changing(gallery, collection, no_progress) as target:
        people = Curator(target)
        if tracks is None:
            ids = []
            for word in targets or []:
                ids += [e.id for e in people.entries(word)] if people.exists(word) else [people.by_ids([word])[0].id]
            count, leaves = people.reject(ids, name)
            left = f"; those that were {name!r} are {leaves!r} now" if leaves else ""
            print(f"not {name!r}: {count_entries(count)}{left}")
            return
        from tracking.identification.gallery_source import EmbedderOptions
        from tracking.results.header import run_video
        from tracking.results.reading import read_tracks
        from tracking.results.rejection import reject_track

        reader = read_tracks(tracks)
        source = video or Path(run_video(reader.header) or "")
        embedder = EmbedderOptions(weights=reid_weights, models_dir=models_dir).load(target, say)
        done = reject_track(target, reader, str(track), name, source, embedder)
    what = "stored for it" if done.made else "of the track"
    print(f"not {name!r}: {count_entries(len(done.entries))} {what}, as {done.identity!r}")


def remove(
    gallery: GalleryPath,
    ids: Annotated[Optional[list[str]], typer.Argument(help="Entry ids.", show_default=False)] = None,  # noqa: UP045
    identity: Annotated[Optional[str], typer.Option("--identity", help="All entries of this identity.")] = None,  # noqa: UP045
    class_name: ClassName = None,
    collection: Collection = None,
    no_progress: NoProgress = False,
) -> None:
    """Remove entries, or a whole identity; `gtrack gallery undo` brings them back.

    Example: gtrack gallery remove --identity person-7 --gallery gallery

    An image whose file stays in its folder comes back with the next ingest of that.
    """
    from gallery_db import Curator
    from tracking.errors import OptionError

    if (identity is None) == (not ids):
        raise OptionError("expected either entry ids or --identity.", hint="Example: gtrack gallery remove ID...")
    with changing(gallery, collection, no_progress) as target:
        people = Curator(target)
        count = people.remove(ids or []) if identity is None else people.remove_identity(identity, class_name)
    print(f"removed {count_entries(count)}")


def purge(
    gallery: GalleryPath,
    older_than: Annotated[str, typer.Option("--older-than", help="An age (30d, 12h, 2w) or a date (2026-05-31).")],
    everything: Annotated[
        bool, typer.Option("--all", help="Also images; without it, only what was enrolled from videos.")
    ] = False,
    yes: Yes = False,
    collection: Collection = None,
    no_progress: NoProgress = False,
) -> None:
    """Remove entries by their age: those enrolled from videos, and images only with --all.

    Example: gtrack gallery purge --older-than 30d --gallery gallery
    """
    from gallery_db import Curator, GalleryError
    from gallery_db.times import parse_age
    from tracking.errors import OptionError

    try:
        moment = parse_age(older_than)
    except GalleryError as error:
        raise OptionError(f"--older-than: {error.message}", hint=error.hint) from None
    origin = None if everything else "track"
    with changing(gallery, collection, no_progress) as target:
        people = Curator(target)
        found = people.older_than(moment, origin)
        if found:
            confirm(f"Remove {count_entries(len(found))} from before {moment.isoformat(timespec='seconds')}?", yes)
        count = people.purge(moment, origin)
    print(f"purged {count_entries(count)}")


def clear(
    gallery: GalleryPath,
    yes: Yes = False,
    collection: Collection = None,
    no_progress: NoProgress = False,
) -> None:
    """Remove all entries of one collection; `gtrack gallery undo` brings them back.

    Example: gtrack gallery clear --gallery gallery
    """
    from gallery_db import Curator

    with changing(gallery, collection, no_progress) as target:
        confirm(f"Remove all {count_entries(len(target))} of the collection {target.collection}?", yes)
        count = Curator(target).clear()
    print(f"removed {count_entries(count)}")


def undo(
    gallery: GalleryPath,
    count: Annotated[int, typer.Argument(min=1, help="How many operations to take back.")] = 1,
    collection: Collection = None,
    no_progress: NoProgress = False,
) -> None:
    """Take the last operations back, ingests and removals too, exactly or not at all.

    Example: gtrack gallery undo 2 --gallery gallery

    An undo is an operation itself: `undo` again brings back what it took.
    """
    from gallery_db import Curator

    with changing(gallery, collection, no_progress) as target:
        operations, changed = Curator(target).undo(count)
    for operation in operations:
        print(f"taken back: {operation.seq} {operation.words}")
    print(f"{count_entries(changed)} changed" if changed else "together they had changed nothing")
