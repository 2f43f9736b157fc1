"""The documentation's examples run, and its commands, options, names and paths exist.

mkdocs checks links and anchors (`mkdocs build --strict`).
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import cli
import gallery_db
import tracking
from gallery_db import Gallery, export_parquet, ingest_folder
from tracking import export_tracks, load_embedder, track_video
from tracking.synthetic.rendering import Scene

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md")))

CANNOT_RUN = {
    # (page, a part of the block): why it does not run here
    ("docs/how-to/own-pipeline.md", "in my_pipeline"): "the tracker and its frames are the reader's own",
    (
        "docs/how-to/own-pipeline.md",
        'embedding_model("net.pt"',
    ): "needs trained weights, which are not in the repository",
    ("docs/how-to/deepstream.md", "DeepStreamFeed(enroller"): "needs NVIDIA DeepStream",
    ("docs/reference/gallery-parquet.md", "import polars"): "polars is not among the test's packages",
    ("docs/reference/gallery-parquet.md", "import fiftyone"): "FiftyOne is not among the test's packages",
    ("docs/reference/gallery-parquet.md", ".show()"): "opens a window",
}


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    code: str


def blocks(page: str, *languages: str) -> list[Block]:
    """The fenced code blocks of a page, in order."""
    found: list[Block] = []
    fence, start, language, lines = "", 0, "", list[str]()
    for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), start=1):
        opening = re.fullmatch(r"\s*(```+)(\w*).*", line)
        if not fence and opening:
            fence, start, language, lines = opening[1], number, opening[2], []
        elif fence and line.strip() == fence:
            if language in languages:
                found.append(Block(page, start, language, "\n".join(lines)))
            fence = ""
        else:
            lines.append(line)
    assert not fence, f"{page}: the block that begins in line {start} has no end"
    return found


PYTHON = [block for page in PAGES for block in blocks(page, "python") if page != "docs/tutorial/index.md"]


def reason_not_to_run(block: Block) -> str | None:
    return next((why for (page, part), why in CANNOT_RUN.items() if page == block.page and part in block.code), None)


# --- the tutorial, from top to bottom ---------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """An environment in which `gtrack` and `python` are those under test."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, words in (("gtrack", "-m cli"), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n', encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(cli.__file__).parent.parent),
    }


def as_shown(text: str) -> list[str]:
    """The lines of an output as a page may show them: any numbers, any width, lines left out where it says ``...``."""
    lines = [re.sub(r"\S*\d\S*", "0", re.sub(r"─+", "-", " ".join(line.split()))) for line in text.splitlines()]
    return [line for line in lines if line not in ("", "...")]


def test_the_tutorial_works_as_it_stands(tmp_path: Path, shell: dict[str, str]) -> None:
    folder = tmp_path / "tutorial"
    folder.mkdir()

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=folder, env=shell, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    steps = blocks("docs/tutorial/index.md", "sh", "python", "text")
    assert len(steps) > 10
    out = printed = ""
    # Blocks of Python that follow one another are one program, which saves the imports.
    for (language, _), some in groupby(steps, key=lambda one: (one.language, one.language == "python" or one.line)):
        code = "\n".join(step.code for step in some)
        if language == "text":
            known = as_shown(printed)
            for line in as_shown(code):
                assert line in known, f"the tutorial shows {line!r}, but the command printed\n{printed}"
            continue
        if "gtrack gallery move track-" in code:
            # The reader takes the entry's id from their own list.
            found = run("gtrack", "gallery", "list", "--suspects", "--gallery", "gallery", "--json").splitlines()
            entry = next(line for line in map(json.loads, found) if "own_distance" in line)
            code, count = re.subn(r"move track-\S+", f"move {entry['entry_id']}", code)
            assert count == 1
        printed = run("bash", "-euc", code) if language == "sh" else run(sys.executable, "-c", code)
        out += printed

    for path in ("out/scene/tracked.json", "out/scene/annotated.mp4", "timeline.png", "report.html", "answer.jpg"):
        assert (folder / path).stat().st_size > 1000, path
    with Gallery.open(folder / "gallery") as gallery:
        names = {one.identity for one in gallery.identities()}
    assert {"amber", "blake", "casey", "devon", "ellis", "frankie", "grace", "heidi"} == names - {
        "unknown-0004",
        "unknown-0005",
    }
    assert re.search(r"grace +in \d+ frames", out), "the second run names the people that the first one enrolled"


