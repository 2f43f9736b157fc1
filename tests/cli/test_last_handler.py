"""What comes through as an unexpected error: one line, and a file with the details."""

from __future__ import annotations

import io
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.cli import gtrack

import cli.main
from gallery_db import failure_details


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GTRACK_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state" / "failures"


def run(monkeypatch: pytest.MonkeyPatch, error: BaseException, *words: str) -> int:
    """Run `gtrack` in this process, where opening a gallery raises an error; return the exit code."""

    def fail(*args: Any, **kwargs: Any) -> None:
        secret = " ".join(["a value", "of a variable"])  # noqa: F841
        raise error

    monkeypatch.setattr("gallery_db.Gallery.open", fail)
    monkeypatch.setattr(sys, "argv", ["gtrack", *words])
    with pytest.raises(SystemExit) as caught:
        cli.main.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


WORDS = ("gallery", "list", "-g", "http://me:s3cret@h/")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("a\nb \x1b[31m rtsp://me:s3cret@h/"), MemoryError(), RecursionError("deep")], ids=repr
)
def test_an_unexpected_error_is_one_line(
    error: Exception, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, error, *WORDS) == 1
    shown = capsys.readouterr().err
    (path,) = state.iterdir()
    assert re.fullmatch(
        rf"gtrack: unexpected error: {type(error).__name__}.*; details in {re.escape(str(path))}\n", shown
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    details = path.read_text()
    assert "command: gtrack gallery list -g" in details
    assert "Traceback" in details
    assert "Python 3." in details
    for text in (shown, details):
        assert "s3cret" not in text
        assert "\x1b" not in text
    assert "a value of a variable" not in details, "no values of variables"


@pytest.mark.parametrize("words", [("--debug",), ()], ids=["option", "variable"])
def test_debug_shows_the_traceback(
    words: tuple[str, ...], state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not words:
        monkeypatch.setenv("GTRACK_DEBUG", "1")
    assert run(monkeypatch, ZeroDivisionError("x"), *words, *WORDS) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_the_last_files_stay(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_details, "_KEPT", 2)
    kept = [failure_details.write_failure_details(ZeroDivisionError("x"), ["gtrack"]) for _ in range(3)]
    assert len(list(state.iterdir())) == 2
    assert len(set(kept)) == 3


def test_no_file_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GTRACK_STATE_DIR", str(tmp_path / "file"))
    assert run(monkeypatch, ZeroDivisionError("x"), *WORDS) == 1
    assert capsys.readouterr().err == "gtrack: unexpected error: ZeroDivisionError: x\n"


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (BrokenPipeError(), 0)])
def test_interrupts_and_closed_pipes_are_no_errors(
    error: BaseException, code: int, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # main closes it
    assert run(monkeypatch, error, *WORDS) == code
    assert not state.exists()


def test_a_full_disk_is_the_users(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "schema", "det-v1"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "error: No space left on device.")


def test_an_argument_that_is_no_text(tmp_path: Path) -> None:
    done = gtrack("gallery", "list", "-g", "/tmp/\udcff", code=2, folder=tmp_path)
    assert r"'/tmp/\udcff' is not in UTF-8" in done.stderr
