"""Fuzz for as long as you like: ``python -m fuzz [FORMAT ...] [--cases N] [--seed N]``, from the folder ``tests``.

Each format runs in a process of its own, under a limit of memory and of time. The table says how many cases ran and
what they found; `--keep` names a folder for the first case of each finding.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from fuzz import documents, galleries, models
from fuzz.watch import MAX_SECONDS, Target, examine

TARGETS = {target.name: target for target in (*documents.TARGETS, *models.TARGETS, *galleries.TARGETS)}
_MAX_ADDRESS_SPACE = 4 << 30


def _fuzz(target: Target, cases: int, number: int, keep: Path) -> dict[str, Any]:
    """Run the cases of a format in this process."""
    found: Counter[tuple[str, str]] = Counter()
    texts: dict[str, str] = {}
    outcome = {"cases": 0, "slowest": 0.0}
    work = Path(tempfile.mkdtemp(prefix="gtrack-fuzz-"))
    os.environ |= {name: str(work / name) for name in ("GTRACK_CACHE_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
    target.cases.validate()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MAX_ADDRESS_SPACE, resource.RLIM_INFINITY))

    @seed(number)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(target.cases)
    def one(case: Any) -> None:
        folder = work / "case"
        folder.mkdir()
        (keep / f"{target.name}.last").write_bytes(pickle.dumps(case))
        start = time.perf_counter()
        # What hangs inside a library cannot be interrupted: the process ends, and the last case is at hand.
        faulthandler.dump_traceback_later(6 * MAX_SECONDS, exit=True)
        finding = examine(target, case, folder)
        faulthandler.cancel_dump_traceback_later()
        outcome["cases"] += 1
        outcome["slowest"] = max(outcome["slowest"], time.perf_counter() - start)
        shutil.rmtree(folder)
        if finding is not None:
            key = (finding.kind, finding.where)
            found[key] += 1
            if found[key] == 1:
                texts[" ".join(key)] = finding.text
                (keep / f"{target.name}-{len(found)}.case").write_bytes(pickle.dumps(case))

    try:
        one()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    findings = [
        f"{count} x {kind} at {where}: {texts[f'{kind} {where}']}" for (kind, where), count in found.most_common()
    ]
    return {**outcome, "peak_mib": peak, "findings": findings}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz the formats that come from others.")
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=f"of: {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--cases", type=int, default=1000, help="cases a format (default: 1000)")
    parser.add_argument("--seed", type=int, default=1, help="other seeds, other cases (default: 1)")
    parser.add_argument("--keep", type=Path, help="folder for the cases that found something")
    parser.add_argument("--in-process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    keep: Path = options.keep or Path(tempfile.mkdtemp(prefix="gtrack-fuzz-cases-"))
    keep.mkdir(parents=True, exist_ok=True)
    if options.in_process:
        print(json.dumps(_fuzz(TARGETS[options.formats[0]], options.cases, options.seed, keep)))
        return
    print(f"{'format':<20} {'cases':>7} {'seconds':>8} {'slowest':>8} {'peak MiB':>9}  findings", flush=True)
    wrong = 0
    for name in options.formats or TARGETS:
        words = [name, "--cases", str(options.cases), "--seed", str(options.seed), "--keep", str(keep), "--in-process"]
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "fuzz", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - start
        if done.returncode != 0:
            wrong += 1
            print(f"{name:<20} ended with code {done.returncode}; see {keep / name}.last", flush=True)
            print(done.stderr[-3000:], flush=True)
            continue
        result = json.loads(done.stdout.splitlines()[-1])
        wrong += len(result["findings"])
        print(
            f"{name:<20} {result['cases']:>7} {seconds:>8.0f} {result['slowest']:>8.1f} {result['peak_mib']:>9}  "
            f"{len(result['findings'])}",
            flush=True,
        )
        for finding in result["findings"]:
            print(f"    {finding}", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
