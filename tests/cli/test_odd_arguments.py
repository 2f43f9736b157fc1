"""Every option of every command with odd values: an error in words, never a traceback, and nothing that acts."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.tracks import make_detection, make_document, write_json
from support.transfer import make_gallery
from typer.main import get_command

import cli.main
from gallery_db import Entry

ESCAPES = "\x1b[31m\u202e"
INTEGERS = ["9" * 30, "-" + "9" * 30, "-1", "", "nan"]
NUMBERS = ["nan", "inf", "-inf", "1e400", ""]
TEXTS = ["", "-", ESCAPES, "x" * 5000, "9" * 5000, "[b]$x$"]
PATHS = ["", "-", ESCAPES, "x" * 300, "d/" * 3000 + "x", "folder", "null", "loop", "empty"]
# Arguments that make a command complete; the test replaces or adds one at a time.
BASE = {
    "run": ["no.mp4", "--dets-json", "no.json", "-g", "g"],
    "detect": ["no.mp4", "--weights", "no.onnx", "-o", "d.json"],
    "demo": ["--out", "null"],
    "list": ["trackers"],
    "models get": ["no_such_model", "--out", "folder"],
    "models path": ["no_such_model"],
    "schema": ["det-v1"],
    "gallery ingest": ["folder", "-g", "g", "--reid-weights", "no.onnx"],
    "gallery query": ["no.jpg", "-g", "g"],
    "gallery show": ["ann", "-g", "g"],
    "gallery rename": ["nobody", "x", "-g", "g"],
    "gallery merge": ["nobody", "--into", "x", "-g", "g"],
    "gallery split": ["ann", "no", "--as", "x", "-g", "g"],
    "gallery move": ["no", "--to", "ann", "-g", "g"],
    "gallery reject": ["--tracks", "tracked.json", "--track", "1", "--not", "ann", "-g", "g"],
    "gallery remove": ["no", "-g", "g"],
    "gallery purge": ["--older-than", "30d", "-g", "g"],
    "gallery undo": ["9", "-g", "g"],
    "gallery redo": ["9", "-g", "g"],
    "gallery restore": ["no", "-g", "g"],
    "gallery export": ["g.parquet", "-g", "g"],
    "gallery import": ["no.parquet", "-g", "g"],
    "gallery serve": ["g", "--port", "99999"],
    "eval tracks": ["tracked.json", "--truth", "no.txt"],
    "eval identity": ["tracked.json", "--truth", "no.txt"],
    "eval reid": ["g"],
    "import mot": ["mot.txt", "-o", "m.json"],
    "export reid": ["-w", "no.pt"],
    "export tracks": ["tracked.json", "-o", "t.csv"],
}


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each command with its words."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from commands(inner, (*words, name))
    else:
        yield words, command


ROOT = get_command(cli.main.app)  # made once: that takes longer than most of the calls
COMMANDS = dict(commands(ROOT))
VALUES = 4  # of each option; all of them take minutes


def odd_values(param: Any) -> list[str]:
    kind = getattr(getattr(param, "type_descriptor", None), "annotation", None) or getattr(param.type, "name", "")
    name = getattr(kind, "__name__", str(kind))
    return {"int": INTEGERS, "integer": INTEGERS, "float": NUMBERS, "Path": PATHS, "path": PATHS}.get(name, TEXTS)


def with_value(words: list[str], param: Any, value: str) -> list[str]:
    """Return the arguments with one of them replaced, or added."""
    if not param.opts[0].startswith("-"):
        return [*words[1:], "--", value] if words and not words[0].startswith("-") else [*words, "--", value]
    for option in param.opts:
        if option in words:
            at = words.index(option) + 1
            return [*words[:at], value, *words[at + 1 :]]
    return [*words, param.opts[0], value]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    make_gallery(folder / "g", [Entry(id="a", identity="ann"), Entry(id="b", identity="bob")])
    write_json(folder / "tracked.json", make_document({0: [make_detection("1", "ann", 0.1)]}))
    (folder / "mot.txt").write_text("1,-1,1,1,5,5,0.5,-1,-1,-1\n")
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "loop").symlink_to("loop")
    try:
        os.mknod(folder / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except OSError:  # only root may
        (folder / "null").touch()
    return folder


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_odd_arguments(
    words: tuple[str, ...], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(cli.main, "app", ROOT)
    monkeypatch.setenv("GTRACK_STATE_DIR", str(place / "state"))
    base = BASE.get(" ".join(words), ["-g", "g"])
    for number, param in enumerate(COMMANDS[words].params):
        if getattr(param, "is_flag", False) or (words, param.name) == (("demo",), "out"):
            continue
        values = odd_values(param)
        for value in (values[(VALUES * number + i) % len(values)] for i in range(VALUES)):
            arguments = [*words, *with_value(base, param, value)]
            monkeypatch.setattr(sys, "argv", ["gtrack", *arguments])
            with pytest.raises(SystemExit) as ended:
                cli.main.main()
            shown = "".join(capsys.readouterr())
            assert ended.value.code in {0, 1, 2}, arguments
            assert "unexpected error" not in shown, (arguments, shown)
            assert "Traceback" not in shown, (arguments, shown)
            assert not set(ESCAPES[0] + ESCAPES[-1]) & set(shown), (arguments, shown)
