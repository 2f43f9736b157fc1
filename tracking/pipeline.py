"""The main job: a video and its detections in, named tracks out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from gallery_db.errors import GalleryError
from tracking.artifacts import Artefacts, OutputOptions, TrackFile, TrackPaths
from tracking.detections import DetectionSource, FrameDetections, check_against_video, open_detections
from tracking.enrolment import Enrol, EnrolmentCounts
from tracking.enrolment_run import RunEnrolment, check_enrolment_gallery
from tracking.errors import DetectionsError, OptionError, VideoError
from tracking.galleries import EmbedderOptions, load_known_people
from tracking.identity import TrackIdentities
from tracking.progress import progress_bar
from tracking.temporal import TemporalOptions, TemporalTracker
from tracking.trackers import FrameTracks, GalleryOnly, Hybrid, Tracker, available_trackers
from tracking.video import VideoReader

if TYPE_CHECKING:
    from gallery_db.errors import GtrackError
    from gallery_db.model import Embedder
    from tracking.galleries import KnownPeople

__all__ = ["RunOptions", "Seen", "TrackResult", "TrackingRun", "parse_range", "read_class_names", "track_video"]

_ALIASES = {"xyxy": "bbox", "conf": "score", "class": "class_id"}
_FALLBACK_FPS = 30.0
_REFRESH_EVERY = 25
"""Frames between two looks at whether the gallery has changed; a look costs one small SQL query."""


@dataclass(frozen=True, slots=True)
class Seen:
    """When an identity was on the video.

    Attributes:
        identity: Name in the gallery.
        frames: Number of frames in which it was named.
        first, last: First and last such frame.
        tracks: Number of tracks that carried the name (0 for `gallery_only`, which has none).
    """

    identity: str
    frames: int
    first: int
    last: int
    tracks: int


class TrackResult:
    """What a run returns.

    Attributes:
        paths: Where the artefacts are; all None if nothing was saved.
        stats: ``frames``, ``fps``, ``seconds`` and ``cpu_seconds`` of the frame loop, ``detections``,
            ``tracked``, ``named``, ``tracks``, ``identities``, ``crops`` and ``warnings``, all numbers.
        seen: Who was seen when, most frames first.
        warnings: What was left out or mended, one sentence each.
        video_fps: Frames per second of the video, None where the file does not say.
        enrolment: What became of the tracks that were to be enrolled; None where nobody was. `stats` has
            its figures as ``enrolled``, ``new_identities``, ``too_short``, ``too_poor``, ``unsure`` and
            ``redundant``.
    """

    def __init__(
        self,
        file: TrackFile,
        paths: TrackPaths,
        stats: Mapping[str, float],
        seen: Sequence[Seen],
        warnings: Sequence[str],
        video_fps: float | None,
        enrolment: EnrolmentCounts | None = None,
    ) -> None:
        self.video_fps = video_fps
        self.enrolment = enrolment
        self._file = file
        self.paths = paths
        self.stats = dict(stats)
        self.seen = tuple(seen)
        self.warnings = tuple(warnings)

    @property
    def payload(self) -> dict[str, Any]:
        """The track-v1 document. It is read back when first asked for, so that a long run whose
        payload nobody reads needs no memory for it."""
        return self._file.payload


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Everything that shapes a run besides its two inputs. Defaults are the command line's.

    Attributes:
        tracker: ``gallery_hybrid`` or ``gallery_only``.
        classes: Class ids to track; None for all. Others pass through unchanged.
        filter_gallery: Drop detections of tracked classes that got no identity.
        temporal: Temporal association (``gallery_hybrid``).
        gallery: A gtrack gallery or a tree of image folders; None to track without names.
        embedder: The ReID model.
        reid_frequency: Frames between two looks at a track (``gallery_hybrid``).
        gallery_match_threshold: Largest cosine distance at which an identity is given, in [0, 2].
        class_names: Names by class id, for detections that carry none.
        frame_range: First frame and the one after the last; None for open ends.
        lenient: Leave unusable detections out, counted, instead of refusing the file.
        output: What to save.
        enroll: Whom to put into the gallery when their track has ended: ``off``, ``unknown`` or ``all``.
        source_id: The camera that enrolled tracks are of; the video's stem if None.
        grace_frames: Frames that a track may be out of sight before it has ended.
    """

    tracker: str = "gallery_hybrid"
    classes: Sequence[int] | None = None
    filter_gallery: bool = False
    temporal: TemporalOptions = field(default_factory=TemporalOptions)
    gallery: str | Path | None = None
    embedder: EmbedderOptions = field(default_factory=EmbedderOptions)
    reid_frequency: int = 10
    gallery_match_threshold: float = 0.25
    class_names: Mapping[int, str] = field(default_factory=dict)
    frame_range: tuple[int | None, int | None] = (None, None)
    lenient: bool = False
    output: OutputOptions = field(default_factory=OutputOptions)
    enroll: Enrol = "off"
    source_id: str | None = None
    grace_frames: int = 30

    def validate(self) -> None:
        """Check all that can be checked before a file is opened or a model loaded.

        Raises:
            OptionError: A value or a combination that makes no sense.
            DisplayError: See `OutputOptions.validate`.
        """
        if self.tracker not in available_trackers():
            raise OptionError(f"unknown tracker {self.tracker!r}; expected one of {', '.join(available_trackers())}.")
        if self.tracker == "gallery_only" and self.gallery is None:
            raise OptionError("tracker gallery_only needs a gallery.", hint="Give one with --gallery.")
        if self.filter_gallery and self.gallery is None:
            raise OptionError("--filter-gallery without --gallery would drop every detection.")
        if self.reid_frequency < 1:
            raise OptionError(f"--reid-frequency must be at least 1, got {self.reid_frequency}.")
        if not 0.0 <= self.gallery_match_threshold <= 2.0:
            raise OptionError(
                f"--gallery-match-threshold is a cosine distance in 0 to 2, got {self.gallery_match_threshold}."
            )
        start, stop = self.frame_range
        if (start is not None and start < 0) or (stop is not None and stop <= (start or 0)):
            raise OptionError(f"--range needs 0 <= A < B, got {start}:{stop}.")
        self._validate_enrolment()
        self.temporal.validate()
        self.output.validate()

    def _validate_enrolment(self) -> None:
        if self.enroll not in get_args(Enrol):
            raise OptionError(f"--enroll must be one of {', '.join(get_args(Enrol))}, got {self.enroll!r}.")
        if self.grace_frames < 0:
            raise OptionError(f"--grace-frames must be at least 0, got {self.grace_frames}.")
        if self.source_id is not None and (not self.source_id.strip() or not self.source_id.isprintable()):
            raise OptionError(f"--source-id must be some printable text, got {self.source_id!r}.")
        if self.enroll == "off":
            return
        if self.gallery is None:
            raise OptionError(
                "--enroll needs a gallery to put people into.", hint="Give one with --gallery; an absent one is made."
            )
        if self.tracker != "gallery_hybrid":
            raise OptionError(
                f"tracker {self.tracker} has no tracks that could be enrolled.", hint="Use gallery_hybrid."
            )
        check_enrolment_gallery(Path(self.gallery))


