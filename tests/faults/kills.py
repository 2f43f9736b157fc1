"""Kill commands that write, at random system calls, and check what they leave: ``python tests/faults/kills.py``.

Each round copies a small workplace, runs one command in it, and kills the command with SIGKILL when it makes a certain
system call (a write, rename, fsync, unlink ...) for the N-th time. ``strace`` does that; without it, or without the
right to trace, the command is killed at a random moment. Then:

- the gallery opens, no acknowledged entry is lost, and an operation that is one transaction is done or not done;
- files that are results are the old ones, the new ones or absent, and can be read;
- the same command runs again to its end, and the gallery is sound;
- no entry has lost its picture, and nothing unfinished is left.

Commands run in forks of this process, which has imported what they need; an import of Chroma and BoxMOT a command would
take longer than everything else.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CALLS = (
    "write",
    "pwrite64",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "fsync",
    "fdatasync",
    "ftruncate",
    "mkdir",
    "mkdirat",
    "flock",
)
LEFTOVERS = (
    ".*.part*",
    "..*.part*",
    ".gtrack-run.lock*",
    ".pictures-*",
    "*.new",
    "*.restored*",
    "gallery.lock.json",
    "chroma.new",
    "chroma.old",
    "*-journal",
)
MODULES = ("cli.main", "cli.gallery.app", "gallery_db.transfer", "chromadb", "cv2", "pyarrow.parquet", "PIL.Image")
RUN_MODULES = ("tracking.pipeline", "tracking.boxmot_adapter", "tracking.evaluation.identity", "boxmot", "torch")
HAS_STRACE = shutil.which("strace") is not None
SECONDS = 120


@dataclass(frozen=True)
class Command:
    """A command that is killed.

    Attributes:
        name: Its name in the report.
        words: Its arguments, in the workplace.
        gallery: The gallery that it writes to, if it writes to one.
        whole: Whether the gallery is as before or as after, and nothing between.
        results: Files and folders that it makes or replaces.
        tracks: Whether it needs what tracking needs.
        weight: How often it is chosen.
    """

    name: str
    words: tuple[str, ...]
    gallery: str | None = None
    whole: bool = True
    results: tuple[str, ...] = ()
    tracks: bool = False
    weight: float = 1.0


def _gallery(name: str, *words: str, whole: bool = True, results: tuple[str, ...] = (), weight: float = 1.0) -> Command:
    verb = name.split()[0]
    return Command(name, ("gallery", verb, *words, "-g", "g"), "g", whole, results, weight=weight)


_RUN = ("run", "scene.mp4", "--dets-json", "detections.json", "--no-progress", "--out-dir", "out", "--range", ":24")

COMMANDS = (
    _gallery("ingest", "more", "--reid-weights", "builtin", "--batch-size", "4", "--wait-index", whole=False),
    Command(
        "ingest new",
        ("gallery", "ingest", "people", "-g", "new", "--reid-weights", "builtin", "--wait-index"),
        "new",
        whole=False,
    ),
    _gallery("import", "pictures.parquet", "--wait-index"),
    _gallery("import replace", "changed.parquet", "--replace", weight=2),
    Command("import new", ("gallery", "import", "pictures.parquet", "-g", "new"), "new", weight=2),
    _gallery("export", "x.parquet", "--crops", results=("x.parquet",)),
    _gallery("export folders", "folders", "--folders", "--overwrite"),
    _gallery("snapshot", "now", results=("g/snapshots/now.sqlite3",)),
    _gallery("restore", "before", "-y", weight=2),
    _gallery("rebuild"),
    _gallery("verify"),
    _gallery("calibrate", "--force"),
    _gallery("rename", "p1", "alice"),
    _gallery("merge", "p0", "--into", "p1", "-y"),
    _gallery("remove", "--identity", "p2"),
    _gallery("clear", "-y"),
    _gallery("undo"),
    _gallery("redo"),
    _gallery("show", "p0", "--contact-sheet", "sheet.jpg", results=("sheet.jpg",)),
    Command(
        "run",
        (*_RUN, "--run-name", "one", "--save-json", "--save-video", "v.avi", "--fourcc", "MJPG", "--save-frames"),
        results=("out/one-2/tracked.json", "out/one-2/v.avi", "out/one-2/frames"),
        tracks=True,
        weight=3,
    ),
    Command(
        "run enrol",
        (
            *_RUN,
            "--run-name",
            "two",
            "--save-json",
            "--save-video",
            "v.avi",
            "--fourcc",
            "MJPG",
            "--gallery",
            "g",
            "--enroll",
            "all",
            "--backfill",
            "--explain",
        ),
        "g",
        whole=False,
        results=("out/two/tracked.json", "out/two/v.avi", "out/two/explain.jpg"),
        tracks=True,
        weight=3,
    ),
    Command(
        "run folder",
        (*_RUN, "--run-name", "one", "--save-json", "--gallery", "people", "--reid-weights", "builtin"),
        results=("out/one-2/tracked.json",),
        tracks=True,
    ),
    Command(
        "detect",
        ("detect", "scene.mp4", "--weights", "builtin", "-o", "found.json", "--range", ":4", "--no-progress"),
        results=("found.json",),
        tracks=True,
    ),
    Command(
        "export tracks",
        (
            "export",
            "tracks",
            "out/one/tracked.json",
            "-o",
            "t.csv",
            "-o",
            "t.txt",
            "-o",
            "t.html",
            "-o",
            "t.parquet",
            "--video",
            "scene.mp4",
        ),
        results=("t.csv", "t.txt", "t.html", "t.parquet"),
        tracks=True,
        weight=2,
    ),
    Command("demo", ("demo", "--out", "demo", "--no-progress"), tracks=True, weight=0.3),
)


@dataclass
class Outcome:
    """What happened to one process."""

    code: int
    stderr: str
    value: Any = None


@dataclass
class Round:
    """One kill and what was found after it."""

    command: str
    where: str
    killed: bool
    problems: list[str] = field(default_factory=list)


# -- processes -------------------------------------------------------------------------------------------------


def in_fork(
    work: Callable[[], Any], folder: Path, *, attach: Callable[[int], Any] | None = None, moment: float | None = None
) -> Outcome:
    """Do some work in a fork of this process, in a folder; `attach` is called before it begins.

    Args:
        work: What to do; what it returns must be JSON.
        folder: The current folder.
        attach: Given the process id, starts strace.
        moment: Kill it after that many seconds.
    """
    go, begin = os.pipe()
    with tempfile.TemporaryDirectory() as scratch:
        answer, errors = Path(scratch, "answer.json"), Path(scratch, "stderr")
        pid = os.fork()
        if pid == 0:
            _child(work, folder, go, begin, answer, errors)
        os.close(go)
        tracer = None
        try:
            if attach is not None:
                tracer = attach(pid)
            os.write(begin, b"x")
            os.close(begin)
            code = _wait(pid, moment)
        finally:
            if tracer is not None:
                tracer.wait(timeout=SECONDS)
        value = json.loads(answer.read_text()) if answer.exists() else None
        return Outcome(code, errors.read_text(errors="replace"), value)


def _child(work: Callable[[], Any], folder: Path, go: int, begin: int, answer: Path, errors: Path) -> None:
    code = 70
    try:
        os.setsid()
        os.close(begin)
        os.chdir(folder)
        for number, path in ((0, os.devnull), (1, os.devnull), (2, str(errors))):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
        os.environ["GTRACK_CACHE_DIR"] = str(folder / "cache")
        os.environ["XDG_STATE_HOME"] = str(folder / "state")
        os.read(go, 1)
        value = work()
        answer.write_text(json.dumps(value))
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - the parent reads it
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _wait(pid: int, moment: float | None) -> int:
    """Wait for a process; kill it at its moment, or when it takes far too long."""
    deadline = time.monotonic() + (SECONDS if moment is None else moment)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        time.sleep(0.002)


def run(command: Sequence[str], folder: Path, **options: Any) -> Outcome:
    """Run ``gtrack`` with some arguments in a folder."""

    def work() -> None:
        from cli.main import main

        sys.argv = ["gtrack", *command]
        main()

    return in_fork(work, folder, **options)


def strace(*options: str) -> Callable[[int], subprocess.Popen[bytes]]:
    """Return what attaches strace to a process, and to its threads and children."""

    def attach(pid: int) -> subprocess.Popen[bytes]:
        words = ["strace", "-f", "-qq", "-p", str(pid), *options]
        tracer = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        status = Path(f"/proc/{pid}/status")
        while "TracerPid:\t0" in status.read_text():
            if tracer.poll() is not None:
                assert tracer.stderr is not None
                raise RuntimeError(f"strace: {tracer.stderr.read().decode()}")
            time.sleep(0.002)
        return tracer

    return attach


def count_calls(command: Command, folder: Path) -> tuple[Counter[str], Outcome, float]:
    """Run a command to its end; return how often one of its threads makes each system call, and the seconds."""
    started = time.perf_counter()
    if not HAS_STRACE:
        return Counter(), run(command.words, folder), time.perf_counter() - started
    with tempfile.NamedTemporaryFile() as log:
        outcome = run(command.words, folder, attach=strace("-e", "trace=" + ",".join(CALLS), "-o", log.name))
        threads: dict[tuple[str, str], int] = defaultdict(int)
        for line in Path(log.name).read_text(errors="replace").splitlines():
            pid, _, rest = line.partition(" ")
            call = rest.strip().partition("(")[0]
            if call in CALLS:
                threads[call, pid] += 1
    most: Counter[str] = Counter()
    for (call, _), count in threads.items():
        most[call] = max(most[call], count)
    return most, outcome, time.perf_counter() - started


# -- the workplace ---------------------------------------------------------------------------------------------


def make_workplace(folder: Path, *, tracks: bool) -> None:
    """Make what the commands work on: images, a gallery with pictures, Parquet files, a scene and an earlier run."""
    for kind, first, people in (("people", 0, 3), ("more", 50, 2)):
        in_fork(lambda kind=kind, first=first, people=people: _draw(Path(kind), first, people), folder)  # type: ignore[misc]
    _must(run(("gallery", "ingest", "people", "-g", "g", "--reid-weights", "builtin"), folder))
    _must(run(("gallery", "rename", "p2", "carol", "-g", "g"), folder))
    _must(run(("gallery", "rename", "carol", "p2", "-g", "g"), folder))
    _must(run(("gallery", "snapshot", "before", "-g", "g"), folder))
    _must(in_fork(_make_parquet, folder))
    _must(run(("gallery", "import", "pictures.parquet", "-g", "g"), folder))
    _must(in_fork(_change_parquet, folder))
    _must(run(("gallery", "rename", "p1", "renamed", "-g", "g"), folder))
    _must(run(("gallery", "undo", "-g", "g"), folder))
    if tracks:
        _must(in_fork(_make_scene, folder))
        _must(run((*_RUN, "--run-name", "one", "--save-json", "--range", ":20"), folder))


def _must(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.stderr
    return outcome


def _draw(folder: Path, first: int, people: int) -> None:
    import cv2
    import numpy as np

    for person in range(people):
        (folder / f"p{person}").mkdir(parents=True)
        for number in range(4):
            small = np.random.default_rng(first + 10 * person + number).integers(0, 255, (8, 4, 3), np.uint8)
            cv2.imwrite(str(folder / f"p{person}" / f"{first + number}.png"), cv2.resize(small, (64, 128)))


def _make_parquet() -> None:
    """Write a Parquet file of entries that have pictures of their own, at paths of both kinds."""
    from gallery_db import Entry, Gallery, export_parquet

    _draw(Path("h/crops"), 100, 3)
    names = sorted(str(path.relative_to("h")) for path in Path("h/crops").rglob("*.png"))
    Path("h").rename("h-crops")
    with Gallery.open("g") as gallery:
        model = gallery.model
        vectors = [gallery.get(entry.id)[1] for entry in list(gallery.entries())[: len(names)]]
    import numpy as np

    with Gallery.create("h", model) as gallery:
        for path in Path("h-crops").iterdir():
            path.rename(Path("h") / path.name)
        entries = [
            Entry(id=f"pic-{number}", identity="pictured", source="", origin="track", extra={"crop": name})
            if number % 2
            else Entry(id=f"pic-{number}", identity="pictured", source=str(Path("h", name).absolute()))
            for number, name in enumerate(names)
        ]
        gallery.add(entries, np.stack(vectors))
        export_parquet(gallery, "pictures.parquet", pictures=True)
    _draw(Path("h/crops2"), 200, 3)


def _change_parquet() -> None:
    """Write the same entries with other pictures at the same paths; then remove where they came from."""
    from dataclasses import replace

    from gallery_db import Gallery, export_parquet

    for path in sorted(Path("h/crops").rglob("*.png")):
        new = sorted(Path("h/crops2").rglob("*.png"))[0]
        new.replace(path)
    with Gallery.open("h", write=True) as gallery:
        gallery.update([replace(entry, identity="changed") for entry in gallery.entries()])
        export_parquet(gallery, "changed.parquet", pictures=True)
    shutil.rmtree("h")


def _make_scene() -> None:
    from tracking.synthetic.config import SceneConfig
    from tracking.synthetic.rendering import render_scene

    scene = render_scene("scene", SceneConfig(frames=40, width=320, height=240))
    scene.video.rename("scene.mp4")
    scene.detections.rename("detections.json")
    shutil.rmtree("scene")


# -- checks ----------------------------------------------------------------------------------------------------


def gallery_state(path: str) -> dict[str, str]:
    """Return id and identity of every entry of all collections; empty where there is no gallery."""
    from gallery_db import Gallery, is_gallery

    if not is_gallery(path):
        return {}
    found = {}
    with Gallery.open(path) as gallery:
        names = [info.name for info in gallery.collections()]
    for name in names:
        with Gallery.open(path, collection=name) as gallery:
            found |= {entry.id: entry.identity for entry in gallery.entries()}
    return found


def missing_pictures(path: str) -> list[str]:
    """Return the entries whose picture is missing, or is another one than theirs."""
    from gallery_db import Gallery, GtrackError, is_gallery
    from gallery_db.media.entry_pictures import find_picture, needs_video_frame

    missing = []
    if is_gallery(path):
        with Gallery.open(path) as gallery:
            for entry in gallery.entries():
                try:
                    find_picture(gallery.path, entry)
                except GtrackError:
                    if not needs_video_frame(entry):
                        missing.append(entry.id)
    return missing


def index_problems(path: str) -> str | None:
    """Return what `verify` finds after the index was synchronised."""
    from gallery_db import Gallery, is_gallery

    if not is_gallery(path):
        return None
    with Gallery.open(path, write=True) as gallery:
        gallery.sync_index()
        report = gallery.verify()
        return None if report.ok else repr(report)


def read_result(path: Path) -> str | None:
    """Return what is wrong with a result; None if it is whole or absent."""
    if not path.exists():
        return None
    try:
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".parquet":
            import pyarrow.parquet as pq

            pq.read_table(path)
        elif path.suffix == ".csv":
            with path.open(newline="") as file:
                if len({len(row) for row in csv.reader(file)}) != 1:
                    return f"{path}: rows of unlike length"
        elif path.suffix == ".html":
            if "</html>" not in path.read_text():
                return f"{path} is cut off"
        elif path.suffix == ".sqlite3":
            from gallery_db.store.snapshot_files import check_snapshot

            check_snapshot(path)
        elif path.suffix in (".jpg", ".avi"):
            import cv2

            capture = cv2.VideoCapture(str(path))
            if not capture.isOpened() or not capture.grab():
                return f"{path} cannot be read"
        elif path.is_dir() and any(item.stat().st_size == 0 for item in path.iterdir()):
            return f"{path} has an empty file"
    except Exception as error:  # noqa: BLE001 - any is a finding
        return f"{path}: {error!r}"
    return None


def leftovers(folder: Path) -> list[str]:
    """Return the paths of what is unfinished in a workplace."""
    found = {path for pattern in LEFTOVERS for path in folder.rglob(pattern)}
    # An open record has no journal of this kind, and Chroma's own files are its own matter.
    return sorted(str(path.relative_to(folder)) for path in found if "chroma/" not in str(path))


def check_after_kill(command: Command, before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Check the workplace, the current folder, right after the kill."""
    problems = [problem for result in command.results if (problem := read_result(Path(result)))]
    if command.gallery is not None:
        state = gallery_state(command.gallery)
        if command.whole and state not in (before, after) and (before or state):
            problems.append(f"neither as before nor as after: {len(before)}, {len(state)}, {len(after)} entries")
        lost = [id_ for id_ in before if id_ in after and id_ not in state]
        if lost:
            problems.append(f"{len(lost)} acknowledged entries are lost, such as {lost[0]}")
        if missing := missing_pictures(command.gallery):
            problems.append(f"{len(missing)} of {len(state)} entries without their picture, such as {missing[0]}")
    return problems


