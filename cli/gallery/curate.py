"""`gtrack gallery show, rename, merge, ...`: correct a gallery, take that back, and keep snapshots."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from cli.gallery.commands import AsJson, Collection, app, bar, entry_dict, tell_notices
from cli.options import GalleryPath, ModelsDir, NoProgress, ReidWeights
from cli.output import print_json_lines, print_table, say

if TYPE_CHECKING:
    from gallery_db import Entry, Gallery

__all__ = ["app", "list_suspects"]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ClassName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--class", help="The class, where the name stands for identities of several."),
]
EntryIds = Annotated[list[str], typer.Argument(help="Entry ids; `gtrack gallery show` lists them.")]


@contextmanager
def _changing(path: str, collection: str | None, no_progress: bool) -> Iterator[Gallery]:
    """A gallery open for writing, whose index follows at the end."""
    from gallery_db import Gallery

    with Gallery.open(path, collection=collection, write=True) as gallery:
        tell_notices(gallery)
        told = len(gallery.notices)
        yield gallery
        with bar("indexing", "entries", no_progress) as progress:
            gallery.sync_index(progress)
        gallery.close(sync=False)
        for notice in gallery.notices[told:]:
            say(notice)


def _ask(question: str, yes: bool) -> None:
    """Go on only after a yes; without anybody to ask, only with --yes."""
    from tracking.errors import OptionError

    if yes:
        return
    if not sys.stdin.isatty():
        raise OptionError(
            f"this needs an answer, and there is no terminal to ask on: {question}", hint="Pass --yes to do it."
        )
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)  # stdout is for results
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        say("nothing was changed")
        raise typer.Exit(1)


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _print_entries(entries: list[Entry]) -> None:
    from gallery_db import rejected_names

    print_table(
        None,
        ["id", "identity", "class", "origin", "reviewed", "not", "source", "frame", "created"],
        [
            (
                e.id,
                e.identity,
                e.class_name,
                e.origin,
                "yes" if e.extra.get("reviewed") else "",
                ", ".join(rejected_names(e)),
                e.source,
                "" if e.frame is None else e.frame,
                e.created_at,
            )
            for e in entries
        ],
    )


@app.command()
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
        print_json_lines(entry_dict(entry) for entry in entries)
    else:
        _print_entries(entries)


@app.command()
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
    from gallery_db import Curator, validate_identity_name

    name = validate_identity_name(new)
    with _changing(gallery, collection, no_progress) as target:
        people = Curator(target)
        entries = people.entries(old, class_name)
        merging = name != old and people.exists(name, entries[0].class_name)
        if merging:
            _ask(f"There is a {name!r} already. Merge {old!r} ({_entries(len(entries))}) into it?", yes)
        count = people.rename(old, name, merge=merging, class_name=class_name)
    print(f"{'merged' if merging else 'renamed'} {old!r} {'into' if merging else 'to'} {name!r}: {_entries(count)}")
    if any(Path(entry.source).parent.name == old for entry in entries if entry.origin == "image"):
        say(f"rename the image folder {old!r} as well: new images in it would be ingested as {old!r} again")


@app.command()
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
    from gallery_db import Curator, validate_identity_name

    name = validate_identity_name(into)
    with _changing(gallery, collection, no_progress) as target:
        people = Curator(target)
        parts = [part for part in dict.fromkeys(names) if part != name]
        total = sum(len(people.entries(part, class_name)) for part in parts)
        if parts:
            _ask(f"Merge {', '.join(map(repr, parts))} ({_entries(total)}) into {name!r}?", yes)
        count = people.merge(names, name, class_name=class_name)
    print(f"merged {', '.join(map(repr, parts))} into {name!r}: {_entries(count)}")


@app.command()
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

    with _changing(gallery, collection, no_progress) as target:
        count = Curator(target).split(identity, ids, new)
    print(f"split {_entries(count)} from {identity!r} as {new!r}")


@app.command()
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

    with _changing(gallery, collection, no_progress) as target:
        count = Curator(target).move(ids, to, new=new)
    print(f"moved {_entries(count)} to {to!r}")


@app.command()
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
    with _changing(gallery, collection, no_progress) as target:
        people = Curator(target)
        if tracks is None:
            ids = []
            for word in targets or []:
                ids += [e.id for e in people.entries(word)] if people.exists(word) else [people.by_ids([word])[0].id]
            count, leaves = people.reject(ids, name)
            left = f"; those that were {name!r} are {leaves!r} now" if leaves else ""
            print(f"not {name!r}: {_entries(count)}{left}")
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
    print(f"not {name!r}: {_entries(len(done.entries))} {what}, as {done.identity!r}")


@app.command()
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
    with _changing(gallery, collection, no_progress) as target:
        people = Curator(target)
        count = people.remove(ids or []) if identity is None else people.remove_identity(identity, class_name)
    print(f"removed {_entries(count)}")


@app.command()
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
    from gallery_db import Curator, GalleryError, parse_age
    from tracking.errors import OptionError

    try:
        moment = parse_age(older_than)
    except GalleryError as error:
        raise OptionError(f"--older-than: {error.message}", hint=error.hint) from None
    origin = None if everything else "track"
    with _changing(gallery, collection, no_progress) as target:
        people = Curator(target)
        found = people.older_than(moment, origin)
        if found:
            _ask(f"Remove {_entries(len(found))} from before {moment.isoformat(timespec='seconds')}?", yes)
        count = people.purge(moment, origin)
    print(f"purged {_entries(count)}")


@app.command()
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

    with _changing(gallery, collection, no_progress) as target:
        _ask(f"Remove all {_entries(len(target))} of the collection {target.collection}?", yes)
        count = Curator(target).clear()
    print(f"removed {_entries(count)}")


@app.command()
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

    with _changing(gallery, collection, no_progress) as target:
        operations, changed = Curator(target).undo(count)
    for operation in operations:
        print(f"taken back: {operation.seq} {operation.words}")
    print(f"{_entries(changed)} changed" if changed else "together they had changed nothing")


@app.command()
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


@app.command()
def snapshot(
    gallery: GalleryPath,
    name: Annotated[Optional[str], typer.Argument(help="Its name. Default: the time.", show_default=False)] = None,  # noqa: UP045
    list_all: Annotated[bool, typer.Option("--list", help="List the snapshots instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy the record of a gallery, all its collections, into its folder `snapshots`; or list the copies.

    Example: gtrack gallery snapshot before-cleaning --gallery gallery
    """
    from gallery_db import Gallery, list_snapshots, take_snapshot
    from tracking.errors import OptionError

    if list_all and name is not None:
        raise OptionError("expected either a name or --list.")
    if list_all:
        folder = Path(gallery)
        if not folder.is_dir():
            with Gallery.open(gallery) as source:  # says that there is none
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
        rows = [(s.name, s.taken_at, s.size, "DAMAGED" if s.entries is None else s.entries) for s in found]
        print_table(None, ["name", "taken", "bytes", "entries"], rows)
    else:
        print(f"snapshot {found[0].name}: {_entries(found[0].entries or 0)}, {found[0].path}")


@app.command()
def restore(
    name: Annotated[str, typer.Argument(help="The snapshot; `gtrack gallery snapshot --list` shows them.")],
    gallery: GalleryPath,
    yes: Yes = False,
    no_progress: NoProgress = False,
) -> None:
    """Put a snapshot back, in the place of all collections; the present state is kept as a snapshot.

    Example: gtrack gallery restore before-cleaning --gallery gallery
    """
    from gallery_db import restore_snapshot

    _ask(f"Put the snapshot {name!r} in the place of what {gallery} holds now?", yes)
    with bar("rebuilding", "entries", no_progress) as progress:
        restored = restore_snapshot(gallery, name, progress=progress)
    kept = "there was nothing before" if restored.kept_as is None else f"what was before is kept as {restored.kept_as}"
    print(f"restored {restored.name}: {_entries(restored.entries)}; {kept}")


def list_suspects(gallery: str, collection: str | None, as_json: bool) -> None:
    """`gtrack gallery list --suspects`."""
    from dataclasses import asdict

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
