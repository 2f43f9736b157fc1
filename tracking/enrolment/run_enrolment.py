"""Enrolment of one run: the gallery opened for it, what it is named from, and how it ends."""

from __future__ import annotations

import hashlib
import json
import secrets
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gallery_db import Gallery, find_anomalies, is_gallery, match_threshold
from gallery_db.address import is_address
from gallery_db.errors import GalleryError, GtrackError
from gallery_db.opening import is_image_tree
from tracking.enrolment.base import EnrolmentCounts, EnrolmentSettings, EnrolMode, is_unknown
from tracking.enrolment.enroller import Enroller
from tracking.enrolment.gallery_writer import GalleryWriter
from tracking.errors import OptionError, VideoError
from tracking.identification.gallery_source import EmbedderOptions, GallerySource
from tracking.identification.gallery_sync import GalleryNotices
from tracking.identification.track_evidence import DecisionRule
from tracking.identification.tracklet_linking import LinkedPerson, link_tracklets, name_tracklets

if TYPE_CHECKING:
    from gallery_db.model import EmbeddingModel
    from gallery_db.search.nearest import Search
    from tracking.identification.named_tracklets import NamedTracklet

__all__ = ["RunEnrolment", "check_enrolment_gallery", "misplaced_lines", "run_key"]

_HEAD = 1024 * 1024
_MOST_COMPARED = 5000
_MOST_TOLD = 3


def run_key(source_id: str, video: Path, frame_range: tuple[int | None, int | None], model: EmbeddingModel) -> str:
    """What makes two runs the same one for enrolment: camera, video, frames and model.

    A video is known by its name, its size and its first MiB. The key is what the ids of the run's entries begin
    with; it is ASCII and ends with ``-``.

    Raises:
        VideoError: The video cannot be read.
    """
    try:
        with video.open("rb") as stream:
            head = hashlib.sha256(stream.read(_HEAD)).hexdigest()
        size = video.stat().st_size
    except OSError as error:
        raise VideoError(f"video {video} cannot be read: {error.strerror or error}.") from error
    facts = [source_id, video.name, size, head, frame_range[0] or 0, frame_range[1], model.sha256, model.preprocessing]
    return f"track-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}-"


def misplaced_lines(gallery: Gallery, ids: Collection[str]) -> list[str]:
    """What to say of enrolled entries that look like somebody else's, the worst first; see `find_anomalies`.

    A gallery of more than `_MOST_COMPARED` entries is left to `gtrack gallery list --suspects`: all are compared with
    all.

    Args:
        gallery: With the entries in it.
        ids: Theirs.
    """
    if not ids or len(gallery) > _MOST_COMPARED:
        return []
    found = [one for one in find_anomalies(gallery.view(search="exact")).mislabelled if one.entry_id in ids]
    lines = [
        f"warning: the enrolled entry {one.entry_id} of {one.identity} is nearer to {one.other} "
        f"({one.other_distance:.2f}) than to {one.identity}'s others ({one.own_distance:.2f}); "
        "`gtrack gallery list --suspects` shows all such."
        for one in found[:_MOST_TOLD]
    ]
    if len(found) > _MOST_TOLD:
        lines.append(f"warning: {len(found) - _MOST_TOLD} more enrolled entries look misplaced.")
    return lines


def check_enrolment_gallery(path: Path | str) -> None:
    """Refuse what cannot be enrolled into, before a model is loaded.

    Raises:
        OptionError: It is a tree of image folders.
    """
    if isinstance(path, Path) and is_image_tree(path):
        raise OptionError(
            f"`enroll` needs a gtrack gallery, and {path} is a tree of image folders, which is only read.",
            field="gallery",
            hint=f"Make a gallery of it with: gtrack gallery ingest {path} --gallery GALLERY",
        )