def check_after_next(command: Command) -> list[str]:
    """Check the workplace, the current folder, after the next command."""
    problems = []
    for gallery in ("g", "new", "demo/gallery-db"):
        if problem := index_problems(gallery):
            problems.append(f"{gallery} is not sound: {problem}")
        if missing := missing_pictures(gallery):
            problems.append(f"{gallery}: {len(missing)} entries without their picture")
    problems += [f"left: {path}" for path in leftovers(Path())]
    problems += [problem for result in command.results if (problem := read_result(Path(result)))]
    problems += [f"{result} is absent" for result in command.results if not Path(result).exists()]
    return problems


# -- rounds ----------------------------------------------------------------------------------------------------


@dataclass
class Known:
    """What an undisturbed run of a command showed."""

    calls: Counter[str]
    seconds: float
    before: dict[str, str]
    after: dict[str, str]


def get_to_know(command: Command, base: Path, folder: Path) -> Known:
    """Run a command undisturbed, and note its system calls and its effect."""
    shutil.copytree(base, folder)
    gallery = command.gallery or "g"
    before = _must(in_fork(lambda: gallery_state(gallery), folder)).value
    calls, outcome, seconds = count_calls(command, folder)
    assert outcome.code == 0, (command.name, outcome.stderr)
    after = _must(in_fork(lambda: gallery_state(gallery), folder)).value
    wrong = _must(in_fork(lambda: check_after_next(command), folder)).value
    assert not wrong, (command.name, wrong)
    return Known(calls, seconds, before, after)


