"""Compare gtrack's search with those of libraries, in galleries of 1,000 to 1,000,000 entries.

``python tests/benchmarks/bench_search.py --data ../shared/data --sizes 1000 10000 100000``

A query is the 16 probes of a frame, of class "person": the nearest identity of each, and all within the threshold for
names. Entries are drawn after real ones: mean, spread between people and spread within a person are those of OSNet's
embeddings of the Market-1501 subset (``--noise``: uniform directions instead, the worst case). People have 5 to 20
entries, one person in ten has another class; half of the probes show people who are not in the gallery.

All methods get the same queries in turn, in one process; OMP_NUM_THREADS sets the BLAS threads. Recall is measured
against a plain product over all entries: of the nearest identity, and of the ten nearest entries. ``--chroma`` is the
largest size for which Chroma's index is built (it takes 100 s for 100,000 entries); libraries that are not installed
are left out (``pip install '.[bench]'``). The machine should be idle otherwise.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db import EmbeddingModel, Entry, Gallery, GalleryView, read_image
from tracking import load_embedder
from tracking.identification.assignment import assign_identities

Array = NDArray[np.float32]
Answer = tuple[NDArray[np.intp], NDArray[np.float32]]

PROBES = 16
THRESHOLD = 0.25
BLOCK = 50_000


@dataclass(frozen=True)
class PersonDistribution:
    """Random embeddings of people: `centres` draws people, `observe` draws observations of them."""

    mean: Array
    between: Array
    within: Array

    def centres(self, count: int, random: np.random.Generator) -> Array:
        return self.mean + random.standard_normal((count, len(self.mean)), np.float32) @ self.between.T

    def observe(self, centres: Array, random: np.random.Generator) -> Array:
        rows = centres + random.standard_normal(centres.shape, np.float32) @ self.within.T
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows


def fit_market(data: Path) -> PersonDistribution:
    """Return the distribution of OSNet's embeddings of the Market-1501 subset."""
    files = sorted((data / "reid" / "market1501-test-subset").glob("*.jpg"))
    embedder = load_embedder(str(data / "weights" / "osnet_x0_25_msmt17.onnx"))
    vectors = embedder.embed([read_image(file) for file in files]).astype(np.float64)
    people = np.array([file.name[:4] for file in files])
    names, sizes = np.unique(people, return_counts=True)
    centres = np.stack([vectors[people == name].mean(axis=0) for name in names])
    rest = np.concatenate([vectors[people == name] - centre for name, centre in zip(names, centres, strict=True)])
    within = rest.T @ rest / (len(vectors) - len(names))
    between = np.cov(centres.T) - within * np.mean(1 / sizes)
    # A hundred people span a hundred directions; the others are those of all images.
    overall = np.cov(vectors.T)
    between = (between + overall * (np.trace(between) / np.trace(overall))) / 2

    def root(matrix: NDArray[np.float64]) -> Array:
        values, directions = np.linalg.eigh(matrix)
        return (directions * np.sqrt(np.maximum(values, 0))).astype(np.float32)

    return PersonDistribution(vectors.mean(axis=0).astype(np.float32), root(between), root(within))


def uniform(dimension: int = 512) -> PersonDistribution:
    """Return equal variances in all directions; the spread within a person is half of that between people."""
    none = np.zeros(dimension, np.float32)
    return PersonDistribution(none, np.eye(dimension, dtype=np.float32), 0.5 * np.eye(dimension, dtype=np.float32))


@dataclass
class GalleryData:
    """Entries and probes of one size."""

    vectors: Array
    person: NDArray[np.intp]
    names: list[str]
    classes: list[str]
    probes: Array
    truth: NDArray[np.intp]


