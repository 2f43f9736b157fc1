"""Measure what comparing in a collection's space costs: CPU seconds, plain and adapted in turn.

``OMP_NUM_THREADS=1 python tests/benchmarks/bench_space_cost.py --data ../shared/data``

Entries are drawn like real ones, as in bench_search.py, on six cameras, so that each camera has a mean. A run, a query
and the load of a view have a process of their own (`gtrack run` on all of PETS, `gtrack gallery query` with one image).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_search import PersonDistribution, fit_market
from bench_startup import run_gtrack

from gallery_db import EmbeddingModel, Entry, Gallery, ingest_folder
from gallery_db.analysis.thresholds import match_threshold
from gallery_db.spaces.space import EmbeddingSpace
from gallery_db.spaces.stored import PLAIN, save_space
from tracking import load_embedder

SPACES = ("plain", "adapted")
LOAD = """
import sys, time
from gallery_db import Gallery
with Gallery.open(sys.argv[1]) as gallery:
    started = time.process_time()
    gallery.view()
    print(time.process_time() - started)
"""


def fill(place: Path, model: EmbeddingModel, people: int, each: int, distribution: PersonDistribution) -> None:
    """Make a gallery of made-up people."""
    random = np.random.default_rng(people)
    centres = np.repeat(distribution.centres(people, random), each, axis=0)
    vectors = distribution.observe(centres, random)
    entries = [
        Entry(f"e{n:07d}", f"p{n // each:06d}", origin="track", extra={"source_id": f"c{n % 6}"})
        for n in range(len(vectors))
    ]
    with Gallery.create(place, model) as gallery:
        for start in range(0, len(entries), 5000):
            gallery.add(entries[start : start + 5000], vectors[start : start + 5000])
        gallery.adapt()


def compare(title: str, place: Path, rounds: int, measure: Callable[[], float], keep: bool = True) -> None:
    """Print the medians of a measurement of a gallery in both spaces, taken in turn.

    With `keep`, the gallery has its measured threshold already, as after an ingest.
    """
    with Gallery.open(place, write=True) as gallery:
        adapted = gallery.space
    assert adapted is not None
    found: dict[str, list[float]] = {space: [] for space in SPACES}
    for _ in range(rounds):
        for name in SPACES:
            space: EmbeddingSpace | str = adapted if name == "adapted" else PLAIN
            with Gallery.open(place, write=True) as gallery:
                save_space(gallery.record, gallery.collection_key, space)
                if keep:
                    match_threshold(gallery)
            found[name].append(measure())
    cells = " | ".join(f"{statistics.median(found[space]):.2f} ({min(found[space]):.2f})" for space in SPACES)
    print(f"| {title} | {cells} |", flush=True)


def measure_threshold(place: Path) -> float:
    """Return the CPU seconds of a threshold that the gallery does not keep."""
    with Gallery.open(place) as gallery:
        started = time.process_time()
        match_threshold(gallery)
        return time.process_time() - started


def load(place: Path) -> float:
    """Return the CPU seconds of a view in a new process."""
    return float(subprocess.run([sys.executable, "-c", LOAD, str(place)], check=True, capture_output=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loads", type=int, nargs="*", default=[80, 20_000, 100_000], help="entries")
    parser.add_argument("--queries", type=int, nargs="*", default=[80, 20_000], help="entries")
    parser.add_argument("--thresholds", type=int, nargs="*", default=[50, 500, 2000], help="identities")
    parser.add_argument("--no-run", action="store_true", help="leave `gtrack run` out")
    arguments = parser.parse_args()
    data: Path = arguments.data
    rounds: int = arguments.rounds
    weights = data / "weights" / "osnet_x0_25_msmt17.onnx"
    embedder = load_embedder(str(weights))
    distribution = fit_market(data)
    crops = data / "galleries" / "pets09-first-half"
    image = next(iter(sorted(crops.rglob("*.*"))))
    print("| | plain: median (least) | adapted |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for entries in sorted({*arguments.loads, *arguments.queries}):
            place = work / f"g{entries}"
            fill(place, embedder.model, entries // 10, 10, distribution)
            if entries in arguments.loads:
                compare(f"load of a view, {entries:,} entries", place, rounds, lambda: load(place))  # noqa: B023
            if entries in arguments.queries:
                words = ("gallery", "query", image, "--gallery", place, "--reid-weights", weights, "--box", "whole")
                compare(f"`gtrack gallery query`, {entries:,} entries", place, rounds, lambda: run_gtrack(*words))  # noqa: B023
        for people in arguments.thresholds:
            place = work / f"t{people}"
            fill(place, embedder.model, people, 5, distribution)
            compare(
                f"measured threshold, {people:,} people x 5",
                place,
                rounds if people < 1000 else 1,
                lambda: measure_threshold(place),  # noqa: B023
                keep=False,
            )
        if not arguments.no_run:
            place = work / "pets"
            with Gallery.open_or_create(place, embedder.model) as gallery:
                ingest_folder(gallery, crops, embedder)
            pets = data / "video" / "pets09-s2l1"
            words = ("run", f"{pets}.avi", "--dets-json", f"{pets}.detections.json", "-g", place)
            words += ("--reid-weights", weights, "--no-progress")  # type: ignore[assignment]
            compare("`gtrack run` on PETS", place, rounds, lambda: run_gtrack(*words))


if __name__ == "__main__":
    main()
