"""What the command line does with an error that nobody expected, and with text that it cannot pass on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from cli.output import print_details, print_error, say
from gallery_db.visible_text import is_text, shorten, visible

__all__ = ["RootGroup", "report_system_error", "report_unexpected", "show_tracebacks"]

_LENGTH = 300  # characters of the error in the line
_USAGE_LENGTH = 2000

# Typer has its own copy of Click in some versions; the errors of both have this base.
_ClickError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

_settings = {"tracebacks": False}


class RootGroup(TyperGroup):
    """The command `gtrack`, which answers to wrong usage without passing on what acts on a terminal."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the options before the command."""
        with _visible_usage_errors():
            return super().make_context(*args, **kwargs)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse arguments that are no text: neither JSON nor a gallery can hold them."""
        for argument in args:
            if not is_text(argument):
                raise typer.BadParameter(
                    f"'{visible(argument)}' is not in UTF-8. Rename the file, or give another name."
                )
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _visible_usage_errors():
            return super().invoke(ctx)


@contextmanager
def _visible_usage_errors() -> Iterator[None]:
    try:
        yield
    except _ClickError as error:
        words: Any = error
        words.message = shorten(visible(words.message, keep="\n"), _USAGE_LENGTH)
        raise


def show_tracebacks(on: bool) -> None:
    """Choose whether `report_unexpected` prints the traceback."""
    _settings["tracebacks"] = on


def report_system_error(error: OSError) -> None:
    """Print what the system refused, and for which file, as an error of the user's."""
    if error.strerror is None:
        report_unexpected(error)
        return
    if _settings["tracebacks"]:
        from gallery_db.failure_details import failure_details

        print_details(failure_details(error, _command()))
    name = "" if error.filename is None else f"{shorten(str(error.filename), _LENGTH)}: "
    print_error(f"{name}{error.strerror}.", "Check the path, its permissions, and the free space on the disk.")


def report_unexpected(error: Exception) -> None:
    """Print one line about an error that nobody expected, and keep the details in a file."""
    from gallery_db.failure_details import failure_details, write_failure_details

    path = write_failure_details(error, _command())
    if _settings["tracebacks"]:
        print_details(failure_details(error, _command()))
    words = shorten(" ".join(f"{type(error).__name__}: {error}".split()), _LENGTH).rstrip(".: ")
    say(f"unexpected error: {words}" + (f"; details in {path}" if path is not None else ""))


def _command() -> list[str]:
    return ["gtrack", *sys.argv[1:]]
