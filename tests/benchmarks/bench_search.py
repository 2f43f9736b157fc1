"""Who is on a frame, asked of galleries of 1,000 to 1,000,000 entries: gtrack's ways beside those of libraries.

``python tests/benchmarks/bench_search.py --data ../shared/data --sizes 1000 10000 100000``

A question is a frame's 16 probes of class "person": the nearest identity of each, and all within the naming
threshold. Entries are made up after real ones: mean, spread between people and spread within a person are those
of OSNet's embeddings of the Market-1501 subset (``--noise``: uniform directions instead, the worst case). People
have 5 to 20 entries, one in ten of another class; half of the probes are people whom the gallery does not know.

Every way is asked the same questions in turn, in one process; the BLAS threads are what OMP_NUM_THREADS says.
Recall is against a plain product over all entries: of the nearest identity, and of the ten nearest entries.
``--chroma`` says up to which size Chroma's index is built (it takes 100 s for 100,000 entries); libraries that
are not installed are left out (``pip install '.[bench]'``). The machine should have nothing else to do.
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
class World:
    """Curator as vectors: `look` draws looks at people who are given by their centres."""

    mean: Array
    between: Array
    within: Array

    def centres(self, count: int, random: np.random.Generator) -> Array:
        return self.mean + random.standard_normal((count, len(self.mean)), np.float32) @ self.between.T

    def look(self, centres: Array, random: np.random.Generator) -> Array:
        rows = centres + random.standard_normal(centres.shape, np.float32) @ self.within.T
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows


def like_market(data: Path) -> World:
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
    everybody = np.cov(vectors.T)
    between = (between + everybody * (np.trace(between) / np.trace(everybody))) / 2

    def root(matrix: NDArray[np.float64]) -> Array:
        values, directions = np.linalg.eigh(matrix)
        return (directions * np.sqrt(np.maximum(values, 0))).astype(np.float32)

    return World(vectors.mean(axis=0).astype(np.float32), root(between), root(within))


def all_alike(dimension: int = 512) -> World:
    """No direction more than another, and people half as wide as they are apart."""
    none = np.zeros(dimension, np.float32)
    return World(none, np.eye(dimension, dtype=np.float32), 0.5 * np.eye(dimension, dtype=np.float32))


@dataclass
class Made:
    vectors: Array
    person: NDArray[np.intp]
    names: list[str]
    classes: list[str]
    probes: Array
    truth: NDArray[np.intp]


def make(world: World, count: int, frames: int) -> Made:
    random = np.random.default_rng(count)
    sizes = random.integers(5, 21, count // 5 + 20)
    people = int(np.searchsorted(np.cumsum(sizes), count)) + 1
    person = np.repeat(np.arange(people), sizes[:people])[:count]
    asked = PROBES * frames
    centres = world.centres(people + asked, random)
    vectors = np.empty((count, len(world.mean)), np.float32)
    for start in range(0, count, BLOCK):
        vectors[start : start + BLOCK] = world.look(centres[person[start : start + BLOCK]], random)
    truth = np.where(np.arange(asked) % 2, -1, random.integers(0, people, asked))
    truth[truth % 10 == 9] = -1  # those of the other class cannot be asked for
    probes = world.look(np.where(truth[:, None] >= 0, centres[truth], centres[people:]), random)
    kinds = np.where(np.arange(people) % 10 == 9, "bag", "person")
    return Made(vectors, person, [f"{n:07d}" for n in person], kinds[person].tolist(), probes, truth)


def memory() -> float:
    """Resident MiB of this process."""
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@dataclass
class Way:
    """One way to search. `ask` gives the nearest entries' people and distances, `name` those within the threshold."""

    title: str
    ask: Callable[[Array, int], Answer]
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
        self._memory, self._start = memory(), time.process_time()

    def done(self) -> tuple[float, float]:
        """CPU seconds, of all threads, and MiB more."""
        seconds = time.process_time() - self._start
        gc.collect()
        return seconds, memory() - self._memory


def view_ways(made: Made, view: GalleryView, loaded: tuple[float, float], disk: float | None) -> list[Way]:
    columns = np.array([int(name) for name in view.identities])

    def ask(probes: Array, count: int) -> Answer:
        found, distances = view.nearest_identities(probes, count, ["person"] * len(probes))
        return columns[found], distances

    def exactly(probes: Array, count: int) -> Answer:
        view.search = "exact"
        try:
            return ask(probes, count)
        finally:
            view.search = "auto"

    def near(probes: Array, count: int) -> Answer:
        found = view.identity_distances(probes, ["person"] * len(probes), limit=THRESHOLD)
        best = found.argmin(axis=1)
        return columns[best][:, None], found[np.arange(len(found)), best][:, None]

    timer = Timer()
    view.prepare()
    more = timer.done()
    return [
        Way("gtrack exact", exactly, loaded[0], loaded[1], disk),
        Way("gtrack auto, nearest", ask, loaded[0] + more[0], loaded[1] + more[1], disk),
        Way("gtrack auto, within 0.25", near, loaded[0] + more[0], loaded[1] + more[1], disk),
    ]


