"""Type the first hour of a new user, and write what is seen as `docs/tutorial/first-hour.md`.

    python tests/docs/first_hour.py

It clones this repository, installs it in a fresh environment, and runs each command in a shell on a terminal of 80
columns. The video and the pictures are those of PETS09-S2L1, from the real data (`GTRACK_TEST_DATA`). The published
models come from a server on this machine, the mirror of `GTRACK_MODELS_MIRROR`. They are files of the real data, too:
other exports of the same networks, whose sizes and hashes the catalogue of the clone gets. A command that fails ends
the program, and nothing is written.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import hashlib
import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import ROOT
from support.file_server import serve_files

PAGE = ROOT / "docs" / "tutorial" / "first-hour.md"


@dataclass(frozen=True)
class Step:
    """A part of the hour.

    Attributes:
        title: Its heading.
        text: What the user wants, before the commands.
        commands: What is typed.
        after: What the user sees, after the commands.
    """

    title: str
    text: str
    commands: tuple[str, ...]
    after: str = ""


STEPS = (
    Step(
        "Install",
        "In a clone of the repository (Linux, Python 3.10 to 3.13):",
        ("python3 -m venv .venv && . .venv/bin/activate", "pip install .", "gtrack --version"),
        "What this brings, and how to need less: [install gtrack](../how-to/install.md#what-an-installation-brings).",
    ),
    Step("See the whole job once", "Without a video and without a network:", ("gtrack demo",)),
    Step(
        "Your own video",
        "You have a video, and nothing else. A published detector is downloaded by its name, once:",
        (
            "gtrack run clip.avi --detect yolox_nano --classes person --download \\\n"
            "  --save-json --save-video tracked.mp4",
            "ls out/clip",
        ),
        "`tracked.mp4` shows the tracks with their ids. They have no names yet: there is no gallery.",
    ),
    Step(
        "A gallery from folders",
        "Pictures of known people, a folder for each, become a gallery. A trained ReID model comes by its name, too:",
        (
            "ls people",
            "gtrack gallery ingest people -g gallery \\\n  --reid-weights osnet_x0_25_msmt17 --download",
            "gtrack gallery list -g gallery",
        ),
    ),
    Step(
        "Names on the video",
        "The same run with the gallery. Unknown people get a lasting id, and earlier frames are named, too:",
        (
            "gtrack run clip.avi --detect yolox_nano --classes person --gallery gallery \\\n"
            "  --enroll unknown --save-json --save-video named.mp4",
        ),
    ),
    Step(
        "Look",
        "A report of the run for the browser, and the pictures of the unknown people:",
        (
            "gtrack export tracks out/clip-2/tracked.json -o report.html",
            "gtrack gallery show unknown-0001 -g gallery --contact-sheet 0001.jpg",
            "gtrack gallery show unknown-0002 -g gallery --contact-sheet 0002.jpg",
            "gtrack gallery show unknown-0003 -g gallery --contact-sheet 0003.jpg",
            "gtrack gallery show unknown-0006 -g gallery --contact-sheet 0006.jpg",
        ),
        "`report.html`, `out/clip-2/named.mp4` and the four pictures are there to be opened. They show that\n"
        "`unknown-0001` and `unknown-0002` are no person: it is a sign that several people walk behind.\n"
        "`unknown-0003` is a woman in a red jacket, `unknown-0006` a man in a blue one.",
    ),
    Step(
        "Correct",
        "The sign is removed, and the two unknown people get names. A mistake is undone:",
        (
            "gtrack gallery remove --identity unknown-0001 -g gallery",
            "gtrack gallery remove --identity unknown-0002 -g gallery",
            "gtrack gallery rename unknown-0003 red_jacket -g gallery",
            "gtrack gallery merge unknown-0006 --into red_jacket -g gallery --yes",
            "gtrack gallery undo -g gallery",
            "gtrack gallery rename unknown-0006 blue_jacket -g gallery",
            "gtrack gallery log -g gallery",
        ),
    ),
    Step(
        "Search",
        "Who is in a picture? The first one is in the gallery, the second one was cut out of the video by hand:",
        (
            "gtrack gallery query people/bald_man/bald_man_00003.jpg -g gallery --top-k 3",
            "gtrack gallery query crop.jpg -g gallery --top-k 3",
        ),
    ),
    Step(
        "Run again",
        "The next run knows them. Here it is on the same video, without enrolment:",
        ("gtrack run clip.avi --detect yolox_nano --classes person --gallery gallery --backfill",),
    ),
)


def main() -> None:
    """Run the hour, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repository", default=str(ROOT), help="What is cloned.")
    options = parser.parse_args()
    data = Path(os.environ.get("GTRACK_TEST_DATA", ROOT.parent / "shared" / "data"))
    weights = {f"/{name}.onnx": (data / "weights" / f"{name}.onnx").read_bytes() for name in MODELS}
    with tempfile.TemporaryDirectory(prefix="", dir="/tmp") as made, serve_files(weights) as server:
        home = Path(made).resolve()
        folder = home / "gtrack"
        subprocess.run(["git", "clone", "--quiet", options.repository, folder], check=True)
        _change_catalogue(folder / "tracking" / "models" / "catalogue.json", weights)
        shutil.copy(data / "video" / "pets09-s2l1.avi", folder / "clip.avi")
        shutil.copytree(data / "galleries" / "pets09-first-half", folder / "people")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GTRACK_", "PYTHON"))},
            "HOME": str(home),
            "COLUMNS": "80",
            "TERM": "xterm",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "GTRACK_MODELS_MIRROR": f"{server.address}/",
        }
        parts = [_HEAD]
        begin = time.monotonic()
        for number, step in enumerate(STEPS, 1):
            parts.append(f"\n## {number}. {step.title}\n\n{step.text}\n")
            for command in step.commands:
                if "crop.jpg" in command:
                    _cut_crop(folder)
                start = time.monotonic()
                shown = _typed(command, folder, environment)
                seconds = time.monotonic() - start
                print(f"$ {command}\n{shown}({seconds:.1f} s)", flush=True)
                # Names of the same length, so that the columns of tables stay below each other.
                user = f"{getpass.getuser()}@{socket.gethostname()}"
                lines = shown.replace(str(home), "/home/visitor").replace(user, "me@home".ljust(len(user)))
                parts.append(f"\n```text\n$ {command}\n{lines}```\n")
                if seconds >= _NOTED_SECONDS:
                    parts.append(f"\nThis took {seconds:.0f} seconds.\n")
            if step.after:
                parts.append(f"\n{step.after}\n")
        minutes = (time.monotonic() - begin) / 60
    parts.append(f"\nAll commands together took {minutes:.1f} minutes, on two shared CPU cores without a GPU.\n")
    PAGE.write_text("".join(parts), encoding="utf-8")


