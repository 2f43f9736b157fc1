"""Count the mistakes that `gtrack gallery list --suspects` finds in a gallery, on the Market-1501 subset.

``python tests/benchmarks/bench_suspects.py --data ../shared/data``

Three kinds of mistakes, each in its own galleries, drawn ten times: entries of another identity, people under two
names, and two people under one name. `found` counts the reported mistakes, `others` the further reports of the same
kind, and `unchanged` the reports for the subset without added mistakes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_db import Anomalies, GalleryView, find_anomalies, read_image
from tracking.identification.gallery_source import EmbedderOptions

Names = list[str]
Draw = Callable[[np.random.Generator, Names], tuple[Names, Callable[[Anomalies], tuple[int, int]]]]
_BATCH = 32


def mislabel(generator: np.random.Generator, names: Names) -> tuple[Names, Callable[[Anomalies], tuple[int, int]]]:
    """Give 40 entries the name of a person drawn at random."""
    changed, people = list(names), sorted(set(names))
    rows = {str(row) for row in generator.choice(len(names), 40, replace=False)}
    for row in map(int, rows):
        changed[row] = str(generator.choice([name for name in people if name != names[row]]))

    def count(found: Anomalies) -> tuple[int, int]:
        hits = sum(one.entry_id in rows for one in found.mislabelled)
        return hits, len(found.mislabelled) - hits

    return changed, count


def split(generator: np.random.Generator, names: Names) -> tuple[Names, Callable[[Anomalies], tuple[int, int]]]:
    """Give half of the entries of 20 people, drawn at random, a second name."""
    changed = list(names)
    many = [name for name in sorted(set(names)) if names.count(name) >= 4]
    chosen = {str(name) for name in generator.choice(many, 20, replace=False)}
    for name in sorted(chosen):
        rows = [row for row, own in enumerate(names) if own == name]
        for row in generator.choice(rows, len(rows) // 2, replace=False):
            changed[int(row)] = f"{name}-two"

    def count(found: Anomalies) -> tuple[int, int]:
        hits = sum(pair.other == f"{pair.identity}-two" for pair in found.similar)
        return hits, len(found.similar) - hits

    return changed, count


def merge(generator: np.random.Generator, names: Names) -> tuple[Names, Callable[[Anomalies], tuple[int, int]]]:
    """Give each of 20 pairs of people, drawn at random, one name."""
    drawn = [str(name) for name in generator.permutation(sorted(set(names)))[:40]]
    into = dict(zip(drawn[20:], drawn[:20], strict=True))

    def count(found: Anomalies) -> tuple[int, int]:
        hits = sum(one.identity in into.values() for one in found.mixed)
        return hits, len(found.mixed) - hits

    return [into.get(name, name) for name in names], count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    files = sorted((arguments.data / "reid" / "market1501-test-subset").glob("*.jpg"))
    embedder = EmbedderOptions(weights=str(arguments.data / "weights" / "osnet_x0_25_msmt17.onnx")).load(None, None)
    parts = [embedder.embed([read_image(path) for path in files[i : i + _BATCH]]) for i in range(0, len(files), _BATCH)]
    vectors: NDArray[np.float32] = np.concatenate(parts)
    names, ids = [path.name.split("_")[0] for path in files], [str(row) for row in range(len(files))]
    untouched = find_anomalies(GalleryView.from_arrays(names, vectors, ids=ids))
    print(f"{'mistakes':34s} {'found':>7s} {'others':>7s} {'unchanged':>9s}")
    kinds: list[tuple[str, Draw, int]] = [
        ("40 entries of a wrong person", mislabel, len(untouched.mislabelled)),
        ("20 people under two names", split, len(untouched.similar)),
        ("20 pairs of people under one name", merge, len(untouched.mixed)),
    ]
    for title, draw, reports in kinds:
        counts = []
        for seed in range(10):
            changed, count = draw(np.random.default_rng(seed), names)
            counts.append(count(find_anomalies(GalleryView.from_arrays(changed, vectors, ids=ids))))
        listed, others = np.mean(counts, axis=0)
        print(f"{title:34s} {listed:7.1f} {others:7.1f} {reports:9d}")


if __name__ == "__main__":
    main()
