"""Measure names at several cameras with and without what is known of the cameras (`cameras.yaml`).

``python tests/benchmarks/bench_places.py --data ../shared/data``

The people are those of the Market-1501 subset, and so are their pictures by six cameras, but their walks are drawn:
each person goes from one of their cameras to another all the time, 10 s in sight of each, 20 to 60 s on the way. Half
of the people are in the gallery, with the pictures of one camera; they walk past their other cameras, the unknown half
past all. `TrackEnroller` names them at the threshold that the gallery has by default, with nothing known of the
cameras, with cameras that merely do not see the same place, and with 15 s from each to each. Counted are the boxes
of all frames, and the names that two cameras show at the same time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Mapping
from itertools import combinations, count
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery_db import Entry, Gallery, read_image
from gallery_db.media.market_names import parse_market_name
from gallery_db.model import EmbeddingModel
from tracking import CameraMap, TrackEnroller, TrackObservation, load_embedder

FPS = 5
SECONDS = 300

Pictures = Mapping[str, Mapping[str, NDArray[np.float32]]]
"""Embeddings (N, D) by person and camera."""


class Visit(NamedTuple):
    """A person in sight of a camera, in frames from the first to before the last."""

    first: int
    last: int
    track_id: int
    person: str


def read_pictures(folder: Path, weights: str) -> tuple[EmbeddingModel, Pictures]:
    """Embed all images of the subset."""
    crops: dict[tuple[str, str], list[NDArray[np.uint8]]] = {}
    for path in sorted(folder.rglob("*.jpg")):
        name = parse_market_name(path.name)
        if name is not None:
            crops.setdefault((path.name.split("_")[0], f"c{name.camera}"), []).append(read_image(path))
    pictures: dict[str, dict[str, NDArray[np.float32]]] = {}
    with load_embedder(weights) as embedder:
        for (person, camera), some in crops.items():
            pictures.setdefault(person, {})[camera] = embedder.embed(some)
        return embedder.model, pictures


def walks(pictures: Pictures, home: Mapping[str, str], generator: np.random.Generator) -> dict[str, list[Visit]]:
    """Draw the visits of each camera."""
    visits: dict[str, list[Visit]] = {}
    track_ids = count(1)
    for person, cameras in pictures.items():
        free = [camera for camera in cameras if camera != home.get(person)]
        start, camera = generator.uniform(0, 60), ""
        while free and start < SECONDS:
            camera = str(generator.choice([one for one in free if one != camera] or free))
            visits.setdefault(camera, []).append(
                Visit(round(start * FPS), round((start + 10) * FPS), next(track_ids), person)
            )
            start += 10 + generator.uniform(20, 60)
    return visits


def measure(model: EmbeddingModel, pictures: Pictures, cameras: CameraMap | None, draw: int) -> Counter[str]:
    """Count the boxes of known and unknown people by what they were named."""
    generator = np.random.default_rng(draw)
    known = generator.permutation(sorted(pictures))[: len(pictures) // 2].tolist()
    home = {person: str(generator.choice(sorted(pictures[person]))) for person in known}
    visits = walks(pictures, home, generator)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        with Gallery.create(Path(folder) / "g", model) as gallery:
            for person, camera in home.items():
                vectors = pictures[person][camera]
                ids = [f"{person}-{number}" for number in range(len(vectors))]
                gallery.add([Entry(one, person, extra={"source_id": camera}) for one in ids], vectors)
        with TrackEnroller(Path(folder) / "g", enroll="off", fps=FPS, cameras=cameras) as enroller:
            for frame in range(SECONDS * FPS):
                shown: Counter[str] = Counter()
                for camera, some in visits.items():
                    here = [visit for visit in some if visit.first <= frame < visit.last]
                    observations = []
                    for visit in here:
                        vectors = pictures[visit.person][camera]
                        vector = vectors[(frame - visit.first) // FPS % len(vectors)]
                        observations.append(TrackObservation(visit.track_id, vector, class_name="person"))
                    for visit, name in zip(
                        here, enroller.observe(camera, frame, observations, time=frame / FPS), strict=True
                    ):
                        identity = None if name is None else name.identity
                        kind = "known" if visit.person in home else "unknown"
                        counts[kind] += 1
                        counts[f"{kind} named"] += identity is not None
                        counts["right"] += identity == visit.person
                        shown[identity or ""] += 1
                counts["twice"] += sum(number > 1 for name, number in shown.items() if name)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--draws", type=int, default=3)
    arguments = parser.parse_args()
    weights = arguments.data / "weights" / "osnet_x0_25_msmt17.onnx"
    model, pictures = read_pictures(arguments.data / "reid" / "market1501-test-subset", str(weights))
    names = sorted({camera for cameras in pictures.values() for camera in cameras})
    print(f"{'known of the cameras':22s} {'right':>6s} {'wrong':>6s} {'strangers named':>16s} {'at two cameras':>15s}")
    for title, seconds in (("nothing", None), ("not the same place", 0.0), ("15 s between all", 15.0)):
        cameras = None if seconds is None else CameraMap(names, dict.fromkeys(combinations(names, 2), seconds))
        total: Counter[str] = Counter()
        for draw in range(arguments.draws):
            total += measure(model, pictures, cameras, draw)
        right, wrong = total["right"] / total["known"], (total["known named"] - total["right"]) / total["known"]
        strangers = total["unknown named"] / total["unknown"]
        print(f"{title:22s} {right:6.3f} {wrong:6.3f} {strangers:16.3f} {total['twice']:15d}", flush=True)


if __name__ == "__main__":
    main()
