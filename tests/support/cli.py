"""Run the command line as users do: in its own process."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


def gtrack(
    *words: Any, code: int = 0, folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `gtrack` with some arguments in a folder; check its exit code, and that it shows no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env={**os.environ, **environment},
    )
    assert done.returncode == code, (words, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def run_on_terminal(answer: str, *words: Any) -> tuple[int, str, str]:
    """Run a command on a terminal with an answer to its question.

    Returns:
        Its exit code, what it wrote on stdout, and what it wrote on the terminal with stderr.
    """
    leader, follower = pty.openpty()
    try:
        os.write(leader, answer.encode())
        with subprocess.Popen(
            [sys.executable, "-m", "cli.main", *map(str, words)],
            stdin=follower,
            stdout=subprocess.PIPE,
            stderr=follower,
            text=True,
        ) as process:
            os.close(follower)
            shown = b""
            with suppress(OSError):  # on Linux, the terminal ends with an error
                while part := os.read(leader, 4096):
                    shown += part
            out, _ = process.communicate(timeout=60)
    finally:
        os.close(leader)
    return process.returncode, out, shown.decode()
