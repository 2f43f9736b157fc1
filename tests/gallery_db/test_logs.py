"""gtrack's loggers: quiet by default, as detailed as asked for, and no other logger is changed."""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from gallery_db.logs import configure, get_logger


@pytest.fixture
def gtrack_logger() -> Iterator[logging.Logger]:
    """The logger of all areas, as it was afterwards."""
    logger = logging.getLogger("gtrack")
    handlers, level = list(logger.handlers), logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.mark.parametrize(
    ("verbosity", "printed"),
    [
        pytest.param(0, ["warned"], id="warnings alone"),
        pytest.param(1, ["step", "warned"], id="-v: the main steps"),
        pytest.param(2, ["detail", "step", "warned"], id="-vv: details"),
        pytest.param(5, ["detail", "step", "warned"], id="more is no more"),
    ],
)
def test_verbosity(
    gtrack_logger: logging.Logger, capsys: pytest.CaptureFixture[str], verbosity: int, printed: list[str]
) -> None:
    configure(0)
    configure(verbosity)  # again: no line is printed twice
    log = get_logger("area")
    log.debug("detail")
    log.info("step")
    log.warning("warned")
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [f"gtrack.area: {word}" for word in printed]
    assert captured.out == ""
    assert logging.getLogger().level == logging.WARNING, "other loggers stay as they are"


def test_a_replaced_stderr_is_no_error(gtrack_logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.redirect_stderr(io.StringIO()) as replaced:
        configure(0)
    replaced.close()
    get_logger("area").warning("warned")
    assert capsys.readouterr().err == "gtrack.area: warned\n"


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)


def test_quiet_by_default() -> None:
    done = run("from gallery_db.logs import get_logger; get_logger('area').warning('not shown')")
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("before", "level"),
    [
        pytest.param("", "ERROR", id="imported by gtrack: its errors alone"),
        pytest.param("import boxmot.utils", "INFO", id="imported by the program: as it was"),
        pytest.param("from gallery_db.logs import configure; configure(2)", "INFO", id="with gtrack's details"),
    ],
)
def test_boxmots_log(before: str, level: str) -> None:
    script = f"""
import logging
{before}
from tracking.boxmot_adapter import known_reid_weights
known_reid_weights()
print(logging.getLevelName(logging.getLogger("boxmot").level))
"""
    assert run(script).stdout.strip() == level
