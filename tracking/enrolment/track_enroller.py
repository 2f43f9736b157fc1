"""Names and enrolment for whoever has a tracker and embeddings of their own: several cameras, one gallery."""

from __future__ import annotations

import hashlib
import operator
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from gallery_db import Gallery, is_gallery, match_threshold
from gallery_db.address import is_address, location_of
from gallery_db.errors import GalleryError, GtrackError
from tracking.enrolment.base import EnrolmentCounts, EnrolmentSettings, EnrolMode
from tracking.enrolment.camera_tracks import CameraTracks, Observation, TracksInFrame
from tracking.enrolment.enroller import Enroller
from tracking.enrolment.gallery_writer import GalleryWriter
from tracking.enrolment.run_enrolment import check_enrolment_gallery, misplaced_lines
from tracking.enrolment.shared_gallery import SharedGallery
from tracking.errors import ObservationError, OptionError
from tracking.identification.gallery_sync import GalleryNotices, GallerySync
from tracking.identification.identifier import TrackIdentifier
from tracking.identification.quality import crowding
from tracking.identification.track_evidence import Status

if TYPE_CHECKING:
    from gallery_db.analysis.thresholds import MatchThreshold
    from gallery_db.model import EmbeddingModel
    from gallery_db.search.nearest import Search
    from gallery_db.search.refresh import ViewChange

__all__ = ["TrackEnroller", "TrackName", "TrackObservation"]

_FOLLOW_SECONDS = 1.0
"""Between two looks at what others did in the gallery; a look costs one small SQL query."""
_TINY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class TrackObservation:
    """One box in one frame, as a tracker reports it.

    Attributes:
        track_id: The track, a whole number that is its own within its source. None for a box without a track, which
            counts only as what may hide others.
        embedding: (D,) floats of any length but 0, of the enroller's model; None where none was computed in this frame.
        box: xyxy in pixels of the frame; None where unknown.
        score: Of the detection, in [0, 1]; 1 where nobody says.
        class_name: Such as ``"person"``: identities of one class never match tracks of another. None matches all, and
            is stored as ``"person"``.
        crop: (H, W, 3) uint8 BGR, the picture of it, or a function that gives it (or None), which is called where the
            embedding is taken; for the look's sharpness, and kept with what is enrolled.
        quality: What the look is worth, in [0, 1]. By default from score, box, frame size, overlap and crop, as `gtrack
            run` has it; without a box, from the score and the crop.
    """

    track_id: int | None
    embedding: Any = None
    box: Sequence[float] | NDArray[Any] | None = None
    score: float = 1.0
    class_name: str | None = None
    crop: NDArray[np.uint8] | Callable[[], NDArray[np.uint8] | None] | None = None
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class TrackName:
    """Who a track is, as far as can be told now.

    Attributes:
        track_id: The track.
        identity: The name to show: of the gallery, or the one that a stranger will be enrolled under; None for none.
        status: ``"known"``, ``"unknown"`` (nobody of the gallery) or ``"undecided"``.
        distance: Cosine distance of the evidence to that identity, in [0, 2]; None without one, and for strangers who
            are not in the gallery yet.
    """

    track_id: int
    identity: str | None
    status: Status
    distance: float | None


