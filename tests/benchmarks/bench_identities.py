"""Measure the identities that enrolment forms of unknown people on six cameras, in the Market-1501 subset.

``OMP_NUM_THREADS=1 python tests/benchmarks/bench_identities.py --data ../shared/data``

A sighting (the images of one person on one camera) is a track of ten frames, with the images' embeddings in some of
them. The tracks of a camera come one after the other, in the order of time, and camera follows camera; the gallery is
empty at first. Each camera has a `TrackEnroller` of its own, so that the gallery may adapt itself before each.

Counted are pairs of tracks (`precision`, `recall`) and tracks (B-cubed: Bagga and Baldwin, 1998). A track that is not
stored, as it may show the one identity or another, counts as an identity of its own.

The prior that gtrack ships was made from these very people. So half of them, drawn ten times, are for a prior of the
draw's own, and the tracks are those of the others; or all have tracks, and there is no prior.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from bench_cameras import NETWORKS, Market, known_prior, make_prior, read_market

from gallery_db import DEFAULT_THRESHOLD, EmbeddingModel, Gallery
from gallery_db.spaces.prior import Prior
from tracking import TrackEnroller, TrackObservation

FRAMES = 10
STEP = 100
Labels = list[tuple[int, str]]


def enrol(market: Market, people: list[int], place: Path, variant: str, prior: Prior | None) -> Labels:
    """Enrol the tracks of some people. Return for each track its person and its identity."""
    # The space of a model without entries is kept by model, so each prior needs one.
    model = EmbeddingModel("draw", f"{abs(hash(str(place))):064x}"[:64], market.embeddings.shape[1], "draw")
    with Gallery.create(place, model) as gallery:
        if variant != "adapted":
            gallery.reset_space(plain=True)
    tracks: dict[str, list[tuple[int, list[int]]]] = {}
    for (person, camera), rows in market.sightings().items():
        if person in people:
            tracks.setdefault(camera, []).append((person, rows))
    shown: dict[tuple[str, str], int] = {}
    with known_prior(prior):
        for camera, some in sorted(tracks.items()):
            some.sort(key=lambda one: int(market.frames[one[1][0]]))
            threshold = DEFAULT_THRESHOLD if variant == "before" else None
            with TrackEnroller(place, gallery_match_threshold=threshold) as enroller:
                for number, (person, rows) in enumerate(some):
                    shown[camera, str(number)] = person
                    at = dict(zip(np.linspace(0, FRAMES - 1, len(rows)).astype(int).tolist(), rows, strict=True))
                    for frame in range(FRAMES):
                        embedding = market.embeddings[at[frame]] if frame in at else None
                        enroller.observe(camera, number * STEP + frame, [TrackObservation(number, embedding)])
    with Gallery.open(place) as gallery:
        stored = {(str(e.extra["source_id"]), str(e.extra["track_id"])): e.identity for e in gallery.entries()}
    return [(person, stored.get(key, f"not stored {key}")) for key, person in shown.items()]


def scores(labels: Labels) -> list[float]:
    """Return tracks, people, identities, tracks that are not stored, pairwise and B-cubed scores."""
    people, identities, both = (Counter(part) for part in (*zip(*labels, strict=True), labels))

    def pairs(counts: Counter[object]) -> int:
        return sum(n * (n - 1) // 2 for n in counts.values())

    together = pairs(both)  # type: ignore[arg-type]
    precision = together / max(1, pairs(identities))  # type: ignore[arg-type]
    recall = together / pairs(people)  # type: ignore[arg-type]
    cubed_precision = sum(n * n / identities[identity] for (_, identity), n in both.items()) / len(labels)
    cubed_recall = sum(n * n / people[person] for (person, _), n in both.items()) / len(labels)
    missing = sum(str(identity).startswith("not stored") for _, identity in labels)
    return [
        len(labels),
        len(people),
        len(identities) - missing,
        missing,
        precision,
        recall,
        cubed_precision,
        cubed_recall,
        2 * cubed_precision * cubed_recall / (cubed_precision + cubed_recall),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS)[:3])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--cache", type=Path, help="npz file that keeps the embeddings")
    arguments = parser.parse_args()
    print(
        "| network | people | space, threshold | identities | not stored | precision | recall | B-cubed P | R | F |\n"
        "|---|---|---|---|---|---|---|---|---|---|"
    )
    for network in arguments.networks:
        market = read_market(arguments.data, network, arguments.cache)
        all_people = range(int(market.people.max()) + 1)
        for half in (False, True):
            for variant, title in (
                ("before", "plain, 0.25"),
                ("plain", "plain, automatic"),
                ("adapted", f"adapted, {'a prior' if half else 'no prior'}"),
            ):
                found = []
                for seed in range(arguments.draws if half else 1):
                    order = np.random.default_rng(seed).permutation(len(all_people))
                    some = sorted(order[: len(order) // 2].tolist()) if half else list(all_people)
                    rest = sorted(set(all_people) - set(some))
                    prior = make_prior(market, rest) if half else None
                    with tempfile.TemporaryDirectory() as folder:
                        found.append(scores(enrol(market, some, Path(folder) / "g", variant, prior)))
                _, people, identities, missing, *shares = np.mean(found, axis=0)
                cells = " | ".join(f"{share:.3f}".removeprefix("0") for share in shares)
                counts = f"{people:.0f} | {title} | {identities:.0f} | {missing:.0f}"
                print(f"| {network} | {counts} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
