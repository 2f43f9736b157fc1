"""Rank-1 and mAP on the Market-1501 subset, through the gallery: ingested, then asked.

``python tests/benchmarks/bench_market.py --data ../shared/data``

Market-1501's protocol: the query is the first image of each identity and camera, the gallery is all
images, those of the same identity in the same camera are ignored; cosine distance. The images are
ingested into a gallery as `gtrack gallery ingest` does, and each query is answered by `Gallery.query`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from gallery_db import Gallery, ingest_folder, read_image
from tracking import load_embedder


def rank_1_and_map(folder: Path, weights: str, search: str) -> tuple[float, float, int]:
    """Percentages, and the number of queries."""
    files = sorted(folder.glob("*.jpg"))
    label = {f.name: (f.name[:4], f.name[6]) for f in files}
    embedder = load_embedder(weights)
    with tempfile.TemporaryDirectory() as place:
        for file in files:
            target = Path(place) / "people" / file.name[:4] / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file.resolve())
        with Gallery.open_or_create(Path(place) / "gallery", embedder.model) as gallery:
            report = ingest_folder(gallery, Path(place) / "people", embedder)
            assert report.added == len(files), report
            seen: set[tuple[str, str]] = set()
            queries = []
            for file in files:
                if (key := label[file.name]) not in seen:
                    seen.add(key)
                    queries.append(file)
            probes = embedder.embed([read_image(file) for file in queries])
            answers = gallery.query(probes, top_k=len(files), search=search)  # type: ignore[arg-type]
    first, precisions = [], []
    for query, matches in zip(queries, answers, strict=True):
        person, camera = label[query.name]
        hits = []
        for match in matches:
            other, seen_by = label[Path(match.entry.source).name]
            if (other, seen_by) != (person, camera):
                hits.append(other == person)
        ranks = np.flatnonzero(hits)
        if not ranks.size:
            continue
        first.append(bool(hits[0]))
        precisions.append(float(np.mean(np.arange(1, len(ranks) + 1) / (ranks + 1))))
    return 100 * float(np.mean(first)), 100 * float(np.mean(precisions)), len(first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    folder = arguments.data / "reid" / "market1501-test-subset"
    print(f"{'embedder':28s} {'search':6s} {'rank-1':>7s} {'mAP':>6s} {'queries':>8s}")
    for weights in ("osnet_x0_25_msmt17.onnx", "osnet_x0_25_msmt17.pt", "builtin"):
        for search in ("hnsw", "exact"):
            started = time.perf_counter()
            path = weights if weights == "builtin" else str(arguments.data / "weights" / weights)
            rank_1, mean_precision, count = rank_1_and_map(folder, path, search)
            print(
                f"{weights:28s} {search:6s} {rank_1:7.1f} {mean_precision:6.1f} {count:8d}   "
                f"({time.perf_counter() - started:.0f} s)"
            )


if __name__ == "__main__":
    main()
