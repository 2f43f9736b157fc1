"""A report of a run as one HTML file that needs nothing else: no network, no script or style from outside.

Names and all other text of the document are escaped by Jinja; a content security policy forbids the browser to load
anything. What there is too much of is left out, and the report says so.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from gallery_db.distribution import gtrack_version
from tracking.errors import OptionError
from tracking.results.best_crops import Moment, Moments, Picture, cut_pictures, open_video, spread
from tracking.results.header import video_name
from tracking.results.issues import NEAR, Doubt
from tracking.results.plot import SURE, surety
from tracking.results.presence import Kind, Presence, clock
from tracking.results.sinks import Exported, whole_file
from tracking.results.timelines import Timeline
from tracking.results.track_frame import TrackFrame
from tracking.video.reader import VideoReader

__all__ = ["MAX_THUMBNAILS", "ReportSink", "report_sink"]

MAX_THUMBNAILS = 400

_MOST: dict[Kind, int] = {"known": 200, "unknown": 100, "unnamed": 60}
_MOST_DOUBTS = 60
_WANTED: dict[Kind, int] = {"known": 8, "unknown": 8, "unnamed": 4}
_BARS = 500
"""Bars of one colour nearer to each other than this part of the time are drawn as one."""

_TIME_STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400]

_TITLES: dict[Kind, str] = {
    "known": "Known people",
    "unknown": "Strangers with a lasting name",
    "unnamed": "Tracks without a name",
}
_DOUBTS = {
    "changed": "name changed",
    "contested": "contested",
    "twice": "twice in a frame",
    "near": "near the limit",
    "short": "short",
}

Progress = Callable[[int, "int | None"], None]


@dataclass(slots=True)
class _Wish:
    """Pictures that a part of the report would like; `groups` is filled by `_share`."""

    candidates: Sequence[tuple[str, Sequence[Moment]]]
    most: int
    granted: int = 0
    groups: list[tuple[str, list[Moment]]] = field(default_factory=list)


class ReportSink:
    """Gathers good moments while frames go by; the report itself is made when the sink is closed."""

    def __init__(
        self, path: Path, timeline: Timeline, reader: VideoReader | None, size: tuple[int, int] | None, thumbnails: int
    ) -> None:
        self._path, self._timeline, self._reader = path, timeline, reader
        self._size = size if reader is None else (reader.width, reader.height)
        self._thumbnails = thumbnails
        self._moments = Moments(self._size, has_tracks=timeline.has_tracks)
        self._rows = 0
        self._notes: list[str] = []

    @property
    def exported(self) -> Exported:
        """What was written."""
        return Exported(self._path, "html", self._rows, notes=tuple(self._notes))

    def write(self, frame: TrackFrame) -> None:
        """Take one frame."""
        if self._reader is not None:
            self._moments.add(frame)

    def html(self, progress: Progress | None = None) -> str:
        """The report, of the frames so far."""
        timeline = self._timeline
        people = {kind: timeline.of_kind(kind) for kind in _TITLES}
        shown = {
            kind: [lines[i] for i in sorted(sorted(range(len(lines)), key=lambda i: -lines[i].frames)[: _MOST[kind]])]
            for kind, lines in people.items()
        }
        cards = _cards(timeline.doubts)
        doubts = cards[:_MOST_DOUBTS]
        lines = [presence for kind in _TITLES for presence in shown[kind]]
        wishes = [self._wish_of(presence) for presence in lines]
        doubt_wishes = [self._wish_of_doubt(card[0]) for card in doubts]
        pictures = self._pictures([*wishes, *doubt_wishes], progress)
        span = _Span(timeline)
        of_doubts: dict[str, list[Doubt]] = {}
        for doubt in timeline.doubts:
            of_doubts.setdefault(doubt.identity, []).append(doubt)
        views = [
            self._view(number, presence, wish, pictures, span, of_doubts.get(presence.identity or "", []))
            for number, (presence, wish) in enumerate(zip(lines, wishes, strict=True))
        ]
        self._rows = len(views)
        sections = [
            {
                "kind": kind,
                "title": title,
                "lines": [view for view in views if view["kind"] == kind],
                "left_out": len(people[kind]) - len(shown[kind]),
            }
            for kind, title in _TITLES.items()
        ]
        context = {
            "title": video_name(timeline.header) or Path(timeline.name).name,
            "timeline": timeline,
            "figures": _figures(timeline, people),
            "facts": _facts(timeline),
            "settings": _settings(timeline.header),
            "span": span,
            "sections": sections,
            "legend": _legend(timeline),
            "doubts": [
                {
                    "parts": [{"kind": doubt.kind, "word": _DOUBTS[doubt.kind], "text": doubt.text} for doubt in card],
                    "pictures": self._shown(wish, pictures, named=True),
                }
                for card, wish in zip(doubts, doubt_wishes, strict=True)
            ],
            "doubts_left_out": len(cards) - len(doubts),
            "near": f"{NEAR * timeline.threshold:.3g}" if timeline.threshold else None,
            "with_video": self._reader is not None,
            "notes": self._notes,
            "pictures": sum(len(self._shown(wish, pictures, named=False)) for wish in (*wishes, *doubt_wishes)),
            "thumbnails": self._thumbnails,
            "version": gtrack_version(),
            "size": self._size,
        }
        return _template(context)

    def _wish_of(self, presence: Presence) -> _Wish:
        if presence.identity is None or not self._timeline.has_tracks:
            tracks: Sequence[str | None] = presence.track_ids or (None,)
        else:
            tracks = presence.track_ids
        moments = [moment for track in tracks for moment in self._moments.of(track, presence.identity)]
        return _Wish([(presence.label, moments)], _WANTED[presence.kind])

    def _wish_of_doubt(self, doubt: Doubt) -> _Wish:
        """Both sides of the question, near the frame in question; and the identity elsewhere, to compare."""
        tracks = self._moments
        side = f"{doubt.identity}, track {doubt.track_id}" if doubt.track_id is not None else doubt.identity
        sides = [(side, tracks.of(doubt.track_id, doubt.identity))]
        if doubt.other_identity is not None:
            other = f"{doubt.other_identity}, track {doubt.track_id}"
            sides.insert(0, (other, tracks.of(doubt.track_id, doubt.other_identity)))
        if doubt.other_track is not None:
            other = f"{doubt.identity}, track {doubt.other_track}"
            sides.insert(0, (other, tracks.of(doubt.other_track, doubt.identity)))
        chosen = [(title, sorted(m, key=lambda moment: abs(moment.frame - doubt.frame))[:3]) for title, m in sides]
        known = next((p for p in self._timeline.presences if p.identity == doubt.identity), None)
        if known is not None:
            involved = {doubt.track_id, doubt.other_track}
            elsewhere = [m for t in known.track_ids if t not in involved for m in tracks.of(t, doubt.identity)]
            best = sorted(elsewhere, key=lambda moment: -moment.quality)[:2]
            if best:
                chosen.append((f"{doubt.identity} elsewhere", best))
        return _Wish(chosen, len([moments for _, moments in chosen if moments]))

    def _pictures(self, wishes: Sequence[_Wish], progress: Progress | None) -> Mapping[Moment, Picture]:
        if self._reader is None:
            return {}
        _share(wishes, self._thumbnails)
        moments = [moment for wish in wishes for _, group in wish.groups for moment in group]
        pictures = cut_pictures(self._reader, moments, progress)
        last = max((moment.frame for moment in moments), default=-1)
        if last > self._reader.frame:
            self._notes.append(
                f"The video ends at frame {self._reader.frame}, before the tracks do: later pictures are missing."
            )
        return pictures

    def _shown(self, wish: _Wish, pictures: Mapping[Moment, Picture], *, named: bool) -> list[dict[str, Any]]:
        shown = []
        for title, group in wish.groups:
            cut = [moment for moment in group if moment in pictures]
            if cut:
                moment = max(cut, key=lambda one: pictures[one].quality)
                picture = pictures[moment]
                when = clock(moment.frame, self._timeline.fps)
                shown.append(
                    {
                        "src": "data:image/jpeg;base64," + base64.b64encode(picture.jpeg).decode("ascii"),
                        "width": picture.width,
                        "height": picture.height,
                        "alt": f"{title} at {when}",
                        "caption": title if named else None,
                        "when": when,
                        "frame": moment.frame,
                    }
                )
        return shown

    def _view(
        self,
        number: int,
        presence: Presence,
        wish: _Wish,
        pictures: Mapping[Moment, Picture],
        span: _Span,
        doubts: Sequence[Doubt],
    ) -> dict[str, Any]:
        timeline = self._timeline
        start, end = clock(presence.first, timeline.fps), clock(presence.last + bool(timeline.fps), timeline.fps)
        seen = f"{presence.frames} frames"
        if timeline.fps:
            seen = f"{presence.frames / timeline.fps:.1f}\N{NO-BREAK SPACE}s"
        tracks = len(presence.track_ids)
        facts = [f"{start} to {end}", f"seen for {seen}"]
        if presence.kind != "unnamed" and tracks:
            facts.append("in 1 track" if tracks == 1 else f"in {tracks} tracks")
        if presence.mean_distance is not None:
            facts.append(f"distance {presence.mean_distance:.3f}, at worst {presence.worst_distance:.3f}")
        elif presence.mean_score is not None:
            facts.append(f"mean score {presence.mean_score:.2f}")
        marks = [d for d in doubts if d.kind in ("changed", "contested", "twice")]
        return {
            "id": f"line-{number}",
            "kind": presence.kind,
            "label": presence.label,
            "class_name": presence.class_name,
            "facts": facts,
            "seen": seen,
            "line": (span.at(presence.first), span.at(presence.last + 1)),
            "bars": _bars(presence, timeline, span),
            "marks": [{"at": span.at(d.frame), "text": d.text} for d in marks],
            "doubts": len(doubts),
            "pictures": self._shown(wish, pictures, named=False),
            "paths": _paths(presence) if self._size else [],
            "start": presence.path[0][1:],
            "end": presence.path[-1][1:],
        }


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
    """A sink for the report.

    Args:
        path: Where to.
        timeline: Of the document that is to be written.
        size: Width and height of the video as the document has it; None where unknown.
        video: The video, to cut pictures from; None for a report without pictures, which says so.
        thumbnails: Number of pictures at most.
        progress: Called with (frames of the video done, frames to go through).

    Raises:
        OptionError: `thumbnails` is negative.
        VideoError: The video cannot be opened, or has another size.
    """
    if thumbnails < 0:
        raise OptionError(f"expected a number of thumbnails from 0 on, got {thumbnails}.")
    reader = None if video is None else open_video(video, size, timeline.name)
    try:
        with whole_file(path) as part:
            sink = ReportSink(path, timeline, reader, size, thumbnails)
            yield sink
            part.write_text(sink.html(progress), encoding="utf-8")
    finally:
        if reader is not None:
            reader.close()


class _Span:
    """The time that the report is about, as percentages."""

    def __init__(self, timeline: Timeline) -> None:
        self.first = timeline.first_frame or 0
        self.last = max((timeline.last_frame or 0) + 1, self.first + 1)
        self.fps = timeline.fps
        self.ticks = [(self.at(frame), word) for frame, word in self._ticks()]

    def at(self, frame: float) -> float:
        return round(100 * (frame - self.first) / (self.last - self.first), 3)

    def _ticks(self) -> Iterator[tuple[float, str]]:
        """Round times, ten of them at most."""
        unit = self.fps or 1.0
        steps = _TIME_STEPS if self.fps else [base * 10**power for power in range(9) for base in (1, 2, 5)]
        step = next((s for s in steps if (self.last - self.first) / unit <= 9 * s), 3600.0 * 24)
        number = -(-self.first // (step * unit))
        while number * step * unit <= self.last:
            frame = number * step * unit
            word = clock(frame, self.fps) if self.fps else f"{frame:.0f}"
            yield frame, word.removesuffix(".0") if step >= 1 else word
            number += 1


def _bars(presence: Presence, timeline: Timeline, span: _Span) -> list[dict[str, Any]]:
    """What to draw of a line; what one could not tell apart is drawn as one."""
    least = (span.last - span.first) / _BARS
    merged: list[list[Any]] = []
    for stretch in presence.stretches:
        level = surety(stretch, timeline.threshold)
        if merged and merged[-1][0] == level and stretch.first - merged[-1][2] <= least:
            merged[-1][2] = max(merged[-1][2], stretch.last + 1)
            merged[-1][3].append(stretch)
        else:
            merged.append([level, stretch.first, stretch.last + 1, [stretch]])
    bars = []
    for level, first, last, stretches in merged:
        words = f"{presence.label}, {clock(first, timeline.fps)} to {clock(last, timeline.fps)}"
        tracks = list(dict.fromkeys(s.track_id for s in stretches if s.track_id is not None))
        if tracks and presence.identity is not None:
            more = "" if len(tracks) < 6 else f" and {len(tracks) - 5} more"
            words += f", track {', '.join(tracks[:5])}{more}"
        known = [(s.mean_distance, s.frames) for s in stretches if s.mean_distance is not None]
        if known:
            words += f", distance {sum(d * n for d, n in known) / sum(n for _, n in known):.3f}"
        width = max(span.at(last) - span.at(first), 0.3)
        bars.append({"level": level, "x": span.at(first), "width": round(width, 3), "text": words})
    return bars


def _paths(presence: Presence) -> list[str]:
    """The path as SVG points, one line for each time that somebody was in sight."""
    lines: list[list[str]] = []
    before: set[int] = set()
    for frame, x, y in presence.path:
        now = {i for i, stretch in enumerate(presence.stretches) if stretch.first <= frame <= stretch.last}
        if not lines or not now & before:
            # Twice the first point, so that one alone is drawn as a dot.
            lines.append([f"{x:g},{y:g}"])
        lines[-1].append(f"{x:g},{y:g}")
        before = now
    return [" ".join(points) for points in lines]


def _share(wishes: Sequence[_Wish], budget: int) -> None:
    """Give every wish a first picture, then a second, and so on, while there are any."""
    most = {id(wish): min(wish.most, sum(len(m) for _, m in wish.candidates)) for wish in wishes}
    while budget > 0:
        hungry = [wish for wish in wishes if wish.granted < most[id(wish)]][:budget]
        if not hungry:
            break
        for wish in hungry:
            wish.granted += 1
        budget -= len(hungry)
    for wish in wishes:
        if len(wish.candidates) == 1:
            title, moments = wish.candidates[0]
            wish.groups = [(title, group) for group in spread(moments, wish.granted)]
        else:
            # One group a side.
            sides = [(title, list(moments)) for title, moments in wish.candidates if moments]
            wish.groups = sides[: wish.granted]


def _cards(doubts: Sequence[Doubt]) -> list[list[Doubt]]:
    """What is doubtful of one track under one name, together; weighty ones first, then in order of time."""
    rank = {"twice": 0, "changed": 1, "contested": 2, "near": 3, "short": 4}
    cards: dict[tuple[str | None, str], list[Doubt]] = {}
    for doubt in doubts:
        cards.setdefault((doubt.track_id, doubt.identity), []).append(doubt)
    ordered = [sorted(card, key=lambda doubt: rank[doubt.kind]) for card in cards.values()]
    return sorted(ordered, key=lambda card: (rank[card[0].kind] > 2, card[0].frame))


def _figures(timeline: Timeline, people: Mapping[Kind, Sequence[Presence]]) -> list[tuple[str, str]]:
    length = 0 if timeline.first_frame is None else (timeline.last_frame or 0) + 1 - timeline.first_frame
    figures = [(str(len(people["known"])), "known people"), (str(len(people["unknown"])), "strangers with a name")]
    if timeline.has_tracks:
        figures.append((str(len(people["unnamed"])), "tracks without a name"))
        figures.append((f"{timeline.tracks:,}", "tracks"))
    share = f"{timeline.named / timeline.tracked:.0%}" if timeline.tracked else "none"
    figures.append((share, "of tracked boxes named"))
    figures.append((clock(length, timeline.fps), "time") if timeline.fps else (f"{length:,}", "frames"))
    figures.append((str(len(timeline.doubts)), "doubtful decisions"))
    return figures


def _facts(timeline: Timeline) -> list[str]:
    tracker = timeline.header.get("tracker")
    tracker = tracker if isinstance(tracker, Mapping) else {}
    config = tracker.get("config")
    config = config if isinstance(config, Mapping) else {}
    facts = [f"{timeline.frames:,} frames, {timeline.detections:,} detections, {timeline.tracked:,} tracked"]
    name = tracker.get("name")
    if name:
        facts.append(f"tracker {name}" + (f" ({config['temporal']})" if config.get("temporal") else ""))
    if config.get("gallery"):
        facts.append(f"gallery {config['gallery']}")
    if timeline.threshold is not None:
        facts.append(f"names up to distance {timeline.threshold:g}")
    if timeline.header.get("created_at_utc"):
        facts.append(f"made {timeline.header['created_at_utc']}")
    return facts


def _legend(timeline: Timeline) -> list[tuple[str, str]]:
    threshold = timeline.threshold or 0.0
    words = {
        "sure": f"sure (distance up to {SURE * threshold:.3g})",
        "fair": f"fair (up to {NEAR * threshold:.3g})",
        "near": f"near the limit ({threshold:g})",
        "named": "named",
        "none": "no name",
    }
    levels = {surety(s, timeline.threshold) for p in timeline.presences for s in p.stretches}
    return [(level, word) for level, word in words.items() if level in levels]


def _settings(header: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The header as tables of key and value."""

    def flat(value: Any, prefix: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, Mapping) and value:
            for key, item in value.items():
                yield from flat(item, f"{prefix}.{key}" if prefix else str(key))
        else:
            text = "not set" if value is None else "yes" if value is True else "no" if value is False else str(value)
            yield prefix, text if len(text) <= 500 else f"{text[:497]}..."

    tables = []
    rest = {}
    for key, value in header.items():
        if isinstance(value, Mapping):
            tables.append((str(key), list(flat(value, ""))))
        else:
            rest[key] = value
    return [*tables, ("document", list(flat(rest, "")))]


def _template(context: Mapping[str, Any]) -> str:
    from jinja2 import Environment, StrictUndefined

    assets = resources.files("tracking.results") / "assets"
    html, css, js = ((assets / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html.j2", "css", "js"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(html)
    return template.render(**context, css=css, js=js)
