"""Measure time and peak memory of export and import, each in its own process.

``python tests/benchmarks/bench_exchange.py``
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gallery_db import EmbeddingModel, Entry, Gallery, export_parquet, import_parquet

__all__ = ["main"]

_ROWS = 2000


def make_gallery(path: Path, entries: int, dimension: int) -> None:
    """Create a gallery of random unit vectors, with entries as `gtrack gallery ingest` makes them."""
    generator = np.random.default_rng(0)
    gallery = Gallery.create(path, EmbeddingModel("bench.onnx", "0" * 64, dimension, "none"))
    with gallery.transaction():
        for start in range(0, entries, _ROWS):
            numbers = range(start, min(entries, start + _ROWS))
            vectors = generator.standard_normal((len(numbers), dimension)).astype(np.float32)
            gallery.add(
                [
                    Entry(
                        id=f"img-{number:020x}",
                        identity=f"person {number // 20}",
                        source=f"/pictures/person {number // 20}/{number}.jpg",
                        content_hash=f"{number:064x}",
                    )
                    for number in numbers
                ],
                vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
            )
    gallery.close(sync=False)


def run_step(name: str, folder: Path, entries: int, dimension: int) -> None:
    """Run one of the steps make, export, import and again, and print its cost."""
    wall, cpu = time.perf_counter(), time.process_time()
    if name == "make":
        make_gallery(folder / "a", entries, dimension)
    elif name == "export":
        with Gallery.open(folder / "a") as gallery:
            export_parquet(gallery, folder / "a.parquet")
    else:
        report = import_parquet(folder / "b", folder / "a.parquet", index=False)
        assert (report.added, report.unchanged) == ((entries, 0) if name == "import" else (0, entries))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:7} {wall:6.1f} s wall {cpu:6.1f} s CPU   peak memory {peak:4.0f} MiB", flush=True)


def main() -> None:
    """Export a gallery, import the file into a new gallery, and import it again into the same one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--step", choices=["make", "export", "import", "again"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        run_step(options.step, options.folder, options.entries, options.dimension)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in ("make", "export", "import", "again"):
            words = ["--entries", options.entries, "--dimension", options.dimension, "--folder", folder]
            subprocess.run([sys.executable, __file__, "--step", name, *map(str, words)], check=True)
        print(f"{options.entries} x {options.dimension}: {(Path(folder) / 'a.parquet').stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