def parse_range(text: str | None) -> tuple[int | None, int | None]:
    """``A:B`` to (A, B): frames A up to, not including, B; either may be left out.

    Raises:
        OptionError: Not of that form.
    """
    if text is None:
        return None, None
    parts = text.split(":")
    if len(parts) != 2 or not all(p == "" or p.isdecimal() for p in parts):
        raise OptionError(
            f"--range must be A:B (frames A up to, not including, B), such as 400: or 0:400, got {text!r}."
        )
    start, stop = (int(p) if p else None for p in parts)
    return start, stop


class _Tally:
    """What is counted over a run."""

    def __init__(self) -> None:
        self.frames = self.detections = self.tracked = self.named = self.crops = 0
        self.tracks: set[str] = set()
        self.seen: dict[str, list[int]] = {}
        self.bearers: dict[str, set[str]] = {}

    def add(self, frame: int, detections: int, tracks: FrameTracks, *, temporal: bool) -> None:
        self.frames += 1
        self.detections += detections
        self.tracked += len(tracks.track_ids)
        self.crops += tracks.crops
        if temporal:
            self.tracks.update(tracks.track_ids)
        for track_id, named in zip(tracks.track_ids, tracks.named, strict=True):
            if named is None:
                continue
            self.named += 1
            record = self.seen.setdefault(named.identity, [0, frame, frame])
            record[0] += 1
            record[2] = frame
            bearers = self.bearers.setdefault(named.identity, set())
            if temporal:
                bearers.add(track_id)

    def summary(self) -> list[Seen]:
        seen = [Seen(name, n, first, last, len(self.bearers[name])) for name, (n, first, last) in self.seen.items()]
        return sorted(seen, key=lambda s: (-s.frames, s.identity))


