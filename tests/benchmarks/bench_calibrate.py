"""Compare the error rates that `gtrack gallery calibrate` predicts with those of images that it has not seen.

``python tests/benchmarks/bench_calibrate.py --data ../shared/data``

The Market-1501 subset, split at random many times: some people are the gallery, except for the images of one camera
each, which are held out; all other people are unknown. The gallery is calibrated. Then the unknown people and the
held-out images are matched against it with the threshold found, as means of up to five images of one camera.
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

PROBE_SIZE = 5


def embed_folder(folder: Path, weights: str) -> tuple[list[str], NDArray[np.float32]]:
    """Return the file names of a folder and their embeddings."""
    files = sorted(folder.glob("*.jpg"))
    embedder = load_embedder(weights)
    parts = [embedder.embed([read_image(f) for f in files[at : at + 32]]) for at in range(0, len(files), 32)]
    return [f.name for f in files], np.concatenate(parts)


def means(rows: list[int], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probes (N, D): means of up to `PROBE_SIZE` consecutive images of one camera."""
    if len(rows) < 2:
        return np.empty((0, vectors.shape[1]), np.float32)
    starts = range(0, max(1, len(rows) - PROBE_SIZE + 1), PROBE_SIZE)
    sums = np.stack([vectors[rows[s : s + PROBE_SIZE]].sum(axis=0) for s in starts])
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--splits", type=int, default=60)
    parser.add_argument("--people", type=int, nargs="+", default=[8, 20, 50])
    arguments = parser.parse_args()
    folder = arguments.data / "reid" / "market1501-test-subset"
    print(
        f"{'embedder':10s} {'people':>6s} {'wanted':>7s} {'origin':>13s} {'threshold':>10s} | unknown named:   "
        f"{'mean':>6s} {'10-90 %':>13s} {'<= upper end':>12s} | missed: "
        f"{'predicted':>9s} {'found':>6s} {'<= upper':>8s}"
    )
    for weights in (str(arguments.data / "weights" / "osnet_x0_25_msmt17.onnx"), "builtin"):
        names, vectors = embed_folder(folder, weights)
        rows_by_camera: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for row, name in enumerate(names):
            rows_by_camera[name[:4]][name[6]].append(row)
        people = sorted(rows_by_camera)
        for number in arguments.people:
            found: dict[float | None, list[tuple[object, ...]]] = defaultdict(list)
            for split in range(arguments.splits):
                generator = np.random.default_rng(split)
                known = sorted(generator.choice(people, number, replace=False).tolist())
                held_out = {
                    name: sorted(rows_by_camera[name])[split % len(rows_by_camera[name])]
                    for name in known
                    if len(rows_by_camera[name]) > 2
                }
                rows = [
                    r
                    for name in known
                    for cam in rows_by_camera[name]
                    if held_out.get(name) != cam
                    for r in rows_by_camera[name][cam]
                ]
                entries = [Entry(names[r], names[r][:4], source=names[r]) for r in rows]
                view = GalleryView.from_arrays(
                    [e.identity for e in entries], vectors[rows], ids=[e.id for e in entries]
                )
                by_id = {e.id: e for e in entries}
                for far in (0.1, 0.05, 0.01, None):
                    (result,) = calibrate_view(view, [by_id[i] for i in view.entry_ids], far=far, probe_size=PROBE_SIZE)
                    point = result.chosen
                    assert point is not None
                    assert point.fnir is not None
                    threshold = DEFAULT_THRESHOLD if result.keep_default else point.threshold.estimate
                    unknown_rates, missed = [], []
                    for name in people:
                        for camera, camera_rows in rows_by_camera[name].items():
                            if name in known and held_out.get(name) != camera:
                                continue
                            probes = means(camera_rows, vectors)
                            if not len(probes):
                                continue
                            distances = view.identity_distances(probes)
                            if name in known:
                                own = view.identities.index(name)
                                right = (distances.argmin(axis=1) == own) & (distances[:, own] <= threshold)
                                missed.append(1 - right.mean())
                            else:
                                unknown_rates.append((name, (distances.min(axis=1) <= threshold).mean()))
                    rates: dict[str, list[float]] = defaultdict(list)
                    for name, rate in unknown_rates:
                        rates[name].append(float(rate))
                    named = float(np.mean([np.mean(r) for r in rates.values()]))
                    miss = float(np.mean(missed)) if missed else np.nan
                    found[far].append((
                        threshold, named, named <= point.fpir.high,
                        point.fnir.estimate, miss, miss <= point.fnir.high,
                        "default" if result.keep_default else point.how,
                    ))  # fmt: skip
            for far, lines in found.items():
                threshold, named, inside, predicted, miss, miss_inside = (
                    np.asarray([line[column] for line in lines], float) for column in range(6)
                )
                origins = " ".join(
                    f"{sum(line[6] == origin for line in lines)} {origin[:3]}" for origin in ("fitted", "default")
                )
                low, high = np.quantile(named, [0.1, 0.9])
                print(
                    f"{Path(weights).stem[:10]:10s} {number:6d} {far or 'none':>7} {origins:>13s} "
                    f"{np.median(threshold):10.3f} | {'':16s} {named.mean():6.3f} {low:6.3f}-{high:.3f} "
                    f"{inside.mean():12.2f} | {'':7s} {np.nanmean(predicted):9.3f} {np.nanmean(miss):6.3f} "
                    f"{miss_inside.mean():8.2f}"
                )


if __name__ == "__main__":
    main()
