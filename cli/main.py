"""The `gtrack` command: its verbs, and what becomes of errors.

Whatever comes through, comes to the user as one line, with the details in a file (`cli.last_handler`).

Exit codes: 0 done; 1 failed; 2 wrong usage; 130 stopped by Ctrl-C (or SIGTERM).
"""

from __future__ import annotations

import contextlib
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from cli import demo, detect, export, importing, listing, models, run, schema
from cli.evaluate.app import app as evaluate_app
from cli.gallery.app import app as gallery_app
from cli.help_text import help_text
from cli.last_handler import RootGroup, report_system_error, report_unexpected, show_tracebacks
from cli.output import print_error
from gallery_db import logs
from gallery_db.errors import GtrackError

__all__ = ["app", "main"]

app = typer.Typer(
    name="gtrack",
    cls=RootGroup,
    help="Track people (or other things) in a video, and name the tracks from a gallery of known identities.",
    epilog="First steps: gtrack demo. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        from gallery_db.distribution import gtrack_version

        print(f"gtrack {gtrack_version()}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose", "-v", count=True, help="Print the main steps on stderr; -vv: also details. Before the command."
        ),
    ] = 0,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            envvar="GTRACK_DEBUG",
            help="Print the traceback of an unexpected error, too. Before the command.",
        ),
    ] = False,
) -> None:
    logs.configure(verbose)
    show_tracebacks(debug)


app.command("run", help=help_text(run.run))(run.run)
app.command("detect", help=help_text(detect.detect))(detect.detect)
app.command("demo", help=help_text(demo.demo))(demo.demo)
app.add_typer(gallery_app, name="gallery")
app.add_typer(evaluate_app, name="eval")
app.add_typer(importing.app, name="import")
app.add_typer(export.app, name="export")
app.add_typer(models.app, name="models")
app.command("list", help=help_text(listing.list_names))(listing.list_names)
app.command("schema", help=help_text(schema.schema))(schema.schema)


def _terminate(signum: int, frame: FrameType | None) -> None:
    # A scheduler's SIGTERM deserves the same care as Ctrl-C: complete the outputs, then go.
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line."""
    from tracking.errors import OptionError

    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, _terminate)
    try:
        try:
            app(prog_name="gtrack")  # also as `python -m cli`
        finally:
            # A full disk or a closed pipe is noticed here, and not when Python ends.
            if sys.stdout is not None:
                sys.stdout.flush()
    except OptionError as error:
        print_error(error.message, error.hint)
        sys.exit(2)
    except GtrackError as error:
        print_error(error.message, error.hint)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of the output, such as head, has ended. That is not an error.
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        # Of the system's, and not of gtrack's making: a name that is too long, a full disk.
        report_system_error(error)
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 the last handler
        report_unexpected(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
