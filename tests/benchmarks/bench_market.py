"""Measure rank-1 and mAP on the Market-1501 subset, through the gallery, with each kind of weights.

``python tests/benchmarks/bench_market.py --data ../shared/data``

Prints the figures of ``gtrack eval reid FOLDER --reid-weights W --rerank`` side by side. The queries are the first
image of each identity and camera; the gallery is all images except those of the same identity in the same camera.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tracking.evaluation import evaluate_reid
from tracking.identification.gallery_source import EmbedderOptions

SEARCHES = ("hnsw", "exact", "reranked", "adapted", "adapted-reranked")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    folder = arguments.data / "reid" / "market1501-test-subset"
    print(f"{'embedder':40s} {'search':16s} {'rank-1':>7s} {'mAP':>6s} {'mINP':>6s} {'queries':>8s}")
    for weights in (
        "osnet_x0_25_msmt17.onnx",
        "osnet_x0_25_msmt17.pt",
        "person-reidentification-retail-0277.xml",
        "builtin",
    ):
        started = time.perf_counter()
        path = weights if weights == "builtin" else str(arguments.data / "weights" / weights)
        report = evaluate_reid(folder, EmbedderOptions(weights=path), searches=SEARCHES)
        for search, scores in report.scores.items():
            print(
                f"{weights:40s} {search:16s} {100 * scores.ranks[1]:7.1f} {100 * scores.mean_ap:6.1f} "
                f"{100 * scores.mean_inp:6.1f} {scores.queries:8d}   ({time.perf_counter() - started:.0f} s)"
            )


if __name__ == "__main__":
    main()
