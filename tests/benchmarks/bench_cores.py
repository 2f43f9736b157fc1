"""Measure wall and CPU time of whole `gtrack run` commands on PETS09-S2L1: how well they use several cores.

``python tests/benchmarks/bench_cores.py --data ../shared/data [--rounds 3] [--against ../other-checkout]``

The commands run in turn, round by round; figures are medians. With ``--against``, each command also runs from another
checkout, directly after this one's, and the ratio is the median of the pairs. Beside the times of the whole process
stand the CPU seconds of its busiest thread (on Linux): on an idle machine with C cores, the wall time cannot be less
than these, nor than a C-th of all CPU seconds. They can be compared on a busy machine, where wall times say little.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gallery_db import Gallery, ingest_folder
from tracking import load_embedder

ROOT = Path(__file__).resolve().parents[2]


class Cost(NamedTuple):
    """What a command took.

    Attributes:
        wall: Seconds.
        cpu: CPU seconds of all threads.
        busiest: CPU seconds of the thread that took most; 0 where the system does not say.
    """

    wall: float
    cpu: float
    busiest: float


def thread_seconds(pid: int) -> dict[str, float]:
    """Return the CPU seconds of the threads of a process so far, by thread id."""
    found = {}
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):
            fields = task.read_text().rsplit(")", 1)[1].split()
            found[task.parent.name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def run_gtrack(checkout: Path, *words: object) -> Cost:
    """Run gtrack of a checkout in its own process."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *map(str, words)], stdout=subprocess.DEVNULL, env=environment, cwd=checkout
    )
    threads: dict[str, float] = {}
    while True:
        threads |= thread_seconds(process.pid)
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        time.sleep(0.05)
    process.returncode = status
    if status:
        raise SystemExit(f"gtrack {words} failed")
    return Cost(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, max(threads.values(), default=0.0))


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
                    out = ["--save-json", "--no-progress", "--out-dir", Path(folder) / str(number)]
                    cost = run_gtrack(checkout, "run", data / "video" / "pets09-s2l1.avi", *words, *out)
                    costs.setdefault((name, number), []).append(cost)
                    print(
                        f"{checkout} {name}: {cost.wall:.1f} s wall, {cost.cpu:.1f} CPU s, {cost.busiest:.1f}",
                        file=sys.stderr,
                    )
        for name in variants:
            here = costs[name, 0]
            median = Cost(*(statistics.median(values) for values in zip(*here, strict=True)))
            text = (
                f"{name:42s} {median.wall:6.1f} s wall, {median.cpu:6.1f} CPU s, busiest thread {median.busiest:6.1f}"
            )
            if arguments.against:
                pairs = list(zip(here, costs[name, 1], strict=True))
                ratio = Cost(*(statistics.median(a[k] / max(b[k], 0.01) for a, b in pairs) for k in range(3)))
                text += f"; of the other's: wall {ratio.wall:.2f}, CPU {ratio.cpu:.2f}, thread {ratio.busiest:.2f}"
            print(text, flush=True)


if __name__ == "__main__":
    main()