def numpy_way(made: Made, vectors: Array) -> Way:
    person = np.flatnonzero(np.array([kind == "person" for kind in made.classes]))
    timer = Timer()
    own = vectors if len(person) == len(vectors) else vectors[person]
    seconds, more = timer.done()

    def ask(probes: Array, count: int) -> Answer:
        similarity = probes @ own.T
        best = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        found = np.take_along_axis(similarity, best, axis=1)
        order = np.argsort(-found, axis=1)
        return made.person[person[np.take_along_axis(best, order, axis=1)]], 1 - np.take_along_axis(
            found, order, axis=1
        )

    return Way("numpy, one product", ask, seconds, more)


def hnswlib_way(made: Made) -> Way | None:
    try:
        import hnswlib
    except ImportError:
        return None
    bag = np.array([kind != "person" for kind in made.classes])
    timer = Timer()
    index = hnswlib.Index("ip", made.vectors.shape[1])
    index.init_index(len(made.vectors), ef_construction=200, M=32)
    index.add_items(made.vectors)
    index.set_ef(200)
    index.set_num_threads(1)
    ready, more = timer.done()

    def ask(probes: Array, count: int) -> Answer:
        # A filter in Python costs more than a few more neighbours.
        return _of_class(*index.knn_query(probes, k=min(3 * count + 20, len(made.vectors))), bag, made.person, count)

    return Way("hnswlib, ef 200", ask, ready, more)


def usearch_way(made: Made) -> Way | None:
    try:
        from usearch.index import Index
    except ImportError:
        return None
    bag = np.array([kind != "person" for kind in made.classes])
    timer = Timer()
    index = Index(ndim=made.vectors.shape[1], metric="ip", dtype="f32", connectivity=32, expansion_add=200)
    index.expansion_search = 200
    index.add(np.arange(len(made.vectors)), made.vectors)
    ready, more = timer.done()

    def ask(probes: Array, count: int) -> Answer:
        found = index.search(probes, min(3 * count + 20, len(made.vectors)), threads=1)
        return _of_class(found.keys.astype(np.intp), found.distances, bag, made.person, count)

    return Way("usearch, expansion 200", ask, ready, more)


def _of_class(rows: Any, distances: Any, bag: NDArray[np.bool_], person: NDArray[np.intp], count: int) -> Answer:
    rows = rows.astype(np.intp)
    order = np.argsort(bag[rows], axis=1, kind="stable")[:, :count]
    return person[np.take_along_axis(rows, order, axis=1)], np.take_along_axis(distances, order, axis=1)


def run(world: World, count: int, frames: int, rounds: int, chroma: int, libraries: int) -> None:
    made = make(world, count, frames)
    model = EmbeddingModel("bench", "0" * 64, made.vectors.shape[1], "made up")
    with tempfile.TemporaryDirectory() as place:
        ways: list[Way] = []
        gallery = None
        if count <= 100_000:
            gallery = Gallery.create(Path(place) / "g", model)
            entries = [
                Entry(id=f"e{n:07d}", identity=name, class_name=kind)
                for n, (name, kind) in enumerate(zip(made.names, made.classes, strict=True))
            ]
            for start in range(0, count, 5000):
                gallery.add(entries[start : start + 5000], made.vectors[start : start + 5000])
            timer = Timer()
            view = gallery.view()
            loaded = timer.done()
            disk = sum(path.stat().st_size for path in (Path(place) / "g").glob("gallery.sqlite3*")) / 2**20
        else:
            # The record of a million entries is 2.5 GB; the view is the same without it.
            timer = Timer()
            view = GalleryView.from_arrays(made.names, made.vectors, class_names=made.classes)
            loaded, disk = timer.done(), None
        ways += view_ways(made, view, loaded, disk)
        # The rows as the view sorted them are those that were made, sorted by person already.
        if count > 100_000:
            made.vectors = view.embeddings
        ways.append(numpy_way(made, made.vectors))
        if count <= libraries:
            ways += [way for way in (hnswlib_way(made), usearch_way(made)) if way is not None]
        if gallery is not None and count <= chroma:
            timer = Timer()
            gallery.sync_index()
            by_index = gallery.view(search="hnsw")
            seconds, more = timer.done()
            size = sum(p.stat().st_size for p in (Path(place) / "g" / "chroma").rglob("*") if p.is_file()) / 2**20
            columns = np.array([int(name) for name in by_index.identities])

            def ask(probes: Array, top: int) -> Answer:
                found, distances = by_index.nearest_identities(probes, top, ["person"] * len(probes))
                return columns[found], distances

            ways.append(Way("gtrack hnsw (Chroma)", ask, seconds, more, size))
        measure(made, view, ways, rounds)
        filters(made, view, gallery)
        if gallery is not None:
            gallery.close(sync=False)


