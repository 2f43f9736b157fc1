"""Measure a served gallery: time until it is ready, time of a change, and throughput of eight processes.

    python tests/benchmarks/bench_served.py [--sizes 1000 10000 100000] [--processes 8]

Prints Markdown tables. Each gallery is served by `GalleryServer` on this machine. Times are wall-clock times, with the
CPU time of this process in parentheses, medians of the rounds. The vectors have 512 dimensions, ten to an identity.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.gallery import entries_named, model_named

from gallery_db import Gallery, GalleryServer

DIMENSION = 512
MODEL = model_named("bench.pt", DIMENSION)

WORKER = """
import sys, time
sys.path.insert(0, sys.argv[3])
from bench_served import clustered
from support.gallery import entries_named
from gallery_db import Gallery
url, number, batches = sys.argv[1], int(sys.argv[2]), int(sys.argv[4])
with Gallery.open(url, write=True) as gallery:
    vectors = clustered(batches * 16, seed=number)
    mine = entries_named(batches * 16, f"w{number}-", per_identity=10)
    view = gallery.view()
    print("ready", flush=True)
    sys.stdin.readline()
    times = []
    for start in range(0, len(mine), 16):
        began = time.perf_counter()
        gallery.add(mine[start : start + 16], vectors[start : start + 16])
        times.append(time.perf_counter() - began)
        view.refresh()
        view.identity_distances(vectors[start : start + 16])
    assert not gallery._backend.link.waiting()
    print(*times, flush=True)
"""


def clustered(count: int, seed: int = 0) -> np.ndarray:
    """Return unit vectors (N, 512) in clusters of ten."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((-(-count // 10), DIMENSION), dtype=np.float32)
    rows = np.repeat(centres, 10, axis=0)[:count] + 0.5 * generator.standard_normal((count, DIMENSION), np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return the wall-clock and CPU seconds of a call."""
    began, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - began, time.process_time() - cpu


def measure_size(size: int, processes: int, batches: int, folder: Path) -> dict[str, str]:
    """Return the figures of a gallery of one size, by their titles."""
    row: dict[str, str] = {"entries": f"{size:,}"}
    with Gallery.create(folder / "g", MODEL) as gallery:
        gallery.add(entries_named(size, per_identity=10), clustered(size))
    server: GalleryServer | None = None

    def serve() -> None:
        nonlocal server
        server = GalleryServer(folder / "g", port=0, notify=lambda line: print(line, file=sys.stderr))

    wall, cpu = timed(serve)
    row["first serve"] = f"{wall:.1f} ({cpu:.1f})"
    assert server is not None
    served = server
    stop = threading.Event()
    thread = threading.Thread(target=served.run, args=(stop,))
    thread.start()
    url = str(served.address)
    os.environ["GTRACK_STATE_DIR"] = str(folder / "state")
    wall, cpu = timed(lambda: Gallery.open(url).close())
    row["first opening"] = f"{wall:.1f} ({cpu:.1f})"
    again = [timed(lambda: Gallery.open(url).close()) for _ in range(5)]
    row["opening again"] = (
        f"{statistics.median(w for w, _ in again):.2f} ({statistics.median(c for _, c in again):.2f})"
    )
    with Gallery.open(url, write=True) as gallery:
        probes = clustered(40, seed=99)
        gallery.query(probes[:1], search="hnsw")
        one = [timed(lambda n=n: gallery.query(probes[n : n + 1], search="hnsw"))[0] for n in range(20)]
        sixteen = [timed(lambda n=n: gallery.query(probes[n : n + 16], search="hnsw"))[0] for n in range(20)]
        row["HNSW, 1 / 16 probes, ms"] = f"{1e3 * statistics.median(one):.0f} / {1e3 * statistics.median(sixteen):.0f}"
        adds = []
        for number in range(20):
            vectors, entries = clustered(16, seed=500 + number), entries_named(16, f"a{number}-")
            adds.append(timed(lambda e=entries, v=vectors: gallery.add(e, v))[0])
        row["16 entries stored, ms, median / worst"] = f"{1e3 * statistics.median(adds):.0f} / {1e3 * max(adds):.0f}"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, url, str(number), str(Path(__file__).parent), str(batches)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for number in range(processes)
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    began = time.perf_counter()
    times: list[float] = []
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        assert worker.stdout is not None
        times += map(float, worker.stdout.readline().split())
    wall = time.perf_counter() - began
    for worker in workers:
        worker.communicate()
        assert worker.returncode == 0
    row[f"{processes} processes: entries/s"] = f"{processes * batches * 16 / wall:.0f}"
    row["and of each 16, ms, median / p99"] = (
        f"{1e3 * statistics.median(times):.0f} / {1e3 * float(np.quantile(times, 0.99)):.0f}"
    )
    stop.set()
    thread.join()
    wall, cpu = timed(served.close)
    row["stop"] = f"{wall:.1f} ({cpu:.1f})"
    size_of = lambda path: sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) / 2**20  # noqa: E731
    replicas = list((folder / "state").rglob("gallery.sqlite3"))
    row["MiB: chroma, record, a replica"] = (
        f"{size_of(folder / 'g' / 'chroma'):.0f}, {(folder / 'g' / 'gallery.sqlite3').stat().st_size / 2**20:.0f}, "
        f"{max(path.stat().st_size for path in replicas) / 2**20:.0f}"
    )
    with Gallery.open(folder / "g") as gallery:
        assert len(gallery) == size + 20 * 16 + processes * batches * 16, "every entry is stored"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--batches", type=int, default=30, help="batches of 16 entries for each process")
    options = parser.parse_args()
    rows = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="bench-served-") as folder:
            rows.append(measure_size(size, options.processes, options.batches, Path(folder)))
            print(rows[-1], file=sys.stderr, flush=True)
    for name in rows[0]:
        print(f"| {name} | {' | '.join(row[name] for row in rows)} |")
        if name == "entries":
            print("|---|" + "---|" * len(rows))


if __name__ == "__main__":
    main()
