"""Names and enrolment for pipelines that bring their own tracker and embeddings: several cameras, one gallery."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, get_args

from gallery_db import Gallery, is_gallery
from gallery_db.address import location_of
from gallery_db.errors import GalleryError, GtrackError
from gallery_db.suggestions import did_you_mean
from tracking.enrolment.base import EnrolmentCounts, EnrolmentSettings, EnrolMode
from tracking.enrolment.camera_tracks import CameraTracks
from tracking.enrolment.enroller import Enroller
from tracking.enrolment.enrolment_gallery import EnrolmentGallery, EnrolmentGalleryOptions, check_enrolment_gallery
from tracking.enrolment.shared_gallery import SharedGallery
from tracking.enrolment.track_observation import ObservedFrame, TrackObservation, check_frame, check_time
from tracking.errors import ObservationError, OptionError
from tracking.frame_times import FrameTimes
from tracking.identification.camera_map import CameraMap
from tracking.identification.gallery_sync import GallerySync
from tracking.identification.identifier import TrackIdentifier
from tracking.identification.sightings import CameraSightings, Sightings
from tracking.identification.track_evidence import Status

if TYPE_CHECKING:
    from gallery_db.analysis.thresholds import MatchThreshold
    from gallery_db.model import EmbeddingModel
    from gallery_db.search.nearest import Search
    from gallery_db.search.refresh import ViewChange

__all__ = ["TrackEnroller", "TrackName"]

_SYNC_SECONDS = 1.0
"""Seconds between two checks for changes of the gallery; a check costs one small SQL query."""


@dataclass(frozen=True, slots=True)
class TrackName:
    """The identity of a track, as far as it is decided now.

    Attributes:
        track_id: The track.
        identity: The name to show: of the gallery, or the one that an unknown identity will be enrolled under; None for
            no name.
        status: ``"known"``, ``"unknown"`` (not in the gallery) or ``"undecided"``.
        distance: Cosine distance of the evidence to that identity, in [0, 2]; None without one, and for an unknown
            identity that is not in the gallery yet.
    """

    track_id: int
    identity: str | None
    status: Status
    distance: float | None


class TrackEnroller:
    """Names tracks from a gallery and enrols them into it, for pipelines that bring their own tracker and embeddings.

    It does what `gtrack run` does behind its tracker: evidence over a track's life, no name twice in a frame of a
    camera, an entry for each track that ends, lasting ids for unknown identities. Its sources (cameras) share one
    view of the gallery: a person enrolled from one source is known on the others from then on, and may be in sight of
    several at once.

    ::

        with TrackEnroller("gallery", model=embedding_model("osnet_x0_25_msmt17.onnx")) as enroller:
            for frame, tracks in my_pipeline:
                observations = [TrackObservation(t.id, t.embedding, box=t.box, score=t.score) for t in tracks]
                for name in enroller.observe("door", frame, observations, frame_size=(1920, 1080)):
                    ...

    Any thread may call any method at any time; calls wait for one another. No call waits for a disk or a network: a
    thread of its own writes, and up to 256 entries wait for it. Errors of writing are raised by `close`.

    Leaving the block, by an error or Ctrl-C too, ends all tracks and stores them. An entry is safe within a second
    after its track has ended.

    Args:
        gallery: A gtrack gallery's folder, or the address of a served one. To enrol, it is made where it is absent, and
            locked: no other process writes to the folder meanwhile (any number to a served one).
        model: The model of the embeddings; see `embedding_model`. None for the gallery's own model.
        enroll: Which tracks become entries: those of ``"unknown"`` people, ``"all"`` (sure matches of named people,
            too), or none (``"off"``). With ``"off"``, others may write to the gallery, and their corrections are taken
            over; those of a served gallery are in any case.
        session: Name of this run of the pipeline. A later run of the same name replaces what this one enrolled, and is
            not named from it: for recordings that are processed again. None for a run of its own each time.
        gallery_match_threshold: Largest cosine distance at which a name is given, in [0, 2]; None for the gallery's
            own, else 0.25.
        classes: Names of the classes that will come, for the gallery's own threshold; empty for all.
        grace_frames: Frames that a track may be out of sight before it has ended.
        every: Frames between two observations of a track, on average: of the embeddings given, those are used that add
            most. 1 uses all.
        fps: Frames per second of the sources, for the times in the entries.
        cameras: Which sources cannot see a person at the same time, and how long a person takes from one to another: a
            `CameraMap`, or the path of a file ``cameras.yaml``. A name that another source's track has is not given
            where its bearer cannot be; the frames need a `time`. None where nothing is known.
        search: How the gallery is searched; see `gallery_db.Gallery.view`.
        new_collection: Start a further collection where the gallery has none of that model, rather than refuse.
        notify: Receives one-line messages.

    Raises:
        OptionError: An option is out of range, the gallery is a tree of image folders, or there is no gallery and no
            model to make one for.
        CamerasError: The file of cameras cannot be used.
        ModelMismatchError: The gallery belongs to another model.
        GalleryLockedError: Another process is writing to the gallery.
        GalleryError: As of `gallery_db.Gallery.open`.
    """

    def __init__(
        self,
        gallery: str | Path,
        *,
        model: EmbeddingModel | None = None,
        enroll: EnrolMode = "unknown",
        session: str | None = None,
        gallery_match_threshold: float | None = None,
        classes: Collection[str] = (),
        grace_frames: int = 30,
        every: int = 10,
        fps: float | None = None,
        cameras: CameraMap | str | Path | None = None,
        search: Search = "auto",
        new_collection: bool = False,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        _check_options(enroll, session, gallery_match_threshold, grace_frames, every, fps)
        if isinstance(cameras, (str, Path)):
            cameras = CameraMap.read(cameras)
        self._sightings = None if cameras is None else Sightings(cameras)
        self._warned: set[str] = set()
        self._mode = enroll
        self._grace_frames = grace_frames
        self._every = every
        self._fps = fps
        self._notify = notify or (lambda message: None)
        self._lock = threading.RLock()
        self._cameras: dict[str, _Camera] = {}
        self._num_starts: dict[str, int] = {}
        self._ended_counts = EnrolmentCounts()
        self._last_sync = time.monotonic()
        self._is_closed = False
        self._run_id = secrets.token_hex(6)
        self._shared = SharedGallery()
        location = location_of(gallery)
        opened = _open_gallery(location, model, enroll, new_collection)
        key = hashlib.sha256(f"{session or self._run_id} {opened.model.sha256}".encode()).hexdigest()[:12]
        self._run_key = f"track-{key}"
        self._gallery = EnrolmentGallery(
            opened,
            EnrolmentGalleryOptions(
                None if enroll == "off" else self._run_key,
                operation="enrol tracks of a pipeline" + (f", session {session}" if session else ""),
                match_threshold=gallery_match_threshold,
                matched_classes=classes,
                search=search,
            ),
            self._notify,
        )
        self._sync = GallerySync(self._gallery.view, self._gallery_changed, self._notify)
        try:
            for line in self.threshold.messages:
                self._notify(line)
            if enroll == "off" and not len(self._gallery.view):
                self._notify(f"warning: the gallery {location} is empty: no track can be named.")
            self._gallery.notices.forward()
        except BaseException:
            self._gallery.close()
            raise

    # -- properties ------------------------------------------------------------------------------------------

    @property
    def model(self) -> EmbeddingModel:
        """The model of the embeddings."""
        return self._gallery.gallery.model

    @property
    def threshold(self) -> MatchThreshold:
        """The distance up to which names are given, and where it comes from."""
        return self._gallery.threshold

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that have been observed and have not ended."""
        with self._lock:
            return tuple(self._cameras)

    @property
    def counts(self) -> EnrolmentCounts:
        """Results of the tracks of all sources that have ended so far."""
        with self._lock:
            running = [camera.enroller.counts for camera in self._cameras.values() if camera.enroller is not None]
            return _sum([self._ended_counts, *running])

    # -- observations ----------------------------------------------------------------------------------------

    def observe(
        self,
        source: str,
        frame: int,
        observations: Iterable[TrackObservation],
        *,
        frame_size: tuple[int, int] | None = None,
        time: float | None = None,
    ) -> list[TrackName | None]:
        """Take one frame of a source, and return the names of its tracks.

        To be called once for each frame of a source, in order; frames may be missing. Call it for frames without tracks
        too, or tracks end only with a later frame. The frames of other sources may come in between.

        Args:
            source: The camera's name.
            frame: Number of the frame, counted by each source for itself.
            observations: All boxes of the frame. Tracks without an embedding are merely noted as seen.
            frame_size: Width and height of the frame in pixels, to which the boxes refer; None where unknown.
            time: Seconds at which the frame was taken, on one clock for all sources, such as `time.time()`. It is used
                with `cameras`; None where unknown: then the frame is not compared with other sources.

        Returns:
            A name for each observation, in order; None for those without a track.

        Raises:
            ObservationError: An embedding of another length, not finite or zero, a box without area, a frame that is
                not later than the one before, a track twice, a time that is not a number, and the like. Nothing of the
                frame is used then, unless the fault is in a crop that a function returned, which is asked for last.
            GalleryError: The enroller is closed.
        """
        with self._lock:
            self._check_open()
            frame, size = check_frame(source, frame, frame_size)
            time = check_time(source, frame, time)
            last = self._cameras[source].last_frame if source in self._cameras else -1
            if frame <= last:
                raise ObservationError(
                    f"source {source}: frame {frame} came after frame {last}; expected a later frame, each once.",
                    hint="Where a source starts again, call `end(source)` first.",
                )
            observed = ObservedFrame.check(source, frame, list(observations), size, self.model)
            self._synchronise()
            camera = self._cameras.get(source)
            if camera is None:
                camera = self._cameras[source] = self._start_camera(source)
            camera.last_frame = frame
            if camera.sightings is not None:
                camera.sightings.begin_frame(time)
                if time is None:
                    self._warn(source, "has frames without `time`: those are not compared with other sources.")
            names: list[TrackName | None] = [None] * observed.num_boxes
            for row, name in zip(observed.rows, camera.observe(observed, use_all=self._every == 1), strict=True):
                names[row] = name
            return names

    def end(self, source: str) -> None:
        """End a source's stream, and so its tracks. If the source comes again, its frame numbers may begin again.

        Raises:
            GalleryError: The enroller is closed.
        """
        with self._lock:
            self._check_open()
            self._end_camera(source)

    def _end_camera(self, source: str) -> None:
        camera = self._cameras.pop(source, None)
        if camera is not None and camera.enroller is not None:
            self._ended_counts = _sum([self._ended_counts, camera.enroller.finish()])

    def _start_camera(self, source: str) -> _Camera:
        sightings = None if self._sightings is None else self._sightings.of_camera(source)
        if self._sightings is not None and source not in (known := self._sightings.cameras.cameras):
            hint = did_you_mean(source, known)
            self._warn(source, f"is not in `cameras`: it is not compared with others.{f' {hint}' if hint else ''}")
            sightings = None
        identifier = TrackIdentifier(
            self._gallery.view,
            threshold=self.threshold.value,
            every=self._every,
            camera=source,
            sightings=sightings,
        )
        enroller = None
        if self._gallery.is_writable:
            start = self._num_starts[source] = self._num_starts.get(source, -1) + 1
            settings = EnrolmentSettings(
                source_id=source,
                run_key=f"{self._run_key}{hashlib.sha256(f'{source} {start}'.encode()).hexdigest()[:8]}-",
                mode=self._mode,
                threshold=self.threshold.value,
                grace_frames=self._grace_frames,
                source=source,
                times=FrameTimes(self._fps),
                run_id=self._run_id,
            )
            enroller = self._gallery.enroller(settings, shared=self._shared, sightings=sightings)
        return _Camera(CameraTracks(identifier, enroller), enroller, sightings)

    def _warn(self, source: str, message: str) -> None:
        """Give a source's first warning."""
        if source not in self._warned:
            self._warned.add(source)
            self._notify(f"warning: source {source} {message}")

    # -- the gallery -----------------------------------------------------------------------------------------

    def _synchronise(self) -> None:
        """Take over what others have changed in the gallery, and forward its notices."""
        now = time.monotonic()
        if now - self._last_sync < _SYNC_SECONDS:
            return
        self._last_sync = now
        self._gallery.notices.forward()
        if not self._gallery.is_writable or self._gallery.is_shared:  # else no other process writes to the folder
            self._sync.refresh_if_due()

    def _gallery_changed(self, before: Sequence[str], change: ViewChange) -> None:
        if self._sightings is not None:
            for old, new in change.renamed.items():
                self._sightings.rename(old, new)
        for camera in self._cameras.values():
            if camera.enroller is not None:
                camera.enroller.gallery_changed(change)
            if change.reset:
                camera.tracks.gallery_changed(before, change.renamed)

    def close(self, *, complete: bool = True) -> EnrolmentCounts:
        """End all tracks, store what is to be stored, and close the gallery. Closing twice is allowed.

        Args:
            complete: Whether the pipeline came to its end. If not, a server is not waited for, and with `session` what
                an earlier run enrolled stays.

        Returns:
            What became of the tracks, of all sources.

        Raises:
            GtrackError: Something could not be stored; all else is.
        """
        with self._lock:
            if self._is_closed:
                return self._ended_counts
            self._is_closed = True
            failure: GtrackError | None = None
            try:
                for source in list(self._cameras):
                    try:
                        self._end_camera(source)
                    except GtrackError as error:
                        failure = failure or error
                complete = complete and failure is None
                last_frame = None if complete else -1
                failure = self._gallery.finish(last_frame=last_frame, deliver=complete) or failure
            finally:  # a second Ctrl-C closes the gallery, too
                self._gallery.close()
            self._gallery.notices.forward()
            if failure is not None:
                raise failure
            return self._ended_counts

    def _check_open(self) -> None:
        if self._is_closed:
            raise GalleryError(
                "this TrackEnroller was closed, and takes no more observations.",
                hint="Stop the pipeline first, and close the enroller then.",
            )

    def __enter__(self) -> TrackEnroller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close(complete=kind is None)
        except GtrackError as failure:
            if kind is None:
                raise
            self._notify(f"warning: {failure}")  # the caller must see the error that ended the block