MODELS = ("yolox_nano", "osnet_x0_25_msmt17")
_NOTED_SECONDS = 5

_HEAD = """# The first hour, as it was typed

From nothing to named people on your own video: a session of a new user, each command with its output as it stood on a
terminal of 80 columns. The video is PETS09-S2L1 (795 frames), the pictures show eight of its ten people. Progress bars
are left out. `tests/docs/first_hour.py` types the commands and writes this page. The [tutorial](index.md) explains the
steps.
"""


def _change_catalogue(path: Path, files: dict[str, bytes]) -> None:
    """Let a catalogue of models describe the files that are served."""
    catalogue = json.loads(path.read_text(encoding="utf-8"))
    for model in catalogue:
        for file in model["files"]:
            content = files.get(f"/{file['name']}")
            if content is not None:
                file["size"], file["sha256"] = len(content), hashlib.sha256(content).hexdigest()
    path.write_text(json.dumps(catalogue, indent=1), encoding="utf-8")


def _typed(command: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a command in a shell on a terminal, and return what it shows; an error ends the program."""
    if command == "pip install .":
        command += " 2>/dev/null | tail -n 1 | sed -E 's/(installed) .* (gtrack-reid-[^ ]+).*/\\1 ... \\2 .../'"
    # Each command has a shell of its own, so that the environment is entered again.
    script = f"[ -f .venv/bin/activate ] && . .venv/bin/activate; stty cols 80; set -o pipefail; {command}"
    status, raw = _on_terminal(["bash", "-c", script], folder, environment)
    shown = _as_text(raw.decode())
    if status:
        raise SystemExit(f"exit code {status}: {command}\n{shown}")
    return shown


def _on_terminal(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, bytes]:
    """Run a command on a terminal of its own, and return its exit code and what it shows."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe(command[0], command, environment)
    raw = bytearray()
    # Linux reports the end of a terminal as an error.
    with contextlib.suppress(OSError):
        while block := os.read(descriptor, 65536):
            raw += block
    os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), bytes(raw)


def _as_text(raw: str) -> str:
    """Return the lines that stay on a terminal, without colours and progress bars."""
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", raw).replace("\r\n", "\n").expandtabs()
    lines = [line.rpartition("\r")[2].rstrip() for line in text.split("\n")]
    kept = "\n".join(line for line in lines if "━" not in line and "╸" not in line)
    return re.sub(r"\n{3,}", "\n\n", kept).strip("\n") + "\n" if kept.strip() else ""


def _cut_crop(folder: Path) -> None:
    """Cut the woman in the red jacket out of the video, as a user does with an image program."""
    script = (
        "import json, cv2\n"
        "frames = json.load(open('out/clip-2/tracked.json'))['frames']\n"
        "found = [(f['frame'], d['bbox']) for f in frames for d in f['detections']"
        " if d.get('gallery_id') == 'unknown-0003']\n"
        "frame, (x1, y1, x2, y2) = found[len(found) // 2]\n"
        "video = cv2.VideoCapture('clip.avi')\n"
        "for _ in range(frame + 1):\n    picture = video.read()[1]\n"
        "cv2.imwrite('crop.jpg', picture[int(y1):int(y2), int(x1):int(x2)])\n"
    )
    subprocess.run([folder / ".venv" / "bin" / "python", "-c", script], cwd=folder, check=True)


if __name__ == "__main__":
    main()
