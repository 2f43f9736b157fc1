"""The gallery of a run: opened for naming alone, or for enrolment as well, and kept up to date meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gallery_db import match_threshold
from gallery_db.address import location_of
from gallery_db.logs import get_logger
from tracking.enrolment.run_enrolment import RunEnrolment, RunEnrolmentOptions
from tracking.identification.gallery_source import GallerySource, open_gallery_source
from tracking.identification.gallery_sync import GalleryNotices, GallerySync
from tracking.run.video_people import space_of_run
from tracking.video.addresses import public_name

if TYPE_CHECKING:
    from gallery_db import GalleryView
    from gallery_db.analysis.thresholds import MatchThreshold
    from gallery_db.model import Embedder
    from gallery_db.search.refresh import ViewChange
    from tracking.options import RunOptions
    from tracking.run.inputs import RunInputs
    from tracking.trackers.base import Tracker

__all__ = ["GalleryWatch", "RunGallery", "open_gallery"]

_log = get_logger("gallery")

Notify = Callable[[str], None]
Progress = Callable[[int, int], None]

_CHECK_EVERY = 25
"""Frames between two checks for changes of the gallery; a check costs one small SQL query."""
_CHECK_SECONDS = 1.0
"""The same in seconds, for sources with few frames per second."""


@dataclass(frozen=True, slots=True)
class RunGallery:
    """The gallery of a run; without one, only the threshold is set.

    Attributes:
        threshold: The largest cosine distance at which a name is given, and where it comes from.
        source: The open gallery.
        enrolment: Enrols ended tracks; None for a run that does not enrol.
        notices: Forwards the gallery's notices to the user.
    """

    threshold: MatchThreshold
    source: GallerySource | None = None
    enrolment: RunEnrolment | None = None
    notices: GalleryNotices | None = None

    @property
    def embedder(self) -> Embedder | None:
        """The ReID model of the gallery."""
        return None if self.source is None else self.source.embedder

    @property
    def view(self) -> GalleryView | None:
        """The searchable view of the gallery."""
        return None if self.source is None else self.source.view

    @property
    def can_change(self) -> bool:
        """Whether others may change the gallery during the run."""
        return self.source is not None and (self.enrolment is None or self.enrolment.is_shared)


def open_gallery(
    options: RunOptions,
    inputs: RunInputs,
    *,
    stack: ExitStack,
    last: ExitStack,
    notify: Notify,
    progress: Progress | None = None,
) -> RunGallery:
    """Open the gallery of a run, if it has one.

    Args:
        options: The run's options.
        inputs: Its inputs.
        stack: Closes a gallery that is only read.
        last: Releases a gallery that tracks are enrolled into, after `stack`; nothing is left to do once the
            enrolment has finished.
        notify: Takes one-line messages.
        progress: Called with (images done, total) while a tree of image folders is ingested.

    Raises:
        OptionError: See `RunInputs.tracked_class_names`.
        GalleryError: The gallery cannot be opened, is empty, or belongs to another model.
    """
    if options.gallery is None:
        return RunGallery(match_threshold(None, options.gallery_match_threshold))
    if options.enroll != "off":
        enrolment = _open_enrolment(options, inputs, notify)
        last.callback(enrolment.abort)
        _log_opened(enrolment.source, "naming and enrolment")
        return RunGallery(enrolment.threshold, enrolment.source, enrolment, enrolment.notices)
    class_names = inputs.tracked_class_names()
    source = open_gallery_source(
        options.gallery,
        options.embedder,
        class_name=next(iter(class_names)) if len(class_names) == 1 else "person",
        search=options.search,
        notify=notify,
        progress=progress,
        space=space_of_run(inputs),
    )
    notices = GalleryNotices(source.gallery, notify, forwarded=len(source.gallery.notices))
    stack.callback(source.gallery.close)
    _log_opened(source, "naming")
    known = {name.casefold() for name in source.view.identity_classes}
    tracked = {name.casefold() for name in class_names}
    if tracked and not known & tracked:
        notify(
            f"warning: the gallery has identities of class {', '.join(sorted(known))}, and the tracked detections are "
            f"of class {', '.join(sorted(tracked))}: no track can be named."
        )
    threshold = match_threshold(source.gallery, options.gallery_match_threshold, class_names)
    return RunGallery(threshold, source, None, notices)


def _log_opened(source: GallerySource, purpose: str) -> None:
    _log.info(
        "gallery %s opened for %s: %d entries, %d identities, model %s",
        source.gallery.location,
        purpose,
        len(source.view),
        len(source.view.identities),
        source.embedder.model.name,
    )


def _open_enrolment(options: RunOptions, inputs: RunInputs, notify: Notify) -> RunEnrolment:
    assert options.gallery is not None  # RunOptions.validate
    class_names = inputs.tracked_class_names()
    return RunEnrolment(
        location_of(options.gallery),
        options.embedder,
        RunEnrolmentOptions(
            mode=options.enroll,
            source_id=options.source_id_for(inputs.video),
            video=inputs.video,
            frame_range=options.frame_range,
            times=inputs.times,
            grace_frames=options.grace_frames,
            stream=public_name(inputs.source) if inputs.is_live else None,
            classes=None if inputs.selected is None else class_names or {"person"},
            match_threshold=options.gallery_match_threshold,
            matched_classes=class_names,
            search=options.search,
            relink=bool(options.backfill),
        ),
        notify=notify,
        space=space_of_run(inputs),
    )


class GalleryWatch:
    """Brings changes that others make in the gallery into the run, and forwards the gallery's notices.

    Args:
        gallery: The run's gallery; without one there is nothing to do.
        tracker: Continues with the new identities.
        notify: Takes one-line messages.
    """

    def __init__(self, gallery: RunGallery, tracker: Tracker, notify: Notify) -> None:
        self._gallery = gallery
        self._tracker = tracker
        self._sync: GallerySync | None = None
        if gallery.can_change and gallery.view is not None:
            self._sync = GallerySync(gallery.view, self._changed, notify)
        self._next_check = 0.0

    def check(self, frame: int) -> None:
        """Check for changes, at most every `_CHECK_EVERY` frames and at least every `_CHECK_SECONDS` seconds."""
        notices = self._gallery.notices
        if notices is None or (frame % _CHECK_EVERY and time.monotonic() < self._next_check):
            return
        if self._sync is not None:
            self._sync.refresh_if_due()
        notices.forward()
        self._next_check = time.monotonic() + _CHECK_SECONDS

    def catch_up(self) -> None:
        """Read the last changes before the tracks are enrolled; nothing in a run that does not enrol."""
        enrolment = self._gallery.enrolment
        if enrolment is not None and self._sync is not None:
            enrolment.catch_up()
            self._sync.refresh()

    def _changed(self, before: Sequence[str], change: ViewChange) -> None:
        enrolment = self._gallery.enrolment
        if enrolment is not None:
            enrolment.enroller.gallery_changed(change)
        if change.reset:
            self._tracker.gallery_changed(before, change.renamed)
