"""Text of others is shown on the terminal, and does not act on it."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest
from support.transfer import make_gallery

import cli.main
from gallery_db import Entry

EVIL = "ann\x1b[31m\x9b\u202e"


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["gtrack", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main.main()
    assert ended.value.code == 0
    shown = "".join(capsys.readouterr())
    assert not set("\x1b\x9b\u202e") & set(shown)
    return shown


def test_a_gallery_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = Entry(id=f"id{EVIL}", identity=EVIL, class_name=f"c{EVIL}", source=f"/s{EVIL}")
    gallery = ["-g", str(make_gallery(tmp_path / "g", [entry], old=True))]
    assert r"ann\x1b[31m\x9b\u202e" in run(monkeypatch, capsys, "gallery", "list", *gallery)
    for words in (["list", "--entries"], ["show", EVIL], ["stats"], ["log"]):
        run(monkeypatch, capsys, "gallery", *words, *gallery)
    document = run(monkeypatch, capsys, "gallery", "list", "--json", *gallery)
    assert json.loads(document)["identity"] == EVIL


def test_only_one_module_prints() -> None:
    folder = Path(cli.main.__file__).parent
    printing = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printing == {"output.py", "main.py"}, "main.py prints the version"
