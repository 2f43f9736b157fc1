"""Printing: results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cli.option_names import with_option_names
from gallery_db.masking import mask_addresses

__all__ = ["print_error", "print_json_lines", "print_table", "progress_bar", "say"]


def say(message: str) -> None:
    """Print a line for the user on stderr; options that it names are the command line's."""
    print(f"gtrack: {with_option_names(mask_addresses(message))}", file=sys.stderr)


def print_error(message: str, hint: str | None) -> None:
    """Print an error and what to do about it on stderr; options that it names are the command line's."""
    print(f"error: {with_option_names(mask_addresses(message))}", file=sys.stderr)
    if hint:
        print(f"  hint: {with_option_names(mask_addresses(hint))}", file=sys.stderr)


def print_json_lines(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON object a line, on stdout."""
    for row in rows:
        print(json.dumps(row, ensure_ascii=False, allow_nan=False))


def print_table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table on stdout, numbers aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[i], (int, float)) for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        # Text and not str: an identity named [bold] is a name, not markup.
        table.add_row(*(Text(f"{v:.4f}" if isinstance(v, float) else str(v)) for v in row))
    console = Console()
    if not console.is_terminal:
        # Into a file or a pipe, Rich would fold at 80 columns; paths stay whole.
        console = Console(width=200)
    console.print(table)


@contextmanager
def progress_bar(title: str, unit: str, no_progress: bool) -> Iterator[Callable[[int, int | None], None]]:
    """Show a progress bar on stderr, unless it was switched off."""
    from tracking import progress

    with progress.progress_bar(title, unit, enabled=not no_progress) as update:
        yield update
