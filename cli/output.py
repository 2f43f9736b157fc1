"""Printing: results go to stdout, everything else to stderr.

All text of others (names, paths, messages of files) passes through these functions, so that none of it acts on the
terminal; other modules of `cli` do not print.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cli.option_names import with_option_names
from gallery_db.masking import mask_addresses
from gallery_db.visible_text import json_visible, visible

__all__ = [
    "ask",
    "on_terminal",
    "print_details",
    "print_error",
    "print_json",
    "print_json_lines",
    "print_line",
    "print_table",
    "progress_bar",
    "say",
]


def print_line(text: object = "") -> None:
    """Print a line of a result on stdout, at once: another program may wait for it."""
    print(visible(str(text)), flush=True)


def say(message: str) -> None:
    """Print a line for the user on stderr; options that it names are the command line's."""
    print(f"gtrack: {_for_user(message)}", file=sys.stderr)


def on_terminal() -> bool:
    """Whether there is a person to ask."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def ask(question: str) -> str:
    """Print a question on stderr, as stdout is for results, and return the answer."""
    print(f"{_for_user(question)} ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def print_error(message: str, hint: str | None) -> None:
    """Print an error and what to do about it on stderr; options that it names are the command line's."""
    print(f"error: {_for_user(message)}", file=sys.stderr)
    if hint:
        print(f"  hint: {_for_user(hint)}", file=sys.stderr)


def print_details(text: str) -> None:
    """Print lines for developers on stderr."""
    print(visible(mask_addresses(text), keep="\n"), file=sys.stderr)


def print_json_lines(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON object a line, on stdout."""
    for row in rows:
        print_json(row)


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as JSON on stdout; where stdout is not Unicode, as ASCII."""
    unicode = (getattr(sys.stdout, "encoding", "") or "").lower().replace("-", "").startswith("utf")
    print(json_visible(json.dumps(value, ensure_ascii=not unicode, allow_nan=False, indent=indent)))


def _for_user(message: str) -> str:
    return visible(with_option_names(mask_addresses(message)))


def print_table(
    title: str | None,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    whole: Collection[str] = (),
    optional: Collection[str] = (),
) -> None:
    """Print a table on stdout, numbers aligned to the right.

    Args:
        title: Its title, if any.
        columns: The headings.
        rows: The cells.
        whole: Columns whose cells are copied and typed, such as ids: they are never wrapped.
        optional: Columns that are left out where all their cells are empty.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    kept = [i for i, column in enumerate(columns) if column not in optional or any(row[i] != "" for row in rows)]
    columns, rows = [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]
    table = Table(
        title=None if title is None else Text(visible(title)),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
    )
    for i, column in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[i], (int, float)) for row in rows)
        width = max((len(visible(str(row[i]))) for row in rows), default=0) if column in whole else None
        table.add_column(
            column, justify="right" if numbers else "left", overflow="fold", min_width=width, no_wrap=column in whole
        )
    for row in rows:
        # Text and not str: an identity named [bold] is a name, not markup.
        table.add_row(*(Text(f"{v:.4f}" if isinstance(v, float) else visible(str(v))) for v in row))
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
