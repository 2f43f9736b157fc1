"""Compare settings of Chroma's index: CPU time to build it, CPU time of a query, and recall.

``python tests/benchmarks/bench_index.py --data ../shared/data [--entries 10000 20000] [--settings 24,100,200 ...]``

A setting is links, ef_construction and ef_search. Entries are drawn after Market-1501 (see `bench_search.py`); half of
the 1,024 probes show people of the gallery. The index is that of a gallery, brought up to date after all entries have
been added. Recall is measured against a plain product: of the nearest entry, and of the ten nearest.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_search import PersonDistribution, fit_market

from gallery_db import EmbeddingModel, Entry, Gallery
from gallery_db.index import chroma_index

PROBES = 1024


def measure(people: PersonDistribution, count: int, settings: list[str]) -> None:
    random = np.random.default_rng(1)
    person = np.arange(count) // 12
    centres = people.centres(int(person[-1]) + 1 + PROBES // 2, random)
    vectors = people.observe(centres[person], random)
    known = centres[random.integers(0, person[-1] + 1, PROBES // 2)]
    probes = people.observe(np.concatenate([known, centres[-PROBES // 2 :]]), random)
    nearest = np.argsort(-(probes @ vectors.T), axis=1)[:, :10]
    entries = [Entry(id=f"e{n:07d}", identity=f"{n // 12:07d}") for n in range(count)]
    model = EmbeddingModel("bench", "0" * 64, vectors.shape[1], "random")
    for setting in settings:
        links, construction, search = (int(part) for part in setting.split(","))
        chroma_index._HNSW.update(max_neighbors=links, ef_construction=construction, ef_search=search)
        with tempfile.TemporaryDirectory() as work, Gallery.create(Path(work) / "g", model) as gallery:
            gallery.add(entries, vectors)
            started = time.process_time()
            gallery.sync_index()
            built = time.process_time() - started
            started = time.process_time()
            found = gallery.query(probes, top_k=10, search="hnsw")
            spent = time.process_time() - started
        ids = [[int(match.entry.id[1:]) for match in some] for some in found]
        first = np.mean([some[0] == expected[0] for some, expected in zip(ids, nearest, strict=True)])
        ten = np.mean([len(set(some) & set(row.tolist())) / 10 for some, row in zip(ids, nearest, strict=True)])
        print(
            f"| {count:,} | {links} | {construction} | {search} | {built:.1f} | {1000 * spent / PROBES:.2f} | "
            f"{first:.4f} | {ten:.4f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--entries", type=int, nargs="+", default=[10_000, 20_000])
    parser.add_argument("--settings", nargs="+", default=["32,200,200", "24,100,200", "16,100,200"])
    arguments = parser.parse_args()
    people = fit_market(arguments.data)
    print("| entries | links | ef_construction | ef_search | building, CPU s | query, CPU ms | recall@1 | recall@10 |")
    print("|---|---|---|---|---|---|---|---|")
    for count in arguments.entries:
        measure(people, count, arguments.settings)


if __name__ == "__main__":
    main()
