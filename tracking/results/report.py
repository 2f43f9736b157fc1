"""A report of a run as one HTML file that needs nothing else: no network, no style or script from elsewhere.

Jinja escapes the names and all other text of the document, and a content security policy forbids the browser to load
anything. A long report leaves out its least important parts, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from gallery_db.distribution import gtrack_version
from gallery_db.visible_text import visible
from tracking.errors import OptionError
from tracking.results.best_crops import BestCrops, CropCandidate
from tracking.results.confidence import NEAR_LIMIT_SHARE, confidence_legend
from tracking.results.crop_images import CropImage, cut_crops, open_video
from tracking.results.formatting import format_end, format_time
from tracking.results.header import video_name
from tracking.results.issues import MARKED_ISSUES, MIN_NAMED_FRAMES, Issue
from tracking.results.report_chart import TimeAxis, chart_bars, path_points
from tracking.results.report_crops import CropRequest, embed_crops, request_for_issue, request_for_row, share_crops
from tracking.results.report_summary import run_facts, settings_tables, summary_figures
from tracking.results.sightings import Kind, TimelineRow
from tracking.results.sinks import ExportedFile, atomic_output
from tracking.results.timeline import Timeline
from tracking.results.track_frame import TrackFrame
from tracking.video.reader import VideoReader

__all__ = ["MAX_THUMBNAILS", "ReportSink", "report_sink"]

MAX_THUMBNAILS = 400

_MAX_ROWS: dict[Kind, int] = {"known": 200, "unknown": 100, "unnamed": 60}
_MAX_ISSUE_CARDS = 60

_SECTIONS: dict[Kind, str] = {
    "known": "Known identities",
    "unknown": "Unknown identities",
    "unnamed": "Tracks without a name",
}
_ISSUES = {
    "changed": "name changed",
    "contested": "name moved",
    "twice": "same name twice",
    "near": "near the limit",
    "short": "short",
}
_ISSUE_ORDER = {"twice": 0, "changed": 1, "contested": 2, "near": 3, "short": 4}
_MINOR_FROM = _ISSUE_ORDER["near"]

Progress = Callable[[int, "int | None"], None]


@contextmanager
def report_sink(
    path: Path,
    timeline: Timeline,
    *,
    size: tuple[int, int] | None = None,
    video: Path | None = None,
    thumbnails: int = MAX_THUMBNAILS,
    progress: Progress | None = None,
) -> Iterator[ReportSink]:
    """Open a sink for the report.

    Args:
        path: The file to write.
        timeline: The timeline of the same document.
        size: Width and height of the video in the document's header; None where unknown.
        video: The video, to cut crops from; None for a report without crops, which says so.
        thumbnails: Number of crops at most.
        progress: Called with (frames of the video done, frames to read).

    Raises:
        OptionError: `thumbnails` is negative.
        VideoError: The video cannot be opened, or has another size.
    """
    if thumbnails < 0:
        raise OptionError(f"expected a number of thumbnails from 0 on, found {thumbnails}.")
    reader = None if video is None else open_video(video, size, timeline.name)
    try:
        with atomic_output(path) as temporary:
            sink = ReportSink(path, timeline, reader, size, thumbnails, video)
            yield sink
            temporary.write_text(sink.html(progress), encoding="utf-8")
    finally:
        if reader is not None:
            reader.close()


class ReportSink:
    """Collects the best crops of each frame. The report is made when the sink is closed."""

    def __init__(
        self,
        path: Path,
        timeline: Timeline,
        reader: VideoReader | None,
        size: tuple[int, int] | None,
        thumbnails: int,
        video: Path | None,
    ) -> None:
        self._video = video
        self._path, self._timeline, self._reader = path, timeline, reader
        self._size = size if reader is None else (reader.width, reader.height)
        self._thumbnails = thumbnails
        self._crops = BestCrops(self._size, has_tracks=timeline.has_tracks)
        self._rows = 0
        self._notes: list[str] = []

    @property
    def exported(self) -> ExportedFile:
        """The file that was written."""
        return ExportedFile(self._path, "html", self._rows, notes=tuple(self._notes), video=self._video)

    def write(self, frame: TrackFrame) -> None:
        """Write the next frame."""
        if self._reader is not None:
            self._crops.add(frame)

    def html(self, progress: Progress | None = None) -> str:
        """Return the report of the frames so far."""
        timeline = self._timeline
        rows = [row for kind in _SECTIONS for row in _longest(timeline.of_kind(kind), _MAX_ROWS[kind])]
        all_cards = _issue_cards(timeline.issues)
        cards = all_cards[:_MAX_ISSUE_CARDS]
        row_requests = [request_for_row(row, timeline, self._crops) for row in rows]
        card_requests = [request_for_issue(card[0], timeline, self._crops) for card in cards]
        images = self._cut_images([*row_requests, *card_requests], progress)
        axis = TimeAxis(timeline)
        issues_of: dict[str, list[Issue]] = {}
        for issue in timeline.issues:
            issues_of.setdefault(issue.identity, []).append(issue)
        row_views = [
            self._row_view(number, row, axis, issues_of.get(row.identity or "", []))
            | {"crops": embed_crops(request, images, timeline.times, captions=False)}
            for number, (row, request) in enumerate(zip(rows, row_requests, strict=True))
        ]
        card_views = [
            {
                "issues": [{"kind": issue.kind, "title": _ISSUES[issue.kind], "text": issue.text} for issue in card],
                "crops": embed_crops(request, images, timeline.times, captions=True),
            }
            for card, request in zip(cards, card_requests, strict=True)
        ]
        self._rows = len(row_views)
        sightings = (sighting for row in timeline.rows for sighting in row.sightings)
        context = {
            "title": video_name(timeline.header) or Path(timeline.name).name,
            "figures": summary_figures(timeline),
            "facts": run_facts(timeline),
            "settings": settings_tables(timeline.header),
            "axis": axis,
            "sections": [self._section_view(kind, row_views) for kind in _SECTIONS],
            "legend": confidence_legend(sightings, timeline.threshold),
            "issues": card_views,
            "issue_count": len(timeline.issues),
            "issues_left_out": sum(len(card) for card in all_cards[_MAX_ISSUE_CARDS:]),
            "near_limit": f"{NEAR_LIMIT_SHARE * timeline.threshold:.3g}" if timeline.threshold else None,
            "min_named_frames": MIN_NAMED_FRAMES,
            "with_video": self._reader is not None,
            "notes": self._notes,
            "crops": sum(len(view["crops"]) for view in (*row_views, *card_views)),
            "thumbnails": self._thumbnails,
            "version": gtrack_version(),
            "size": self._size,
        }
        return _render(context)

    def _cut_images(
        self, requests: Sequence[CropRequest], progress: Progress | None
    ) -> Mapping[CropCandidate, CropImage]:
        if self._reader is None:
            return {}
        share_crops(requests, self._thumbnails)
        candidates = [candidate for request in requests for _, group in request.groups for candidate in group]
        images = cut_crops(self._reader, candidates, progress)
        last = max((candidate.frame for candidate in candidates), default=-1)
        if last > self._reader.frame:
            self._notes.append(
                f"The video ends at frame {self._reader.frame}, before the tracks do: later images are missing."
            )
        return images

    def _section_view(self, kind: Kind, row_views: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        rows = [view for view in row_views if view["kind"] == kind]
        left_out = len(self._timeline.of_kind(kind)) - len(rows)
        return {"kind": kind, "title": _SECTIONS[kind], "rows": rows, "left_out": left_out}

    def _row_view(self, number: int, row: TimelineRow, axis: TimeAxis, issues: Sequence[Issue]) -> dict[str, Any]:
        times = self._timeline.times
        start, end = format_time(row.first, times), format_end(row.last, times)
        seconds = times.duration(row.first, row.last, row.frames)
        duration = f"{row.frames} frames" if seconds is None else f"{seconds:.1f}\N{NO-BREAK SPACE}s"
        tracks = len(row.track_ids)
        facts = [f"{start} to {end}", f"in view for {duration}"]
        if row.kind != "unnamed" and tracks:
            facts.append("1 track" if tracks == 1 else f"{tracks} tracks")
        if row.mean_distance is not None:
            facts += [f"mean distance {row.mean_distance:.3f}", f"worst distance {row.worst_distance:.3f}"]
        elif row.mean_score is not None:
            facts.append(f"mean score {row.mean_score:.2f}")
        return {
            "id": f"row-{number}",
            "kind": row.kind,
            "label": row.label,
            "class_name": row.class_name,
            "facts": facts,
            "duration": duration,
            "extent": (axis.percent(row.first), axis.end_percent(row.last)),
            "bars": chart_bars(row, self._timeline, axis),
            "marks": [{"at": axis.percent(i.frame), "text": i.text} for i in issues if i.kind in MARKED_ISSUES],
            "issues": len(issues),
            "paths": path_points(row) if self._size else [],
            "start": row.path[0][1:],
            "end": row.path[-1][1:],
        }


def _longest(rows: Sequence[TimelineRow], count: int) -> list[TimelineRow]:
    """Return the rows with the most frames, in their order."""
    chosen = sorted(range(len(rows)), key=lambda i: -rows[i].frames)[:count]
    return [rows[i] for i in sorted(chosen)]


def _issue_cards(issues: Sequence[Issue]) -> list[list[Issue]]:
    """Group the issues of each track under each name; major ones first, then in order of time."""
    cards: dict[tuple[str | None, str], list[Issue]] = {}
    for issue in issues:
        cards.setdefault((issue.track_id, issue.identity), []).append(issue)
    ordered = [sorted(card, key=lambda issue: _ISSUE_ORDER[issue.kind]) for card in cards.values()]
    return sorted(ordered, key=lambda card: (_ISSUE_ORDER[card[0].kind] >= _MINOR_FROM, card[0].frame))


def _shown(value: object) -> object:
    """Return a value as the report shows it; the style sheet and the script are marked as safe, and no plain text."""
    return visible(value) if type(value) is str else value


def _render(context: Mapping[str, Any]) -> str:
    from jinja2 import Environment, StrictUndefined

    assets = resources.files("tracking.results") / "assets"
    html, css, js = ((assets / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html.j2", "css", "js"))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    template = environment.from_string(html)
    return template.render(**context, css=css, js=js)
