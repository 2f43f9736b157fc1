"""At 80 columns, on a terminal, no help and no table has a longer line or splits a word."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from support.transfer import make_gallery
from typer.testing import CliRunner

from cli import output
from cli.main import app
from gallery_db import Entry

ENVIRONMENT = {"COLUMNS": "80", "FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}
ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def commands() -> Iterator[tuple[str, ...]]:
    """All commands and groups of `gtrack`, as words."""

    def below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield words
        for name, child in getattr(command, "commands", {}).items():
            yield from below(child, (*words, name))

    yield from below(typer.main.get_command(app), ())


def words_of(text: str) -> set[str]:
    return set(re.sub(r"[│╭╮╰╯─]", " ", text).split())


def shown(*words: str, columns: int = 80) -> str:
    done = CliRunner().invoke(app, words, env={**ENVIRONMENT, "COLUMNS": str(columns)})
    assert done.exit_code == 0, (words, done.output, done.exception)
    return ANSI.sub("", done.output)


@pytest.mark.parametrize("words", [pytest.param(words, id=shlex.join(words) or "gtrack") for words in commands()])
def test_help(words: tuple[str, ...]) -> None:
    text = shown(*words, "--help")
    assert max(map(len, text.splitlines())) <= 80
    assert words_of(text) <= words_of(shown(*words, "--help", columns=400)), "a word was split"


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    long_path = "/a/folder/whose/path/is/very/long/in/order/to/see/what/becomes/of/it/clip-of-the-entrance.avi"
    entries = [
        Entry(
            id=f"track-64861c5e54e5752f-person-{n:06}",
            identity=("leather_jacket", "striped_jacket")[n % 2],
            origin="track",
            source=long_path,
            frame=n,
        )
        for n in range(6)
    ]
    return make_gallery(tmp_path / "g", entries)


TABLES = [
    "gallery list",
    "gallery list --entries",
    "gallery list --entries --full-ids",
    "gallery list --suspects",
    "gallery show leather_jacket",
    "gallery show leather_jacket --full-ids",
    "gallery query --entry track-64861c5e54e5752f-person-000001",
    "gallery stats",
    "gallery log",
    "gallery verify",
    "gallery snapshot --list",
    "models list",
    "list trackers",
    "list detectors",
    "list reid-weights",
]


@pytest.mark.parametrize("words", TABLES)
def test_tables(gallery: Path, words: str) -> None:
    command = [*words.split(), *(["--gallery", str(gallery)] if words.startswith("gallery") else [])]
    wide = words_of(shown(*command, columns=400))
    text = shown(*command)
    # A path is longer than any line; its end is shown after a dot of ellipsis, and a message is not shortened.
    lines = [line for line in text.splitlines() if str(gallery) not in line]
    assert max(map(len, lines), default=0) <= 80, text
    split = {word for word in words_of(text) - wide if not word.startswith("…")}
    assert not split, f"words were split: {split}"


def table(columns: list[str], rows: list[tuple[Any, ...]], **options: Any) -> list[str]:
    """Return the lines of a table on a terminal of 40 columns."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, "COLUMNS": "40"}.items():
            patch.setenv(name, value)
        command = typer.Typer()
        command.command()(lambda: output.print_table(None, columns, rows, **options))
        return ANSI.sub("", CliRunner().invoke(command).stdout).splitlines()


def test_numbers_are_on_the_right_and_their_points_below_each_other() -> None:
    lines = table(["name", "share", "distance"], [("a", "9.50%", 0.5), ("bb", "100.00%", "-")])
    assert [line.rstrip() for line in lines] == [
        "name    share  distance",
        "───────────────────────",
        "a       9.50%    0.5000",
        "bb    100.00%         -",
        "",
    ]


def test_what_a_narrow_terminal_does() -> None:
    path = "/" + "long/" * 20 + "end.jpg"
    rows: list[tuple[Any, ...]] = [("person", "an-id-of-22-characters", path, 1), ("person", "b", path, 2)]
    lines = table(
        ["class", "id", "source", "frame"], rows, whole=["id"], once=["class"], paths=["source"], spare=["frame"]
    )
    assert lines[0] == "class person"
    assert lines[2].split() == ["id", "source"], "a column was given up"
    assert re.fullmatch(r"an-id-of-22-characters  …[long/]*/end\.jpg", lines[4])
    # Where nothing helps, a row becomes several lines.
    assert table(["one", "two"], [("x" * 30, "y" * 30)]) == [f"one: {'x' * 30}", f"two: {'y' * 30}", ""]


def test_empty_columns_are_left_out_and_the_file_gets_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert table(["a", "b"], [("1", "")], optional=["b"])[0].split() == ["a"]
    assert len(table(["a"], [(n,) for n in range(9)], most=3)) == 2 + 3 + 2 + 1
    output.print_table(None, ["a", "path"], [(n, "/" + "x" * 300) for n in range(9)], most=3, paths=["path"])
    assert capsys.readouterr().out.count("x" * 300) == 9


def test_a_path_of_the_working_folder_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert table(["path"], [(str(tmp_path / "people" / "a.jpg"),)], paths=["path"])[2].strip() == "people/a.jpg"


def test_a_count_agrees_with_its_noun() -> None:
    assert [output.counted(n, "identity") for n in (0, 1, 2)] == ["0 identities", "1 identity", "2 identities"]
    assert output.counted(1.0, "track") == "1 track"
