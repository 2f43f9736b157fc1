"""The help texts of commands, made from their docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Callable

__all__ = ["help_text"]


def help_text(command: Callable[..., None]) -> str:
    """Return a command's docstring with each paragraph on one line.

    Typer keeps the line breaks of all paragraphs but the first, which then stand in the middle of its own lines.
    """
    paragraphs = inspect.getdoc(command) or ""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs.split("\n\n"))