def kill_once(command: Command, known: Known, base: Path, folder: Path, chance: random.Random) -> Round:
    """Kill a command once, in a fresh workplace, and check everything."""
    shutil.copytree(base, folder)
    if known.calls and chance.random() < 0.9:
        call = chance.choice(sorted(known.calls))
        number = chance.randint(1, known.calls[call])
        where = f"{call} {number} of {known.calls[call]}"
        inject = strace("-e", "trace=" + call, "-e", f"inject={call}:signal=KILL:when={number}", "-o", os.devnull)
        outcome = run(command.words, folder, attach=inject)
    else:
        moment = known.seconds * chance.uniform(0.02, 1.0)
        where = f"after {moment:.2f} s"
        outcome = run(command.words, folder, moment=moment)
    result = Round(command.name, where, outcome.code == -signal.SIGKILL)
    if outcome.code not in (0, -signal.SIGKILL):
        result.problems.append(f"ended with {outcome.code}: {outcome.stderr[-400:]}")
    found = in_fork(lambda: check_after_kill(command, known.before, known.after), folder)
    result.problems += found.value if found.code == 0 else [f"the check failed: {found.stderr[-900:]}"]
    again = run(command.words, folder)
    # What is done already cannot be done again.
    if again.code not in (0, 1) or "Traceback" in again.stderr or (again.code == 1 and "error: " not in again.stderr):
        result.problems.append(f"again: {again.code}: {again.stderr[-400:]}")
    found = in_fork(lambda: check_after_next(command), folder)
    result.problems += found.value if found.code == 0 else [f"the last check failed: {found.stderr[-900:]}"]
    return result


