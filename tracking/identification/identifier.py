"""Identification of tracks: from embeddings and a gallery to one identity a track, at most once in a frame.

This module knows vectors, track ids and frame numbers; it knows nothing of video, BoxMOT or Chroma.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tracking.identification.assignment import assign_tracks
from tracking.identification.decision_rule import DecisionRule
from tracking.identification.gallery_comparison import IdentitySource, compare_for_decision, compare_with_gallery
from tracking.identification.named_tracklets import Named, NamedTracklet, TrackletArchive, name_of_tracklet
from tracking.identification.neighbours import Neighbours
from tracking.identification.observation_schedule import ObservationSchedule
from tracking.identification.sightings import CameraSightings
from tracking.identification.track_evidence import Status, TrackEvidence, Tracklet, are_different_classes

__all__ = ["TrackIdentifier"]


class TrackIdentifier:
    """Decides for each track of one camera whether it is known, unknown or undecided, no name twice in a frame.

    The observations of a track add up to evidence (`TrackEvidence`), whose mean is compared with the gallery. A name
    needs a mean within the accepted distance, with the second-best identity clearly further away, from as many
    observations as the distance calls for (`DecisionRule`). It is lost to repeated contrary observations, or to a
    track in the same frame that fits it clearly better. A track that returns while another one has its name gets none
    meanwhile.

    For each frame, in order: `due`, `observe`, `names`.

    Args:
        source: The gallery.
        threshold: Largest accepted cosine distance of the mean.
        every: Frames between two observations of a track, on average; see `ObservationSchedule`.
        keep_tracklets: Keep the tracklets of all tracks, for `tracklets`.
        explain: Keep the reasons of each decision, too.
        camera: The camera's name, for the space in which embeddings are compared; None where unknown.
        sightings: Those of this camera, with a frame begun before each call of `names`: a track gets no name whose
            bearer is in sight of another camera; None where nothing is known of other cameras.
    """

    FORGET_AFTER = 10_000
    """Frames after which the evidence of an unseen track is dropped: longer than any tracker's buffer."""
    FORGET_EVERY = 1000
    """Frames between two searches for tracks to drop."""

    def __init__(
        self,
        source: IdentitySource,
        *,
        threshold: float,
        every: int,
        keep_tracklets: bool = False,
        explain: bool = False,
        camera: str | None = None,
        sightings: CameraSightings | None = None,
    ) -> None:
        self._source = source
        self._camera = camera
        self._sightings = sightings
        self._rule = DecisionRule.of(threshold, source.constant)
        self._explain = explain
        self._tracks: dict[int, TrackEvidence] = {}
        self._schedule = ObservationSchedule(self._tracks, every)
        self._archive = TrackletArchive(self._rule, explain=explain) if keep_tracklets else None
        self._assigned: frozenset[int] = frozenset()
        self._is_stale = True
        self._last_sweep = -1

    # -- observations ----------------------------------------------------------------------------------------

    def due(
        self,
        frame: int,
        track_ids: Sequence[int],
        box_qualities: Sequence[float] | None = None,
        overlaps: Sequence[float] | None = None,
        class_names: Sequence[str | None] | None = None,
    ) -> list[int]:
        """Return the tracks that should be observed in this frame; to be called once a frame, in order.

        Args:
            frame: Frame number.
            track_ids: The N tracks of the frame.
            box_qualities: N qualities of the boxes, in [0, 1]; see `box_quality`. All 1 by default.
            overlaps: N, the largest overlap of each box with another one; see `max_overlap`. All 0 by default.
            class_names: N classes, None where unknown. All unknown by default.

        Returns:
            Positions in `track_ids`, in order.
        """
        return self._schedule.due(frame, track_ids, box_qualities, overlaps, class_names)

    def observe(
        self,
        frame: int,
        track_ids: Sequence[int],
        embeddings: NDArray[np.float32],
        qualities: Sequence[float],
        class_names: Sequence[str | None],
    ) -> None:
        """Add one observation to each of some tracks.

        Args:
            frame: Frame number.
            track_ids: N tracks.
            embeddings: (N, D) float32 unit vectors, as the model returns them.
            qualities: N qualities of the observations, in [0, 1]; see `observation_quality`.
            class_names: N classes, None where unknown.
        """
        if not len(track_ids):
            return
        embeddings = self._source.adapt(embeddings, self._camera)
        tracks = []
        for i, track_id in enumerate(track_ids):
            track = self._tracks.get(track_id)
            if track is None:
                track = self._new_track(frame, track_id, embeddings[i], class_names[i])
            else:
                self._schedule.note_further_observation()
            tracks.append(track)
        found, compared = self._compare_ahead(tracks, embeddings, qualities, class_names)
        nearest = self._nearest_accepted(embeddings, class_names)
        changed = []
        for i, (track_id, track) in enumerate(zip(track_ids, tracks, strict=True)):
            tracklet, previous = track.tracklet, track.previous
            has_begun = track.add(frame, embeddings[i], qualities[i], compared[i], class_names[i])
            if has_begun and previous is not None and self._archive is not None:
                self._archive.add(track_id, track, previous, self._source)
            if i in nearest and not track.held and track.records[-1].agreement != "poor":
                column, distance = nearest[i]
                least = track.tracklet.nearest_observations
                least[column] = min(distance, least.get(column, distance))
            near = found.get((i, tracklet.num_observations))
            if track.tracklet is tracklet and near is not None:
                tracklet.near = near
            else:
                changed.append(track.tracklet)
        self._compare_means(changed)
        self._is_stale = True

    def _compare_ahead(
        self,
        tracks: Sequence[TrackEvidence],
        embeddings: NDArray[np.float32],
        qualities: Sequence[float],
        class_names: Sequence[str | None],
    ) -> tuple[dict[tuple[int, int], Neighbours], list[Neighbours]]:
        """Compare everything that observations may call for, so that one search a frame is enough.

        Returns:
            The identities near the means that the tracklets may have with the observations, by position and number
            of observations. And those near the observations; none where `TrackEvidence.add` does not need them.
        """
        vectors: list[NDArray[np.float32]] = []
        asked: list[tuple[int, int, str | None]] = []  # position, number of observations, class
        for i, track in enumerate(tracks):
            tracklet, class_name = track.tracklet, class_names[i]
            ahead = track.foresee(embeddings[i], class_name)
            if ahead.may_agree:
                vectors.append(track.mean_with(embeddings[i], qualities[i]))
                asked.append((i, tracklet.num_observations + 1, tracklet.class_name or class_name))
            if ahead.may_contradict:
                vectors.append(tracklet.mean)
                asked.append((i, tracklet.num_observations, tracklet.class_name))
            if ahead.needs_comparison or self._explain:
                vectors.append(embeddings[i])
                asked.append((i, 0, class_name))
        near = self._compare(
            np.stack(vectors),
            [class_name for _, _, class_name in asked],
            [tracks[i].tracklet.column for i, _, _ in asked],
            [count for _, count, _ in asked],
        )
        found = {(i, count): neighbours for (i, count, _), neighbours in zip(asked, near, strict=True)}
        return found, [found.get((i, 0), Neighbours()) for i in range(len(tracks))]

    def _nearest_accepted(
        self, embeddings: NDArray[np.float32], class_names: Sequence[str | None]
    ) -> dict[int, tuple[int, float]]:
        """Return the nearest identity within the accepted distance of each embedding: column and distance, by position.

        Empty where single observations do not matter; see `DecisionRule.with_observation`.
        """
        rule = self._rule
        if rule.with_observation <= rule.accept:
            return {}
        near = self._source.near_identities(embeddings, class_names, limit=rule.accept, nearest=1)
        return {row: (column, d) for row, column, d in zip(*(array.tolist() for array in near), strict=True)}

    def _compare_means(self, tracklets: Sequence[Tracklet]) -> None:
        """Compare the means of tracklets with the gallery."""
        if not tracklets:
            return
        near = self._compare(
            np.stack([tracklet.mean for tracklet in tracklets]),
            [tracklet.class_name for tracklet in tracklets],
            [tracklet.column for tracklet in tracklets],
            [tracklet.num_observations for tracklet in tracklets],
        )
        for tracklet, neighbours in zip(tracklets, near, strict=True):
            tracklet.near = neighbours

    def _compare(
        self,
        vectors: NDArray[np.float32],
        class_names: Sequence[str | None],
        held: Sequence[int],
        num_observations: Sequence[int],
    ) -> list[Neighbours]:
        if self._explain:  # which lists the nearest identities, however far
            return compare_with_gallery(self._source, vectors, class_names, held, limit=np.inf)
        return compare_for_decision(self._source, vectors, class_names, held, self._rule, num_observations)

    def _new_track(
        self, frame: int, track_id: int, embedding: NDArray[np.float32], class_name: str | None
    ) -> TrackEvidence:
        first = self._schedule.note_first_observation(track_id, frame)
        tracklet = Tracklet(
            first,
            first,
            np.zeros_like(embedding),
            Neighbours(),
            samples=None if self._archive is None else [],
            class_name=class_name,
            constant=self._rule.constant,
        )
        track = self._tracks[track_id] = TrackEvidence(self._rule, tracklet, frame, frame)
        if first < frame:
            track.note_seen(first)
        return track

    # -- names -----------------------------------------------------------------------------------------------

    def names(
        self, frame: int, track_ids: Sequence[int], class_names: Sequence[str | None] | None = None
    ) -> list[Named | None]:
        """Return the names of the tracks in a frame, no name twice, and none on a box of another class.

        Args:
            frame: Frame number.
            track_ids: The N tracks in the frame.
            class_names: N classes of their boxes, None where unknown. All unknown by default.
        """
        present = frozenset(track_ids)
        if self._sightings is not None and self._sightings.has_time:
            self._assign_beside_cameras(frame, present, self._sightings)
        elif self._is_stale or present != self._assigned:
            assign_tracks([self._tracks[t] for t in sorted(present) if t in self._tracks], self._rule)
            self._assigned, self._is_stale = present, False
        names: list[Named | None] = []
        for i, track_id in enumerate(track_ids):
            track = self._tracks.get(track_id)
            if track is None:
                names.append(None)
                continue
            track.note_seen(frame)
            class_name = class_names[i] if class_names is not None else None
            withheld = track.is_swap_suspected or are_different_classes(class_name, track.tracklet.class_name)
            named = None if withheld else name_of_tracklet(track.tracklet, self._source)
            names.append(named)
            if self._explain:
                now = (self.status(track_id, class_name), None if named is None else named.identity)
                if not track.status_changes or track.status_changes[-1][1:] != now:
                    track.status_changes.append((frame, *now))
        if frame // self.FORGET_EVERY != self._last_sweep:  # not at multiples alone: frames may be missing
            self._last_sweep = frame // self.FORGET_EVERY
            self._forget(frame)
        return names

    def _assign_beside_cameras(self, frame: int, present: frozenset[int], sightings: CameraSightings) -> None:
        """Decide the names of the tracks of a frame by what other cameras see, which changes at any time."""
        tracks = [(t, self._tracks[t]) for t in sorted(present) if t in self._tracks]
        margin, names = self._rule.hysteresis, self._source.identities
        excluded = []
        for track_id, track in tracks:
            key, near = (track_id, track.tracklet.first), track.tracklet.near
            is_contrary = track.last_agreed < track.last_observed
            sightings.note_seen(key, agrees=track.last_agreed == frame, is_contrary=is_contrary)
            columns = {one.column for one in near} | {track.tracklet.column} - {-1}
            excluded.append({c for c in columns if sightings.excludes(key, names[c], near.of(c).supported, margin)})
        assign_tracks([track for _, track in tracks], self._rule, excluded)
        for track_id, track in tracks:
            column = track.tracklet.column
            sightings.note_name(
                (track_id, track.tracklet.first),
                names[column] if column >= 0 else None,
                track.tracklet.near.of(column).supported,
                margin,
            )
        self._is_stale = True

    def status(self, track_id: int, class_name: str | None = None) -> Status:
        """Return whether a track is known, unknown or undecided.

        Args:
            track_id: The track.
            class_name: The class of its box, None where unknown. Evidence of another class does not count: the track
                is undecided then.
        """
        track = self._tracks.get(track_id)
        if track is None or are_different_classes(class_name, track.tracklet.class_name):
            return "undecided"
        return track.status

    def evidence(self, track_id: int) -> TrackEvidence | None:
        """Return the evidence of a track, to be read and not changed; None where it was never observed."""
        return self._tracks.get(track_id)

    def tracklets(self) -> list[NamedTracklet]:
        """End all tracks, and return the tracklets of the whole run; empty without `keep_tracklets`."""
        for track_id, track in self._tracks.items():
            if self._archive is not None:
                self._archive.add_track(track_id, track, self._source)
        self._tracks.clear()
        return [] if self._archive is None else self._archive.tracklets

    def _forget(self, frame: int) -> None:
        old = [t for t, track in self._tracks.items() if frame - track.last_seen > self.FORGET_AFTER]
        for track_id in old:
            track = self._tracks.pop(track_id)
            if self._archive is not None:
                self._archive.add_track(track_id, track, self._source)
        self._schedule.forget(frame, self.FORGET_AFTER)

    # -- changes of the gallery ------------------------------------------------------------------------------

    def gallery_changed(self, before: Sequence[str], renamed: Mapping[str, str] | None = None) -> None:
        """Adapt to changed columns of the gallery: each track keeps its identity.

        Args:
            before: The identities of the columns before the change.
            renamed: Identities with a new name, the old name to the new one.
        """
        renamed = renamed or {}
        if self._archive is not None:
            self._archive.rename(renamed)
        parts = [(t, part) for t in self._tracks.values() for part in (t.tracklet, t.previous) if part is not None]
        if not parts:
            return
        columns: dict[str, list[int]] = {}
        for column, name in enumerate(self._source.identities):
            columns.setdefault(name, []).append(column)
        for track, part in parts:
            track.records.clear()  # they refer to the old columns
            track.held.clear()
            part.nearest_observations.clear()
            if part.column >= 0:
                name = renamed.get(before[part.column], before[part.column])
                part.column = self._column_of(part, columns.get(name, ()))
        self._compare_means([part for _, part in parts])
        self._is_stale = True

    def _column_of(self, tracklet: Tracklet, columns: Sequence[int]) -> int:
        """Return the column of its class among those of one name, or -1; the others are infinitely far."""
        count = len(columns)
        if not count:
            return -1
        means = np.repeat(tracklet.mean[None], count, axis=0)
        distances = self._source.column_distances(means, columns, [tracklet.class_name] * count)
        return next((column for column, d in zip(columns, distances.tolist(), strict=True) if d < np.inf), -1)
