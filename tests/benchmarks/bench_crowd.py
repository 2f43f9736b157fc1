"""Measure what naming costs in crowds, a frame and over long runs.

``python tests/benchmarks/bench_crowd.py --data ../shared/data [--entries 1000 20000 100000] [--boxes 50]``

Tracks are drawn, so there is no network and no temporal tracker: the figures are CPU ms a frame of `TrackIdentifier`
(schedule, search and decision), of which the search in the gallery. Entries, known and unknown people are drawn after
Market-1501 (see `bench_search.py`). Half of the tracks show unknown people; with "far", these look like nobody. One
track in a hundred ends in each frame, and boxes overlap and change over at random. OMP_NUM_THREADS sets the BLAS
threads.

``--long 100000`` follows a crowd for that many frames instead, with people that are enrolled as they leave, and prints
the resident memory and the CPU ms a frame on the way.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench_search import Array, PersonDistribution, fit_market, resident_mib

from gallery_db import Entry, GalleryView
from tracking.identification.identifier import TrackIdentifier

BLOCK = 20_000


@dataclass
class Track:
    """A drawn track: the middle of what is observed of a person."""

    number: int
    centre: Array


class Crowd:
    """A gallery and tracks in front of a camera."""

    def __init__(self, people: PersonDistribution, entries: int, boxes: int, *, far: bool = False) -> None:
        self.random = random = np.random.default_rng(1)
        self.people, self.far = people, far
        sizes = random.integers(5, 21, entries // 5 + 20)
        count = int(np.searchsorted(np.cumsum(sizes), entries)) + 1
        person = np.repeat(np.arange(count), sizes[:count])[:entries]
        self.centres = people.centres(count, random)
        vectors = np.empty((entries, len(people.mean)), np.float32)
        for start in range(0, entries, BLOCK):
            vectors[start : start + BLOCK] = people.observe(self.centres[person[start : start + BLOCK]], random)
        self.view = GalleryView.from_arrays([f"{n:07d}" for n in person], vectors)
        self.view.prepare()
        self.started = 0
        self.tracks = [self.new() for _ in range(boxes)]

    def new(self) -> Track:
        self.started += 1
        if self.random.random() < 0.5:
            return Track(self.started, self.centres[self.random.integers(len(self.centres))])
        if not self.far:
            return Track(self.started, self.people.centres(1, self.random)[0])
        noise = self.random.standard_normal(len(self.people.mean)).astype(np.float32)
        return Track(self.started, noise / np.linalg.norm(noise))

    def observe(self, identities: TrackIdentifier, frame: int) -> float:
        """Pass a frame on; return the CPU seconds of naming it."""
        random, count = self.random, len(self.tracks)
        ids = [track.number for track in self.tracks]
        overlaps = np.where(random.random(count) < 0.1, 0.6 * random.random(count), 0.0).tolist()
        qualities = (0.3 + 0.7 * random.random(count)).tolist()
        for n in np.flatnonzero(random.random(count) < 0.002).tolist():
            other = self.tracks[random.integers(count)]
            self.tracks[n].centre, other.centre = other.centre, self.tracks[n].centre
        embeddings = self.people.observe(np.stack([track.centre for track in self.tracks]), random)
        kinds = ["person"] * count
        started = time.process_time()
        due = identities.due(frame, ids, qualities, overlaps, kinds)
        if due:
            identities.observe(
                frame, [ids[n] for n in due], embeddings[due], [qualities[n] for n in due], kinds[: len(due)]
            )
        identities.names(frame, ids, kinds)
        for track in ids:
            identities.status(track, "person")
        return time.process_time() - started

    def leave(self, share: float) -> list[Track]:
        """Replace some tracks by new ones; return those that left."""
        left = []
        for n in np.flatnonzero(self.random.random(len(self.tracks)) < share).tolist():
            left.append(self.tracks[n])
            self.tracks[n] = self.new()
        return left


class TimedView:
    """A view whose searches are timed."""

    def __init__(self, view: GalleryView) -> None:
        self.view, self.seconds, self.searches, self.probes = view, 0.0, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.view, name)

    def near_identities(self, probes: Array, class_names: Any, **arguments: Any) -> Any:
        started = time.process_time()
        found = self.view.near_identities(probes, class_names, **arguments)
        self.seconds += time.process_time() - started
        self.searches += 1
        self.probes += len(probes)
        return found


def measure(people: PersonDistribution, entries: int, boxes: int, frames: int, *, far: bool) -> None:
    crowd = Crowd(people, entries, boxes, far=far)
    view = TimedView(crowd.view)
    identities = TrackIdentifier(view, threshold=0.25, every=10)
    spent = []
    for frame in range(frames):
        spent.append(crowd.observe(identities, frame))
        crowd.leave(0.01)
    print(
        f"| {entries:,} | {boxes} | {'far' if far else 'people'} | {1000 * float(np.median(spent)):.1f} | "
        f"{1000 * view.seconds / frames:.1f} | {view.searches / frames:.2f} | {view.probes / frames:.1f} |",
        flush=True,
    )


def follow(people: PersonDistribution, entries: int, boxes: int, frames: int, *, far: bool) -> None:
    """Follow a long run, in which people who leave are enrolled as unknown identities."""
    crowd = Crowd(people, entries, boxes, far=far)
    identities = TrackIdentifier(crowd.view, threshold=0.25, every=10)
    print("| frames | tracks | entries | CPU ms a frame | resident MiB |\n|---|---|---|---|---|")
    spent = 0.0
    for frame in range(frames):
        spent += crowd.observe(identities, frame)
        for track in crowd.leave(0.01):
            evidence = identities.evidence(track.number)
            if evidence is not None and identities.status(track.number) == "unknown":
                entry = Entry(id=f"t{track.number}", identity=f"unknown-{track.number:06d}", origin="track")
                crowd.view.append([entry], evidence.tracklet.mean[None])
        if (frame + 1) % (frames // 10) == 0:
            print(
                f"| {frame + 1:,} | {crowd.started:,} | {len(crowd.view):,} | {1000 * spent / (frames // 10):.2f} | "
                f"{resident_mib():.0f} |",
                flush=True,
            )
            spent = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--entries", type=int, nargs="+", default=[1000, 20_000, 100_000])
    parser.add_argument("--boxes", type=int, nargs="+", default=[50])
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--long", type=int, default=0, help="frames of a long run, in place of the table")
    parser.add_argument("--far", action="store_true", help="of a long run: unknown people are like nobody")
    arguments = parser.parse_args()
    people = fit_market(arguments.data)
    if arguments.long:
        follow(people, arguments.entries[0], arguments.boxes[0], arguments.long, far=arguments.far)
        return
    print("| entries | boxes | unknown people | CPU ms a frame | of which search | searches | probes |")
    print("|---|---|---|---|---|---|---|")
    for entries in arguments.entries:
        for boxes in arguments.boxes:
            for far in (False, True):
                measure(people, entries, boxes, arguments.frames, far=far)


if __name__ == "__main__":
    main()