class TrackingRun:
    """One run, step by step: check the options, open the inputs, load the models, track, finish.

    Nothing is shared between runs, so any number of them may follow one another in a process.

    Args:
        detections: det-v1: a file, its parsed document, or a `DetectionSource`.
        video: The video that the detections belong to.
        options: How to run.
        notify: Takes one-line messages for the user.

    Raises:
        OptionError: See `RunOptions.validate`.
    """

    def __init__(
        self,
        detections: str | Path | Mapping[str, Any] | DetectionSource,
        video: str | Path,
        options: RunOptions,
        *,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        options.validate()
        self._detections = detections
        self._video = Path(video)
        self._options = options
        self._notify = notify or (lambda message: None)
        self._told: set[str] = set()
        self.result: TrackResult | None = None
        """Set when the artefacts are complete, also after an error or Ctrl-C on the way."""

    def execute(
        self,
        *,
        progress: Callable[[int, int | None], None] | None = None,
        ingest_progress: Callable[[int, int], None] | None = None,
        index_progress: Callable[[int, int], None] | None = None,
    ) -> TrackResult:
        """Do the run.

        An error or KeyboardInterrupt while frames are processed still completes the artefacts for
        the frames done, enrols the tracks so far, sets `result`, and is then raised. So is an error of
        the enrolment itself.

        Args:
            progress: Called with (frames done, total or None).
            ingest_progress: Called with (images done, total) if a folder gallery must be ingested.
            index_progress: Called with (entries done, total) while what was enrolled is indexed.

        Raises:
            GtrackError: Any leaf of the tree; the inputs are checked before models are loaded.
        """
        options = self._options
        warnings: list[str] = []
        failure: GtrackError | None = None
        with ExitStack() as outer, ExitStack() as stack:
            source = open_detections(self._detections, lenient=options.lenient)
            reader = stack.enter_context(VideoReader(self._video))
            warnings += check_against_video(
                source,
                width=reader.width,
                height=reader.height,
                frame_count=reader.frame_count,
                path=str(self._video),
                lenient=options.lenient,
            )
            start = options.frame_range[0] or 0
            if reader.frame_count is not None and start >= reader.frame_count:
                raise VideoError(f"video {self._video} has {reader.frame_count} frames; --range starts at {start}.")
            warnings += [f"{count} x {reason}" for reason, count in source.warnings.items()]
            selected = self._selected_classes(source)
            names = {**source.class_names, **options.class_names}
            enrolment: RunEnrolment | None = None
            if options.enroll != "off":
                enrolment = self._enrolment(source, reader, selected, names)
                outer.callback(enrolment.abort)
                people: KnownPeople | None = enrolment.people
            else:
                people = self._people(stack, source, selected, names, ingest_progress)
            embedder = people.embedder if people else None
            tracker, embedder = self._tracker(people, embedder, enrolment)
            artefacts = Artefacts(
                options.output,
                self._header(source, reader, people, embedder),
                self._video,
                width=reader.width,
                height=reader.height,
                fps=float(options.output.fps or reader.fps or source.video.get("fps") or _FALLBACK_FPS),
                labels=names,
            )
            stack.callback(artefacts.close)
            tally = _Tally()
            started, started_cpu = time.perf_counter(), time.process_time()
            complete = False
            try:
                self._loop(
                    source, reader, tracker, None if enrolment else people, selected, names, artefacts, tally, progress
                )
                warnings += self._check_end(source, reader)
                complete = True
            finally:
                # Every artefact is completed, also after an error or Ctrl-C, and before anything is enrolled.
                try:
                    stack.close()
                finally:
                    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
                    if enrolment is not None:
                        if progress and complete:  # one bar makes room for the next, also where the video ended early
                            progress(tally.frames, tally.frames)
                        failure = enrolment.finish(complete=complete, progress=index_progress)
                        if failure is not None and not complete:
                            self._notify(f"warning: {failure}")
                    counts = enrolment.counts if enrolment else None
                    stats = self._stats(tally, seconds, cpu_seconds, warnings, counts)
                    self.result = TrackResult(
                        artefacts.tracks, artefacts.paths, stats, tally.summary(), warnings, reader.fps, counts
                    )
        for warning in warnings:
            self._notify(f"warning: {warning}")
        if failure is not None:
            raise failure
        return self.result

    def execute_with_bars(self, *, enabled: bool = True) -> TrackResult:
        """`execute`, with progress bars on a stderr that is a terminal."""
        with (
            progress_bar("ingesting the gallery", "images", enabled=enabled) as ingesting,
            progress_bar("tracking", "frames", enabled=enabled) as tracking,
            progress_bar("indexing the gallery", "entries", enabled=enabled) as indexing,
        ):
            return self.execute(progress=tracking, ingest_progress=ingesting, index_progress=indexing)

    def _selected_classes(self, source: DetectionSource) -> set[int] | None:
        classes = self._options.classes
        if classes is None:
            return None
        missing = sorted(set(classes) - set(source.class_ids))
        if missing and source.count:
            self._notify(
                f"no detection has class {', '.join(map(str, missing))}; "
                f"the file has {', '.join(map(str, source.class_ids))}."
            )
        return set(classes)

    def _people(
        self,
        stack: ExitStack,
        source: DetectionSource,
        selected: set[int] | None,
        names: Mapping[int, str],
        progress: Callable[[int, int], None] | None,
    ) -> KnownPeople | None:
        options = self._options
        if options.gallery is None:
            return None
        kinds = self._tracked_kinds(source, selected, names)
        class_name = next(iter(kinds)) if len(kinds) == 1 else "person"
        people = load_known_people(
            options.gallery, self._embedder_options(), class_name=class_name, notify=self._notify, progress=progress
        )
        stack.callback(people.gallery.close)
        known = {c.casefold() for c in people.view.identity_classes}
        tracked = {name.casefold() for name in kinds}
        if tracked and not known & tracked:
            self._notify(
                f"warning: the gallery knows {', '.join(sorted(known))} and the tracked detections are "
                f"{', '.join(sorted(tracked))}: nobody can be named."
            )
        return people

    @staticmethod
    def _tracked_kinds(source: DetectionSource, selected: set[int] | None, names: Mapping[int, str]) -> set[str]:
        """The names of the classes that are tracked; none where their only class has no name.

        Raises:
            OptionError: There are several, and not all of them have a name.
        """
        tracked = [c for c in source.class_ids if selected is None or c in selected]
        unnamed = [c for c in tracked if c not in names]
        if unnamed and len(tracked) > 1:
            raise OptionError(
                f"classes {', '.join(map(str, unnamed))} have no name in the detections, so that nobody can tell "
                f"which of them the gallery's identities belong to.",
                hint="Name them with --class-names FILE, or select one class with --classes.",
            )
        return {names[c] for c in tracked if c in names}

    def _enrolment(
        self, source: DetectionSource, reader: VideoReader, selected: set[int] | None, names: Mapping[int, str]
    ) -> RunEnrolment:
        options = self._options
        assert options.gallery is not None  # RunOptions.validate
        kinds = self._tracked_kinds(source, selected, names)
        return RunEnrolment(
            Path(options.gallery),
            self._embedder_options(),
            mode=options.enroll,
            source_id=self._source_id,
            video=self._video,
            frame_range=options.frame_range,
            fps=reader.fps,
            classes=None if selected is None else kinds or {"person"},
            threshold=options.gallery_match_threshold,
            grace_frames=options.grace_frames,
            notify=self._notify,
        )

    @property
    def _source_id(self) -> str:
        return self._options.source_id or self._video.stem

    def _embedder_options(self) -> EmbedderOptions:
        options = self._options
        if (
            options.embedder.threads is None
            and options.tracker == "gallery_hybrid"
            and options.temporal.name in _WITHOUT_EMBEDDINGS
        ):
            # Crops come by ones and twos here: a second thread would cost CPU time and win nothing.
            return replace(options.embedder, threads=1)
        return options.embedder

    def _tracker(
        self, people: KnownPeople | None, embedder: Embedder | None, enrolment: RunEnrolment | None
    ) -> tuple[Tracker, Embedder | None]:
        options = self._options
        if options.tracker == "gallery_only":
            assert people is not None  # RunOptions.validate
            return GalleryOnly(people.embedder, people.view, threshold=options.gallery_match_threshold), embedder
        if embedder is None and options.temporal.name not in _WITHOUT_EMBEDDINGS:
            embedder = self._embedder_options().load(None, self._notify)
        elif embedder is None and options.embedder.weights is not None:
            self._notify(
                f"--reid-weights has no use without a gallery: {options.temporal.name} does not look at crops."
            )
        temporal = TemporalTracker(options.temporal, have_embeddings=embedder is not None)
        identities = None
        if people is not None:
            identities = TrackIdentities(
                people.view, threshold=options.gallery_match_threshold, every=options.reid_frequency
            )
        return Hybrid(temporal, embedder, identities, enrolment.enroller if enrolment else None), embedder

    def _loop(
        self,
        source: DetectionSource,
        reader: VideoReader,
        tracker: Tracker,
        people: KnownPeople | None,
        selected: set[int] | None,
        names: Mapping[int, str],
        artefacts: Artefacts,
        tally: _Tally,
        progress: Callable[[int, int | None], None] | None,
    ) -> None:
        options = self._options
        temporal = options.tracker == "gallery_hybrid"
        start, stop = options.frame_range
        start = start or 0
        last = reader.frame_count if stop is None else min(stop, reader.frame_count or stop)
        total = None if last is None else max(0, last - start)
        while (stop is None or reader.frame + 1 < stop) and reader.advance():
            frame = reader.frame
            if frame < start:
                continue
            if people is not None and frame % _REFRESH_EVERY == 0:
                self._keep_current(people, tracker)
            detections = source.at(frame)
            rows = np.arange(len(detections))
            if selected is not None:
                rows = np.flatnonzero(np.isin(detections.class_ids, list(selected)))
                detections = _take(detections, rows)
            kinds = [
                own or names.get(int(c)) for own, c in zip(detections.class_names, detections.class_ids, strict=True)
            ]
            tracks = tracker.update(frame, detections, kinds, reader)
            document = _frame_document(frame, source.raw(frame), rows, tracks, drop_unnamed=options.filter_gallery)
            go_on = artefacts.write(document, reader.image() if artefacts.draws else None)
            tally.add(frame, len(detections), tracks, temporal=temporal)
            if progress:
                progress(tally.frames, total)
            if not go_on:
                break

    def _keep_current(self, people: KnownPeople, tracker: Tracker) -> None:
        """Let the tracker know what others have changed in the gallery since."""
        before = people.view.identities
        try:
            if people.view.refresh():
                tracker.gallery_changed(before)
        except GalleryError as error:
            if str(error) not in self._told:
                self._told.add(str(error))
                self._notify(f"warning: the run goes on with the gallery as it was: {error}")

    def _check_end(self, source: DetectionSource, reader: VideoReader) -> list[str]:
        """Whether the video held every frame that the detections speak of."""
        start, stop = self._options.frame_range
        numbers = source.frame_numbers
        # A stop by range or by the user leaves later frames unread; the video's own end does not.
        if stop is not None:
            numbers = numbers[numbers < stop]
        missing = numbers[numbers > reader.frame]
        if reader.advance() or not missing.size:
            if start is not None and reader.frame < start:
                raise VideoError(f"video {self._video} has {reader.frame + 1} frames; --range starts at {start}.")
            return []
        text = (
            f"video {self._video} ends after frame {reader.frame}, but {missing.size} frames of the detections "
            f"follow, the first of them frame {int(missing[0])}"
        )
        if self._options.lenient:
            return [f"{text}; they are left out"]
        raise DetectionsError(
            f"{text}.",
            hint="Give the video that the detections were made from, or use --lenient to leave them out.",
        )

    def _header(
        self, source: DetectionSource, reader: VideoReader, people: KnownPeople | None, embedder: Embedder | None
    ) -> dict[str, Any]:
        options = self._options
        temporal = options.temporal
        config: dict[str, Any] = {}
        if options.tracker == "gallery_hybrid":
            config = {
                "track_thresh": temporal.track_thresh,
                "match_thresh": temporal.match_thresh,
                "track_buffer": temporal.track_buffer,
                "frame_rate": temporal.frame_rate,
                "per_class": temporal.per_class,
                "max_obs": temporal.max_obs,
            }
        else:
            config = {"track_thresh": temporal.track_thresh}
        weights = options.embedder.weights
        config["reid_weights"] = None if weights is None else str(weights)
        config["gallery"] = None if options.gallery is None else str(options.gallery)
        if options.tracker == "gallery_hybrid":
            config["reid_frequency"] = options.reid_frequency
        config["gallery_match_threshold"] = options.gallery_match_threshold
        config["device"] = str(getattr(embedder, "device", "cpu"))
        config["half"] = bool(getattr(embedder, "half", options.embedder.half))
        # What the predecessor did not know goes behind its keys.
        if options.tracker == "gallery_hybrid":
            config["temporal"] = temporal.name
            config["temporal_options"] = dict(temporal.extra)
        model = embedder.model if embedder else None
        config["reid_model"] = (
            None
            if model is None
            else {
                "name": model.name,
                "sha256": model.sha256,
                "dimension": model.dimension,
                "preprocessing": model.preprocessing,
            }
        )
        config["gallery_collection"] = people.gallery.collection if people else None
        config["frame_range"] = list(options.frame_range)
        config["gtrack_version"] = version("gtrack")
        if options.enroll != "off":
            config["enroll"] = options.enroll
            config["source_id"] = self._source_id
            config["grace_frames"] = options.grace_frames
        header = source.header
        return {
            "schema_version": "track-v1",
            "parent_schema_version": header.get("schema_version", "det-v1"),
            "video": header.get("video")
            or {
                "path": str(self._video),
                "fps": reader.fps,
                "frame_count": reader.frame_count,
                "width": reader.width,
                "height": reader.height,
            },
            "detector": header.get("detector"),
            "created_at_utc": datetime.now(timezone.utc).replace(microsecond=0).isoformat(),
            "tracker": {
                "name": options.tracker,
                "class_filter": {
                    "track_classes": None if options.classes is None else sorted(set(options.classes)),
                    "filter_gallery_for_tracked_classes": options.filter_gallery,
                },
                "config": config,
            },
        }

    @staticmethod
    def _stats(
        tally: _Tally, seconds: float, cpu_seconds: float, warnings: Sequence[str], enrolled: EnrolmentCounts | None
    ) -> dict[str, float]:
        stats: dict[str, float] = {
            "frames": tally.frames,
            "fps": round(tally.frames / seconds, 2) if seconds > 0 else 0.0,
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "detections": tally.detections,
            "tracked": tally.tracked,
            "named": tally.named,
            "tracks": len(tally.tracks),
            "identities": len(tally.seen),
            "crops": tally.crops,
            "warnings": len(warnings),
        }
        if enrolled is not None:
            stats |= {
                "enrolled": enrolled.enrolled,
                "new_identities": enrolled.identities,
                "too_short": enrolled.too_short,
                "too_poor": enrolled.too_poor,
                "unsure": enrolled.unsure,
                "redundant": enrolled.redundant,
            }
        return stats


_WITHOUT_EMBEDDINGS = frozenset({"bytetrack", "ocsort", "sfsort"})
"""Trackers that never look at embeddings, so that no model is loaded for them without a gallery."""


def _take(detections: FrameDetections, rows: np.ndarray[Any, np.dtype[np.int64]]) -> FrameDetections:
    if len(rows) == len(detections):
        return detections
    return FrameDetections(
        frame=detections.frame,
        boxes=detections.boxes[rows],
        scores=detections.scores[rows],
        class_ids=detections.class_ids[rows],
        det_inds=detections.det_inds[rows],
        class_names=tuple(detections.class_names[r] for r in rows),
    )


def _frame_document(
    frame: int,
    raw: Mapping[str, Any] | None,
    rows: np.ndarray[Any, np.dtype[np.int64]],
    tracks: FrameTracks,
    *,
    drop_unnamed: bool,
) -> dict[str, Any]:
    """One track-v1 frame: the det-v1 frame with all its keys, and what the tracker made of it."""
    document: dict[str, Any] = {"frame": frame}
    found: list[dict[str, Any]] = []
    if raw is not None:
        document.update((k, v) for k, v in raw.items() if k not in {"frame", "frame_index", "detections"})
        found = [{_ALIASES.get(k, k): v for k, v in d.items()} for d in raw["detections"]]
    named = set()
    boxes = None if tracks.boxes is None else np.round(tracks.boxes, 3).tolist()
    for i, (index, track_id, name) in enumerate(zip(tracks.indices, tracks.track_ids, tracks.named, strict=True)):
        row = int(rows[index])
        detection = found[row]
        if boxes is not None:
            detection["bbox"] = boxes[i]
        detection["track_id"] = track_id
        if name is not None:
            named.add(row)
            detection["gallery_id"] = name.identity
            detection["gallery_distance"] = round(name.distance, 6)
    if drop_unnamed:
        dropped = {int(r) for r in rows} - named
        found = [d for i, d in enumerate(found) if i not in dropped]
    document["detections"] = found
    return document


def read_class_names(names: str | Path | Mapping[int, str] | Sequence[str] | None) -> dict[int, str]:
    """Class names by id, from a mapping, a list, or a file with one name a line.

    Raises:
        OptionError: The file cannot be read.
    """
    if names is None:
        return {}
    if isinstance(names, Mapping):
        return {int(k): str(v) for k, v in names.items()}
    if isinstance(names, (str, Path)):
        try:
            names = Path(names).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(
                f"class names {names} cannot be read: {error}.", hint="Expected a text file, one name a line."
            ) from error
    return {i: name.strip() for i, name in enumerate(names) if name.strip()}


def track_video(
    *,
    dets_json: str | Path | Mapping[str, Any] | DetectionSource,
    video: str | Path,
    tracker: str = "gallery_hybrid",
    classes: Sequence[int] | None = None,
    filter_gallery: bool = False,
    track_thresh: float = 0.45,
    match_thresh: float = 0.8,
    track_buffer: int = 25,
    frame_rate: int = 30,
    per_class: bool = False,
    max_obs: int = 30,
    reid_weights: str | Path | None = None,
    gallery: str | Path | None = None,
    reid_frequency: int = 10,
    gallery_match_threshold: float = 0.25,
    device: str = "auto",
    half: bool = False,
    models_dir: str | Path = "models",
    save_json_flag: bool = False,
    save_frames: bool = False,
    save_video: str | None = None,
    out_dir: str | Path = "out",
    run_name: str | None = None,
    display: bool = False,
    save_fps: float | None = None,
    fourcc: str = "mp4v",
    class_names: str | Path | Mapping[int, str] | Sequence[str] | None = None,
    no_progress: bool = False,
    temporal: str = "bytetrack",
    temporal_options: Mapping[str, Any] | None = None,
    frame_range: tuple[int | None, int | None] = (None, None),
    lenient: bool = False,
    runtime: str = "auto",
    threads: int | None = None,
    download: bool = False,
    enroll: Enrol = "off",
    source_id: str | None = None,
    grace_frames: int = 30,
    notify: Callable[[str], None] | None = None,
) -> TrackResult:
    """Track the detections of a video and name the tracks from a gallery.

    Writes nothing unless a saving argument or `enroll` asks for it.

    Args:
        dets_json: det-v1 detections: a file, its parsed document, or an open `DetectionSource`.
        video: The video that they were made from.
        tracker: ``gallery_hybrid`` (association over time, names from looks at each track) or
            ``gallery_only`` (every detection by itself).
        classes: Class ids to track, None for all; others pass through unchanged.
        filter_gallery: Drop detections of tracked classes that got no identity.
        track_thresh: Score from which a detection may start a track.
        match_thresh: Highest association cost that still links; higher accepts more.
        track_buffer: Frames (at 30 per second) that a lost track is kept.
        frame_rate: Frames per second of the video; scales ``track_buffer``.
        per_class: Track each class on its own.
        max_obs: Observations kept per track.
        reid_weights: A weights file, a name, or ``builtin``; None for the gallery's own model.
        gallery: A gtrack gallery, or a tree of image folders; None to track without names.
        reid_frequency: Frames between two looks at a track.
        gallery_match_threshold: Largest cosine distance at which a name is given, in [0, 2].
        device: ``auto``, ``cpu``, ``cuda``, ``mps`` or a CUDA index.
        half: FP16 where the device has it.
        models_dir: Where names of weights are looked up first.
        save_json_flag: Save ``tracked.json``.
        save_frames: Save annotated frames.
        save_video: File name of the annotated video inside the run folder.
        out_dir: Root of run folders.
        run_name: Name of the run folder; the video's stem if None.
        display: Show a live window.
        save_fps: Frames per second of the saved video.
        fourcc: Codec of the saved video.
        class_names: Names by class id, for detections without one: a mapping, a list, or a file.
        no_progress: No progress bar.
        temporal: The BoxMOT tracker of ``gallery_hybrid``.
        temporal_options: Further arguments of that tracker's constructor.
        frame_range: First frame and the one after the last.
        lenient: Leave unusable detections out, counted, instead of refusing the file.
        runtime: ``auto``, or ``torch`` to run ``.pt`` weights in torch on a CPU too.
        threads: CPU threads of the ReID model.
        download: Allow known weights to be downloaded.
        enroll: Whom to put into the gallery when their track has ended: nobody (``off``), those without a
            name (``unknown``), or sure matches of named people as well (``all``). The gallery is made if it
            is absent, and nobody else may write to it meanwhile.
        source_id: The camera that enrolled tracks are of; the video's stem if None.
        grace_frames: Frames that a track may be out of sight before it has ended.
        notify: Takes one-line messages; they are dropped if None.

    Returns:
        The track-v1 payload, the artefacts' paths, figures, and who was seen when.

    Raises:
        GtrackError: Any leaf of the tree in `gallery_db.errors`.
        KeyboardInterrupt: Ctrl-C, after the artefacts of the frames done are complete.
    """
    options = RunOptions(
        tracker=tracker,
        classes=classes,
        filter_gallery=filter_gallery,
        temporal=TemporalOptions(
            name=temporal,
            track_thresh=track_thresh,
            match_thresh=match_thresh,
            track_buffer=track_buffer,
            frame_rate=frame_rate,
            max_obs=max_obs,
            per_class=per_class,
            extra=temporal_options or {},
        ),
        gallery=gallery,
        embedder=EmbedderOptions(
            weights=reid_weights,
            models_dir=models_dir,
            device=device,
            half=half,
            runtime=runtime,
            threads=threads,
            download=download,
        ),
        reid_frequency=reid_frequency,
        gallery_match_threshold=gallery_match_threshold,
        class_names=read_class_names(class_names),
        frame_range=frame_range,
        lenient=lenient,
        output=OutputOptions(
            json=save_json_flag,
            frames=save_frames,
            video=save_video,
            out_dir=Path(out_dir),
            run_name=run_name,
            fps=save_fps,
            fourcc=fourcc,
            display=display,
        ),
        enroll=enroll,
        source_id=source_id,
        grace_frames=grace_frames,
    )
    run = TrackingRun(dets_json, video, options, notify=notify)
    return run.execute_with_bars(enabled=not no_progress)
