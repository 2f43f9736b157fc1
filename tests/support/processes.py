"""Child processes of tests, which never outlive the test that starts them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def started(*words: Any, line: str | None = None, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start Python with some arguments, and kill it at the end of the block if it still runs.

    Ctrl-C reaches it also where the tests run in the background: see `_interruptible` in conftest.py.

    Args:
        words: The arguments, such as ``"-c"`` and a program.
        line: What it writes on its stdout first; it is waited for.
        options: Further arguments of `subprocess.Popen`, such as ``stderr``; stdout is a pipe.
    """
    process = subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True, **options)
    try:
        if line is not None:
            assert process.stdout is not None
            assert process.stdout.readline() == f"{line}\n"
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait()