# --- Python blocks ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, scene: Scene) -> Path:
    """A folder with the files that the pages speak of."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("clip", "door", "yard"):
        shutil.copy(scene.video, folder / f"{name}.mp4")
        shutil.copy(scene.detections, folder / f"{name}.json")
    shutil.copytree(scene.gallery, folder / "people")
    embedder = load_embedder("builtin")
    with Gallery.open_or_create(folder / "gallery", embedder.model) as gallery:
        ingest_folder(gallery, folder / "people", embedder)
        export_parquet(gallery, folder / "people.parquet", pictures=True)
    result = track_video(
        video=folder / "clip.mp4",
        dets_json=folder / "clip.json",
        gallery=folder / "gallery",
        save_json_flag=True,
        out_dir=folder / "out",
        no_progress=True,
    )
    export_tracks(result.paths.json_path, folder / "clip.parquet")
    return folder


@pytest.mark.parametrize("page", sorted({block.page for block in PYTHON}))
def test_python_blocks_run(
    page: str, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runnable = [block for block in PYTHON if block.page == page and not reason_not_to_run(block)]
    if not runnable:
        pytest.skip("none of its blocks can run here, as the table says")
    monkeypatch.chdir(files)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in runnable:
        # The line numbers of an error are those of the page.
        exec(compile("\n" * block.line + block.code, page, "exec"), names)
    if page == "docs/how-to/own-pipeline.md":
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.startswith("unknown-") and line.endswith(" door yard") for line in lines) >= 3


@pytest.mark.parametrize("block", [b for b in PYTHON if reason_not_to_run(b)], ids=lambda b: f"{b.page}:{b.line}")
def test_python_blocks_that_cannot_run_are_valid(block: Block) -> None:
    for node in ast.walk(ast.parse(block.code)):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in ("gallery_db", "tracking"):
            module = importlib.import_module(str(node.module))
            missing = [one.name for one in node.names if not hasattr(module, one.name)]
            assert not missing, f"{block.page}, line {block.line}: {node.module} has no {', '.join(missing)}"
    pytest.skip(f"valid, but not run: {reason_not_to_run(block)}")


def test_the_table_of_what_cannot_run_is_current() -> None:
    unused = [key for key in CANNOT_RUN if not any(b.page == key[0] and key[1] in b.code for b in PYTHON)]
    assert not unused


# --- command lines ----------------------------------------------------------------------------------------------


def command_lines(page: str) -> Iterator[tuple[str, list[str]]]:
    """Each `gtrack ...` of a page: in shell blocks, and as code in the text."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in blocks(page, "sh", "bash"):
        for line in block.code.replace("\\\n", " ").splitlines():
            for command in re.split(r"&&|\|", line.split("#")[0]):
                words = shlex.split(command)
                if words[:1] == ["gtrack"]:
                    yield f"{page}, line {block.line}", words[1:]
    prose = re.sub(r"^\s*(```+).*?^\s*\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`(gtrack [^`]+)`", prose):
        yield page, shlex.split(" ".join(code.split()).replace("\\|", "/"))[1:]


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page: str) -> None:
    import typer

    from cli.main import app

    root = typer.main.get_command(app)
    for where, words in command_lines(page):
        command: Any = root
        while hasattr(command, "commands") and words and not words[0].startswith("-"):
            if words[0] == "...":
                break
            assert words[0] in command.commands, f"{where}: gtrack has no command {words[0]!r}"
            command, words = command.commands[words[0]], words[1:]
        if hasattr(command, "commands"):
            continue  # a group by its name, such as `gtrack eval`, or an option of gtrack itself
        options = {o: parameter for parameter in command.params for o in (*parameter.opts, *parameter.secondary_opts)}
        for word in words:
            if word.startswith("-") and len(word) > 1:
                assert word.split("=")[0] in (*options, "--help", "-h"), f"{where}: no option {word} in {words}"