def make(distribution: PersonDistribution, count: int, frames: int) -> GalleryData:
    random = np.random.default_rng(count)
    sizes = random.integers(5, 21, count // 5 + 20)
    people = int(np.searchsorted(np.cumsum(sizes), count)) + 1
    person = np.repeat(np.arange(people), sizes[:people])[:count]
    probe_count = PROBES * frames
    centres = distribution.centres(people + probe_count, random)
    vectors = np.empty((count, len(distribution.mean)), np.float32)
    for start in range(0, count, BLOCK):
        vectors[start : start + BLOCK] = distribution.observe(centres[person[start : start + BLOCK]], random)
    truth = np.where(np.arange(probe_count) % 2, -1, random.integers(0, people, probe_count))
    truth[truth % 10 == 9] = -1  # probes have class "person", these identities another class
    probes = distribution.observe(np.where(truth[:, None] >= 0, centres[truth], centres[people:]), random)
    kinds = np.where(np.arange(people) % 10 == 9, "bag", "person")
    return GalleryData(vectors, person, [f"{n:07d}" for n in person], kinds[person].tolist(), probes, truth)


def resident_mib() -> float:
    """Return the resident memory of this process in MiB."""
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@dataclass
class Method:
    """A method of search with its measurements; `search` returns (N, count) people and distances, nearest first."""

    title: str
    search: Callable[[Array, int], Answer]
    ready: float
    extra: float
    disk: float | None = None
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    hits_1: int = 0
    names: int = 0
    wrong: int = 0
    recall_10: float = float("nan")


class Timer:
    def __init__(self) -> None:
        gc.collect()
        self._memory, self._start = resident_mib(), time.process_time()

    def done(self) -> tuple[float, float]:
        """Return the CPU seconds of all threads since the start, and the MiB added."""
        seconds = time.process_time() - self._start
        gc.collect()
        return seconds, resident_mib() - self._memory


def view_methods(data: GalleryData, view: GalleryView, loaded: tuple[float, float], disk: float | None) -> list[Method]:
    columns = np.array([int(name) for name in view.identities])

    def search(probes: Array, count: int) -> Answer:
        found, distances = view.nearest_identities(probes, count, ["person"] * len(probes))
        return columns[found], distances

    def search_exact(probes: Array, count: int) -> Answer:
        view.search = "exact"
        try:
            return search(probes, count)
        finally:
            view.search = "auto"

    def search_within(probes: Array, count: int) -> Answer:
        near = view.near_identities(probes, ["person"] * len(probes), limit=THRESHOLD, nearest=1)
        best, distances = np.zeros(len(probes), np.intp), np.full(len(probes), np.inf, np.float32)
        best[near.probes], distances[near.probes] = near.columns, near.distances
        return columns[best][:, None], distances[:, None]

    timer = Timer()
    view.prepare()
    more = timer.done()
    return [
        Method("gtrack exact", search_exact, loaded[0], loaded[1], disk),
        Method("gtrack auto, nearest", search, loaded[0] + more[0], loaded[1] + more[1], disk),
        Method("gtrack auto, within 0.25", search_within, loaded[0] + more[0], loaded[1] + more[1], disk),
    ]


def numpy_method(data: GalleryData, vectors: Array) -> Method:
    person = np.flatnonzero(np.array([kind == "person" for kind in data.classes]))
    timer = Timer()
    own = vectors if len(person) == len(vectors) else vectors[person]
    seconds, more = timer.done()

    def search(probes: Array, count: int) -> Answer:
        similarity = probes @ own.T
        best = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        found = np.take_along_axis(similarity, best, axis=1)
        order = np.argsort(-found, axis=1)
        return data.person[person[np.take_along_axis(best, order, axis=1)]], 1 - np.take_along_axis(
            found, order, axis=1
        )

    return Method("numpy, one product", search, seconds, more)


def hnswlib_method(data: GalleryData) -> Method | None:
    try:
        import hnswlib
    except ImportError:
        return None
    bag = np.array([kind != "person" for kind in data.classes])
    timer = Timer()
    index = hnswlib.Index("ip", data.vectors.shape[1])
    index.init_index(len(data.vectors), ef_construction=200, M=32)
    index.add_items(data.vectors)
    index.set_ef(200)
    index.set_num_threads(1)
    ready, more = timer.done()

    def search(probes: Array, count: int) -> Answer:
        # A filter in Python costs more than a few more neighbours.
        return _of_class(
            *index.knn_query(probes, k=min(3 * count + 20, len(data.vectors))),
            bag,
            data.person,
            count,
        )

    return Method("hnswlib, ef 200", search, ready, more)


def usearch_method(data: GalleryData) -> Method | None:
    try:
        from usearch.index import Index
    except ImportError:
        return None
    bag = np.array([kind != "person" for kind in data.classes])
    timer = Timer()
    index = Index(ndim=data.vectors.shape[1], metric="ip", dtype="f32", connectivity=32, expansion_add=200)
    index.expansion_search = 200
    index.add(np.arange(len(data.vectors)), data.vectors)
    ready, more = timer.done()

    def search(probes: Array, count: int) -> Answer:
        found = index.search(probes, min(3 * count + 20, len(data.vectors)), threads=1)
        return _of_class(found.keys.astype(np.intp), found.distances, bag, data.person, count)

    return Method("usearch, expansion 200", search, ready, more)


def _of_class(rows: Any, distances: Any, bag: NDArray[np.bool_], person: NDArray[np.intp], count: int) -> Answer:
    rows = rows.astype(np.intp)
    order = np.argsort(bag[rows], axis=1, kind="stable")[:, :count]
    return person[np.take_along_axis(rows, order, axis=1)], np.take_along_axis(distances, order, axis=1)


def run(distribution: PersonDistribution, count: int, frames: int, rounds: int, chroma: int, libraries: int) -> None:
    data = make(distribution, count, frames)
    model = EmbeddingModel("bench", "0" * 64, data.vectors.shape[1], "random")
    with tempfile.TemporaryDirectory() as work:
        methods: list[Method] = []
        gallery = None
        if count <= 100_000:
            gallery = Gallery.create(Path(work) / "g", model)
            entries = [
                Entry(id=f"e{n:07d}", identity=name, class_name=kind)
                for n, (name, kind) in enumerate(zip(data.names, data.classes, strict=True))
            ]
            for start in range(0, count, 5000):
                gallery.add(entries[start : start + 5000], data.vectors[start : start + 5000])
            timer = Timer()
            view = gallery.view()
            loaded = timer.done()
            disk = sum(path.stat().st_size for path in (Path(work) / "g").glob("gallery.sqlite3*")) / 2**20
        else:
            # The record of a million entries is 2.5 GB; the view is the same without it.
            timer = Timer()
            view = GalleryView.from_arrays(data.names, data.vectors, class_names=data.classes)
            loaded, disk = timer.done(), None
        methods += view_methods(data, view, loaded, disk)
        # The entries are sorted by person already, so the view has the rows in the same order.
        if count > 100_000:
            data.vectors = view.embeddings
        methods.append(numpy_method(data, data.vectors))
        if count <= libraries:
            methods += [method for method in (hnswlib_method(data), usearch_method(data)) if method is not None]
        if gallery is not None and count <= chroma:
            timer = Timer()
            gallery.sync_index()
            by_index = gallery.view(search="hnsw")
            seconds, more = timer.done()
            size = sum(p.stat().st_size for p in (Path(work) / "g" / "chroma").rglob("*") if p.is_file()) / 2**20
            columns = np.array([int(name) for name in by_index.identities])

            def search(probes: Array, top: int) -> Answer:
                found, distances = by_index.nearest_identities(probes, top, ["person"] * len(probes))
                return columns[found], distances

            methods.append(Method("gtrack hnsw (Chroma)", search, seconds, more, size))
        measure(data, view, methods, rounds)
        filters(data, view, gallery)
        if gallery is not None:
            gallery.close(sync=False)


def measure(data: GalleryData, view: GalleryView, methods: list[Method], rounds: int) -> None:
    frames = data.probes.reshape(-1, PROBES, data.probes.shape[1])
    kinds = ["person"] * PROBES
    columns = np.array([int(name) for name in view.identities])
    view.search = "exact"
    expected = [view.nearest_identities(probes, 1, kinds) for probes in frames]
    within = [assign_identities(view.identity_distances(probes, kinds), THRESHOLD) for probes in frames]
    view.search = "auto"
    for number in range(rounds):
        for method in methods:
            for frame, probes in enumerate(frames):
                started, started_cpu = time.perf_counter(), time.process_time()
                people, distances = method.search(probes, 1)
                method.cpu.append(time.process_time() - started_cpu)
                method.wall.append(time.perf_counter() - started)
                if number:
                    continue
                true_column, true_distance = expected[frame]
                hit = (people[:, 0] == columns[true_column[:, 0]]) | (distances[:, 0] <= true_distance[:, 0] + 1e-6)
                if "within" in method.title:
                    hit |= true_distance[:, 0] > THRESHOLD
                method.hits_1 += int(hit.sum())
                # Names that the method loses, of those that a comparison with all entries gives.
                named = within[frame] >= 0
                lost = named & ((distances[:, 0] > THRESHOLD + 1e-6) | ~hit)
                method.names += int(named.sum())
                method.wrong += int(lost.sum())
    probes = data.probes[: 4 * PROBES]
    for method in methods:
        if "within" in method.title:
            continue
        if method.title.startswith("gtrack"):
            view.search = "exact"
            _, ten = view.nearest_identities(probes, 10, ["person"] * len(probes))
            view.search = "auto"
        else:
            _, ten = methods[3].search(probes, 10)  # numpy's: these libraries know entries, not identities
        found = np.concatenate([method.search(probes[n : n + PROBES], 10)[1] for n in range(0, len(probes), PROBES)])
        method.recall_10 = float((found <= ten[:, -1:] + 1e-6).mean())
    probe_count = len(data.probes)
    print(f"\n**{len(data.vectors):,} entries of {len(view.identities):,} people**\n")
    print(
        "| search | ready CPU s | CPU ms | p50 ms | p99 ms | recall@1 | recall@10 | names lost "
        "| memory MiB | disk MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for method in methods:
        p50, p99 = np.percentile(method.wall, [50, 99]) * 1000
        ten_text = "" if np.isnan(method.recall_10) else f"{method.recall_10:.4f}"
        print(
            f"| {method.title} | {method.ready:.2f} | {np.median(method.cpu) * 1000:.2f} | {p50:.2f} | {p99:.2f} | "
            f"{method.hits_1 / probe_count:.4f} | {ten_text} | {method.wrong} of {method.names} | {method.extra:.0f} | "
            f"{'' if method.disk is None else f'{method.disk:.0f}'} |",
            flush=True,
        )


def filters(data: GalleryData, view: GalleryView, gallery: Gallery | None) -> None:
    """Print the cost of filters for 16 probes."""
    probes = data.probes[:PROBES]

    def median(call: Callable[[], object]) -> str:
        call()
        spent = []
        for _ in range(15):
            started = time.process_time()
            call()
            spent.append(time.process_time() - started)
        return f"{1000 * float(np.median(spent)):.2f}"

    plain = median(lambda: view.nearest_identities(probes, 1))
    by_class = median(lambda: view.nearest_identities(probes, 1, ["person"] * PROBES))
    rare = median(lambda: view.nearest_identities(probes, 1, ["bag"] * PROBES))
    mixed = median(lambda: view.nearest_identities(probes, 1, ["person", "bag"] * (PROBES // 2)))
    print(f"\nCPU ms of the view: no class {plain}, class person {by_class}, class bag {rare}, both in turn {mixed}.")
    if gallery is not None:
        gallery.query(probes, search="exact")
        words = [
            f"{where or 'none'} {median(lambda where=where: gallery.query(probes, search='exact', where=where))}"  # type: ignore[misc]
            for where in (None, {"class": "person"}, {"origin": "image"}, {"identity": data.names[0]})
        ]
        print(f"CPU ms of `Gallery.query`, exact, by filter: {', '.join(words)}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--frames", type=int, default=64, help="queries of 16 probes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chroma", type=int, default=10_000, help="largest gallery for which Chroma's index is built")
    parser.add_argument("--libraries", type=int, default=100_000, help="largest gallery for hnswlib and usearch")
    parser.add_argument("--noise", action="store_true", help="uniform directions, the worst case")
    arguments = parser.parse_args()
    distribution = uniform() if arguments.noise else fit_market(arguments.data)
    for count in arguments.sizes:
        run(distribution, count, arguments.frames, arguments.rounds, arguments.chroma, arguments.libraries)


if __name__ == "__main__":
    main()
