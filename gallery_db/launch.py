"""The entry point of the `gtrack` command: it checks the installation, then starts `cli`.

It stands here and not in `cli`, because a foreign `cli` package would hide an entry point of that name.
"""

from __future__ import annotations

import sys
from importlib import import_module

from gallery_db.distribution import check_packages
from gallery_db.errors import GtrackError
from gallery_db.visible_text import visible

__all__ = ["main"]


def main() -> None:
    """Run the command line; exit with 1 where another project's package stands in the place of one of gtrack's."""
    try:
        check_packages()
    except GtrackError as error:
        print(visible(f"error: {error.message}\n  hint: {error.hint}", keep="\n"), file=sys.stderr)
        sys.exit(1)
    import_module("cli.main").main()
