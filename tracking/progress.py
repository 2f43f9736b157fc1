"""Progress bars on stderr, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(title: str, unit: str, *, enabled: bool = True) -> Iterator[Callable[[int, int | None], None]]:
    """Show a progress bar on stderr while the block runs.

    Args:
        title: Title of the bar, such as ``tracking``.
        unit: Unit of the counts, such as ``frames``.
        enabled: False for no bar; there is never one where stderr is no terminal.

    Yields:
        A function to call with (done, total); total may be None.
    """
    if not enabled or sys.stderr is None or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit}, {{task.fields[speed]}}/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=5)
    task = bar.add_task(title, total=None, speed="-")

    def update(done: int, total: int | None) -> None:
        # Rich shows one live display at a time: a finished stage makes room for the next.
        if not bar.live.is_started:
            bar.start()
        speed = bar.tasks[0].speed
        bar.update(task, completed=done, total=total, speed=f"{speed:.0f}" if speed else "-")
        if total is not None and done >= total:
            bar.stop()

    try:
        yield update
    finally:
        bar.stop()
