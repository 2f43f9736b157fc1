"""The command line as a user meets it: words, exit codes, files."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
from support.cli import gtrack, run_on_terminal
from support.processes import started
from typer.testing import CliRunner

from cli.main import app
from tracking.schemas import load_schema
from tracking.synthetic.rendering import Scene


@pytest.fixture(scope="module")
def gallery(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "people"
    done = gtrack("gallery", "ingest", scene.gallery, "--gallery", path, "--reid-weights", "builtin")
    assert "36 added" in done.stdout
    return path


def commands() -> list[tuple[str, ...]]:
    def walk(command: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        found = [path] if path else []
        for name, child in getattr(command, "commands", {}).items():
            found += walk(child, (*path, name))
        return found

    return walk(typer.main.get_command(app), ())


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(command: tuple[str, ...]) -> None:
    found: Any = typer.main.get_command(app)
    for name in command:
        found = found.commands[name]
    assert found.help
    if hasattr(found, "commands"):
        return
    assert f"Example: gtrack {' '.join(command)}" in found.help
    for option in found.params:
        assert getattr(option, "help", None) or option.name == "help", f"{option.name} has no help"
    # Rich reads markup in help texts, and an address such as HOST[/PATH] is a wrong closing tag to it.
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80"})
    assert shown.exit_code == 0, shown.exception
    assert "Example:" in shown.output
    # A word that is longer than its column is cut, or split over two lines.
    words = " ".join([found.help, *(f"{one.help or ''} {' '.join(one.opts)}" for one in found.params)]).split()
    assert set(words) - set(re.sub("[^ -~]", " ", shown.output).split()) - {one.name for one in found.params} == set()
    panels = Counter(getattr(one, "rich_help_panel", None) for one in found.params)
    assert max(panels.values(), default=0) <= 14, "group the options with rich_help_panel"


def test_help_and_version() -> None:
    for words in ([], ["--help"], ["-h"]):
        assert "gallery" in gtrack(*words, code=2 if not words else 0).stdout
    assert re.fullmatch(r"gtrack \d+\.\d+\.\d+\S*", gtrack("--version").stdout.strip())


def test_completion_is_offered() -> None:
    done = gtrack("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "_GTRACK" in done.stdout.upper() or "complete" in done.stdout


@pytest.mark.parametrize("name", ["det-v1", "track-v1"])
def test_schema(name: str) -> None:
    assert json.loads(gtrack("schema", name).stdout) == load_schema(name)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("trackers", "bytetrack"),
        ("detectors", "builtin"),
        ("reid-models", "osnet_x0_25"),
        ("reid-weights", "osnet_x0_25_msmt17.pt"),
    ],
)
def test_list(what: str, expected: str) -> None:
    assert expected in gtrack("list", what).stdout
    names = [json.loads(line)["name"] for line in gtrack("list", what, "--json").stdout.splitlines()]
    assert expected in names


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(["run"], 2, "no video given", id="no video"),
        pytest.param(["run", "a.mp4"], 2, "no detections given", id="no detections"),
        pytest.param(["run", "a.mp4", "--detect", "no.onnx"], 1, "a.mp4", id="no video to detect in"),
        pytest.param(["run", "0", "--dets-json", "c"], 2, "live source", id="a camera with detections"),
        pytest.param(["detect", "a.mp4", "--weights", "builtin"], 2, "--output", id="detect: no file to write"),
        pytest.param(["detect", "a.mp4", "--weights", "builtin", "-o", "b"], 1, "a.mp4", id="detect: no video"),
        pytest.param(["run", "a.mp4", "--video", "b.mp4", "--dets-json", "c"], 2, "twice", id="two videos"),
        pytest.param(["run", "a.mp4", "--dets-json", "none.json"], 1, "none.json", id="missing file"),
        pytest.param(["run", "a.mp4", "--dets-json", "c", "--classes", ","], 2, "--classes", id="bad classes"),
        pytest.param(["run", "a.mp4", "--dets-json", "c", "--range", "9"], 2, "must be A:B", id="bad range"),
        pytest.param(["run", "a.mp4", "--dets-json", "c", "--temporal-option", "x"], 2, "NAME=VALUE", id="bad pair"),
        pytest.param(["run", "a.mp4", "--dets-json", "c", "--save-video", "/x.mp4"], 2, "plain name", id="absolute"),
        pytest.param(["run", "a.mp4", "--dets-json", "c", "--search", "best"], 2, "hnsw", id="bad search"),
        pytest.param(["run", "--frobnicate"], 2, "frobnicate", id="unknown option"),
        pytest.param(["eval", "tracks", "none.json", "--truth", "none"], 1, "none", id="eval: no truth"),
        pytest.param(["eval", "tracks", "none.json"], 2, "--truth", id="eval: truth missing"),
        pytest.param(["eval", "reid", "none"], 1, "gallery or a folder of images", id="eval: no images"),
        pytest.param(["import", "mot", "none.txt", "-o", "d.json"], 1, "none.txt", id="import: no file"),
        pytest.param(["schema", "det-v2"], 2, "det-v1", id="unknown schema"),
        pytest.param(["list", "everything"], 2, "trackers", id="unknown list"),
        pytest.param(["gallery", "ingest", "none", "--gallery", "g"], 1, "is not a folder", id="no folder"),
        pytest.param(["gallery", "ingest"], 2, "folder", id="missing arguments"),
        pytest.param(["gallery", "list", "--gallery", "none"], 1, "none", id="no gallery"),
        pytest.param(["gallery", "serve", "-g", "none"], 1, "no gallery at none", id="serve: no gallery"),
        pytest.param(["gallery", "serve", "-g", "http://h:1"], 2, "folder of a gallery", id="serve: an address"),
        pytest.param(["gallery", "flush", "-g", "none"], 1, "no address", id="flush: a folder"),
        pytest.param(["gallery", "list", "-g", "http://h:1/a/b"], 1, "not a valid address", id="list: no address"),
        pytest.param(["gallery", "list", "-g", "http://127.0.0.1:9"], 1, "answers", id="list: nobody answers"),
        pytest.param(["gallery", "query", "x.jpg", "--gallery", "none"], 1, "none", id="query: no gallery"),
        pytest.param(["gallery", "query", "--gallery", "none"], 2, "no image and no entry given", id="query: no image"),
        pytest.param(["gallery", "query", "x", "--box", "1,2", "-g", "n"], 2, "--box", id="query: bad box"),
        pytest.param(["gallery", "query", "x", "--where", "age=3", "-g", "n"], 2, "--where", id="query: bad filter"),
    ],
)
def test_errors_are_messages_without_a_traceback(words: Sequence[str], code: int, message: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *words], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert message in re.sub(r"[\s│]+", " ", done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_display_without_a_screen(scene: Scene) -> None:
    done = gtrack(
        "run", scene.video, "--dets-json", scene.detections, "--display", code=1, DISPLAY="", WAYLAND_DISPLAY=""
    )
    assert "needs a screen" in done.stderr


def test_run_writes_the_requested_outputs(scene: Scene, gallery: Path, tmp_path: Path) -> None:
    words = ["run", scene.video, "--dets-json", scene.detections, "--gallery", gallery, "--range", "0:60"]
    done = gtrack(*words, GTRACK_OUT_DIR=str(tmp_path))
    assert "60 frames" in done.stdout
    assert "first frame" in done.stdout
    assert list(tmp_path.iterdir()) == []
    done = gtrack(*words, "--save-json", "--save-video", "named.mp4", "--save-frames", GTRACK_OUT_DIR=str(tmp_path))
    run_dir = tmp_path / scene.video.stem
    assert sorted(p.name for p in run_dir.iterdir()) == ["frames", "named.mp4", "tracked.json"]
    payload = json.loads((run_dir / "tracked.json").read_text())
    jsonschema.validate(payload, load_schema("track-v1"))
    assert str(run_dir / "tracked.json") in done.stdout


def test_run_prints_json(scene: Scene, gallery: Path, tmp_path: Path) -> None:
    words = ["run", scene.video, "--dets-json", scene.detections, "--gallery", gallery, "--range", ":60", "--json"]
    found = json.loads(gtrack(*words, "--out-dir", tmp_path).stdout)
    assert (found["complete"], found["run_dir"], found["stats"]["frames"]) == (True, None, 60)
    assert found["identities"][0].keys() == {"identity", "frames", "first", "last", "tracks"}
    assert list(tmp_path.iterdir()) == [], "--json saves nothing"
    found = json.loads(gtrack(*words, "--save-json", "--out-dir", tmp_path).stdout)
    assert found["run_dir"] == str(tmp_path / scene.video.stem)
    assert Path(found["tracks"]).is_file()


def test_a_live_source_prints_a_line_for_each_frame(scene: Scene, gallery: Path) -> None:
    words = ["run", scene.video, "--detect", "builtin", "--loop", "--max-frames", 3, "--gallery", gallery, "--json"]
    *frames, last = [json.loads(line) for line in gtrack(*words).stdout.splitlines()]
    assert [set(frame) >= {"frame", "detections"} for frame in frames] == [True] * 3
    assert last["stats"]["frames"] == 3


def test_detect_prints_json(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    words = ["detect", scene.video, "--weights", "builtin", "--range", ":2", "-o", path, "--json"]
    found = json.loads(gtrack(*words).stdout)
    assert (found["path"], found["frames"], found["complete"]) == (str(path), 2, True)


def test_enrolment(scene: Scene, tmp_path: Path) -> None:
    words = ["run", scene.video, "--dets-json", scene.detections, "--range", ":100", "--classes", "0"]
    words += ["--reid-weights", "builtin", "--enroll", "unknown", "--source-id", "door", "--grace-frames", "10"]
    done = gtrack(*words, "--gallery", tmp_path / "people")
    assert re.search(r"^\d+ enrolled \(\d+ as new identities\)", done.stdout, re.MULTILINE)
    entry = json.loads(
        gtrack("gallery", "list", "-g", tmp_path / "people", "--entries", "--json").stdout.split("\n")[0]
    )
    assert entry["identity"].startswith("unknown-")
    sheet = ["--contact-sheet", tmp_path / "sheet.png"]
    asked = gtrack("gallery", "query", "-g", tmp_path / "people", "--entry", entry["id"], *sheet)
    assert entry["identity"] in asked.stdout
    assert (tmp_path / "sheet.png").exists()
    done = gtrack(*words, "--gallery", scene.gallery, code=2)
    assert "gtrack gallery ingest" in re.sub(r"[\s│]+", " ", done.stderr)


def test_a_failed_ingest_leaves_no_gallery(tmp_path: Path) -> None:
    (tmp_path / "people" / "alice").mkdir(parents=True)
    (tmp_path / "people" / "alice" / "1.jpg").write_text("no image")
    words = ["gallery", "ingest", tmp_path / "people", "--gallery", tmp_path / "g", "--reid-weights", "builtin"]
    assert "no image could be ingested" in gtrack(*words, code=1).stderr
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize("place", ["etc", "etc/hosts", "checkout"])
@pytest.mark.parametrize(
    ("words", "role"),
    [
        (["run", "VIDEO", "--dets-json", "DETECTIONS", "-g", "PLACE"], "a gallery to read"),
        (["run", "VIDEO", "--dets-json", "DETECTIONS", "-g", "PLACE", "--enroll", "unknown"], "a gallery to fill"),
        (["gallery", "ingest", "PEOPLE", "-g", "PLACE"], "a gallery to fill"),
        (["gallery", "ingest", "PLACE", "-g", "new"], "images"),
    ],
    ids=["run", "enrol", "ingest into", "ingest from"],
)
def test_what_is_no_gallery_and_no_image_folder_is_refused(
    place: str, words: list[str], role: str, scene: Scene, tmp_path: Path
) -> None:
    (tmp_path / "etc" / "network").mkdir(parents=True)
    (tmp_path / "etc" / "hosts").touch()
    for name in (".git", "docs", "src", "tests", "tools", "web"):
        (tmp_path / "checkout" / name).mkdir(parents=True)
    (tmp_path / "checkout" / "docs" / "logo.png").write_bytes(next(scene.gallery.rglob("*.jpg")).read_bytes())
    before = sorted(tmp_path.rglob("*"))
    texts = {"VIDEO": scene.video, "DETECTIONS": scene.detections, "PEOPLE": scene.gallery, "PLACE": place}
    done = gtrack(
        *(texts.get(word, word) for word in words),
        *("--reid-weights", "builtin"),
        code=1,
        folder=tmp_path,
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    expected = {
        "a gallery to read": ("holds no gallery", "is a file"),
        "a gallery to fill": ("is not empty and holds no gallery", "is a file"),
        "images": ("no sub-folder with images", "only 1 of its 5 sub-folders", "is not a folder of images"),
    }[role]
    assert any(f"{place} {one}" in done.stderr or one in done.stderr for one in expected), done.stderr
    assert place in done.stderr
    assert [path for path in sorted(tmp_path.rglob("*")) if "cache" not in path.parts] == before
    assert not list(tmp_path.glob("cache/gtrack/galleries/*"))


def test_a_new_gallery_is_announced(scene: Scene, gallery: Path, tmp_path: Path) -> None:
    shutil.copytree(gallery, tmp_path / "people")
    new = tmp_path / "poeple"
    words = ["run", scene.video, "--dets-json", scene.detections, "--range", ":3", "--enroll", "unknown", "-g"]
    done = gtrack(*words, new)
    assert f"{new} will be a new gallery. Beside it is the gallery 'people'." in done.stderr
    assert not new.exists(), "nothing was stored in it"
    assert "new gallery" not in gtrack(*words, tmp_path / "people").stderr
    shutil.copytree(gallery, tmp_path / "peoples")
    code, out, err = run_on_terminal("n\n", *words, new)
    assert (code, out) == (1, "")
    assert "Beside it are the galleries 'people', 'peoples'." in err
    assert "Make it? [y/N]" in err
    assert "nothing was changed" in err
    for answer, more in (("y\n", []), ("", ["--yes"])):
        code, out, err = run_on_terminal(answer, *words, new, *more)
        assert (code, "Make it?" in err) == (0, not more)
        assert "3 frames" in out


def test_environment_names_the_gallery(scene: Scene, gallery: Path) -> None:
    done = gtrack(
        "run", "--video", scene.video, "--dets-json", scene.detections, "--range", ":30", GTRACK_GALLERY=str(gallery)
    )
    assert "first frame" in done.stdout


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_exits_130_with_complete_files(scene: Scene, tmp_path: Path, sign: signal.Signals) -> None:
    words = ["run", str(scene.video), "--dets-json", str(scene.detections), "--save-json", "--save-frames"]
    run = tmp_path / scene.video.stem
    with started("-m", "cli.main", *words, "--out-dir", tmp_path, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(list(run.glob(".frames.*.part/*"))) <= 5:
            time.sleep(0.005)
        process.send_signal(sign)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert "complete up to the last processed frame" in err
    payload = json.loads((tmp_path / scene.video.stem / "tracked.json").read_text())
    frames = list((tmp_path / scene.video.stem / "frames").iterdir())
    assert 5 < len(payload["frames"]) < scene.config.frames
    assert abs(len(frames) - len(payload["frames"])) <= 1


def test_ingest_says_how_it_read_a_flat_folder(scene: Scene, tmp_path: Path) -> None:
    pictures = sorted(scene.gallery.rglob("*.jpg"))[:2]
    (tmp_path / "flat").mkdir()
    for name, image in zip(("alice.jpg", "bob.jpg"), pictures, strict=True):
        shutil.copy(image, tmp_path / "flat" / name)
    words = ["gallery", "ingest", tmp_path / "flat", "--gallery", tmp_path / "g", "--reid-weights", "builtin"]
    assert "one image a person: the name of each file is an identity, 2 in all" in gtrack(*words).stderr
    (tmp_path / "flat" / "bob.jpg").rename(tmp_path / "flat" / "bob2.jpg")
    words[4] = tmp_path / "g2"
    refused = gtrack(*words, code=1)
    assert "--layout files" in refused.stderr
    assert not (tmp_path / "g2").exists()
    assert "2 added" in gtrack(*words, "--layout", "files").stdout


def test_ingest_reports_unusable_files(scene: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    good = next((scene.gallery / "amber").iterdir())
    (folder / "a[b] ü").mkdir(parents=True)
    (folder / "a[b] ü" / "1.jpg").write_bytes(good.read_bytes())
    (folder / "a[b] ü" / "cut.jpg").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (folder / "a[b] ü" / "text.png").write_text("no image")
    words = ["gallery", "ingest", folder, "--gallery", tmp_path / "g", "--reid-weights", "builtin"]
    done = gtrack(*words)
    assert "1 added" in done.stdout
    assert "cut.jpg" in done.stdout
    assert "text.png" in done.stdout
    assert "1 unchanged" in gtrack(*words).stdout
    listed = gtrack("gallery", "list", "--gallery", tmp_path / "g", "--json").stdout
    assert json.loads(listed)["identity"] == "a[b] ü"
    (folder / "a[b] ü" / "1.jpg").unlink()
    assert "1 removed" in gtrack(*words, "--prune", code=1).stdout
    empty = tmp_path / "empty"
    empty.mkdir()
    done = gtrack("gallery", "ingest", empty, "--gallery", tmp_path / "g2", "--reid-weights", "builtin", code=1)
    assert "no sub-folder with images" in done.stderr
    assert not (tmp_path / "g2").exists()


def test_query(scene: Scene, gallery: Path, tmp_path: Path) -> None:
    image = sorted((scene.gallery / "blake").iterdir())[0]
    done = gtrack("gallery", "query", image, "--gallery", gallery, "--json", "--contact-sheet", tmp_path / "s.png")
    (answer,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answer["matches"]) == 5
    assert answer["matches"][0]["identity"] == "blake"
    assert answer["matches"][0]["distance"] == pytest.approx(0, abs=1e-5)
    assert (tmp_path / "s.png").stat().st_size > 5000
    entry = answer["matches"][1]["id"]
    for search in ("hnsw", "exact"):
        done = gtrack("gallery", "query", "--entry", entry, "-k", 3, "--search", search, "-g", gallery, "--json")
        assert json.loads(done.stdout)["matches"][0]["id"] == entry
    assert "blake" in gtrack("gallery", "query", image, "--box", "0,0,30,60", "-g", gallery).stdout
    done = gtrack("gallery", "query", image, "--box", "900,900,950,990", "-g", gallery, code=1)
    assert "is outside of this" in done.stderr
    done = gtrack("gallery", "query", image, "--where", "identity=amber", "-g", gallery, "--json")
    assert {m["identity"] for m in json.loads(done.stdout)["matches"]} == {"amber"}
    done = gtrack("gallery", "query", image, "--where", "class=car", "-g", gallery)
    assert "no entries found" in done.stdout


def test_list_stats_verify_rebuild(gallery: Path) -> None:
    people = [json.loads(line) for line in gtrack("gallery", "list", "-g", gallery, "--json").stdout.splitlines()]
    assert [p["entries"] for p in people] == [6] * 6
    entries = gtrack("gallery", "list", "-g", gallery, "--identity", "amber", "--json").stdout.splitlines()
    assert len(entries) == 6
    facts = json.loads(gtrack("gallery", "stats", "-g", gallery, "--json").stdout)
    assert (facts["entries"], facts["identities"], facts["model"]) == (36, 6, "builtin")
    assert "builtin" in gtrack("gallery", "stats", "-g", gallery).stdout
    assert json.loads(gtrack("gallery", "verify", "-g", gallery, "--json").stdout)["ok"]
    assert "36 entries" in gtrack("gallery", "rebuild", "-g", gallery).stdout
    assert "intact" in gtrack("gallery", "verify", "-g", gallery).stdout


def test_rejects_another_model_with_both_names(scene: Scene, gallery: Path, data: Path, tmp_path: Path) -> None:
    weights = data / "weights" / "osnet_x0_25_msmt17.onnx"
    copied = tmp_path / "g"
    gtrack("gallery", "ingest", scene.gallery, "--gallery", copied, "--reid-weights", "builtin")
    for words in (
        ["gallery", "ingest", scene.gallery, "--gallery", copied, "--reid-weights", weights],
        ["run", scene.video, "--dets-json", scene.detections, "--gallery", copied, "--reid-weights", weights],
        ["gallery", "query", next((scene.gallery / "amber").iterdir()), "-g", copied, "--reid-weights", weights],
    ):
        done = gtrack(*words, code=1)
        assert "builtin" in done.stderr
        assert weights.name in done.stderr
    words = ["gallery", "ingest", scene.gallery, "--gallery", copied, "--reid-weights", weights, "--new-collection"]
    assert "36 added" in gtrack(*words).stdout
    collections = [json.loads(x) for x in gtrack("gallery", "stats", "-g", copied, "--json").stdout.splitlines()]
    assert {c["model"] for c in collections} == {"builtin", weights.name}
    run = ["run", scene.video, "--dets-json", scene.detections, "--gallery", copied, "--range", ":20"]
    gtrack(*run, "--reid-weights", weights)
    gtrack(*run)


def test_demo(tmp_path: Path) -> None:
    done = gtrack("demo", "--out", tmp_path / "demo")
    out = done.stdout
    for name in ("amber", "stranger-1", "known people: right name", "contact-sheet.jpg", "annotated.mp4"):
        assert name in out
    for file in ("scene.mp4", "detections.json", "run/annotated.mp4", "run/tracked.json", "run/contact-sheet.jpg"):
        assert (tmp_path / "demo" / file).stat().st_size > 1000
    share = float(re.search(r"right name in ([\d.]+)%", out)[1])  # type: ignore[index]
    assert share > 75
