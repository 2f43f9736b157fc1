"""A tracking run: from a video and its detections (or a detector) to named tracks."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gallery_db.errors import GtrackError
from gallery_db.logs import get_logger
from tracking.detections.detector_feed import DetectorFeed
from tracking.detections.source import DetectionSource
from tracking.detections.video_check import check_against_video
from tracking.enrolment.base import is_unknown
from tracking.frame_times import FrameTimes
from tracking.outputs.result import Tally, TrackResult, frame_document
from tracking.outputs.run_folder import new_run_folder
from tracking.outputs.run_outputs import RunOutputs
from tracking.progress import progress_bar
from tracking.reid.base import NetworkEmbedder
from tracking.run.detector_scores import level_of_feed, note_thresholds
from tracking.run.final_names import ExplainedTracklets, draw_explanations, finish_names
from tracking.run.gallery import GalleryWatch, RunGallery, open_gallery
from tracking.run.header import track_header
from tracking.run.inputs import DetectedFrame, DetectionInput, RunInputs, check_inputs, open_sources, select_classes
from tracking.trackers.gallery_only import GalleryOnly
from tracking.trackers.hybrid import Hybrid
from tracking.trackers.registry import TrackerParts, build_tracker
from tracking.video.addresses import short_name
from tracking.video.ahead import AheadReader
from tracking.video.live import LiveReader

if TYPE_CHECKING:
    from gallery_db.model import Embedder
    from tracking.options import RunOptions
    from tracking.trackers.base import Tracker

__all__ = ["DetectionInput", "TrackingRun"]

FrameProgress = Callable[[int, int | None], None]
CountProgress = Callable[[int, int], None]
OnFrame = Callable[[Mapping[str, Any]], None]

_log = get_logger("run")


class TrackingRun:
    """One run: check the options, open the inputs, load the models, open the gallery, track, finish.

    Nothing is shared between runs, so that any number of them may follow one another in a process.

    Args:
        detections: det-v1 (a file, its parsed document, or a `DetectionSource`), a detector (a `Detector`, or the
            `DetectorOptions` of one), or an iterable as `IterableFeed` takes it.
        video: The video that the detections belong to; with a detector also a camera's index, or the address of a
            stream.
        options: How to run.
        notify: Takes one-line messages for the user.

    Raises:
        OptionError: See `RunOptions.validate`; or detections that cannot belong to a live source.
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
        options = options.resolved(video)
        check_inputs(detections, video, options)
        self._detections = detections
        self._source = video
        self._options = options
        self._notify = notify or (lambda message: None)
        self.result: TrackResult | None = None
        """Set when the outputs are complete, also after an error or Ctrl-C on the way."""

    def execute(
        self,
        *,
        progress: FrameProgress | None = None,
        ingest_progress: CountProgress | None = None,
        on_frame: OnFrame | None = None,
    ) -> TrackResult:
        """Do the run.

        An error or KeyboardInterrupt while frames are processed still completes the outputs for
        the frames done, enrols the tracks so far, sets `result`, and is then raised. So is an error of
        the enrolment itself.

        Args:
            progress: Called with (frames done, total or None).
            ingest_progress: Called with (images done, total) if a tree of image folders must be ingested.
            on_frame: Called with each frame of track-v1 when it is done, with the names that are known by then.

        Raises:
            GtrackError: Any leaf of the tree; the inputs are checked before models are loaded.
        """
        state = _RunState()
        # `stack` completes the outputs, closes the gallery and the inputs, and only then (its first callback) finishes
        # the run: every output is complete, also after an error or Ctrl-C, before a track is enrolled.
        with ExitStack() as last, ExitStack() as stack:
            stack.callback(lambda: self._finish(state, progress))
            inputs = self._open_inputs(state, stack)
            run_dir = None
            if self._options.output.saves:
                # To the very end, after the explanations; and before models are loaded for a run that must not write.
                run_dir = last.enter_context(new_run_folder(self._options.output.run_dir(inputs.video), self._notify))
            gallery = open_gallery(
                self._options, inputs, stack=stack, last=last, notify=self._notify, progress=ingest_progress
            )
            for message in gallery.threshold.messages:
                self._notify(message)
            embedder = gallery.embedder or self._load_association_model()
            if isinstance(embedder, NetworkEmbedder):
                last.callback(embedder.close)
            tracker = self._build_tracker(inputs, gallery, embedder)
            outputs = self._open_outputs(inputs, gallery, embedder, run_dir)
            stack.callback(outputs.close)
            watch = GalleryWatch(gallery, tracker, self._notify)
            state.tracking = _Tracking(inputs, gallery, outputs)
            _log.info("tracking %s with %s, threshold %s", inputs.video, self._options.tracker, gallery.threshold.value)
            try:
                self._track_frames(inputs, tracker, watch, outputs, state.tally, progress, on_frame)
            finally:
                # Also after an error or Ctrl-C: the frames done are complete only with their final names.
                watch.catch_up()
                if (self._options.backfill or self._options.explain) and isinstance(tracker, Hybrid):
                    state.explained = finish_names(self._options, inputs, tracker, gallery, outputs, state.tally)
            state.warnings += inputs.check_end(lenient=self._options.lenient)
            state.complete = True
        return self._report(state)

    def execute_with_bars(self, *, enabled: bool = True, on_frame: OnFrame | None = None) -> TrackResult:
        """Do the run with progress bars on stderr, where that is a terminal; see `execute`."""
        with (
            progress_bar("ingesting the gallery", "images", enabled=enabled) as ingesting,
            progress_bar("tracking", "frames", enabled=enabled) as tracking,
        ):
            return self.execute(progress=tracking, ingest_progress=ingesting, on_frame=on_frame)

    def _open_inputs(self, state: _RunState, stack: ExitStack) -> RunInputs:
        options = self._options
        is_live = options.live.live(self._source)
        # Outputs and entries are named after it; a live source has no path.
        video = Path(short_name(self._source) if is_live else self._source)
        feed, reader = open_sources(self._detections, self._source, options, stack=stack, notify=self._notify)
        stack.callback(lambda: feed.close(state.early_end(reader.frame_count)))
        state.warnings += check_against_video(
            feed,
            width=reader.width,
            height=reader.height,
            frame_count=reader.frame_count,
            path=str(video),
            lenient=options.lenient,
        )
        selected = select_classes(feed, options, self._notify)
        level = level_of_feed(feed, selected) if options.needs_score_level else None
        note_thresholds(options, level, self._notify)
        return RunInputs(
            source=self._source,
            video=video,
            is_live=is_live,
            feed=feed,
            reader=reader,
            frame_range=options.frame_range,
            selected=selected,
            class_names={**feed.class_names, **options.class_names},
            level=level,
        )

    def _load_association_model(self) -> Embedder | None:
        """Load the ReID model of a run without a gallery, where the temporal tracker makes use of it."""
        options = self._options
        if options.temporal.takes_embeddings:
            return options.embedder.load(None, self._notify)
        if options.embedder.weights is not None:
            self._notify(
                f"`reid_weights` has no use without a gallery: {options.temporal.name} does not use embeddings."
            )
        return None

    def _build_tracker(self, inputs: RunInputs, gallery: RunGallery, embedder: Embedder | None) -> Tracker:
        options = self._options
        parts = TrackerParts(
            temporal=options.temporal.for_video(inputs.frame_rate),
            embedder=embedder,
            view=gallery.view,
            threshold=gallery.threshold.value,
            reid_frequency=options.reid_frequency,
            keep_tracklets=bool(options.backfill) or options.explain,
            explain=options.explain,
            enroller=None if gallery.enrolment is None else gallery.enrolment.enroller,
            camera=options.source_id_for(inputs.video),
            level=None if inputs.level is None else inputs.level.value,
        )
        return build_tracker(options.tracker, parts)

    def _open_outputs(
        self, inputs: RunInputs, gallery: RunGallery, embedder: Embedder | None, run_dir: Path | None
    ) -> RunOutputs:
        options = self._options
        return RunOutputs(
            options.output,
            run_dir,
            track_header(options, inputs, gallery, embedder),
            inputs.video,
            width=inputs.reader.width,
            height=inputs.reader.height,
            fps=inputs.frame_rate,
            class_names=inputs.class_names,
            deferred=bool(options.backfill),
        )

    def _track_frames(
        self,
        inputs: RunInputs,
        tracker: Tracker,
        watch: GalleryWatch,
        outputs: RunOutputs,
        tally: Tally,
        progress: FrameProgress | None,
        on_frame: OnFrame | None,
    ) -> None:
        options = self._options
        has_tracks = options.tracker == "gallery_hybrid"
        # With backfill, the unnamed detections are known only after the last frame.
        drop_unnamed = options.filter_gallery and not options.backfill
        total = inputs.total
        with closing(self._detected_frames(inputs, tracker)) as frames:
            for item in frames:
                watch.check(item.number)
                names = inputs.class_names_of(item.detections)
                tracks = tracker.update(item.number, item.detections, names, item.pixels)
                document = frame_document(
                    item.number, item.raw, item.rows, tracks, drop_unnamed=drop_unnamed, time=item.time
                )
                if on_frame:
                    on_frame(document)
                goes_on = outputs.write(document, item.pixels.image() if outputs.needs_image else None)
                tally.add(item.number, len(item.detections), tracks, temporal=has_tracks)
                if progress:
                    progress(tally.frames, total)
                if not goes_on:
                    break

    def _detected_frames(self, inputs: RunInputs, tracker: Tracker) -> Generator[DetectedFrame, None, None]:
        """Return the frames; `gallery_only` embeds several of them together where nothing has to wait for the run."""
        can_wait = isinstance(inputs.reader, AheadReader) and isinstance(inputs.feed, (DetectionSource, DetectorFeed))
        # Saved detections end, after Ctrl-C, with the frame that was tracked last.
        if isinstance(tracker, GalleryOnly) and can_wait and self._options.save_detections is None:
            return tracker.embed_ahead(inputs.detected_frames())
        return inputs.detected_frames()

    def _finish(self, state: _RunState, progress: FrameProgress | None) -> None:
        """Enrol the tracks, draw the explanations and set `result`; nothing where no frame could be tracked."""
        tracking = state.tracking
        if tracking is None:
            return
        inputs, gallery, outputs = tracking.inputs, tracking.gallery, tracking.outputs
        seconds, cpu_seconds = time.perf_counter() - tracking.started, time.process_time() - tracking.started_cpu
        enrolment = gallery.enrolment
        if enrolment is not None:
            if progress and state.complete:
                # One bar makes room for the next, also where the video ended early.
                progress(state.tally.frames, state.tally.frames)
            state.failure = enrolment.finish(complete=state.complete)
            if not self._options.backfill:
                self._forget_names(state.tally, gallery)
        if (
            state.explained is not None
            and gallery.source is not None
            and outputs.paths.run_dir is not None
            and self._options.output.blur is None  # the picture has the same people
        ):
            try:
                draw_explanations(state.explained, gallery.source, inputs.video, outputs)
            except GtrackError as error:
                state.failure = state.failure or error
        if state.failure is not None and not state.complete:
            self._notify(f"warning: {state.failure}")
        counts = enrolment.counts if enrolment else None
        _log.info("%d frames tracked in %.1f s, %d tracks", state.tally.frames, seconds, len(state.tally.tracks))
        state.warnings += [f"{count} x {reason}" for reason, count in inputs.feed.warnings.items()]
        stats = state.tally.stats(seconds, cpu_seconds, state.warnings, counts)
        if isinstance(inputs.reader, LiveReader):
            stats |= {"dropped": inputs.reader.dropped, "reconnects": inputs.reader.reconnects}
        times = FrameTimes(None) if inputs.is_live else inputs.times
        self.result = TrackResult(
            outputs.tracks, outputs.paths, stats, state.tally.sightings(), state.warnings, times, counts
        )

    def _forget_names(self, tally: Tally, gallery: RunGallery) -> None:
        """Leave out the ids of unknown people that were given during the run, and are not in the gallery after it."""
        assert gallery.view is not None
        lasting = set(gallery.view.identities)
        lost = [name for name in tally.names if is_unknown(name) and name not in lasting]
        tally.forget(lost)
        if lost:
            self._notify(
                f"{len(lost)} ids that unknown people had during the run did not last: their tracks were too short, "
                "too poor, or like an identity that the gallery has."
            )

    def _report(self, state: _RunState) -> TrackResult:
        """Pass notices and warnings on to the user; return the result, or raise the enrolment's error."""
        assert state.tracking is not None
        assert self.result is not None
        if state.tracking.gallery.notices is not None:
            state.tracking.gallery.notices.forward()
        for warning in state.warnings:
            self._notify(f"warning: {warning}")
        if state.failure is not None:
            raise state.failure
        return self.result


@dataclass(slots=True)
class _Tracking:
    """What is open while frames are tracked, and since when."""

    inputs: RunInputs
    gallery: RunGallery
    outputs: RunOutputs
    started: float = field(default_factory=time.perf_counter)
    started_cpu: float = field(default_factory=time.process_time)


@dataclass(slots=True)
class _RunState:
    """What one execution has counted and found so far.

    Attributes:
        tally: The counts.
        warnings: What was left out or corrected.
        tracking: Set as soon as frames can be tracked.
        explained: Set after the last frame of a run that is explained.
        complete: Whether the run came to its end without an error.
        failure: The error of the enrolment or of the explanations.
    """

    tally: Tally = field(default_factory=Tally)
    warnings: list[str] = field(default_factory=list)
    tracking: _Tracking | None = None
    explained: ExplainedTracklets | None = None
    complete: bool = False
    failure: GtrackError | None = None

    def early_end(self, total: int | None) -> str | None:
        """Return the note of an incomplete run in the files that it completed; None for a complete one."""
        if self.complete:
            return None
        of_total = "" if total is None else f" of {total}"
        return f"stopped before the end: {self.tally.frames}{of_total} frames were done"
