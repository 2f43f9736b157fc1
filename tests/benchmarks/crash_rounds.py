"""Kill writers with SIGKILL at random times, round after round, and check the gallery that is left.

``python tests/benchmarks/crash_rounds.py --rounds 100``
``python tests/benchmarks/crash_rounds.py --what add --rounds 100 --base 100000``
``python tests/benchmarks/crash_rounds.py --what add --rounds 100 --base 20000 --aim``

Each round starts a process that writes into the same gallery: by the API with a sync of the index every few
batches (``add``), by ``gtrack gallery ingest`` (``ingest``), or by ``gtrack run --enroll all`` (``enrol``). It is
killed at a random time; with ``--aim`` (for ``add`` only), while Chroma rewrites its files or soon after. Changes that
a reader in another process saw in the record before the kill count as acknowledged. Then:

- the record is intact, and holds every acknowledged change;
- the entries are exactly those of the change log, no batch is incomplete, and their vectors are right;
- opened for writing, the gallery repairs its index where necessary and reports it;
- 64 entries, half of them the newest, are found by Chroma's index under their own vectors;
- every tenth round, `verify` compares every vector of the index with the record.

The index is opened in its own process each time, because a damaged index may end the process with a segmentation fault.

With ``--base``, five rounds run on a copy of the base gallery, then the next five on a new copy.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_db import EmbeddingModel, Entry, Gallery, is_gallery

__all__ = ["main"]

_MODEL = EmbeddingModel("crash.onnx", "0" * 64, 512, "none")
_BATCH = 250
_PEOPLE, _IMAGES = 12, 60
_ROUNDS_A_BASE = 5


@cache
def _axes() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((48, _MODEL.dimension)).astype(np.float32)


def vector_of(number: int) -> NDArray[np.float32]:
    """Return the vector of the entry with this number, the same in every process; 20 numbers are one person."""
    person = np.random.default_rng(number // 20).standard_normal(48).astype(np.float32)
    own = np.random.default_rng((1, number)).standard_normal(48).astype(np.float32)
    vector = (person + np.float32(0.4) * own) @ _axes()
    return vector / np.linalg.norm(vector)


def entry_of(number: int) -> Entry:
    """Return the entry with this number."""
    return Entry(id=f"img-{number:012d}", identity=f"person {number // 20}", source=f"/pictures/{number}.jpg")


def add(gallery: Gallery, first: int, count: int) -> None:
    """Add entries with consecutive numbers in one transaction."""
    numbers = range(first, first + count)
    gallery.add([entry_of(number) for number in numbers], np.stack([vector_of(number) for number in numbers]))


# -- the writers that are killed ---------------------------------------------------------------------------------


def write_by_api(path: Path, first: int) -> None:
    """Add 24 batches, and update the index after every sixth."""
    with Gallery.open(path, write=True, lock_timeout=60) as gallery:
        for batch in range(24):
            add(gallery, first + batch * _BATCH, _BATCH)
            if batch % 6 == 5:
                gallery.sync_index()


def make_images(folder: Path, number: int) -> None:
    """Write image folders with pictures that no earlier round has used."""
    import cv2

    generator = np.random.default_rng(number)
    for person in range(_PEOPLE):
        identity_folder = folder / f"person {person}"
        identity_folder.mkdir(parents=True)
        for image in range(_IMAGES):
            small = generator.integers(0, 255, (8, 4, 3), np.uint8)
            cv2.imwrite(
                str(identity_folder / f"{image}.png"), cv2.resize(small, (64, 128), interpolation=cv2.INTER_LINEAR)
            )


class Writers:
    """Starts the writing process of a round."""

    def __init__(self, kind: str, gallery: Path, scratch: Path) -> None:
        self._kind = kind
        self._gallery = gallery
        self._scratch = scratch
        self._gtrack = [sys.executable, "-m", "cli.main"]
        if kind == "enrol":
            demo = [*self._gtrack, "demo", "--out", str(scratch / "demo")]
            subprocess.run(demo, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self, number: int, first: int) -> subprocess.Popen[bytes]:
        """Start the process of a round; its output is discarded."""
        if self._kind == "add":
            words = [sys.executable, __file__, "--write", str(self._gallery), "--first", str(first)]
        elif self._kind == "ingest":
            images = self._scratch / f"images-{number}"
            make_images(images, number)
            words = [*self._gtrack, "gallery", "ingest", str(images), "--gallery", str(self._gallery)]
            words += ["--reid-weights", "builtin", "--batch-size", "16"]
        else:
            demo = self._scratch / "demo"
            video = next(path for path in sorted(demo.iterdir()) if path.suffix in (".mp4", ".avi"))
            detections = next(path for path in sorted(demo.iterdir()) if path.name.endswith("detections.json"))
            words = [*self._gtrack, "run", "--dets-json", str(detections), "--video", str(video)]
            words += ["--gallery", str(self._gallery), "--reid-weights", "builtin", "--enroll", "all"]
            words += ["--source-id", f"camera-{number}", "--reid-frequency", "3"]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


# -- the checks after each round --------------------------------------------------------------------------------------


def last_change(path: Path) -> int:
    """Return the number of the newest change that a reader sees; 0 if there is no gallery yet."""
    if not is_gallery(path):
        return 0
    with Gallery.open(path) as gallery:
        return gallery.record.log.last_change(gallery.collection_key)


def check_record(path: Path, since: int, acknowledged: int) -> tuple[int, str | None]:
    """Check the record after a round; return its newest change, and what is wrong or None.

    Args:
        path: The gallery.
        since: The newest change before the round.
        acknowledged: The newest change that was outcomes before the kill.
    """
    with Gallery.open(path) as gallery:
        record, key = gallery.record, gallery.collection_key
        damage = record.check_integrity()
        newest = record.log.last_change(key)
        if damage:
            return newest, f"the record is damaged: {damage[0]}"
        if newest < acknowledged:
            return newest, f"change {acknowledged} was acknowledged, and the newest is {newest}"
        last: dict[str, str] = {id_: action for action, id_ in record.log.changes_after(key, since, newest)}
        stored = record.entries.by_ids(key, list(last))
        for id_, action in last.items():
            if (action == "remove") == (id_ in stored):
                return (
                    newest,
                    f"entry {id_} was last changed by {action!r}, and is {'stored' if id_ in stored else 'missing'}",
                )
        ours = [id_ for id_ in stored if id_.startswith("img-") and len(id_) == 16]
        if len(ours) % _BATCH:
            return newest, f"{len(ours)} entries are stored, which is no multiple of the batch size {_BATCH}"
        if ours:
            _, vectors = record.entries.with_vectors(key, ours, _MODEL.dimension)
            wrong = sum(not np.array_equal(v, vector_of(int(i[4:]))) for i, v in zip(ours, vectors, strict=True))
            if wrong:
                return newest, f"{wrong} vectors differ from those that were stored"
        return newest, None


def check_queries(path: Path, chance: random.Random, *, verify: bool) -> tuple[list[str], str | None]:
    """Open the gallery as the next writer; return its notices, and what is wrong with its answers or None."""
    with Gallery.open(path, write=True, lock_timeout=60) as gallery:
        if not len(gallery):
            return [], None
        gallery.sync_index()
        ids = gallery.record.entries.ids(gallery.collection_key)
        chosen = [*ids[-32:], *chance.sample(ids, min(32, len(ids)))]
        _, vectors = gallery.record.entries.with_vectors(gallery.collection_key, chosen, gallery.model.dimension)
        found = gallery.query(vectors, top_k=1, search="hnsw")
        lost = sum(not some or some[0].distance > 1e-4 for some in found)
        if lost:
            return gallery.notices, f"{lost} of {len(chosen)} entries are not found under their own vectors"
        if verify:
            report = gallery.verify()
            if not report.ok:
                return gallery.notices, f"verify: {report}"
        return list(gallery.notices), None


def check_in_own_process(path: Path, seed: int, *, verify: bool) -> tuple[list[str], str | None]:
    """Run `check_queries` in its own process, which may crash."""
    words = [sys.executable, __file__, "--check", str(path), "--seed", str(seed)]
    done = subprocess.run([*words, *(["--verify"] if verify else [])], capture_output=True, text=True)
    if done.returncode < 0:
        return [], f"opening the index ended the process: {signal.Signals(-done.returncode).name}"
    if done.returncode:
        return [], f"opening the index failed: {done.stderr[-500:]}"
    notices, problem = json.loads(done.stdout.splitlines()[-1])
    return notices, problem


def index_write_times(gallery: Path) -> dict[Path, int]:
    """Return when each file of the index was last written, in nanoseconds."""
    found = {}
    for file in gallery.glob("chroma/*/*.bin"):
        with contextlib.suppress(FileNotFoundError):
            found[file] = file.stat().st_mtime_ns
    return found


def wait_to_kill(process: subprocess.Popen[bytes], seconds: float, aimed_at: Path | None) -> bool:
    """Wait `seconds`, counted from the next write to the index of `aimed_at`; return whether the process ended."""
    if aimed_at is not None:
        before = index_write_times(aimed_at)
        while process.poll() is None and index_write_times(aimed_at) == before:
            time.sleep(0.002)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def run_rounds(kind: str, count: int, base: int, folder: Path, seed: int, *, aim: bool = False) -> int:
    """Run the rounds of one kind of writer; return how many went wrong."""
    chance = random.Random(seed)
    path = folder / "gallery"
    pristine = folder / "base"
    if base:
        with Gallery.create(pristine, _MODEL) as gallery:
            for first in range(0, base, 5000):
                add(gallery, first, min(5000, base - first))
    elif kind == "add":
        Gallery.create(path, _MODEL).close()
    writers = Writers(kind, path, folder)
    lifetime = None
    first, wrong, outcomes = 10_000_000, 0, Counter[str]()
    for number in range(count):
        if base and number % _ROUNDS_A_BASE == 0:
            # Otherwise the gallery would grow to a multiple of the base.
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(pristine, path)
        before = last_change(path)
        process = writers.start(number, first)
        first += 1_000_000
        started = time.perf_counter()
        if lifetime is None:  # the first one is not killed, to measure how long it takes
            process.wait()
            lifetime = time.perf_counter() - started
            outcomes["finished"] += 1
        else:
            aimed = aim and kind == "add"
            # Writing an index of 100,000 entries takes about a second.
            most = 2.0 * max(base, 10_000) / 100_000
            seconds = chance.uniform(0.0, most) if aimed else lifetime * chance.uniform(0.05, 1.05)
            outcomes["finished" if wait_to_kill(process, seconds, path if aimed else None) else "killed"] += 1
        acknowledged = last_change(path)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        elif process.returncode:
            print(f"round {number}: the writer failed with exit {process.returncode}", flush=True)
            wrong += 1
        if not is_gallery(path):
            outcomes["no gallery yet"] += 1
            continue
        newest, problem = check_record(path, before, acknowledged)
        outcomes["entries stored"] += newest > before
        notices: list[str] = []
        if problem is None:
            verify = number % 10 == 9 or number == count - 1
            notices, problem = check_in_own_process(path, chance.randrange(1 << 30), verify=verify)
        for notice in notices:
            for word in ("checked against", "was repaired", "rebuilt"):
                outcomes[f"index {word}"] += word in notice
        if problem is not None:
            wrong += 1
            print(f"round {number}: {problem}; notices: {notices}", flush=True)
        if number % 10 == 9:
            print(f"{kind}: {number + 1} rounds, {wrong} wrong; {dict(outcomes)}", flush=True)
    with Gallery.open(path) as gallery:
        print(
            f"{kind}, base {base}: {count} rounds, {wrong} wrong; {dict(outcomes)}; {len(gallery)} entries at the end; "
            f"an undisturbed writer takes {lifetime or 0:.1f} s",
            flush=True,
        )
    return wrong


def main() -> None:
    """Run the rounds, or one of the child processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=["add", "ingest", "enrol"], nargs="+", default=["add", "ingest", "enrol"])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--base", type=int, default=0, help="entries before the first round; for 'add' only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--aim", action="store_true", help="kill while the index files are rewritten; for 'add' only")
    parser.add_argument("--check", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--verify", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_by_api(options.write, options.first)
        return
    if options.check:
        print(json.dumps(check_queries(options.check, random.Random(options.seed), verify=options.verify)))
        return
    wrong = 0
    for kind in options.what:
        with tempfile.TemporaryDirectory() as folder:
            base = options.base if kind == "add" else 0
            wrong += run_rounds(kind, options.rounds, base, Path(folder), options.seed, aim=options.aim)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