class RunEnrolment:
    """A gallery that one run is named from and enrols into; nobody else writes to its folder meanwhile.

    To a served one others do write; whoever follows it (`is_shared`, `catch_up`) tells the enroller what has changed.

    Args:
        path: The gallery's folder, or the address of a served one; made for the model if there is none.
        options: The ReID model.
        mode: ``"unknown"`` or ``"all"``.
        source_id: The camera.
        video: The video.
        stream: A live source's name, where there is no video file; each run of it is one of its own.
        frame_range: The frames of it.
        fps: Its frames per second, if known.
        classes: Names of the classes that are tracked; None for all. What an earlier run enrolled of others stays.
        threshold: Largest cosine distance at which a name is given; None for the gallery's own.
        kinds: Names of the classes that are matched, for the gallery's own threshold; empty for all.
        grace_frames: Frames that a track may be out of sight.
        notify: Takes one-line messages.
        search: How the view of the gallery is to answer.
        judge_again: Whether `relink` will be called.

    Raises:
        OptionError: See `check_enrolment_gallery`.
        GalleryLockedError: Another process is writing to the gallery.
        GalleryError: As of `Gallery.open_or_create`.

    Attributes:
        source: The gallery, without what the same run enrolled before.
        enroller: What the tracker tells of its looks.
        threshold: At which a name is given.
        notices: Passes on what the gallery comes to say during the run.
        is_shared: Whether others may change the gallery during the run.
    """

    def __init__(
        self,
        path: Path | str,
        options: EmbedderOptions,
        *,
        mode: EnrolMode,
        source_id: str,
        video: Path,
        stream: str | None = None,
        frame_range: tuple[int | None, int | None],
        fps: float | None,
        classes: Collection[str] | None,
        threshold: float | None,
        kinds: Collection[str] = (),
        grace_frames: int,
        notify: Callable[[str], None],
        search: Search = "auto",
        judge_again: bool = False,
    ) -> None:
        check_enrolment_gallery(path)
        self._notify = notify
        if is_gallery(path):
            with Gallery.open(path) as there:
                embedder = options.load(there, notify)
        else:
            embedder = options.load(None, notify)
        gallery = Gallery.open_or_create(path, embedder.model)
        try:
            run_id = secrets.token_hex(6)
            if stream is None:
                key = run_key(source_id, video, frame_range, embedder.model)
            else:
                key = f"track-{hashlib.sha256(f'{source_id} {stream} {run_id}'.encode()).hexdigest()[:16]}-"
            entries, vectors = gallery.with_prefix(key)
            wanted = None if classes is None else {name.casefold() for name in classes}
            rows = [row for row, e in enumerate(entries) if wanted is None or e.class_name.casefold() in wanted]
            earlier = {entries[row].id: (entries[row], vectors[row]) for row in rows}
            view = gallery.view(without=earlier, search=search)
            view.prepare()
            found = match_threshold(gallery, threshold, kinds)
            numbers = gallery.unknown_numbers()
            self.notices = GalleryNotices(gallery, notify)
            self.notices.forward()
            self._writer = GalleryWriter(
                gallery,
                [entry for entry, _ in earlier.values()],
                words=f"enrol tracks of {video.name}, camera {source_id}",
            )
        except BaseException:
            gallery.close(sync=False)
            raise
        self.source = GallerySource(gallery, view, embedder)
        self.threshold = found
        self.is_shared = is_address(gallery.location)
        self._failure: GtrackError | None = None
        self.enroller = Enroller(
            self._writer,
            view,
            EnrolmentSettings(
                source_id=source_id,
                run_key=key,
                mode=mode,
                threshold=found.value,
                grace_frames=grace_frames,
                source=str(video.absolute()) if stream is None else stream,
                fps=fps,
                run_id=run_id,
            ),
            earlier=earlier,
            numbers=numbers,
            keep_candidates=judge_again,
        )

    @property
    def counts(self) -> EnrolmentCounts:
        """What became of the tracks so far."""
        return self.enroller.counts

    def relink(self, tracklets: Sequence[NamedTracklet]) -> list[NamedTracklet]:
        """Put all tracks of the run together once more, and store and name them accordingly.

        Args:
            tracklets: Of all tracks, with their samples.

        Returns:
            The tracklets with the names that they have in the gallery from now on; as they were where the tracks
            cannot be judged, which `finish` then says.
        """
        enroller = self.enroller
        try:
            enroller.finish()
        except GtrackError as error:
            self._failure = error
            return list(tracklets)
        whole = [tracklet for tracklet in tracklets if tracklet.samples]
        rule = DecisionRule.of(self.threshold.value)
        place = _Places(whole)
        anchors = [
            tracklet.named.identity
            if tracklet.named is not None and tracklet.named.identity in enroller.book.others_names
            else None
            for tracklet in whole
        ]
        for judged in enroller.candidates.values():
            position = place.of(judged.track_id, judged.frame)
            if judged.is_fixed and position is not None:
                anchors[position] = judged.identity
        people = link_tracklets(whole, rule, anchors, self._out(whole))
        settled = name_tracklets(whole, people, self._names(people, place), rule)
        place = _Places(settled)

        def name_of(track_id: int, frame: int) -> str | None:
            position = place.of(track_id, frame)
            named = None if position is None else settled[position].named
            return None if named is None else named.identity

        enroller.reassign(name_of)
        return settled + [tracklet for tracklet in tracklets if not tracklet.samples]

    def _out(self, tracklets: Sequence[NamedTracklet]) -> list[frozenset[str]]:
        """Whom each tracklet is not, by what people said of entries like it."""
        if not tracklets:
            return []
        view = self.source.view
        means = np.stack([np.sum([sample.total for sample in tracklet.samples], axis=0) for tracklet in tracklets])
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
        # A mean of looks that cancel out has no direction, and so no distances.
        means[np.linalg.norm(means, axis=1) < 0.5] = np.eye(1, means.shape[1])
        distances = view.identity_distances(means)
        return [frozenset(view.identities[c] for c in np.flatnonzero(np.isinf(row))) for row in distances]

    def _names(self, people: Sequence[LinkedPerson], place: _Places) -> list[str | None]:
        """What each of the people is called: as surely known, as an earlier run did, as most of their entries are.

        People with nothing worth storing have no name, and so have those whose tracks are all like somebody whom
        the gallery knew, without being surely them.
        """
        enroller = self.enroller
        person_of = {member: number for number, person in enumerate(people) for member in person.members}
        votes: dict[tuple[int, str], tuple[bool, float]] = {}
        worthy: dict[int, float] = {}
        for judged in enroller.candidates.values():
            position = place.of(judged.track_id, judged.frame)
            if position is None or (judged.is_fixed and judged.identity is None):
                continue  # whom somebody took out of the gallery is not given a name again
            number = person_of[position]
            if judged.identity is not None or not judged.is_like_known:
                worthy[number] = worthy.get(number, 0.0) + judged.weight
            # What an earlier run, or by now another one, knows somebody by is what they are called.
            for name, earlier in (
                (judged.earlier_identity, True),
                (judged.identity, judged.identity in enroller.book.shared_names),
            ):
                if name is not None and is_unknown(name) and name not in enroller.book.others_names:
                    before, weight = votes.get((number, name), (False, 0.0))
                    votes[number, name] = (before or earlier, weight + judged.weight)
        names = [person.anchor for person in people]
        taken = {name for name in names if name is not None}
        for (number, name), _ in sorted(votes.items(), key=lambda item: (-item[1][0], -item[1][1], item[0])):
            if names[number] is None and name not in taken:
                names[number] = name
                taken.add(name)
        for number in sorted(worthy):
            if names[number] is None:
                names[number] = enroller.book.new_name()
        return names

    def finish(self, *, complete: bool, progress: Callable[[int, int], None] | None = None) -> GtrackError | None:
        """End all tracks, store what is to be stored, and close the gallery.

        Args:
            complete: Whether the run went through. After an error or Ctrl-C nobody waits for the Chroma index,
                and what an earlier run enrolled from later frames stays.
            progress: Called with (entries done, entries in all) while the index is brought up to date.

        Returns:
            What went wrong, or None.
        """
        failure = self._failure
        complete = complete and failure is None
        try:
            self.enroller.finish()
        except GtrackError as error:  # such as embeddings that are none; the run itself is complete without
            failure, complete = failure or error, False
        last = None if complete else self.enroller.last_frame
        failure = self._writer.finish(last_frame=last, sync=complete, progress=progress, check=self._check) or failure
        self.notices.forward()
        return failure

    def abort(self) -> None:
        """Let go of the gallery where the run did not come to its frames; nothing happens after `finish`."""
        self._writer.abort()

    def catch_up(self) -> None:
        """Hear now what others have done, as far as the server answers."""
        with suppress(GalleryError):
            self._writer.gallery.catch_up()

    def _check(self, gallery: Gallery, written: frozenset[str]) -> None:
        for line in misplaced_lines(gallery, written):
            self._notify(line)


class _Places:
    """Which of some tracklets a track is in at a frame."""

    def __init__(self, tracklets: Sequence[NamedTracklet]) -> None:
        self._of: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        for position, tracklet in enumerate(tracklets):
            self._of[tracklet.track_id].append((tracklet.first, tracklet.last, position))
        for spans in self._of.values():
            spans.sort()

    def of(self, track_id: int, frame: int) -> int | None:
        """Its position, or None."""
        spans = self._of.get(track_id, [])
        place = bisect_right(spans, frame, key=lambda span: span[0]) - 1
        return spans[place][2] if place >= 0 and frame <= spans[place][1] else None
