"""The entry point of the `gtrack` command: it checks the installation, then starts `cli`.

It stands here and not in `cli`, because a foreign `cli` package would hide an entry point of that name.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from gallery_db.distribution import check_packages
from gallery_db.errors import GtrackError
from gallery_db.visible_text import visible

__all__ = ["main"]


def _limit_numpy_threads() -> None:
    """Let numpy compute in one thread, unless the user has set a number; before numpy is imported.

    The products of a run are small. The threads of OpenBLAS gain nothing with them, and spin while they wait for each
    other. `OMP_NUM_THREADS` is left alone: it also limits torch, whose products are large. A library must not decide
    this for a program that uses it, so that it is done for the command alone.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main() -> None:
    """Run the command line; exit with 1 where another project's package stands in the place of one of gtrack's."""
    _limit_numpy_threads()
    try:
        check_packages()
    except GtrackError as error:
        print(visible(f"error: {error.message}\n  hint: {error.hint}", keep="\n"), file=sys.stderr)
        sys.exit(1)
    import_module("cli.main").main()
