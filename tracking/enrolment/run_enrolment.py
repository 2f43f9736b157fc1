"""Enrolment of one run over one video: from the opened gallery to the closed one."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gallery_db import Gallery
from gallery_db.errors import GtrackError
from tracking.enrolment.base import EnrolmentCounts, EnrolmentSettings, EnrolMode
from tracking.enrolment.enrolment_gallery import EnrolmentGallery, EnrolmentGalleryOptions, check_enrolment_gallery
from tracking.enrolment.relinking import relink_run
from tracking.errors import VideoError
from tracking.frame_times import FrameTimes
from tracking.identification.gallery_source import EmbedderOptions, GallerySource, SpaceOfRun, model_to_fill

if TYPE_CHECKING:
    from gallery_db.analysis.thresholds import MatchThreshold
    from gallery_db.model import EmbeddingModel
    from gallery_db.search.nearest import Search
    from tracking.identification.gallery_sync import GalleryNotices
    from tracking.identification.named_tracklets import NamedTracklet

__all__ = ["RunEnrolment", "RunEnrolmentOptions", "run_key"]

_HEAD_BYTES = 1024 * 1024


def run_key(source_id: str, video: Path, frame_range: tuple[int | None, int | None], model: EmbeddingModel) -> str:
    """Return the key by which two runs count as the same one for enrolment: camera, video, frames and model.

    A video is identified by its name, its size and its first MiB. The ids of the run's entries begin with the key;
    it is ASCII and ends with ``-``.

    Raises:
        VideoError: The video cannot be read.
    """
    try:
        with video.open("rb") as stream:
            head = hashlib.sha256(stream.read(_HEAD_BYTES)).hexdigest()
        size = video.stat().st_size
    except OSError as error:
        raise VideoError(f"video {video} cannot be read: {error.strerror or error}.") from error
    facts = [source_id, video.name, size, head, frame_range[0] or 0, frame_range[1], model.sha256, model.preprocessing]
    return f"track-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}-"


@dataclass(frozen=True, slots=True)
class RunEnrolmentOptions:
    """What a run enrols, and from which video.

    Attributes:
        mode: ``"unknown"`` or ``"all"``; see `EnrolMode`.
        source_id: The camera.
        video: The video.
        frame_range: First frame and end of the frames that are processed; None for open ends.
        times: Times of the video's frames; those of a variable frame rate are added as they are read.
        grace_frames: Frames that a track may be out of sight before it has ended.
        stream: The name of a live source, where there is no video file; each run of it is one of its own.
        classes: Names of the classes that are tracked; None for all. Earlier entries of the run of other classes stay.
        match_threshold: Largest cosine distance at which a name is given; None for the gallery's own.
        matched_classes: Names of the classes that are matched, for the gallery's own threshold; empty for all.
        search: How the view of the gallery searches; see `Gallery.view`.
        relink: Keep what `RunEnrolment.relink` needs.
    """

    mode: EnrolMode
    source_id: str
    video: Path
    frame_range: tuple[int | None, int | None]
    times: FrameTimes
    grace_frames: int
    stream: str | None = None
    classes: Collection[str] | None = None
    match_threshold: float | None = None
    matched_classes: Collection[str] = ()
    search: Search = "auto"
    relink: bool = False

    def run_key(self, model: EmbeddingModel, run_id: str) -> str:
        """Return the prefix of the ids of the run's entries; see `run_key`."""
        if self.stream is None:
            return run_key(self.source_id, self.video, self.frame_range, model)
        return f"track-{hashlib.sha256(f'{self.source_id} {self.stream} {run_id}'.encode()).hexdigest()[:16]}-"


