"""The main job: a video and its detections (or a detector) in, named tracks out."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gallery_db import match_threshold
from gallery_db.address import location_of
from gallery_db.distribution import gtrack_version
from gallery_db.errors import GtrackError
from tracking.detection_run import check_range, read_ahead
from tracking.detections.feeds import DetectionFeed, DetectorFeed, IterableFeed, video_facts
from tracking.detections.reader import DetectionSource, FrameDetections, check_against_video, open_detections
from tracking.detectors.base import Detector, DetectorOptions
from tracking.detectors.loader import load_detector
from tracking.enrolment.run_enrolment import RunEnrolment
from tracking.errors import DetectionsError, OptionError, OutputError, VideoError
from tracking.identification.backfill import Backfill
from tracking.identification.gallery_source import EmbedderOptions, open_gallery_source
from tracking.identification.gallery_sync import GalleryNotices, GallerySync
from tracking.identification.identifier import TrackIdentifier
from tracking.identification.named_tracklets import NamedTracklet
from tracking.options import RunOptions
from tracking.outputs.explain_sheet import explanations, write_explanations
from tracking.outputs.result import Tally, TrackResult, frame_document
from tracking.outputs.run_outputs import RunOutputs
from tracking.progress import progress_bar
from tracking.trackers.temporal import TemporalTracker
from tracking.trackers.trackers import BestCrop, GalleryOnly, Hybrid, Tracker
from tracking.video.addresses import public_name, short_name
from tracking.video.live import LiveReader
from tracking.video.opening import open_video
from tracking.video.reader import FrameReader

if TYPE_CHECKING:
    from gallery_db import MatchThreshold, ViewChange
    from gallery_db.model import Embedder
    from tracking.identification.gallery_source import GallerySource

__all__ = ["DetectionInput", "TrackingRun"]

DetectionInput = str | Path | Mapping[str, Any] | DetectionSource | Detector | DetectorOptions | Iterable[Any]
"""What a run takes for detections; see `TrackingRun`."""

_Told = tuple[list[NamedTracklet], dict[tuple[int, int], str | None], Mapping[tuple[int, int], list[BestCrop]]]
_FALLBACK_FPS = 30.0
_REFRESH_EVERY = 25
"""Frames between two looks at whether the gallery has changed; a look costs one small SQL query."""
_REFRESH_SECONDS = 1.0
"""The same in seconds, for sources of few frames."""


class TrackingRun:
    """One run, step by step: check the options, open the inputs, load the models, track, finish.

    Nothing is shared between runs, so any number of them may follow one another in a process.

    Args:
        detections: det-v1 (a file, its parsed document, or a `DetectionSource`), a detector (a `Detector`, or the
            `DetectorOptions` of one), or an iterable as `IterableFeed` takes it.
        video: The video that the detections belong to; with a detector also a camera's index, or the address of a
            stream.
        options: How to run.
        notify: Takes one-line messages for the user.

    Raises:
        OptionError: See `RunOptions.validate`; or detections that cannot go with a live source.
    """

    def __init__(
        self,
        detections: DetectionInput,
        video: str | Path,
        options: RunOptions,
        *,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        options.validate()
        self._detections = detections
        self._source = video
        self._live = options.live.live(video)
        # What outputs and entries are named after; a live source has no path.
        self._video = Path(short_name(video) if self._live else video)
        self._check_inputs(options)
        self._options = options
        self._notify = notify or (lambda message: None)
        self._notices: GalleryNotices | None = None
        self.result: TrackResult | None = None
        """Set when the outputs are complete, also after an error or Ctrl-C on the way."""

    def _check_inputs(self, options: RunOptions) -> None:
        check_range(self._source, options.frame_range, options.live)
        if self._live and options.backfill and (options.output.video or options.output.frames):
            raise OptionError(
                f"--backfill draws pictures in a second pass, and {public_name(self._source)} cannot be read again.",
                hint="Save the JSON alone, or run without --backfill.",
            )
        if self._live and options.explain:
            raise OptionError(
                f"--explain cuts its pictures from the video afterwards, and {public_name(self._source)} cannot be "
                f"read again.",
                hint="Run it on a recording.",
            )
        detector = self._detections
        if isinstance(detector, DetectorOptions):
            detector.validate()
        elif not isinstance(detector, Detector):
            if self._live:
                raise OptionError(
                    f"{public_name(self._source)} is a live source: detections made before cannot belong to it.",
                    hint="Let the run detect, with --detect builtin or --detect WEIGHTS.",
                )
            if options.save_detections is not None:
                raise OptionError("--save-detections saves what a detector finds.", hint="Use it with --detect.")

    def execute(
        self,
        *,
        progress: Callable[[int, int | None], None] | None = None,
        ingest_progress: Callable[[int, int], None] | None = None,
        index_progress: Callable[[int, int], None] | None = None,
    ) -> TrackResult:
        """Do the run.

        An error or KeyboardInterrupt while frames are processed still completes the outputs for
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
            tally, complete = Tally(), False
            source, reader = self._open_inputs(stack)
            stack.callback(lambda: source.close(None if complete else _note(tally.frames, reader.frame_count)))
            warnings += check_against_video(
                source,
                width=reader.width,
                height=reader.height,
                frame_count=reader.frame_count,
                path=str(self._video),
                lenient=options.lenient,
            )
            selected = self._selected_classes(source)
            names = {**source.class_names, **options.class_names}
            enrolment: RunEnrolment | None = None
            if options.enroll != "off":
                enrolment = self._enrolment(source, reader, selected, names)
                outer.callback(enrolment.abort)
                people: GallerySource | None = enrolment.source
                self._notices = enrolment.notices
            else:
                people = self._people(stack, source, selected, names, ingest_progress)
            embedder = people.embedder if people else None
            threshold = enrolment.threshold if enrolment else self._match_threshold(people, source, selected, names)
            for words in threshold.words:
                self._notify(words)
            tracker, embedder = self._tracker(people, embedder, enrolment, threshold.value)
            outputs = RunOutputs(
                options.output,
                self._header(source, reader, people, embedder, threshold),
                self._video,
                width=reader.width,
                height=reader.height,
                fps=float(options.output.fps or reader.fps or source.video.get("fps") or _FALLBACK_FPS),
                labels=names,
            )
            stack.callback(outputs.close)
            started, started_cpu = time.perf_counter(), time.process_time()
            told: _Told | None = None
            try:
                follower = self._follower(people, enrolment, tracker)
                look = self._look_at_gallery(follower)
                try:
                    self._loop(
                        source,
                        reader,
                        tracker,
                        look,
                        selected,
                        names,
                        outputs,
                        tally,
                        progress,
                    )
                finally:
                    # Also after an error or Ctrl-C: what was written so far is complete only with its names.
                    if enrolment is not None and follower is not None:
                        enrolment.catch_up()
                        follower.refresh()
                    if (options.backfill or options.explain) and isinstance(tracker, Hybrid):
                        told = self._look_back(tracker, selected, names, outputs, tally, enrolment)
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
                    if told is not None and people is not None and outputs.paths.run_dir is not None:
                        try:
                            self._draw_explanations(told, people, outputs)
                        except GtrackError as error:
                            failure = failure or error
                    if failure is not None and not complete:
                        self._notify(f"warning: {failure}")
                    counts = enrolment.counts if enrolment else None
                    warnings += [f"{count} x {reason}" for reason, count in source.warnings.items()]
                    stats = tally.stats(seconds, cpu_seconds, warnings, counts)
                    if isinstance(reader, LiveReader):
                        stats |= {"dropped": reader.dropped, "reconnects": reader.reconnects}
                    # A live source's frames have times of their own, which no rate tells.
                    fps = None if self._live else reader.fps
                    self.result = TrackResult(
                        outputs.tracks, outputs.paths, stats, tally.summary(), warnings, fps, counts
                    )
        if self._notices is not None:
            self._notices.forward()
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

    def _open_inputs(self, stack: ExitStack) -> tuple[DetectionFeed, FrameReader]:
        """The detections and the frames; files are checked before a detector is loaded."""
        options, given = self._options, self._detections
        detector = given if isinstance(given, (Detector, DetectorOptions)) else None
        feed: DetectionFeed | None = None
        if isinstance(given, (str, Path, Mapping, DetectionSource)):
            feed = open_detections(given, lenient=options.lenient)
            if isinstance(note := feed.header.get("note"), str):
                self._notify(f"{feed.path or 'the detections'}: {note}.")
        elif detector is None:
            assert isinstance(given, Iterable)
            feed = IterableFeed(given, lenient=options.lenient)
        opened = open_video(self._source, options.live, notify=self._notify)
        stack.callback(opened.close)
        start, stop = options.frame_range
        if opened.frame_count is not None and (start or 0) >= opened.frame_count:
            raise VideoError(f"video {self._video} has {opened.frame_count} frames; --range starts at {start}.")
        if feed is not None or detector is None:
            assert feed is not None
            return feed, opened
        if isinstance(detector, DetectorOptions):
            detector = load_detector(detector, notify=self._notify)
        reader = read_ahead(opened, detector, stop)
        save = options.save_detections
        if save is not None and not save.parent.is_dir():
            raise OutputError(f"cannot write {save}: there is no folder {save.parent}.")
        return DetectorFeed(detector, reader, name=public_name(self._source), save=save), reader

    def _selected_classes(self, source: DetectionFeed) -> set[int] | None:
        classes = self._options.classes
        if classes is None:
            return None
        missing = sorted(set(classes) - set(source.class_ids))
        if missing and source.class_ids:
            self._notify(
                f"no detection has class {', '.join(map(str, missing))}; "
                f"there are {', '.join(map(str, source.class_ids))}."
            )
        return set(classes)

    def _people(
        self,
        stack: ExitStack,
        source: DetectionFeed,
        selected: set[int] | None,
        names: Mapping[int, str],
        progress: Callable[[int, int], None] | None,
    ) -> GallerySource | None:
        options = self._options
        if options.gallery is None:
            return None
        kinds = self._tracked_kinds(source, selected, names)
        class_name = next(iter(kinds)) if len(kinds) == 1 else "person"
        people = open_gallery_source(
            options.gallery,
            self._embedder_options(),
            class_name=class_name,
            search=options.search,
            notify=self._notify,
            progress=progress,
        )
        self._notices = GalleryNotices(people.gallery, self._notify, forwarded=len(people.gallery.notices))
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
    def _tracked_kinds(source: DetectionFeed, selected: set[int] | None, names: Mapping[int, str]) -> set[str]:
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
        self, source: DetectionFeed, reader: FrameReader, selected: set[int] | None, names: Mapping[int, str]
    ) -> RunEnrolment:
        options = self._options
        assert options.gallery is not None  # RunOptions.validate
        kinds = self._tracked_kinds(source, selected, names)
        return RunEnrolment(
            location_of(options.gallery),
            self._embedder_options(),
            mode=options.enroll,
            source_id=self._source_id,
            video=self._video,
            stream=public_name(self._source) if self._live else None,
            frame_range=options.frame_range,
            fps=reader.fps,
            classes=None if selected is None else kinds or {"person"},
            threshold=options.gallery_match_threshold,
            kinds=kinds,
            grace_frames=options.grace_frames,
            notify=self._notify,
            search=options.search,
            judge_again=options.backfill,
        )

    @property
    def _source_id(self) -> str:
        return self._options.source_id or self._video.stem

    def _embedder_options(self) -> EmbedderOptions:
        options = self._options
        if (
            options.embedder.threads is None
            and options.tracker == "gallery_hybrid"
            and not options.temporal.takes_embeddings
        ):
            # Crops come by ones and twos here: a second thread would cost CPU time and win nothing.
            return replace(options.embedder, threads=1)
        return options.embedder

    def _match_threshold(
        self,
        people: GallerySource | None,
        source: DetectionFeed,
        selected: set[int] | None,
        names: Mapping[int, str],
    ) -> MatchThreshold:
        given = self._options.gallery_match_threshold
        if people is None:
            return match_threshold(None, given)
        return match_threshold(people.gallery, given, self._tracked_kinds(source, selected, names))

    def _tracker(
        self,
        people: GallerySource | None,
        embedder: Embedder | None,
        enrolment: RunEnrolment | None,
        threshold: float,
    ) -> tuple[Tracker, Embedder | None]:
        options = self._options
        if options.tracker == "gallery_only":
            assert people is not None  # RunOptions.validate
            return GalleryOnly(people.embedder, people.view, threshold=threshold), embedder
        if embedder is None and options.temporal.takes_embeddings:
            embedder = self._embedder_options().load(None, self._notify)
        elif embedder is None and options.embedder.weights is not None:
            self._notify(
                f"--reid-weights has no use without a gallery: {options.temporal.name} does not look at crops."
            )
        temporal = TemporalTracker(options.temporal, have_embeddings=embedder is not None)
        identities = None
        if people is not None:
            identities = TrackIdentifier(
                people.view,
                threshold=threshold,
                every=options.reid_frequency,
                keep_tracklets=options.backfill or options.explain,
                explain=options.explain,
            )
        enroller = enrolment.enroller if enrolment else None
        return Hybrid(temporal, embedder, identities, enroller, explain=options.explain), embedder

    def _loop(
        self,
        source: DetectionFeed,
        reader: FrameReader,
        tracker: Tracker,
        look: Callable[[], None] | None,
        selected: set[int] | None,
        names: Mapping[int, str],
        outputs: RunOutputs,
        tally: Tally,
        progress: Callable[[int, int | None], None] | None,
    ) -> None:
        options = self._options
        temporal = options.tracker == "gallery_hybrid"
        start, stop = options.frame_range
        start = start or 0
        next_look = 0.0
        last = reader.frame_count if stop is None else min(stop, reader.frame_count or stop)
        total = None if last is None else max(0, last - start)
        while (stop is None or reader.frame + 1 < stop) and reader.advance():
            frame = reader.frame
            if frame < start:
                continue
            if look is not None and (frame % _REFRESH_EVERY == 0 or time.monotonic() >= next_look):
                look()
                next_look = time.monotonic() + _REFRESH_SECONDS
            detections = source.at(frame)
            rows = np.arange(len(detections))
            if selected is not None:
                rows = np.flatnonzero(np.isin(detections.class_ids, list(selected)))
                detections = _take(detections, rows)
            kinds = [
                own or names.get(int(c)) for own, c in zip(detections.class_names, detections.class_ids, strict=True)
            ]
            tracks = tracker.update(frame, detections, kinds, reader)
            # With hindsight, who is unnamed is known only in the end.
            drop = options.filter_gallery and not options.backfill
            document = frame_document(frame, source.raw(frame), rows, tracks, drop_unnamed=drop)
            draws = outputs.displays if options.backfill else outputs.draws
            go_on = outputs.write(document, reader.image() if draws else None, later=options.backfill)
            tally.add(frame, len(detections), tracks, temporal=temporal)
            if progress:
                progress(tally.frames, total)
            if not go_on:
                break

    def _look_back(
        self,
        tracker: Hybrid,
        selected: set[int] | None,
        class_names: Mapping[int, str],
        outputs: RunOutputs,
        tally: Tally,
        enrolment: RunEnrolment | None,
    ) -> _Told | None:
        """What can be said only now: who the tracks are in the end, and why."""
        ran = tracker.tracklets()
        settled = ran
        if self._options.backfill and enrolment is not None:
            settled = enrolment.relink(ran)
        told = None
        if self._options.explain:
            final = _final_names(ran, settled)
            outputs.tracks.more["explanations"] = explanations(ran, final)
            told = ran, final, tracker.best_crops or {}
        if self._options.backfill:
            self._backfill(Backfill(settled, class_names), selected, outputs, tally)
        return told

    def _draw_explanations(self, told: _Told, people: GallerySource, outputs: RunOutputs) -> None:
        ran, final, best_crops = told
        assert outputs.paths.run_dir is not None
        path = outputs.paths.run_dir / "explain.jpg"
        gallery = people.gallery
        drawn = write_explanations(path, ran, final, best_crops, self._video, gallery.location, gallery.collection)
        outputs.paths = replace(outputs.paths, explain_path=drawn)

    def _backfill(self, hindsight: Backfill, selected: set[int] | None, outputs: RunOutputs, tally: Tally) -> None:
        """The second pass: correct the names of the frames done, and draw them."""

        def mend(document: dict[str, Any]) -> None:
            tally.backfilled += hindsight.correct(document)
            if self._options.filter_gallery:
                document["detections"] = [
                    d
                    for d in document["detections"]
                    if "gallery_id" in d or not (selected is None or d.get("class_id") in selected)
                ]

        outputs.tracks.rewrite(mend)
        tally.recount(outputs.tracks.documents(), temporal=True)
        if outputs.saves_images:
            with open_video(self._source, self._options.live) as reader:
                for document in outputs.tracks.documents():
                    while reader.frame < document["frame"] and reader.advance():
                        pass
                    outputs.redraw(document, reader.image())

    def _follower(
        self, people: GallerySource | None, enrolment: RunEnrolment | None, tracker: Tracker
    ) -> GallerySync | None:
        """Lets the tracker, and whoever enrols, know what others change in the gallery; None where nobody can."""
        if people is None or (enrolment is not None and not enrolment.is_shared):
            return None

        def changed(before: Sequence[str], change: ViewChange) -> None:
            if enrolment is not None:
                enrolment.enroller.gallery_changed(change)
            if change.reset:
                tracker.gallery_changed(before, change.renamed)

        return GallerySync(people.view, changed, self._notify)

    def _look_at_gallery(self, follower: GallerySync | None) -> Callable[[], None] | None:
        """What is to be done every `_REFRESH_EVERY` frames."""
        notices = self._notices
        if notices is None:
            return None

        def look() -> None:
            if follower is not None:
                follower.refresh_if_due()
            notices.forward()

        return look

    def _check_end(self, source: DetectionFeed, reader: FrameReader) -> list[str]:
        """Whether the video held every frame that the detections speak of."""
        start, stop = self._options.frame_range
        missing = source.beyond(reader.frame)
        # A stop by range or by the user leaves later frames unread; the video's own end does not.
        if stop is not None:
            missing = missing[missing < stop]
        if not missing.size or reader.advance():
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
        self,
        source: DetectionFeed,
        reader: FrameReader,
        people: GallerySource | None,
        embedder: Embedder | None,
        threshold: MatchThreshold,
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
        config["gallery_match_threshold"] = threshold.value
        config["device"] = str(getattr(embedder, "device", "cpu"))
        config["half"] = bool(getattr(embedder, "half", options.embedder.half))
        # What the predecessor did not know goes behind its keys.
        if options.tracker == "gallery_hybrid":
            config["temporal"] = temporal.name
            config["temporal_options"] = dict(temporal.extra)
        config["gallery_match_threshold_from"] = threshold.origin
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
        if options.backfill:
            config["backfill"] = True
        # `video` of the header is the detections' own account, which may name another file.
        config["video"] = public_name(self._source)
        config["video_fps"] = None if self._live else reader.fps
        config["gtrack_version"] = gtrack_version()
        if options.search != "auto":
            config["search"] = options.search
        if options.enroll != "off":
            config["enroll"] = options.enroll
            config["source_id"] = self._source_id
            config["grace_frames"] = options.grace_frames
        header = source.header
        return {
            "schema_version": "track-v1",
            "parent_schema_version": header.get("schema_version", "det-v1"),
            "video": header.get("video") or video_facts(public_name(self._source), reader),
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


def _note(done: int, total: int | None) -> str:
    return f"stopped before the end: {done}{'' if total is None else f' of {total}'} frames were done"


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


def _final_names(ran: Sequence[NamedTracklet], settled: Sequence[NamedTracklet]) -> dict[tuple[int, int], str | None]:
    """What each tracklet, by track and first frame, is called for most of its frames in the end."""
    parts: dict[int, list[NamedTracklet]] = defaultdict(list)
    for part in settled:
        parts[part.track_id].append(part)
    final: dict[tuple[int, int], str | None] = {}
    for tracklet in ran:
        frames: dict[str | None, int] = defaultdict(int)
        for part in parts[tracklet.track_id]:
            name = None if part.named is None else part.named.identity
            frames[name] += max(0, min(part.last, tracklet.last) - max(part.first, tracklet.first) + 1)
        best = max(frames.items(), key=lambda item: item[1], default=(None, 0))
        final[tracklet.track_id, tracklet.first] = best[0]
    return final