def main() -> int:
    """Run the rounds and print what went wrong; return the number of rounds in which something did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="how many times a command is killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="+", help="names of commands", choices=[c.name for c in COMMANDS], metavar="NAME"
    )
    options = parser.parse_args()
    chosen = [command for command in COMMANDS if options.only is None or command.name in options.only]
    tracks = any(command.tracks for command in chosen)
    for name in (*MODULES, *(RUN_MODULES if tracks else ())):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    chance = random.Random(options.seed)
    known: dict[str, Known] = {}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory(prefix="gtrack-kills-") as scratch:
        base, place = Path(scratch, "base"), Path(scratch, "place")
        base.mkdir()
        # Entries name their images by full paths, so that every round has to be at the same one.
        place.symlink_to(base)
        make_workplace(place, tracks=tracks)
        place.unlink()
        done = 0
        while done < options.kills and chosen:
            command = chance.choices(chosen, [command.weight for command in chosen])[0]
            if command.name not in known:
                try:
                    known[command.name] = get_to_know(command, base, place)
                except AssertionError as error:
                    counts[command.name]["wrong"] += 1
                    print(f"{command.name}, undisturbed: {error}", flush=True)
                    chosen.remove(command)
                    continue
                finally:
                    shutil.rmtree(place)
            outcome = kill_once(command, known[command.name], base, place, chance)
            shutil.rmtree(place)
            count = counts[command.name]
            count["killed" if outcome.killed else "finished"] += 1
            done += outcome.killed
            if outcome.problems:
                count["wrong"] += 1
                print(f"{command.name}, {outcome.where}: " + "; ".join(outcome.problems), flush=True)
            if sum(count["killed"] for count in counts.values()) % 25 == 0 and outcome.killed:
                print(f"{done} kills, {sum(count['wrong'] for count in counts.values())} wrong", flush=True)
    wrong = sum(count["wrong"] for count in counts.values())
    for name, count in sorted(counts.items()):
        print(f"{name}: {count['killed']} killed, {count['finished']} finished before, {count['wrong']} wrong")
    print(f"{done} kills, {wrong} wrong, seed {options.seed}, {'strace' if HAS_STRACE else 'random times'}")
    return wrong


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
