"""`gtrack export`: write results and models in the formats of other tools."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.export_reid import reid
from cli.help_text import help_text
from cli.options import NoProgress
from cli.output import counted, print_json_lines, print_line, print_table, print_text, say

if TYPE_CHECKING:
    from tracking.results.sightings import TimelineRow
    from tracking.results.timeline import Timeline

__all__ = ["app", "tracks"]

app = typer.Typer(help="Write results and models in the formats of other tools.", no_args_is_help=True)
app.command("reid", help=help_text(reid))(reid)


class Format(str, Enum):
    """The formats of `tracking.results.exporting.FORMATS`."""

    mot = "mot"
    coco_vid = "coco-vid"
    csv = "csv"
    parquet = "parquet"
    timeline = "timeline"
    html = "html"


class By(str, Enum):
    """The objects that the ids number."""

    track_id = "track_id"
    gallery_id = "gallery_id"


def tracks(
    source: Annotated[
        Path,
        typer.Argument(metavar="TRACKED.json", help="Tracks of gtrack run --save-json (track-v1)."),
    ],
    outputs: Annotated[
        list[Path] | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="A file to write. Its suffix selects the format: .txt (mot), .json (coco-vid), .csv, .parquet, "
            ".png, .svg, .pdf (timeline), .html (report). Repeatable. Without this option, the timeline is printed.",
        ),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="The format, if the suffix of the output does not select it: mot, coco-vid, csv, parquet, timeline "
            "(which also writes .json) or html.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="REPORT.html", help="Also write a report of the run, as one HTML file."),
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(
            "--video",
            help="The video of the run, for the images in the report. Default: the file that the tracks name, or one "
            "of that name beside them.",
            show_default=False,
        ),
    ] = None,
    thumbnails: Annotated[
        int, typer.Option("--thumbnails", min=0, help="Largest number of images in the report, each of at most 16 KiB.")
    ] = 400,
    by: Annotated[
        By | None,
        typer.Option(
            "--by",
            help="The objects that the ids of mot and coco-vid number. With gallery_id, a box without a name has the "
            "id of its track. Default: track_id.",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Names or ids of the classes to use, such as person or 0,2. Default: all."),
    ] = None,
    untracked: Annotated[
        bool, typer.Option("--untracked", help="In csv and parquet, also write the detections without a track.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print JSON on stdout, one object a line: the rows of the timeline, or the written files."
        ),
    ] = False,
    no_progress: NoProgress = False,
) -> None:
    """Print the timeline of a run, or write its tracks in the formats of other tools.

    Example: gtrack export tracks out/clip/tracked.json -o clip.txt -o clip.html

    The timeline shows when each identity is in view, at which distance, and which decisions should be checked.
    Formats: MOTChallenge text (with a sidecar that maps its ids to names), COCO-VID, CSV, Parquet, the timeline as a
    picture, and a report as one HTML file. Columns and keys: docs/reference/tracks-formats.md.
    """
    from tracking import build_timeline, export_tracks
    from tracking.classes import read_classes
    from tracking.errors import OptionError
    from tracking.progress import progress_bar

    chosen = read_classes(classes)
    paths = [*(outputs or []), *([html] if html else [])]
    if html is not None and html.suffix.lower() not in (".html", ".htm"):
        raise OptionError(f"expected --html with a name that ends in .html, found {str(html)!r}.")
    if format is not None and len(paths) != 1:
        raise OptionError(
            f"--format needs exactly one output, found {len(paths)}.",
            hint="With several outputs, the suffix of each selects its format.",
        )
    if not paths:
        if video is not None or untracked or by is not None:
            raise OptionError("--video, --by and --untracked need an output.", hint="Give one with -o FILE.")
        with progress_bar("reading", "frames", enabled=not no_progress) as progress:
            timeline = build_timeline(source, classes=chosen, progress=progress)
        _print_timeline(timeline, as_json)
        return
    with (
        progress_bar("exporting", "frames", enabled=not no_progress) as progress,
        progress_bar("cutting images", "frames", enabled=not no_progress) as video_progress,
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
    for one in written:
        if video is None and one.video is not None:
            say(f"images: {one.video}")
        for note in one.notes:
            say(f"warning: {note}")
    if as_json:
        print_json_lines(
            {
                "path": str(one.path),
                "format": one.format,
                "rows": one.rows,
                "bytes": one.path.stat().st_size,
                "beside": [str(path) for path in one.sidecars],
            }
            for one in written
        )
        return
    for one in written:
        what = "rows" if one.format in ("timeline", "html") else "boxes"
        sidecars = f", with {', '.join(map(str, one.sidecars))}" if one.sidecars else ""
        print_line(f"{one.format}: {one.rows} {what}, written to {one.path}{sidecars}")


def _print_timeline(timeline: Timeline, as_json: bool) -> None:
    from tracking.results.formatting import format_end, format_time

    if as_json:
        print_json_lines(row.as_dict(timeline.times) for row in timeline.rows)
        print_json_lines(issue.as_dict() for issue in timeline.issues)
        return
    times = timeline.times

    def duration(row: TimelineRow) -> str:
        seconds = times.duration(row.first, row.last, row.frames)
        return f"{row.frames} frames" if seconds is None else f"{seconds:.1f} s"

    def distance(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    print_table(
        "Identities and unnamed tracks",
        ["identity", "from", "to", "duration", "tracks", "mean distance", "worst distance", "mean position"],
        [
            (
                row.label,
                format_time(row.first, times),
                format_end(row.last, times),
                duration(row),
                len(row.track_ids) or "",
                distance(row.mean_distance),
                distance(row.worst_distance),
                f"{row.mean_position[0]:.0f}, {row.mean_position[1]:.0f}",
            )
            for row in timeline.rows
        ],
        whole=["identity", "duration", "mean position"],
        optional=["tracks"],
    )
    if timeline.issues:
        print_table("Issues to check", ["issue", "description"], [(i.kind, i.text) for i in timeline.issues])
    in_tracks = f"{timeline.tracked} of them in {counted(timeline.tracks, 'track')}; " if timeline.tracks else ""
    print_text(
        f"{counted(timeline.frames, 'frame')}, {counted(timeline.detections, 'detection')}; {in_tracks}"
        f"{timeline.named} with a name"
    )


app.command("tracks", help=help_text(tracks))(tracks)
