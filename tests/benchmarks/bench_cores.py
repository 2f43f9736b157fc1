"""Measure wall and CPU time of whole `gtrack run` commands on PETS09-S2L1: how well they use several cores.

``python tests/benchmarks/bench_cores.py --data ../shared/data [--rounds 3] [--against ../other-checkout]``

The commands run in turn, round by round; figures are medians. With ``--against``, each command also runs from another
checkout, directly after this one's, and the ratio is the median of the pairs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from gallery_db import Gallery, ingest_folder
from tracking import load_embedder

ROOT = Path(__file__).resolve().parents[2]


class Cost(NamedTuple):
    """What a command took.

    Attributes:
        wall, cpu: Seconds.
    """

    wall: float
    cpu: float


def run_gtrack(checkout: Path, *words: object) -> Cost:
    """Run gtrack of a checkout in its own process."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *map(str, words)], stdout=subprocess.DEVNULL, env=environment, cwd=checkout
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise SystemExit(f"gtrack {words} failed")
    return Cost(time.perf_counter() - started, usage.ru_utime + usage.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="another checkout of gtrack")
    arguments = parser.parse_args()
    data = arguments.data.resolve()
    weights = data / "weights" / "osnet_x0_25_msmt17.onnx"
    checkouts = [ROOT, *([arguments.against.resolve()] if arguments.against else [])]
    with tempfile.TemporaryDirectory() as folder:
        gallery = Path(folder) / "gallery"
        embedder = load_embedder(weights)
        with Gallery.open_or_create(gallery, embedder.model) as target:
            ingest_folder(target, data / "galleries" / "pets09-first-half", embedder)
        from_file = ["--dets-json", data / "video" / "pets09-s2l1.detections.json"]
        named = ["--gallery", gallery, "--reid-weights", weights]
        detected = ["--detect", data / "weights" / "yolox_nano.onnx", "--classes", "0"]
        variants = {
            "no gallery": from_file,
            "names": [*from_file, *named],
            "names, --save-video": [*from_file, *named, "--save-video", "v.mp4"],
            "--tracker gallery_only": [*from_file, *named, "--tracker", "gallery_only"],
            "--detect YOLOX-nano": detected,
            "--detect YOLOX-nano, names, --save-video": [*detected, *named, "--save-video", "v.mp4"],
        }
        costs: dict[tuple[str, int], list[Cost]] = {}
        for _ in range(arguments.rounds):
            for name, words in variants.items():
                for number, checkout in enumerate(checkouts):
                    out = ["--json", "--no-progress", "--out-dir", Path(folder) / str(number)]
                    cost = run_gtrack(checkout, "run", data / "video" / "pets09-s2l1.avi", *words, *out)
                    costs.setdefault((name, number), []).append(cost)
                    print(f"{checkout} {name}: {cost.wall:.1f} s wall, {cost.cpu:.1f} CPU s", file=sys.stderr)
        for name in variants:
            here = costs[name, 0]
            wall, cpu = (statistics.median(values) for values in zip(*here, strict=True))
            text = f"{name:42s} {wall:6.1f} s wall, {cpu:6.1f} CPU s"
            if arguments.against:
                pairs = list(zip(here, costs[name, 1], strict=True))
                ratio = Cost(*(statistics.median(a[k] / b[k] for a, b in pairs) for k in range(2)))
                text += f"; of the other's: wall {ratio.wall:.2f}, CPU {ratio.cpu:.2f}"
            print(text, flush=True)


if __name__ == "__main__":
    main()