def measure(made: Made, view: GalleryView, ways: list[Way], rounds: int) -> None:
    frames = made.probes.reshape(-1, PROBES, made.probes.shape[1])
    kinds = ["person"] * PROBES
    columns = np.array([int(name) for name in view.identities])
    view.search = "exact"
    expected = [view.nearest_identities(probes, 1, kinds) for probes in frames]
    within = [assign_identities(view.identity_distances(probes, kinds), THRESHOLD) for probes in frames]
    view.search = "auto"
    for number in range(rounds):
        for way in ways:
            for frame, probes in enumerate(frames):
                started, started_cpu = time.perf_counter(), time.process_time()
                people, distances = way.ask(probes, 1)
                way.cpu.append(time.process_time() - started_cpu)
                way.wall.append(time.perf_counter() - started)
                if number:
                    continue
                true_column, true_distance = expected[frame]
                hit = (people[:, 0] == columns[true_column[:, 0]]) | (distances[:, 0] <= true_distance[:, 0] + 1e-6)
                if "within" in way.title:
                    hit |= true_distance[:, 0] > THRESHOLD
                way.hits_1 += int(hit.sum())
                # Whom the best one names, of those whom a comparison with everybody names.
                named = within[frame] >= 0
                gone = named & ((distances[:, 0] > THRESHOLD + 1e-6) | ~hit)
                way.names += int(named.sum())
                way.wrong += int(gone.sum())
    probes = made.probes[: 4 * PROBES]
    for way in ways:
        if "within" in way.title:
            continue
        if way.title.startswith("gtrack"):
            view.search = "exact"
            _, ten = view.nearest_identities(probes, 10, ["person"] * len(probes))
            view.search = "auto"
        else:
            _, ten = ways[3].ask(probes, 10)  # numpy's: these libraries know entries, not identities
        found = np.concatenate([way.ask(probes[n : n + PROBES], 10)[1] for n in range(0, len(probes), PROBES)])
        way.recall_10 = float((found <= ten[:, -1:] + 1e-6).mean())
    asked = len(made.probes)
    print(f"\n**{len(made.vectors):,} entries of {len(view.identities):,} people**\n")
    print(
        "| search | ready CPU s | CPU ms | p50 ms | p99 ms | recall@1 | recall@10 | names lost "
        "| memory MiB | disk MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for way in ways:
        p50, p99 = np.percentile(way.wall, [50, 99]) * 1000
        ten_text = "" if np.isnan(way.recall_10) else f"{way.recall_10:.4f}"
        print(
            f"| {way.title} | {way.ready:.2f} | {np.median(way.cpu) * 1000:.2f} | {p50:.2f} | {p99:.2f} | "
            f"{way.hits_1 / asked:.4f} | {ten_text} | {way.wrong} of {way.names} | {way.extra:.0f} | "
            f"{'' if way.disk is None else f'{way.disk:.0f}'} |",
            flush=True,
        )


def filters(made: Made, view: GalleryView, gallery: Gallery | None) -> None:
    """What a filter costs, of 16 probes."""
    probes = made.probes[:PROBES]

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
            for where in (None, {"class": "person"}, {"origin": "image"}, {"identity": made.names[0]})
        ]
        print(f"CPU ms of `Gallery.query`, exact, by filter: {', '.join(words)}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--frames", type=int, default=64, help="questions of 16 probes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chroma", type=int, default=10_000, help="largest gallery for which Chroma's index is built")
    parser.add_argument("--libraries", type=int, default=100_000, help="the same for hnswlib and usearch")
    parser.add_argument("--noise", action="store_true", help="the worst case")
    arguments = parser.parse_args()
    world = all_alike() if arguments.noise else like_market(arguments.data)
    for count in arguments.sizes:
        run(world, count, arguments.frames, arguments.rounds, arguments.chroma, arguments.libraries)


if __name__ == "__main__":
    main()