class TrackEnroller:
    """Names tracks from a gallery and enrols them into it, for pipelines that track and embed by themselves.

    What `gtrack run` does behind its tracker: evidence over a track's life, no name twice in a frame of a camera, a
    track that ends becomes an entry, strangers get lasting names. Its sources (cameras) share one view of the gallery:
    whoever was enrolled from one is known on the others from then on, and may be in sight of several at once.

    ::

        with TrackEnroller("gallery", model=embedding_model("osnet_x0_25_msmt17.onnx")) as enroller:
            for frame, tracks in my_pipeline:
                observations = [TrackObservation(t.id, t.embedding, box=t.box, score=t.score) for t in tracks]
                for name in enroller.observe("door", frame, observations, frame_size=(1920, 1080)):
                    ...

    Any thread may call any method at any time; calls wait for one another. Nothing waits for a disk or a network: a
    thread of its own writes, and holds up to 256 entries for it. What goes wrong with writing is raised by `close`.

    Leaving the block, by an error or Ctrl-C too, ends all tracks and stores them. What was enrolled is safe from the
    second after its track has ended.

    Args:
        gallery: A gtrack gallery's folder, or the address of a served one. To enrol, it is made where it is absent, and
            held: no other process writes to the folder meanwhile (any number to a served one).
        model: Whose embeddings they are: see `embedding_model`. None for the gallery's own model.
        enroll: Whom to put into the gallery: ``"unknown"`` people, ``"all"`` (sure matches of named ones too), or
            ``"off"``: only name. Then the gallery may be written to by others, and corrections are followed; those of
            a served gallery are in any case.
        session: Names this run of the pipeline. A later run of the same name replaces what this one enrolled, and is
            not named from it: for recordings that are processed again. None for a run of its own each time.
        gallery_match_threshold: Largest cosine distance at which a name is given, in [0, 2]; None for the gallery's
            own, else 0.25.
        classes: Names of the classes that will come, for the gallery's own threshold; empty for all.
        grace_frames: Frames that a track may be out of sight before it has ended.
        every: Frames between two looks at a track, on average: of the embeddings that come, those are taken that tell
            something. 1 takes all.
        fps: Frames per second of the sources, for the times that entries carry.
        search: How the gallery is searched; see `gallery_db.Gallery.view`.
        new_collection: Start a further collection where the gallery has none of that model, rather than refuse.
        notify: Takes one-line messages.

    Raises:
        OptionError: An option that makes no sense, image folders, or no gallery and no model to make one for.
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
        search: Search = "auto",
        new_collection: bool = False,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        _check_options(enroll, session, gallery_match_threshold, grace_frames, every, fps)
        self._enroll = enroll
        self._grace = grace_frames
        self._every = every
        self._fps = fps
        self._notify = notify or (lambda message: None)
        self._lock = threading.RLock()
        self._cameras: dict[str, _Camera] = {}
        self._stays: dict[str, int] = {}
        self._ended = EnrolmentCounts()
        self._looked = time.monotonic()
        self._closed = False
        self._run_id = secrets.token_hex(6)
        self._shared_gallery = SharedGallery()
        self._writer: GalleryWriter | None = None
        place = location_of(gallery)
        opened = _open(place, model, enroll, new_collection)
        try:
            key = hashlib.sha256(f"{session or self._run_id} {opened.model.sha256}".encode()).hexdigest()[:12]
            self._prefix = f"track-{key}"
            entries, vectors = opened.with_prefix(self._prefix) if enroll != "off" else ([], ())
            self._earlier = {entry.id: (entry, vector) for entry, vector in zip(entries, vectors, strict=True)}
            self._view = opened.view(without=self._earlier, search=search)
            self._view.prepare()
            self._follower = GallerySync(self._view, self._gallery_changed, self._notify)
            self._threshold = match_threshold(opened, gallery_match_threshold, classes)
            for words in self._threshold.messages:
                self._notify(words)
            if enroll == "off" and not len(self._view):
                self._notify(f"warning: the gallery {place} is empty, so that nobody can be named.")
            self._gallery = opened
            self._shared = is_address(opened.location)
            self._notices = GalleryNotices(opened, self._notify)
            self._notices.forward()
            if enroll != "off":
                self._numbers = opened.unknown_numbers()
                words = "enrol tracks of a pipeline" + (f", session {session}" if session else "")
                self._writer = GalleryWriter(opened, entries, words=words)
        except BaseException:
            opened.close(sync=False)
            raise

    # -- what it is ------------------------------------------------------------------------------------------

    @property
    def model(self) -> EmbeddingModel:
        """Whose embeddings it takes."""
        return self._gallery.model

    @property
    def threshold(self) -> MatchThreshold:
        """The distance up to which names are given, and where it comes from."""
        return self._threshold

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that were seen and have not ended."""
        with self._lock:
            return tuple(self._cameras)

    @property
    def counts(self) -> EnrolmentCounts:
        """What became of the tracks that have ended so far, of all sources."""
        with self._lock:
            return _sum(
                [self._ended, *(camera.enroller.counts for camera in self._cameras.values() if camera.enroller)]
            )

    # -- what is seen ----------------------------------------------------------------------------------------

    def observe(
        self,
        source: str,
        frame: int,
        observations: Iterable[TrackObservation],
        *,
        frame_size: tuple[int, int] | None = None,
    ) -> list[TrackName | None]:
        """Take one frame of a source, and say who is in it.

        To be called once for each frame of a source, in order; frames may be missing. Call it for frames without tracks
        too, or tracks end only with a later frame. The frames of other sources may come in between.

        Args:
            source: The camera's name.
            frame: Number of the frame, counted by each source for itself.
            observations: All boxes of the frame. Tracks without an embedding are merely seen.
            frame_size: Width and height of the frame in pixels, in which the boxes are; None where unknown.

        Returns:
            A name for each observation, in order; None for those without a track.

        Raises:
            ObservationError: An embedding of another length, not finite or zero, a box without area, a frame that is
                not later than the one before, a track twice, and the like. Nothing of the frame was taken then (unless
                it is a crop that a function gave, which is asked for last).
            GalleryError: It was closed.
        """
        with self._lock:
            self._check_open()
            frame, size = _checked_frame(source, frame, frame_size)
            last = self._cameras[source].last if source in self._cameras else -1
            if frame <= last:
                raise ObservationError(
                    f"source {source}: frame {frame} came after frame {last}; expected a later one, once.",
                    hint="Where a source starts again, say so with `end(source)`.",
                )
            seen = _Frame.of(source, frame, list(observations), size, self.model)
            self._follow()
            camera = self._cameras.get(source)
            if camera is None:
                camera = self._cameras[source] = self._camera(source)
            camera.last = frame
            names = camera.observe(seen, all_looks=self._every == 1)
            answers: list[TrackName | None] = [None] * seen.count
            for place, name in zip(seen.places, names, strict=True):
                answers[place] = name
            return answers

    def end(self, source: str) -> None:
        """A source's stream has ended: so have its tracks. If it comes again, it is a new stay, and frames begin anew.

        Raises:
            GalleryError: It was closed.
        """
        with self._lock:
            self._check_open()
            self._end(source)

    def _end(self, source: str) -> None:
        camera = self._cameras.pop(source, None)
        if camera is not None and camera.enroller is not None:
            self._ended = _sum([self._ended, camera.enroller.finish()])

    def _camera(self, source: str) -> _Camera:
        identities = TrackIdentifier(self._view, threshold=self._threshold.value, every=self._every)
        enroller = None
        if self._writer is not None:
            stay = self._stays[source] = self._stays.get(source, -1) + 1
            key = f"{self._prefix}{hashlib.sha256(f'{source} {stay}'.encode()).hexdigest()[:8]}-"
            enroller = Enroller(
                self._writer,
                self._view,
                EnrolmentSettings(
                    source_id=source,
                    run_key=key,
                    mode=self._enroll,
                    threshold=self._threshold.value,
                    grace_frames=self._grace,
                    source=source,
                    fps=self._fps,
                    run_id=self._run_id,
                ),
                earlier={id_: known for id_, known in self._earlier.items() if id_.startswith(key)},
                numbers=self._numbers,
                shared=self._shared_gallery,
            )
        return _Camera(CameraTracks(identities, enroller), enroller)

    # -- the gallery -----------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Take note of what others do in the gallery, and pass on what it has to say."""
        now = time.monotonic()
        if now - self._looked < _FOLLOW_SECONDS:
            return
        self._looked = now
        self._notices.forward()
        if self._writer is None or self._shared:  # else nobody else writes to the folder
            self._follower.refresh_if_due()

    def _gallery_changed(self, before: Sequence[str], change: ViewChange) -> None:
        for camera in self._cameras.values():
            if camera.enroller is not None:
                camera.enroller.gallery_changed(change)
            if change.reset:
                camera.recognition.gallery_changed(before, change.renamed)

    def close(self, *, complete: bool = True, progress: Callable[[int, int], None] | None = None) -> EnrolmentCounts:
        """End all tracks, store what is to be stored, and let go of the gallery. Closing twice is fine.

        Args:
            complete: Whether the pipeline went through. If not, nobody waits for the Chroma index, which the next
                opening brings up to date, and with `session` what an earlier run enrolled stays.
            progress: Called with (entries done, entries in all) while the index is brought up to date.

        Returns:
            What became of the tracks, of all sources.

        Raises:
            GtrackError: Something could not be stored; all else is.
        """
        with self._lock:
            if self._closed:
                return self._ended
            self._closed = True
            failure: GtrackError | None = None
            try:
                for source in list(self._cameras):
                    try:
                        self._end(source)
                    except GtrackError as error:
                        failure = failure or error
                if self._writer is not None:
                    whole = complete and failure is None
                    last = None if whole else -1
                    ended = self._writer.finish(last_frame=last, sync=whole, progress=progress, check=self._check)
                    failure = ended or failure
            finally:  # a second Ctrl-C lets go of the gallery, too
                if self._writer is None:
                    self._gallery.close()
                else:
                    self._writer.abort()
            self._notices.forward()
            if failure is not None:
                raise failure
            return self._ended

    def _check(self, gallery: Gallery, written: frozenset[str]) -> None:
        for line in misplaced_lines(gallery, written):
            self._notify(line)

    def _check_open(self) -> None:
        if self._closed:
            raise GalleryError(
                "this TrackEnroller was closed, and takes nothing more.",
                hint="Stop the pipeline first, and close it then.",
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
            self._notify(f"warning: {failure}")  # what ended the block is what the caller must hear of


@dataclass(slots=True)
class _Camera:
    """One stay of a source."""

    recognition: CameraTracks
    enroller: Enroller | None
    last: int = -1

    def observe(self, seen: _Frame, *, all_looks: bool) -> list[TrackName]:
        present = seen.present
        due = set(self.recognition.due(present))
        looks = [seen.look(position) for position in seen.embeddings if all_looks or position in due]
        answers = self.recognition.observe(present, looks)
        names = []
        reserved = answers.reserved or [None] * len(present.track_ids)
        for track_id, named, status, name in zip(
            present.track_ids, answers.named, answers.statuses, reserved, strict=True
        ):
            identity, distance = (name, None) if named is None else (named.identity, named.distance)
            names.append(TrackName(track_id, identity, status, distance))
        return names


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """What was said of a frame, checked.

    Attributes:
        where: Source and frame, for messages.
        count: How many boxes.
        places: Which of them have a track.
        present: Those.
        embeddings: Of those that have one, by position: (D,) of unit length.
        observations: Those, by position.
    """

    where: str
    count: int
    places: list[int]
    present: TracksInFrame
    embeddings: dict[int, NDArray[np.float32]]
    observations: list[TrackObservation]

    @classmethod
    def of(
        cls,
        source: str,
        frame: int,
        observations: Sequence[TrackObservation],
        size: tuple[int, int] | None,
        model: EmbeddingModel,
    ) -> _Frame:
        boxes = np.full((len(observations), 4), np.nan)
        places: list[int] = []
        track_ids: list[int] = []
        start = f"source {source}, frame {frame}"
        for place, observation in enumerate(observations):
            where = f"{start}, track {observation.track_id}"
            boxes[place] = _checked_box(where, observation.box)
            _check_share(where, "score", observation.score)
            if observation.track_id is None:
                continue
            places.append(place)
            track_ids.append(_checked_track(where, observation.track_id))
            if track_ids[-1] in track_ids[:-1]:
                raise ObservationError(f"{where}: stands twice in the frame; expected each track once.")
        overlaps = np.zeros(len(observations))
        known = np.flatnonzero(~np.isnan(boxes[:, 0]))
        overlaps[known] = crowding(boxes[known])
        present = TracksInFrame(
            frame,
            track_ids,
            boxes[places],
            [float(observations[place].score) for place in places],
            [observations[place].class_name for place in places],
            overlaps[places].tolist(),
            size,
        )
        embeddings = {}
        for position, place in enumerate(places):
            observation = observations[place]
            if observation.embedding is None:
                continue
            where = f"{start}, track {observation.track_id}"
            embeddings[position] = _checked_embedding(where, observation.embedding, model)
            if observation.quality is not None:
                _check_share(where, "quality", observation.quality)
            if not callable(observation.crop):
                _checked_crop(where, observation.crop)
        return cls(start, len(observations), places, present, embeddings, [observations[place] for place in places])

    def look(self, position: int) -> Observation:
        """The look at a track that has an embedding."""
        observation = self.observations[position]
        crop = observation.crop
        if callable(crop):
            crop = _checked_crop(f"{self.where}, track {observation.track_id}", crop())
        quality = self.present.quality(position, crop) if observation.quality is None else float(observation.quality)
        return Observation(position, self.embeddings[position], quality, crop)


# -- checks ---------------------------------------------------------------------------------------------------


def _checked_frame(source: str, frame: int, frame_size: tuple[int, int] | None) -> tuple[int, tuple[int, int] | None]:
    if not isinstance(source, str) or not source.strip():
        raise ObservationError(f"source: expected a camera's name, found {source!r}.")
    try:
        number = operator.index(frame)
    except TypeError:
        number = -1
    if number < 0:
        raise ObservationError(f"source {source}: expected a frame number, 0 or more, found {frame!r}.")
    if frame_size is None:
        return number, None
    width, height = frame_size
    if not (width >= 1 and height >= 1):
        raise ObservationError(
            f"source {source}, frame {number}: expected a frame_size in pixels, found {frame_size!r}."
        )
    return number, (int(width), int(height))


def _checked_track(where: str, track_id: Any) -> int:
    try:
        return operator.index(track_id)
    except TypeError:
        raise ObservationError(
            f"{where}: expected a whole number as track_id, found {track_id!r}.",
            hint="Number the tracks of each source, or leave it None for a box without a track.",
        ) from None


def _checked_box(where: str, box: Any) -> NDArray[np.float64]:
    if box is None:
        return np.full(4, np.nan)
    try:
        array = np.asarray(box, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.shape != (4,) or not np.isfinite(array).all() or array[2] <= array[0] or array[3] <= array[1]:
        raise ObservationError(
            f"{where}: expected a box x1, y1, x2, y2 in pixels with x1 < x2 and y1 < y2, found {box!r}."
        )
    return array


def _check_share(where: str, what: str, value: Any) -> None:
    try:
        good = 0.0 <= float(value) <= 1.0
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ObservationError(f"{where}: expected a {what} from 0 to 1, found {value!r}.")


def _checked_embedding(where: str, embedding: Any, model: EmbeddingModel) -> NDArray[np.float32]:
    """(D,) float32 of unit length."""
    try:
        vector = np.asarray(embedding, np.float64)
    except (TypeError, ValueError):
        raise ObservationError(
            f"{where}: expected an embedding of {model.dimension} numbers, found {type(embedding).__name__}."
        ) from None
    if vector.shape != (model.dimension,):
        raise ObservationError(
            f"{where}: expected an embedding of shape ({model.dimension},), found {vector.shape}.",
            hint=f"The gallery holds embeddings of {model}.",
        )
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm) or norm < _TINY:
        what = "a zero vector" if np.isfinite(norm) else "values that are not finite"
        raise ObservationError(
            f"{where}: the embedding is {what}.",
            hint="Leave it out (embedding=None) where the network gave nothing of use.",
        )
    return (vector / norm).astype(np.float32)


def _checked_crop(where: str, crop: Any) -> NDArray[np.uint8] | None:
    if crop is None:
        return None
    array: NDArray[np.uint8] = np.asarray(crop)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
        raise ObservationError(f"{where}: expected a crop (H, W, 3) uint8 BGR, found {array.shape} {array.dtype}.")
    return array


def _check_options(
    enroll: str, session: str | None, threshold: float | None, grace_frames: int, every: int, fps: float | None
) -> None:
    if enroll not in get_args(EnrolMode):
        raise OptionError(f"enroll: expected one of {', '.join(get_args(EnrolMode))}, found {enroll!r}.")
    if session is not None and not session.strip():
        raise OptionError("session: expected a name, or None, found an empty text.")
    if threshold is not None and not 0.0 <= threshold <= 2.0:
        raise OptionError(f"gallery_match_threshold: expected a cosine distance in 0 to 2, found {threshold}.")
    if grace_frames < 0:
        raise OptionError(f"grace_frames: expected 0 or more, found {grace_frames}.")
    if every < 1:
        raise OptionError(f"every: expected 1 or more frames, found {every}.")
    if fps is not None and not fps > 0:
        raise OptionError(f"fps: expected more than 0, found {fps}.")


def _open(place: Path | str, model: EmbeddingModel | None, enroll: EnrolMode, new_collection: bool) -> Gallery:
    if enroll == "off":
        return Gallery.open(place, model=model)
    check_enrolment_gallery(place)
    if model is None:
        if not is_gallery(place) and not (isinstance(place, Path) and place.exists()):
            raise OptionError(
                f"there is no gallery at {place} yet, and no model to make one for.",
                hint="Give model=embedding_model(WEIGHTS).",
            )
        with Gallery.open(place) as there:
            model = there.model
    return Gallery.open_or_create(place, model, new_collection=new_collection)


def _sum(counts: Iterable[EnrolmentCounts]) -> EnrolmentCounts:
    every = list(counts)
    return EnrolmentCounts(**{f.name: sum(getattr(one, f.name) for one in every) for f in fields(EnrolmentCounts)})
