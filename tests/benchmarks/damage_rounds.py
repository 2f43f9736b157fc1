"""Flip random bits in the files of a gallery, and see that no command crashes or gives a wrong answer silently.

    python tests/benchmarks/damage_rounds.py --rounds 300 --workdir DIR

Each round copies a small gallery, flips one to three bits in one of its files, and runs commands on the copy, each in
a process of its own: a query, exact and with Chroma; a list; an addition, which opens the index for writing; verify.
A round fails if a process ends by a signal or with another exception than GtrackError, or if an answer differs from
that of the undamaged gallery and nothing was said (no notice, no error).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.gallery import entries_named, model_named, unit_vectors

from gallery_db import Gallery, GtrackError

DIMENSION = 32
COUNT = 2600
"""Entries; Chroma writes its HNSW files after every 2,000."""
PROBES = 40


def make_gallery(path: Path) -> tuple[object, list[str]]:
    """Make the gallery whose files are damaged. In a child: a process that has opened Chroma cannot fork."""
    with Gallery.create(path, model_named("damage", DIMENSION)) as gallery:
        gallery.add(entries_named(COUNT), unit_vectors(COUNT, DIMENSION))
        gallery.sync_index()
        gallery.remove([f"e{number:05d}" for number in range(0, 60, 3)])
    return None, []


def flip_bits(gallery: Path, generator: random.Random) -> str:
    """Flip one to three bits in one file, the kind of file chosen first; return what was done."""
    files = [path for path in gallery.rglob("*") if path.is_file() and path.stat().st_size and path.suffix != ".lock"]
    kinds = sorted({path.name for path in files})
    kind = generator.choice(kinds + ["gallery.sqlite3"] * (len(kinds) // 2))
    file = generator.choice(sorted(path for path in files if path.name == kind))
    data = bytearray(file.read_bytes())
    flipped = [generator.randrange(len(data) * 8) for _ in range(generator.randint(1, 3))]
    for bit in flipped:
        data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)
    return f"{file.relative_to(gallery)} bits {flipped}"


def query(path: Path, search: str) -> tuple[object, list[str]]:
    """Return the nearest three entries of each probe, and the notices."""
    with Gallery.open(path) as gallery:
        found = gallery.query(unit_vectors(PROBES, DIMENSION), top_k=3, search=search)  # type: ignore[arg-type]
        names = [[(m.entry.id, m.entry.identity, round(m.distance, 3)) for m in row] for row in found]
        return names, gallery.notices


def names(path: Path) -> tuple[object, list[str]]:
    """Return what the view of a run names the probes."""
    with Gallery.open(path) as gallery:
        view = gallery.view()
        columns, _ = view.nearest_identities(unit_vectors(PROBES, DIMENSION), 1)
        return [view.identities[column] for column in columns[:, 0]], gallery.notices


def add(path: Path) -> tuple[object, list[str]]:
    """Add entries, and bring the index up to date."""
    with Gallery.open(path, write=True) as gallery:
        gallery.add(entries_named(5, "n"), unit_vectors(5, DIMENSION, seed=5))
        gallery.sync_index()
        return len(gallery), gallery.notices


def verify(path: Path) -> tuple[object, list[str]]:
    """Compare index and record; a gallery that is not intact counts as one that says so."""
    with Gallery.open(path) as gallery:
        return None, [] if gallery.verify().ok else ["not intact"]


STEPS: dict[str, Callable[[Path], tuple[object, list[str]]]] = {
    "query": lambda path: query(path, "auto"),
    "names": names,
    "query hnsw": lambda path: query(path, "hnsw"),
    "verify": verify,
    "add": add,
    "query afterwards": lambda path: query(path, "auto"),
}


def run_apart(step: str, path: Path, scratch: Path) -> dict[str, object]:
    """Run a step in a child process; return its answer, notices and error."""
    answer = scratch / "answer.json"
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        with (scratch / "stderr").open("w") as log:
            os.dup2(log.fileno(), 2)
        try:
            result, notices = STEPS[step](path)
            answer.write_text(json.dumps({"answer": result, "notices": notices}))
        except GtrackError as error:
            answer.write_text(json.dumps({"error": str(error)}))
        except BaseException:  # noqa: BLE001 - the reason is reported
            answer.write_text(json.dumps({"crash": traceback.format_exc()}))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return {"crash": f"signal {os.WTERMSIG(status)}"}
    if not answer.exists():
        return {"crash": f"exit {status}: " + (scratch / "stderr").read_text()[-500:]}
    return json.loads(answer.read_text())  # type: ignore[no-any-return]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=Path)
    parser.add_argument("--only", help="only this round, with its details")
    options = parser.parse_args()
    workdir = Path(tempfile.mkdtemp(dir=options.workdir))
    intact, damaged = workdir / "intact", workdir / "damaged"
    STEPS["make"] = make_gallery
    assert run_apart("make", intact, workdir) == {"answer": None, "notices": []}
    del STEPS["make"]
    # Names may change with chance: the exact answer is what every step is compared with.
    expected: dict[str, object] = {}
    shutil.copytree(intact, damaged)
    for step in STEPS:
        outcome = run_apart(step, damaged, workdir)
        assert outcome.get("answer") is not None or step == "verify", (step, outcome)
        assert not outcome["notices"], (step, outcome)
        expected[step] = outcome["answer"]
    counts: Counter[str] = Counter()
    failures = []
    rounds = [int(options.only)] if options.only else range(options.rounds)
    for number in rounds:
        generator = random.Random(options.seed * 1_000_003 + number)
        shutil.rmtree(damaged)
        shutil.copytree(intact, damaged)
        what = flip_bits(damaged, generator)
        said = False
        for step in STEPS:
            outcome = run_apart(step, damaged, workdir)
            if options.only:
                print(step, json.dumps(outcome)[:1500])
            if "crash" in outcome:
                counts["crash"] += 1
                failures.append(f"round {number}: {what}: {step}: {outcome['crash']}")
            elif "error" in outcome:
                counts["error"] += 1
                said = True
            elif outcome["answer"] != expected[step]:
                if outcome["notices"] or said:
                    counts["differs, and says so"] += 1
                    said = True
                else:
                    counts["silently wrong"] += 1
                    failures.append(f"round {number}: {what}: {step}: silently wrong")
            else:
                counts["right" + (", with a notice" if outcome["notices"] else "")] += 1
        print(f"{number + 1} {what} {dict(counts)}", file=sys.stderr)
    print("\n".join(failures))
    print(f"{len(rounds)} rounds, {len(failures)} failures: {dict(counts)}")
    shutil.rmtree(workdir, ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
