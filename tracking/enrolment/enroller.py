"""Who is put into the gallery: from looks at tracks to one embedding a track, once the track has ended.

This room knows embeddings, track ids and frame numbers; it knows nothing of video files, BoxMOT, SQLite or
Chroma. What it decides goes to a sink, and into the view that the run is named from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Box, Entry, utc_now
from gallery_db.names import unknown_name, unknown_number
from gallery_db.rejections import NOT
from tracking.enrolment.base import EnrolmentCounts, EnrolmentSink, EnrolMode, KnownIdentities, is_unknown

if TYPE_CHECKING:
    from gallery_db import ViewChange

__all__ = [
    "Enroller",
    "EnrolmentCandidate",
    "SharedGallery",
]

_CROP_HEIGHT = 256
_TINY = 1e-6


@dataclass(slots=True)
class _Open:
    """A track that has not ended."""

    track_id: int
    ordinal: int
    first: int
    last: int
    frames: int = 0
    looks: int = 0
    total: NDArray[np.float32] | None = None
    weight: float = 0.0
    squares: float = 0.0
    scores: float = 0.0
    best: float = -1.0
    best_frame: int = 0
    best_box: Box | None = None
    crop: NDArray[np.uint8] | None = None
    identity: str | None = None
    evidence: float | None = None
    classes: dict[str, float] | None = None
    part: int = 0
    sub: int = 0
    reserved: str | None = None
    adopted: bool = False

    @property
    def mean(self) -> NDArray[np.float32]:
        """(D,) of the looks, of unit length; there must have been one."""
        assert self.total is not None
        return self.total / np.float32(max(float(np.linalg.norm(self.total)), _TINY))

    @property
    def quality(self) -> float:
        """Mean quality of the looks, weighted by themselves."""
        return self.squares / self.weight if self.weight > 0 else 0.0

    @property
    def class_name(self) -> str:
        """The class that most of the looks, by quality, say."""
        classes = self.classes or {}
        return max(classes, key=lambda name: (classes[name], name)) if classes else "person"


@dataclass(slots=True, eq=False)
class EnrolmentCandidate:
    """What became of a track that was good enough to be stored, for a second judgement in the end.

    Attributes:
        track_id: The track.
        frame: Of its best look.
        weight: Of its looks.
        name: Whom it was stored as, or None.
        fixed: Whether a person gave it that name.
        earlier: What an earlier run over the same video called it, or None.
        like: Whether it is like somebody whom the gallery knew before the run.
        entry: As it would be stored under `name`.
        embedding: (D,).
        crop: Its picture, where it was not stored.
        put_off: Whether it was not stored because it was not surely one identity or another.
    """

    track_id: int
    frame: int
    weight: float
    name: str | None
    fixed: bool
    earlier: str | None
    like: bool
    entry: Entry
    embedding: NDArray[np.float32]
    crop: NDArray[np.uint8] | None
    put_off: bool = False


@dataclass(frozen=True, slots=True)
class SharedGallery:
    """What the enrollers share that fill one gallery in one run, a camera each.

    Attributes:
        own: The entries that they stored: whose each is, by id.
        dropped: Ids of those that they took out again, or left out for others like them.
        given: Names that they gave to strangers.
        open: The tracks of each that have not ended.
    """

    own: dict[str, str] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)
    open: dict[int, Mapping[tuple[int, int], _Open]] = field(default_factory=dict)


class Enroller:
    """Turns each track that ends into one entry, or says why not.

    A track has ended when it was not seen for more than the grace period, or with the stream. A track id that
    comes back within it is the same track; after it, another one. The entry's embedding is the mean of the
    looks, weighted by quality, of unit length.

    A track that the gallery has no name for becomes a new identity ``unknown-0001``, or joins the one that an
    earlier track became. Other named tracks add to their identity with ``mode="all"``, where the match is sure.
    Nothing is stored that may be somebody else, and one person is not in two places at once: a track that is
    merely like an identity, and was there beside it for long, is a new one.

    Others may change the gallery meanwhile: `gallery_changed` hears of it, and what they say of an entry stands.

    Args:
        sink: Where entries go.
        known: The known identities. Those that this run enrolled before must not be among them.
        source_id: The camera.
        run_key: What the entries' ids begin with; the same for the same input, so that they replace their like.
        mode: ``"unknown"`` or ``"all"``.
        threshold: Largest cosine distance at which the run gives a name.
        grace_frames: Frames that a track may be out of sight.
        source: The video, for the entries.
        fps: Its frames per second, if known.
        run_id: Names this very run.
        earlier: What the same run stored before, by id, with embeddings: its names are given again.
        names: All names that the gallery holds, so that a new one is new.
        numbers: Numbers for new names, which nobody else is given; by default those after the highest in `names`.
        judge_again: Remember what `reassign` needs.
        company: Of the enrollers of other cameras in this run, which know the same identities; None for no others.

    Attributes:
        prior: The names that are known by other entries than this run's own, and that it did not give.
        shared: The names that it gave, and that others have stored entries under since.
    """

    MOST_CROPS = 256
    """Pictures kept of tracks that were not stored and may yet be."""
    MIN_FRAMES = 5
    MIN_LOOKS = 2
    VERY_GOOD = 0.6
    """Quality from which a single look will do."""
    MIN_QUALITY = 0.1
    SURE = 0.6
    """A named person's match is sure up to this part of the threshold ..."""
    MARGIN = 0.05
    """... and where the next identity is that much further away."""
    TOGETHER = 20
    """Frames in which two tracks must both have been there to be two people for sure, and not two boxes of one."""
    PROTOTYPES = 10
    """Most enrolled entries of an identity."""

    def __init__(
        self,
        sink: EnrolmentSink,
        known: KnownIdentities,
        *,
        source_id: str,
        run_key: str,
        mode: EnrolMode = "unknown",
        threshold: float = 0.25,
        grace_frames: int = 30,
        source: str = "",
        fps: float | None = None,
        run_id: str = "",
        earlier: Mapping[str, tuple[Entry, NDArray[np.float32]]] | None = None,
        names: Iterable[str] = (),
        numbers: Iterator[int] | None = None,
        judge_again: bool = False,
        company: SharedGallery | None = None,
    ) -> None:
        self._company = company = company or SharedGallery()
        self.judged: dict[str, EnrolmentCandidate] = {}
        self.prior = set(known.identities)
        self.shared: set[str] = set()
        self._judge_again = judge_again
        self.counts = EnrolmentCounts()
        self.last_frame = -1
        self._sink = sink
        self._known = known
        self._source_id = source_id
        self._run_key = run_key
        self._mode = mode
        self._threshold = threshold
        self._grace = grace_frames
        self._source = source
        self._fps = fps
        self._run_id = run_id
        self._earlier = dict(earlier or {})
        given = (unknown_number(name) or 0 for name in names)
        self._numbers = count(max(given, default=0) + 1) if numbers is None else numbers
        self._open: dict[tuple[int, int], _Open] = {}
        company.open[id(self)] = self._open
        self._subs: dict[int, int] = {}
        self._part: dict[int, int] = {}
        self._held: dict[int, list[tuple[Any, ...]]] = {}
        self._opened = 0
        self._own, self._dropped, self._given = company.own, company.dropped, company.given
        self._taken_out: set[str] = set()
        self._spans: dict[str, set[tuple[int, int]]] = {}

    # -- what happens on the video ---------------------------------------------------------------------------

    def observe(
        self,
        frame: int,
        track_id: int,
        embedding: NDArray[np.float32],
        quality: float,
        score: float,
        box: Sequence[float],
        class_name: str | None,
        identity: str | None,
        identity_evidence: float | None,
        crop: NDArray[np.uint8] | None,
        *,
        part: int | None = None,
        held: bool = False,
    ) -> None:
        """Take one look at a track.

        Args:
            frame: Frame number; never less than in an earlier call.
            track_id: The track.
            embedding: (D,) of unit length.
            quality: Of the look, in [0, 1]; see `observation_quality`.
            score: Of the detection.
            box: xyxy in pixels of the frame; NaN where unknown.
            class_name: The class; None where unknown.
            identity: The name that the track now has.
            identity_evidence: Cosine distance to it.
            crop: (H, W, 3) uint8 BGR; may be a view, what is kept is copied.
            part: Which tracklet of the track it shows: the first frame of that. Each is stored for itself, as each
                shows another person. None for the one of the look before.
            held: It contradicts what was seen of the tracklet. It counts only if the next look begins another.
        """
        if held:
            # `_small` copies, so that no frame is kept for a look at a passer-by.
            small = None if crop is None else _small(crop)
            look = (frame, embedding, quality, score, box, class_name, None, None, small)
            self._held.setdefault(track_id, []).append(look)
            return
        waiting = self._held.pop(track_id, [])
        if part is not None and part != self._part.get(track_id, part):
            self._go_over(frame, track_id, part)
            if waiting and waiting[0][0] >= part:
                for at, *rest in waiting:
                    self._look(self._at(at, track_id, part), at, *rest)
        self._look(
            self._at(frame, track_id, part),
            frame,
            embedding,
            quality,
            score,
            box,
            class_name,
            identity,
            identity_evidence,
            crop,
        )

    def _go_over(self, frame: int, track_id: int, part: int) -> None:
        """The track shows somebody else, since the frame `part`, or again whom it showed before."""
        old = self._open.get((track_id, self._part[track_id]))
        self._part[track_id] = part
        if old is not None and old.total is None:  # seen, but not looked at yet
            del self._open[track_id, old.part]
            old.part = part
            self._open[track_id, part] = old
            return
        if old is None or part <= old.first:
            return
        new = (track_id, part) not in self._open
        track = self._at(frame, track_id, part)
        if new:
            # Of the same ordinal: whether a swap is seen must not change the ids of all tracks after it.
            self._opened -= 1
            track.ordinal = old.ordinal
            self._subs[old.ordinal] = track.sub = self._subs.get(old.ordinal, 0) + 1
        track.first = part
        moved = min(old.frames, max(0, old.last - part + 1))
        old.frames -= moved
        track.frames += moved
        old.last = min(old.last, part - 1)

    def _look(
        self,
        track: _Open,
        frame: int,
        embedding: NDArray[np.float32],
        quality: float,
        score: float,
        box: Sequence[float],
        class_name: str | None,
        identity: str | None,
        identity_evidence: float | None,
        crop: NDArray[np.uint8] | None,
    ) -> None:
        weight = max(quality, _TINY)
        weighted = embedding * np.float32(weight)
        track.total = weighted if track.total is None else track.total + weighted
        track.looks += 1
        track.weight += weight
        track.squares += weight * quality
        track.scores += score
        track.identity, track.evidence = identity, identity_evidence
        track.classes = track.classes or {}
        if class_name is not None:
            track.classes[class_name] = track.classes.get(class_name, 0.0) + weight
        if quality > track.best:
            x1, y1, x2, y2 = (float(value) for value in box)
            track.best, track.best_frame = quality, frame
            track.best_box = (x1, y1, x2, y2) if x1 == x1 else None
            track.crop = None if crop is None else _small(crop)

    def seen(self, frame: int, track_ids: Sequence[int]) -> None:
        """Note which tracks are in a frame; to be called once for every frame, also one without tracks."""
        self._expire(frame)
        for track_id in track_ids:
            track = self._at(frame, track_id)
            track.last = frame
            track.frames += 1

    def reserve(self, track_id: int) -> str | None:
        """The name that a track will have which is nobody's so far, or None where too little was seen of it.

        It is the track's from now on, and nobody else's in this run or, as the gallery is locked, in another; but a
        track of another camera that surely shows the same stranger has the same. If the track is in the end not
        stored as somebody new, the gallery never hears of the name.
        """
        track = self._open.get((track_id, self._part.get(track_id, -1)))
        if track is None or track.looks < self.MIN_LOOKS or track.total is None or track.quality < self.MIN_QUALITY:
            return None
        if track.reserved is None:
            before = self._before(self._id(track), track.mean)
            name = None if before is not None else self._of_another_camera(track)
            track.adopted = name is not None
            track.reserved = name or self._new_name(before)
            self._given.add(track.reserved)
        return track.reserved

    def _of_another_camera(self, track: _Open) -> str | None:
        """The name that is reserved for a stranger in sight of another camera, if that is surely the same one."""
        mean = track.mean
        distances: dict[str, float] = {}
        for owner, tracks in self._company.open.items():
            for other in tracks.values() if owner != id(self) else ():
                if other.reserved is None or other.identity is not None or other.class_name != track.class_name:
                    continue
                distance = 1.0 - float(mean @ other.mean)
                distances[other.reserved] = min(distance, distances.get(other.reserved, distance))
        best = sorted(distances, key=lambda name: (distances[name], name))[:2]
        if not best or distances[best[0]] > self.SURE * self._threshold:
            return None
        if len(best) > 1 and distances[best[1]] - distances[best[0]] < self.MARGIN:
            return None
        # Whoever is in sight of this one beside them is somebody else.
        return None if any(other.reserved == best[0] for other in self._open.values()) else best[0]

    def gallery_changed(self, change: ViewChange) -> None:
        """Go on after others have changed the gallery; what they said of this run's entries is not undone.

        Args:
            change: What the known identities have found changed.
        """
        for id_, entry in change.entries.items():
            if id_ in self._dropped and entry is None:
                continue
            if id_ in self._own:
                if entry is None:
                    del self._own[id_]
                else:
                    changed = entry.identity != self._own[id_]
                    if changed or entry.identity not in self._given:  # of which another camera may have heard first
                        self._known_by_others(entry.identity)
                    if not changed:
                        continue
                    self._own[id_] = entry.identity
                self._fix(id_, None if entry is None else entry.identity)
            elif id_ in self._earlier:
                if entry is None:
                    del self._earlier[id_]
                    self._taken_out.add(id_)
                else:
                    self._earlier[id_] = (entry, self._earlier[id_][1])
            elif entry is not None:
                self._known_by_others(entry.identity)
        for old, new in change.renamed.items():
            for track in self._open.values():
                if track.identity == old:
                    track.identity = new
            if old in self._spans:
                self._spans.setdefault(new, set()).update(self._spans.pop(old))
            self.prior.discard(old)
            self.shared.discard(old)
            # Stored here under the old name while it was given another one elsewhere.
            for id_ in [id_ for id_, name in self._own.items() if name == old]:
                self._sink.rename(id_, new, enrolled_as=old)
                self._own[id_] = new
                self._fix(id_, new)

    def _known_by_others(self, name: str) -> None:
        (self.shared if name in self._given else self.prior).add(name)

    def _fix(self, id_: str, name: str | None) -> None:
        """Note what somebody has said of a stored track, for `reassign` to leave it so."""
        if id_ in self.judged:
            self.judged[id_].name, self.judged[id_].fixed = name, True

    def finish(self) -> EnrolmentCounts:
        """End all tracks that are still open, and say what became of all."""
        while self._open:
            self._end(self._open.pop(next(iter(self._open))))
        self._company.open.pop(id(self), None)
        return self.counts

    def _at(self, frame: int, track_id: int, part: int | None = None) -> _Open:
        if frame > self.last_frame:
            self._expire(frame)
        if part is None:
            part = self._part.get(track_id, frame)
        key = (track_id, part)
        track = self._open.get(key)
        if track is None:
            track = self._open[key] = _Open(track_id, self._opened, frame, frame, part=part)
            self._opened += 1
        self._part[track_id] = part
        return track

    def _expire(self, frame: int) -> None:
        self.last_frame = max(self.last_frame, frame)
        gone = [track for track in self._open.values() if frame - track.last - 1 > self._grace]
        for track in gone:
            del self._open[track.track_id, track.part]
            if self._part.get(track.track_id) == track.part:
                del self._part[track.track_id]
                self._held.pop(track.track_id, None)
            self._end(track)

    # -- what is made of it ----------------------------------------------------------------------------------

    def _end(self, track: _Open) -> None:
        counts = self.counts
        seldom = track.looks < self.MIN_LOOKS and track.best < self.VERY_GOOD
        if track.frames < self.MIN_FRAMES or track.total is None or seldom:
            counts.too_short += 1
        elif track.quality < self.MIN_QUALITY:
            counts.too_poor += 1
        else:
            if float(np.linalg.norm(track.total)) > _TINY:
                self._decide(track, track.mean)
            else:  # looks that cancel out show nobody
                counts.too_poor += 1
        if track.identity is not None:
            self._spans.setdefault(track.identity, set()).add((track.first, track.last))

    def _decide(self, track: _Open, mean: NDArray[np.float32]) -> None:
        counts = self.counts
        id_ = self._id(track)
        if id_ in self._taken_out:
            counts.redundant += 1
            return
        before = self._before(id_, mean)
        self._remember(track, mean, id_, before)
        if before is not None and before.identity != before.extra.get("enrolled_as", before.identity):
            # Somebody has put the name right since; they know better than any distance.
            self._store(track, mean, id_, before.identity, assigned=str(before.extra["enrolled_as"]))
            return
        distances = self._known.identity_distances(mean[None], [track.class_name])[0]
        order = np.argsort(distances, kind="stable")[:2]
        best = float(distances[order[0]]) if len(order) else float("inf")
        margin = float(distances[order[1]]) - best if len(order) > 1 else float("inf")
        near = self._known.identities[order[0]] if best <= self._threshold else None
        close = best <= self.SURE * self._threshold
        name = track.identity
        if name is not None and not is_unknown(name):
            if self._mode != "all":
                counts.named += 1
                return
            sure = name == near and close
        elif near is None:
            sure, name = name is None, None
        elif self._together(near, track) >= self.TOGETHER and not close:
            # Alike, but both were there: two people. Were it two boxes of one person, they would be nearer.
            sure, name = True, None
        elif name is None:
            # The run could not name it; only what it has learnt since can.
            sure, name = close and (is_unknown(near) or self._mode == "all"), near
        else:
            sure = name == near
        if name is not None:
            sure = sure and margin >= self.MARGIN and self._together(name, track) <= 0
        if not sure:
            counts.unsure += 1
            if self._judge_again:
                self.judged[id_].put_off = True
        elif name is None:
            reserved = track.reserved
            if track.adopted and reserved in self._known.identities:
                reserved = None  # stored from the other camera by now, and no longer like this one
            self._store(track, mean, id_, reserved or self._new_name(before))
            counts.identities += 1
        else:
            self._store(track, mean, id_, name)

    def _remember(self, track: _Open, mean: NDArray[np.float32], id_: str, before: Entry | None) -> None:
        if not self._judge_again:
            return
        distances = self._known.identity_distances(mean[None], [track.class_name])[0]
        near = [distances[c] for c, name in enumerate(self._known.identities) if name in self.prior]
        waiting = sum(judged.crop is not None for judged in self.judged.values())
        self.judged[id_] = EnrolmentCandidate(
            track.track_id,
            track.best_frame,
            track.weight,
            None,
            before is not None and before.identity != before.extra.get("enrolled_as", before.identity),
            None if before is None else before.identity,
            min(near, default=np.inf) <= self._threshold,
            self._entry(track, id_, "", ""),
            mean,
            track.crop if waiting < self.MOST_CROPS else None,
        )

    def reassign(self, name_of: Callable[[int, int], str | None]) -> None:
        """Store what is to be stored by what is known in the end; needs `judge_again`, after `finish`.

        Entries change their identity where the whole run says another. A track that was not surely one identity or
        another is stored where the run says which of the strangers it is.

        Args:
            name_of: Whom a track shows in a frame, or None where that cannot be said.
        """
        for id_, judged in self.judged.items():
            name = name_of(judged.track_id, judged.frame)
            if name is None or name == judged.name or judged.fixed:
                continue
            entry = replace(judged.entry, identity=name, extra={**judged.entry.extra, "enrolled_as": name})
            if judged.name is not None:
                self._sink.rename(id_, name)
                self._own[id_] = name
            elif is_unknown(name) and judged.put_off:
                self._sink.put(entry, judged.embedding, judged.crop)
                self._own[id_] = name
                self.counts.unsure -= 1
                self.counts.enrolled += 1
            else:
                continue
            judged.name = name
        stored = [judged for judged in self.judged.values() if judged.name is not None]
        self.counts.identities = len({judged.name for judged in stored if not judged.fixed} - self.prior)
        for name in {judged.name for judged in stored}:
            own = [id_ for id_, judged in self.judged.items() if judged.name == name]
            own.sort(key=lambda id_: (not self.judged[id_].fixed, -self.judged[id_].weight, id_))
            for id_ in own[self.PROTOTYPES :]:
                if self.judged[id_].fixed:
                    continue
                self._sink.remove([id_])
                self.judged[id_].name = None
                self.counts.enrolled -= 1
                self.counts.redundant += 1

    def new_name(self) -> str:
        """A name for a stranger, which nobody has."""
        return self._new_name(None)

    def _id(self, track: _Open) -> str:
        """Unique and repeatable, and fit to be a file's name."""
        name = track.class_name.casefold()
        plain = re.sub(r"[^a-z0-9]+", "_", name)[:40]
        if plain != name:
            plain += "_" + name.encode("utf-8", "replace").hex()[:24]
        sub = f"-{track.sub + 1}" if track.sub else ""
        return f"{self._run_key}{plain}-{track.ordinal:06d}{sub}"

    def _before(self, id_: str, mean: NDArray[np.float32]) -> Entry | None:
        """What an earlier run stored for the same track, if it looks like the same one."""
        found = self._earlier.get(id_)
        if found is None or 1.0 - float(found[1] @ mean) > self.SURE * self._threshold:
            return None  # other settings make other tracks
        return found[0]

    def _new_name(self, before: Entry | None) -> str:
        if before is not None and is_unknown(before.identity) and before.identity not in self._given:
            return before.identity
        while (name := unknown_name(next(self._numbers))) in self._known.identities:
            pass  # somebody has given it by hand since the numbers were reserved
        return name

    def _together(self, name: str, track: _Open) -> int:
        """In how many frames, at most, that identity was on the video as another track; 0 or less: in none."""
        spans = set(self._spans.get(name, ()))
        spans.update((t.first, t.last) for t in self._open.values() if t.identity == name and t is not track)
        return max((min(last, track.last) - max(first, track.first) + 1 for first, last in spans), default=0)

    def _store(
        self, track: _Open, mean: NDArray[np.float32], id_: str, name: str, *, assigned: str | None = None
    ) -> None:
        entry = self._entry(track, id_, name, assigned or name)
        before = self._before(id_, mean)
        if before is not None and NOT in before.extra:  # what a person said of it outlasts a run again
            entry = replace(entry, extra={**entry.extra, NOT: before.extra[NOT]})
        self._given.add(name)
        self._spans.setdefault(name, set()).add((track.first, track.last))
        dropped = self._surplus(entry, mean)
        if dropped == id_:
            self.counts.redundant += 1
            return
        if dropped is not None:
            self._dropped.add(dropped)
            self._sink.remove([dropped])
            if dropped in self._own:
                self.counts.redundant += 1
                self.counts.enrolled -= 1
            self._judge(dropped, None)
        self._own[id_] = name
        self._judge(id_, name)
        self._known.append([entry], mean[None])
        self._sink.put(entry, mean, track.crop)
        self.counts.enrolled += 1

    def _judge(self, id_: str, name: str | None) -> None:
        if id_ in self.judged:
            self.judged[id_].name = name
            self.judged[id_].crop = None

    def _surplus(self, entry: Entry, mean: NDArray[np.float32]) -> str | None:
        """Which of an identity's enrolled entries is one too many: the one most like another of them."""
        ids, vectors = self._known.enrolled(entry.identity, entry.class_name)
        kept = [row for row, id_ in enumerate(ids) if id_ not in self._dropped]
        if len(kept) < self.PROTOTYPES:
            return None
        names = [*(ids[row] for row in kept), entry.id]
        everything = np.concatenate([vectors[kept], mean[None]])
        own = np.array([id_ in self._own or id_ == entry.id for id_ in names])
        alike = everything @ everything.T
        np.fill_diagonal(alike, -np.inf)
        # The next run over the same video starts without this run's entries. Another run's entry must not go
        # because one of this run is like it.
        alike[np.ix_(~own, own)] = -np.inf
        closest = np.round(alike.max(axis=1), 6)
        return max(zip(closest.tolist(), own.tolist(), names, strict=True))[2]

    def _entry(self, track: _Open, id_: str, name: str, assigned: str) -> Entry:
        now = utc_now()
        extra: dict[str, Any] = {
            "track_id": str(track.track_id),
            "source_id": self._source_id,
            "num_frames": track.frames,
            "num_looks": track.looks,
            "first_frame": track.first,
            "last_frame": track.last,
        }
        if self._fps:
            extra["first_time"] = round(track.first / self._fps, 3)
            extra["last_time"] = round(track.last / self._fps, 3)
        extra |= {
            "score": round(track.scores / track.looks, 4),
            "quality": round(track.quality, 4),
            "run_id": self._run_id,
            "run_key": self._run_key,
            "timestamp": now,
            "enrolled_as": assigned,
        }
        if track.evidence is not None and track.identity == name:
            extra["distance"] = round(track.evidence, 6)
        return Entry(
            id=id_,
            identity=name,
            class_name=track.class_name,
            origin="track",
            source=self._source,
            frame=track.best_frame,
            box=track.best_box,
            created_at=now,
            extra=extra,
        )


def _small(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy, at most `_CROP_HEIGHT` pixels high."""
    height, width = crop.shape[:2]
    if height <= _CROP_HEIGHT:
        return crop.copy()
    import cv2

    size = (max(1, round(width * _CROP_HEIGHT / height)), _CROP_HEIGHT)
    resized: NDArray[np.uint8] = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
    return resized