class RunEnrolment:
    """A gallery that one run is named from and enrols into.

    No other process writes to its folder meanwhile. Other processes do write to a served gallery: where `is_shared`,
    the run synchronises with it (`catch_up`, `GallerySync`) and passes changes on to the enroller.

    Args:
        path: The gallery's folder, or the address of a served one; made for the model if there is none.
        embedder: The ReID model.
        options: What is enrolled.
        notify: Receives one-line messages.
        space: See `SpaceOfRun`.

    Raises:
        OptionError: See `check_enrolment_gallery`.
        GalleryLockedError: Another process is writing to the gallery.
        GalleryError: As of `Gallery.open_or_create`.

    Attributes:
        source: The gallery, with a view that leaves out what the same run enrolled before.
        enroller: Receives the observations of the tracks.
    """

    def __init__(
        self,
        path: Path | str,
        embedder: EmbedderOptions,
        options: RunEnrolmentOptions,
        *,
        notify: Callable[[str], None],
        space: SpaceOfRun | None = None,
    ) -> None:
        check_enrolment_gallery(path)
        model = model_to_fill(path, embedder, notify)
        gallery = Gallery.open_or_create(path, model.model)
        run_id = secrets.token_hex(6)
        try:
            key = options.run_key(model.model, run_id)
        except BaseException:
            gallery.close(sync=False)
            raise
        self._gallery = EnrolmentGallery(
            gallery,
            EnrolmentGalleryOptions(
                key,
                operation=f"enrol tracks of {options.video.name}, camera {options.source_id}",
                classes=options.classes,
                match_threshold=options.match_threshold,
                matched_classes=options.matched_classes,
                search=options.search,
            ),
            notify,
            space=None if space is None else lambda opened: space(opened, model),
        )
        try:
            self._gallery.notices.forward()
        except BaseException:
            self._gallery.close()
            raise
        self._failure: GtrackError | None = None
        self.source = GallerySource(gallery, self._gallery.view, model)
        self.enroller = self._gallery.enroller(
            EnrolmentSettings(
                source_id=options.source_id,
                run_key=key,
                mode=options.mode,
                threshold=self.threshold.value,
                grace_frames=options.grace_frames,
                source=str(options.video.absolute()) if options.stream is None else options.stream,
                times=options.times,
                run_id=run_id,
            ),
            keep_candidates=options.relink,
        )

    @property
    def threshold(self) -> MatchThreshold:
        """The distance up to which names are given, and where it comes from."""
        return self._gallery.threshold

    @property
    def notices(self) -> GalleryNotices:
        """Forwards the gallery's notices to the user."""
        return self._gallery.notices

    @property
    def is_shared(self) -> bool:
        """Whether others may change the gallery during the run."""
        return self._gallery.is_shared

    @property
    def counts(self) -> EnrolmentCounts:
        """What became of the tracks so far."""
        return self.enroller.counts

    def catch_up(self) -> None:
        """Read what others have changed, as far as the server answers."""
        self._gallery.catch_up()

    def relink(self, tracklets: Sequence[NamedTracklet]) -> list[NamedTracklet]:
        """End all tracks, link all tracklets of the run to persons, and store and name them accordingly.

        Args:
            tracklets: The tracklets of all tracks, with their samples.

        Returns:
            The tracklets with the names that they have in the gallery from now on; as they were where an error
            prevents it, which `finish` then returns.
        """
        try:
            self.enroller.finish()
        except GtrackError as error:
            self._failure = error
            return list(tracklets)
        return relink_run(tracklets, self.enroller, self.source.view, self.threshold.value)

    def finish(self, *, complete: bool) -> GtrackError | None:
        """End all tracks, store what is to be stored, and close the gallery.

        Args:
            complete: Whether the run is complete. After an error or Ctrl-C a server is not waited for, and what an
                earlier run enrolled from later frames stays.

        Returns:
            The first error, or None.
        """
        failure = self._failure
        complete = complete and failure is None
        try:
            self.enroller.finish()
        except GtrackError as error:  # such as invalid embeddings; the run itself is complete without its entries
            failure, complete = failure or error, False
        last_frame = None if complete else self.enroller.last_frame
        failure = self._gallery.finish(last_frame=last_frame, deliver=complete) or failure
        self.notices.forward()
        return failure

    def abort(self) -> None:
        """Close the gallery of a run that did not come to its frames; nothing happens after `finish`."""
        self._gallery.close()
