"""Printing: results go to stdout, everything else to stderr.

All text of others (names, paths, messages of files) passes through these functions, so that none of it acts on the
terminal; other modules of `cli` do not print.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal

from cli.option_names import with_option_names
from gallery_db.masking import mask_addresses
from gallery_db.visible_text import json_visible, visible

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "ask",
    "counted",
    "on_terminal",
    "print_details",
    "print_error",
    "print_json",
    "print_json_lines",
    "print_line",
    "print_table",
    "print_text",
    "progress_bar",
    "say",
]


def counted(count: float, noun: str) -> str:
    """Return a number with its noun, such as ``"1 track"``, ``"7 tracks"`` or ``"7 entries"``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:.0f} {noun[:-1]}ies" if noun.endswith("y") else f"{count:.0f} {noun}s"


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


def print_json(value: Any, *, indent: int | None = None, flush: bool = False) -> None:
    """Print a value as JSON on stdout; where stdout is not Unicode, as ASCII."""
    unicode = (getattr(sys.stdout, "encoding", "") or "").lower().replace("-", "").startswith("utf")
    print(json_visible(json.dumps(value, ensure_ascii=not unicode, allow_nan=False, indent=indent)), flush=flush)


def _for_user(message: str) -> str:
    return visible(with_option_names(mask_addresses(message)))


def print_text(text: str, *, indent: int = 0) -> None:
    """Print a sentence of a result on stdout; on a terminal, lines end between words, the further ones indented."""
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        text = textwrap.fill(
            visible(text),
            console.width,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    for line in text.split("\n"):
        print_line(line)


def print_table(
    title: str | None,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    whole: Collection[str] = (),
    optional: Collection[str] = (),
    once: Collection[str] = (),
    paths: Collection[str] = (),
    spare: Sequence[str] = (),
    most: int | None = None,
) -> None:
    """Print a table on stdout, numbers aligned to the right. On a terminal it is never too wide, and splits no word.

    Args:
        title: Its title, if any.
        columns: The headings.
        rows: The cells; a float gets four decimals.
        whole: Columns whose cells are copied, or read as one, such as ids and times: they are never wrapped.
        optional: Columns that are left out where all their cells are empty.
        once: Columns that become part of the title where all rows have the same value.
        paths: Columns of paths, shown relative to the working folder; on a narrow terminal only their ends.
        spare: Columns that a narrow terminal does without, the first one first.
        most: Number of rows that a terminal shows; a file or a pipe gets all.
    """
    from rich.console import Console

    console = Console()
    rows = list(rows)
    left_out = max(0, len(rows) - most) if most is not None and console.is_terminal else 0
    rows = rows[: len(rows) - left_out]
    texts = {column: [_cell_text(row[i], column in paths) for row in rows] for i, column in enumerate(columns)}
    for column in optional:
        if not any(texts[column]):
            del texts[column]
    facts = ", ".join(f"{column} {texts.pop(column)[0]}" for column in once if len(set(texts[column])) == 1)
    heading = "; ".join(part for part in (visible(title or ""), facts) if part)
    least = {column: _least_width(column, cells, column in whole, column in paths) for column, cells in texts.items()}
    for column in spare:
        if console.is_terminal and _total(least) > console.width:
            texts.pop(column, None), least.pop(column, None)
    if heading:
        print_text(heading)
        print_line()
    if console.is_terminal and _total(least) > console.width:
        _print_blocks(texts)
        return
    widths = _share_out(console.width if console.is_terminal else None, least, texts)
    if not console.is_terminal:
        # Into a file or a pipe, Rich would fold at 80 columns; paths stay whole.
        console = Console(width=_total(widths))
    console.print(_rich_table(texts, widths, paths))
    if left_out:
        print_text(f"and {left_out} more; a file or a pipe gets all of them")
    print_line()


def _print_blocks(texts: Mapping[str, Sequence[str]]) -> None:
    """Print each row as lines of its own, where a terminal is too narrow for any table."""
    for row in zip(*texts.values(), strict=True):
        for column, cell in zip(texts, row, strict=True):
            print_line(f"{column}: {cell}")
        print_line()


def _rich_table(texts: Mapping[str, Sequence[str]], widths: Mapping[str, int], paths: Collection[str]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for column, cells in texts.items():
        justify: Literal["right", "left"] = "right" if _are_numbers(cells) else "left"
        table.add_column(column, justify=justify, width=widths[column], overflow="fold")
    for row in zip(*texts.values(), strict=True):
        # Text and not str: an identity named [bold] is a name, not markup.
        table.add_row(
            *(
                Text(_end_of_path(cell, widths[column]) if column in paths else cell)
                for column, cell in zip(texts, row, strict=True)
            )
        )
    return table


def _cell_text(value: Any, is_path: bool) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return visible(_from_here(str(value)) if is_path else str(value))


def _from_here(path: str) -> str:
    """Return a path inside the working folder as it is named from there; any other text as it is."""
    try:
        return str(PurePath(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return path


_NUMBER = re.compile(r"[<>]?[-+]?[0-9]+(\.[0-9]+)?( ?(%|s|B|KiB|MiB|GiB))?")


def _are_numbers(cells: Sequence[str]) -> bool:
    """Whether a column has numbers, with a dash where there is none."""
    found = [cell for cell in cells if cell not in ("", "-")]
    return bool(found) and all(_NUMBER.fullmatch(cell) for cell in found)


_GAP = 2
"""Spaces between two columns."""
_SHORTEST_PATH = 14


def _total(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _least_width(column: str, cells: Sequence[str], is_whole: bool, is_path: bool) -> int:
    """Return the width of a column below which words would be split."""
    from rich.cells import cell_len

    if is_path:
        return max(cell_len(column), min(_SHORTEST_PATH, max(map(cell_len, cells), default=0)))
    parts = cells if is_whole or _are_numbers(cells) else [word for cell in cells for word in cell.split()]
    return max(map(cell_len, [*column.split(), *parts]))


def _share_out(width: int | None, least: Mapping[str, int], texts: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return the width of each column: what it needs at least, and of the rest what it wishes, small wishes first."""
    from rich.cells import cell_len

    widths = {column: max(map(cell_len, [column, *cells])) for column, cells in texts.items()}
    if width is None:
        return widths
    left = width - _total(least)
    wishes = sorted((most - least[column], column) for column, most in widths.items())
    for i, (wish, column) in enumerate(wishes):
        granted = min(wish, left // (len(wishes) - i))
        widths[column] = least[column] + granted
        left -= granted
    return widths


def _end_of_path(path: str, width: int) -> str:
    """Return a path, shortened on the left to a width."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(path) <= width:
        return path
    return "…" + set_cell_size(path[::-1], width - 1)[::-1]


@contextmanager
def progress_bar(title: str, unit: str, no_progress: bool) -> Iterator[Callable[[int, int | None], None]]:
    """Show a progress bar on stderr, unless it was switched off."""
    from tracking import progress

    with progress.progress_bar(title, unit, enabled=not no_progress) as update:
        yield update