@dataclass(slots=True)
class _Camera:
    """A source from its first frame to its end."""

    tracks: CameraTracks
    enroller: Enroller | None
    sightings: CameraSightings | None = None
    last_frame: int = -1

    def observe(self, observed: ObservedFrame, *, use_all: bool) -> list[TrackName]:
        present = observed.present
        due = set(self.tracks.due(present))
        found = self.tracks.observe(
            present, [observed.observation(position) for position in observed.embeddings if use_all or position in due]
        )
        names = []
        reserved = found.reserved or [None] * len(present.track_ids)
        for track_id, named, status, name in zip(present.track_ids, found.named, found.statuses, reserved, strict=True):
            identity, distance = (name, None) if named is None else (named.identity, named.distance)
            names.append(TrackName(track_id, identity, status, distance))
        return names


def _check_options(
    enroll: str, session: str | None, threshold: float | None, grace_frames: int, every: int, fps: float | None
) -> None:
    if enroll not in get_args(EnrolMode):
        raise OptionError(
            f"enroll: expected one of {', '.join(get_args(EnrolMode))}, found {enroll!r}.", field="enroll"
        )
    if session is not None and not session.strip():
        raise OptionError("session: expected a name, or None, found an empty text.", field="session")
    if threshold is not None and not 0.0 <= threshold <= 2.0:
        raise OptionError(
            f"gallery_match_threshold: expected a cosine distance in 0 to 2, found {threshold}.",
            field="gallery_match_threshold",
        )
    if grace_frames < 0:
        raise OptionError(f"grace_frames: expected 0 or more, found {grace_frames}.", field="grace_frames")
    if every < 1:
        raise OptionError(f"every: expected 1 or more frames, found {every}.", field="every")
    if fps is not None and not fps > 0:
        raise OptionError(f"fps: expected more than 0, found {fps}.", field="fps")


def _open_gallery(location: Path | str, model: EmbeddingModel | None, mode: EnrolMode, new_collection: bool) -> Gallery:
    if mode == "off":
        return Gallery.open(location, model=model)
    check_enrolment_gallery(location)
    if model is None:
        if not is_gallery(location) and not (isinstance(location, Path) and location.exists()):
            raise OptionError(
                f"there is no gallery at {location} yet, and no model to make one for.",
                field="model",
                hint="Pass model=embedding_model(WEIGHTS).",
            )
        with Gallery.open(location) as existing:
            model = existing.model
    return Gallery.open_or_create(location, model, new_collection=new_collection)


def _sum(counts: Iterable[EnrolmentCounts]) -> EnrolmentCounts:
    every = list(counts)
    return EnrolmentCounts(**{f.name: sum(getattr(one, f.name) for one in every) for f in fields(EnrolmentCounts)})