# --- what the reference must hold -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_hooks"] = module
    spec.loader.exec_module(module)
    return module


def test_every_command_and_option_stands_in_the_reference(hooks: ModuleType) -> None:
    import typer

    from cli.main import app

    text = "\n".join(hooks.cli_pages().values())
    waiting: list[tuple[str, Any]] = [("gtrack", typer.main.get_command(app))]
    commands = 0
    while waiting:
        name, command = waiting.pop()
        children = getattr(command, "commands", {})
        waiting += [(f"{name} {word}", child) for word, child in children.items() if not child.hidden]
        if children:
            continue
        commands += 1
        heading = re.search(rf"^#+ {re.escape(name)} \{{.*?(?=^#|\Z)", text, flags=re.DOTALL | re.MULTILINE)
        assert heading, f"{name} does not stand in the reference"
        for parameter in command.params:
            if not parameter.hidden and parameter.name != "help" and parameter.opts[0].startswith("-"):
                assert f"`{parameter.opts[0]}`" in heading[0], f"{name} {parameter.opts[0]}"
    assert commands > 30
    for parameter in typer.main.get_command(app).params:
        assert parameter.name == "help" or f"`{parameter.opts[0]}`" in hooks.root_options()


@pytest.mark.parametrize("package", [gallery_db, tracking], ids=lambda module: str(module.__name__))
def test_every_public_name_stands_in_the_reference(package: ModuleType) -> None:
    page = (ROOT / "docs" / "reference" / "python" / f"{package.__name__}.md").read_text(encoding="utf-8")
    documented = re.findall(rf"^::: {package.__name__}\.(?:errors\.)?(\w+)$", page, flags=re.MULTILINE)
    assert sorted(documented) == sorted(set(documented)), "each once"
    missing, unknown = set(package.__all__) - set(documented), set(documented) - set(package.__all__)
    unknown = {name for name in unknown if not hasattr(importlib.import_module(f"{package.__name__}.errors"), name)}
    assert not missing
    assert not unknown


def test_every_environment_variable_stands_in_the_reference() -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for package in ("gallery_db", "tracking", "cli")
        for path in sorted((ROOT / package).rglob("*.py"))
    )
    page = (ROOT / "docs" / "reference" / "environment.md").read_text(encoding="utf-8")
    assert set(re.findall(r"GTRACK_[A-Z_]*[A-Z]", code)) <= set(re.findall(r"GTRACK_[A-Z_]*[A-Z]", page))


def test_schemas_stand_in_the_reference(hooks: ModuleType) -> None:
    for name in ("det-v1", "track-v1"):
        text = hooks.schema_markdown(name)
        schema = json.loads((ROOT / "tracking" / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
        keys = {
            *schema["properties"],
            *(key for part in schema["$defs"].values() for key in part.get("properties", {})),
        }
        assert all(f"`{key}`" in text for key in keys)


def test_files_that_the_documentation_names_exist() -> None:
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        code = re.findall(r"(?<![\w/])(?:gallery_db|tracking|cli)/[\w/]+\.py\b", text)
        others = re.findall(r"\b(?:tests|docs|notebooks)/[\w./-]+\.(?:py|md|ipynb|jpg|png)\b", text)
        for path in (*code, *others):
            assert (ROOT / path).exists(), f"{page} names {path}"


def test_every_extra_stands_on_the_page_of_installation() -> None:
    section = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[project.optional-dependencies]")[1]
    extras = set(re.findall(r"^([a-z]+) = \[", section.split("\n[")[0], flags=re.MULTILINE))
    page = (ROOT / "docs" / "how-to" / "install.md").read_text(encoding="utf-8")
    assert set(re.findall(r"gtrack-reid\[([a-z]+)\]", page)) == extras - {"bench", "docs", "test"}


def test_the_readme_is_short_and_keeps_the_two_commands_of_ci() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200
    first, second = blocks("README.md", "bash")
    assert first.code.endswith("gtrack demo")
    assert " && pytest" in second.code
