"""Run one case under watch: how it ended, how long it took, how much memory it wanted."""

from __future__ import annotations

import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from gallery_db.errors import GtrackError

MAX_SECONDS = 10.0
MAX_GROWTH = 500 << 20
MAX_MESSAGE = 3000
"""Characters of an error, so that a value of a hostile file does not fill the terminal."""


@dataclass(frozen=True, slots=True)
class Target:
    """A format to fuzz.

    Attributes:
        name: Its name.
        cases: The cases.
        check: Reads a case in an empty folder. It may raise a `GtrackError`.
        place: What each error of it must name: the file.
        portion: Cases in the tests.
    """

    name: str
    cases: st.SearchStrategy[Any]
    check: Callable[[Any, Path], None]
    place: str = ""
    portion: int = 40


@dataclass(frozen=True, slots=True)
class Finding:
    """What a case showed: its kind, where in the code, and a text."""

    kind: str
    where: str
    text: str


class _TooSlowError(BaseException):
    """A case takes longer than `MAX_SECONDS`. Not an Exception, so that the code under test does not catch it."""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _TooSlowError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _own_place(error: BaseException) -> str:
    """Return the innermost line of gtrack's own code in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if any(part in f.filename for part in ("/gallery_db/", "/tracking/", "/cli/"))]
    frame = (own or list(frames))[-1]
    return f"{frame.filename.split('site-packages/')[-1]}:{frame.lineno}"


def _check_message(error: GtrackError, place: str) -> Finding | None:
    text = f"{error.message} {error.hint or ''}"
    where = _own_place(error)
    if len(text) > MAX_MESSAGE:
        return Finding("long message", where, f"{len(text)} characters: {text[:200]}")
    if place not in error.message:
        return Finding("no place", where, text[:300])
    return None


def examine(target: Target, case: Any, folder: Path) -> Finding | None:
    """Run a case. Return what is wrong with how it ended, None if nothing is."""
    memory, start = _peak(), time.perf_counter()
    finding: Finding | None = None
    try:
        with _time_limit(MAX_SECONDS), warnings.catch_warnings():
            warnings.simplefilter("error")
            target.check(case, folder)
    except GtrackError as error:
        finding = _check_message(error, target.place)
    except _TooSlowError as error:
        finding = Finding("too slow", _own_place(error), f"more than {MAX_SECONDS:g} s")
    except Exception as error:  # noqa: BLE001
        finding = Finding("traceback", _own_place(error), f"{type(error).__name__}: {str(error)[:300]}")
    if finding is None and time.perf_counter() - start > MAX_SECONDS:
        finding = Finding("too slow", target.name, f"{time.perf_counter() - start:.1f} s")
    if finding is None and _peak() - memory > MAX_GROWTH:
        finding = Finding("memory", target.name, f"grew by {(_peak() - memory) >> 20} MiB")
    return finding
