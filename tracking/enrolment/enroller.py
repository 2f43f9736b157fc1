"""Enrolment: from observations of tracks to one entry a track, once the track has ended.

This package's core knows embeddings, track ids and frame numbers; it knows nothing of video files, BoxMOT, SQLite or
Chroma. Entries go to a sink, and into the view that the run is named from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.names import unknown_number
from gallery_db.rejections import NOT
from tracking.enrolment.base import (
    EnrolmentCounts,
    EnrolmentObservation,
    EnrolmentSettings,
    EnrolmentSink,
    KnownIdentities,
)
from tracking.enrolment.candidates import Candidates, EnrolmentCandidate
from tracking.enrolment.decision import (
    MIN_OBSERVATIONS,
    MIN_QUALITY,
    MIN_SHARED_FRAMES,
    IdentityPresence,
    decide_outcome,
    is_too_short,
    nearest_identity,
)
from tracking.enrolment.open_tracks import OpenTrack, OpenTracks
from tracking.enrolment.shared_gallery import EntryBook, SharedGallery, surplus_entry
from tracking.enrolment.track_entry import entry_id, entry_of
from tracking.identification.sightings import CameraSightings

if TYPE_CHECKING:
    from gallery_db.search.refresh import ViewChange

__all__ = ["Enroller"]


class Enroller:
    """Turns each track of a camera that ends into one entry, or counts why not.

    A track has ended when it was not seen for more than the grace period, or with the stream (`OpenTracks`). The
    entry's embedding is the mean of the observations, weighted by quality, of unit length.

    A track that the gallery has no name for becomes a new identity ``unknown-0001``, or joins the one that an
    earlier track became. Tracks of named people add to their identity with ``mode="all"``, where the match is sure;
    see `decide_outcome`.

    Others may change the gallery meanwhile: `gallery_changed` takes their changes over, and what they did with an
    entry stands.

    Args:
        sink: Receives the entries.
        known: The known identities, without those that the same run enrolled before.
        settings: The settings of this camera.
        earlier: What the same run stored before, by id, with embeddings: its names are given again.
        names: All names that the gallery holds, so that a new one is new.
        numbers: Numbers for new names, reserved for this run; by default those after the highest in `names`.
        keep_candidates: Keep what `reassign` needs.
        shared: State shared with the enrollers of other cameras in this run, which fill the same gallery; None where
            there are none.
        sightings: The identifier's sightings of this camera; None where nothing is known of other cameras.

    Attributes:
        counts: What became of the tracks that have ended.
        candidates: The tracks that were good enough to be stored, with `keep_candidates`.
        book: Account of the run's own entries and names, and of those of others.
    """

    def __init__(
        self,
        sink: EnrolmentSink,
        known: KnownIdentities,
        settings: EnrolmentSettings,
        *,
        earlier: Mapping[str, tuple[Entry, NDArray[np.float32]]] | None = None,
        names: Iterable[str] = (),
        numbers: Iterator[int] | None = None,
        keep_candidates: bool = False,
        shared: SharedGallery | None = None,
        sightings: CameraSightings | None = None,
    ) -> None:
        if numbers is None:
            numbers = count(max((unknown_number(name) or 0 for name in names), default=0) + 1)
        self.counts = EnrolmentCounts()
        self.candidates = Candidates()
        self._keep_candidates = keep_candidates
        self._sink = sink
        self._known = known
        self._settings = settings
        self._shared = shared or SharedGallery()
        self._sightings = sightings
        self._tracklets: dict[str, tuple[int, int]] = {}  # of the entries, with `sightings`
        self.book = EntryBook(self._shared, known, earlier or {}, numbers, settings.threshold)
        self._presence = IdentityPresence()
        self._tracks = OpenTracks(settings.grace_frames, self._end_track)
        self._shared.open_tracks[id(self)] = self._tracks

    @property
    def last_frame(self) -> int:
        """The last frame so far; -1 before the first."""
        return self._tracks.last_frame

    # -- during the run --------------------------------------------------------------------------------------

    def observe(self, observation: EnrolmentObservation) -> None:
        """Add one observation of a track; frames never go back."""
        self._tracks.observe(observation)

    def note_seen(self, frame: int, track_ids: Sequence[int]) -> None:
        """Note the tracks in a frame; to be called once for every frame, also one without tracks."""
        self._tracks.note_seen(frame, track_ids)

    def reserve(self, track_id: int) -> str | None:
        """Reserve the name for a track of an unknown person, or return None where too little was seen of it.

        The name is the track's from now on, and no other track's in this run or, as the gallery is locked, in another
        run; but a track of another camera that surely shows the same person has the same name. If the track is in the
        end not stored as a new identity, the name never appears in the gallery.
        """
        track = self._tracks.current(track_id)
        if track is None or track.num_observations < MIN_OBSERVATIONS or track.quality < MIN_QUALITY:
            return None
        if track.reserved_name is None:
            earlier = self.book.earlier_entry(entry_id(track, self._settings), track.mean)
            name = None
            if earlier is None:
                name = self._shared.reserved_elsewhere(track, id(self), self._settings.threshold, self._known.adapt)
                if name is not None and self._sightings is not None:
                    name = None if self._sightings.excludes(track.key, name, np.inf, 0.0) else name
            track.is_reserved_elsewhere = name is not None
            track.reserved_name = name or self.book.new_name(earlier)
            self.book.given.add(track.reserved_name)
        if self._sightings is not None:
            self._sightings.note_enrolled(track.key, track.reserved_name)
        return track.reserved_name

    def gallery_changed(self, change: ViewChange) -> None:
        """Take over changes of the gallery by others; what they did with this run's entries is not undone.

        Args:
            change: The change of the known identities.
        """
        for id_, entry in change.entries.items():
            if self.book.note_change(id_, entry):
                self.candidates.fix(id_, None if entry is None else entry.identity)
                if self._sightings is not None and id_ in self._tracklets:
                    self._sightings.note_enrolled(self._tracklets[id_], None if entry is None else entry.identity)
        for old, new in change.renamed.items():
            self._tracks.rename(old, new)
            self._presence.rename(old, new)
            # Stored here under the old name while others gave it another one.
            for id_ in self.book.rename(old, new):
                self._sink.rename(id_, new, enrolled_as=old)
                self.candidates.fix(id_, new)

    def finish(self) -> EnrolmentCounts:
        """End all tracks that are still open, and return what became of all."""
        self._tracks.end_all()
        self._shared.open_tracks.pop(id(self), None)
        return self.counts

    def reassign(self, identity_at: Callable[[int, int], str | None]) -> None:
        """Store and move entries by what the whole run shows; needs `keep_candidates`, after `finish`.

        Args:
            identity_at: Returns the identity that a track shows in a frame, or None where that is not known.
        """
        self.candidates.reassign(identity_at, self._sink, self.book, self.counts)

    # -- ended tracks ----------------------------------------------------------------------------------------

    def _end_track(self, track: OpenTrack) -> None:
        if is_too_short(track):
            self.counts.too_short += 1
        elif track.quality < MIN_QUALITY or not track.has_direction:
            self.counts.too_poor += 1
        else:
            self._enrol(track, track.mean)
        if track.identity is not None:
            self._presence.add(track.identity, track)

    def _enrol(self, track: OpenTrack, mean: NDArray[np.float32]) -> None:
        """Store a track that is good enough, where it is sure which identity it shows."""
        id_ = entry_id(track, self._settings)
        if self.book.is_removed(id_):
            self.counts.redundant += 1
            return
        earlier = self.book.earlier_entry(id_, mean)
        if self._keep_candidates:
            self.candidates.add(id_, self._candidate(track, mean, id_, earlier))
        if earlier is not None and _was_corrected(earlier):
            # A person has corrected the name since, and knows better than any distance.
            self._store(track, mean, id_, earlier.identity, enrolled_as=str(earlier.extra["enrolled_as"]))
            return
        outcome = decide_outcome(
            track.identity,
            nearest_identity(self._known, self._vector(mean), track.class_name, self._settings.threshold),
            self._settings.mode,
            lambda identity: self._shared_frames(identity, track),
        )
        if outcome.kind == "named":
            self.counts.named += 1
        elif outcome.kind == "unsure":
            self.counts.unsure += 1
            self.candidates.note_unsure(id_)
        elif outcome.identity is not None:
            self._store(track, mean, id_, outcome.identity)
        else:
            name = track.reserved_name
            if track.is_reserved_elsewhere and name in self._known.identities:
                name = None  # the other camera has stored it by now, and this track is no longer like it
            self._store(track, mean, id_, name or self.book.new_name(earlier))
            self.counts.identities += 1

    def _shared_frames(self, identity: str, track: OpenTrack) -> int:
        """Return in how many frames, at most, an identity was there as another track, here or at another camera."""
        shared = self._presence.shared_frames(identity, track, self._tracks)
        return max(shared, MIN_SHARED_FRAMES) if self._was_elsewhere(identity, track) else shared

    def _was_elsewhere(self, identity: str, track: OpenTrack) -> bool:
        return self._sightings is not None and self._sightings.was_elsewhere(track.key, identity)

    def _vector(self, mean: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vector (D,) that is compared, of a mean embedding (E,)."""
        vector: NDArray[np.float32] = self._known.adapt(mean[None], self._settings.source_id)[0]
        return vector

    def _candidate(
        self, track: OpenTrack, mean: NDArray[np.float32], id_: str, earlier: Entry | None
    ) -> EnrolmentCandidate:
        others, names = self.book.others_names, self._known.identities
        _, columns, _ = self._known.near_identities(
            self._vector(mean)[None], [track.class_name], limit=self._settings.threshold
        )
        return EnrolmentCandidate(
            track.track_id,
            track.best_frame,
            track.weight,
            None,
            earlier is not None and _was_corrected(earlier),
            None if earlier is None else earlier.identity,
            any(names[column] in others for column in columns),
            entry_of(track, self._settings, id_, ""),
            mean,
            track.crop,
        )

    def _store(
        self, track: OpenTrack, mean: NDArray[np.float32], id_: str, identity: str, *, enrolled_as: str | None = None
    ) -> None:
        entry = entry_of(track, self._settings, id_, identity, enrolled_as)
        earlier = self.book.earlier_entry(id_, mean)
        if earlier is not None and NOT in earlier.extra:  # a person's rejections outlast another run
            entry = replace(entry, extra={**entry.extra, NOT: earlier.extra[NOT]})
        self.book.given.add(identity)
        self._presence.add(identity, track)
        if self._sightings is not None:
            self._sightings.note_enrolled(track.key, identity)
            self._tracklets[id_] = track.key
        vector = self._vector(mean)
        surplus = surplus_entry(entry, vector, self._known, self.book)
        if surplus == id_:
            self.counts.redundant += 1
            return
        if surplus is not None:
            self.book.dropped.add(surplus)
            self._sink.remove([surplus])
            if surplus in self.book.own:
                self.counts.redundant += 1
                self.counts.enrolled -= 1
            self.candidates.note_stored(surplus, None)
        self.book.own[id_] = identity
        self.candidates.note_stored(id_, identity)
        self._known.append([entry], vector[None])
        self._sink.put(entry, mean, track.crop)
        self.counts.enrolled += 1


def _was_corrected(entry: Entry) -> bool:
    """Return whether a person has changed the identity of an enrolled entry."""
    return bool(entry.identity != entry.extra.get("enrolled_as", entry.identity))
