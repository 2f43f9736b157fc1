"""`gtrack export`: results and models in the formats of other tools."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from cli.export_reid import reid
from cli.options import NoProgress
from cli.output import print_json_lines, print_table, say
from cli.run import read_class_ids

if TYPE_CHECKING:
    from tracking.results.timelines import Timeline

__all__ = ["app", "tracks"]

app = typer.Typer(help="Results and models in the formats of other tools.", no_args_is_help=True)
app.command("reid")(reid)


class Format(str, Enum):
    """The formats; the words are those of `tracking.results.exporting.FORMATS`."""

    mot = "mot"
    coco_vid = "coco-vid"
    csv = "csv"
    parquet = "parquet"
    timeline = "timeline"
    html = "html"


class By(str, Enum):
    """What an id stands for."""

    track_id = "track_id"
    gallery_id = "gallery_id"


@app.command()
def tracks(
    source: Annotated[Path, typer.Argument(metavar="TRACKED.json", help="What gtrack run --json wrote (track-v1).")],
    outputs: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="A file to write; its suffix chooses the format: .txt (mot), .json (coco-vid), .csv, .parquet, "
            ".png, .svg, .pdf (timeline), .html. Repeatable. Without any, the timeline is printed.",
        ),
    ] = None,
    format: Annotated[
        Optional[Format],  # noqa: UP045
        typer.Option("--format", help="The format, in place of what the suffix says; timeline also writes .json."),
    ] = None,
    html: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--html", metavar="REPORT.html", help="Another output, the report: who was there, with pictures."),
    ] = None,
    video: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--video", help="The video that the tracks are of, for the pictures of the report."),
    ] = None,
    thumbnails: Annotated[
        int, typer.Option("--thumbnails", min=0, help="Pictures in the report at most, of at most 16 KiB each.")
    ] = 400,
    by: Annotated[
        Optional[By],  # noqa: UP045
        typer.Option(
            "--by",
            help="What an id of mot and coco-vid stands for. By gallery_id, a box without a name keeps its track's. "
            "Default: track_id.",
        ),
    ] = None,
    classes: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--classes", help="Only these class ids, separated by commas."),
    ] = None,
    untracked: Annotated[
        bool, typer.Option("--untracked", help="In csv and parquet, also the detections that no track took.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line: the timeline's lines, or what was written.")
    ] = False,
    no_progress: NoProgress = False,
) -> None:
    """Show who was there when, or write the tracks in the formats of other tools.

    Example: gtrack export tracks out/clip/tracked.json -o clip.txt -o clip.html --video clip.mp4

    Formats: MOTChallenge text (with a sidecar that says who the numbers are), COCO-VID, CSV, Parquet, the timeline as
    a picture, and a report as one HTML file. Columns and keys: docs/reference/tracks-formats.md.
    """
    from tracking import export_tracks, timeline
    from tracking.errors import OptionError
    from tracking.progress import progress_bar

    chosen = read_class_ids(classes)
    paths = [*(outputs or []), *([html] if html else [])]
    if html is not None and html.suffix.lower() not in (".html", ".htm"):
        raise OptionError(f"--html: expected a name that ends in .html, got {str(html)!r}.")
    if format is not None and len(paths) != 1:
        raise OptionError(
            f"--format goes with one output, got {len(paths)}.", hint="With several, each suffix chooses its format."
        )
    if not paths:
        if video is not None or untracked or by is not None:
            raise OptionError("--video, --by and --untracked go with an output.", hint="Name one with -o FILE.")
        with progress_bar("reading", "frames", enabled=not no_progress) as progress:
            story = timeline(source, classes=chosen, progress=progress)
        _print_timeline(story, as_json)
        return
    with (
        progress_bar("exporting", "frames", enabled=not no_progress) as progress,
        progress_bar("cutting pictures", "frames", enabled=not no_progress) as video_progress,
    ):
        written = export_tracks(
            source,
            paths,
            format=None if format is None else format.value,
            by=None if by is None else by.value,
            classes=chosen,
            untracked=untracked,
            video=video,
            thumbnails=thumbnails,
            progress=progress,
            video_progress=video_progress,
        )
    if video is None and any(one.format == "html" for one in written):
        say("the report has no pictures; give the video with --video.")
    for one in written:
        for note in one.notes:
            say(f"warning: {note}")
    if as_json:
        print_json_lines(
            {
                "path": str(one.path),
                "format": one.format,
                "rows": one.rows,
                "bytes": one.path.stat().st_size,
                "beside": [str(path) for path in one.beside],
            }
            for one in written
        )
        return
    for one in written:
        what = "lines" if one.format in ("timeline", "html") else "boxes"
        beside = f", with {', '.join(map(str, one.beside))}" if one.beside else ""
        print(f"{one.format}: {one.rows} {what}, written to {one.path}{beside}")


def _print_timeline(story: Timeline, as_json: bool) -> None:
    from tracking.results.presence import clock

    if as_json:
        print_json_lines(presence.as_dict(story.fps) for presence in story.presences)
        print_json_lines(doubt.as_dict() for doubt in story.doubts)
        return
    fps = story.fps

    def seen(frames: int) -> str:
        return f"{frames / fps:.1f} s" if fps else str(frames)

    def distance(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    print_table(
        "Who was there",
        ["who", "from", "to", "seen", "tracks", "distance", "at worst", "mean place"],
        [
            (
                presence.label,
                clock(presence.first, fps),
                clock(presence.last + bool(fps), fps),
                seen(presence.frames),
                len(presence.track_ids),
                distance(presence.mean_distance),
                distance(presence.worst_distance),
                f"{presence.mean_position[0]:.0f}, {presence.mean_position[1]:.0f}",
            )
            for presence in story.presences
        ],
    )
    if story.doubts:
        print_table("Doubtful", ["why", "what"], [(doubt.kind, doubt.text) for doubt in story.doubts])
    print(
        f"{story.frames} frames, {story.detections} detections, {story.tracked} tracked in {story.tracks} tracks, "
        f"{story.named} named"
    )
