"""Whether the rates that `gtrack gallery calibrate` foretells hold for people whom it has not seen.

``python tests/benchmarks/bench_calibrate.py --data ../shared/data``

The Market-1501 subset, split at random many times: some people are the gallery, of whom one camera's images are
kept back, and all others are strangers. The gallery is calibrated as it is. Then the strangers, and the images kept
back, are matched against it with the threshold found, as means of up to five images of one camera.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_db import DEFAULT_THRESHOLD, Entry, GalleryView, read_image
from gallery_db.analysis.calibration import calibrate_view
from tracking import load_embedder

LOOKS = 5


def embedded(folder: Path, weights: str) -> tuple[list[str], NDArray[np.float32]]:
    """File names and embeddings."""
    files = sorted(folder.glob("*.jpg"))
    embedder = load_embedder(weights)
    parts = [embedder.embed([read_image(f) for f in files[at : at + 32]]) for at in range(0, len(files), 32)]
    return [f.name for f in files], np.concatenate(parts)


def means(rows: list[int], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """One probe of consecutive images of one camera, or several if there are many."""
    if len(rows) < 2:
        return np.empty((0, vectors.shape[1]), np.float32)
    starts = range(0, max(1, len(rows) - LOOKS + 1), LOOKS)
    sums = np.stack([vectors[rows[s : s + LOOKS]].sum(axis=0) for s in starts])
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--splits", type=int, default=60)
    parser.add_argument("--people", type=int, nargs="+", default=[8, 20, 50])
    arguments = parser.parse_args()
    folder = arguments.data / "reid" / "market1501-test-subset"
    print(
        f"{'embedder':10s} {'people':>6s} {'wanted':>7s} {'how':>13s} {'threshold':>10s} | strangers named: "
        f"{'mean':>6s} {'10-90 %':>13s} {'<= upper end':>12s} | missed: {'foretold':>8s} {'found':>6s} {'<= upper':>8s}"
    )
    for weights in (str(arguments.data / "weights" / "osnet_x0_25_msmt17.onnx"), "builtin"):
        names, vectors = embedded(folder, weights)
        seen: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for row, name in enumerate(names):
            seen[name[:4]][name[6]].append(row)
        people = sorted(seen)
        for number in arguments.people:
            found: dict[float | None, list[tuple[object, ...]]] = defaultdict(list)
            for split in range(arguments.splits):
                generator = np.random.default_rng(split)
                known = sorted(generator.choice(people, number, replace=False).tolist())
                kept_back = {who: sorted(seen[who])[split % len(seen[who])] for who in known if len(seen[who]) > 2}
                rows = [r for who in known for cam in seen[who] if kept_back.get(who) != cam for r in seen[who][cam]]
                entries = [Entry(names[r], names[r][:4], source=names[r]) for r in rows]
                view = GalleryView.from_arrays(
                    [e.identity for e in entries], vectors[rows], ids=[e.id for e in entries]
                )
                by_id = {e.id: e for e in entries}
                for far in (0.1, 0.05, 0.01, None):
                    (result,) = calibrate_view(view, [by_id[i] for i in view.entry_ids], far=far, probe_size=LOOKS)
                    point = result.chosen
                    assert point is not None
                    assert point.fnir is not None
                    threshold = DEFAULT_THRESHOLD if result.keep_default else point.threshold.estimate
                    strangers, missed = [], []
                    for who in people:
                        for camera, some in seen[who].items():
                            if who in known and kept_back.get(who) != camera:
                                continue
                            probes = means(some, vectors)
                            if not len(probes):
                                continue
                            distances = view.identity_distances(probes)
                            if who in known:
                                own = view.identities.index(who)
                                right = (distances.argmin(axis=1) == own) & (distances[:, own] <= threshold)
                                missed.append(1 - right.mean())
                            else:
                                strangers.append((who, (distances.min(axis=1) <= threshold).mean()))
                    rates: dict[str, list[float]] = defaultdict(list)
                    for who, rate in strangers:
                        rates[who].append(float(rate))
                    named = float(np.mean([np.mean(r) for r in rates.values()]))
                    miss = float(np.mean(missed)) if missed else np.nan
                    found[far].append((
                        threshold, named, named <= point.fpir.high,
                        point.fnir.estimate, miss, miss <= point.fnir.high,
                        "default" if result.keep_default else point.how,
                    ))  # fmt: skip
            for far, lines in found.items():
                threshold, named, inside, foretold, miss, inside_too = (
                    np.asarray([line[column] for line in lines], float) for column in range(6)
                )
                hows = " ".join(f"{sum(line[6] == how for line in lines)} {how[:3]}" for how in ("fitted", "default"))
                low, high = np.quantile(named, [0.1, 0.9])
                print(
                    f"{Path(weights).stem[:10]:10s} {number:6d} {far or 'none':>7} {hows:>13s} "
                    f"{np.median(threshold):10.3f} | {'':16s} {named.mean():6.3f} {low:6.3f}-{high:.3f} "
                    f"{inside.mean():12.2f} | {'':7s} {np.nanmean(foretold):8.3f} {np.nanmean(miss):6.3f} "
                    f"{inside_too.mean():8.2f}"
                )


if __name__ == "__main__":
    main()
